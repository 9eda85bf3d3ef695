import {
  ConfigError,
  assertId,
  currentScope,
  refusal,
  refuse,
  runInScope,
  type OperationRefusedError,
  type TenantRegistry,
} from '@tenantkit/core';
import { EventEmitter } from 'node:events';
import { isDeepStrictEqual, types } from 'node:util';
import type { Cluster, Redis } from './client.ts';
import {
  InvalidPlacement,
  readPlacement,
  type CachePlacement,
  type OwnPlacement,
  type Pool,
} from './place.ts';
import { asPlumbing, inScope, ownerOf, type Listener } from './plumbing.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { Wiring } from './wiring.ts';

/** A guarded client of one place. */
export type Placed = Redis | Cluster;

/** What decides whether a tenant's data is where a command is about to go. */
export interface Placing {
  /**
   * @param mayAsk - whether code of the service may run now; not in the midst of a pipeline that is being written
   * @returns the error when the tenant is in another place, or nobody knows where. Never throws.
   */
  refuse(tenant: string, operation: string, mayAsk: boolean): Error | undefined;
}

/** The client that has the option `place`, and makes those of the other places. */
export interface Pooled extends Pool {
  readonly client: EventEmitter & { readonly status: string };
  readonly subscriptions: () => Subscriptions;
  readonly fence: TenantRegistry | undefined;
  /** Makes a client of the same kind in another place. */
  open(placement: OwnPlacement): Opened;
}

/** A client, and what is behind it. */
export interface Opened {
  readonly client: Placed;
  readonly wiring: Wiring;
}

/** A server or database where tenants are that are not in the pool. Its client is made with the first call. */
interface Silo {
  readonly placement: OwnPlacement;
  opened: Opened | undefined;
}

interface Entry {
  /** When it was asked, by the monotonic clock in milliseconds. */
  readonly at: number;
  /** `undefined` for the pool. */
  readonly silo: Silo | undefined;
}

/** How long an answer of `place` is gone by, in milliseconds. */
export const KEPT = 1000;

// Ids come from requests: a service with more tenants than this is asked more often.
const MAX_ENTRIES = 10_000;

// The text of ioredis, which callers may look for.
const CLOSED = 'Connection is closed.';

const UNPLACED = refuse(
  'nobody knows where the data of the tenant is',
  "The function tenant.place has failed, or its answer is no placement; the client's event error, or the cause of that error, says why.",
);
const ASKING = refuse(
  'it was called while tenant.place decides where the tenant is',
  'Let place look into memory; what it needs from a store, read before and in the background.',
);
const ELSEWHERE = refuse(
  'the data of the tenant is in another place than this connection goes to, or has moved there since',
  'Call it again on the client that has the option place, with new pipelines, streams and connections.',
);
const UNFENCED = refuse(
  'tenant.place names another place than before, and without a fence others may still write to the old one',
  'Give the client tenant.fence, and move a tenant while it is frozen; or restart every process.',
);
const INSIDE = refuse(
  'a client of one place is for the service, and the calls of a tenant find theirs by themselves',
  'Call the client itself; use clientOf outside of any tenant or inside acrossTenants.',
);

/**
 * Which tenants are somewhere else than in the pool, and the clients of those places: guarded clients of the same
 * kind, one per place, made with the first call and ended with the client of the pool.
 */
