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

/** How much of a tenant there is, or was removed. */
export interface Totals {
  jobs: number;
  keys: number;
  events: number;
}

/** What a lane holds. */
export interface Counted extends Totals {
  /** Whether there are keys that no state of the lane leads to: only a walk over all keys finds them. */
  readonly isScattered: boolean;
}

/** Whose members are jobs, or lead to keys: they are gone when they hold nothing any more. */
const STATES: readonly string[] = [...LISTS, ...SORTED_SETS, STALLED];

/** Counts what an erasure would remove from a queue, and changes nothing. Walks all keys of the database. */
export async function countLane(raw: RawRedis, queue: QueueKeyspace, tenant: string): Promise<Counted> {
  const base = laneBase(queue, tenant);
  await assertNaming(raw, queue);
  const odd = await oddKeys(raw, base);
  const named = new Set<string>();
  for (const state of STATES) {
    if (odd.has(state)) continue;
    for await (const ids of stateIds(raw, base, state)) for (const id of ids) named.add(id);
  }
  const schedulers = new Set<string>();
  if (!odd.has(REPEAT))
    for await (const ids of stateIds(raw, base, REPEAT))
      for (const id of ids) schedulers.add(`${REPEAT}:${id}`);
  const jobs = new Set(named);
  const keys = new Set<string>();
  let isScattered = false;
  for await (const batch of scanKeys(raw, base)) {
    for (const key of batch) {
      const rest = key.slice(base.length);
      if (odd.has(rest)) {
        keys.add(rest);
        continue;
      }
      if (STATES.includes(rest) || rest === REPEAT || rest === EVENTS || named.has(rest)) continue;
      const id = jobIdOf(base, key);
      if (id === rest) jobs.add(id);
      else keys.add(rest);
      const isFound = id === undefined ? FIXED.has(rest) || schedulers.has(rest) : named.has(id);
      if (!isFound) isScattered = true;
    }
  }
  const events = odd.has(EVENTS) ? 0 : await raw.run((redis) => redis.xlen(base + EVENTS));
  const naming = await namingSets(raw, queue, tenant);
  return { jobs: jobs.size, keys: keys.size + naming, events, isScattered };
}

/** How many of the queue's own sorted sets name the lane. */
async function namingSets(raw: RawRedis, { keys }: QueueKeyspace, tenant: string): Promise<number> {
  const scores = await Promise.all(NAMING.map((set) => raw.run((redis) => redis.zscore(keys[set], tenant))));
  return scores.filter((score) => score !== null).length;
}
