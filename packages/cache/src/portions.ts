import { createHash } from 'node:crypto';
import type { Argument } from './keyspec.ts';

/** Entries, or keys, per command: at this size one command holds the server up for a millisecond or two. */
export const BATCH = 500;

/**
 * Names may be as long as values. Together they are held here several times over, and 512 MB cannot be written: nor is
 * more read at once, unless one name is longer.
 */
export const BYTES = 2 ** 24;

// Longer than any name of ours, and than the prefix of any tenant.
const LONG = 4096;

/**
 * Cuts what goes into commands: no portion has more items than `BATCH`, nor more than 16 MB of names, but one of which
 * a single name is longer.
 */
export function* portionsOf<T>(
  items: readonly T[],
  bytesOf: (item: T) => number,
  count: number = BATCH,
): Generator<readonly T[]> {
  let portion: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const length = bytesOf(item);
    if (portion.length === count || (portion.length > 0 && bytes + length > BYTES)) {
      yield portion;
      portion = [];
      bytes = 0;
    }
    portion.push(item);
    bytes += length;
  }
  if (portion.length > 0) yield portion;
}

/** As {@link portionsOf}, of names. */
export function portionsOfNames<T extends Argument>(names: readonly T[]): Generator<readonly T[]> {
  return portionsOf(names, (name) => name.length);
}

/** Whether no more belongs into one command. */
export function isFull(names: readonly Argument[]): boolean {
  return names.length >= BATCH || names.reduce((sum, name) => sum + name.length, 0) >= BYTES;
}

/**
 * What a key begins with, byte for byte, as a text: enough to see whose it is. A key may be longer than a text can be.
 * One that is cut is no name of ours, and ends in what none of those holds.
 */
export function startOf(key: Buffer): string {
  return key.length <= LONG ? key.toString('latin1') : `${key.toString('latin1', 0, LONG)}\u{2026}`;
}

/** What tells a key from all others. */
export function idOf(key: Buffer): string {
  return key.length <= LONG
    ? key.toString('latin1')
    : `\u{2026}${createHash('sha256').update(key).digest('hex')}`;
}
