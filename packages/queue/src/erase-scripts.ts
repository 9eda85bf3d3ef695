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

/** An element that is in no queue: stands in a list only while the script below runs. */
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
 * Removes a tenant's jobs from one stretch of a list. Each is overwritten first and all of them are taken out in
 * one go: LREM per job would walk the list as often as there are jobs.
 * KEYS: the list. ARGV: base, own prefix, own scheduler prefix, start, count.
 */
const REMOVE_FROM_LIST = `${REMOVE_JOB}
local start, removed = tonumber(ARGV[4]), 0
local ids = redis.call('LRANGE', KEYS[1], start, start + tonumber(ARGV[5]) - 1)
for at, id in ipairs(ids) do
  if id:sub(1, #ARGV[2]) == ARGV[2] or id:sub(1, #ARGV[3]) == ARGV[3] then
    if remove(ARGV[1], id) then
      redis.call('LSET', KEYS[1], start + at - 1, '${TOMBSTONE}')
      removed = removed + 1
    end
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

/** Removes a tenant's jobs from a list, and all else that is stored about them. */
export async function eraseList(
  raw: RawRedis,
  base: string,
  own: string,
  list: string,
  total: Erased,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let start = 0; ;) {
    signal?.throwIfAborted();
    const reply = await raw.run((redis) =>
      redis.eval(REMOVE_FROM_LIST, 1, base + list, base, own, `repeat:${own}`, start, BATCH),
    );
    const [jobs, keys, active, seen, removed] = listCounts.parse(reply);
    // An entry without a hash is counted too: the list named the tenant's job.
    add(total, Math.max(jobs, removed), keys, active);
    if (seen < BATCH) return;
    start += seen - removed;
  }
}

/** Removes keys that are no jobs: deduplication keys and schedulers. */
export async function eraseKeys(raw: RawRedis, keys: readonly string[], total: Erased): Promise<void> {
  for (let at = 0; at < keys.length; at += BATCH) {
    const batch = keys.slice(at, at + BATCH);
    total.keys += await raw.run((redis) => redis.unlink(...batch));
  }
}

/** Removes the entries of the events stream that name a tenant's job: they hold results, progress and errors. */
export async function eraseEvents(
  raw: RawRedis,
  base: string,
  own: string,
  total: Erased,
  signal: AbortSignal | undefined,
): Promise<void> {
  for await (const entries of ownEvents(raw, base, own, signal)) {
    if (entries.length === 0) continue;
    total.events += await raw.run((redis) => redis.xdel(`${base}events`, ...entries));
  }
}

/** The ids of the entries of the events stream that name a tenant's job, in batches. */
export async function* ownEvents(
  raw: RawRedis,
  base: string,
  own: string,
  signal?: AbortSignal,
): AsyncGenerator<string[]> {
  let from = '-';
  for (;;) {
    signal?.throwIfAborted();
    const since = from;
    const entries = await raw.run((redis) => redis.xrange(`${base}events`, since, '+', 'COUNT', BATCH));
    const last = entries.at(-1);
    if (last === undefined) return;
    from = `(${last[0]}`;
    yield entries.filter(([, fields]) => namesOwn(fields, own)).map(([id]) => id);
  }
}

/** `jobId`, `deduplicationId`, `deduplicatedJobId`, …; a newer BullMQ may add one. */
const ID_FIELD = /id$/i;

// The fields that hold ids and no others: name, progress, results and errors are texts of whoever owns the job, and
// another tenant could begin them like an id of this one, to have its own events removed without end.
function namesOwn(fields: readonly string[], own: string): boolean {
  return fields.some(
    (value, at) =>
      at % 2 === 1 &&
      ID_FIELD.test(fields[at - 1] ?? '') &&
      (value.startsWith(own) || value.startsWith(`repeat:${own}`)),
  );
}

function add(total: Erased, jobs: number, keys: number, active: readonly string[]): void {
  total.jobs += jobs;
  total.keys += keys;
  for (const id of active) total.active.add(id);
}
