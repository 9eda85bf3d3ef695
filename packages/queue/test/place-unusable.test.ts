import { withTenant } from '@tenantkit/core';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest';
import type { QueuePlacement } from '@tenantkit/queue';
import { proxyTo } from './proxy.ts';
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
  const unfit = new Redis(first ?? '');
  const place = (tenant: string): QueuePlacement => {
    if (tenant === 'acme') return { level: 'silo', connection: unfit };
    return tenant === 'big' ? { level: 'silo', connection: { url: second ?? '' } } : { level: 'pool' };
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

it('a worker with places closes by force while the server of the pool is away', async () => {
  const { port, pathname } = new URL(on.url);
  await using gone = new AsyncDisposableStack();
  const proxy = gone.use(await proxyTo(Number(port)));
  const connection = new Redis({
    port: proxy.port,
    db: Number(pathname.slice(1)),
    maxRetriesPerRequest: null,
  });
  connection.on('error', () => undefined);
  const looks = vi.spyOn(connection, 'zrange');
  const worker = on.worker('mail', async () => undefined, {
    connection,
    tenant: { signingKeys: [KEY], place: () => ({ level: 'pool' }) },
    autorun: false,
  });
  worker.on('error', () => undefined);
  void worker.run();
  await expect.poll(() => looks.mock.calls.length).toBeGreaterThan(1);
  await gone.disposeAsync();
  await expect.poll(() => connection.status).not.toBe('ready');
  // A look for silos waits for the connection.
  looks.mockClear();
  await expect.poll(() => looks.mock.calls.length, { timeout: 10_000 }).toBeGreaterThan(0);
  await worker.close(true);
  connection.disconnect();
});
