/// <reference lib="es2024.string" />

/**
 * The fields one after the other, each as its UTF-8 bytes behind their number (32 bits, big-endian): no two
 * lists of fields give the same bytes, whatever the fields hold.
 */
export function lengthPrefixed(fields: readonly string[]): Buffer {
  let size = 0;
  for (const field of fields) size += 4 + Buffer.byteLength(field);
  const bytes = Buffer.allocUnsafe(size);
  writeFields(fields, bytes, 0);
  return bytes;
}

/** More bytes than the fields do not take: to count them exactly would cost as much as to write them. */
export function roomFor(fields: readonly string[]): number {
  let room = 0;
  for (const field of fields) room += 4 + 3 * field.length;
  return room;
}

/**
 * Writes fields as {@link lengthPrefixed} does.
 *
 * @param into - has {@link roomFor} them behind `start`
 * @returns where they end
 */
export function writeFields(fields: readonly string[], into: Buffer, start: number): number {
  let at = start;
  for (const field of fields) {
    const length = field === '' ? 0 : into.write(field, at + 4);
    into.writeUInt32BE(length, at);
    at += 4 + length;
  }
  return at;
}

/**
 * Whether the text survives UTF-8. A lone surrogate does not: it would be stored as another character than
 * the one that was signed, and the job could never be verified.
 */
export function isWellFormed(text: string): boolean {
  return text.isWellFormed();
}

/** Groups of four characters, and one of two or three whose last has two or four unused bits, which are zero. */
const BASE64URL = /^(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?$/;

/**
 * Decodes base64url strictly: `Buffer.from` ignores foreign characters and unused bits, so that one signature
 * would have many spellings.
 *
 * @returns the bytes, or `undefined` when `text` is not the one spelling of them
 */
export function decodeBase64url(text: string): Buffer | undefined {
  return BASE64URL.test(text) ? Buffer.from(text, 'base64url') : undefined;
}
