import type { NameCodec } from '@tenantkit/core';
import { ownEvents } from './erase-scripts.ts';
import { LISTS, SORTED_SETS, STALLED, jobIdOf, scanKeys, stateIds, type QueueKeyspace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** How much of a tenant there is, or was removed. */
export interface Totals {
  jobs: number;
  keys: number;
  events: number;
}

/** Counts what an erasure would remove, and changes nothing. */
export async function countOwn(
  raw: RawRedis,
  queues: readonly QueueKeyspace[],
  names: NameCodec,
  tenant: string,
): Promise<Totals> {
  const own = names.prefix(tenant);
  const totals: Totals = { jobs: 0, keys: 0, events: 0 };
  for (const { base } of queues) {
    const jobs = new Set<string>();
    const keys = new Set<string>();
    for (const state of [...LISTS, ...SORTED_SETS, STALLED]) {
      for (const ids of await ownMembers(raw, base, state, own)) for (const id of ids) jobs.add(id);
    }
    for await (const batch of scanKeys(raw, base)) {
      const found = sortKeys(base, own, batch);
      for (const id of found.jobs) jobs.add(id);
      for (const key of batch) {
        if (found.others.includes(key) || isSubKey(base, own, key)) keys.add(key);
      }
    }
    for await (const entries of ownEvents(raw, base, own)) totals.events += entries.length;
    totals.jobs += jobs.size;
    totals.keys += keys.size;
  }
  return totals;
}

/** Cuts a batch of keys into the tenant's jobs, and its keys that are no job's. */
export function sortKeys(
  base: string,
  own: string,
  keys: readonly string[],
): { readonly jobs: string[]; readonly others: string[] } {
  const jobs = new Set<string>();
  const others: string[] = [];
  for (const key of keys) {
    const id = jobIdOf(base, key);
    if (id?.startsWith(own) === true) jobs.add(id);
    if (id === undefined && OTHERS.some((kind) => key.startsWith(base + kind + own))) others.push(key);
  }
  return { jobs: [...jobs], others };
}

/**
 * What stands before a tenant's name in keys that are no job's: deduplication, its next job, schedulers; and
 * nothing, for a key beside a job that a newer BullMQ may write.
 */
const OTHERS = ['de:', 'dn:', 'repeat:', ''] as const;

function isSubKey(base: string, own: string, key: string): boolean {
  return key.startsWith(base + own) && key.includes(':', base.length);
}

// Read to the end before anything is removed: removing shifts the ranks by which the batches are read.
export async function ownMembers(
  raw: RawRedis,
  base: string,
  state: string,
  own: string,
  signal?: AbortSignal,
): Promise<string[][]> {
  const batches: string[][] = [];
  for await (const ids of stateIds(raw, base, state, signal)) {
    const mine = ids.filter((id) => id.startsWith(own) || id.startsWith(`repeat:${own}`));
    if (mine.length > 0) batches.push(mine);
  }
  return batches;
}
