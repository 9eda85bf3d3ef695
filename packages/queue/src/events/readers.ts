import { isRedisInstance, type ConnectionOptions } from 'bullmq';
import { isTenantkitError } from '@tenantkit/core';
import type { LoopStore } from '../lanes/loop.ts';
import { Silos } from '../silos.ts';
import type { StoreContext } from '../store.ts';
import type { Reader } from './reader.ts';

/** How often it is looked whether tenants are somewhere else, in milliseconds. */
const LOOK = 1_000;

/** One Redis that is read. */
export interface Seat {
  readonly store: LoopStore;
  readonly reader: Reader;
  /** Whether the connection for other commands is the caller's, which is not ours to end. */
  readonly isShared: boolean;
}

/** What {@link Readers} work with. */
export interface ReadersParts {
  readonly context: StoreContext;
  readonly pool: LoopStore;
  /** Whether the connection of the pool is the caller's. */
  readonly isShared: boolean;
  /** Opens a silo, outside of any tenant. */
  open(connection: ConnectionOptions): LoopStore;
  /** Makes the reader of one Redis. @param isHere - whether this is where the lane of a tenant is read */
  read(store: LoopStore, isHere: (tenant: string) => boolean): Reader;
  wants(tenant: string): boolean;
  wantsAll(): boolean;
  failed(error: unknown): void;
}

/**
 * The readers behind one QueueEvents: that of the pool, and one for each silo in which somebody is whose events are
 * listened to. The stream of a tenant is read where `place` says that it is: who can write to one silo can say nothing
 * of the tenants of another. Where a tenant has been before is read on for as long as somebody listens to it, since
 * what waited there may still be run.
 */
export class Readers {
  readonly #parts: ReadersParts;
  readonly #pool: Seat;
  readonly #silos: Silos<Seat> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #running: Promise<void> | undefined;
  readonly #ofSilos: Promise<void>[] = [];
  #isClosed = false;

  constructor(parts: ReadersParts) {
    this.#parts = parts;
    const { place, fence } = parts.context;
    this.#silos =
      place === undefined
        ? undefined
        : new Silos<Seat>({
            place,
            fence,
            open: (connection) => this.#open(connection),
            failed: (error) => parts.failed(error),
          });
    this.#pool = this.#seat(parts.pool, parts.isShared);
  }

  /** Every Redis that is read. */
  get seats(): readonly Seat[] {
    return [this.#pool, ...(this.#silos?.stores ?? [])];
  }

  /**
   * Where the stream of a tenant is.
   *
   * @throws {@link OperationRefusedError} when nobody knows where the tenant is
   */
  at(tenant: string, operation: string): Seat {
    return this.#silos?.at(tenant, operation) ?? this.#pool;
  }

  /** To be called when somebody has begun or ceased to listen. @param tenant - `undefined` for all */
  changed(tenant: string | undefined): void {
    if (this.#isClosed) return;
    if (tenant === undefined) for (const { reader } of this.seats) reader.changed(undefined);
    else this.#follow(tenant);
    this.#watch();
  }

  /** Resolves when no event of a tenant that listens can be missed any more. */
  async ready(tenant?: string): Promise<void> {
    if (this.#parts.wantsAll()) await this.#look();
    await Promise.all(this.seats.map(({ reader }) => reader.ready(tenant)));
  }

  /** Reads until it is closed. */
  run(): Promise<void> {
    if (this.#running !== undefined) throw new Error('Queue Events is already running.');
    this.#running = this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    for (const seat of this.#silos?.stores ?? []) this.#runSilo(seat);
    await this.#pool.reader.run();
    await Promise.all(this.#ofSilos);
  }

  /** Ends {@link Readers.run}. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const { reader } of this.seats) reader.close();
  }

  #seat(store: LoopStore, isShared: boolean): Seat {
    const seat: Seat = {
      store,
      isShared,
      reader: this.#parts.read(store, (tenant) => this.#whereNow(tenant) === seat),
    };
    return seat;
  }

  #open(connection: ConnectionOptions): Seat {
    const seat = this.#seat(this.#parts.open(connection), isRedisInstance(connection));
    if (this.#isClosed) seat.reader.close();
    if (this.#parts.wantsAll()) seat.reader.changed(undefined);
    if (this.#running !== undefined) this.#runSilo(seat);
    return seat;
  }

  #runSilo({ reader }: Seat): void {
    this.#ofSilos.push(reader.run().catch((error: unknown) => this.#parts.failed(error)));
  }

  #follow(tenant: string): void {
    const now = this.#parts.wants(tenant) ? this.#whereNow(tenant) : undefined;
    for (const seat of this.seats) if (seat === now || seat.reader.reads(tenant)) seat.reader.changed(tenant);
  }

  /** @returns `undefined` when nobody knows: the service was told why, and whoever asked first was refused */
  #whereNow(tenant: string): Seat | undefined {
    try {
      return this.at(tenant, 'QueueEvents');
    } catch (error) {
      if (!isTenantkitError(error)) this.#parts.failed(error);
      return undefined;
    }
  }

  /** Looks for tenants that are somewhere else than before, while anybody listens. */
  #watch(): void {
    if (this.#silos === undefined || this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.#look(), LOOK).unref();
  }

  #look(): Promise<void> {
    // A look that waits for a lost connection is not joined by another one every second.
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    if (this.#silos === undefined) return;
    const read = new Set(this.seats.flatMap(({ reader }) => reader.tenants));
    for (const tenant of read) if (this.#parts.wants(tenant)) this.#follow(tenant);
    if (!this.#parts.wantsAll()) return;
    try {
      // Asking for a tenant opens the silo that it is in, whose reader finds its lane.
      for (const tenant of await this.#parts.pool.placed()) if (!this.#isClosed) this.#whereNow(tenant);
    } catch (error) {
      if (!this.#isClosed) this.#parts.failed(error);
    }
  }
}
