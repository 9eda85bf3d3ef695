import { Redis } from 'ioredis';
import { parentPort, workerData } from 'node:worker_threads';
import { ROWS, wayOf, type Kind } from './rows.ts';

/** What a thread is made for. */
export interface Task {
  readonly kind: Kind;
  /** Of a database that nobody else uses. */
  readonly url: string;
}

/** What a thread is asked: a sample of a row, or to end. */
export type Order = { readonly row: number } | 'end';

/** What it answers. */
export type Answer = { readonly sample: Sample | undefined } | { readonly error: unknown };

/** What a job took, in microseconds. */
export interface Sample {
  readonly wall: number;
  /** Processor time of this process, the collection of its garbage included. */
  readonly cpu: number;
  /** Processor time of the server. */
  readonly server: number;
}

const { kind, url } = workerData as Task;
const way = wayOf(kind, url);
const admin = new Redis(url);

parentPort?.on('message', (order: Order) => {
  (order === 'end' ? end() : run(order.row)).then(
    (sample) => answer({ sample }),
    (error: unknown) => answer({ error }),
  );
});

function answer(what: Answer): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  parentPort?.postMessage(what);
}

async function run(at: number): Promise<Sample> {
  const row = ROWS[at];
  if (row === undefined) throw new RangeError('there is no such row');
  await admin.flushdb();
  // Nobody pays for the garbage of the sample before.
  globalThis.gc?.();
  const [before, serverBefore] = [process.cpuUsage(), await serverTime()];
  const milliseconds = await row.run(way, row.jobs);
  const { user, system } = process.cpuUsage(before);
  return {
    wall: (milliseconds * 1_000) / row.jobs,
    cpu: (user + system) / row.jobs,
    server: ((await serverTime()) - serverBefore) / row.jobs,
  };
}

async function end(): Promise<undefined> {
  await way.queue.close();
  admin.disconnect();
  return undefined;
}

async function serverTime(): Promise<number> {
  const info = await admin.info('cpu');
  const of = (what: string): number => Number(new RegExp(`used_cpu_${what}:([\\d.]+)`).exec(info)?.[1]);
  return (of('sys') + of('user')) * 1e6;
}
