import { randomFillSync } from 'node:crypto';

/** How many jobs a worker remembers at least; at most twice as many. */
const REMEMBERED = 50_000;

/** How many slots a table begins with, and by how much it grows: an idle queue's is to cost next to nothing. */
const SLOTS = 256;
const GROWTH = 4;
/** Up to which part a table is filled before it grows: 50,000 jobs are in 65,536 slots. */
const FULL = 0.8;

const WORD = 2 ** 32;

/** Known to this process alone: who chooses ids must not be able to choose what they are remembered by. */
const [KEY_0 = 0, KEY_1 = 0] = randomFillSync(new Int32Array(2));

/** What {@link hash} has found last: an object for each job would cost as much as the hash. */
const found = new Int32Array(2);

/**
 * A keyed hash of 64 bits: HalfSipHash with one round per word and three at the end (J.-P. Aumasson, D. J. Bernstein:
 * SipHash, 2012), which Linux has for its hash tables. It works on 32 bits: with BigInt it would take ten times as long,
 * and an HMAC four times.
 *
 * What is hashed is the length of the id, the time in two words, and the id, two characters in a word: no two of them are
 * the same words.
 */
function hash(id: string, issuedAt: number): void {
  const { length } = id;
  const words = (length + 1) >> 1;
  const last = words + 5;
  let v0 = KEY_0;
  let v1 = KEY_1 ^ 0xee;
  let v2 = KEY_0 ^ 0x6c796765;
  let v3 = KEY_1 ^ 0x74656462;
  for (let at = -3; at <= last; at += 1) {
    let word = 0;
    if (at === -3) word = length;
    else if (at === -2) word = issuedAt | 0;
    else if (at === -1) word = Math.floor(issuedAt / WORD) | 0;
    else if (at < words) {
      word = id.charCodeAt(at * 2);
      if (at * 2 + 1 < length) word |= id.charCodeAt(at * 2 + 1) << 16;
    } else if (at === words) v2 ^= 0xee;
    else if (at === words + 3) {
      found[0] = v1 ^ v3;
      v1 ^= 0xdd;
    }
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  // An empty slot is zero.
  found[1] = v1 ^ v3 || 1;
}

/** Hashes in an open-addressed table, eight bytes each: nothing of it is for the garbage collector to look at. */
class Generation {
  #table = new Int32Array(0);
  #slots = 0;
  #size = 0;

  add(high: number, low: number): void {
    if (this.#size >= this.#slots * FULL) this.#grow();
    const at = this.#find(high, low);
    if (this.#table[at + 1] !== 0) return;
    this.#put(at, high, low);
    this.#size += 1;
  }

  has(high: number, low: number): boolean {
    return this.#size > 0 && this.#table[this.#find(high, low) + 1] !== 0;
  }

  /** Where a hash is, or would be. There is always an empty slot. */
  #find(high: number, low: number): number {
    const table = this.#table;
    const mask = this.#slots - 1;
    for (let slot = high & mask; ; slot = (slot + 1) & mask) {
      const at = slot * 2;
      const there = table[at + 1];
      if (there === 0 || (there === low && table[at] === high)) return at;
    }
  }

  #put(at: number, high: number, low: number): void {
    this.#table[at] = high;
    this.#table[at + 1] = low;
  }

  #grow(): void {
    const before = this.#table;
    this.#slots = Math.max(SLOTS, this.#slots * GROWTH);
    this.#table = new Int32Array(this.#slots * 2);
    for (let at = 0; at < before.length; at += 2) {
      const high = before[at] ?? 0;
      const low = before[at + 1] ?? 0;
      if (low !== 0) this.#put(this.#find(high, low), high, low);
    }
  }
}

/**
 * The jobs that a worker has completed, or failed for good: none of them runs there again unless it is signed again. A
 * record in Redis would not hold against who writes to Redis.
 *
 * A job is known by its id and the time at which it was signed, not by its whole header: its data may be replaced, and
 * signed with the same claims, while it runs. What is kept is a hash of the two. That another job has the same one, and is
 * refused as replayed, has a chance of 1 to 180,000,000,000,000 for each job. Two generations take turns.
 */
export class EndedJobs {
  #young = new Generation();
  #old = new Generation();
  #size = 0;
  /** When the last one of all of them was signed. */
  #newest = -Infinity;
  readonly #remembered: number;

  /** @param remembered - how many at least */
  constructor(remembered = REMEMBERED) {
    this.#remembered = remembered;
  }

  /** @param id - that no job of another lane has */
  add(id: string, issuedAt: number): void {
    if (issuedAt > this.#newest) this.#newest = issuedAt;
    hash(id, issuedAt);
    this.#young.add(found[0] ?? 0, found[1] ?? 0);
    this.#size += 1;
    if (this.#size < this.#remembered) return;
    this.#old = this.#young;
    this.#young = new Generation();
    this.#size = 0;
  }

  has(id: string, issuedAt: number): boolean {
    // Most jobs: they are signed after those that have ended.
    if (issuedAt > this.#newest) return false;
    hash(id, issuedAt);
    const high = found[0] ?? 0;
    const low = found[1] ?? 0;
    return this.#young.has(high, low) || this.#old.has(high, low);
  }
}
