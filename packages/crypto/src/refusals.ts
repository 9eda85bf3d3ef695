import {
  DecryptionError,
  EncryptionError,
  publish,
  type DecryptionReason,
  type EncryptionReason,
  type TenantContext,
} from '@tenantkit/core';

/** Why a tenant's keys are not at hand. */
export type Unavailable = 'keyMissing' | 'keyShredded' | 'keyLocked' | 'keyNotLoaded';

const UNAVAILABLE = {
  keyMissing: 'This tenant has no key here: make one with keyring.create(tenant), or restore the key store.',
  keyShredded: 'The key was destroyed for good: give a new customer a new tenant id.',
  keyLocked: 'The key was wrapped by another master key, or its record was altered: run the auditor.',
  keyNotLoaded:
    'Await keyring.load() or keyring.withKeys(fn) in this tenant first, or use the …Async variant.',
} as const satisfies Record<Unavailable, string>;

// First, because the advice that follows is wrong and dangerous when a service has mixed two tenants up.
const FOREIGN = 'It may belong to another tenant: rule that out first.';

const FIELD =
  'Give { table, column } as well-formed texts of 1 to 256 characters, and row (text, safe integer or bigint) only if there is one.';

const DECRYPTION = {
  malformed:
    'It is not a ciphertext of this package, was cut short, or holds bytes where a text is read (use decryptBytes).',
  version: 'It was written in another version of the format: update @tenantkit/crypto.',
  context: FIELD,
  suite: 'It was written with another cipher suite: update @tenantkit/crypto.',
  epoch: `${FOREIGN} If it is this tenant’s, its key epoch is not there: restore the key store it was written with.`,
  authentication:
    'Tenant, table, column and row must be those it was encrypted with, and the text unaltered: treat it as tampered.',
  keyMissing: `${FOREIGN} ${UNAVAILABLE.keyMissing}`,
  keyShredded: UNAVAILABLE.keyShredded,
  keyNotLoaded: UNAVAILABLE.keyNotLoaded,
} as const satisfies Record<DecryptionReason, string>;

const ENCRYPTION = {
  type: 'encrypt takes a string, encryptBytes a Uint8Array; null stays null, everything else is refused.',
  text: 'The text holds a lone surrogate, which UTF-8 would silently replace: use toWellFormed() or encryptBytes.',
  size: 'A value may have 16 MiB: store larger data elsewhere.',
  context: FIELD,
  keyMissing: UNAVAILABLE.keyMissing,
  keyShredded: UNAVAILABLE.keyShredded,
  keyNotLoaded: UNAVAILABLE.keyNotLoaded,
} as const satisfies Record<EncryptionReason, string>;

/** The error for a value that is not decrypted; one audit event unless only a key has to be loaded first. */
export function notDecrypted(
  operation: string,
  reason: DecryptionReason | Unavailable,
  context?: TenantContext,
): DecryptionError {
  const outward = reason === 'keyLocked' ? 'keyMissing' : reason;
  const error = new DecryptionError({
    operation,
    reason: outward,
    hint: reason === 'keyLocked' ? UNAVAILABLE.keyLocked : DECRYPTION[reason],
  });
  if (outward !== 'keyNotLoaded') announce(operation, error.message, context);
  return error;
}

/** The error for a value that is not encrypted. */
export function notEncrypted(
  operation: string,
  reason: EncryptionReason | Unavailable,
  context?: TenantContext,
): EncryptionError {
  const outward = reason === 'keyLocked' ? 'keyMissing' : reason;
  const error = new EncryptionError({
    operation,
    reason: outward,
    hint: reason === 'keyLocked' ? UNAVAILABLE.keyLocked : ENCRYPTION[reason],
  });
  if (outward !== 'keyNotLoaded') announce(operation, error.message, context);
  return error;
}

function announce(operation: string, message: string, context: TenantContext | undefined): void {
  publish('refused', {
    surface: 'crypto',
    operation,
    message,
    tenant: context?.tenant,
    actor: context?.actor,
  });
}