export class Silos implements Placing {
  readonly #pool: Pooled;
  readonly #place: (tenant: string) => CachePlacement;
  readonly #entries = new Map<string, Entry>();
  readonly #silos = new Set<Silo>();
  readonly #asking = new Set<string>();
  #isClosed = false;
  #isQuitting = false;
  #toldAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(pool: Pooled, place: (tenant: string) => CachePlacement) {
    this.#pool = pool;
    this.#place = place;
  }

  /**
   * The client of the tenant that runs now, where that is not the one of the pool.
   * @returns the error when nobody knows; `undefined` for the pool, and where no tenant runs. Never throws.
   */
  route(operation: string): Placed | Error | undefined {
    const tenant = currentScope()?.tenant?.tenant;
    if (tenant === undefined) return undefined;
    const silo = this.#find(tenant, operation);
    return silo === undefined || silo instanceof Error ? silo : this.#client(silo, operation);
  }

  refuse(tenant: string, operation: string, mayAsk: boolean): Error | undefined {
    return this.#refuse(tenant, undefined, operation, mayAsk);
  }

  /**
   * The client of a tenant's place, for the service itself. @returns `undefined` for the pool
   * @throws {@link OperationRefusedError} inside a tenant, and when nobody knows
   * @throws InvalidTenantError for a malformed id
   */
  clientOf(tenant: string): Placed | undefined {
    if (currentScope()?.tenant !== undefined) throw refusal('cache', 'clientOf', INSIDE);
    assertId(tenant, 'tenant');
    const silo = this.#find(tenant, 'clientOf');
    const client = silo === undefined || silo instanceof Error ? silo : this.#client(silo, 'clientOf');
    if (client instanceof Error) throw client;
    return client;
  }

  /**
   * The clients of the places where a tenant may have data beside the pool: where it is, and where it was when it
   * was frozen. For the eraser: a frozen tenant is not asked for again by calls.
   * @throws {@link OperationRefusedError} when nobody knows
   */
  everywhereOf(tenant: string): Placed[] {
    const known = this.#entries.get(tenant)?.silo;
    const now = this.#answer(tenant, 'place');
    if (now instanceof Error) throw now;
    return this.#clients(new Set([now, known].filter((silo) => silo !== undefined)));
  }

  /**
   * The clients of all places that are known: those that tenants were in since the client was made, and those of
   * these tenants.
   * @throws {@link OperationRefusedError} when nobody knows
   */
  everywhere(tenants: readonly string[] = []): Placed[] {
    for (const tenant of tenants) {
      const found = this.#find(tenant, 'place');
      if (found instanceof Error) throw found;
    }
    return this.#clients(this.#silos);
  }

  /** Whether a tenant is where this client goes to; `false` also when nobody knows. */
  isAt(tenant: string, client: object): boolean {
    const silo = this.#find(tenant, 'place');
    if (silo instanceof Error) return false;
    return silo === undefined ? client === this.#pool.client : client === silo.opened?.client;
  }

  /** Those that are open now. */
  get open(): Opened[] {
    return [...this.#silos].flatMap(({ opened }) => opened ?? []);
  }

  /** Ends all clients once they have got their replies. Never rejects. */
  async quit(): Promise<void> {
    this.#isClosed = true;
    this.#isQuitting = true;
    await Promise.all(this.open.map((opened) => quit(opened)));
    this.#isQuitting = false;
  }

  /** The client of the pool has ended. */
  close(): void {
    if (!this.#isQuitting) this.cut();
  }

  /** Ends all clients at once. */
  cut(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const { client } of this.open) inScope(undefined, () => client.disconnect());
  }

  /** The client of the pool is connected again. */
  reopen(): void {
    this.#isClosed = false;
  }

  #find(tenant: string, operation: string): Silo | Error | undefined {
    const entry = this.#entries.get(tenant);
    if (entry !== undefined && performance.now() - entry.at < KEPT) return entry.silo;
    return this.#ask(tenant, entry, operation);
  }

  #ask(tenant: string, entry: Entry | undefined, operation: string): Silo | Error | undefined {
    const { fence } = this.#pool;
    // Whoever moves it is at work: what is answered meanwhile may be too early, and the fence refuses every call.
    if (entry !== undefined && fence !== undefined && fence.state(tenant) !== 'active') return entry.silo;
    const at = performance.now();
    const silo = this.#answer(tenant, operation);
    if (silo instanceof Error) return silo;
    if (entry !== undefined && entry.silo !== silo) {
      if (fence === undefined) return refusal('cache', operation, UNFENCED);
      setImmediate(() => this.#settle());
    }
    if (silo !== undefined) this.#silos.add(silo);
    if (this.#entries.size >= MAX_ENTRIES && entry === undefined) this.#forgetOne();
    // An answer that was given while nobody may work must not outlast the freeze.
    this.#entries.set(tenant, {
      at: fence === undefined || fence.state(tenant) === 'active' ? at : -Infinity,
      silo,
    });
    this.#watch();
    return silo;
  }

  // In its own scope: what `place` calls is neither the tenant's nor ioredis's work.
  #answer(tenant: string, operation: string): Silo | OperationRefusedError | undefined {
    if (this.#asking.has(tenant)) return refusal('cache', operation, ASKING);
    this.#asking.add(tenant);
    try {
      const answer: unknown = inScope(undefined, () => this.#place(tenant));
      // It must not end the process when it rejects, later and with nobody listening.
      if (types.isPromise(answer)) answer.catch((cause: unknown) => this.#tellWhy(cause));
      const placement = readPlacement(answer, this.#pool);
      return placement === undefined ? undefined : this.#siloAt(placement);
    } catch (cause) {
      this.#tellWhy(cause);
      return refusal('cache', operation, UNPLACED);
    } finally {
      this.#asking.delete(tenant);
    }
  }

  #siloAt(placement: OwnPlacement): Silo {
    for (const silo of this.#silos) if (isDeepStrictEqual(silo.placement, placement)) return silo;
    return { placement, opened: undefined };
  }

  #refuse(tenant: string, home: Silo | undefined, operation: string, mayAsk: boolean): Error | undefined {
    // In the midst of a pipeline what was found for its first command holds.
    const found = mayAsk ? this.#find(tenant, operation) : this.#entries.get(tenant)?.silo;
    if (found instanceof Error) return found;
    return found === home ? undefined : refusal('cache', operation, ELSEWHERE);
  }

  #client(silo: Silo, operation: string): Placed | Error {
    if (this.#isClosed || this.#pool.client.status === 'end') return new Error(CLOSED);
    try {
      return this.#open(silo).client;
    } catch (cause) {
      this.#tellWhy(cause);
      return refusal('cache', operation, UNPLACED);
    }
  }

  #clients(silos: Iterable<Silo>): Placed[] {
    return [...silos].map((silo) => {
      const client = this.#client(silo, 'place');
      if (client instanceof Error) throw client;
      return client;
    });
  }

  #open(silo: Silo): Opened {
    if (silo.opened !== undefined) return silo.opened;
    // Not in the tenant that happens to come first.
    const opened = inScope(undefined, () => this.#pool.open(silo.placement));
    const { client, wiring } = opened;
    wiring.isPlaced(
      { refuse: (tenant, operation, mayAsk) => this.#refuse(tenant, silo, operation, mayAsk) },
      this.#pool.subscriptions(),
    );
    asPlumbing(() =>
      EventEmitter.prototype.on.call(client, 'error', (error: Error) => this.#tell(error, silo)),
    );
    wiring.onStatus((status) => {
      if (status === 'end' && silo.opened === opened) silo.opened = undefined;
    });
    this.#silos.add(silo);
    silo.opened = opened;
    return opened;
  }

  // Without a fence nothing moves. A process that only listens asks nothing by itself.
  #watch(): void {
    if (this.#pool.fence === undefined || this.#timer !== undefined || this.#isClosed) return;
    this.#timer = runInScope(undefined, () => setInterval(() => this.#settle(), KEPT).unref());
  }

  /** Brings subscriptions to where their tenant is now, and ends the clients that nobody needs any more. */
  #settle(): void {
    const homes: readonly [Silo | undefined, Subscriptions][] = [
      [undefined, this.#pool.subscriptions()],
      ...[...this.#silos].flatMap((silo): [Silo, Subscriptions][] =>
        silo.opened === undefined ? [] : [[silo, silo.opened.wiring.subscriptions]],
      ),
    ];
    for (const [home, subscriptions] of homes)
      for (const tenant of subscriptions.subscribers) this.#follow(tenant, home, subscriptions);
    const needed = new Set([...this.#entries.values()].map(({ silo }) => silo));
    for (const silo of this.#silos) {
      if (needed.has(silo) || (silo.opened?.wiring.subscriptions.subscribers.length ?? 0) > 0) continue;
      this.#silos.delete(silo);
      if (silo.opened !== undefined) void quit(silo.opened);
    }
  }

  #follow(tenant: string, home: Silo | undefined, subscriptions: Subscriptions): void {
    const { fence } = this.#pool;
    if (fence !== undefined && fence.state(tenant) !== 'active') return;
    const silo = this.#find(tenant, 'subscribe');
    if (silo instanceof Error || silo === home) return;
    const client = silo === undefined ? this.#pool.client : this.#client(silo, 'subscribe');
    if (client instanceof Error) return;
    const to = client as Placed;
    inScope({ tenant: Object.freeze({ tenant }), bypass: undefined }, () => {
      for (const [kind, names] of subscriptions.evict(tenant))
        if (names.length > 0) to.call(kind, ...names).catch((error: Error) => this.#tell(error, silo));
    });
  }

  // Of the pool, so that no place of anybody is forgotten while it is in use.
  #forgetOne(): void {
    for (const [tenant, { silo }] of this.#entries) {
      if (silo !== undefined) continue;
      this.#entries.delete(tenant);
      return;
    }
  }

  #tellWhy(cause: unknown): void {
    const now = performance.now();
    if (now - this.#toldAt < KEPT) return;
    this.#toldAt = now;
    const problem =
      cause instanceof InvalidPlacement ? cause.message : 'tenant.place has failed, as the cause says';
    const hint =
      "It answers at once, and not with a promise: { level: 'pool' }, { level: 'bridge', db } or { level: 'silo', … }.";
    const error = new ConfigError({ surface: 'cache', operation: 'place', problem, hint, cause });
    this.#tell(error, undefined);
  }

  // Only the service and those who are there hear of it: an address may well be the name of a tenant.
  #tell(error: Error, silo: Silo | undefined): void {
    const { client } = this.#pool;
    const entries = EventEmitter.prototype.rawListeners.call(client, 'error') as Listener[];
    // As ioredis does it.
    // oxlint-disable-next-line no-console -- an error that nobody listens for must not get lost
    if (entries.length === 0) console.error('[tenantkit] Unhandled error event:', error.stack);
    for (const entry of entries) {
      const owner = ownerOf(entry);
      const isThere = silo !== undefined && owner !== undefined && this.#entries.get(owner)?.silo === silo;
      if (owner === undefined || isThere) entry.call(client, error);
    }
  }
}

async function quit({ client }: Opened): Promise<void> {
  try {
    await inScope(undefined, () => client.quit());
  } catch {
    // It is not connected, so there is no reply to wait for.
    inScope(undefined, () => client.disconnect());
  }
}
