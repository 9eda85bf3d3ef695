import { setTimeout as wait } from 'node:timers/promises';
import { Queue as RawQueue } from 'bullmq';
import {
  controlTenant,
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
import { eraseEvents, eraseJobs, eraseKeys, eraseList, ownEvents, type Erased } from './erase-scripts.ts';
import {
  LISTS,
  SORTED_SETS,
  checkPlaces,
  jobIdOf,
  placeSchemas,
  scanKeys,
  stateIds,
  type CheckedPlaces,
  type QueueKeyspace,
  type QueuePlaces,
} from './places.ts';

/** Options of {@link queueEraser}. */
export interface QueueEraserOptions extends QueuePlaces {
  /** How long to wait for jobs that a worker is processing, in milliseconds, default 30 000. */
  readonly activeTimeout?: number;
}

const ACTIVE_TIMEOUT = 30_000;
/** Between two looks at jobs that are being processed, in milliseconds. */
const POLL = 250;
/** The control job waits for this long, in milliseconds, so that no worker picks it up: a day. */
const CONTROL_DELAY = 86_400_000;

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
    plan: async (scope) => plan(places, tenantOf(scope, 'plan')),
    erase: async (scope, run) => erase(places, tenantOf(scope, 'erase'), run, activeTimeout),
    verify: async (scope) => verify(places, tenantOf(scope, 'verify')),
  };
}

/** What was removed so far, as it is kept in the checkpoint. */
interface Totals {
  jobs: number;
  keys: number;
  events: number;
}

const totalsSchema = z.strictObject({ jobs: z.number(), keys: z.number(), events: z.number() });

async function plan(places: CheckedPlaces, tenant: string): Promise<Inventory> {
  return { store: places.store, items: toItems(await count(places, tenant)), kept: [] };
}

