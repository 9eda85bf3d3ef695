import { currentScope, type Scope } from '@tenantkit/core';
import type { Definer } from './define.ts';
import type { Guard } from './guard.ts';
import { SHARED, type Place } from './misplaced.ts';
import { isPlumbing } from './plumbing.ts';
import { Session } from './session.ts';

// A connection that one tenant alone has.
const DEDICATED: Place = Object.freeze({ mayBlock: true, mayEnd: true, mayHold: true });
const DEDICATED_CLUSTER: Place = Object.freeze({ mayBlock: true, mayEnd: true });

/** Whose a client is: that of all, or that of the one scope it was made in. */
export class Belonging {
  readonly #guard: Guard;
  #owner: Scope | undefined;
  #session: Session | undefined;

  constructor(guard: Guard) {
    this.#guard = guard;
  }

  /** Makes it the client of one scope: nobody else shares its connection. */
  own(scope: Scope, status: () => string): Session {
    this.#owner = scope;
    return (this.#session = new Session(status, () => this.#guard.registry !== undefined));
  }

  /** The same for a cluster, whose connections hold nothing: what is watched on one says nothing of others. */
  ownCluster(scope: Scope | undefined): void {
    this.#owner = scope;
  }

  /** What its connection holds on the server; `undefined` for one of several. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Whether it is the client of whoever it was made for alone. */
  get isOwned(): boolean {
    return this.#owner !== undefined;
  }

  get place(): Place {
    if (this.#owner === undefined) return SHARED;
    return this.#session === undefined ? DEDICATED_CLUSTER : DEDICATED;
  }

  /** Why nothing may be done here now: it is somebody else's, or was lent and is no more. */
  barred(operation: string): Error | undefined {
    return this.elsewhere(operation) ?? this.#session?.over(operation);
  }

  /** As {@link Belonging.barred}, whether it is lent or not. */
  elsewhere(operation: string): Error | undefined {
    // Outside of any tenant a few commands are allowed on every client.
    return this.#owner === undefined ? undefined : this.#guard.elsewhereInTenant(this.#owner, operation);
  }

  /** What may be defined here now. */
  get definer(): Definer {
    // ioredis defines nothing by itself: what runs in the midst of its work is somebody's toString.
    const isService = currentScope()?.tenant === undefined && !isPlumbing();
    return { mayChange: this.isOwned || isService, mayDeclare: isService };
  }

  /** A connection follows another one. */
  reconnected(): void {
    this.#session?.lose();
  }

  /**
   * The scope that something made now belongs to.
   * @throws {@link MissingTenantError}
   * @throws {@link TenantSwitchError} on a connection of somebody else
   */
  enter(operation: string): Scope {
    const owner = this.#guard.owner(operation);
    const barred = this.barred(operation);
    if (barred !== undefined) throw barred;
    return owner;
  }
}
