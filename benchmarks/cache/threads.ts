import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { KINDS, ROWS, type Kind, type Row } from './rows.ts';
import type { Answer, Order, Sample, Task } from './worker.ts';

/** What was measured for one row. */
export interface Measured {
  readonly row: Row;
  /** One sample per round. */
  readonly samples: Readonly<Record<Kind, readonly Sample[]>>;
  /** Bytes per call. */
  readonly bytes: Readonly<Record<Kind, number>>;
}

const WARM_UP = 2;

/**
 * One thread per kind, in one process: each has a heap and compiled code of its own, so that none pays for the
 * garbage of another, nor for the shapes of its objects. They take turns, so only one of them works at a time.
 */
export class Threads implements AsyncDisposable {
  readonly #workers: Readonly<Record<Kind, Worker>>;

  constructor(servers: Omit<Task, 'kind'>) {
    const make = (kind: Kind): Worker =>
      new Worker(new URL('worker.ts', import.meta.url), { workerData: { kind, ...servers } satisfies Task });
    this.#workers = { ioredis: make('ioredis'), keyPrefix: make('keyPrefix'), tenantkit: make('tenantkit') };
  }

  /** In every round each kind has one sample, in an order drawn by lot: a machine that slows down slows all. */
  async measure(row: Row, rounds: number): Promise<Measured> {
    const samples: Record<Kind, Sample[]> = { ioredis: [], keyPrefix: [], tenantkit: [] };
    const place = ROWS.indexOf(row);
    for (let round = -WARM_UP; round < rounds; round += 1) {
      for (const kind of shuffled(KINDS)) {
        const sample = await this.#ask(kind, { do: 'run', row: place });
        if (round >= 0 && typeof sample === 'object') samples[kind].push(sample);
      }
    }
    const bytes: Record<Kind, number> = { ioredis: NaN, keyPrefix: NaN, tenantkit: NaN };
    for (const kind of KINDS) bytes[kind] = Number(await this.#ask(kind, { do: 'allocations', row: place }));
    return { row, samples, bytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const workers = Object.values(this.#workers);
    const gone = workers.map((worker) => once(worker, 'exit'));
    for (const worker of workers) order(worker, { do: 'end' });
    await Promise.all(gone);
  }

  async #ask(kind: Kind, what: Order): Promise<Sample | number> {
    const worker = this.#workers[kind];
    // An error of the thread itself rejects this.
    const answer = once(worker, 'message');
    order(worker, what);
    const [given] = (await answer) as [Answer];
    if ('error' in given) throw new Error(`${kind} has failed`, { cause: given.error });
    return given.value;
  }
}

function order(worker: Worker, what: Order): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  worker.postMessage(what);
}

function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, lot: Math.random() }))
    .toSorted((a, b) => a.lot - b.lot)
    .map(({ value }) => value);
}
