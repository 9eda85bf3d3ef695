import type { Scope } from '@tenantkit/core';
import type { EventEmitter } from 'node:events';
import type { Guard } from './guard.ts';
import type { CacheOptions } from './options.ts';
import type { Placed, Pooled } from './silo.ts';
import { Silos } from './silos.ts';
import type { SubscribingClient, Subscriptions } from './subscriptions.ts';
import type { Node } from './tenant-keys.ts';
import type { Wiring } from './wiring.ts';
import { wire } from './wirings.ts';

interface Setting {
  readonly client: SubscribingClient & EventEmitter;
  readonly guard: Guard;
  /** Our options of the client, but `place`. */
  readonly tenant: CacheOptions;
  readonly place: CacheOptions['place'];
  readonly subscriptions: () => Subscriptions;
  /** Makes a client of the same kind in another place. */
  readonly open: Pooled['open'];
}

/** Where the tenants of one client live: with it, or in places of their own. */
export class Housing {
  /** The other places of tenants; `undefined` where there are none. */
  readonly silos: Silos | undefined;
  readonly #setting: Setting;
  #here: Node | undefined;

  constructor(setting: Setting) {
    this.#setting = setting;
    const { client, guard, place, subscriptions, open } = setting;
    if (place === undefined) return;
    const db = 'db' in client.options ? client.options.db : undefined;
    this.silos = new Silos(
      { client, isCluster: client.isCluster, db, fence: guard.fence, subscriptions, open },
      place,
    );
    guard.placing = this.silos;
  }

  /** The client of the tenant's own place; `undefined` where it is this one. @throws {@link OperationRefusedError} */
  there(operation: string): Placed | undefined {
    const there = this.silos?.route(operation);
    if (there instanceof Error) throw there;
    return there;
  }

  /**
   * What sends to this client and no other, for a walk: in another place its cursor would mean something else.
   *
   * @param wiring - that of the client
   * @param send - sends here
   */
  here(client: Node, wiring: Wiring, send: Node['sendCommand']): Node {
    if (this.silos === undefined) return client;
    if (this.#here === undefined) {
      this.#here = { sendCommand: send, pipeline: () => client.pipeline() };
      wire(this.#here, wiring);
    }
    return this.#here;
  }

  /** Our options for a duplicate. Only the service's own finds the places of tenants anew. */
  tenantFor(owner: Scope | undefined): CacheOptions {
    const { tenant, place } = this.#setting;
    return owner === undefined && place !== undefined ? { ...tenant, place } : tenant;
  }
}
