import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import type { QueuePlacement } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import { inject } from 'vitest';

/** The option `place` of a queue. */
export type Place = (tenant: string) => QueuePlacement;

/** The answer for tenants in the Redis of the queue. */
export const POOL: QueuePlacement = { level: 'pool' };

/** What every test of places works with: the bench of its kind, and another Redis for tenants of their own. */
export interface Placed<B> extends AsyncDisposable {
  readonly on: B;
  readonly silo: FreshRedis;
  /** An observer of the silo. */
  readonly there: Redis;
  /** Only the tenant `big` is elsewhere. */
  readonly big: Place;
  /** Resets the bench, and empties the silo. */
  reset(): Promise<void>;
}

/** @param make - makes the bench: its Redis is the pool */
export async function placed<B extends AsyncDisposable & { reset(): Promise<void> }>(
  make: () => Promise<B>,
): Promise<Placed<B>> {
  const on = await make();
  const silo = await freshRedis(inject('servers').redis);
  const there = new Redis(silo.url, { maxRetriesPerRequest: null });
  return {
    on,
    silo,
    there,
    big: (tenant) => (tenant === 'big' ? { level: 'silo', connection: { url: silo.url } } : POOL),
    async reset() {
      await on.reset();
      await there.flushdb();
    },
    async [Symbol.asyncDispose]() {
      there.disconnect();
      await silo.cleanup();
      await on[Symbol.asyncDispose]();
    },
  };
}
