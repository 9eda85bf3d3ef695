import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { KINDS, ROWS, type Kind, type Row } from './rows.ts';
import type { Answer, Order, Sample, Task } from './worker.ts';

/** What was measured for one row: one sample per round. */
export interface Measured {
  readonly row: Row;
  readonly samples: Readonly<Record<Kind, readonly Sample[]>>;
}

const WARM_UP = 2;

/**
 * One thread per kind, in one process, each with a database of its own. They take turns, in an order drawn by lot: a
 * machine that slows down slows both, and none pays for the garbage of the other, nor for the shapes of its objects.
 */
export class Threads implements AsyncDisposable {
  readonly #workers: Readonly<Record<Kind, Worker>>;

  /** @param url - of a server, without a database */
  constructor(url: string) {
    const make = (kind: Kind, database: number): Worker =>
      new Worker(new URL('worker.ts', import.meta.url), {
        workerData: { kind, url: `${url}/${database}` } satisfies Task,
      });
    this.#workers = { bullmq: make('bullmq', 1), tenantkit: make('tenantkit', 2) };
  }

  async measure(row: Row, rounds: number): Promise<Measured> {
    const samples: Record<Kind, Sample[]> = { bullmq: [], tenantkit: [] };
    for (let round = -WARM_UP; round < rounds; round += 1) {
      for (const kind of Math.random() < 0.5 ? KINDS : KINDS.toReversed()) {
        const sample = await this.#ask(kind, { row: ROWS.indexOf(row) });
        if (round >= 0 && sample !== undefined) samples[kind].push(sample);
      }
    }
    return { row, samples };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const kind of KINDS) {
      await this.#ask(kind, 'end');
      // It is ended from here: a thread that closes its own port may do so before its answer has left, and who waits for
      // that waits for ever.
      await this.#workers[kind].terminate();
    }
  }

  async #ask(kind: Kind, order: Order): Promise<Sample | undefined> {
    const worker = this.#workers[kind];
    // An error of the thread itself rejects this.
    const answer = once(worker, 'message');
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    worker.postMessage(order);
    const [given] = (await answer) as [Answer];
    if ('error' in given) throw new Error(`${kind} has failed`, { cause: given.error });
    return given.sample;
  }
}
