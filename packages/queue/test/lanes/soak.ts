import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { withTenant, type TenantRegistry } from '@tenantkit/core';
import { FlowProducer, queueEraser, type FlowJob, type Queue } from '@tenantkit/queue';
import { expect } from 'vitest';
import { KEY, bench, type Bench } from '../support.ts';
import { soakFence } from './soak-fence.ts';
import { GONE, PREFIX, type SoakData } from './soak-run.ts';

const PROCESSES = 3;
const PROGRAM = join(import.meta.dirname, 'soak-worker.ts');
/** Of the jobs, every so many runs in a thread of its own. */
const BOXED = 4;
/** Of the jobs, every so many is a parent with two children, one of which runs in a thread. */
const FLOWS = 11;
/** How many tenants have a scheduler, and how many jobs each of those makes. */
const SCHEDULERS = 10;
const TICKS = 5;
/** How many jobs of the tenant that is erased are added, in thirds: before, at and after the half. */
const OF_GONE = 60;

/** What happened. */
export interface Soaked {
  readonly kills: number;
  /** How many jobs ran more than once, as those of a killed worker may. */
  readonly repeated: number;
}

/**
 * Adds signed jobs of many tenants, ordinary, delayed, prioritised, failing, scheduled, sandboxed ones and flows, to processes of workers of which
 * one is killed every now and then. Every job has to run, in its own tenant. One tenant is erased half-way: nothing of
 * it runs afterwards.
 *
 * @param every - between two kills, in milliseconds
 */
export async function soak(jobs: number, tenants: number, every: number): Promise<Soaked> {
  await using on = await bench();
  const fence = await soakFence(on.redis, PREFIX);
  using closing = new DisposableStack();
  closing.defer(() => fence.close());
  const tenant = { signingKeys: [KEY], fence };
  const queue = on.queue('soak', { prefix: PREFIX, tenant });
  const boxed = on.queue('boxed', { prefix: PREFIX, tenant });
  const flows = new FlowProducer({ connection: on.redis, prefix: PREFIX, tenant });
  closing.defer(() => void flows.close());
  const workers = await Promise.all(Array.from({ length: PROCESSES }, () => start(on.url)));
  const done = new AbortController();
  const killing = killOften(workers, on.url, every, done.signal);
  let ranOfGone = 0;
  try {
    await addSchedulers(queue);
    await addOfGone(queue);
    for (let at = 0; at < jobs; at += 1) {
      const id = `t${at % tenants}`;
      const data = { tenant: id, fails: at % 7 === 0, url: on.url };
      await withTenant(id, () =>
        at % FLOWS === 0
          ? flows.add(flowOf(at, data))
          : (at % BOXED === 0 ? boxed : queue).add('n', data, { jobId: `j${at}`, ...kindOf(at) }),
      );
      // Spread over some seconds: most of it is added while somebody is being killed.
      if (at % 50 === 0) await wait(every / 10);
      if (at === Math.floor(jobs / 2)) ranOfGone = await eraseGone(on, queue, fence);
    }
    const isDone = async (): Promise<number> => on.redis.hlen(`${PREFIX}:done`);
    await expect
      .poll(isDone, { timeout: 120_000, interval: 100 })
      .toBe(jobs + 2 * Math.ceil(jobs / FLOWS) + SCHEDULERS * TICKS);
  } finally {
    done.abort();
    await killing;
    for (const worker of workers) await kill(worker);
  }
  expect(await on.redis.hgetall(`${PREFIX}:wrong`)).toEqual({});
  expect(Number(await on.redis.get(`${PREFIX}:gone`))).toBe(ranOfGone);
  const errors = await on.redis.lrange(`${PREFIX}:errors`, 0, -1);
  // What a worker says whose lock has run out while the machine was busy with something else.
  expect(errors.filter((message) => !/Missing lock|could not renew lock/.test(message))).toEqual([]);
  const runs = Object.values(await on.redis.hgetall(`${PREFIX}:done`)).map(Number);
  return { kills: await killing, repeated: runs.filter((count) => count > 1).length };
}

async function addSchedulers(queue: Queue): Promise<void> {
  for (let at = 0; at < SCHEDULERS; at += 1) {
    const tenant = `t${at}`;
    await withTenant(tenant, () =>
      queue.upsertJobScheduler(
        'tick',
        { every: 200, limit: TICKS },
        { name: 'n', data: { tenant, fails: false } satisfies SoakData },
      ),
    );
  }
}

/** Some run at once; the others are due when their tenant is erased, and later. */
async function addOfGone(queue: Queue): Promise<void> {
  const data: SoakData = { tenant: GONE, fails: false };
  await withTenant(GONE, async () => {
    for (let at = 0; at < OF_GONE; at += 1)
      await queue.add('n', data, at % 2 === 0 ? {} : { delay: 3_000 + at * 200 });
    await queue.upsertJobScheduler('tick', { every: 100 }, { name: 'n', data });
  });
}

/** @returns how many of its jobs have run */
async function eraseGone({ redis }: Bench, queue: Queue, fence: TenantRegistry): Promise<number> {
  await expect.poll(() => redis.get(`${PREFIX}:gone`).then(Number)).toBeGreaterThan(OF_GONE / 2);
  await fence.freeze(GONE);
  await wait(fence.maxStaleness);
  const eraser = queueEraser(queue, { queues: ['soak'] });
  const run = {
    signal: new AbortController().signal,
    checkpoint: memoryCheckpoint(),
    progress: () => undefined,
  };
  const { erased, kept } = await eraser.erase({ tenant: GONE }, run);
  expect(kept).toEqual([]);
  expect(erased.find(({ kind }) => kind === 'jobs')?.count).toBeGreaterThan(0);
  await fence.markErased(GONE);
  return Number(await redis.get(`${PREFIX}:gone`));
}

function memoryCheckpoint(): { load(): Promise<string | undefined>; save(text: string): Promise<void> } {
  let saved: string | undefined;
  return {
    load: async () => saved,
    save: async (text) => void (saved = text),
  };
}

/** The parent fails once where every seventh job does, and its children as well. */
function flowOf(at: number, data: SoakData): FlowJob {
  const child = (queueName: string, jobId: string): FlowJob => ({
    name: 'n',
    queueName,
    data,
    opts: { jobId, ...kindOf(at) },
  });
  return {
    ...child('soak', `j${at}`),
    children: [child('soak', `j${at}-a`), child('boxed', `j${at}-b`)],
  };
}

function kindOf(at: number): object {
  const retried = at % 7 === 0 ? { attempts: 3, ...(at % 2 === 0 ? { backoff: 50 } : {}) } : {};
  if (at % 5 === 1) return { ...retried, delay: 20 + (at % 300) };
  if (at % 5 === 2) return { ...retried, priority: 1 + (at % 3) };
  return retried;
}

async function killOften(
  workers: ChildProcess[],
  url: string,
  every: number,
  signal: AbortSignal,
): Promise<number> {
  let kills = 0;
  for (; ; kills += 1) {
    await wait(every, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return kills;
    const [oldest] = workers.splice(0, 1);
    if (oldest !== undefined) await kill(oldest);
    workers.push(await start(url));
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

async function start(url: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--conditions=@tenantkit/source', PROGRAM, url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: child.stdout })) if (line === 'ready') break;
  child.stdout.resume();
  return child;
}
