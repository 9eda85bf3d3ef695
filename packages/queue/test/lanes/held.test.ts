import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KEY, bench, finished, type Bench } from '../support.ts';

// What a sweep removes by age, or lets expire with a lane, stays while the tenant is frozen.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

it('a frozen tenant keeps what has ended, and its lane, until it is unfrozen', async () => {
  const fence = await createTenantRegistry({ store: memoryTenantStore() });
  try {
    const tenant = { signingKeys: [KEY], fence };
    const queue = on.queue('mail', { tenant });
    // The first sweep holds a lock for this long, and the second worker would wait for its end.
    const sweeps = { stalledInterval: 50 };
    const ran = on.worker('mail', async () => undefined, { tenant, ...sweeps, autorun: false });
    const done = finished(ran, 2);
    for (const id of ['acme', 'a']) await withTenant(id, () => queue.add('n', {}, { jobId: 'old' }));
    void ran.run();
    await done;
    await ran.close();
    for (const id of ['acme', 'a']) await on.redis.zadd(`bull:mail~${id}:completed`, 1, `${id}~old`);
    // Two lanes that hold nothing.
    for (const id of ['gone', 'held']) {
      await on.redis.hset(`bull:mail~${id}:meta`, 'opts.maxLenEvents', '1000');
      await on.redis.zadd('bull:mail~:lanes', 1, id);
    }
    for (const id of ['a', 'held']) await fence.freeze(id);
    on.worker('mail', async () => undefined, { tenant, ...sweeps, removeOnComplete: { age: 60 } });
    const left = (): Promise<number[]> =>
      Promise.all(['acme', 'a'].map((id) => on.redis.zcard(`bull:mail~${id}:completed`)));
    const lanes = (): Promise<string[]> => on.redis.zrange('bull:mail~:lanes', 0, '-1');
    await expect.poll(left, { interval: 5 }).toEqual([0, 1]);
    await expect.poll(lanes, { interval: 5 }).not.toContain('gone');
    expect(await lanes()).toContain('held');
    expect(await on.redis.pttl('bull:mail~held:meta')).toBe(-1);
    expect(await left()).toEqual([0, 1]);
    for (const id of ['a', 'held']) await fence.unfreeze(id);
    await expect.poll(left, { interval: 5 }).toEqual([0, 0]);
    await expect.poll(lanes, { interval: 5 }).not.toContain('held');
  } finally {
    fence.close();
  }
});
