/** A bounded map that forgets what was not used for longest. */
export class Lru<K, V> {
  readonly #max: number;
  readonly #entries = new Map<K, V>();

  readonly #keep: (key: K) => boolean;

  /** @param keep - tells which entries stay, also beyond the bound: their users would fail without them */
  constructor(max: number, keep: (key: K) => boolean = () => false) {
    this.#max = max;
    this.#keep = keep;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    // Far below the bound nothing is near being forgotten: the order is not worth two map writes per read.
    if (value !== undefined && this.#entries.size * 2 > this.#max) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    this.trim();
  }

  /** Forgets what is over the bound. */
  trim(): void {
    if (this.#entries.size <= this.#max) return;
    for (const key of this.#entries.keys()) {
      if (this.#keep(key)) continue;
      this.#entries.delete(key);
      if (this.#entries.size <= this.#max) return;
    }
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.#entries[Symbol.iterator]();
  }
}
