import { Cluster, Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { Cluster as RawCluster, Redis as Raw } from 'ioredis';
import { parentPort, workerData } from 'node:worker_threads';
import { ROWS, type Client, type Kind, type Row } from './rows.ts';

/** What a thread is made for. */
export interface Task {
  readonly kind: Kind;
  readonly url: string;
  /** The nodes of the cluster. */
  readonly nodes: readonly string[];
}

/** What a thread is asked. */
export type Order =
  | { readonly do: 'run'; readonly row: number }
  | { readonly do: 'allocations'; readonly row: number }
  | { readonly do: 'end' };

/** What it answers: {@link Sample}s for `run`, bytes per call for `allocations`. */
export type Answer = { readonly value: Sample | number } | { readonly error: unknown };

/** What a call took, in microseconds. */
export interface Sample {
  readonly wall: number;
  /** Processor time of this process, the collection of its garbage included. */
  readonly cpu: number;
}

const PREFIX = 'tk:acme:';
const BATCHES = 21;
const BATCH = 200;

const task = workerData as Task;
const clients = new Map<string, Client>();

const perform: { readonly [D in Order['do']]: (row: Row) => Promise<Sample | number> } = {
  run,
  allocations,
  end: async () => {
    for (const client of clients.values()) client.disconnect();
    parentPort?.close();
    return 0;
  },
};

parentPort?.on('message', (order: Order) => {
  const row = ROWS['row' in order ? order.row : 0];
  if (row === undefined) throw new RangeError('there is no such row');
  perform[order.do](row).then(
    (value) => answer({ value }),
    (error: unknown) => answer({ error }),
  );
});

function answer(what: Answer): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  parentPort?.postMessage(what);
}

async function run(row: Row): Promise<Sample> {
  const client = clientFor(row);
  // Nobody pays for the garbage of the sample before.
  globalThis.gc?.();
  const before = process.cpuUsage();
  const start = performance.now();
  await withTenant('acme', () => row.run(client, row.calls));
  const wall = (performance.now() - start) * 1_000;
  const { user, system } = process.cpuUsage(before);
  return { wall: wall / row.calls, cpu: (user + system) / row.calls };
}

// How much the heap grows, over batches that are too small for a collection.
async function allocations(row: Row): Promise<number> {
  const client = clientFor(row);
  const grown: number[] = [];
  await withTenant('acme', async () => {
    for (let batch = 0; batch < BATCHES; batch += 1) {
      globalThis.gc?.();
      const before = process.memoryUsage().heapUsed;
      await row.run(client, BATCH);
      grown.push((process.memoryUsage().heapUsed - before) / BATCH);
    }
  });
  return grown.toSorted((a, b) => a - b)[Math.floor(BATCHES / 2)] ?? NaN;
}

function clientFor(row: Row): Client {
  const enableAutoPipelining = row.autopipelining === true;
  const key = `${row.masters ?? 0} ${enableAutoPipelining}`;
  let client = clients.get(key);
  if (client === undefined) {
    client = row.masters === undefined ? single(enableAutoPipelining) : cluster(enableAutoPipelining);
    clients.set(key, client);
  }
  return client;
}

function single(enableAutoPipelining: boolean): Client {
  const { kind, url } = task;
  if (kind === 'tenantkit') return new Redis(url, { enableAutoPipelining });
  return new Raw(url, { enableAutoPipelining, ...(kind === 'keyPrefix' ? { keyPrefix: PREFIX } : {}) });
}

function cluster(enableAutoPipelining: boolean): Client {
  const { kind, nodes } = task;
  if (kind === 'tenantkit') return new Cluster([...nodes], { enableAutoPipelining });
  return new RawCluster([...nodes], {
    enableAutoPipelining,
    ...(kind === 'keyPrefix' ? { keyPrefix: PREFIX } : {}),
  });
}
