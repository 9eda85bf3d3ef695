/** The part of tenantkit that raised an error or an audit event. */
export type Surface =
  | 'core'
  | 'cache'
  | 'storage'
  | 'queue'
  | 'search'
  | 'crypto'
  | 'postgres'
  | 'erasure'
  | 'cli'
  | 'http'
  | 'testing';

/** What every tenantkit error is made of. */
export interface ErrorDetails {
  readonly surface: Surface;
  /** The operation as the caller named it: `get`, `PutObjectCommand`, `indices.delete`. */
  readonly operation?: string | undefined;
  /** What the reader should do next, as a sentence. */
  readonly hint: string;
  /** The error of the raw client. It may hold physical names: log it, do not send it outward. */
  readonly cause?: unknown;
}

const BRAND: unique symbol = Symbol.for('tenantkit.error');

/**
 * Base of every error that tenantkit throws. `code` is a literal, so that `switch (error.code)` narrows
 * {@link AnyTenantkitError}. No message names another tenant, shows its data, a key or a secret.
 *
 * @example
 * ```ts
 * import { isTenantkitError } from '@tenantkit/core';
 * try {
 *   await redis.config('GET', '*');
 * } catch (error) {
 *   if (isTenantkitError(error) && error.code === 'OPERATION_REFUSED') console.log(error.hint);
 *   else throw error;
 * }
 * ```
 */
export abstract class TenantkitError<Code extends string = string> extends Error {
  abstract readonly code: Code;
  readonly surface: Surface;
  readonly operation: string | undefined;
  readonly hint: string;
  readonly [BRAND] = true;

  constructor(message: string, { surface, operation, hint, cause }: ErrorDetails) {
    super(`${message} ${hint}`, cause === undefined ? undefined : { cause });
    this.surface = surface;
    this.operation = operation;
    this.hint = hint;
  }

  /** Everything but the stack and the cause: those may hold physical names of the raw client. */
  toJSON(): { name: string; code: Code; surface: Surface; operation: string | undefined; message: string } {
    const { name, code, surface, operation, message } = this;
    return { name, code, surface, operation, message };
  }
}

/** An operation was called outside {@link withTenant} and outside {@link acrossTenants}. */
export class MissingTenantError extends TenantkitError<'TENANT_MISSING'> {
  static {
    named(this, 'MissingTenantError');
  }
  readonly code = 'TENANT_MISSING';

  constructor({
    surface,
    operation,
    caller = surface,
  }: {
    surface: Surface;
    operation?: string | undefined;
    /** In the text in the place of the surface, which may have several objects: `worker`. */
    caller?: string | undefined;
  }) {
    super(`No tenant: ${at(caller, operation)} was called outside of any tenant.`, {
      surface,
      operation,
      hint: 'Wrap the call in withTenant(id, () => …); for work that spans tenants use acrossTenants({ reason, actor }, () => …).',
    });
  }
}

/** A tenant or subject id does not have the form that {@link tenantId} asks for. */
export class InvalidTenantError extends TenantkitError<'TENANT_INVALID'> {
  static {
    named(this, 'InvalidTenantError');
  }
  readonly code = 'TENANT_INVALID';

  constructor({ what, problem }: { what: 'tenant' | 'subject'; problem: string }) {
    super(`Invalid ${what} id: ${problem}.`, {
      surface: 'core',
      hint: 'An id is 1 to 64 characters of A-Z a-z 0-9 _ -; map other names to such an id first.',
    });
  }
}

/** Code that runs inside one tenant tried to enter another, or used an object that was made in another. */
export class TenantSwitchError extends TenantkitError<'TENANT_SWITCH'> {
  static {
    named(this, 'TenantSwitchError');
  }
  readonly code = 'TENANT_SWITCH';

  constructor({ surface, operation, what }: { surface: Surface; operation: string; what?: string }) {
    super(what ?? 'Code inside one tenant tried to enter another.', {
      surface,
      operation,
      hint: 'Leave the first tenant before entering the next, make the object inside the tenant that uses it, or state the crossing with acrossTenants({ reason, actor }, () => …).',
    });
  }
}

/**
 * What of a call is refused, for those who answer it: `operation`, what no tenant may do, or something about it that
 * the surface does not tell apart; `key`, a name; `value`, another value; `place` and `credentials`, what the service
 * was to say of the tenant and did not.
 */
export type RefusalReason = 'operation' | 'key' | 'value' | 'place' | 'credentials';

/** The rules table refuses this operation, or does not know it. */
export class OperationRefusedError extends TenantkitError<'OPERATION_REFUSED'> {
  static {
    named(this, 'OperationRefusedError');
  }
  readonly code = 'OPERATION_REFUSED';
  /** Why it is refused, as a clause: `it lists the keys of every tenant`. */
  readonly why: string;
  /** What to use instead, as a sentence. */
  readonly instead: string;
  /** What of the call it is about: `key` and `value` may be a user's, `place` and `credentials` are the service's. */
  readonly reason: RefusalReason;

