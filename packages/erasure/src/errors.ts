import { TenantkitError, isTenantkitError, type ErrorDetails, type Verification } from '@tenantkit/core';
import type { ErasureState } from './states.ts';

/** What every error of an erasure is made of. */
export interface ErasureErrorDetails extends Omit<ErrorDetails, 'surface'> {
  /** The id of the erasure, where there is one. */
  readonly erasure?: string | undefined;
}

/**
 * Base of the errors of this package; each has a literal `code`, see {@link AnyErasureError}. An erasure has no
 * terminal failure: after every one of them the ledger holds what was reached, and `run` goes on from there.
 *
 * @example
 * ```ts
 * import { isErasureError } from '@tenantkit/erasure';
 * try {
 *   await erasure.run(id);
 * } catch (error) {
 *   if (isErasureError(error) && error.code === 'ERASURE_STORES_FAILED') console.log(error.failures);
 *   else throw error;
 * }
 * ```
 */
export abstract class ErasureError<Code extends string = string> extends TenantkitError<Code> {
  readonly erasure: string | undefined;

  constructor(message: string, { erasure, ...details }: ErasureErrorDetails) {
    super(message, { surface: 'erasure', ...details });
    this.erasure = erasure;
  }
}

/** There is no erasure with this id, or it belongs to another tenant than the current one. */
export class ErasureNotFoundError extends ErasureError<'ERASURE_NOT_FOUND'> {
  static {
    named(this, 'ErasureNotFoundError');
  }
  readonly code = 'ERASURE_NOT_FOUND';

  constructor({ operation }: { operation: string }) {
    super('There is no such erasure.', { operation, hint: 'Take the id from request() or list().' });
  }
}

/** The operation does not fit the state: running what was not approved, a certificate before completion. */
export class ErasureStateError extends ErasureError<'ERASURE_STATE'> {
  static {
    named(this, 'ErasureStateError');
  }
  readonly code = 'ERASURE_STATE';
  readonly state: ErasureState;

  constructor({
    operation,
    erasure,
    state,
    hint,
  }: {
    operation: string;
    erasure: string;
    state: ErasureState;
    hint: string;
  }) {
    super(`erasure.${operation} is not possible while the erasure is ${state}.`, {
      operation,
      erasure,
      hint,
    });
    this.state = state;
  }
}

/** Somebody else changed the erasure meanwhile, or the plan is not the one that was looked at. */
export class ErasureConflictError extends ErasureError<'ERASURE_CONFLICT'> {
  static {
    named(this, 'ErasureConflictError');
  }
  readonly code = 'ERASURE_CONFLICT';

  constructor({ operation, erasure, what }: { operation: string; erasure: string; what: string }) {
    super(`${what}.`, { operation, erasure, hint: 'Look at status() and at the plan, then decide again.' });
  }
}

/** Some stores cannot tell the data of one person from that of others. */
export class SubjectUnsupportedError extends ErasureError<'ERASURE_SUBJECT_UNSUPPORTED'> {
  static {
    named(this, 'SubjectUnsupportedError');
  }
  readonly code = 'ERASURE_SUBJECT_UNSUPPORTED';
  readonly stores: readonly { readonly store: string; readonly why: string }[];

  constructor({
    erasure,
    stores,
  }: {
    erasure: string;
    stores: readonly { readonly store: string; readonly why: string }[];
  }) {
    const list = stores.map(({ store, why }) => `${store} (${why})`).join(', ');
    super(`A person cannot be erased from: ${list}.`, {
      operation: 'plan',
      erasure,
      hint: "Erase the whole tenant, or leave these stores to a tool of your own and configure only stores that can find a person's data; their READMEs say which can.",
    });
    this.stores = stores;
  }
}

/** The stores or the fence are not those that the erasure was planned with. */
export class ErasureConfigChangedError extends ErasureError<'ERASURE_CONFIG_CHANGED'> {
  static {
    named(this, 'ErasureConfigChangedError');
  }
  readonly code = 'ERASURE_CONFIG_CHANGED';
  readonly missing: readonly string[];
  readonly added: readonly string[];

  constructor({
    erasure,
    missing,
    added,
    begun,
  }: {
    erasure: string;
    missing: readonly string[];
    added: readonly string[];
    begun: boolean;
  }) {
    const parts = [
      ...(missing.length === 0 ? [] : [`${missing.join(', ')} missing`]),
      ...(added.length === 0 ? [] : [`${added.join(', ')} not in the plan`]),
    ];
    super(`The configuration is not the one that was planned with: ${parts.join('; ')}.`, {
      operation: 'run',
      erasure,
      hint: begun
        ? 'Run it with the stores and the fence of its plan; request another erasure for what was added.'
        : 'Plan and approve again.',
    });
    this.missing = missing;
    this.added = added;
  }
}

