import { Redis, cacheEraser } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { Redis as RawRedis } from 'ioredis';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from '../surface.ts';

/** Redis: keys. */
export function cacheSurface({ url }: { readonly url: string }): DemoSurface {
  const redis = new Redis(url);
  const raw = new RawRedis(url);

  return {
    name: 'cache',
    eraser: cacheEraser(redis),
    async seed() {
      for (const tenant of [TENANT, NEIGHBOUR]) {
        await withTenant(tenant, async () => {
          await redis.set('user:1', `user 1 of ${tenant}`);
          await redis.hset('cart:1', { item: `item of ${tenant}`, count: 2 });
          await redis.pipeline().sadd('tags', tenant, 'common').rpush('log', 'one', 'two').exec();
        });
      }
    },
    ownRead: async () => [
      await answers(`${TENANT}: GET user:1`, `user 1 of ${TENANT}`, () =>
        withTenant(TENANT, () => redis.get('user:1')),
      ),
      await answers(`${NEIGHBOUR}: GET user:1`, `user 1 of ${NEIGHBOUR}`, () =>
        withTenant(NEIGHBOUR, () => redis.get('user:1')),
      ),
      await answers(`${TENANT}: SCAN 0 (all keys)`, ['cart:1', 'log', 'tags', 'user:1'], () =>
        scan(TENANT, '*'),
      ),
    ],
    otherTenant: () =>
      withTenant(NEIGHBOUR, async () => [
        await answers('GET tk:acme:user:1 (the physical name)', null, () => redis.get('tk:acme:user:1')),
        await answers('SCAN MATCH *acme:user* (a pattern around it)', [], () =>
          scan(NEIGHBOUR, '*acme:user*'),
        ),
        await answers('KEYS tk:acme:*', [], () => redis.keys('tk:acme:*')),
        await refused('call("GET", …) after call("SELECT", "0")', ['OPERATION_REFUSED'], () =>
          redis.call('SELECT', '0'),
        ),
        await refused('EVAL with a literal key', ['OPERATION_REFUSED'], () =>
          redis.eval("return redis.call('GET', 'tk:acme:user:1')", 0),
        ),
        await refused('MONITOR', ['OPERATION_REFUSED'], () => redis.monitor()),
        await refused('CONFIG GET *', ['OPERATION_REFUSED'], () => redis.config('GET', '*')),
      ]),
    noTenant: async () => [await refused('GET user:1', ['TENANT_MISSING'], () => redis.get('user:1'))],
    async raw(tenant) {
      const records = new Map<string, Buffer>();
      for (const key of (await raw.keys(`tk:${tenant}:*`)).toSorted()) {
        const dump = await raw.dumpBuffer(key);
        if (dump !== null) records.set(key, dump);
      }
      return records;
    },
    async close() {
      await Promise.all([redis.quit(), raw.quit()]);
    },
  };

  async function scan(tenant: string, pattern: string): Promise<string[]> {
    return withTenant(tenant, async () => {
      const found: string[] = [];
      let cursor = '0';
      do {
        const [next, keys] = await redis.scan(cursor, 'MATCH', pattern);
        found.push(...keys);
        cursor = next;
      } while (cursor !== '0');
      return found.toSorted();
    });
  }
}
