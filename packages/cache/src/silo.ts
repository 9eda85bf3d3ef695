import type { TenantRegistry } from '@tenantkit/core';
import type { EventEmitter } from 'node:events';
import type { Cluster, Redis } from './client.ts';
import type { OwnPlacement, Pool } from './place.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { Wiring } from './wiring.ts';

/** How long an answer of `place` is gone by, in milliseconds. */
export const KEPT = 1000;

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
export interface Silo {
  /** Where it is, and as whom: without the password. */
  readonly place: OwnPlacement;
  /** As it was last said: the password may change. */
  placement: OwnPlacement;
  opened: Opened | undefined;
  /** How many use its client who are no tenants, and do not ask for it again with each call. */
  holders: number;
}

/** Clients of places, which stay open until this is disposed of. */
export interface Held extends Disposable {
  readonly clients: readonly Placed[];
}
