import { QueueKeys, RedisQueueBackend, type IRedisClient, type RedisConnection } from 'bullmq';
import { z } from 'zod';
import { breach } from '@tenantkit/core';
import type { TenantLimits } from '../views/limits.ts';
import { takeWith } from './pick-lua.ts';
import type { LaneKeys } from './names.ts';
import { defineScript, limitArguments, settling, type ScriptClient, type ScriptTarget } from './scripts.ts';

/** One of BullMQ's scripts, as ioredis keeps what was defined on a connection. */
interface Installed {
  readonly lua: string;
  readonly numberOfKeys: number;
  /** By which the server knows it, where the connection says so. */
  readonly sha?: string | undefined;
}

/** A script that is made of one of BullMQ's. */
interface Fused {
  readonly name: string;
  readonly lua: string;
  readonly numberOfKeys: number;
}

/** By the name of BullMQ's. `undefined` is one that is not at hand. */
const fused = new WeakMap<ScriptClient, Map<string, Fused | undefined>>();

/**
 * A script that does what one of BullMQ's does, as it is installed, and more: two commands less to wait for, or to pay
 * for. It is made once per connection.
 *
 * @param command - the name under which BullMQ has defined its script
 * @param make - the script; BullMQ's text becomes the body of a function in it
 * @returns `undefined` where the text is not at hand: then each is sent by itself
 */
function fuse(
  client: ScriptClient,
  command: string,
  make: (installed: Installed) => Fused | undefined,
): Fused | undefined {
  const known = fused.get(client) ?? new Map<string, Fused | undefined>();
  if (known.has(command)) return known.get(command);
  const installed = installedOn(client, command);
  const script = installed && make(installed);
  if (script !== undefined) defineScript(client, script);
  fused.set(client, known.set(command, script));
  return script;
}

/** One of BullMQ's scripts, where the connection shows its text. */
export function installedOn(client: ScriptClient, command: string): Installed | undefined {
  const scripts: unknown = Reflect.get(client, 'scriptsSet');
  const { lua, numberOfKeys, sha } = Object(
    Reflect.get(Object(scripts) as object, command),
  ) as Partial<Installed>;
  return typeof lua === 'string' && typeof numberOfKeys === 'number' ? { lua, numberOfKeys, sha } : undefined;
}

/** The scripts of BullMQ that add one job. */
export const ADDS: ReadonlySet<string> = new Set(['addStandardJob', 'addDelayedJob', 'addPrioritizedJob']);

/** How many keys a note is written to. */
const NOTED_IN = 3;

/**
 * Adds a job with one of BullMQ's scripts, and notes its lane in the same step: as {@link touch}, one command less, and no
 * process can die between the two. A code below zero is BullMQ's refusal.
 */
const noting = ({ lua, numberOfKeys }: Installed, command: string): Fused => ({
  name: `tenantkit:lanes:noted:${command}`,
  numberOfKeys: numberOfKeys + NOTED_IN,
  lua: `
local function add()
${lua}
end
local added = add()
if type(added) ~= 'number' or added >= 0 then
  redis.call('ZADD', KEYS[#KEYS - 2], 'NX', 0, ARGV[#ARGV - 1])
  redis.call('ZADD', KEYS[#KEYS - 1], 0, '0')
  -- One that was retired meanwhile comes back, with what it keeps for a while.
  if redis.call('ZADD', KEYS[#KEYS], 'NX', ARGV[#ARGV], ARGV[#ARGV - 1]) == 1 then
    for i = 1, #KEYS do redis.call('PERSIST', KEYS[i]) end
  end
end
return added`,
});

/** Where a lane is noted. */
export interface Note {
  readonly keys: Pick<LaneKeys, 'ready' | 'wake' | 'lanes'>;
  readonly tenant: string;
}

/**
 * Sends a script that adds a job, with a note of its lane.
 *
 * @param command - the name under which BullMQ has defined its script
 * @param args - its keys, and behind them its arguments
 * @param plain - sends BullMQ's script as it is, where ours cannot be made
 */
export function addNoted(
  client: IRedisClient,
  command: string,
  args: readonly (string | number)[],
  { keys, tenant }: Note,
  plain: () => unknown,
): unknown {
  const script = fuse(client, command, (installed) => noting(installed, command));
  if (script === undefined) return plain();
  const at = script.numberOfKeys - NOTED_IN;
  const { ready, wake, lanes } = keys;
  const sent = [...args.slice(0, at), ready, wake, lanes, ...args.slice(at), tenant, Date.now()];
  return run(client, command, script, sent, plain);
}

/** Which job is removed. */
export interface StillFailed {
  /** The key of the failed jobs of its lane. */
  readonly failed: string;
  /** It has failed before that, in milliseconds. */
  readonly before: number;
  /** Its parent, as its hash was read. */
  readonly parentKey: string;
  /** Whether the parent is verified. Of one that is not BullMQ's script is not to hear. */
  readonly isVerified: boolean;
}

/**
 * Removes a failed job with BullMQ's script, if it is still the one that was read: between two commands it may be
 * retried, or fail again. What the script fails at, keys of another type, must not keep the job for ever: it goes without
 * its parent.
 */
