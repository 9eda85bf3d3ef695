import { setTimeout as wait } from 'node:timers/promises';
import { Queue as RawQueue } from 'bullmq';
import {
  controlTenant,
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
import { countOwn, ownMembers, sortKeys, type Totals } from './erase-count.ts';
import { eraseEvents, eraseJobs, eraseKeys, eraseList, type Erased } from './erase-scripts.ts';
import {
  LISTS,
  SORTED_SETS,
  STALLED,
  checkPlaces,
  placeSchemas,
  scanKeys,
  stateIds,
  type CheckedPlaces,
  type QueueKeyspace,
  type QueuePlaces,
} from './places.ts';
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
/** The control job waits for this long, in milliseconds, so that no worker picks it up: a day. */
const CONTROL_DELAY = 86_400_000;
/** What the throw-away tenants of core look like. */
const CONTROL_TENANT = /^tk-control-[0-9a-f]{32}$/;
/** No recount takes this long, in milliseconds. */
const CONTROL_LIFE = 3_600_000;

const NO_SUBJECTS =
  'jobs are found by their tenant only: no index says yet which jobs are about a person, so erase the tenant or let the jobs finish with removeOnComplete and removeOnFail';

const schema = z.strictObject({ ...placeSchemas, activeTimeout: z.number().nonnegative().optional() });

/**
 * The eraser of a tenant's jobs: in every state, with their data, logs, results, locks, deduplication keys and
 * the entries of the events stream that name them. Walks the queue's keys, since no registry of a tenant's jobs
 * exists yet: a run costs one SCAN of the whole database, whatever the tenant's size.
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
  return {
    store: places.store,
    subjects: { unsupported: NO_SUBJECTS },
    plan: async (scope) => plan(start(places, scope, 'plan')),
    erase: async (scope, run) =>
      erase(start(places, scope, 'erase'), eraseRun('queue', 'queueEraser.erase', run), activeTimeout),
    verify: async (scope) => verify(start(places, scope, 'verify')),
  };
}

/** One call of the eraser. */
interface Work extends CheckedPlaces {
  readonly raw: RawRedis;
  readonly tenant: string;
}

const totalsSchema = z.strictObject({ jobs: z.number(), keys: z.number(), events: z.number() });

function start(places: CheckedPlaces, { tenant, subject }: ErasureScope, operation: string): Work {
  if (subject !== undefined) {
    throw refusal(
      'queue',
      operation,
      refuse('jobs are not indexed by person yet', 'Erase the whole tenant, or let the jobs finish.'),
    );
  }
  return { ...places, tenant, raw: new RawRedis(places.redis, `queueEraser.${operation}`, places.timeout) };
}

async function plan({ store, raw, queues, names, tenant }: Work): Promise<Inventory> {
  return { store, items: toItems(await countOwn(raw, queues, names, tenant)), kept: [] };
}

async function erase(work: Work, run: EraseRun, activeTimeout: number): Promise<Outcome> {
  run.signal.throwIfAborted();
  const totals = await loadTotals(run);
  const kept: Kept[] = [];
  for (const queue of work.queues) {
    const deadline = performance.now() + activeTimeout;
    for (let pass = 1; ; pass += 1) {
      const { jobs, keys, events, active } = await eraseOnce(work, queue, run.signal);
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
  const { store, raw, queues, names, tenant } = work;
  const remaining = toItems(await countOwn(raw, queues, names, tenant));
  return { store, remaining, kept: [], control: await controlCount(work) };
}

/** One pass over everything of a queue. */
async function eraseOnce(
  { raw, names, tenant }: Work,
  { base }: QueueKeyspace,
  signal?: AbortSignal,
): Promise<Erased> {
  const own = names.prefix(tenant);
  const total: Erased = { jobs: 0, keys: 0, events: 0, active: new Set() };
  // Schedulers first: one that is left would go on making jobs.
  for (const ids of await ownMembers(raw, base, 'repeat', own, signal)) {
    await raw.run((redis) => redis.zrem(`${base}repeat`, ...ids));
    const keys = ids.map((id) => `${base}repeat:${id}`);
    await eraseKeys(raw, keys, total);
  }
  for (const list of LISTS) await eraseList(raw, base, own, list, total, signal);
  for (const state of [...SORTED_SETS, STALLED]) {
    const batches = await ownMembers(raw, base, state, own, signal);
    for (const ids of batches) await eraseJobs(raw, base, ids, total);
  }
  for await (const keys of scanKeys(raw, base, signal)) {
    const { jobs, others } = sortKeys(base, own, keys);
    await eraseJobs(raw, base, jobs, total);
    await eraseKeys(raw, others, total);
  }
  await eraseEvents(raw, base, own, total, signal);
  return total;
}

/**
 * Plants one job per queue, as BullMQ itself stores it, under a tenant that does not exist, counts it with the
 * code that has just counted zero, and removes it with the code that erases.
 */
async function controlCount(work: Work): Promise<Verification['control']> {
  const control: Work = { ...work, tenant: controlTenant() };
  const { raw, names, tenant } = control;
  let found = 0;
  for (const queue of work.queues) {
    await sweepControls(work, queue);
    try {
      await raw.run((redis) => plant(redis, queue, names.encode(tenant, 'control')));
      const { jobs, keys, events } = await countOwn(raw, [queue], names, tenant);
      if (jobs === 1 && keys === 1 && events > 0) found += 1;
    } finally {
      for (let left = Infinity; left > 0;) {
        const { jobs, keys, events } = await eraseOnce(control, queue);
        left = jobs + keys + events;
      }
    }
  }
  return {
    planted: work.queues.length,
    found,
    method: 'one delayed job with one log row per queue, stored by BullMQ under a tenant that does not exist',
  };
}

/** Removes the controls of recounts that were killed: nobody else ever would. */
async function sweepControls(work: Work, queue: QueueKeyspace): Promise<void> {
  const { raw, names } = work;
  for await (const ids of stateIds(raw, queue.base, 'delayed')) {
    for (const id of ids) {
      const tenant = names.tenantOf(id);
      if (tenant === undefined || !CONTROL_TENANT.test(tenant)) continue;
      const planted = await raw.run((redis) => redis.hget(queue.base + id, 'timestamp'));
      // A younger one is that of a recount that runs right now, in another process.
      if (Date.now() - Number(planted ?? 0) > CONTROL_LIFE) await eraseOnce({ ...work, tenant }, queue);
    }
  }
}

async function plant(connection: Redis, { queue, prefix }: QueueKeyspace, id: string): Promise<void> {
  const bullmq = new RawQueue(queue, { connection, prefix, skipMetasUpdate: true });
  try {
    await bullmq.add('tk-control', {}, { jobId: id, delay: CONTROL_DELAY });
    await bullmq.addJobLog(id, 'control');
  } finally {
    await bullmq.close();
  }
}

async function loadTotals({ checkpoint }: EraseRun): Promise<Totals> {
  const saved = await checkpoint.load();
  return saved === undefined ? { jobs: 0, keys: 0, events: 0 } : totalsSchema.parse(JSON.parse(saved));
}

function toItems({ jobs, keys, events }: Totals): readonly InventoryItem[] {
  return [
    { kind: 'jobs', count: jobs },
    { kind: 'keys', count: keys },
    { kind: 'events', count: events },
  ];
}
