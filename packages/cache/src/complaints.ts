import { ConfigError } from '@tenantkit/core';
import { EventEmitter } from 'node:events';
import { InvalidPlacement } from './place.ts';
import { ownerOf, type Listener } from './plumbing.ts';
import { KEPT, type Pooled, type Silo } from './silo.ts';

/** What is wrong with places, as an event `error` of the client of the pool. */
export class Complaints {
  readonly #client: Pooled['client'];
  readonly #isIn: (tenant: string, silo: Silo) => boolean;
  #toldAt = -Infinity;

  /** @param isIn - whether a tenant is known to be in a silo */
  constructor(client: Pooled['client'], isIn: (tenant: string, silo: Silo) => boolean) {
    this.#client = client;
    this.#isIn = isIn;
  }

  /** Why nobody knows where a tenant is: not with each call, but so often that it is seen. */
  unplaced(cause: unknown): void {
    const now = performance.now();
    if (now - this.#toldAt < KEPT) return;
    this.#toldAt = now;
    const problem =
      cause instanceof InvalidPlacement ? cause.message : 'tenant.place has failed, as the cause says';
    const hint =
      "It answers at once, and not with a promise: { level: 'pool' }, { level: 'bridge', db } or { level: 'silo', … }.";
    const error = new ConfigError({ surface: 'cache', operation: 'place', problem, hint, cause });
    this.tell(error, undefined);
  }

  /** Only the service and those who are there hear of it: an address may well be the name of a tenant. */
  tell(error: Error, silo: Silo | undefined): void {
    const entries = EventEmitter.prototype.rawListeners.call(this.#client, 'error') as Listener[];
    // As ioredis does it.
    // oxlint-disable-next-line no-console -- an error that nobody listens for must not get lost
    if (entries.length === 0) console.error('[tenantkit] Unhandled error event:', error.stack);
    for (const entry of entries) {
      const owner = ownerOf(entry);
      const isThere = silo !== undefined && owner !== undefined && this.#isIn(owner, silo);
      if (owner === undefined || isThere) entry.call(this.#client, error);
    }
  }
}
