import { withTenant, type EraseRun } from '@tenantkit/core';
import { Queue, queueEraser } from '@tenantkit/queue';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Queue as RawQueue } from 'bullmq';
import { Redis } from 'ioredis';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { setting } from './queue/report.ts';
import { median } from './statistics.ts';

// One tenant among many whose jobs all wait: how long its erasure takes, and what the jobs take of the server.
const TENANTS = Number(process.env['TENANTS'] ?? 1_000);
const OF_EACH = 100;
const ROUNDS = Number(process.env['ROUNDS'] ?? 5);
const NAME = 'bench';
/** About 1 KiB as JSON. */
const DATA = { to: 'ada@example.com', text: 'x'.repeat(980) };
const ENTRIES = Array.from({ length: OF_EACH }, () => ({ name: 'n', data: DATA }));

/** The target, in milliseconds, and what the server itself calls slow here, in microseconds. */
const MILLISECONDS = 50;
const SLOW = 1_000;

type SlowLog = [id: number, at: number, micros: number, args: string[]][];
type Fill = (tenant: number) => Promise<unknown>;

const run: EraseRun = {
  signal: new AbortController().signal,
  checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
  progress: () => undefined,
};

// A server of its own: what others keep on a shared one would be in the figures.
await using server = await startRedisNode();
const redis = new Redis(server.url, { maxRetriesPerRequest: null });
const ours = new Queue(NAME, {
  connection: redis,
  tenant: { signingKeys: [{ kid: 'one', secret: 'a secret of the benchmark, of 32 bytes or more' }] },
});
const raw = new RawQueue(NAME, { connection: redis });
try {
  const version = /redis_version:(\S+)/.exec(await redis.info('server'))?.[1] ?? 'of unknown version';
  // The first only makes the lists that stay.
  const bytes: Record<string, number> = {};
  for (const [kind, fill] of Object.entries({
    bullmq: () => raw.addBulk(ENTRIES),
    tenantkit: (tenant) => withTenant(`tenant-${tenant}`, () => ours.addBulk(ENTRIES)),
  } satisfies Record<string, Fill>)) {
    await redis.flushall();
    const before = await usedMemory();
    for (let tenant = 0; tenant < TENANTS; tenant += 1) await fill(tenant);
    bytes[kind] = ((await usedMemory()) - before) / (TENANTS * OF_EACH);
  }

  await redis.config('SET', 'slowlog-log-slower-than', SLOW);
  const times: Record<string, number[]> = { erase: [], 'plan before it': [], 'verify after it': [] };
  await redis.slowlog('RESET');
  for (let round = 0; round < ROUNDS; round += 1) {
    // Not always the oldest jobs of the queue.
    const tenant = `tenant-${Math.floor(((round + 0.5) * TENANTS) / ROUNDS)}`;
    const eraser = queueEraser(ours);
    await timed('plan before it', () => eraser.plan({ tenant }));
    const { erased } = await timed('erase', () => eraser.erase({ tenant }, run));
    if (erased[0]?.count !== OF_EACH) throw new Error(`${erased[0]?.count} jobs were erased`);
    const { remaining } = await timed('verify after it', () => eraser.verify({ tenant }));
    if (remaining.some(({ count }) => count > 0)) throw new Error('jobs are left');
  }
  const slow = (await redis.slowlog('GET', 1_000)) as SlowLog;
  const longest = Math.max(0, ...slow.map(([, , micros]) => micros)) / 1_000;

  async function timed<T>(name: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work();
    times[name]?.push(performance.now() - start);
    return result;
  }

  const memory = Object.entries(bytes).map(([kind, count]) => ({
    'A waiting job of 1 KiB': kind,
    'bytes of the server': Math.round(count).toLocaleString('en'),
    'of bullmq': (count / (bytes['bullmq'] ?? NaN)).toFixed(2),
  }));
  const erasing = Object.entries(times).map(([name, values]) => ({
    [`${OF_EACH} of ${TENANTS * OF_EACH} jobs`]: name,
    'median ms': median(values).toFixed(1),
    'longest ms': Math.max(...values).toFixed(1),
  }));
  const figures = [
    `${await setting(version)}. ${TENANTS * OF_EACH} waiting jobs of ${TENANTS} tenants; ${ROUNDS} times. Of ${slow.length} commands that took the server more than ${SLOW / 1_000} ms the longest took ${longest.toFixed(1)} ms.`,
    markdown(erasing),
    markdown(memory),
  ].join('\n\n');
  console.log(figures);
  if (median(times['erase'] ?? []) > MILLISECONDS)
    console.log(`misses the target: erase takes more than ${MILLISECONDS} ms`);
  if (isWritten) await writeFigures('queue-erase', figures);
} finally {
  await ours.close();
  await raw.close();
  redis.disconnect();
}

async function usedMemory(): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
}
