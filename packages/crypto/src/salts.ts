import { randomFillSync } from 'node:crypto';
import { LENGTH } from './format.ts';

/** Random bytes are asked for in blocks: one call costs as much as a hundred salts. */
const BLOCK = LENGTH.salt * 340;

/** Milliseconds after which the rest of a block is thrown away. */
const MAX_AGE = 1_000;

/**
 * Deals salts of 24 random bytes. A block does not get old: a snapshot of the process's memory that is started
 * twice (a cloned machine, a restored function) would deal the same salts in two processes, and two messages under
 * one key and nonce give both plaintexts away.
 */
export class SaltPool {
  readonly #block = Buffer.alloc(BLOCK);
  readonly #fill: (block: Buffer) => void;
  readonly #clock: () => number;
  #used = BLOCK;
  #filledAt = 0;

  constructor(fill: (block: Buffer) => void = randomFillSync, clock: () => number = Date.now) {
    this.#fill = fill;
    this.#clock = clock;
  }

  /** The next salt: a view that holds until the one after it is asked for. */
  next(): Uint8Array {
    const time = this.#clock();
    const age = time - this.#filledAt;
    if (this.#used === BLOCK || age < 0 || age > MAX_AGE) {
      this.#fill(this.#block);
      this.#used = 0;
      this.#filledAt = time;
    }
    const at = this.#used;
    this.#used += LENGTH.salt;
    return this.#block.subarray(at, this.#used);
  }
}
