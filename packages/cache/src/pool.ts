import { StoreUnreachableError, refusal, refuse } from '@tenantkit/core';
import type { Line } from './line.ts';
import type { DedicatedOptions } from './options.ts';
import { aborted, ownSignal } from './signal.ts';

const DEFAULTS = { max: 10, wait: 10_000, idle: 30_000 } as const;

const BUSY = refuse(
  'no connection has become free in time',
  'Do less inside dedicated(), or allow more connections: tenant: { dedicated: { max, perTenant, wait } }. One inside of another waits for a further connection, while it holds its own.',
);
const ENDED = 'Connection is closed.';

/** @param stale - called when the server has said that somebody should connect anew */
type MakeLine = (stale: () => void) => Line;

interface Waiter {
  readonly tenant: string;
  readonly admit: () => void;
  readonly refuse: (error: Error) => void;
}

interface Loan {
  readonly tenant: string;
  line: Line | undefined;
  /** The client has ended meanwhile. */
  isEnded: boolean;
}

/**
 * A few connections, lent to one tenant at a time. One tenant does not get all of them, however many it asks for:
 * those of others do not wait behind it.
 */
export class LinePool {
  readonly #make: MakeLine;
  readonly #target: () => string;
  readonly #max: number;
  readonly #perTenant: number;
  readonly #wait: number;
  readonly #idleFor: number;
  readonly #idle = new Map<Line, NodeJS.Timeout>();
  readonly #loans = new Set<Loan>();
  readonly #waiting = new Set<Waiter>();
  #generation = 0;
  // That of the pool when they were made.
  readonly #generations = new WeakMap<Line, number>();

  /** @param target - the server, for errors */
  constructor(make: MakeLine, target: () => string, options: DedicatedOptions = {}) {
    this.#make = make;
    this.#target = target;
    this.#max = options.max ?? DEFAULTS.max;
    this.#perTenant = options.perTenant ?? Math.ceil(this.#max / 2);
    this.#wait = options.wait ?? DEFAULTS.wait;
    this.#idleFor = options.idle ?? DEFAULTS.idle;
  }

  /**
   * Lends a connection for as long as `use` takes.
   *
   * @param tenant - who counts as one
   * @param signal - ends waiting, and cuts the connection
   * @throws {@link ConfigError} for something else than a signal
   * @throws {@link OperationRefusedError} when none becomes free in time
   * @throws {@link StoreUnreachableError} when the server does not let one be made
   */
  async lend<T>(tenant: string, given: AbortSignal | undefined, use: (line: Line) => Promise<T>): Promise<T> {
    const { signal, release } = ownSignal(given);
    try {
      signal?.throwIfAborted();
      return await this.#lend(tenant, signal, use);
    } finally {
      release();
    }
  }

  async #lend<T>(
    tenant: string,
    signal: AbortSignal | undefined,
    use: (line: Line) => Promise<T>,
  ): Promise<T> {
    const loan = await this.#admit(tenant, signal);
    try {
      const line = await this.#open(loan, signal);
      return await aborted(
        signal,
        () => line.cut(),
        () => use(line),
      );
    } finally {
      void this.#takeBack(loan);
    }
  }

  /** Cuts all connections. Another loan makes new ones. */
  close(): void {
    for (const line of this.#idle.keys()) this.#drop(line);
    for (const loan of this.#loans) {
      loan.isEnded = true;
      loan.line?.disconnect();
    }
    for (const waiter of this.#waiting) waiter.refuse(new Error(ENDED));
  }

  /**
   * Lends nothing again that was connected before: behind the same address there may be another server now, and the
   * one that was there may still answer.
   */
  renew(): void {
    this.#generation += 1;
    for (const line of this.#idle.keys()) this.#drop(line);
  }

  #admit(tenant: string, signal: AbortSignal | undefined): Promise<Loan> {
    const loan: Loan = { tenant, line: undefined, isEnded: false };
    if (this.#hasRoom(tenant)) {
      this.#loans.add(loan);
      return Promise.resolve(loan);
    }
    return new Promise((resolve, reject) => {
      const abort = (): void => waiter.refuse(signal?.reason as Error);
      const timer = setTimeout(() => waiter.refuse(refusal('cache', 'dedicated', BUSY)), this.#wait);
      const settle = (): void => {
        this.#waiting.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        tenant,
        admit: () => {
          settle();
          this.#loans.add(loan);
          resolve(loan);
        },
        refuse: (error) => {
          settle();
          reject(error);
        },
      };
      this.#waiting.add(waiter);
      signal?.addEventListener('abort', abort);
    });
  }

  #hasRoom(tenant: string): boolean {
    if (this.#loans.size >= this.#max) return false;
    const own = [...this.#loans].filter((loan) => loan.tenant === tenant);
    return own.length < this.#perTenant;
  }

  async #open(loan: Loan, signal: AbortSignal | undefined): Promise<Line> {
    for (const line of this.#idle.keys()) {
      clearTimeout(this.#idle.get(line));
      this.#idle.delete(line);
      // The server, or something in between, may have closed it meanwhile.
      if (line.status === 'ready') return (loan.line = line);
    }
    const line = (loan.line = this.#makeLine());
    const timer = setTimeout(() => line.disconnect(), this.#wait);
    try {
      await aborted(
        signal,
        () => line.disconnect(),
        () => line.open(),
      );
      return line;
    } catch (cause) {
      line.disconnect();
      signal?.throwIfAborted();
      if (loan.isEnded) throw new Error(ENDED, { cause });
      throw new StoreUnreachableError({
        surface: 'cache',
        operation: 'dedicated',
        target: this.#target(),
        cause,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #makeLine(): Line {
    const generation = this.#generation;
    const line = this.#make(() => {
      // Those that are idle are no younger; but what was made since is.
      if (generation === this.#generation) this.renew();
    });
    this.#generations.set(line, generation);
    return line;
  }

  // In the background: whoever had it does not wait for it to be clean, whoever comes next does.
  async #takeBack(loan: Loan): Promise<void> {
    const { line } = loan;
    const isClean = line !== undefined && (await line.isClean());
    this.#loans.delete(loan);
    if (isClean && this.#isCurrent(line) && line.status === 'ready') this.#keep(line);
    else line?.disconnect();
    for (const waiter of this.#waiting) if (this.#hasRoom(waiter.tenant)) waiter.admit();
  }

  #isCurrent(line: Line): boolean {
    return this.#generations.get(line) === this.#generation;
  }

  #keep(line: Line): void {
    const timer = setTimeout(() => this.#drop(line), this.#idleFor);
    timer.unref();
    this.#idle.set(line, timer);
  }

  #drop(line: Line): void {
    clearTimeout(this.#idle.get(line));
    this.#idle.delete(line);
    line.disconnect();
  }
}
