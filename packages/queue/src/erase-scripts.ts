import { z } from 'zod';
import { BATCH, SORTED_SETS, SUB_KEYS } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** What one pass has removed, and what it had to leave to a worker. */
export interface Erased {
  jobs: number;
  keys: number;
  events: number;
  /** The ids of jobs that hold a lock: a worker is processing them. */
  readonly active: Set<string>;
}

/** An element that is in no lane: stands in a list only while the script below runs. */
const TOMBSTONE = 'tk!erased';

const REMOVE_JOB = `
local jobs, keys, active = 0, 0, {}
local function remove(base, id)
  local key = base .. id
  if redis.call('EXISTS', key .. ':lock') == 1 then
    active[#active + 1] = id
    return false
  end
  redis.call('SREM', base .. 'stalled', id)
  ${SORTED_SETS.map((state) => `redis.call('ZREM', base .. '${state}', id)`).join('\n  ')}
  -- A key that only reads like a job's may be of any type.
  local deduplication = redis.pcall('HGET', key, 'deid')
  if type(deduplication) == 'string' then
    keys = keys + redis.call('DEL', base .. 'de:' .. deduplication, base .. 'dn:' .. deduplication)
  end
  jobs = jobs + redis.call('DEL', key)
  keys = keys + redis.call('DEL', ${SUB_KEYS.map((suffix) => `key .. ':${suffix}'`).join(', ')})
  return true
end`;

/**
 * Removes jobs that are in no list. KEYS: the stalled set, for the slot. ARGV: base, ids.
 * A job that a worker is processing is left: its worker would write its result into nothing.
 */
const REMOVE_BATCH = `${REMOVE_JOB}
for at = 2, #ARGV do remove(ARGV[1], ARGV[at]) end
return { jobs, keys, active }`;

/**
 * Removes the jobs of one stretch of a list. Each is overwritten first and all of them are taken out in
 * one go: LREM per job would walk the list as often as there are jobs.
 * KEYS: the list. ARGV: base, start, count.
 */
const REMOVE_FROM_LIST = `${REMOVE_JOB}
local start, removed = tonumber(ARGV[2]), 0
local ids = redis.call('LRANGE', KEYS[1], start, start + tonumber(ARGV[3]) - 1)
for at, id in ipairs(ids) do
  if remove(ARGV[1], id) then
    redis.call('LSET', KEYS[1], start + at - 1, '${TOMBSTONE}')
    removed = removed + 1
  end
end
if removed > 0 then redis.call('LREM', KEYS[1], removed, '${TOMBSTONE}') end
return { jobs, keys, active, #ids, removed }`;

const counts = z.tuple([z.number(), z.number(), z.array(z.string())]);
const listCounts = z.tuple([z.number(), z.number(), z.array(z.string()), z.number(), z.number()]);

/** Removes jobs by their ids, at most {@link BATCH} per script. */
export async function eraseJobs(
  raw: RawRedis,
  base: string,
  ids: readonly string[],
  total: Erased,
): Promise<void> {
  for (let at = 0; at < ids.length; at += BATCH) {
    const batch = ids.slice(at, at + BATCH);
    const [jobs, keys, active] = counts.parse(
      await raw.run((redis) => redis.eval(REMOVE_BATCH, 1, `${base}stalled`, base, ...batch)),
    );
    add(total, jobs, keys, active);
  }
}

/** Removes the jobs of a list, and all else that is stored about them. */
export async function eraseList(
  raw: RawRedis,
  base: string,
  list: string,
  total: Erased,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; ;) {
    signal?.throwIfAborted();
    const reply = await raw.run((redis) => redis.eval(REMOVE_FROM_LIST, 1, base + list, base, start, BATCH));
    const [jobs, keys, active, seen, removed] = listCounts.parse(reply);
    // An entry without a hash is counted too: the list named the tenant's job.
    add(total, Math.max(jobs, removed), keys, active);
    if (seen < BATCH) return;
    start += seen - removed;
  }
}

/** Removes keys that are no jobs. */
export async function eraseKeys(raw: RawRedis, keys: readonly string[], total: Erased): Promise<void> {
  for (let at = 0; at < keys.length; at += BATCH) {
    const batch = keys.slice(at, at + BATCH);
    total.keys += await raw.run((redis) => redis.unlink(...batch));
  }
}

/** Removes the events stream of a lane: it holds results, progress and errors. */
export async function eraseEvents(raw: RawRedis, base: string, total: Erased): Promise<void> {
  const key = `${base}events`;
  const replies = await raw.run((redis) => redis.multi().xlen(key).unlink(key).exec());
  total.events += Number(replies?.[0]?.[1] ?? 0);
}

function add(total: Erased, jobs: number, keys: number, active: readonly string[]): void {
  total.jobs += jobs;
  total.keys += keys;
  for (const id of active) total.active.add(id);
}
