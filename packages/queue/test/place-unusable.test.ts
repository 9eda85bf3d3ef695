import { withTenant } from '@tenantkit/core';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import type { QueuePlacement } from '@tenantkit/queue';
import { KEY, bench, finished, type Bench } from './support.ts';

let on: Bench;
let silos: readonly FreshRedis[];
beforeAll(async () => {
  on = await bench();
  silos = [await freshRedis(inject('servers').redis), await freshRedis(inject('servers').redis)];
});
afterAll(async () => {
  await on[Symbol.asyncDispose]();
  for (const silo of silos) await silo.cleanup();
});

it('a silo with a client that a Worker refuses is told once, and keeps no other from being worked in', async () => {
  const [first, second] = silos.map(({ url }) => url);
  // A Queue takes it: BullMQ asks for maxRetriesPerRequest: null in Workers only.
  const unfit = new Redis(String(first));
  const place = (tenant: string): QueuePlacement => {
    if (tenant === 'acme') return { level: 'silo', connection: unfit };
    return tenant === 'big' ? { level: 'silo', connection: { url: String(second) } } : { level: 'pool' };
  };
  let asked = 0;
  try {
    const tenant = { signingKeys: [KEY], place };
    const queue = on.queue('mail', { tenant });
    for (const id of ['acme', 'big', 'a']) await withTenant(id, () => queue.add('n', {}));
    // In the order in which they were first there.
    expect(await on.redis.zrange('bull:mail~:placed', 0, '-1')).toEqual(['acme', 'big']);
    const errors: Error[] = [];
    const counted = (id: string): QueuePlacement => {
      if (id === 'acme') asked += 1;
      return place(id);
    };
    const worker = on.worker('mail', async () => undefined, {
      tenant: { ...tenant, place: counted },
      autorun: false,
    });
    worker.on('error', (error) => void errors.push(error));
    const done = finished(worker, 2);
    void worker.run();
    await done;
    await expect.poll(() => asked, { timeout: 30_000 }).toBeGreaterThan(2);
    expect(errors).toEqual([
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        cause: expect.objectContaining({
          message: expect.stringContaining('maxRetriesPerRequest') as string,
        }) as Error,
      }),
    ]);
    await worker.close();
  } finally {
    unfit.disconnect();
  }
});
