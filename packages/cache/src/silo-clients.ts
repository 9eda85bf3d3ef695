import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { addressOf, splitPlacement, type OwnPlacement } from './place.ts';
import { asPlumbing, inScope } from './plumbing.ts';
import type { Held, Opened, Placed, Placing, Pooled, Silo } from './silo.ts';

// The text of ioredis, which callers may look for.
const CLOSED = 'Connection is closed.';

/** What the clients of silos ask of whoever keeps them. */
interface Keeper {
  /** Decides what may be sent to a silo. */
  placing(silo: Silo): Placing;
  /** An error of a silo's client, which has no caller. */
  tell(error: Error, silo: Silo): void;
  /** @returns the error for whoever calls, when no client can be made */
  refusal(operation: string, cause: unknown): Error;
  /** Those that a tenant is in. */
  needed(): ReadonlySet<Silo | undefined>;
  /** The one that a tenant is in, as far as it is known. */
  home(tenant: string): Silo | undefined;
  tenantsIn(silo: Silo): readonly string[];
}

/** The silos that are known, and their clients: made with the first call, ended when nobody needs them. */
export class SiloClients implements Iterable<Silo> {
  readonly #pool: Pooled;
  readonly #keeper: Keeper;
  readonly #silos = new Set<Silo>();
  // The same by their addresses, of which few have more than one.
  readonly #addresses = new Map<string, Set<Silo>>();
  #isClosed = false;
  #isQuitting = false;

  constructor(pool: Pooled, keeper: Keeper) {
    this.#pool = pool;
    this.#keeper = keeper;
  }

  [Symbol.iterator](): Iterator<Silo> {
    return this.#silos.values();
  }

  /**
   * The silo of a placement: the one that is known, or a new one that is not yet.
   *
   * Another password is a new one of the same silo where nobody else is in it. Otherwise it may be wrong, and would
   * let its tenant in by the connection of the others, or lock them out: it is a silo of its own.
   */
  at(placement: OwnPlacement, tenant: string): Silo {
    const { place, password } = splitPlacement(placement);
    const isAt = (silo: Silo): boolean => isDeepStrictEqual(silo.place, place);
    const own = this.#keeper.home(tenant);
    // It is asked for every tenant, once a second.
    if (own !== undefined && passwordOf(own) === password && isAt(own)) return own;
    const there = [...(this.#addresses.get(addressOf(place)) ?? [])].filter(isAt);
    const same = there.find((silo) => passwordOf(silo) === password);
    if (same !== undefined) return same;
    if (own !== undefined && there.includes(own) && this.#keeper.tenantsIn(own).length === 1) {
      renew(own, placement, password);
      return own;
    }
    // The same object for the same place.
    return { place: there[0]?.place ?? place, placement, opened: undefined, holders: 0 };
  }

  /** Those that are at one place under more than one password. */
  get divided(): Silo[] {
    const silos = [...this.#addresses.values()].filter(({ size }) => size > 1);
    return silos.flatMap((others) =>
      [...others].filter((silo) => [...others].some((other) => other !== silo && other.place === silo.place)),
    );
  }

  /** Knows a silo from now on. */
  add(silo: Silo): void {
    this.#silos.add(silo);
    const address = addressOf(silo.place);
    this.#addresses.set(address, (this.#addresses.get(address) ?? new Set()).add(silo));
  }

  #delete(silo: Silo): void {
    this.#silos.delete(silo);
    const address = addressOf(silo.place);
    const others = this.#addresses.get(address);
    others?.delete(silo);
    if (others?.size === 0) this.#addresses.delete(address);
  }

  /** The client of a silo. @returns the error when there can be none. Never throws. */
  client(silo: Silo, operation: string): Placed | Error {
    if (this.#isClosed || this.#pool.client.status === 'end') return new Error(CLOSED);
    try {
      return this.#open(silo).client;
    } catch (cause) {
      return this.#keeper.refusal(operation, cause);
    }
  }

  /**
   * The clients of these silos, which are not ended before they are given back: whoever works across tenants is in no
   * silo as a tenant is, and asks for none again in the midst of a walk.
   * @throws Error when one cannot be had; then none is held
   */
  hold(silos: Iterable<Silo>): Held {
    const held = new Set(silos);
    for (const silo of held) silo.holders += 1;
    const release = (): void => {
      for (const silo of held) silo.holders -= 1;
      held.clear();
      this.endUnneeded();
    };
    try {
      const clients = [...held].map((silo) => {
        const client = this.client(silo, 'place');
        if (client instanceof Error) throw client;
        return client;
      });
      return { clients, [Symbol.dispose]: release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Ends the clients of silos where no tenant is, of which nobody hears messages and that nobody holds. */
  endUnneeded(): void {
    const needed = this.#keeper.needed();
    for (const silo of this.#silos) {
      if (needed.has(silo) || silo.holders > 0) continue;
      if ((silo.opened?.wiring.subscriptions.subscribers.length ?? 0) > 0) continue;
      this.#delete(silo);
      if (silo.opened !== undefined) void quit(silo.opened);
    }
  }

  /** One of each place: where there are several passwords, one that the server takes. */
  places(): Silo[] {
    const found = new Map<OwnPlacement, Silo>();
    for (const silo of this.#silos)
      if (found.get(silo.place)?.opened?.client.status !== 'ready') found.set(silo.place, silo);
    return [...found.values()];
  }

  /** Those that are open now. */
  get open(): Opened[] {
    return [...this.#silos].flatMap(({ opened }) => opened ?? []);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether they end since the service has asked for it. */
  get isQuitting(): boolean {
    return this.#isQuitting;
  }

  /** Ends all clients once they have got their replies. Never rejects. */
  async quit(): Promise<void> {
    this.#isClosed = true;
    this.#isQuitting = true;
    await Promise.all(this.open.map((opened) => quit(opened)));
    this.#isQuitting = false;
  }

  /** Ends all clients at once. */
  cut(): void {
    this.#isClosed = true;
    for (const { client } of this.open) inScope(undefined, () => client.disconnect());
  }

  /** The client of the pool is connected again. */
  reopen(): void {
    this.#isClosed = false;
  }

  #open(silo: Silo): Opened {
    if (silo.opened !== undefined) return silo.opened;
    // Not in the tenant that happens to come first.
    const opened = inScope(undefined, () => this.#pool.open(silo.placement));
    const { client, wiring } = opened;
    wiring.isPlaced(this.#keeper.placing(silo), this.#pool.subscriptions());
    asPlumbing(() =>
      EventEmitter.prototype.on.call(client, 'error', (error: Error) => this.#keeper.tell(error, silo)),
    );
    wiring.onStatus((status) => {
      if (status === 'end' && silo.opened === opened) silo.opened = undefined;
    });
    this.add(silo);
    silo.opened = opened;
    return opened;
  }
}

function passwordOf({ placement }: Silo): string | undefined {
  return splitPlacement(placement).password;
}

// The client connects with the new password from now on.
function renew(silo: Silo, placement: OwnPlacement, password: string | undefined): void {
  silo.placement = placement;
  if (silo.opened === undefined) return;
  const { options } = silo.opened.client;
  const own = 'redisOptions' in options ? options.redisOptions : options;
  inScope(undefined, () => Object.assign(own ?? {}, { password }));
}

async function quit({ client }: Opened): Promise<void> {
  try {
    await inScope(undefined, () => client.quit());
  } catch {
    // It is not connected, so there is no reply to wait for.
    inScope(undefined, () => client.disconnect());
  }
}