/** The plan is too old to be acted on. */
export class PlanStaleError extends ErasureError<'ERASURE_PLAN_STALE'> {
  static {
    named(this, 'PlanStaleError');
  }
  readonly code = 'ERASURE_PLAN_STALE';
  readonly plannedAt: string;

  constructor({ erasure, plannedAt }: { erasure: string; plannedAt: string }) {
    super(`The plan of ${plannedAt} is too old: what was approved may be far from what is there now.`, {
      operation: 'run',
      erasure,
      hint: 'Call plan() and approve() again, or raise planMaxAge.',
    });
    this.plannedAt = plannedAt;
  }
}

/** Another process runs this erasure. */
export class ErasureBusyError extends ErasureError<'ERASURE_BUSY'> {
  static {
    named(this, 'ErasureBusyError');
  }
  readonly code = 'ERASURE_BUSY';
  /** Who holds the lease: `host:pid`. */
  readonly holder: string;
  /** RFC 3339: when the lease ends unless its holder renews it. */
  readonly until: string;

  constructor({ erasure, holder, until }: { erasure: string; holder: string; until: string }) {
    super(`The erasure is being run by ${holder}, whose lease holds until ${until} unless it is renewed.`, {
      operation: 'run',
      erasure,
      hint: 'Wait for it, or run again after that time if the other process has died.',
    });
    this.holder = holder;
    this.until = until;
  }
}

/** This process was silent for longer than its lease, and lost it. */
export class LeaseLostError extends ErasureError<'ERASURE_LEASE_LOST'> {
  static {
    named(this, 'LeaseLostError');
  }
  readonly code = 'ERASURE_LEASE_LOST';

  constructor({ erasure }: { erasure: string }) {
    super('The lease of this run was lost, so it has stopped.', {
      operation: 'run',
      erasure,
      hint: 'Another process may have taken over: look at status(), and run again if it stands still.',
    });
  }
}

/** The run was stopped by its signal; everything that was reached is in the ledger. */
export class ErasureInterruptedError extends ErasureError<'ERASURE_INTERRUPTED'> {
  static {
    named(this, 'ErasureInterruptedError');
  }
  readonly code = 'ERASURE_INTERRUPTED';

  constructor({ operation, erasure, cause }: { operation: string; erasure: string; cause: unknown }) {
    super('The erasure was interrupted; its state is kept.', {
      operation,
      erasure,
      cause,
      hint: `Call ${operation}() again to go on.`,
    });
  }
}

/** A store said nothing for too long: no answer, no progress, no checkpoint. */
export class StoreSilentError extends ErasureError<'ERASURE_STORE_SILENT'> {
  static {
    named(this, 'StoreSilentError');
  }
  readonly code = 'ERASURE_STORE_SILENT';
  readonly store: string;

  constructor({ store, operation, silentFor }: { store: string; operation: string; silentFor: number }) {
    super(`${store} has been silent for ${Math.round(silentFor / 100) / 10} s.`, {
      operation,
      hint: 'Check that its server can be reached; raise storeTimeout if it is only slow.',
    });
    this.store = store;
  }
}

/** An eraser answered something that no certificate can be built on. */
export class StoreContractError extends ErasureError<'ERASURE_STORE_CONTRACT'> {
  static {
    named(this, 'StoreContractError');
  }
  readonly code = 'ERASURE_STORE_CONTRACT';
  readonly store: string;

  constructor({ store, operation, problem }: { store: string; operation: string; problem: string }) {
    super(`The eraser of ${store} broke its contract in ${operation}: ${problem}.`, {
      operation,
      hint: 'This is a defect of that eraser: see the Eraser interface of @tenantkit/core.',
    });
    this.store = store;
  }
}

/** One store that could not be worked on. */
export interface StoreFailure {
  readonly store: string;
  readonly phase: 'plan' | 'count' | 'erase' | 'verify';
  readonly name: string;
  readonly code?: string;
  /** Tells nothing that the ledger may not hold: errors of raw clients are reduced to name and code. */
  readonly message: string;
  /** Whether the store's server could not be reached, so that trying later may help. */
  readonly unreachable: boolean;
}

/** Some stores failed; the others had their turn. `cause` is an AggregateError of the raw errors. */
export class StoresFailedError extends ErasureError<'ERASURE_STORES_FAILED'> {
  static {
    named(this, 'StoresFailedError');
  }
  readonly code = 'ERASURE_STORES_FAILED';
  readonly failures: readonly StoreFailure[];

