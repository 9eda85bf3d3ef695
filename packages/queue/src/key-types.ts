import { ConfigError } from '@tenantkit/core';
import { EVENTS, LISTS, REPEAT, SORTED_SETS, STALLED, type QueueKeyspace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** Of which type the keys are under which BullMQ keeps what belongs to a lane. */
const OF_LANE: ReadonlyMap<string, string> = new Map([
  ...LISTS.map((state) => [state, 'list'] as const),
  ...SORTED_SETS.map((state) => [state, 'zset'] as const),
  [STALLED, 'set'],
  [REPEAT, 'zset'],
  [EVENTS, 'stream'],
]);

/** The sorted sets of a logical queue that name its lanes. The registry comes last, which finds the lane again. */
export const NAMING = ['ready', 'due', 'lanes', 'placed'] as const;

/**
 * The keys of a lane that hold another thing than BullMQ keeps there: somebody has written to Redis past it. They hold
 * no job, and every command that takes them for what they should be fails.
 *
 * @param base - what the keys of the lane begin with
 * @returns without the base
 */
export async function oddKeys(raw: RawRedis, base: string): Promise<ReadonlySet<string>> {
  const names = [...OF_LANE.keys()];
  const types = await typesOf(
    raw,
    names.map((name) => base + name),
  );
  return new Set(names.filter((name, at) => isOdd(types[at], OF_LANE.get(name))));
}

/** The same of the keys that say where the lanes of a queue are. */
export async function oddNaming(raw: RawRedis, { keys }: QueueKeyspace): Promise<readonly string[]> {
  const naming = NAMING.map((name) => keys[name]);
  const types = await typesOf(raw, naming);
  return naming.filter((_key, at) => isOdd(types[at], 'zset'));
}

/** @throws {@link ConfigError} that says which key is to be removed */
export async function assertNaming(raw: RawRedis, queue: QueueKeyspace): Promise<void> {
  const [odd] = await oddNaming(raw, queue);
  if (odd === undefined) return;
  throw new ConfigError({
    surface: 'queue',
    operation: 'queueEraser',
    problem: `the key ${odd} holds another thing than a sorted set, and no lane is found by it`,
    hint: 'Somebody has written to Redis past BullMQ: remove the key. Lanes that hold jobs are noted anew by the sweep of a worker.',
  });
}

/** Whether the server says that a key holds another thing than a command is made for. */
export function isWrongType(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError' && error.message.startsWith('WRONGTYPE');
}

async function typesOf(raw: RawRedis, keys: readonly string[]): Promise<readonly unknown[]> {
  const replies = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    for (const key of keys) pipeline.type(key);
    return pipeline.exec();
  });
  return (replies ?? []).map(([error, type]) => {
    if (error !== null) throw error;
    return type;
  });
}

function isOdd(type: unknown, expected: string | undefined): boolean {
  return type !== 'none' && type !== expected;
}
