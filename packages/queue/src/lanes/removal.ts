/** How many jobs one script removes: the server serves nobody else meanwhile, some 10 ms. */
const BATCH = 500;

/** Behind every time that a job may have. As text too: BullMQ's script compares it as such. */
const EVER = Number.MAX_SAFE_INTEGER;

/** One state of a lane. */
export interface CleanedState {
  /** How many jobs are in it. */
  readonly count: () => Promise<number>;
  /** Removes those up to a time, of as many as are looked at; 0 for all. Answers the ids. */
  readonly clean: (until: number, looked: number) => Promise<readonly string[]>;
}

/**
 * Removes jobs as BullMQ's script does, which would keep the server for seconds when there are many of them: a few at a
 * time.
 *
 * @param until - a time in milliseconds
 * @param most - how many are removed at most; 0 for all
 */
export async function cleanInSteps(
  { count, clean }: CleanedState,
  until: number,
  most: number,
): Promise<string[]> {
  if ((await count()) <= BATCH) return [...(await clean(until, most))];
  const removed: string[] = [];
  const limit = most === 0 ? Infinity : most;
  for (let looked = BATCH; removed.length < limit;) {
    const asked = Math.min(looked, limit - removed.length);
    const ids = await clean(until, asked);
    for (const id of ids) removed.push(id);
    if (ids.length > 0) continue;
    // What stands first has to stay: what stands behind it perhaps has not.
    if (asked < looked || looked >= limit || looked >= (await count())) break;
    looked *= 4;
  }
  return removed;
}

/**
 * Makes a state small enough for BullMQ's script to drain.
 *
 * @param kept - how many jobs of it that script may leave
 */
export async function shrink({ count, clean }: CleanedState, kept: number): Promise<void> {
  while ((await count()) > BATCH + kept) {
    const ids = await clean(EVER, BATCH + kept);
    if (ids.length === 0) return;
  }
}
