import { z } from 'zod';
import { defineScripts, type ScriptClient } from '../lanes/scripts.ts';
import type { JobHash } from '../verify.ts';

/** States of a raw queue that are adopted, and what each is in a lane. A worker of ours looks at no list `paused`. */
export const STATES = {
  prioritized: 'prioritized',
  delayed: 'delayed',
  wait: 'wait',
  paused: 'wait',
  completed: 'completed',
  failed: 'failed',
} as const;

export type RawState = keyof typeof STATES;

/** How many jobs are looked at and moved at once: the server serves nobody else meanwhile. */
const BATCH = 100;

/** An element that is in no queue: stands in a list only while a script runs. */
const TOMBSTONE = 'tk!adopted';

/**
 * A stretch of a state, those that a worker would take first before the others. A list is counted from its end: what is
 * added meanwhile comes at the other one.
 */
const STRETCH = `
local function stretch(key, from, count)
  local kind = redis.call('TYPE', key).ok
  if kind == 'zset' then return redis.call('ZRANGE', key, from, from + count - 1), kind end
  local ids = {}
  if kind ~= 'list' then return ids, kind end
  local found = redis.call('LRANGE', key, -from - count, -from - 1)
  for at = #found, 1, -1 do ids[#ids + 1] = found[at] end
  return ids, kind
end`;

/**
 * Reads jobs as they are stored. KEYS: the state. ARGV: what the keys of the queue begin with, from, how many.
 * Answers ids, fields of the job, and whether it has children, in turn.
 */
const LOOK = `${STRETCH}
local found = {}
for _, id in ipairs((stretch(KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])))) do
  local hash = redis.pcall('HGETALL', ARGV[1] .. id)
  if hash.err then hash = {} end
  found[#found + 1] = { id, hash, redis.call('EXISTS', ARGV[1] .. id .. ':dependencies', ARGV[1] .. id .. ':processed') }
end
return found`;

/**
 * Moves jobs into the lanes of their tenants, each with its logs and what it holds of deduplication, unless it is
 * another one by now, somewhere else, or being processed. A job is in the raw queue before this script and in its lane
 * behind it: whoever dies, dies before or after.
 *
 * KEYS: the state. ARGV: what the keys of the queue begin with, what those of lanes begin with, the state in the lane,
 * from, how many were looked at, then for each job its id, options that were read, digest of name and data, options to
 * be stored, tenant, and id in the lane. Answers the ids that were moved, and those whose place in the lane is taken.
 */
