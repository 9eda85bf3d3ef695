import { setTimeout as wait } from 'node:timers/promises';
import type { Queue as RawQueue } from 'bullmq';
import {
  eraseRun,
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
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { controlCount } from './erase-control.ts';
import { countLane, type Totals } from './erase-count.ts';
import { eraseOnce } from './erase-pass.ts';
import { checkPlaces, laneBase, placeSchemas, type CheckedPlaces, type QueuePlaces } from './places.ts';
import { RawRedis } from './raw-redis.ts';

/** Options of {@link queueEraser}. */
export interface QueueEraserOptions extends QueuePlaces {
  /** How long to wait for jobs that a worker is processing, in milliseconds, default 30 000. */
  readonly activeTimeout?: number;
}

const ACTIVE_TIMEOUT = 30_000;
/** Over a queue in which a pass still finds something. */
const MOST_PASSES = 100;
/** Between two looks at jobs that are being processed, in milliseconds. */
const POLL = 250;
const NO_SUBJECTS =
  'jobs are found by their tenant only: no index says yet which jobs are about a person, so erase the tenant or let the jobs finish with removeOnComplete and removeOnFail';

const schema = z.strictObject({ ...placeSchemas, activeTimeout: z.number().nonnegative().optional() });

/**
 * The eraser of a tenant's jobs: its lane in each of the queues, with the jobs in every state, their data, logs,
 * results, locks and deduplication keys, its events, counters and limits, and its name in what says where there is
 * work. What an erasure does grows with what the tenant has, and with nothing else; planning and the recount walk all
 * keys of the database besides, and when they have found keys that no state of a lane leads to, the erasure does too.
 *
 * Jobs that a worker is processing are waited for, and reported when they take longer than `activeTimeout`;
 * a later run takes them. Freeze the tenant first, or its jobs come back as fast as they go.
 *
 * @param source - a raw ioredis client, or a Queue that was given one
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { queueEraser } from '@tenantkit/queue';
 * const eraser = queueEraser(redis, { queues: ['mail', 'reports'] });
 * await eraser.plan({ tenant: 'acme' }); // { items: [{ kind: 'jobs', count: 12 }, …], … }
 * ```
 */
export function queueEraser(source: Redis | RawQueue, options: QueueEraserOptions = {}): Eraser {
  const { activeTimeout = ACTIVE_TIMEOUT, ...given } = parseOptions('queue', schema, options);
  const places = checkPlaces(source, given as QueuePlaces);
  const scattered = new Set<string>();
  const begin = (scope: ErasureScope, operation: string): Work => start(places, scattered, scope, operation);
  return {
    store: places.store,
    subjects: { unsupported: NO_SUBJECTS },
    plan: async (scope) => plan(begin(scope, 'plan')),
    erase: async (scope, run) =>
      erase(begin(scope, 'erase'), eraseRun('queue', 'queueEraser.erase', run), activeTimeout),
    verify: async (scope) => verify(begin(scope, 'verify')),
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
  { tenant, subject }: ErasureScope,
  operation: string,
): Work {
  if (subject !== undefined) {
    throw refusal(
      'queue',
      operation,
      refuse('jobs are not indexed by person yet', 'Erase the whole tenant, or let the jobs finish.'),
    );
  }
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
