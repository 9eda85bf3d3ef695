import type { IRedisClient, IRedisTransaction } from 'bullmq';
import { z } from 'zod';
import { breach } from '@tenantkit/core';
import { defineScripts } from '../lanes/scripts.ts';

/**
 * BullMQ writes a new link into the hash of a job that is there already, and knows nothing of the header that binds the
 * old one. So a job that may be there is read before, and its header made for the new link; these two scripts stand
 * before and behind BullMQ's own in one transaction. Where the job is another than was read, its link is put back as it
 * was, and who has asked reads it again.
 *
 * KEYS: the job. ARGV: its options as they were read, empty where there was none.
 */
const HOLD = `
local opts = redis.call('HGET', KEYS[1], 'opts')
if not opts or opts == ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'tk!held', '1')
for field, kept in pairs({ parentKey = 'tk!key', parent = 'tk!parent' }) do
  local value = redis.call('HGET', KEYS[1], field)
  if value then redis.call('HSET', KEYS[1], kept, value) end
end
return 1`;

/**
 * KEYS: the job, the parent's hash. ARGV: options as read, options for the link as it is now, the key of the child, mode.
 * The mode is 'link', or 'unlink' where BullMQ was told to take the link away; 'cut' takes it away itself, since BullMQ
 * has done its part at a try before.
 * Answers 1 when the header was replaced, 0 when there was nothing to replace, -1 when the job was another.
 */
const SETTLE = `
local job, parent = KEYS[1], KEYS[2]
if redis.call('HEXISTS', job, 'tk!held') == 1 then
  for field, kept in pairs({ parentKey = 'tk!key', parent = 'tk!parent' }) do
    local value = redis.call('HGET', job, kept)
    if value then redis.call('HSET', job, field, value) else redis.call('HDEL', job, field) end
  end
  redis.call('HDEL', job, 'tk!held', 'tk!key', 'tk!parent')
  -- The parent goes on waiting for the child until it is linked.
  if ARGV[4] == 'link' and redis.call('HDEL', parent .. ':processed', ARGV[3]) == 1 then
    redis.call('SADD', parent .. ':dependencies', ARGV[3])
  end
  return -1
end
if ARGV[1] == '' or redis.call('HGET', job, 'opts') ~= ARGV[1] then return 0 end
if ARGV[4] == 'cut' then redis.call('HDEL', job, 'parentKey', 'parent') end
local key = redis.call('HGET', job, 'parentKey')
if ARGV[4] == 'link' then
  if key ~= parent then return 0 end
elseif key then return 0 end
redis.call('HSET', job, 'opts', ARGV[2])
return 1`;

/**
 * Notes lanes in which a parent may have been freed, perhaps of another logical queue. Only those that have something to
 * run: most children that end free nobody, for whom no worker has to wake; and where the tenant was erased meanwhile a
 * note would bring its name back.
 *
 * KEYS: ready, wake. ARGV: lane prefix, tenants.
 */
const TOUCH_FREED = `
local noted = 0
for i = 2, #ARGV do
  local at = ARGV[1] .. ARGV[i] .. ':'
  if redis.call('EXISTS', at .. 'wait', at .. 'prioritized', at .. 'delayed') > 0 then
    redis.call('ZADD', KEYS[1], 'NX', 0, ARGV[i])
    noted = noted + 1
  end
end
if noted > 0 then redis.call('ZADD', KEYS[2], 0, '0') end
return noted`;

/**
 * The keys of all children that a job leads to, in each of the four places in which BullMQ keeps them. What is of
 * another type is nobody's.
 *
 * KEYS: the job. ARGV: 1 where finished children count as well.
 */
const CHILDREN = `
local found = {}
local function add(reply)
  if type(reply) ~= 'table' or reply.err then return end
  for _, key in ipairs(reply) do found[#found + 1] = key end
end
add(redis.pcall('SMEMBERS', KEYS[1] .. ':dependencies'))
if ARGV[1] == '1' then
  add(redis.pcall('HKEYS', KEYS[1] .. ':processed'))
  add(redis.pcall('HKEYS', KEYS[1] .. ':failed'))
  add(redis.pcall('ZRANGE', KEYS[1] .. ':unsuccessful', 0, -1))
end
return found`;