const ADOPT = `${STRETCH}
local base, lanes, state = ARGV[1], ARGV[2], ARGV[3]
local from, count = tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted = {}
for at = 6, #ARGV, 6 do
  wanted[ARGV[at]] = { ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5] }
end
local moved, taken, removed = {}, {}, 0

local function isAsRead(key, opts, digest)
  if redis.call('EXISTS', key .. ':lock') == 1 then return false end
  local found = redis.pcall('HMGET', key, 'opts', 'name', 'data')
  if found.err or found[1] ~= opts then return false end
  return redis.sha1hex((found[2] or '') .. '\\n' .. (found[3] or '')) == digest
end

local function deduplicate(id, lane, inLane, deduplication)
  local raw = base .. 'de:' .. deduplication
  if redis.pcall('GET', raw) ~= id then return end
  local left = redis.call('PTTL', raw)
  local given = { lane .. 'de:' .. deduplication, inLane, 'NX' }
  if left > 0 then
    given[4] = 'PX'
    given[5] = left
  end
  redis.call('SET', unpack(given))
  redis.call('DEL', raw)
end

local ids, kind = stretch(KEYS[1], from, count)
for at, id in ipairs(ids) do
  local job = wanted[id]
  -- Twice in a list is once too often: only somebody who wrote by hand has done that.
  wanted[id] = nil
  if job and isAsRead(base .. id, job[1], job[2]) then
    local key, lane, inLane = base .. id, lanes .. job[4] .. ':', job[5]
    if redis.call('EXISTS', lane .. inLane) == 1 then
      taken[#taken + 1] = id
    else
      local score = kind == 'zset' and redis.call('ZSCORE', KEYS[1], id)
      local deduplication = redis.call('HGET', key, 'deid')
      local priority = tonumber(redis.call('HGET', key, 'priority') or '0') or 0
      redis.call('RENAME', key, lane .. inLane)
      redis.call('HSET', lane .. inLane, 'opts', job[3])
      if redis.call('EXISTS', key .. ':logs') == 1 then
        redis.call('RENAME', key .. ':logs', lane .. inLane .. ':logs')
      end
      if deduplication then deduplicate(id, lane, inLane, deduplication) end
      redis.call('SREM', base .. 'stalled', id)
      if state == 'wait' then
        redis.call('LPUSH', lane .. 'wait', inLane)
      elseif state == 'prioritized' then
        -- As BullMQ counts: jobs of one priority run in the order in which they came.
        local counter = redis.call('INCR', lane .. 'pc')
        redis.call('ZADD', lane .. 'prioritized', priority * 0x100000000 + counter % 0x100000000, inLane)
      else
        redis.call('ZADD', lane .. state, score, inLane)
      end
      if kind == 'zset' then
        redis.call('ZREM', KEYS[1], id)
      else
        redis.call('LSET', KEYS[1], -from - at, '${TOMBSTONE}')
        removed = removed + 1
      end
      moved[#moved + 1] = id
    end
  end
end
if removed > 0 then redis.call('LREM', KEYS[1], -removed, '${TOMBSTONE}') end
return { moved, taken }`;

const COMMANDS = {
  look: { name: 'tenantkit:adopt:look:1', numberOfKeys: 1, lua: LOOK },
  adopt: { name: 'tenantkit:adopt:adopt:1', numberOfKeys: 1, lua: ADOPT },
} as const;

/** A job of a raw queue, as it is stored. */
export interface RawStored {
  readonly id: string;
  readonly hash: JobHash;
  /** Whether other jobs are its children. */
  readonly isParent: boolean;
}

/** A job that is to be moved. */
export interface Adoptable {
  readonly id: string;
  readonly read: string;
  readonly digest: string;
  readonly opts: string;
  readonly tenant: string;
  readonly inLane: string;
}

const lookReply = z.array(z.tuple([z.string(), z.array(z.string()), z.number()]));
const adoptReply = z.tuple([z.array(z.string()), z.array(z.string())]);

/** A place in a state of a raw queue. */
export interface Stretch {
  readonly base: string;
  readonly state: RawState;
  readonly from: number;
}

export async function look(client: ScriptClient, { base, state, from }: Stretch): Promise<RawStored[]> {
  await defineScripts(client, COMMANDS);
  const reply: unknown = await client.runCommand(COMMANDS.look.name, [base + state, base, from, BATCH]);
  return lookReply.parse(reply).map(([id, fields, children]) => {
    const hash: Record<string, string> = Object.create(null);
    for (let at = 0; at + 1 < fields.length; at += 2) hash[fields[at] ?? ''] = fields[at + 1] ?? '';
    return { id, hash, isParent: children > 0 };
  });
}

/** @returns the ids that were moved, and those whose place is taken; others are not what they were */
export async function adopt(
  client: ScriptClient,
  { base, state, from }: Stretch,
  lanePrefix: string,
  jobs: readonly Adoptable[],
): Promise<{ readonly moved: readonly string[]; readonly taken: readonly string[] }> {
  await defineScripts(client, COMMANDS);
  const given = jobs.flatMap(({ id, read, digest, opts, tenant, inLane }) => [
    id,
    read,
    digest,
    opts,
    tenant,
    inLane,
  ]);
  const reply: unknown = await client.runCommand(COMMANDS.adopt.name, [
    base + state,
    base,
    lanePrefix,
    STATES[state],
    from,
    BATCH,
    ...given,
  ]);
  const [moved, taken] = adoptReply.parse(reply);
  return { moved, taken };
}
