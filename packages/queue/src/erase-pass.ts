import { eraseEvents, eraseJobs, eraseKeys, eraseList, type Erased } from './erase-scripts.ts';
import {
  EVENTS,
  FIXED,
  LISTS,
  REPEAT,
  SORTED_SETS,
  STALLED,
  jobIdOf,
  laneBase,
  scanKeys,
  stateIds,
  type QueueKeyspace,
} from './places.ts';
import { NAMING, assertNaming, oddKeys } from './key-types.ts';
import type { RawRedis } from './raw-redis.ts';

/** Whose lanes are erased, and with what. */
export interface Erasing {
  readonly raw: RawRedis;
  readonly tenant: string;
}

/**
 * One pass over everything of a lane.
 *
 * @param isThorough - also over all keys of the database, for what no state of the lane leads to
 */
export async function eraseOnce(
  { raw, tenant }: Erasing,
  queue: QueueKeyspace,
  isThorough: boolean,
  signal?: AbortSignal,
): Promise<Erased> {
  const base = laneBase(queue, tenant);
  const total: Erased = { jobs: 0, keys: 0, events: 0, active: new Set() };
  await assertNaming(raw, queue);
  const odd = await oddKeys(raw, base);
  await eraseKeys(
    raw,
    [...odd].map((name) => base + name),
    total,
  );
  // Schedulers first: one that is left would go on making jobs.
  for (const ids of await members(raw, base, REPEAT, signal)) {
    await raw.run((redis) => redis.zrem(base + REPEAT, ...ids));
    await eraseKeys(
      raw,
      ids.map((id) => `${base}${REPEAT}:${id}`),
      total,
    );
  }
  for (const list of LISTS) await eraseList(raw, base, list, total, signal);
  for (const state of [...SORTED_SETS, STALLED]) {
    for (const ids of await members(raw, base, state, signal)) await eraseJobs(raw, base, ids, total);
  }
  if (isThorough) await eraseScattered(raw, base, total, signal);
  await eraseEvents(raw, base, total);
  // A worker that still processes a job of the lane needs its limits, and the lane its place among the others.
  if (total.active.size > 0) return total;
  await eraseKeys(
    raw,
    [...FIXED].map((key) => base + key),
    total,
  );
  for (const set of NAMING) total.keys += await raw.run((redis) => redis.zrem(queue.keys[set], tenant));
  return total;
}

/** Removes what no state of the lane leads to: hashes that were lost, and keys that a newer BullMQ may write. */
async function eraseScattered(
  raw: RawRedis,
  base: string,
  total: Erased,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const keys of scanKeys(raw, base, signal)) {
    const ids = keys.map((key) => jobIdOf(base, key)).filter((id) => id !== undefined);
    await eraseJobs(raw, base, [...new Set(ids)], total);
    const others = keys.filter((key) => jobIdOf(base, key) === undefined && !isKept(key.slice(base.length)));
    await eraseKeys(raw, others, total);
  }
}

/** What is removed by itself, with its last member, or with the lane. */
function isKept(rest: string): boolean {
  return FIXED.has(rest) || ([...LISTS, ...SORTED_SETS, STALLED, REPEAT, EVENTS] as string[]).includes(rest);
}

// Read to the end before anything is removed: removing shifts the ranks by which the batches are read.
async function members(
  raw: RawRedis,
  base: string,
  state: string,
  signal: AbortSignal | undefined,
): Promise<string[][]> {
  const batches: string[][] = [];
  for await (const ids of stateIds(raw, base, state, signal)) batches.push(ids);
  return batches;
}
