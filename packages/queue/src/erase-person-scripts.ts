import { z } from 'zod';
import type { Erased } from './erase-scripts.ts';
import { BATCH, LISTS, REPEAT, SORTED_SETS, STALLED, SUB_KEYS } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** What one pass over a lane has removed of a person, and what was not as it had been read any more. */
export interface ErasedOfPerson extends Erased {
  /** Jobs that were moved or written again meanwhile: another pass has to look at them. */
  moved: number;
  /** Keys of jobs that have waited for some of them. */
  readonly parents: Set<string>;
}

/** Something that was judged: removed only as long as its options are these. */
export interface Judged {
  readonly id: string;
  readonly opts: string;
}

/** An element that is in no lane: stands in a list only while a script runs. */
const TOMBSTONE = 'tk!erased';

/**
 * Removes one job, if it is still the one that was judged: an id may be used again, by a job about somebody else.
 * Unlike the erasure of a tenant it sets a deduplication free only where this job holds it, and leaves what another
 * job keeps for later under the same one.
 */
const FORGET = `
local jobs, keys, active, moved, parents = 0, 0, {}, 0, {}
-- Whether a key is in a lane of the same tenant, of whichever queue: a hash may say any text.
local function isOwn(base, other)
  local prefix, lane = base:match('^(.*):([^:]*):$')
  if other:sub(1, #prefix + 1) ~= prefix .. ':' then return false end
  local named = other:sub(#prefix + 2):match('^([^:]*):[^:]+$')
  return named ~= nil and named:match('^[^~]+(~.*)$') == lane:match('^[^~]+(~.*)$')
end
-- What it has answered, or failed with, is kept under its parent; and the parent waits for it.
local function unlink(base, key)
  local parent = redis.call('HGET', key, 'parentKey')
  if not parent or not isOwn(base, parent) then return end
  for _, kept in ipairs({ ':processed', ':failed' }) do redis.pcall('HDEL', parent .. kept, key) end
  redis.pcall('ZREM', parent .. ':unsuccessful', key)
  if redis.pcall('SREM', parent .. ':dependencies', key) == 1 then parents[#parents + 1] = parent end
end
local function isAsJudged(base, id, opts)
  local key = base .. id
  if redis.call('EXISTS', key .. ':lock') == 1 then
    active[#active + 1] = id
    return false
  end
  if redis.pcall('HGET', key, 'opts') ~= opts then
    moved = moved + 1
    return false
  end
  return true
end
local function forget(base, id)
  local key = base .. id
  -- Of another type such a key names no job, and must not keep this one from being removed.
  redis.pcall('SREM', base .. '${STALLED}', id)
  ${SORTED_SETS.map((state) => `redis.pcall('ZREM', base .. '${state}', id)`).join('\n  ')}
  local deduplication = redis.call('HGET', key, 'deid')
  if deduplication and redis.pcall('GET', base .. 'de:' .. deduplication) == id then
    keys = keys + redis.call('DEL', base .. 'de:' .. deduplication)
  end
  unlink(base, key)
  jobs = jobs + redis.call('DEL', key)
  keys = keys + redis.call('DEL', ${SUB_KEYS.map((suffix) => `key .. ':${suffix}'`).join(', ')})
end`;

/**
 * Removes jobs of a sorted set. One that is not in it any more would leave its id where it is now, with no job behind.
 * KEYS: the sorted set. ARGV: base, then ids and options in turn.
 */
const FROM_SORTED_SET = `${FORGET}
for at = 2, #ARGV, 2 do
  local id = ARGV[at]
  if redis.call('ZSCORE', KEYS[1], id) == false then
    moved = moved + 1
  elseif isAsJudged(ARGV[1], id, ARGV[at + 1]) then
    forget(ARGV[1], id)
  end
end
return { jobs, keys, active, moved, parents }`;

/**
 * Removes jobs of one stretch of a list. Each is overwritten first and all are taken out in one go: LREM per job would
 * walk the list as often as there are jobs. KEYS: the list. ARGV: base, start, count, then ids and options in turn.
 */
