import { Redis, cacheEraser, indexCache } from '@tenantkit/cache';
import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { ErasureNotVerifiedError } from '@tenantkit/erasure';
import { freshRedis } from '@tenantkit/testing';
import { Redis as RawRedis } from 'ioredis';
import { expect, inject, it, onTestFinished } from 'vitest';
import { approved, erasureOf, folder, ledgerIn, rejection } from './setup.ts';

it('a key that was written past the registry of the cache keeps no erasure from its end', async () => {
  const own = await freshRedis(inject('servers').redis);
  const fence = await createTenantRegistry({
    store: memoryTenantStore(),
    refreshEvery: 10,
    maxStaleness: 100,
  });
  const redis = new Redis(own.url, { tenant: { index: true, fence } });
  const raw = new RawRedis(own.url);
  onTestFinished(async () => {
    redis.disconnect();
    raw.disconnect();
    fence.close();
    await own.cleanup();
  });
  await indexCache(redis);
  await withTenant('acme', () => redis.set('entered', '1'));
  await withTenant('acme2', () => redis.set('entered', '1'));
  await raw.set('tk:acme:past the client', '1');

  const root = folder();
  const ledger = ledgerIn(root);
  const open = () => erasureOf([cacheEraser(redis)], { root, ledger, fence });
  const id = await approved(open(), 'acme');
  expect(await rejection(open().run(id))).toBeInstanceOf(ErasureNotVerifiedError);
  expect(await raw.keys('tk:acme:*')).toEqual(['tk:acme:past the client']);
  expect((await open().run(id)).state).toBe('completed');
  expect(await raw.keys('tk*acme:*')).toEqual([]);
  expect(fence.state('acme')).toBe('erased');
  expect(await withTenant('acme2', () => redis.get('entered'))).toBe('1');
});
