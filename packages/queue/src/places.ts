import { isRedisInstance, Queue as RawQueue } from 'bullmq';
import { ConfigError, assertId, optionSchemas, parseOptions, type NameCodec } from '@tenantkit/core';
import type { ChainableCommander, Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { DEFAULT_PREFIX, contextOf } from './client.ts';
import { checkCluster } from './cluster.ts';
import { checkQueueName, laneKeys, type LaneKeys } from './lanes/names.ts';
import { jobNames } from './names.ts';
import { placeSchema, type QueuePlacement } from './placement.ts';
import { isIteration } from './schedulers/ids.ts';
import type { RawRedis } from './raw-redis.ts';

/** Where the queues are that an eraser or an auditor looks at. */
export interface QueuePlaces {
  /** The names of the queues; the Queue's own name when a Queue was given. */
  readonly queues?: readonly string[];
  /** BullMQ's key prefix, default `bull`, or that of the Queue. */
  readonly prefix?: string;
  /** The template of job ids, as in the option `tenant.names` of the queues; that of the Queue when one was given. */
  readonly names?: string;
  /** Where tenants are, as in the option `tenant.place` of the queues; that of the Queue when one was given. */
  readonly place?: (tenant: string) => QueuePlacement;
  /** The name in plans, certificates and findings, default `queue`. */
  readonly store?: string;
  /** How long one command may take, connecting included, in milliseconds, default 10 000. */
  readonly timeout?: number;
}

/** The checked places. */
export interface CheckedPlaces {
  readonly redis: Redis;
  readonly queues: readonly QueueKeyspace[];
  readonly names: NameCodec;
  readonly place: ((tenant: string) => QueuePlacement) | undefined;
  readonly store: string;
  readonly timeout: number | undefined;
}

/** The keys of one logical queue. */
export interface QueueKeyspace {
  readonly queue: string;
  readonly prefix: string;
  /** What the keys of the queue itself begin with: `bull:mail:`. No job that was added through us is there. */
  readonly base: string;
  /** What those of its lanes begin with, and which sorted sets name the lanes. */
  readonly keys: LaneKeys;
}

/** What the keys of a tenant's lane begin with: `bull:mail~acme:`. */
export function laneBase({ keys }: QueueKeyspace, tenant: string): string {
  assertId(tenant);
  return `${keys.lanePrefix}${tenant}:`;
}

/** States that BullMQ keeps as lists, oldest work last. */
export const LISTS = ['wait', 'paused', 'active'] as const;
/** States that BullMQ keeps as sorted sets. */
export const SORTED_SETS = ['delayed', 'prioritized', 'completed', 'failed', 'waiting-children'] as const;
/** Where BullMQ keeps the ids of jobs whose worker may have died, beside their state. */
export const STALLED = 'stalled';
/** Where BullMQ keeps the schedulers. */
export const REPEAT = 'repeat';
/** The stream in which BullMQ tells what has become of jobs. */
export const EVENTS = 'events';
/** What BullMQ keeps of a queue besides, whether there are jobs or not. */
export const FIXED: ReadonlySet<string> = new Set([
  'id',
  'meta',
  'pc',
  'marker',
  'limiter',
  'stalled-check',
  ...['completed', 'failed'].flatMap((state) => [`metrics:${state}`, `metrics:${state}:data`]),
]);
/** What BullMQ stores beside a job's hash, under `<job>:<suffix>`. */
export const SUB_KEYS = ['logs', 'dependencies', 'processed', 'failed', 'unsuccessful', 'lock'] as const;
/** Entries that one command reads or one script removes: Redis serves nobody else meanwhile. */
export const BATCH = 500;

/** The name of an eraser or an auditor that was given none. */
export const STORE = 'queue';

/** The options that an eraser and an auditor share. */
export const placeSchemas: {
  readonly queues: z.ZodOptional<z.ZodArray<z.ZodString>>;
  readonly prefix: z.ZodOptional<z.ZodString>;
  readonly names: z.ZodOptional<z.ZodString>;
  readonly place: z.ZodOptional<typeof placeSchema>;
  readonly store: z.ZodOptional<z.ZodString>;
  readonly timeout: z.ZodOptional<z.ZodNumber>;
} = {
  queues: z.array(z.string().min(1)).min(1).optional(),
  prefix: z.string().min(1).optional(),
  names: optionSchemas.names,
  place: placeSchema.optional(),
  store: z.string().min(1).optional(),
  timeout: z.number().int().positive().optional(),
};

const places = z.object(placeSchemas);

/**
 * @param source - a raw ioredis client, or a Queue that was given one
 * @throws {@link ConfigError} when no client or no queue is named
 */
export function checkPlaces(source: Redis | Cluster | RawQueue, options: QueuePlaces): CheckedPlaces {
  const given = parseOptions('queue', places, options);
  const queue = source instanceof RawQueue ? source : undefined;
  const redis = queue === undefined ? source : queue.opts.connection;
  if (!isRedisInstance(redis)) throw invalid('the connection is not an ioredis client');
  const queues = given.queues ?? (queue === undefined ? undefined : [queue.name]);
  if (queues === undefined) throw invalid('no queue is named');
  const twice = queues.find((name, at) => queues.indexOf(name) !== at);
  if (twice !== undefined) throw invalid(`the queue ${twice} is named twice`);
  const prefix = given.prefix ?? queue?.opts.prefix ?? DEFAULT_PREFIX;
  for (const name of queues) checkCluster(redis, prefix, checkQueueName(name));
  const own = queue === undefined ? undefined : contextOf(queue);
  return {
    redis: redis as Redis,
    queues: queues.map((name) => ({
      queue: checkQueueName(name),
      prefix,
      base: `${prefix}:${name}:`,
      keys: laneKeys(prefix, name),
    })),
    names: given.names === undefined && own !== undefined ? own.names : jobNames(given.names),
    place: given.place ?? own?.place,
    store: given.store ?? STORE,
    timeout: given.timeout,
  };
}

/** Every key of the queue, in batches. Costs a walk over the whole database, as every SCAN does. */
export async function* scanKeys(raw: RawRedis, base: string, signal?: AbortSignal): AsyncGenerator<string[]> {
  for (let isWhole = false; !isWhole;) {
    const holder = await raw.holderOf(base);
    let cursor = '0';
    do {
      signal?.throwIfAborted();
      const [next, found] = await raw.run(() =>
        holder.node.scan(cursor, 'MATCH', `${escapeGlob(base)}*`, 'COUNT', 1_000),
      );
      cursor = next;
      // SCAN may give a key twice; whoever counts has to count names.
      for (let at = 0; at < found.length; at += BATCH) yield found.slice(at, at + BATCH);
    } while (cursor !== '0');
    // On a cluster the keys may have moved to another server behind the walk: that one is walked as well.
    isWhole = await raw.stillHolds(holder, base);
  }
}

/** The members of one state, in batches. */
export async function* stateIds(
  raw: RawRedis,
  base: string,
  state: string,
  signal?: AbortSignal,
): AsyncGenerator<string[]> {
  if (state === STALLED) {
    yield* stalledIds(raw, base, signal);
    return;
  }
  const isList = (LISTS as readonly string[]).includes(state);
  for (let at = 0; ; at += BATCH) {
    signal?.throwIfAborted();
    const key = base + state;
    const found = await raw.run((redis) =>
      isList ? redis.lrange(key, at, at + BATCH - 1) : redis.zrange(key, at, String(at + BATCH - 1)),
    );
    if (found.length === 0) return;
    yield found;
  }
}

async function* stalledIds(raw: RawRedis, base: string, signal?: AbortSignal): AsyncGenerator<string[]> {
  let cursor = '0';
  do {
    signal?.throwIfAborted();
    const [next, found] = await raw.run((redis) => redis.sscan(base + STALLED, cursor, 'COUNT', BATCH));
    cursor = next;
    if (found.length > 0) yield found;
  } while (cursor !== '0');
}

/** Asks for the place of a job in each of some states. */
export function inStates(
  commands: ChainableCommander,
  base: string,
  id: string,
  states: readonly string[],
): ChainableCommander {
  for (const state of states) {
    if ((LISTS as readonly string[]).includes(state)) commands.lpos(base + state, id);
    else commands.zscore(base + state, id);
  }
  return commands;
}

/** Whether the answer is one: a state that is a key of another type answers with an error, and none. */
export function isPlace(answer: unknown): boolean {
  return answer !== null && answer !== undefined;
}

/** The id of the job that a key belongs to, or `undefined` for a key of the queue itself. */
export function jobIdOf(base: string, key: string): string | undefined {
  const rest = key.slice(base.length);
  // What a scheduler has made; the last part may be a suffix.
  const made = isIteration(rest) ? rest : rest.slice(0, Math.max(0, rest.lastIndexOf(':')));
  if (isIteration(made))
    return made === rest || (SUB_KEYS as readonly string[]).includes(rest.slice(made.length + 1))
      ? made
      : undefined;
  const [id = '', suffix, ...more] = rest.split(':');
  if (suffix === undefined) return QUEUE_KEYS.has(id) ? undefined : id;
  return more.length === 0 && !QUEUE_KEYS.has(id) && (SUB_KEYS as readonly string[]).includes(suffix)
    ? id
    : undefined;
}

// https://github.com/taskforcesh/bullmq: the keys of QueueKeys, and two that its scripts build.
const QUEUE_KEYS: ReadonlySet<string> = new Set([
  '',
  ...LISTS,
  ...SORTED_SETS,
  STALLED,
  REPEAT,
  EVENTS,
  ...FIXED,
  'de',
  'dn',
  'metrics',
]);

function escapeGlob(text: string): string {
  return text.replace(/[*?[\]\\^-]/g, '\\$&');
}

function invalid(problem: string): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'connection',
    problem,
    hint: 'Give a Queue that was made with an ioredis client (connection: new Redis(…)), or a raw ioredis client and { queues: [names] }, with place and signingKeys where the Queue has them.',
  });
}
