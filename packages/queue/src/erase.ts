import { setTimeout as wait } from 'node:timers/promises';
import { Queue as RawQueue } from 'bullmq';
import {
  eraseRun,
  erasureScope,
  parseOptions,
  refusal,
  refuse,
  type EraseRun,
  type Eraser,
  type ErasureScope,
  type Inventory,
  type InventoryItem,
  type Kept,
  type Outcome,
  type Verification,
} from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { contextOf } from './client.ts';
import { controlCount } from './erase-control.ts';
import { countLane, type Totals } from './erase-count.ts';
import { eraseOnce } from './erase-pass.ts';
import { eraserOfPlaces } from './erase-places.ts';
import { erasePerson, planPerson, verifyPerson, type Memories, type PersonCall } from './erase-person.ts';
import { queueKeyRing } from './keys.ts';
import { signingKeysSchema, type CheckedKey, type SigningKey } from './options.ts';
import {
  checkPlaces,
  laneBase,
  placeSchemas,
  type CheckedPlaces,
  type QueueKeyspace,
  type QueuePlaces,
} from './places.ts';
import { RawRedis } from './raw-redis.ts';
import { SiloClients, type KnownSilo } from './silo-clients.ts';
import type { Verifier } from './verify.ts';

/** Options of {@link queueEraser}. */
export interface QueueEraserOptions extends QueuePlaces {
  /** How long to wait for jobs that a worker is processing, in milliseconds, default 30 000. */
  readonly activeTimeout?: number;
  /**
   * To erase a person: as in the option `tenant.signingKeys` of the queues, public keys are enough. A Queue that was
   * given has its own.
   */
  readonly signingKeys?: readonly SigningKey[];
}

const ACTIVE_TIMEOUT = 30_000;
/** Over a queue in which a pass still finds something. */
const MOST_PASSES = 100;
/** Between two looks at jobs that are being processed, in milliseconds. */
const POLL = 250;
const NO_SUBJECTS =
  'which jobs are about a person stands in their headers, and without signing keys nobody can tell whether that is true: give queueEraser the Queue, or the option signingKeys';

const NEEDS_KEYS = refuse(
  'whom a job is about stands in its header, which cannot be verified without signing keys',
  'Give queueEraser the Queue alone, whose keys it takes for that queue and no other, or the option signingKeys; or erase the whole tenant.',
);

const schema = z.strictObject({
  ...placeSchemas,
  activeTimeout: z.number().nonnegative().optional(),
  signingKeys: signingKeysSchema.optional(),
});

/**
 * The eraser of a tenant's jobs: its lane in each of the queues, with the jobs in every state, their data, logs,
 * results, locks and deduplication keys, its events, counters and limits, and its name in what says where there is
 * work. What an erasure does grows with what the tenant has, and with nothing else; planning and the recount walk all
 * keys of the database besides, and when they have found keys that no state of a lane leads to, the erasure does too.
 *
 * Jobs that a worker is processing are waited for, and reported when they take longer than `activeTimeout`;
 * a later run takes them. Freeze the tenant first, or its jobs come back as fast as they go.
 *
 * With a `subject`, the jobs and schedulers of the tenant whose headers name that person, and the events that name one
 * of these or a job that is gone. All jobs of the lane are read for it. Those whose headers do not verify are counted as
 * kept, unless they name the person all the same.
 *
 * @param source - a raw ioredis client, of a cluster too, or a Queue that was given one
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { queueEraser } from '@tenantkit/queue';
 * const eraser = queueEraser(redis, { queues: ['mail', 'reports'] });
 * await eraser.plan({ tenant: 'acme' }); // { items: [{ kind: 'jobs', count: 12 }, …], … }
 * ```
 */
export function queueEraser(source: Redis | Cluster | RawQueue, options: QueueEraserOptions = {}): Eraser {
  const { activeTimeout = ACTIVE_TIMEOUT, signingKeys, ...given } = parseOptions('queue', schema, options);
  const places = checkPlaces(source, given as QueuePlaces);
  const verifiers = verifiersOf(source, places, signingKeys);
  const pool = eraserOf(() => places, verifiers, activeTimeout);
  if (places.place === undefined) return pool;
  const inSilo = (silo: KnownSilo): Eraser =>
    eraserOf(() => ({ ...places, redis: silo.redis }), verifiers, activeTimeout);
  return eraserOfPlaces(pool, inSilo, new SiloClients(places.place));
}

type Verifiers = ReadonlyMap<QueueKeyspace, Verifier> | undefined;

/**
 * The eraser of one Redis.
 *
 * @param now - the places, with the client of this call
 */
function eraserOf(now: () => CheckedPlaces, verifiers: Verifiers, activeTimeout: number): Eraser {
  const scattered = new Set<string>();
  const persons = callsAboutPersons(now, verifiers);
  const begin = (scope: ErasureScope, operation: string): Work => start(now(), scattered, scope, operation);
  return {
    store: now().store,
    subjects: verifiers === undefined ? { unsupported: NO_SUBJECTS } : 'supported',
    async plan(scope) {
      const person = persons(scope, 'plan');
      return person === undefined ? plan(begin(scope, 'plan')) : planPerson(person);
    },
    async erase(scope, options) {
      const run = eraseRun('queue', 'queueEraser.erase', options);
      const person = persons(scope, 'erase');
      if (person === undefined) return erase(begin(scope, 'erase'), run, activeTimeout);
      run.signal.throwIfAborted();
      const saved = await loadTotals(run);
      const totals = saved ?? { jobs: 0, keys: 0, events: 0 };
      return erasePerson(person, run, { totals, isRepeated: saved !== undefined, activeTimeout });
    },
    async verify(scope) {
      const person = persons(scope, 'verify');
      return person === undefined ? verify(begin(scope, 'verify')) : verifyPerson(person);
    },
  };
}

