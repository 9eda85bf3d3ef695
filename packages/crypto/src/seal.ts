import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';
import { intoKey, u32 } from './derive.ts';
import { join, type Message } from './format.ts';
import { NONCE_LENGTH, gcmOpen, gcmSeal } from './gcm.ts';
import type { ColumnKey } from './keys.ts';
import { SaltPool } from './salts.ts';

/** Each key encrypts one message only, so the nonce may be the same for all. */
const NONCE = Buffer.alloc(NONCE_LENGTH);

const salts = new SaltPool();

/**
 * Encrypts one value under a key of its own. One HMAC-SHA-512 over salt and context gives that key and the
 * commitment: a plain GCM ciphertext can be made to decrypt under two keys, this one would need two column
 * keys, rows or salts with the same half of an HMAC.
 *
 * @param row - bytes of the row, bound when given
 * @param salt - 24 random bytes, never used twice under the same column key
 */
export function seal(
  column: ColumnKey,
  row: Uint8Array | undefined,
  plaintext: string | Uint8Array,
  salt: Uint8Array = salts.next(),
): Buffer {
  const context = withRow(column.context, row);
  const { key, commitment } = messageKey(column.key, salt, context);
  const { body, tag } = gcmSeal(key, NONCE, context, plaintext);
  return join({ epoch: column.epoch, salt, commitment, body, tag });
}

/** Decrypts; `undefined` when key, context or any byte is not what it was sealed with. */
export function open(column: ColumnKey, row: Uint8Array | undefined, message: Message): Buffer | undefined {
  const context = withRow(column.context, row);
  const { key, commitment } = messageKey(column.key, message.salt, context);
  if (!timingSafeEqual(commitment, message.commitment)) return undefined;
  return gcmOpen(key, NONCE, context, message);
}

function messageKey(
  column: KeyObject,
  salt: Uint8Array,
  context: Uint8Array,
): { readonly key: KeyObject; readonly commitment: Buffer } {
  const derived = createHmac('sha512', column).update(salt).update(context).digest();
  return { key: intoKey(derived.subarray(0, 32)), commitment: derived.subarray(32) };
}

function withRow(context: Buffer, row: Uint8Array | undefined): Buffer {
  return row === undefined ? context : Buffer.concat([context, u32(row.length), row]);
}
