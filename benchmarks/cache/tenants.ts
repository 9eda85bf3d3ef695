import { Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { inTurn, median } from '../statistics.ts';

/** What a hundred tenants cost, with a client each or with one client for all. */
export interface Tenants {
  readonly name: string;
  readonly connections: number;
  /** Milliseconds until all clients can be used. */
  readonly ready: number;
  /** Bytes of this process: the heap, and what it holds beside it. */
  readonly memory: number;
  /** Bytes of the server. */
  readonly server: number;
  /** Microseconds per GET, one tenant after the other in turn, a hundred in flight. */
  readonly wall: number;
  readonly cpu: number;
}

interface Way {
  readonly name: string;
  readonly make: () => readonly Raw[];
  readonly get: (clients: readonly Raw[], tenant: number) => Promise<unknown>;
}

const COUNT = 100;
const CALLS = 20_000;
const ROUNDS = 7;
const IDS = Array.from({ length: COUNT }, (_, n) => `tenant-${n}`);

/** Compares a client of ioredis with `keyPrefix` per tenant with one client of ours. */
export async function measureTenants(url: string): Promise<Tenants[]> {
  const ways: readonly Way[] = [
    {
      name: 'ioredis, a client with keyPrefix per tenant',
      make: () => IDS.map((id) => new Raw(url, { keyPrefix: `tk:${id}:` })),
      get: (clients, tenant) => inTurn(clients, tenant).get('user:1'),
    },
    {
      name: 'tenantkit, one client for all',
      make: () => [new Redis(url)],
      get: (clients, tenant) => withTenant(inTurn(IDS, tenant), () => inTurn(clients, 0).get('user:1')),
    },
  ];
  const admin = new Raw(url);
  try {
    const made = [];
    for (const way of ways) made.push(await open(way, admin));
    const samples = made.map(() => ({ wall: [] as number[], cpu: [] as number[] }));
    for (let round = -1; round < ROUNDS; round += 1) {
      // The other way round in every second round.
      const order = round % 2 === 0 ? made : made.toReversed();
      for (const { way, clients } of order) {
        globalThis.gc?.();
        const cpu = process.cpuUsage();
        const start = performance.now();
        await Promise.all(
          IDS.map(async (_, tenant) => {
            for (let n = 0; n < CALLS / COUNT; n += 1) await way.get(clients, tenant);
          }),
        );
        const wall = (performance.now() - start) * 1_000;
        const { user, system } = process.cpuUsage(cpu);
        if (round < 0) continue;
        const sample = inTurn(samples, ways.indexOf(way));
        sample.wall.push(wall / CALLS);
        sample.cpu.push((user + system) / CALLS);
      }
    }
    return made.map(({ way, clients, ...cost }, n) => {
      for (const client of clients) client.disconnect();
      const { wall, cpu } = inTurn(samples, n);
      return { name: way.name, connections: clients.length, ...cost, wall: median(wall), cpu: median(cpu) };
    });
  } finally {
    admin.disconnect();
  }
}

async function open(way: Way, admin: Raw) {
  const before = { own: ownMemory(), server: await serverMemory(admin) };
  const start = performance.now();
  const clients = way.make();
  await Promise.all(clients.map((client) => once(client, 'ready')));
  const ready = performance.now() - start;
  await Promise.all(IDS.map((_, tenant) => way.get(clients, tenant)));
  return {
    way,
    clients,
    ready,
    memory: ownMemory() - before.own,
    server: (await serverMemory(admin)) - before.server,
  };
}

function ownMemory(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function serverMemory(admin: Raw): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
}
