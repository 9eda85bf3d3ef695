import { BYTES } from './portions.ts';

/**
 * The first COUNT of a walk. Names may be as long as values, and of keys that nobody has seen nothing is known; what
 * SCAN gives is in no order, so that a page tells what the next one will be like.
 */
export const FIRST = 4;

// Four pages after the first a walk is at its full pace.
const GROWTH = 4;

// With this few tries it is known whether the server answers at all.
const RETREAT = 8;

/**
 * How many names are asked for at once: as many as `most`, as long as they are short. A page of long names is more
 * than anybody waits for, and is held in memory by the server and by us.
 */
export class PageSize {
  readonly #most: number;
  #count: number;

  /** @param first - how many at first; `most` at most, and one at least */
  constructor(first: number, most: number) {
    this.#most = most;
    this.#count = this.#within(first);
  }

  get count(): number {
    return this.#count;
  }

  /** Told what the page was that was asked for with this count. */
  came(names: readonly Uint8Array[]): void {
    this.#count = this.#within(this.#count * Math.min(GROWTH, BYTES / bytesOf(names)));
  }

  /** Told that it did not come in time. @returns whether there is a smaller one to ask for */
  late(): boolean {
    if (this.#count === 1) return false;
    this.#count = this.#within(this.#count / RETREAT);
    return true;
  }

  #within(count: number): number {
    return Math.max(1, Math.min(this.#most, Math.floor(count)));
  }
}

function bytesOf(names: readonly Uint8Array[]): number {
  return names.reduce((sum, { length }) => sum + length, 0);
}
