import type { EventEmitter } from 'node:events';
import type { ConnectionOptions } from 'bullmq';
import { ConfigError, runInScope } from '@tenantkit/core';
import { isSamePlace, readPlacement, type QueuePlacement } from './placement.ts';

/** How often a worker looks whether somebody is in a silo that it does not know, in milliseconds. */
const LOOK = 1_000;

/** What the worker of a silo tells as if it were that of the pool; the rest is about one connection or one loop. */
const TOLD: ReadonlySet<string> = new Set([
  'active',
  'completed',
  'failed',
  'progress',
  'stalled',
  'lockRenewalFailed',
  'locksRenewed',
  'error',
  'ioredis:close',
]);

/** As much of a Worker as is done to all of them alike. */
export interface AnyWorker extends EventEmitter {
  run(): Promise<void>;
  isPaused(): boolean;
}

/** What {@link SiloWorkers} need. */
export interface SiloWorkersParts {
  /** The worker that callers know. */
  readonly main: AnyWorker;
  readonly place: (tenant: string) => QueuePlacement;
  /** The tenants that have added jobs to a silo. */
  placed(): Promise<readonly string[]>;
  /** Makes a worker that does not run yet. */
  open(connection: ConnectionOptions): AnyWorker;
}

/**
 * The workers of silos behind one Worker: one per Redis, each with the concurrency of the Worker. Which silos there are
 * is noted in the pool by whoever adds a job, and where they are is said by `place`: what stands in Redis opens no
 * connection to an address of its own.
 */
export class SiloWorkers {
  readonly #parts: SiloWorkersParts;
  readonly #workers: { readonly connection: ConnectionOptions; readonly worker: AnyWorker }[] = [];
  /** The tenants of whom it was said that nobody knows where they are. */
  readonly #unplaced = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;
  #isEnded = false;

  constructor(parts: SiloWorkersParts) {
    this.#parts = parts;
  }

  /** Those that there are, for what is done to all. */
  get workers(): readonly AnyWorker[] {
    return this.#workers.map(({ worker }) => worker);
  }

  /** Begins to look for silos. */
  start(): void {
    if (this.#timer !== undefined || this.#isEnded) return;
    this.#timer = setInterval(() => this.#look(), LOOK).unref();
    this.#look();
  }

  /** Opens no more of them. A look that is under way, which may wait for a lost connection, is not waited for. */
  stop(): void {
    this.#isEnded = true;
    clearInterval(this.#timer);
  }

  #look(): void {
    // A look that waits for a lost connection is not joined by another one every second.
    if (this.#isLooking) return;
    this.#isLooking = true;
    void this.#lookOnce().finally(() => {
      this.#isLooking = false;
    });
  }

  async #lookOnce(): Promise<void> {
    try {
      for (const tenant of await this.#parts.placed()) if (!this.#isEnded) this.#findOut(tenant);
    } catch (error) {
      if (!this.#isEnded) this.#parts.main.emit('error', error);
    }
  }

  #findOut(tenant: string): void {
    try {
      const connection = readPlacement(this.#parts.place(tenant));
      // A worker that cannot be made, of a client that a Worker refuses, must not keep those behind it from starting.
      if (connection !== undefined) this.#open(connection);
      this.#unplaced.delete(tenant);
    } catch (cause) {
      if (!this.#unplaced.has(tenant)) this.#parts.main.emit('error', unplaced(cause));
      this.#unplaced.add(tenant);
    }
  }

  #open(connection: ConnectionOptions): void {
    const { main } = this.#parts;
    if (this.#workers.some((known) => isSamePlace(known.connection, connection))) return;
    const worker = this.#parts.open(connection);
    const own = worker.emit.bind(worker);
    Object.defineProperty(worker, 'emit', {
      value: (event: string, ...args: unknown[]) =>
        TOLD.has(event) ? main.emit(event, ...args) : own(event, ...args),
    });
    this.#workers.push({ connection, worker });
    if (!main.isPaused()) worker.run().catch((error: unknown) => main.emit('error', error));
  }
}

/** Calls something of every worker of a silo, outside of any tenant: they serve all of them. */
export function eachWorker<T>({ workers }: SiloWorkers, call: (worker: AnyWorker) => T): readonly T[] {
  return runInScope(undefined, () => workers.map(call));
}

function unplaced(cause: unknown): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'place',
    problem: 'a tenant has added jobs to a silo that is not known or cannot be worked in, as the cause says',
    hint: 'Let place answer for every tenant, in workers too, with a connection that a Worker takes: nothing of it is run until then.',
    cause,
  });
}
