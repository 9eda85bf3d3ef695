/**
 * What is being joined at this moment. Joining may take several steps, on several connections: whoever leaves a
 * channel meanwhile has to come after them, or the server goes on with what nobody knows of any more.
 */
export class Joins {
  readonly #underway = new Map<string, Set<Promise<unknown>>>();

  /** Joins what `keys` stand for. */
  async run<T>(keys: readonly string[], join: () => Promise<T>): Promise<T> {
    const joined = join();
    for (const key of keys) this.#underway.set(key, (this.#underway.get(key) ?? new Set()).add(joined));
    try {
      return await joined;
    } finally {
      for (const key of keys) {
        const joins = this.#underway.get(key);
        joins?.delete(joined);
        if (joins?.size === 0) this.#underway.delete(key);
      }
    }
  }

  /** Resolves when nothing of `keys` is being joined; `undefined` when that is so already. */
  ended(keys: readonly string[]): Promise<unknown> | undefined {
    const joins = new Set(keys.flatMap((key) => [...(this.#underway.get(key) ?? [])]));
    return joins.size === 0 ? undefined : Promise.allSettled(joins);
  }
}