  constructor({
    surface,
    operation,
    why,
    instead,
    reason = 'operation',
    place,
    caller = surface,
  }: {
    surface: Surface;
    operation: string;
    why: string;
    instead: string;
    reason?: RefusalReason | undefined;
    /** Where it was called; left out when that is outside of both, or does not matter. */
    place?: 'a tenant' | 'acrossTenants' | undefined;
    /** In the text in the place of the surface, which may have several objects: `worker`. */
    caller?: string | undefined;
  }) {
    super(`${at(caller, operation)} is refused${place === undefined ? '' : ` inside ${place}`}: ${why}.`, {
      surface,
      operation,
      hint: instead,
    });
    this.why = why;
    this.instead = instead;
    this.reason = reason;
  }
}

/** A request named something that belongs to another tenant. Outward (HTTP) this is a plain 404. */
export class CrossTenantError extends TenantkitError<'CROSS_TENANT'> {
  static {
    named(this, 'CrossTenantError');
  }
  readonly code = 'CROSS_TENANT';

  constructor({
    surface,
    operation,
    what,
    cause,
  }: {
    surface: Surface;
    operation: string;
    what: string;
    cause?: unknown;
  }) {
    super(`${at(surface, operation)}: ${what}.`, {
      surface,
      operation,
      cause,
      hint: 'Use names of the current tenant only; answer the caller as if it did not exist.',
    });
  }
}

/** The tenant is frozen or erased, or the registry is too old to tell. */
export class TenantFencedError extends TenantkitError<'TENANT_FENCED'> {
  static {
    named(this, 'TenantFencedError');
  }
  readonly code = 'TENANT_FENCED';
  readonly state: 'frozen' | 'erased' | 'unknown';

  constructor({
    surface,
    operation,
    state,
  }: {
    surface: Surface;
    operation?: string | undefined;
    state: 'frozen' | 'erased' | 'unknown';
  }) {
    super(`${at(surface, operation)} is refused: ${FENCED[state].what}.`, {
      surface,
      operation,
      hint: FENCED[state].hint,
    });
    this.state = state;
  }
}

const FENCED = {
  frozen: {
    what: 'the tenant is frozen',
    hint: 'An erasure or a suspension is under way; retry after it was lifted.',
  },
  erased: { what: 'the tenant was erased', hint: 'A tombstone is permanent: give a new customer a new id.' },
  unknown: {
    what: 'the tenant registry could not be refreshed in time',
    hint: 'Check that the registry store can be reached; work resumes with the next refresh.',
  },
} as const;

/** Why a signature was not accepted. */
export type SignatureReason =
  | 'missing'
  | 'malformed'
  | 'unknownKey'
  | 'mismatch'
  | 'replayed'
  | 'fenced'
  | 'expired';

/** Something that must carry a signature (a job header, a sealed token, a certificate) has none that holds. */
export class SignatureError extends TenantkitError<'SIGNATURE_INVALID'> {
  static {
    named(this, 'SignatureError');
  }
  readonly code = 'SIGNATURE_INVALID';
  readonly reason: SignatureReason;
  /**
   * Where it lies, by its name in the store, when an operator is told of it: physical, so that it is in no message and
   * not in {@link SignatureError.toJSON}.
   */
  readonly where: string | undefined;

  constructor({
    surface,
    operation,
    what,
    reason,
    hint = SIGNATURE_HINTS[reason],
    where,
    cause,
  }: {
    surface: Surface;
    operation: string;
    what: string;
    reason: SignatureReason;
    /** Where the surface knows better what to do next; by default what its reason says. */
    hint?: string | undefined;
    where?: string | undefined;
    cause?: unknown;
  }) {
    super(`${at(surface, operation)}: the signature of ${what} was not accepted (${reason}).`, {
      surface,
      operation,
      cause,
      hint,
    });
    this.reason = reason;
    this.where = where;
  }

  /** With the reason and what to do. */
  override toJSON(): ReturnType<TenantkitError<'SIGNATURE_INVALID'>['toJSON']> & {
    reason: SignatureReason;
    hint: string;
  } {
    const { reason, hint } = this;
    return { ...super.toJSON(), reason, hint };
  }
}

const SIGNATURE_HINTS = {
  missing: 'Create it through tenantkit; what was written past it is never accepted.',
  malformed: 'It was altered or was not written by tenantkit.',
  unknownKey: 'Add the key that signed it to the key ring, or let it expire.',
  mismatch: 'It was altered after signing, or moved from where it was signed for.',
  replayed: 'It was used before; create a new one.',
  fenced: 'The tenant it belongs to is frozen or erased.',
  expired: 'It is older than allowed; create a new one.',
} as const satisfies Record<SignatureReason, string>;

