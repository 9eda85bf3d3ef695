import { Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { startRedisNode } from '@tenantkit/testing/servers';
import { inTurn } from './statistics.ts';
import { isWritten, writeFigures } from './page.ts';

/** Commands in all, of many tenants and in all forms. */
const COMMANDS = 10_000_000;
/** Commands between two looks at the heap. */
const INTERVAL = 500_000;
const TENANTS = 1_000;
const IN_FLIGHT = 100;
const VALUE = 'x'.repeat(32);

const tenants = Array.from({ length: TENANTS }, (_, n) => `tenant-${n}`);
const keys = Array.from({ length: IN_FLIGHT }, (_, n) => `user:${n}`);

/** Each sends as many commands as there are keys, one of them for nothing: it is refused. */
const forms: readonly ((redis: Redis) => Promise<unknown>)[] = [
  (redis) => Promise.all(keys.map((key) => redis.set(key, VALUE))),
  (redis) => Promise.all(keys.map((key) => redis.get(key))),
  (redis) => Promise.all(keys.map((key) => redis.hset(`hash:${key}`, 'field', VALUE))),
  (redis) => Promise.all(keys.map((key) => redis.getBuffer(Buffer.from(key)))),
  (redis) => keys.reduce((pipeline, key) => pipeline.get(key), redis.pipeline()).exec(),
  (redis) =>
    keys
      .slice(2)
      .reduce((multi, key) => multi.incr(`count:${key}`), redis.multi())
      .exec(),
  (redis) =>
    Promise.allSettled(keys.map((key, n) => (n === 0 ? redis.call('CONFIG', 'GET', '*') : redis.del(key)))),
];

await using server = await startRedisNode();
const clients = [new Redis(server.url), new Redis(server.url, { enableAutoPipelining: true })];
const heap: number[] = [];
const start = performance.now();
for (let sent = 0, turn = 0; sent <= COMMANDS; sent += IN_FLIGHT, turn += 1) {
  if (sent % INTERVAL === 0) heap.push(heapNow());
  if (sent === COMMANDS) break;
  await withTenant(inTurn(tenants, turn), () => inTurn(forms, turn)(inTurn(clients, turn)));
}
for (const client of clients) client.disconnect();

// Until the first look afterwards, code is compiled and the names of each tenant are made.
const [first = NaN, ...settled] = heap;
const figures = [
  `${COMMANDS.toLocaleString('en')} commands of ${TENANTS.toLocaleString('en')} tenants in ${seconds(start)}, looked at`,
  `every ${INTERVAL.toLocaleString('en')} after a full collection: ${mebibytes(first)} MiB before the first command,`,
  `then between ${mebibytes(Math.min(...settled))} and ${mebibytes(Math.max(...settled))} MiB, at the end`,
  `${mebibytes(settled.at(-1) ?? NaN)} MiB; the line through all looks but the first rises by`,
  `${slope(settled).toFixed(3)} bytes per command.`,
].join('\n');
console.log(figures);
if (isWritten) await writeFigures('cache-memory', figures);

function heapNow(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

function slope(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const above = values.reduce((sum, value, n) => sum + (n - middle) * (value - mean), 0);
  const below = values.reduce((sum, _, n) => sum + (n - middle) ** 2, 0);
  return above / below / INTERVAL;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1_000).toFixed(0)} s`;
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(2);
}
