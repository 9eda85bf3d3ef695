import { EventEmitter, once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { currentTenant, withTenant } from '@tenantkit/core';
import { Queue, Worker } from '@tenantkit/queue';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Queue as RawQueue, Worker as RawWorker, type Job } from 'bullmq';
import { Redis } from 'ioredis';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { setting } from './queue/report.ts';
import { median } from './statistics.ts';

// One tenant floods the queue, another adds a job now and then: how long does that one wait for its turn?
const JOB_TIME = 5;
const CONCURRENCY = 10;
/** How many jobs of the flooding tenant wait at any time. */
const FLOOD = Number(process.env['FLOOD'] ?? 1_000);
/** So many at a time are added in the place of those that have begun. */
const REFILL = 50;
const QUIET = Number(process.env['QUIET'] ?? 100);
/** The target: job times, for each of the jobs that are worked on at once. */
const JOB_TIMES = 3 * CONCURRENCY;

const NAME = 'bench';
const FLOODING = 'flooding';
const SILENT = 'quiet';

/** One way of serving both. */
interface Way {
  readonly add: (tenant: string, count: number) => Promise<unknown>;
  /** Connections to the server that one more tenant costs. */
  readonly connections: number;
  readonly close: () => Promise<unknown>;
}
/** Called when a job begins. */
type Begun = (tenant: string, waited: number) => void;

// A server of its own: what others ask of a shared one would be in the figures.
await using server = await startRedisNode();
const connection = { url: server.url, maxRetriesPerRequest: null };

const ENTRIES = (tenant: string, count: number): { name: string; data: object }[] =>
  Array.from({ length: count }, () => ({ name: 'n', data: { tenant, at: performance.now() } }));
const processor =
  (begun: Begun) =>
  async ({ data }: Pick<Job, 'data'>): Promise<void> => {
    begun(data.tenant, performance.now() - data.at);
    await wait(JOB_TIME);
  };

const WAYS: Readonly<Record<string, (begun: Begun) => Way>> = {
  'bullmq, one queue': (begun) => {
    const queue = new RawQueue(NAME, { connection });
    const worker = new RawWorker(NAME, processor(begun), { connection, concurrency: CONCURRENCY });
    return {
      add: (tenant, count) => queue.addBulk(ENTRIES(tenant, count)),
      connections: 0,
      close: () => Promise.all([worker.close(), queue.close()]),
    };
  },
  'bullmq, a queue and a worker per tenant': (begun) => {
    const made = [FLOODING, SILENT].map((tenant) => ({
      tenant,
      queue: new RawQueue(`${NAME}-${tenant}`, { connection }),
      worker: new RawWorker(`${NAME}-${tenant}`, processor(begun), { connection, concurrency: CONCURRENCY }),
    }));
    return {
      add: async (tenant, count) =>
        made.find((one) => one.tenant === tenant)?.queue.addBulk(ENTRIES(tenant, count)),
      connections: 3,
      close: () => Promise.all(made.flatMap(({ queue, worker }) => [worker.close(), queue.close()])),
    };
  },
  'tenantkit, one queue': (begun) => {
    const tenant = {
      signingKeys: [{ kid: 'one', secret: 'a secret of the benchmark, of 32 bytes or more' }],
    };
    const queue = new Queue(NAME, { connection, tenant });
    const inTenant: Begun = (_tenant, waited) => begun(currentTenant()?.tenant ?? '', waited);
    const worker = new Worker(NAME, processor(inTenant), { connection, tenant, concurrency: CONCURRENCY });
    return {
      add: (id, count) => withTenant(id, () => queue.addBulk(ENTRIES(id, count))),
      connections: 0,
      close: () => Promise.all([worker.close(), queue.close()]),
    };
  },
};

const admin = new Redis(server.url);
const version = /redis_version:(\S+)/.exec(await admin.info('server'))?.[1] ?? 'of unknown version';
const table = [];
for (const [name, make] of Object.entries(WAYS)) {
  await admin.flushall();
  const { waits, connections } = await measure(make);
  const p99 = waits.toSorted((a, b) => a - b)[Math.ceil(waits.length * 0.99) - 1] ?? NaN;
  table.push({
    'Wait of a quiet tenant': name,
    'median ms': median(waits).toFixed(1),
    'p99 ms': p99.toFixed(1),
    'p99 in job times': (p99 / JOB_TIME).toFixed(1),
    'connections of one more tenant': `${connections}`,
  });
  console.log(table.at(-1));
  if (name.startsWith('tenantkit') && p99 > JOB_TIMES * JOB_TIME)
    console.log(`misses the target: ${(p99 / JOB_TIME).toFixed(1)} job times, not ${JOB_TIMES}`);
}
admin.disconnect();
const figures = [
  `${await setting(version)}. Jobs of ${JOB_TIME} ms, ${CONCURRENCY} at once; ${FLOOD} jobs of another tenant wait all the time; ${QUIET} jobs of the quiet one.`,
  markdown(table),
].join('\n\n');
console.log(figures);
if (isWritten) await writeFigures('queue-fairness', figures);

/** How long each job of the quiet tenant waited, one after the other. */
async function measure(
  make: (begun: Begun) => Way,
): Promise<{ readonly waits: readonly number[]; readonly connections: number }> {
  const waits: number[] = [];
  const told = new EventEmitter();
  let refilled: Promise<unknown> = Promise.resolve();
  let begunSince = 0;
  const way = make((tenant, waited) => {
    if (tenant === SILENT) {
      waits.push(waited);
      told.emit('quiet');
      return;
    }
    begunSince += 1;
    if (begunSince < REFILL) return;
    begunSince = 0;
    refilled = refilled.then(() => way.add(FLOODING, REFILL));
  });
  await way.add(FLOODING, FLOOD);
  while (waits.length < QUIET) {
    const begun = once(told, 'quiet');
    await way.add(SILENT, 1);
    await begun;
  }
  await way.close();
  await refilled;
  return { waits, connections: way.connections };
}