async function erase(
  places: CheckedPlaces,
  tenant: string,
  run: EraseRun,
  activeTimeout: number,
): Promise<Outcome> {
  run.signal.throwIfAborted();
  const totals = await loadTotals(run);
  const kept: Kept[] = [];
  for (const queue of places.queues) {
    const deadline = performance.now() + activeTimeout;
    for (;;) {
      const { jobs, keys, events, active } = await eraseOnce(places, queue, tenant, run.signal);
      totals.jobs += jobs;
      totals.keys += keys;
      totals.events += events;
      await run.checkpoint.save(JSON.stringify(totals));
      run.progress({ kind: 'jobs', done: totals.jobs });
      // Until a pass finds nothing: what was added or moved behind the pass is met by the next one.
      if (jobs + keys + events > 0) continue;
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
  return { store: places.store, erased: toItems(totals), kept };
}

async function verify(places: CheckedPlaces, tenant: string): Promise<Verification> {
  const remaining = toItems(await count(places, tenant));
  return { store: places.store, remaining, kept: [], control: await controlCount(places) };
}

/** One pass over everything of a queue. */
async function eraseOnce(
  { redis, names }: CheckedPlaces,
  { base }: QueueKeyspace,
  tenant: string,
  signal?: AbortSignal,
): Promise<Erased> {
  const own = names.prefix(tenant);
  const total: Erased = { jobs: 0, keys: 0, events: 0, active: new Set() };
  // Schedulers first: one that is left would go on making jobs.
  for (const ids of await ownMembers(redis, base, 'repeat', own, signal)) {
    await redis.zrem(`${base}repeat`, ...ids);
    await eraseKeys(
      redis,
      ids.map((id) => `${base}repeat:${id}`),
      total,
    );
  }
  for (const list of LISTS) await eraseList(redis, base, own, list, total, signal);
  for (const state of SORTED_SETS) {
    for (const ids of await ownMembers(redis, base, state, own, signal))
      await eraseJobs(redis, base, ids, total);
  }
  for await (const keys of scanKeys(redis, base, signal)) {
    const { jobs, others } = sort(base, own, keys);
    await eraseJobs(redis, base, jobs, total);
    await eraseKeys(redis, others, total);
  }
  await eraseEvents(redis, base, own, total, signal);
  return total;
}

/** Counts what {@link eraseOnce} would remove, and changes nothing. */
async function count({ redis, names, queues }: CheckedPlaces, tenant: string): Promise<Totals> {
  const own = names.prefix(tenant);
  const totals: Totals = { jobs: 0, keys: 0, events: 0 };
  for (const { base } of queues) {
    const jobs = new Set<string>();
    const keys = new Set<string>();
    for (const state of [...LISTS, ...SORTED_SETS]) {
      for (const ids of await ownMembers(redis, base, state, own)) for (const id of ids) jobs.add(id);
    }
    for await (const batch of scanKeys(redis, base)) {
      const found = sort(base, own, batch);
      for (const id of found.jobs) jobs.add(id);
      for (const key of batch) {
        if (found.others.includes(key) || isSubKey(base, own, key)) keys.add(key);
      }
    }
    for await (const entries of ownEvents(redis, base, own)) totals.events += entries.length;
    totals.jobs += jobs.size;
    totals.keys += keys.size;
  }
  return totals;
}

/**
 * Plants one job per queue, as BullMQ itself stores it, under a tenant that does not exist, counts it with the
 * code that has just counted zero, and removes it with the code that erases.
 */
async function controlCount(places: CheckedPlaces): Promise<Verification['control']> {
  const tenant = controlTenant();
  let found = 0;
  for (const queue of places.queues) {
    const here = { ...places, queues: [queue] };
    try {
      await plant(places, queue, tenant);
      const { jobs, keys, events } = await count(here, tenant);
      if (jobs === 1 && keys === 1 && events > 0) found += 1;
    } finally {
      for (let left = Infinity; left > 0;) {
        const { jobs, keys, events } = await eraseOnce(places, queue, tenant);
        left = jobs + keys + events;
      }
    }
  }
  return {
    planted: places.queues.length,
    found,
    method: 'one delayed job with one log row per queue, stored by BullMQ under a tenant that does not exist',
  };
}

async function plant(
  { redis, names }: CheckedPlaces,
  { queue, prefix }: QueueKeyspace,
  tenant: string,
): Promise<void> {
  const id = names.encode(tenant, 'control');
  const raw = new RawQueue(queue, { connection: redis, prefix, skipMetasUpdate: true });
  try {
    await raw.add('tk-control', {}, { jobId: id, delay: CONTROL_DELAY });
    await raw.addJobLog(id, 'control');
  } finally {
    await raw.close();
  }
}

/** Cuts a batch of keys into the tenant's jobs, and its keys that are no job's. */
function sort(
  base: string,
  own: string,
  keys: readonly string[],
): { readonly jobs: string[]; readonly others: string[] } {
  const jobs = new Set<string>();
  const others: string[] = [];
  for (const key of keys) {
    const id = jobIdOf(base, key);
    if (id?.startsWith(own) === true) jobs.add(id);
    if (id === undefined && OTHERS.some((kind) => key.startsWith(base + kind + own))) others.push(key);
  }
  return { jobs: [...jobs], others };
}

/**
 * What stands before a tenant's name in keys that are no job's: deduplication, its next job, schedulers; and
 * nothing, for a key beside a job that a newer BullMQ may write.
 */
const OTHERS = ['de:', 'dn:', 'repeat:', ''] as const;

function isSubKey(base: string, own: string, key: string): boolean {
  return key.startsWith(base + own) && key.includes(':', base.length);
}

// Read to the end before anything is removed: removing shifts the ranks by which the batches are read.
async function ownMembers(
  redis: Redis,
  base: string,
  state: string,
  own: string,
  signal?: AbortSignal,
): Promise<string[][]> {
  const batches: string[][] = [];
  for await (const ids of stateIds(redis, base, state, signal)) {
    const mine = ids.filter((id) => id.startsWith(own) || id.startsWith(`repeat:${own}`));
    if (mine.length > 0) batches.push(mine);
  }
  return batches;
}

function tenantOf({ tenant, subject }: ErasureScope, operation: string): string {
  if (subject === undefined) return tenant;
  throw refusal(
    'queue',
    operation,
    refuse('jobs are not indexed by person yet', 'Erase the whole tenant, or let the jobs finish.'),
  );
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
