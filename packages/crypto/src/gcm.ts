import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';

const ALGORITHM = 'aes-256-gcm';

/** Lengths of AES-256-GCM, in bytes. */
export const NONCE_LENGTH = 12;
export const TAG_LENGTH = 16;

// Without it Node accepts tags of 4, 8 and 12 to 15 bytes, which are guessed that much sooner.
const WITH_TAG = { authTagLength: TAG_LENGTH } as const;

/** AES-256-GCM. Source: NIST SP 800-38D. */
export function gcmSeal(
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: string | Uint8Array,
): { readonly body: Buffer; readonly tag: Buffer } {
  const cipher = createCipheriv(ALGORITHM, key, nonce, WITH_TAG);
  cipher.setAAD(aad);
  const body = typeof plaintext === 'string' ? cipher.update(plaintext, 'utf8') : cipher.update(plaintext);
  cipher.final();
  return { body, tag: cipher.getAuthTag() };
}

/** The plaintext, or `undefined` when the tag does not hold. */
export function gcmOpen(
  key: KeyObject,
  nonce: Uint8Array,
  aad: Uint8Array,
  { body, tag }: { readonly body: Uint8Array; readonly tag: Uint8Array },
): Buffer | undefined {
  if (tag.length !== TAG_LENGTH) return undefined;
  const decipher = createDecipheriv(ALGORITHM, key, nonce, WITH_TAG);
  decipher.setAAD(aad);
  decipher.setAuthTag(tag);
  const plaintext = decipher.update(body);
  try {
    decipher.final();
  } catch {
    // The one thing final() reports is a tag that does not hold. What update() gave is not to be trusted.
    plaintext.fill(0);
    return undefined;
  }
  return plaintext;
}
