import KeyvRedis from '@keyv/redis';
import { requireTenant } from '@tenantkit/core';
import { createCache, type Cache } from 'cache-manager';
import Keyv from 'keyv';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, failure, openCache, type Opened } from '../support.ts';
import { keysByTenant } from './support.ts';

// The types of @keyv/redis are those of ioredis 5.
const storeOf = (client: object, options?: { useRedisSets: boolean }): KeyvRedis =>
  new KeyvRedis(client, options);

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
});

describe('keyv with @keyv/redis', () => {
  it.each([true, false])(
    'keeps the entries of each tenant, for the same key (with sets: %s)',
    async (useRedisSets) => {
      const keyv = new Keyv({ store: storeOf(opened.redis, { useRedisSets }), namespace: 'app' });
      const errors: unknown[] = [];
      keyv.on('error', (error) => errors.push(error));
      await acme(() => keyv.set('user', { name: 'Ada' }));
      await acme(() => keyv.set('brief', 'x', 60_000));
      expect(await acme2(() => keyv.get('user'))).toBeUndefined();
      await acme2(() => keyv.set('user', { name: 'Grace' }));
      expect(await acme(() => keyv.get('user'))).toEqual({ name: 'Ada' });
      expect(await acme(() => keyv.get(['user', 'missing', 'brief']))).toEqual([
        { name: 'Ada' },
        undefined,
        'x',
      ]);
      const { acme: own = [], acme2: others = [] } = await keysByTenant(opened.raw);
      expect(own.filter((key) => key.endsWith('user'))).toHaveLength(1);
      expect(others.filter((key) => key.endsWith('user'))).toHaveLength(1);
      expect(await acme2(() => keyv.delete('user'))).toBe(true);
      expect(await acme2(() => keyv.get('user'))).toBeUndefined();
      await acme2(() => keyv.set('user', 'again'));
      await acme2(() => keyv.clear());
      expect(await acme2(() => keyv.get('user'))).toBeUndefined();
      expect(await acme(() => keyv.get('user'))).toEqual({ name: 'Ada' });
      expect(errors).toEqual([]);
    },
  );

  it('walks the entries of the tenant', async () => {
    const keyv = new Keyv({ store: storeOf(opened.redis), namespace: 'app' });
    await acme(() => keyv.set('one', 1));
    await acme2(() => keyv.set('two', 2));
    const entries = async (): Promise<unknown[]> => {
      const found: unknown[] = [];
      for await (const entry of keyv.iterator?.({}) ?? []) found.push(entry);
      return found;
    };
    expect(await acme(entries)).toEqual([['one', 1]]);
    expect(await acme2(entries)).toEqual([['two', 2]]);
  });
});

describe('cache-manager', () => {
  it('keeps what each tenant has cached, for the same key', async () => {
    const cache = createCache({ stores: [new Keyv({ store: storeOf(opened.redis) })] });
    let computed = 0;
    const user = (): Promise<number> => cache.wrap('user', async () => (computed += 1), 60_000);
    expect(await acme(user)).toBe(1);
    expect(await acme(user)).toBe(1);
    expect(await acme2(user)).toBe(2);
    expect(await acme(user)).toBe(1);
    await acme(() =>
      cache.mset([
        { key: 'a', value: 'of acme' },
        { key: 'b', value: 'too', ttl: 60_000 },
      ]),
    );
    expect(await acme2(() => cache.mget(['a', 'b']))).toEqual([undefined, undefined]);
    expect(await acme(() => cache.mget(['a', 'b']))).toEqual(['of acme', 'too']);
    await acme(() => cache.del('a'));
    await acme2(() => cache.clear());
    expect(await acme(() => cache.get('user'))).toBe(1);
    expect(await acme2(() => cache.get('user'))).toBeUndefined();
    const { acme: own = [], acme2: others } = await keysByTenant(opened.raw);
    expect(own.some((key) => key.endsWith('user'))).toBe(true);
    expect(others).toBeUndefined();
  });

  it('computes once for all who call at the same time, so that each tenant needs a cache of its own', async () => {
    const stores = [new Keyv({ store: storeOf(opened.redis) })];
    const caches = new Map<string, Cache>();
    const own = (): Cache => {
      const { tenant } = requireTenant();
      const cache = caches.get(tenant) ?? createCache({ stores });
      caches.set(tenant, cache);
      return cache;
    };
    const load = (cache: Cache): Promise<string> =>
      cache.wrap('config', async () => `of ${requireTenant().tenant}`);
    expect(await Promise.all([acme(() => load(own())), acme2(() => load(own()))])).toEqual([
      'of acme',
      'of acme2',
    ]);
    // In one cache for all, cache-manager remembers by the key alone what is being computed.
    await opened.raw.flushdb();
    const shared = createCache({ stores });
    expect(await Promise.all([acme(() => load(shared)), acme2(() => load(shared))])).toEqual([
      'of acme',
      'of acme',
    ]);
  });

  it('outside of any tenant has no cache', async () => {
    const keyv = new Keyv({ store: storeOf(opened.redis), throwOnErrors: true });
    expect(await failure(() => keyv.set('key', 1))).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await opened.raw.dbsize()).toBe(0);
  });
});
