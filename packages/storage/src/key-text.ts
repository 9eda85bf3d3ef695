import { ConfigError } from '@tenantkit/core';

/** A key as a listing has it. */
export interface KeyText {
  readonly key: string;
  /**
   * Set where the key is of bytes that are no UTF-8: those bytes, percent-encoded. No request can name it (Ceph takes
   * one in a form, and in nothing else), and `key` is only what can be shown of it.
   */
  readonly unnamed?: string;
}

// A listing is asked for percent-encoded, because XML has no way to write most control characters, and keys that
// were written past tenantkit may hold them. Servers write a blank as + (AWS) or %20 (Ceph), and a plus as %2B.
export function keyReader(encoding: string | undefined): (text: string | undefined) => KeyText {
  return encoding === 'url'
    ? (text = '') => decoded(text.replaceAll('+', ' '))
    : (text = '') => ({ key: text });
}

function decoded(text: string): KeyText {
  try {
    return { key: decodeURIComponent(text) };
  } catch {
    // One such key must not hide all others.
    return { key: bytesOf(text).toString(), unnamed: text };
  }
}

/** The bytes of a key, in the order of which servers list. */
function bytesIn({ key, unnamed }: KeyText): Buffer {
  return unnamed === undefined ? Buffer.from(key) : bytesOf(unnamed);
}

function bytesOf(text: string): Buffer {
  const parts = text.split(/((?:%[0-9a-f]{2})+)/i);
  return Buffer.concat(
    parts.map((part, index) =>
      index % 2 === 0 ? Buffer.from(part) : Buffer.from(part.replaceAll('%', ''), 'hex'),
    ),
  );
}

const LAST = '\u{10FFFF}';
const MAX_KEY = 1024;

/**
 * A text right before such a key, in the order of bytes in which servers list: to go on there. What could be made of
 * the key itself comes before or after it, where the same keys are listed again, or others never.
 */
export function markerBefore(unnamed: string): string {
  const bytes = bytesOf(unnamed);
  let start = 0;
  // As far as it is a text: its next character is broken.
  while (start < bytes.length) {
    const length = [1, 2, 3, 4].find((size) => isText(bytes.subarray(start, start + size)));
    if (length === undefined) break;
    start += length;
  }
  const rest = bytes.subarray(start);
  // The greatest character that comes before what is there.
  let low = 0;
  let high = 0x10_ff_ff;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (Buffer.compare(Buffer.from(charOf(middle)), rest) < 0) low = middle;
    else high = middle - 1;
  }
  let marker = `${bytes.subarray(0, start).toString()}${charOf(low)}`;
  while (Buffer.byteLength(marker) + 4 <= MAX_KEY && marker.length < bytes.length + 8) marker += LAST;
  return marker;
}

// Surrogates are no characters of their own; the one before them stands for all.
function charOf(point: number): string {
  return String.fromCodePoint(point >= 0xd8_00 && point <= 0xdf_ff ? 0xd7_ff : point);
}

function isText(bytes: Buffer): boolean {
  return (
    bytes.length > 0 &&
    Buffer.from(bytes.toString()).equals(bytes) &&
    Array.from(bytes.toString()).length === 1
  );
}

/** Which of two keys is listed behind the other. */
export function lastOf(one: KeyText | undefined, other: KeyText | undefined): KeyText | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Buffer.compare(bytesIn(one), bytesIn(other)) < 0 ? other : one;
}

/**
 * Where a listing goes on. Ceph encodes keys when it is asked to, but not this one, in which `+` would be a blank then,
 * and bytes that are no text are lost: it is the last key of the page, so that is taken, as it was read there.
 */
export function positionOf(
  marker: string,
  last: KeyText | undefined,
  read: (text: string) => KeyText,
): KeyText {
  const given = read(marker);
  const isLast = last !== undefined && [marker, given.key].includes(last.key);
  return isLast ? last : given;
}

/** What nobody can erase through S3. */
export function unnameable(count: number): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `${count} objects or uploads have keys of bytes that are no UTF-8, which no request can name; everything else is erased`,
    hint: `${REMOVE}, then run the erasure again.`,
  });
}

/** As {@link unnameable}, before anything is erased. */
export function unnameableNote(count: number): string {
  return `${count} objects or uploads have keys of bytes that are no UTF-8, which no request can name: they will be left, and the erasure fails. ${REMOVE}.`;
}

const REMOVE =
  'Remove them with a tool of the server (radosgw-admin object rm on Ceph), and see who may post forms past this client';
