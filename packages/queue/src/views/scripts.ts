import type { IRedisClient, IRedisTransaction } from 'bullmq';
import { defineScripts } from '../lanes/scripts.ts';
import type { Lane } from '../lanes/lane.ts';
import { transact } from '../lanes/transaction.ts';

/**
 * Replaces the data of a job together with its header: a worker that took one of them before and the other behind
 * would refuse the job. And only in the job that was read: one that was removed and added anew meanwhile would get the
 * options of the one before, and be refused.
 *
 * KEYS: the job. ARGV: options that were read, options to be stored, data. Answers 1, 0 when the job was changed
 * meanwhile, -1 when it is gone.
 */
const REPLACE_DATA = `
local stored = redis.call('HGET', KEYS[1], 'opts')
if not stored then return -1 end
if stored ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'opts', ARGV[2], 'data', ARGV[3])
return 1`;

/** Fields of a lane's meta that are the operator's. BullMQ removes all of it with the queue. */
const KEEP = `
redis.call('DEL', KEYS[2])
local names = { 'concurrency', 'max', 'duration', 'weight', 'limits', 'opts.maxLenEvents' }
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  if value then redis.call('HSET', KEYS[2], names[i], value) end
end
return 1`;

const GIVE_BACK = `
local kept = redis.call('HGETALL', KEYS[2])
if #kept > 0 then redis.call('HSET', KEYS[1], unpack(kept)) end
redis.call('DEL', KEYS[2])
return 1`;

/** Sets fields, and removes those with an empty value. KEYS: meta. ARGV: names and values in turn. */
const SET_LIMITS = `
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i])
  else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1`;

const COMMANDS = {
  replaceData: { name: 'tenantkit:views:replaceData:1', numberOfKeys: 1, lua: REPLACE_DATA },
  keep: { name: 'tenantkit:views:keep:2', numberOfKeys: 2, lua: KEEP },
  giveBack: { name: 'tenantkit:views:giveBack:1', numberOfKeys: 2, lua: GIVE_BACK },
  setLimits: { name: 'tenantkit:views:setLimits:1', numberOfKeys: 1, lua: SET_LIMITS },
} as const;

async function scripts(lane: Lane): Promise<IRedisClient> {
  const client = await lane.client;
  await defineScripts(client, COMMANDS);
  return client;
}

/** What became of a replacement. */
export type Replaced = 'replaced' | 'changed' | 'gone';

/** Replaces the data of a job and its options, unless they are not those that were read. */
export async function replaceData(
  lane: Lane,
  id: string,
  read: string,
  options: string,
  data: string,
): Promise<Replaced> {
  const client = await scripts(lane);
  const code: unknown = await client.runCommand(COMMANDS.replaceData.name, [
    lane.toKey(id),
    read,
    options,
    data,
  ]);
  return code === 1 ? 'replaced' : code === 0 ? 'changed' : 'gone';
}

/**
 * Lets BullMQ remove a lane with its settings, and puts back those that an operator has made, in one transaction: a
 * tenant would else lift its limits by removing its queue.
 *
 * @returns what the script has answered
 */
export async function keepingLimits(
  lane: Lane,
  remove: (target: IRedisTransaction) => unknown,
): Promise<unknown> {
  const client = await scripts(lane);
  const keys = [lane.keys['meta'] ?? '', lane.toKey('tk!kept')];
  const [, removed] = await transact(client, (multi) => {
    multi.runCommand(COMMANDS.keep.name, keys);
    remove(multi);
    multi.runCommand(COMMANDS.giveBack.name, keys);
  });
  if (removed === undefined) throw new Error('the transaction was given up');
  const [error, answer] = removed;
  if (error !== null) throw error;
  return answer;
}

/** Sets limits of a lane; those without a value are lifted. */
export async function writeLimits(lane: Lane, fields: readonly (readonly [string, string])[]): Promise<void> {
  const client = await scripts(lane);
  await client.runCommand(COMMANDS.setLimits.name, [lane.keys['meta'] ?? '', ...fields.flat()]);
}
