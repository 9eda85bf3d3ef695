import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KEY, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

it('a worker says once that the registry cannot be read, and goes on when it can', async () => {
  const memory = memoryTenantStore();
  let isAway = false;
  const fence = await createTenantRegistry({
    store: {
      load: () => (isAway ? Promise.reject(new Error('the registry is away')) : memory.load()),
      set: memory.set.bind(memory),
    },
    refreshEvery: 50,
    maxStaleness: 200,
  });
  try {
    const tenant = { signingKeys: [KEY], fence };
    const queue = on.queue('mail', { tenant });
    const errors: Error[] = [];
    const worker = on.worker('mail', async () => undefined, { tenant, autorun: false, stalledInterval: 100 });
    worker.on('error', (error) => void errors.push(error));
    for (const id of ['acme', 'a']) await withTenant(id, () => queue.add('n', {}));
    isAway = true;
    await expect.poll(() => fence.state('acme')).toBe('unknown');
    const done = finished(worker, 2);
    void worker.run();
    await expect.poll(() => errors.length).toBe(1);
    // Both lanes were put aside, and only one error was told.
    await expect.poll(() => on.redis.zcard('bull:mail~:due')).toBe(2);
    expect(errors).toEqual([expect.objectContaining({ code: 'TENANT_FENCED' })]);
    expect(errors[0]?.message).toContain('could not be refreshed');
    expect(errors[0]?.message).not.toMatch(/acme/);
    isAway = false;
    await done;
    // Told anew when it happens again.
    isAway = true;
    await expect.poll(() => fence.state('acme')).toBe('unknown');
    // By a producer that asks no registry.
    await withTenant('acme', () => on.queue('mail').add('n', {}));
    await expect.poll(() => errors.length).toBe(2);
  } finally {
    fence.close();
  }
});
