import type { IRedisClient } from 'bullmq';
import type { LaneKeys } from './names.ts';
import type { ScriptClient, ScriptTarget } from './scripts.ts';

/** One of BullMQ's scripts, as ioredis keeps what was defined on a connection. */
interface Installed {
  readonly lua: string;
  readonly numberOfKeys: number;
}

/** A script that is made of one of BullMQ's. */
interface Fused {
  readonly name: string;
  readonly lua: string;
  readonly numberOfKeys: number;
}

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
  make: (installed: Installed) => Fused,
): Fused | undefined {
  const known = fused.get(client) ?? new Map<string, Fused | undefined>();
  if (known.has(command)) return known.get(command);
  const installed = installedOn(client, command);
  const script = installed && make(installed);
  if (script !== undefined) {
    const { name, numberOfKeys, lua } = script;
    client.defineCommand(name, { numberOfKeys, lua });
  }
  fused.set(client, known.set(command, script));
  return script;
}

function installedOn(client: ScriptClient, command: string): Installed | undefined {
  const scripts: unknown = Reflect.get(client, 'scriptsSet');
  const { lua, numberOfKeys } = Object(Reflect.get(Object(scripts) as object, command)) as Partial<Installed>;
  return typeof lua === 'string' && typeof numberOfKeys === 'number' ? { lua, numberOfKeys } : undefined;
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
  redis.call('ZADD', KEYS[#KEYS], 'NX', ARGV[#ARGV], ARGV[#ARGV - 1])
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
 * @returns the reply to come, or `undefined` where nothing was sent
 */
export function addNoted(
  client: IRedisClient,
  command: string,
  args: readonly (string | number)[],
  { keys, tenant }: Note,
): Promise<unknown> | undefined {
  const script = fuse(client, command, (installed) => noting(installed, command));
  if (script === undefined) return undefined;
  const at = script.numberOfKeys - NOTED_IN;
  const { ready, wake, lanes } = keys;
  const sent = [...args.slice(0, at), ready, wake, lanes, ...args.slice(at), tenant, Date.now()];
  return Promise.resolve((client as ScriptTarget).runCommand(script.name, sent));
}