  constructor({
    operation,
    erasure,
    failures,
    errors,
  }: {
    operation: string;
    erasure: string;
    failures: readonly StoreFailure[];
    errors: readonly unknown[];
  }) {
    const list = failures.map(({ store, phase, message }) => `${store} (${phase}): ${message}`).join('; ');
    super(`${failures.length === 1 ? 'A store' : `${failures.length} stores`} failed: ${list}.`, {
      operation,
      erasure,
      cause: new AggregateError(errors),
      hint: `Call ${operation}() again once the cause is gone; only these stores are tried again.`,
    });
    this.failures = failures;
  }
}

/** A recount found something left, or could not be shown to see. */
export class ErasureNotVerifiedError extends ErasureError<'ERASURE_NOT_VERIFIED'> {
  static {
    named(this, 'ErasureNotVerifiedError');
  }
  readonly code = 'ERASURE_NOT_VERIFIED';
  readonly verifications: readonly Verification[];

  constructor({ erasure, verifications }: { erasure: string; verifications: readonly Verification[] }) {
    super(`Not verified: ${verifications.map(unverified).join('; ')}.`, {
      operation: 'run',
      erasure,
      hint: 'Something may still write for this tenant: stop it (a fence does), then run() again: these stores are erased and counted anew.',
    });
    this.verifications = verifications;
  }
}

/** Why a ledger was not accepted. */
export type LedgerReason = 'tampered' | 'unusable';

/** The ledger cannot be read or written, or its history was altered. */
export class LedgerError extends ErasureError<'LEDGER_FAILED'> {
  static {
    named(this, 'LedgerError');
  }
  readonly code = 'LEDGER_FAILED';
  readonly reason: LedgerReason;

  constructor({
    operation,
    reason,
    problem,
    hint,
    cause,
  }: {
    operation?: string;
    reason: LedgerReason;
    problem: string;
    hint: string;
    cause?: unknown;
  }) {
    super(`The ledger is ${reason}: ${problem}.`, { operation, hint, cause });
    this.reason = reason;
  }
}

/** Why a certificate with a good signature proves nothing. */
export type CertificateReason =
  | 'payload'
  | 'remaining'
  | 'control'
  | 'retention'
  | 'times'
  | 'tenant'
  | 'erasure'
  | 'subject';

/** The signature holds, but what was signed is not the statement that everything is gone. */
export class CertificateError extends ErasureError<'CERTIFICATE_INVALID'> {
  static {
    named(this, 'CertificateError');
  }
  readonly code = 'CERTIFICATE_INVALID';
  readonly reason: CertificateReason;

  constructor({ reason, problem }: { reason: CertificateReason; problem: string }) {
    super(`The certificate is signed, but ${problem}.`, {
      operation: 'verifyCertificate',
      hint: 'Do not accept it as proof of erasure; ask its issuer.',
    });
    this.reason = reason;
  }
}

/** Every error of this package as a union that `switch (error.code)` narrows. */
export type AnyErasureError =
  | ErasureNotFoundError
  | ErasureStateError
  | ErasureConflictError
  | SubjectUnsupportedError
  | ErasureConfigChangedError
  | PlanStaleError
  | ErasureBusyError
  | LeaseLostError
  | ErasureInterruptedError
  | StoreSilentError
  | StoreContractError
  | StoresFailedError
  | ErasureNotVerifiedError
  | LedgerError
  | CertificateError;

/** The literal codes of {@link AnyErasureError}. */
export type ErasureErrorCode = AnyErasureError['code'];

const CODES = {
  ERASURE_NOT_FOUND: true,
  ERASURE_STATE: true,
  ERASURE_CONFLICT: true,
  ERASURE_SUBJECT_UNSUPPORTED: true,
  ERASURE_CONFIG_CHANGED: true,
  ERASURE_PLAN_STALE: true,
  ERASURE_BUSY: true,
  ERASURE_LEASE_LOST: true,
  ERASURE_INTERRUPTED: true,
  ERASURE_STORE_SILENT: true,
  ERASURE_STORE_CONTRACT: true,
  ERASURE_STORES_FAILED: true,
  ERASURE_NOT_VERIFIED: true,
  LEDGER_FAILED: true,
  CERTIFICATE_INVALID: true,
} as const satisfies Record<ErasureErrorCode, true>;

/** Whether `error` is one of this package's; holds across two copies of the package, unlike `instanceof`. */
export function isErasureError(error: unknown): error is AnyErasureError {
  if (!isTenantkitError(error)) return false;
  const { code }: { code: string } = error;
  return Object.hasOwn(CODES, code);
}

function unverified({ store, remaining, control }: Verification): string {
  const left = remaining.filter(({ count }) => count > 0).map(({ kind, count }) => `${count} ${kind}`);
  return left.length > 0
    ? `${store} still holds ${left.join(', ')}`
    : `the recount of ${store} saw ${control.found} of ${control.planted} planted control entries`;
}

// A literal on the prototype: a minifier renames constructors.
function named(type: { readonly prototype: Error }, name: string): void {
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true });
}