const FROM_LIST = `${FORGET}
local wanted = {}
for at = 4, #ARGV, 2 do wanted[ARGV[at]] = ARGV[at + 1] end
local start, removed = tonumber(ARGV[2]), 0
for at, id in ipairs(redis.call('LRANGE', KEYS[1], start, start + tonumber(ARGV[3]) - 1)) do
  local opts = wanted[id]
  wanted[id] = nil
  if opts and isAsJudged(ARGV[1], id, opts) then
    forget(ARGV[1], id)
    redis.call('LSET', KEYS[1], start + at - 1, '${TOMBSTONE}')
    removed = removed + 1
  end
end
for _ in pairs(wanted) do moved = moved + 1 end
if removed > 0 then redis.call('LREM', KEYS[1], removed, '${TOMBSTONE}') end
return { jobs, keys, active, moved, parents }`;

/**
 * Removes jobs wherever they are: those that no state leads to, and few others.
 * KEYS: the stalled set, for the slot. ARGV: base, then ids and options in turn.
 */
const FROM_ANYWHERE = `${FORGET}
for at = 2, #ARGV, 2 do
  local base, id = ARGV[1], ARGV[at]
  if isAsJudged(base, id, ARGV[at + 1]) then
    ${LISTS.map((list) => `redis.pcall('LREM', base .. '${list}', 0, id)`).join('\n    ')}
    forget(base, id)
  end
end
return { jobs, keys, active, moved, parents }`;

/**
 * Removes schedulers that are still those that were judged. KEYS: the sorted set of schedulers. ARGV: ids and options
 * in turn.
 */
const SCHEDULERS = `
local keys, moved = 0, 0
for at = 1, #ARGV, 2 do
  local key = KEYS[1] .. ':' .. ARGV[at]
  if redis.pcall('HGET', key, 'opts') == ARGV[at + 1] then
    -- Of another type it lists no scheduler.
    redis.pcall('ZREM', KEYS[1], ARGV[at])
    keys = keys + redis.call('DEL', key)
  else
    moved = moved + 1
  end
end
return { 0, keys, {}, moved, {} }`;

/** Removes a hash that is no job, if it is still as it was judged. KEYS: the hash. ARGV: options. */
const HASH = `
if redis.pcall('HGET', KEYS[1], 'opts') ~= ARGV[1] then return { 0, 0, {}, 1, {} } end
return { 0, redis.call('DEL', KEYS[1]), {}, 0, {} }`;

const reply = z.tuple([z.number(), z.number(), z.array(z.string()), z.number(), z.array(z.string())]);

/** Removes jobs of a state, at most {@link BATCH}; those of a list stand in the stretch that begins at `start`. */
export async function forgetJobs(
  raw: RawRedis,
  base: string,
  from: { readonly state: string; readonly start: number } | 'anywhere',
  jobs: readonly Judged[],
  total: ErasedOfPerson,
): Promise<void> {
  const given = jobs.flatMap(({ id, opts }) => [id, opts]);
  const isList = from !== 'anywhere' && (LISTS as readonly string[]).includes(from.state);
  const key = base + (from === 'anywhere' ? STALLED : from.state);
  const script = from === 'anywhere' ? FROM_ANYWHERE : isList ? FROM_LIST : FROM_SORTED_SET;
  const stretch = isList ? [from.start, BATCH] : [];
  add(total, await raw.run((redis) => redis.eval(script, 1, key, base, ...stretch, ...given)));
}

/** Removes schedulers, at most {@link BATCH}. */
export async function forgetSchedulers(
  raw: RawRedis,
  base: string,
  schedulers: readonly Judged[],
  total: ErasedOfPerson,
): Promise<void> {
  const given = schedulers.flatMap(({ id, opts }) => [id, opts]);
  add(total, await raw.run((redis) => redis.eval(SCHEDULERS, 1, base + REPEAT, ...given)));
}

/** Removes what a running job keeps to be added behind it. */
export async function forgetHash(
  raw: RawRedis,
  key: string,
  opts: string,
  total: ErasedOfPerson,
): Promise<void> {
  add(total, await raw.run((redis) => redis.eval(HASH, 1, key, opts)));
}

function add(total: ErasedOfPerson, answer: unknown): void {
  const [jobs, keys, active, moved, parents] = reply.parse(answer);
  total.jobs += jobs;
  total.keys += keys;
  total.moved += moved;
  for (const id of active) total.active.add(id);
  for (const parent of parents) total.parents.add(parent);
}
