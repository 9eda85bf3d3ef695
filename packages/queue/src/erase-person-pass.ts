import { names, pieces, readHashes, READ, type PersonWork } from './erase-person-read.ts';
import {
  forgetHash,
  forgetJobs,
  forgetSchedulers,
  type ErasedOfPerson,
  type Judged,
} from './erase-person-scripts.ts';
import { oddKeys } from './key-types.ts';
import { BATCH, LISTS, REPEAT, SORTED_SETS, jobIdOf, scanKeys } from './places.ts';

/**
 * Each is walked from the end at which no worker takes jobs, and they stand in the order in which jobs go through them:
 * what moves while it is looked at is met twice, and seldom not at all.
 */
const STATES: readonly string[] = [
  ...SORTED_SETS.filter((state) => state !== 'completed' && state !== 'failed'),
  ...LISTS,
  'completed',
  'failed',
];

/** What a deduplicated job that is running keeps to be added behind it: BullMQ's keys `dn:<id>`. */
const NEXT = 'dn:';

/**
 * One pass over the jobs of a lane that are about a person.
 *
 * @param isThorough - also over all keys of the database, for what no state of the lane leads to
 */
export async function erasePersonOnce(work: PersonWork, isThorough: boolean): Promise<ErasedOfPerson> {
  const total: ErasedOfPerson = {
    jobs: 0,
    keys: 0,
    events: 0,
    moved: 0,
    active: new Set(),
    parents: new Set(),
  };
  const odd = await oddKeys(work.raw, work.base);
  // Schedulers first: one that is left would go on making jobs.
  await walk(work, odd, REPEAT, async (ids) => {
    const before = total.keys;
    const judged = await ofPerson(work, ids, (id) => `${REPEAT}:${id}`, total);
    if (judged.length > 0) await forgetSchedulers(work.raw, work.base, judged, total);
    return total.keys - before;
  });
  for (const state of STATES) {
    await walk(work, odd, state, async (ids, start) => {
      const before = total.jobs;
      const judged = await ofPerson(work, ids, (id) => id, total);
      if (judged.length > 0) await forgetJobs(work.raw, work.base, { state, start }, judged, total);
      return total.jobs - before;
    });
  }
  // Nothing leads any more to what the state has led to.
  const isLost = odd.has(REPEAT) || STATES.some((state) => odd.has(state));
  if (isThorough || isLost) await eraseScattered(work, total);
  return total;
}

/**
 * Calls with each stretch of a state.
 *
 * @param odd - the states that hold another thing, which nobody can walk
 * @param look - answers how many it has removed of it
 */
async function walk(
  { raw, base, signal }: PersonWork,
  odd: ReadonlySet<string>,
  state: string,
  look: (ids: readonly string[], start: number) => Promise<number>,
): Promise<void> {
  if (odd.has(state)) return;
  const key = base + state;
  const isList = (LISTS as readonly string[]).includes(state);
  for (let start = 0; ;) {
    signal?.throwIfAborted();
    const last = start + BATCH - 1;
    const ids = await raw.run((redis) =>
      isList ? redis.lrange(key, start, last) : redis.zrange(key, start, String(last), 'REV'),
    );
    if (ids.length === 0) return;
    start += ids.length - (await look(ids, start));
  }
}

/** What of these is about the person. On the way it removes what a job of anybody keeps for the person. */
async function ofPerson(
  { raw, base, person }: PersonWork,
  ids: readonly string[],
  keyOf: (id: string) => string,
  total: ErasedOfPerson,
): Promise<readonly Judged[]> {
  const judged: Judged[] = [];
  for (const piece of pieces(ids, READ)) {
    const hashes = await readHashes(
      raw,
      piece.map((id) => base + keyOf(id)),
      false,
    );
    const nexts = new Set<string>();
    for (const [at, { opts, deid }] of hashes.entries()) {
      if (opts !== undefined && names(opts, person)) judged.push({ id: piece[at] ?? '', opts });
      if (deid !== undefined) nexts.add(base + NEXT + deid);
    }
    await forgetNexts([...nexts]);
  }
  return judged;

  async function forgetNexts(keys: readonly string[]): Promise<void> {
    const hashes = await readHashes(raw, keys, false);
    for (const [at, { opts }] of hashes.entries()) {
      if (opts !== undefined && names(opts, person)) await forgetHash(raw, keys[at] ?? '', opts, total);
    }
  }
}

/** Removes what no state leads to: hashes that were lost, and what is kept for a job that is gone. */
async function eraseScattered(work: PersonWork, total: ErasedOfPerson): Promise<void> {
  const { raw, base, person, signal } = work;
  for await (const keys of scanKeys(raw, base, signal)) {
    const found = keys.map((key) => key.slice(base.length));
    const ids = found.filter((rest) => jobIdOf(base, base + rest) === rest);
    const judged = await ofPerson(work, ids, (id) => id, total);
    if (judged.length > 0) await forgetJobs(raw, base, 'anywhere', judged, total);
    const nexts = found.filter(isNext).map((rest) => base + rest);
    const hashes = await readHashes(raw, nexts, false);
    for (const [at, { opts }] of hashes.entries()) {
      if (opts !== undefined && names(opts, person)) await forgetHash(raw, nexts[at] ?? '', opts, total);
    }
    const schedulers = found.filter(isScheduler).map((rest) => rest.slice(REPEAT.length + 1));
    const theirs = await ofPerson(work, schedulers, (id) => `${REPEAT}:${id}`, total);
    if (theirs.length > 0) await forgetSchedulers(raw, base, theirs, total);
  }
}

/** Whether a key of a lane is what a deduplicated job keeps to be added behind it. */
export function isNext(rest: string): boolean {
  return rest.startsWith(NEXT);
}

/** The deduplication id of such a key. */
export function idOfNext(rest: string): string {
  return rest.slice(NEXT.length);
}

/** Whether a key of a lane is that of a scheduler, and not of a job that one has made. */
export function isScheduler(rest: string): boolean {
  return rest.startsWith(`${REPEAT}:`) && jobIdOf('', rest) === undefined;
}
