import { assertId, currentScope, refusal, refuse, runInScope } from '@tenantkit/core';
import { Complaints } from './complaints.ts';
import type { CachePlacement } from './place.ts';
import { inScope } from './plumbing.ts';
import { SiloClients } from './silo-clients.ts';
import { KEPT, type Held, type Opened, type Placed, type Placing, type Pooled, type Silo } from './silo.ts';
import type { Subscriptions } from './subscriptions.ts';
import { Whereabouts } from './whereabouts.ts';

const ELSEWHERE = refuse(
  'the data of the tenant is in another place than this connection goes to, or has moved there since',
  'Call it again on the client that has the option place, with new pipelines, streams and connections.',
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
  readonly #complaints: Complaints;
  readonly #whereabouts: Whereabouts;
  readonly #clients: SiloClients;
  #isSpared = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(pool: Pooled, place: (tenant: string) => CachePlacement) {
    this.#pool = pool;
    this.#complaints = new Complaints(
      pool.client,
      (tenant, silo) => this.#whereabouts.known(tenant) === silo,
    );
    this.#clients = new SiloClients(pool, {
      placing: (silo) => ({
        refuse: (tenant, operation, mayAsk) => this.#refuse(tenant, silo, operation, mayAsk),
      }),
      tell: (error, silo) => this.#complaints.tell(error, silo),
      refusal: (operation, cause) => this.#whereabouts.refusal(operation, cause),
      needed: () => this.#whereabouts.silos(),
      home: (tenant) => this.#whereabouts.known(tenant),
      tenantsIn: (silo) => this.#whereabouts.tenantsIn(silo),
    });
    this.#whereabouts = new Whereabouts(pool, place, this.#complaints, {
      siloAt: (placement, tenant) => this.#clients.at(placement, tenant),
      found: (silo) => {
        if (silo !== undefined) this.#clients.add(silo);
        this.#watch();
      },
      moved: () => void setImmediate(() => this.#settle()),
    });
  }

  /**
   * The client of the tenant that runs now, where that is not the one of the pool.
   * @returns the error when nobody knows; `undefined` for the pool, and where no tenant runs. Never throws.
   */
  route(operation: string): Placed | Error | undefined {
    const tenant = currentScope()?.tenant?.tenant;
    return tenant === undefined ? undefined : this.#of(tenant, operation);
  }

  refuse(tenant: string, operation: string, mayAsk: boolean): Error | undefined {
    return this.#refuse(tenant, undefined, operation, mayAsk);
  }

  /**
   * The client of a tenant's place, for the service itself. It lives as long as the tenant is there.
   * @returns `undefined` for the pool
   * @throws {@link OperationRefusedError} inside a tenant, and when nobody knows
   * @throws InvalidTenantError for a malformed id
   */
  clientOf(tenant: string): Placed | undefined {
    if (currentScope()?.tenant !== undefined) throw refusal('cache', 'clientOf', INSIDE);
    assertId(tenant, 'tenant');
    const client = this.#of(tenant, 'clientOf');
    if (client instanceof Error) throw client;
    return client;
  }

  /**
   * The clients of the places where a tenant may have data beside the pool: where it is, and where it was when it
   * was frozen. For the eraser: a frozen tenant is not asked for again by calls.
   * @throws {@link OperationRefusedError} when nobody knows
   */
  everywhereOf(tenant: string): Held {
    const known = this.#whereabouts.known(tenant);
    const now = this.#whereabouts.answer(tenant, 'place');
    if (now instanceof Error) throw now;
    // Under the password of before there is nothing else to reach, and it may be over.
    const before = known?.place === now?.place ? undefined : known;
    return this.#clients.hold([now, before].filter((silo) => silo !== undefined));
  }

  /**
   * The clients of all places that are known: those that tenants were in since the client was made, and those of
   * these tenants.
   * @throws {@link OperationRefusedError} when nobody knows
   */
  everywhere(tenants: readonly string[] = []): Held {
    for (const tenant of tenants) {
      const found = this.#whereabouts.find(tenant, 'place');
      if (found instanceof Error) throw found;
    }
    return this.#clients.hold(this.#clients.places());
  }

  /** Whether a tenant is where this client goes to; `false` also when nobody knows. */
  isAt(tenant: string, client: object): boolean {
    const silo = this.#whereabouts.find(tenant, 'place');
    if (silo instanceof Error) return false;
    if (silo === undefined) return client === this.#pool.client;
    return [...this.#clients].some(({ place, opened }) => place === silo.place && client === opened?.client);
  }

  /** Those that are open now. */
  get open(): Opened[] {
    return this.#clients.open;
  }

  /** Ends all clients once they have got their replies. Never rejects. */
  quit(): Promise<void> {
    clearInterval(this.#timer);
    return this.#clients.quit();
  }

  /** Runs what ends the client of the pool alone: ioredis disconnects one at once that is not connected. */
  spared<T>(end: () => T): T {
    this.#isSpared = true;
    try {
      return end();
    } finally {
      this.#isSpared = false;
    }
  }

  /** The client of the pool has ended. */
  close(): void {
    if (!this.#clients.isQuitting) this.cut();
  }

  /** Ends all clients at once. */
  cut(): void {
    if (this.#isSpared) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#clients.cut();
  }

  /** The client of the pool is connected again. */
  reopen(): void {
    this.#clients.reopen();
  }

  #of(tenant: string, operation: string): Placed | Error | undefined {
    const silo = this.#whereabouts.find(tenant, operation);
    return silo === undefined || silo instanceof Error ? silo : this.#clients.client(silo, operation);
  }

  #refuse(tenant: string, home: Silo | undefined, operation: string, mayAsk: boolean): Error | undefined {
    // In the midst of a pipeline what was found for its first command holds.
    const found = mayAsk ? this.#whereabouts.find(tenant, operation) : this.#whereabouts.known(tenant);
    if (found instanceof Error) return found;
    if (home !== undefined && this.#whereabouts.wasIn(tenant, home)) return undefined;
    return found === home ? undefined : refusal('cache', operation, ELSEWHERE);
  }

  // Without a fence nothing moves, but between two passwords. A process that only listens asks nothing by itself.
  #watch(): void {
    if (this.#timer !== undefined || this.#clients.isClosed) return;
    if (this.#pool.fence === undefined && this.#clients.divided.length === 0) return;
    this.#timer = runInScope(undefined, () => setInterval(() => this.#settle(), KEPT).unref());
  }

  /** Brings subscriptions to where their tenant is now, and ends the clients that nobody needs any more. */
  #settle(): void {
    // When a password changes, tenants that call nothing do not keep the client with the old one.
    for (const silo of this.#clients.divided)
      for (const tenant of this.#whereabouts.tenantsIn(silo)) this.#whereabouts.find(tenant, 'place');
    const homes: readonly [Silo | undefined, Subscriptions][] = [
      [undefined, this.#pool.subscriptions()],
      ...[...this.#clients].flatMap((silo): [Silo, Subscriptions][] =>
        silo.opened === undefined ? [] : [[silo, silo.opened.wiring.subscriptions]],
      ),
    ];
    for (const [home, subscriptions] of homes)
      for (const tenant of subscriptions.subscribers) this.#follow(tenant, home, subscriptions);
    this.#clients.endUnneeded();
    if (this.#pool.fence !== undefined || this.#clients.divided.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #follow(tenant: string, home: Silo | undefined, subscriptions: Subscriptions): void {
    const { fence } = this.#pool;
    if (fence !== undefined && fence.state(tenant) !== 'active') return;
    const silo = this.#whereabouts.find(tenant, 'subscribe');
    if (silo instanceof Error || silo === home) return;
    const client = silo === undefined ? this.#pool.client : this.#clients.client(silo, 'subscribe');
    if (client instanceof Error) return;
    const to = client as Placed;
    // Without an offline queue it would be lost: the next round finds it connected.
    if (to.options.enableOfflineQueue === false && to.status !== 'ready') {
      if (to.status === 'wait') to.connect().catch(ignore);
      return;
    }
    inScope({ tenant: Object.freeze({ tenant }), bypass: undefined }, () => {
      for (const [kind, names] of subscriptions.evict(tenant))
        if (names.length > 0)
          to.call(kind, ...names).catch((error: Error) => this.#complaints.tell(error, silo));
    });
  }
}

function ignore(): void {
  // The client of the silo says so itself.
}
