import { TAG_LENGTH } from './gcm.ts';

/** Version of the byte format. */
const VERSION = 0x01;

/** AES-256-GCM under a key per message; key and commitment from one HMAC-SHA-512. */
export const SUITE = 0x01;

/** Lengths of the fields, in bytes; see docs/crypto-format.md. */
export const LENGTH = { header: 6, salt: 24, commitment: 32, tag: TAG_LENGTH } as const;

/** How much longer a ciphertext is than its plaintext, in bytes. */
export const OVERHEAD: number = LENGTH.header + LENGTH.salt + LENGTH.commitment + LENGTH.tag;

/**
 * The longest plaintext, in bytes: 16 MiB. A value is held in memory several times over; larger data belongs in
 * chunks.
 */
export const MAX_PLAINTEXT: number = 16 * 1024 * 1024;

/** What a text form begins with. */
export const TEXT_PREFIX = 'tk1.';

const SALT_AT = LENGTH.header;
const COMMITMENT_AT = SALT_AT + LENGTH.salt;
const BODY_AT = COMMITMENT_AT + LENGTH.commitment;
const MAX_BYTES = OVERHEAD + MAX_PLAINTEXT;
const MAX_TEXT = TEXT_PREFIX.length + Math.ceil((MAX_BYTES * 4) / 3);

/** A ciphertext, taken apart. The fields are views of the same memory. */
export interface Message {
  readonly epoch: number;
  readonly salt: Uint8Array;
  readonly commitment: Uint8Array;
  readonly body: Uint8Array;
  readonly tag: Uint8Array;
}

/** Why bytes or a text are not a message. */
export type FormatProblem = 'malformed' | 'version' | 'suite' | 'authentication';

/** `0x01 | suite | epoch u32BE`: what every message begins with. */
export function header(epoch: number): Buffer {
  const bytes = Buffer.alloc(LENGTH.header);
  bytes[0] = VERSION;
  bytes[1] = SUITE;
  bytes.writeUInt32BE(epoch, 2);
  return bytes;
}

/** Puts a message together. */
export function join({ epoch, salt, commitment, body, tag }: Message): Buffer {
  const bytes = Buffer.allocUnsafe(OVERHEAD + body.length);
  bytes[0] = VERSION;
  bytes[1] = SUITE;
  bytes.writeUInt32BE(epoch, 2);
  bytes.set(salt, SALT_AT);
  bytes.set(commitment, COMMITMENT_AT);
  bytes.set(body, BODY_AT);
  bytes.set(tag, BODY_AT + body.length);
  return bytes;
}

/** Takes a message apart. */
export function split(bytes: Buffer): Message | FormatProblem {
  // The first byte says how to read the rest, so it is looked at even when the rest is too short for us.
  if (bytes.length === 0 || bytes.length > MAX_BYTES) return 'malformed';
  if (bytes[0] !== VERSION) return 'version';
  if (bytes.length < OVERHEAD) return 'malformed';
  if (bytes[1] !== SUITE) return 'suite';
  const tagAt = bytes.length - LENGTH.tag;
  return {
    epoch: bytes.readUInt32BE(2),
    salt: bytes.subarray(SALT_AT, COMMITMENT_AT),
    commitment: bytes.subarray(COMMITMENT_AT, BODY_AT),
    body: bytes.subarray(BODY_AT, tagAt),
    tag: bytes.subarray(tagAt),
  };
}

/** The text form: `tk1.` and base64url without padding. */
export function toText(bytes: Buffer): string {
  return TEXT_PREFIX + bytes.toString('base64url');
}

/**
 * Reads the text form. Node's decoder skips what it does not know and ignores the unused bits of the last
 * character, so that many texts give the same bytes; only the one that we would have written is accepted. The
 * others were altered, which is a failure of authentication.
 */
export function fromText(text: string): Buffer | FormatProblem {
  if (!text.startsWith(TEXT_PREFIX) || text.length > MAX_TEXT) return 'malformed';
  const encoded = text.slice(TEXT_PREFIX.length);
  const bytes = Buffer.from(encoded, 'base64url');
  if (bytes.toString('base64url') === encoded) return bytes;
  return bytes.length < OVERHEAD ? 'malformed' : 'authentication';
}
