/**
 * For how long, in milliseconds, a client takes an entry that it has written for one that is still there. Whoever
 * removes entries has to wait longer than this before the absence of a key means anything.
 */
export const BELIEF = 1_000;

// Beyond it entries are written again, which is slower and never wrong.
const MAX_BELIEFS = 50_000;

/** Which entries of registries have been written a moment ago. */
export class Beliefs {
  #beliefs = new Map<string, number>();
  #older = new Map<string, number>();
  #turned = 0;

  /** When the entry was written, if that was short enough before `now`. */
  at(entry: string, now: number): number | undefined {
    if (now - this.#turned > BELIEF) {
      this.#older = now - this.#turned > 2 * BELIEF ? new Map<string, number>() : this.#beliefs;
      this.#beliefs = new Map();
      this.#turned = now;
    }
    const at = this.#beliefs.get(entry) ?? this.#older.get(entry);
    return at !== undefined && now - at < BELIEF ? at : undefined;
  }

  /** @param at - when it was asked for, by the clock of the process */
  add(entry: string, at: number): void {
    if (this.#beliefs.size < MAX_BELIEFS) this.#beliefs.set(entry, at);
  }

  clear(): void {
    this.#beliefs.clear();
    this.#older.clear();
  }
}
