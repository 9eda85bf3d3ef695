import { Redis, cacheEraser, indexCache } from '@tenantkit/cache';
import { createTenantRegistry, memoryTenantStore, withTenant, type EraseRun } from '@tenantkit/core';
import { freshRedis } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { markdown, setting as settingOf } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';

// One tenant among many: how long its erasure takes, and for how long one command of it holds the server up.
const KEYS = 1_000_000;
const OWN = 1_000;
const ROUNDS = 5;
const BATCH = 1_000;

// What the server itself calls slow here, in microseconds.
const SLOW = 1_000;

type SlowLog = [id: number, at: number, micros: number, args: string[]][];

const run: EraseRun = {
  signal: new AbortController().signal,
  checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
  progress: () => undefined,
};

await using servers = await startServers({ redis: true });
const own = await freshRedis(servers.redis);
const raw = new Raw(own.url);
const fence = await createTenantRegistry({ store: memoryTenantStore() });
const clients = {
  'with a registry': new Redis(own.url, { tenant: { index: true, fence } }),
  'without a registry': new Redis(own.url, { tenant: { fence } }),
};
const threshold = await raw.config('GET', 'slowlog-log-slower-than');
try {
  await raw.config('SET', 'slowlog-log-slower-than', SLOW);
  for (let from = 0; from < KEYS; from += BATCH) {
    const pairs: string[] = [];
    for (let n = from; n < from + BATCH; n += 1) pairs.push(`tk:other${n % 100}:key:${n}`, 'x'.repeat(32));
    await raw.mset(pairs);
  }
  const { keys } = await indexCache(clients['with a registry']);
  const table = [];
  for (const [name, client] of Object.entries(clients)) {
    const times: number[] = [];
    await raw.slowlog('RESET');
    for (let round = 0; round < ROUNDS; round += 1) {
      const tenant = `acme${round}`;
      await fence.unfreeze(tenant);
      await withTenant(tenant, async () => {
        for (let n = 0; n < OWN; n += 1) await client.set(`key:${n}`, 'x'.repeat(32));
      });
      await fence.freeze(tenant);
      const start = performance.now();
      const { erased } = await cacheEraser(client).erase({ tenant }, run);
      times.push(performance.now() - start);
      if (erased[0]?.count !== OWN) throw new Error(`${name}: ${erased[0]?.count} keys were erased`);
    }
    const slow = (await raw.slowlog('GET', 128)) as SlowLog;
    // Of others on the same server, too, where it is not our own.
    const ours = slow.filter(([, , , [command = '']]) =>
      /^(?:scan|unlink|zrange|zrem|zcard|info)$/i.test(command),
    );
    table.push({
      erase: name,
      'median ms': median(times).toFixed(1),
      'longest ms': Math.max(...times).toFixed(1),
      [`commands over ${SLOW / 1_000} ms`]: `${ours.length}`,
      'longest command ms': (Math.max(0, ...ours.map(([, , micros]) => micros)) / 1_000).toFixed(1),
    });
  }
  const rates = await writing();
  const intro = `${OWN} keys of one tenant among ${keys}; ${ROUNDS} times.`;
  console.log(`${await setting()}. ${intro}`);
  console.table(table);
  console.table(rates);
  if (isWritten) {
    const figures = [`${await setting()}. ${intro}`, markdown(table), markdown(rates)];
    await writeFigures('cache-erase', figures.join('\n\n'));
  }
} finally {
  await raw.config('SET', 'slowlog-log-slower-than', threshold[1] ?? '10000');
  for (const client of [raw, ...Object.values(clients)]) client.disconnect();
  fence.close();
  await own.cleanup();
}

async function setting(): Promise<string> {
  return settingOf(/redis_version:(\S+)/.exec(await raw.info('server'))?.[1] ?? 'of unknown version');
}

/** What a registry costs those who write: 100 in flight, each key once, or the same hundred keys all the time. */
async function writing(): Promise<Record<string, string>[]> {
  const rows = [];
  for (const [name, key] of [
    ['SET of a new key', (n: number) => `new:${n}`],
    ['SET of the same 100 keys', (n: number) => `hot:${n % 100}`],
  ] as const) {
    const rates: Record<string, number[]> = {};
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [kind, client] of Object.entries(clients)) {
        const start = performance.now();
        await withTenant(`writer${round}`, async () => {
          for (let n = 0; n < 200; n += 1)
            await Promise.all(
              Array.from({ length: 100 }, (_, at) => client.set(key(n * 100 + at), 'x'.repeat(32))),
            );
        });
        (rates[kind] ??= []).push(20_000 / ((performance.now() - start) / 1_000));
      }
    }
    const [withOne = 0, without = 0] = Object.values(rates).map(median);
    rows.push({
      call: `${name}, 100 in flight`,
      'with, calls/s': Math.round(withOne).toLocaleString('en'),
      'without, calls/s': Math.round(without).toLocaleString('en'),
      'with / without': (withOne / without).toFixed(2),
    });
  }
  return rows;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
