import { isVerified, withTenant } from '@tenantkit/core';
import { Redis, cacheAuditor, cacheEraser, indexCache } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run } from './erase-run.ts';

// As long as Redis takes a key, in bytes, and longer than a text can be. Needs about 4 GB of memory.
const LONGEST = 2 ** 29 - 1;

let node: Awaited<ReturnType<typeof startRedisNode>>;
let raw: Raw;
let redis: Redis;
beforeAll(async () => {
  node = await startRedisNode();
  raw = new Raw(node.url);
  redis = new Redis(node.url, { tenant: { index: true } });
});
afterAll(async () => {
  raw.disconnect();
  redis.disconnect();
  await node.stop();
});

it('one key of 512 MB ends neither an audit nor an erasure', async () => {
  const timeout = 120_000;
  for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => redis.set('key', '1'));
  await raw.set('outside', '1');
  expect(await indexCache(redis, { timeout })).toEqual({ keys: 2, tenants: 2 });
  const key = Buffer.alloc(LONGEST, 'x');
  key.write('tk:acme:');
  await raw.set(key, '1');
  const codes: string[] = [];
  for await (const { code, name = '' } of cacheAuditor(redis, { timeout, details: true }).audit()) {
    codes.push(code);
    expect(name.length).toBeLessThan(2_000);
  }
  expect(codes.sort()).toEqual([
    'not_in_registry',
    'outside_every_tenant',
    'without_expiry',
    'without_expiry',
  ]);
  expect(await indexCache(redis, { timeout })).toEqual({ keys: 3, tenants: 2 });
  const eraser = cacheEraser(redis, { timeout });
  expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(false);
  const { erased } = await eraser.erase({ tenant: 'acme' }, run());
  expect(erased).toEqual([{ kind: 'keys', count: 2 }]);
  expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  expect(await raw.exists('tk:acme2:key', 'outside')).toBe(2);
});
