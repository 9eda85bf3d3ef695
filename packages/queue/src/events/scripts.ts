import { breach, isId } from '@tenantkit/core';
import { z } from 'zod';
import type { LaneKeys } from '../lanes/names.ts';
import { defineScripts, type ScriptClient, type Scripts } from '../lanes/scripts.ts';

/**
 * Where the streams of some lanes end.
 *
 * KEYS: lanes. ARGV: what the keys of lanes begin with, tenants. Answers the time in ms, and of each tenant the id of the
 * newest entry, `0-0` where there is none, and an empty text where there is another thing than a stream.
 */
const ENDS = `
local time = redis.call('TIME')
local ends = {}
for at = 2, #ARGV do
  local key = ARGV[1] .. ARGV[at] .. ':events'
  local kind = redis.call('TYPE', key).ok
  local found = ''
  if kind == 'none' then found = '0-0' end
  if kind == 'stream' then
    local last = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)
    found = last[1] and last[1][1] or '0-0'
  end
  ends[at - 1] = found
end
return {time[1] * 1000 + math.floor(time[2] / 1000), ends}`;

/** KEYS: lanes. ARGV: the time in ms, or `-inf`, after which the tenants wanted were registered. */
const REGISTERED = `return redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], '+inf')`;

const COMMANDS = {
  ends: { name: 'tenantkit:events:ends:1', numberOfKeys: 1, lua: ENDS },
  registered: { name: 'tenantkit:events:registered:1', numberOfKeys: 1, lua: REGISTERED },
} as const satisfies Scripts;

const endsReply = z.tuple([z.number().int().positive(), z.array(z.string())]);
const registeredReply = z.array(z.string());

/** Where streams end. */
export interface Ends {
  /** By the clock of the server, in milliseconds: ids of entries begin with it. */
  readonly now: number;
  /** In the order of the tenants; empty where there is another thing than a stream. */
  readonly ids: readonly string[];
}

/** Looks where the streams of these tenants end. */
export async function endsOf(
  client: ScriptClient,
  { lanes, lanePrefix }: LaneKeys,
  tenants: readonly string[],
): Promise<Ends> {
  await defineScripts(client, COMMANDS);
  const reply: unknown = await client.runCommand(COMMANDS.ends.name, [lanes, lanePrefix, ...tenants]);
  const parsed = endsReply.safeParse(reply);
  if (!parsed.success || parsed.data[1].length !== tenants.length) throw unknownReply();
  const [now, ids] = parsed.data;
  return { now, ids };
}

/** The tenants whose lanes were registered since a time in milliseconds, by the clocks of those who registered them. */
export async function registeredSince(
  client: ScriptClient,
  { lanes }: LaneKeys,
  since: number,
): Promise<readonly string[]> {
  await defineScripts(client, COMMANDS);
  const min = Number.isFinite(since) ? Math.floor(since) : '-inf';
  const reply: unknown = await client.runCommand(COMMANDS.registered.name, [lanes, min]);
  const parsed = registeredReply.safeParse(reply);
  if (!parsed.success) throw unknownReply();
  // Whoever writes to Redis may have written anything; of what is no tenant no key is made.
  return parsed.data.filter(isId);
}

function unknownReply(): Error {
  return breach('queue', 'QueueEvents', 'the reply of a script has a shape that is not known');
}
