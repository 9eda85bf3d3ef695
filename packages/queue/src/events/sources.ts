/** A lane that is read. */
export interface Source {
  readonly tenant: string;
  readonly key: string;
  /** The last entry that was read, or where the stream ended; `undefined` until that was asked. */
  id: string | undefined;
  /** Until then, by the clock that never goes back, it is not read: its key holds another thing than a stream. */
  asideUntil: number;
  /** Since when nobody listens to it. */
  idleSince: number | undefined;
  /** Settles when `id` is known. */
  located: Promise<void> | undefined;
}

/**
 * For so long a lane is read on behind its last listener, in milliseconds: who waits for one job after the other comes
 * back at once, and to begin anew costs three commands.
 */
export const LINGER = 1_000;
/** So many lanes at most. */
const MOST_LINGERING = 100;

/** The lanes that are read: those that somebody listens to, and for a moment those that somebody has listened to. */
export class Sources {
  readonly #lanePrefix: string;
  readonly #all = new Map<string, Source>();
  readonly #idle = new Set<Source>();

  /** @param lanePrefix - what the keys of every lane begin with */
  constructor(lanePrefix: string) {
    this.#lanePrefix = lanePrefix;
  }

  get hasIdle(): boolean {
    return this.#idle.size > 0;
  }

  all(): readonly Source[] {
    return [...this.#all.values()];
  }

  get(tenant: string): Source | undefined {
    return this.#all.get(tenant);
  }

  /** @param id - the last entry that was read, where it is known */
  add(tenant: string, id?: string): Source {
    const source: Source = {
      tenant,
      key: `${this.#lanePrefix}${tenant}:events`,
      id,
      asideUntil: -Infinity,
      idleSince: undefined,
      located: id === undefined ? undefined : Promise.resolve(),
    };
    this.#all.set(tenant, source);
    return source;
  }

  delete(source: Source): void {
    this.#idle.delete(source);
    this.#all.delete(source.tenant);
  }

  /** To be called when nobody listens to a lane any more. */
  rest(source: Source): void {
    if (this.#idle.size >= MOST_LINGERING) return this.delete(source);
    source.idleSince ??= performance.now();
    this.#idle.add(source);
  }

  /** To be called when somebody listens to a lane again. */
  wake(source: Source): void {
    source.idleSince = undefined;
    this.#idle.delete(source);
  }

  /** Forgets the lanes that nobody has come back to. */
  forget(): void {
    const long = performance.now() - LINGER;
    for (const source of this.#idle) if ((source.idleSince ?? Infinity) <= long) this.delete(source);
  }

  clear(): void {
    this.#all.clear();
    this.#idle.clear();
  }
}