/** With what the jobs of each queue are verified; `undefined` when the keys are not known. */
function verifiersOf(
  source: Redis | Cluster | RawQueue,
  { queues, names }: CheckedPlaces,
  signingKeys: readonly [CheckedKey, ...CheckedKey[]] | undefined,
): Verifiers {
  const own = source instanceof RawQueue ? contextOf(source) : undefined;
  const found = queues.flatMap((place): (readonly [QueueKeyspace, Verifier])[] => {
    const { prefix, queue } = place;
    const isOwn = own !== undefined && own.queue === queue && own.prefix === prefix;
    const ring = signingKeys === undefined ? undefined : queueKeyRing(signingKeys, prefix, queue);
    const known = ring ?? (isOwn ? own.ring : undefined);
    return known === undefined ? [] : [[place, { prefix, queue, names, ring: known }]];
  });
  return found.length === queues.length ? new Map(found) : undefined;
}

/** Makes calls about a person; `undefined` for a scope that is a whole tenant. */
function callsAboutPersons(
  now: () => CheckedPlaces,
  verifiers: Verifiers,
): (scope: ErasureScope, operation: string) => PersonCall | undefined {
  const memories: Memories = new Map();
  return (scope, operation) => {
    const { tenant, subject } = erasureScope('queue', `queueEraser.${operation}`, scope);
    if (subject === undefined) return undefined;
    if (verifiers === undefined) throw refusal('queue', operation, NEEDS_KEYS);
    const places = now();
    return {
      ...places,
      person: { tenant, subject },
      memories,
      verifierOf(queue) {
        const verifier = verifiers.get(queue);
        if (verifier === undefined) throw new TypeError('not a queue of this eraser');
        return verifier;
      },
      raw: new RawRedis(places.redis, `queueEraser.${operation}`, places.timeout),
    };
  };
}

/** One call of the eraser. */
interface Work extends CheckedPlaces {
  readonly raw: RawRedis;
  readonly tenant: string;
  /** The lanes in which a count has met keys that no state leads to. */
  readonly scattered: Set<string>;
}

const totalsSchema = z.strictObject({ jobs: z.number(), keys: z.number(), events: z.number() });

function start(
  places: CheckedPlaces,
  scattered: Set<string>,
  { tenant }: ErasureScope,
  operation: string,
): Work {
  return {
    ...places,
    tenant,
    scattered,
    raw: new RawRedis(places.redis, `queueEraser.${operation}`, places.timeout),
  };
}

async function plan(work: Work): Promise<Inventory> {
  return { store: work.store, items: toItems(await count(work)), kept: [] };
}

async function count(work: Work): Promise<Totals> {
  const totals: Totals = { jobs: 0, keys: 0, events: 0 };
  for (const queue of work.queues) {
    const lane = await countLane(work.raw, queue, work.tenant);
    totals.jobs += lane.jobs;
    totals.keys += lane.keys;
    totals.events += lane.events;
    if (lane.isScattered) work.scattered.add(laneBase(queue, work.tenant));
  }
  return totals;
}

async function erase(work: Work, run: EraseRun, activeTimeout: number): Promise<Outcome> {
  run.signal.throwIfAborted();
  const saved = await loadTotals(run);
  const totals = saved ?? { jobs: 0, keys: 0, events: 0 };
  const kept: Kept[] = [];
  for (const queue of work.queues) {
    const deadline = performance.now() + activeTimeout;
    // A run that is repeated was not enough the last time, and looks everywhere.
    const isThorough = saved !== undefined || work.scattered.has(laneBase(queue, work.tenant));
    for (let pass = 1; ; pass += 1) {
      const { jobs, keys, events, active } = await eraseOnce(work, queue, isThorough, run.signal);
      totals.jobs += jobs;
      totals.keys += keys;
      totals.events += events;
      await run.checkpoint.save(JSON.stringify(totals));
      run.progress({ kind: 'jobs', done: totals.jobs });
      // Until a pass finds nothing: what was added or moved behind the pass is met by the next one. Not for ever:
      // a tenant that nothing keeps from adding is what the recount then reports.
      if (jobs + keys + events > 0 && pass < MOST_PASSES) continue;
      if (active.size === 0) break;
      if (performance.now() >= deadline) {
        kept.push({
          kind: 'jobs',
          count: active.size,
          why: `a worker of the queue ${queue.queue} is processing them; run the erasure again`,
        });
        break;
      }
      await wait(POLL, undefined, { signal: run.signal });
    }
  }
  return { store: work.store, erased: toItems(totals), kept };
}

async function verify(work: Work): Promise<Verification> {
  const remaining = toItems(await count(work));
  return { store: work.store, remaining, kept: [], control: await controlCount(work) };
}

async function loadTotals({ checkpoint }: EraseRun): Promise<Totals | undefined> {
  const saved = await checkpoint.load();
  return saved === undefined ? undefined : totalsSchema.parse(JSON.parse(saved));
}

function toItems({ jobs, keys, events }: Totals): readonly InventoryItem[] {
  return [
    { kind: 'jobs', count: jobs },
    { kind: 'keys', count: keys },
    { kind: 'events', count: events },
  ];
}