const expiring = ({ lua, numberOfKeys }: Installed): Fused => ({
  name: 'tenantkit:lanes:expired:removeJob',
  numberOfKeys: numberOfKeys + 1,
  lua: `
local function remove()
${lua}
end
local job, failed, id = KEYS[1], KEYS[#KEYS], ARGV[1]
local at = tonumber(redis.call('ZSCORE', failed, id) or math.huge)
if at > tonumber(ARGV[#ARGV - 2]) or redis.call('HGET', job, 'parentKey') ~= ARGV[#ARGV - 1] then return { 0, '' } end
if ARGV[#ARGV] == '' then redis.call('HDEL', job, 'parentKey', 'parent') end
local isRun, result = pcall(remove)
if isRun then return { result, '' } end
for _, part in ipairs({ '', ':lock', ':logs', ':dependencies', ':processed', ':failed', ':unsuccessful' }) do
  redis.call('DEL', job .. part)
end
redis.call('ZREM', failed, id)
return { 1, type(result) == 'table' and result.err or tostring(result) }`,
});

const removal = z.tuple([z.number(), z.string()]);

/**
 * Removes a failed job if it is still the one that was read.
 *
 * @param command - the name under which BullMQ has defined its script
 * @param args - its keys, and behind them its arguments
 * @param plain - sends BullMQ's script as it is, where ours cannot be made: a job that is retried at that moment is
 * removed then
 * @returns BullMQ's code, and what the server has said where its script had failed
 */
export async function removeStillFailed(
  client: IRedisClient,
  command: string,
  args: readonly (string | number)[],
  { failed, before, parentKey, isVerified }: StillFailed,
  plain: () => Promise<number>,
): Promise<readonly [number, string]> {
  const script = fuse(client, command, expiring);
  const whole = async (): Promise<unknown> => [await plain(), ''];
  const at = (script?.numberOfKeys ?? 1) - 1;
  const sent = [...args.slice(0, at), failed, ...args.slice(at), before, parentKey, isVerified ? '1' : ''];
  const parsed = removal.safeParse(
    script === undefined ? await whole() : await run(client, command, script, sent, whole),
  );
  if (parsed.success) return parsed.data;
  throw breach('queue', 'expire', 'the reply of a script has a shape that is not known');
}

/** @param plain - what is done where the server cannot compile the script: nothing of it was done */
async function run(
  client: IRedisClient,
  command: string,
  { name }: Fused,
  args: (string | number)[],
  plain: () => unknown,
): Promise<unknown> {
  const pending = settling(client);
  if (pending !== undefined) await pending;
  try {
    return await (client as ScriptTarget).runCommand(name, args);
  } catch (error) {
    if (!(error instanceof Error && error.message.includes('Error compiling script'))) throw error;
    fused.get(client)?.set(command, undefined);
    return plain();
  }
}

/**
 * How BullMQ takes a job: what its backend would send for a lane, for the one that nobody has. What it sends is never
 * sent.
 */
class Sample extends RedisQueueBackend {
  sent: readonly unknown[] = [];

  constructor(prefix: string, name: string, opts: ConstructorParameters<typeof RedisQueueBackend>[4]) {
    const keys = new QueueKeys(prefix);
    const nowhere = { client: Promise.resolve(undefined) } as unknown as RedisConnection;
    super(nowhere, name, keys.getKeys(name), (type) => keys.toKey(name, type), opts, undefined, false);
  }

  override execCommand(_client: unknown, script: string, args: readonly unknown[]): unknown {
    this.sent = [`${script}:${this.version}`, ...args];
    return [];
  }
}

/** Takes jobs along with turns. */
export class Taker {
  readonly #sample: Sample;
  readonly #base: string;
  readonly #keys: LaneKeys;

  /** @param opts - BullMQ's options, as a lane has them */
  constructor(keys: LaneKeys, prefix: string, opts: ConstructorParameters<typeof RedisQueueBackend>[4]) {
    this.#keys = keys;
    this.#base = `${keys.lanePrefix}:`;
    this.#sample = new Sample(prefix, keys.lanePrefix.slice(prefix.length + 1), opts);
  }

  /**
   * Asks for turns, and for the job of the first one.
   *
   * @param now - in milliseconds
   * @param slot - the token under which BullMQ locks the job
   * @param byDefault - the limits of lanes that have none of their own
   * @returns the reply as of a pick, and behind it BullMQ's; `undefined` where nothing was sent, since the installed
   * script is not known
   */
  async take(
    client: IRedisClient,
    now: number,
    wanted: number,
    slot: string,
    name: string | undefined,
    byDefault: TenantLimits = {},
  ): Promise<unknown> {
    await this.#sample.moveToActive(slot, name);
    const [command, ...args] = this.#sample.sent;
    const base = args.indexOf(this.#base);
    const script = fuse(client, String(command), ({ lua, numberOfKeys }) => {
      const keys = args.slice(0, numberOfKeys).map(String);
      const isKnown =
        base === numberOfKeys && args.length === base + 3 && keys.every((key) => key.startsWith(this.#base));
      return isKnown
        ? taking(
            lua,
            keys.map((key) => key.slice(this.#base.length)),
          )
        : undefined;
    });
    if (script === undefined) return undefined;
    const { ready, due, vt, wake, meta, limiter, lanePrefix } = this.#keys;
    const options = args[base + 2] as string;
    const sent = [
      ready,
      due,
      vt,
      wake,
      meta,
      limiter,
      lanePrefix,
      now,
      wanted,
      ...limitArguments(byDefault),
      options,
    ];
    return run(client, String(command), script, sent, () => undefined);
  }
}

const taking = (lua: string, keys: readonly string[]): Fused => ({
  name: 'tenantkit:lanes:take:2',
  numberOfKeys: 6,
  lua: takeWith(lua, keys),
});
