import { Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { freshRedis } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { Bench } from 'tinybench';

// What is compared: ioredis as it is, ioredis with the prefix of one tenant (what a service without tenantkit
// would take, with one client per tenant), and ours.
type Kind = 'ioredis' | 'keyPrefix' | 'tenantkit';

/** One way of calling. A sample is `run`, which makes `calls` calls. */
interface Row {
  readonly name: string;
  readonly calls: number;
  readonly autopipelining?: boolean;
  readonly run: (client: Raw) => Promise<unknown>;
}

const ROUNDS = 15;
const IN_FLIGHT = 100;
const SMALL = 'x'.repeat(32);
const LARGE = 'x'.repeat(4096);
const KEYS = Array.from({ length: 100 }, (_, n) => `user:${n}`);

const inFlight = (name: string, call: (client: Raw, key: string) => Promise<unknown>): Row => ({
  name: `${name}, ${IN_FLIGHT} in flight`,
  calls: IN_FLIGHT * 20,
  run: (client) =>
    Promise.all(
      KEYS.map(async (key) => {
        for (let n = 0; n < 20; n += 1) await call(client, key);
      }),
    ),
});
const piped = (name: string, add: (pipeline: ReturnType<Raw['pipeline']>, key: string) => unknown): Row => ({
  name: `pipeline of 100 ${name}`,
  calls: 2_000,
  run: async (client) => {
    for (let n = 0; n < 20; n += 1) {
      const pipeline = client.pipeline();
      for (const key of KEYS) add(pipeline, key);
      await pipeline.exec();
    }
  },
});
const get = (client: Raw, key: string): Promise<unknown> => client.get(key);

const ROWS: readonly Row[] = [
  {
    name: 'GET, one after the other',
    calls: 200,
    run: async (client) => {
      for (let n = 0; n < 200; n += 1) await client.get('user:1');
    },
  },
  inFlight('GET', get),
  inFlight('SET 32 B', (client, key) => client.set(key, SMALL)),
  inFlight('SET 4 KiB', (client, key) => client.set(key, LARGE)),
  inFlight('HSET', (client, key) => client.hset(`hash:${key}`, 'field', SMALL)),
  piped('GET', (pipeline, key) => pipeline.get(key)),
  piped('SET', (pipeline, key) => pipeline.set(key, SMALL)),
  { ...inFlight('GET autopipelined', get), autopipelining: true },
];

await using servers = await startServers({ redis: true });
const own = await freshRedis(servers.redis);
const clients = { plain: clientsWith(false), automatic: clientsWith(true) };
try {
  const table = [];
  for (const row of ROWS) {
    const kinds = row.autopipelining === true ? clients.automatic : clients.plain;
    const rates = await measure(row, kinds);
    const ratio = (kind: Kind): string =>
      spread(rates[kind].map((rate, n) => rate / (rates.ioredis[n] ?? NaN)));
    table.push({
      call: row.name,
      'ioredis calls/s': Math.round(median(rates.ioredis)),
      'keyPrefix / ioredis': ratio('keyPrefix'),
      'tenantkit / ioredis': ratio('tenantkit'),
    });
  }
  console.log(`Throughput as a ratio: median of ${ROUNDS} rounds, and the middle half of them.`);
  console.table(table);
} finally {
  for (const client of [clients.plain, clients.automatic].flatMap((kinds) => Object.values(kinds)))
    client.disconnect();
  await own.cleanup();
}

// In every round each kind has one sample, so that a busy machine slows all of them.
async function measure(row: Row, kinds: Readonly<Record<Kind, Raw>>): Promise<Record<Kind, number[]>> {
  const rates: Record<Kind, number[]> = { ioredis: [], keyPrefix: [], tenantkit: [] };
  const order = Object.keys(rates) as Kind[];
  for (let round = -2; round < ROUNDS; round += 1) {
    const bench = new Bench({ time: 0, iterations: 6, warmup: false });
    for (const kind of order)
      bench.add(kind, () => withTenant('acme', async () => void (await row.run(kinds[kind]))));
    await bench.run();
    for (const { name, result } of bench.tasks) {
      if (!('latency' in result)) throw new Error(`${row.name} with ${name} has failed`, { cause: result });
      // The first rounds warm up.
      if (round >= 0) rates[name as Kind].push((row.calls / result.latency.p50) * 1_000);
    }
    order.push(order.shift() as Kind);
  }
  return rates;
}

function clientsWith(enableAutoPipelining: boolean): Record<Kind, Raw> {
  return {
    ioredis: new Raw(own.url, { enableAutoPipelining }),
    keyPrefix: new Raw(own.url, { enableAutoPipelining, keyPrefix: 'tk:acme:' }),
    tenantkit: new Redis(own.url, { enableAutoPipelining }),
  };
}

function spread(ratios: readonly number[]): string {
  const sorted = ratios.toSorted((a, b) => a - b);
  const at = (part: number): string => (sorted[Math.floor((sorted.length - 1) * part)] ?? NaN).toFixed(2);
  return `${at(0.5)} (${at(0.25)}–${at(0.75)})`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
