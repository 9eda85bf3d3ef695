import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  hkdfSync,
  randomBytes,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** A secret that continuation tokens and upload ids are sealed with. */
export interface SealingKey {
  /** A name of the key that tells it from others, such as `2026-11`. Not secret. */
  readonly kid: string;
  /** At least 32 bytes, random. */
  readonly secret: string | Uint8Array;
}

/** Seals a server's opaque text for one place, so that it opens nowhere else. */
export interface Sealer {
  /** The same text in the same place is sealed in the same way, as long as the first key stays. */
  seal(text: string, place: readonly string[]): string;
  /** The text, or `undefined` for anything else than a token that was sealed for this very place. */
  open(token: unknown, place: readonly string[]): string | undefined;
}

const VERSION = 1;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const KID_BYTES = 4;
const HEAD_BYTES = 1 + KID_BYTES + NONCE_BYTES;
const MAX_TOKEN = 8192;

/**
 * Makes a sealer. A token is `version | key tag | nonce | ciphertext | tag` of AES-256-GCM in base64url, with the
 * place as additional data. Servers differ in what their tokens are (Ceph's is the next key in the clear), so
 * nothing of it is shown and nothing that a caller made up is passed on.
 *
 * The nonce is derived from what is sealed (as in RFC 5297, a synthetic one): an upload that is named by several
 * replies has one id, which callers compare. Two different texts in need of one nonce are as rare as with random ones.
 *
 * @param keys - the first seals, all open. Without any, a random key of this process: a token then works only in
 *   the process that gave it
 */
export function createSealer(
  keys: readonly SealingKey[] = [{ kid: 'process', secret: randomBytes(32) }],
): Sealer {
  const ring = keys.map(derive);
  const [first] = ring;
  return {
    seal(text, place) {
      if (first === undefined) throw new TypeError('createSealer needs at least one key');
      const start = Buffer.concat([Buffer.from([VERSION]), first.tag]);
      const nonce = createHmac('sha256', first.nonceKey)
        .update(aad(start, [...place, text]))
        .digest()
        .subarray(0, NONCE_BYTES);
      const head = Buffer.concat([start, nonce]);
      const cipher = createCipheriv('aes-256-gcm', first.key, nonce, { authTagLength: TAG_BYTES });
      cipher.setAAD(aad(head, place));
      const body = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
      return Buffer.concat([head, body, cipher.getAuthTag()]).toString('base64url');
    },
    open(token, place) {
      if (typeof token !== 'string' || token.length > MAX_TOKEN) return undefined;
      const bytes = Buffer.from(token, 'base64url');
      // Buffer ignores what is not base64url: only the one canonical spelling is a token.
      if (bytes.length < HEAD_BYTES + TAG_BYTES || bytes.toString('base64url') !== token) return undefined;
      const head = bytes.subarray(0, HEAD_BYTES);
      if (head[0] !== VERSION) return undefined;
      const tag = head.subarray(1, 1 + KID_BYTES);
      for (const { key } of ring.filter((candidate) => candidate.tag.equals(tag))) {
        const text = decrypt(key, head, bytes.subarray(HEAD_BYTES), place);
        if (text !== undefined) return text;
      }
      return undefined;
    },
  };
}

function decrypt(key: KeyObject, head: Buffer, rest: Buffer, place: readonly string[]): string | undefined {
  const nonce = head.subarray(1 + KID_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad(head, place));
  decipher.setAuthTag(rest.subarray(rest.length - TAG_BYTES));
  try {
    const body = decipher.update(rest.subarray(0, rest.length - TAG_BYTES));
    return Buffer.concat([body, decipher.final()]).toString('utf8');
  } catch {
    // Not authentic: the only error that final() knows. It is the same answer as for a text that is no token.
    return undefined;
  }
}

interface Derived {
  readonly tag: Buffer;
  readonly key: KeyObject;
  readonly nonceKey: KeyObject;
}

function derive({ kid, secret }: SealingKey): Derived {
  const of = (use: string): KeyObject =>
    createSecretKey(Buffer.from(hkdfSync('sha256', secret, '', `tenantkit/storage ${use} v1`, 32)));
  return {
    tag: createHash('sha256').update(kid).digest().subarray(0, KID_BYTES),
    key: of('token'),
    nonceKey: of('nonce'),
  };
}

// Length-prefixed, so that no two places read the same.
function aad(head: Buffer, place: readonly string[]): Buffer {
  return Buffer.concat([head, ...place.map((part) => Buffer.from(`${Buffer.byteLength(part)}:${part}`))]);
}
