import { createTenantRegistry, type TenantRegistry, type TenantState } from '@tenantkit/core';
import type { Redis } from 'ioredis';

type Fenced = Exclude<TenantState, 'active'>;

/** A registry that processes share, in Redis. */
export function soakFence(redis: Redis, prefix: string): Promise<TenantRegistry> {
  const key = `${prefix}:states`;
  return createTenantRegistry({
    refreshEvery: 100,
    maxStaleness: 2_000,
    store: {
      load: async () => new Map(Object.entries(await redis.hgetall(key)) as [string, Fenced][]),
      // Only one process writes it.
      async set(tenant, state) {
        const before = (await redis.hget(key, tenant)) as TenantState | null;
        if (before === 'erased') return before;
        await (state === 'active' ? redis.hdel(key, tenant) : redis.hset(key, tenant, state));
        return state;
      },
    },
  });
}
