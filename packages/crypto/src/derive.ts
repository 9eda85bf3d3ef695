import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

/** What each derived key is for. A label is in no other derivation, so that no key has two uses. */
export const LABELS = {
  kek: 'tenantkit/crypto/kek/v1',
  masterId: 'tenantkit/crypto/master-id/v1',
  wrap: 'tenantkit/crypto/wrap/v1',
  column: 'tenantkit/crypto/column/v1',
} as const satisfies Record<string, string>;

const NO_SALT = Buffer.alloc(0);

/**
 * Joins fields so that no two different lists give the same bytes: each is preceded by its length in bytes as
 * u32 big-endian. Without the lengths table `a` column `bc` would be table `ab` column `c`.
 */
export function lengthPrefixed(...fields: readonly (string | Uint8Array)[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field;
    parts.push(u32(bytes.length), bytes);
  }
  return Buffer.concat(parts);
}

/** A number as 4 bytes, big-endian. */
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/**
 * HKDF. The salt may be empty where the input is a uniformly random key already.
 * Source: RFC 5869.
 */
export function hkdf(
  digest: 'sha256' | 'sha512',
  key: KeyObject,
  info: Uint8Array,
  length: number,
  salt: Uint8Array = NO_SALT,
): Buffer {
  return Buffer.from(hkdfSync(digest, key, salt, info, length));
}

/**
 * Moves key bytes into a KeyObject and wipes them. OpenSSL clears a KeyObject's memory when it is collected, a
 * Buffer's stays readable for as long as the page does; and on Node 24 a Buffer key is several times slower.
 */
export function intoKey(bytes: Uint8Array): KeyObject {
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}
