import { createTenantRegistry, memoryTenantStore } from '@tenantkit/core';
import type { Queue } from '@tenantkit/queue';
import { expect } from 'vitest';
import { proxyTo } from './proxy.ts';
import { bench, type Bench } from './support.ts';

/** A Queue with a fence, behind a network that can hold up what it sends. */
export interface HeldUp extends AsyncDisposable {
  readonly redis: Bench['redis'];
  readonly queue: Queue;
  /**
   * Holds up what `send` sends until a tenant has been erased meanwhile.
   *
   * @param erase - removes what the tenant has
   * @returns what `send` has answered, once the network is back
   */
  whileErased<T>(tenant: string, send: () => T, erase?: () => Promise<unknown>): Promise<T>;
}

export async function heldUp(): Promise<HeldUp> {
  await using made = new AsyncDisposableStack();
  const fence = await createTenantRegistry({
    store: memoryTenantStore(),
    refreshEvery: 10,
    maxStaleness: 500,
  });
  made.defer(() => fence.close());
  const fenced = made.use(await bench(fence));
  const proxy = made.use(await proxyTo(Number(new URL(fenced.url).port)));
  const connection = fenced.redis.duplicate({
    host: '127.0.0.1',
    port: proxy.port,
    maxRetriesPerRequest: null,
    retryStrategy: () => 10,
  });
  made.defer(() => connection.disconnect());
  connection.on('error', () => undefined);
  const queue = fenced.queue('mail', { connection });
  made.defer(() => queue.close());
  const stack = made.move();
  return {
    redis: fenced.redis,
    queue,
    async whileErased(tenant, send, erase) {
      const lost = proxy.swallow();
      const begun = performance.now();
      const sent = send();
      await lost;
      await fence.freeze(tenant);
      await fence.markErased(tenant);
      await erase?.();
      // As an erasure waits before it purges.
      await expect.poll(() => performance.now() - begun).toBeGreaterThan(2 * fence.maxStaleness);
      // The connection breaks; ioredis writes what was never answered once more when it is back.
      proxy.restore();
      return sent;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