/** Why a ciphertext was not decrypted. Every failure of authentication is the one reason `authentication`. */
export type DecryptionReason =
  | 'malformed'
  | 'context'
  | 'version'
  | 'suite'
  | 'epoch'
  | 'keyMissing'
  | 'keyShredded'
  | 'keyNotLoaded'
  | 'authentication';

/** A ciphertext cannot be decrypted here. Says nothing about plaintext, key or tenant. */
export class DecryptionError extends TenantkitError<'DECRYPTION_FAILED'> {
  static {
    named(this, 'DecryptionError');
  }
  readonly code = 'DECRYPTION_FAILED';
  readonly reason: DecryptionReason;

  constructor({ operation, reason, hint }: { operation: string; reason: DecryptionReason; hint: string }) {
    super(`Decryption failed (${reason}).`, { surface: 'crypto', operation, hint });
    this.reason = reason;
  }
}

/** Why a value was not encrypted. */
export type EncryptionReason =
  | 'type'
  | 'text'
  | 'size'
  | 'context'
  | 'keyMissing'
  | 'keyShredded'
  | 'keyNotLoaded';

/** A value cannot be encrypted here. Never shows the value. */
export class EncryptionError extends TenantkitError<'ENCRYPTION_FAILED'> {
  static {
    named(this, 'EncryptionError');
  }
  readonly code = 'ENCRYPTION_FAILED';
  readonly reason: EncryptionReason;

  constructor({ operation, reason, hint }: { operation: string; reason: EncryptionReason; hint: string }) {
    super(`Encryption failed (${reason}).`, { surface: 'crypto', operation, hint });
    this.reason = reason;
  }
}

/** A reply carried something of another tenant. It was not passed on. Treat as an incident. */
export class IsolationBreachError extends TenantkitError<'ISOLATION_BREACH'> {
  static {
    named(this, 'IsolationBreachError');
  }
  readonly code = 'ISOLATION_BREACH';

  constructor({ surface, operation, what }: { surface: Surface; operation: string; what: string }) {
    super(`${at(surface, operation)}: ${what}. The reply was withheld.`, {
      surface,
      operation,
      hint: 'Treat this as an incident: run the auditor of this store and look at the tenantkit:breach events.',
    });
  }
}

/** An option, a template or a configuration file is not usable. Thrown at construction, never later. */
export class ConfigError extends TenantkitError<'CONFIG_INVALID'> {
  static {
    named(this, 'ConfigError');
  }
  readonly code = 'CONFIG_INVALID';

  constructor({
    surface,
    operation,
    problem,
    hint,
    cause,
  }: {
    surface: Surface;
    operation?: string | undefined;
    problem: string;
    hint: string;
    cause?: unknown;
  }) {
    super(`Invalid configuration of ${at(surface, operation)}: ${problem}.`, {
      surface,
      operation,
      hint,
      cause,
    });
  }
}

/** A server did not answer in time. `target` never holds credentials. */
export class StoreUnreachableError extends TenantkitError<'STORE_UNREACHABLE'> {
  static {
    named(this, 'StoreUnreachableError');
  }
  readonly code = 'STORE_UNREACHABLE';
  readonly target: string;

  constructor({
    surface,
    operation,
    target,
    cause,
  }: {
    surface: Surface;
    operation?: string | undefined;
    target: string;
    cause?: unknown;
  }) {
    const shown = withoutCredentials(target);
    super(`${at(surface, operation)}: ${shown} cannot be reached.`, {
      surface,
      operation,
      cause,
      hint: 'Check that the server is up and that host, port and TLS settings are right.',
    });
    this.target = shown;
  }
}

/** Every error of core as a union that `switch (error.code)` narrows. */
export type AnyTenantkitError =
  | MissingTenantError
  | InvalidTenantError
  | TenantSwitchError
  | OperationRefusedError
  | CrossTenantError
  | TenantFencedError
  | SignatureError
  | DecryptionError
  | EncryptionError
  | IsolationBreachError
  | ConfigError
  | StoreUnreachableError;

/** The literal codes of {@link AnyTenantkitError}. */
export type ErrorCode = AnyTenantkitError['code'];

/**
 * Whether `error` came from tenantkit. Unlike `instanceof` it also holds when a service has loaded two copies
 * of core, where each copy has classes of its own.
 */
export function isTenantkitError(error: unknown): error is AnyTenantkitError {
  return typeof error === 'object' && error !== null && BRAND in error;
}

/** `url` without user name, password, query and fragment; a text that is no URL becomes `the server`. */
export function withoutCredentials(url: string): string {
  if (!URL.canParse(url)) return 'the server';
  const { protocol, host, pathname } = new URL(url);
  return host === '' ? 'the server' : `${protocol}//${host}${pathname === '/' ? '' : pathname}`;
}

function at(surface: string, operation: string | undefined): string {
  return operation === undefined ? surface : `${surface}.${operation}`;
}

// A literal on the prototype: a minifier renames constructors, and the header of `stack` is made before any
// field of the instance is set.
function named(type: { readonly prototype: Error }, name: string): void {
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true });
}
