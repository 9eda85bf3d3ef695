import { setTimeout as wait } from 'node:timers/promises';
import type { EraseRun, Inventory, InventoryItem, Kept, Outcome, Verification } from '@tenantkit/core';
import { z } from 'zod';
import { controlCount } from './erase-control.ts';
import { countLane, type Totals } from './erase-count.ts';
import { eraseOnce } from './erase-pass.ts';
import { laneBase, type CheckedPlaces } from './places.ts';
import type { RawRedis } from './raw-redis.ts';

/** Over a queue in which a pass still finds something. */
const MOST_PASSES = 100;
/** Between two looks at jobs that are being processed, in milliseconds. */
const POLL = 250;

/** One call of the eraser about a whole tenant. */
export interface TenantCall extends CheckedPlaces {
  readonly raw: RawRedis;
  readonly tenant: string;
  /** The lanes in which a count has met keys that no state leads to. */
  readonly scattered: Set<string>;
}

const totalsSchema = z.strictObject({ jobs: z.number(), keys: z.number(), events: z.number() });

/** Counts what an erasure of the tenant would remove. */
export async function planTenant(work: TenantCall): Promise<Inventory> {
  return { store: work.store, items: toItems(await count(work)), kept: [] };
}

async function count(work: TenantCall): Promise<Totals> {
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

/** Removes the tenant's lane in each queue, in passes until one finds nothing; jobs that a worker is processing are waited for. */
export async function eraseTenant(work: TenantCall, run: EraseRun, activeTimeout: number): Promise<Outcome> {
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

/** Counts what is left of the tenant, and shows that it would see a job. */
export async function verifyTenant(work: TenantCall): Promise<Verification> {
  const remaining = toItems(await count(work));
  return { store: work.store, remaining, kept: [], control: await controlCount(work) };
}

/** What an interrupted run has removed already. */
export async function loadTotals({ checkpoint }: EraseRun): Promise<Totals | undefined> {
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