/** Takes keys out of these places. KEYS: the job. ARGV: keys. */
const FORGET = `
for i = 1, #ARGV do
  redis.pcall('SREM', KEYS[1] .. ':dependencies', ARGV[i])
  redis.pcall('HDEL', KEYS[1] .. ':processed', ARGV[i])
  redis.pcall('HDEL', KEYS[1] .. ':failed', ARGV[i])
  redis.pcall('ZREM', KEYS[1] .. ':unsuccessful', ARGV[i])
end
return 1`;

/**
 * Which jobs of a state say that they have a parent, or have one in any way that BullMQ's scripts would act on.
 *
 * KEYS: the state. ARGV: prefix of jobs, first, last. Answers how many jobs it has looked at, and their ids.
 */
const LINKED = `
local kind = redis.call('TYPE', KEYS[1]).ok
local ids = {}
if kind == 'list' then ids = redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])
elseif kind == 'zset' then ids = redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3]) end
local linked = {}
for _, id in ipairs(ids) do
  -- Not call: what stands there may be no hash.
  local link = redis.pcall('HMGET', ARGV[1] .. id, 'parentKey', 'parent')
  if not link.err and (link[1] or link[2]) then linked[#linked + 1] = id end
end
return { #ids, linked }`;

const COMMANDS = {
  hold: { name: 'tenantkit:flows:hold:1', numberOfKeys: 1, lua: HOLD },
  settle: { name: 'tenantkit:flows:settle:1', numberOfKeys: 2, lua: SETTLE },
  touchFreed: { name: 'tenantkit:flows:touchFreed:1', numberOfKeys: 2, lua: TOUCH_FREED },
  children: { name: 'tenantkit:flows:children:1', numberOfKeys: 1, lua: CHILDREN },
  forget: { name: 'tenantkit:flows:forget:1', numberOfKeys: 1, lua: FORGET },
  linked: { name: 'tenantkit:flows:linked:1', numberOfKeys: 1, lua: LINKED },
} as const;

/** The scripts of flows. */
export type FlowScript = keyof typeof COMMANDS;

/** The client of a queue, with the scripts of flows. */
export async function flowClient({
  client,
}: {
  readonly client: Promise<IRedisClient>;
}): Promise<IRedisClient> {
  const known = await client;
  await defineScripts(known, COMMANDS);
  return known;
}

/** Puts a script into a transaction or a pipeline, which is sent later. */
export function put(target: IRedisTransaction, script: FlowScript, args: (string | number)[]): void {
  target.runCommand(COMMANDS[script].name, args);
}

/** Runs a script. */
export async function run(
  client: IRedisClient,
  script: FlowScript,
  args: (string | number)[],
): Promise<unknown> {
  return client.runCommand(COMMANDS[script].name, args);
}

/** The replies of a transaction or a pipeline. @throws what one of its commands has met */
export async function replies(target: IRedisTransaction): Promise<readonly unknown[]> {
  const all = await target.exec();
  if (all === null) throw new Error('the transaction was given up');
  return all.map(([error, reply]: [Error | null, unknown]) => {
    if (error !== null) throw error;
    return reply;
  });
}

const linkedReply = z.tuple([z.number().int().nonnegative(), z.array(z.string())]);
const keysReply = z.array(z.string());

/** What {@link LINKED} has answered. @throws {@link IsolationBreachError} on another shape */
export function parseLinked(reply: unknown): readonly [looked: number, linked: readonly string[]] {
  const result = linkedReply.safeParse(reply);
  if (!result.success) throw unknownReply('linked');
  return result.data;
}

/** What {@link CHILDREN} has answered. @throws {@link IsolationBreachError} on another shape */
export function parseKeys(reply: unknown): readonly string[] {
  const result = keysReply.safeParse(reply);
  if (!result.success) throw unknownReply('children');
  return result.data;
}

function unknownReply(operation: string): Error {
  return breach('queue', operation, 'the reply of a script has a shape that is not known');
}
