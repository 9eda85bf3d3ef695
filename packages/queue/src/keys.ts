import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { lengthPrefixed } from './bytes.ts';
import type { SigningKey } from './options.ts';

/** Salt of the key derivation, part of the header's format. */
const SALT = 'tenantkit/queue/v1';
const KEY_BYTES = 32;

/** A key that signs: its id goes into the header. */
export interface Signer {
  readonly kid: string;
  readonly key: KeyObject;
}

/** The keys of one queue. */
export interface QueueKeyRing {
  /** The key that signs new jobs. */
  readonly current: Signer;
  /** The key that a header names. There is no trial verification: an unknown id has no key. */
  byId(kid: string): KeyObject | undefined;
}

/**
 * Derives the keys of one queue from the configured secrets with HKDF-SHA-256 (RFC 5869): a header that was
 * signed for one queue or prefix cannot be verified with the keys of another.
 *
 * @param signingKeys - the first signs, all verify
 * @param prefix - BullMQ's key prefix
 * @param queue - the queue's name
 */
export function queueKeyRing(
  signingKeys: readonly [SigningKey, ...SigningKey[]],
  prefix: string,
  queue: string,
): QueueKeyRing {
  const derived = new Map(
    signingKeys.map(({ kid, secret }) => [kid, deriveKey(secret, prefix, queue)] as const),
  );
  const { kid, secret } = signingKeys[0];
  const current: Signer = { kid, key: derived.get(kid) ?? deriveKey(secret, prefix, queue) };
  return { current, byId: (id) => derived.get(id) };
}

// A KeyObject rather than a Buffer: Node 24 converts a Buffer on every createHmac, which costs six times the HMAC.
function deriveKey(secret: string | Uint8Array, prefix: string, queue: string): KeyObject {
  const derived = hkdfSync('sha256', secret, SALT, lengthPrefixed([prefix, queue]), KEY_BYTES);
  return createSecretKey(Buffer.from(derived));
}
