import { acrossTenants, withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CountingRedis, OPERATOR, bench, type Bench } from '../support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

it('adds with one command for each of thousands of tenants, once they are known', async () => {
  const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
  const queue = on.queue('mail', { connection });
  const tenants = Array.from({ length: 2_100 }, (_, at) => `t-${at}`);
  const addAll = async (): Promise<void> => {
    await Promise.all(tenants.map((tenant) => withTenant(tenant, () => queue.add('n', {}))));
  };
  await addAll();
  const before = connection.sent;
  await addAll();
  expect(connection.sent - before).toBe(tenants.length);
  // What an operator has removed is registered anew.
  await acrossTenants(OPERATOR, () => queue.obliterate({ force: true }));
  await withTenant('t-1', () => queue.add('n', {}));
  expect(await on.redis.zrange('bull:mail~:lanes', 0, '-1')).toEqual(['t-1']);
  expect(await on.redis.hget('bull:mail~t-1:meta', 'opts.maxLenEvents')).toBe('1000');
  connection.disconnect();
});
