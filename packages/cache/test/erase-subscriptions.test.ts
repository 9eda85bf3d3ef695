import { createTenantRegistry, memoryTenantStore, withTenant, type TenantRegistry } from '@tenantkit/core';
import { Cluster, Redis, cacheEraser, type CacheOptions } from '@tenantkit/cache';
import { startRedisCluster, startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { listen, publishIn, type Ear } from './pubsub-support.ts';

const CHANNELS = ['end', 'news'];
const SCOPE = { tenant: 'acme' };

/** What is under test, on one server or on three. */
interface Store extends AsyncDisposable {
  readonly servers: readonly Raw[];
  open(tenant?: CacheOptions): Redis | Cluster;
}

const STORES = {
  async 'one server'(): Promise<Store> {
    const node = await startRedisNode();
    const raw = new Raw(node.url);
    return {
      servers: [raw],
      open: (tenant = {}) => new Redis(node.url, { tenant }),
      async [Symbol.asyncDispose]() {
        raw.disconnect();
        await node.stop();
      },
    };
  },
  async 'three masters'(): Promise<Store> {
    const servers = await startRedisCluster({ masters: 3 });
    const all = servers.masters.map(({ url }) => new Raw(url));
    return {
      servers: all,
      open: (tenant = {}) => new Cluster([...servers.masters], { tenant }),
      async [Symbol.asyncDispose]() {
        for (const raw of all) raw.disconnect();
        await servers.stop();
      },
    };
  },
};

describe.each(['one server', 'three masters'] as const)('what an erased tenant subscribes to: %s', (name) => {
  let store: Store;
  let fence: TenantRegistry;
  let clients: (Redis | Cluster)[] = [];
  beforeAll(async () => {
    store = await STORES[name]();
  }, 60_000);
  afterAll(() => store[Symbol.asyncDispose]());
  beforeEach(async () => {
    fence = await createTenantRegistry({ store: memoryTenantStore() });
  });
  afterEach(() => {
    for (const client of clients) client.disconnect();
    clients = [];
    fence.close();
  });

  async function open(tenant?: CacheOptions): Promise<Redis | Cluster> {
    const client = store.open(tenant);
    clients.push(client);
    await once(client, 'ready');
    return client;
  }

  /** The channels that anybody has subscribed to on any server. */
  async function channels(): Promise<string[]> {
    const found = await Promise.all(
      store.servers.flatMap((raw) => [
        raw.pubsub('CHANNELS', 'tk:*'),
        raw.call('PUBSUB', 'SHARDCHANNELS', 'tk:*'),
      ]),
    );
    return [...new Set((found as string[][]).flat())].sort();
  }

  async function untilChannels(expected: readonly string[]): Promise<void> {
    while ((await channels()).join() !== [...expected].sort().join());
  }

  async function hear(client: Redis | Cluster, tenant: string): Promise<Ear> {
    const ear = withTenant(tenant, () => listen(client));
    await withTenant(tenant, () => client.subscribe(...CHANNELS));
    await withTenant(tenant, () => client.ssubscribe('shard'));
    return ear;
  }

  const own = (tenant: string): string[] =>
    [...CHANNELS, 'shard'].map((channel) => `tk:${tenant}:${channel}`);

  it('ends with its erasure on the client of the eraser, and what others have does not', async () => {
    const client = await open();
    await hear(client, 'acme');
    const others = await hear(client, 'acme2');
    await untilChannels([...own('acme'), ...own('acme2')]);
    await cacheEraser(client).erase(SCOPE, run());
    await untilChannels(own('acme2'));
    expect(withTenant('acme', () => client.listenerCount('message'))).toBe(0);
    expect(withTenant('acme2', () => client.listenerCount('message'))).toBe(1);
    await publishIn(client, 'acme2', 'news', 'still there');
    await others.hears('still there');
    // Without a fence somebody may begin anew.
    const again = await hear(client, 'acme');
    await publishIn(client, 'acme', 'news', 'anew');
    await again.hears('anew');
  });

  it('ends in other processes when their fence knows of it and something happens there', async () => {
    const [mine, elsewhere] = [await open({ fence }), await open({ fence })];
    await hear(elsewhere, 'acme');
    const others = await hear(elsewhere, 'acme2');
    await fence.freeze('acme');
    await cacheEraser(mine).erase(SCOPE, run());
    await publishIn(mine, 'acme2', 'news', 'while frozen');
    await others.hears('while frozen');
    expect(await channels()).toEqual([...own('acme'), ...own('acme2')].sort());
    await fence.markErased('acme');
    // It is looked once a second at most.
    let told = 0;
    while ((await channels()).length > own('acme2').length) {
      told += 1;
      await publishIn(mine, 'acme2', 'news', `message ${told}`);
    }
    expect(await channels()).toEqual(own('acme2').sort());
    expect(told).toBeGreaterThan(0);
    await others.hears(`message ${told}`);
  });

  it('ends in other processes when somebody subscribes there', async () => {
    const elsewhere = await open({ fence });
    await hear(elsewhere, 'acme');
    await fence.markErased('acme');
    expect(await channels()).toEqual(own('acme').sort());
    while ((await channels()).some((channel) => channel.startsWith('tk:acme:')))
      await withTenant('acme2', () => elsewhere.subscribe('news'));
    expect(await channels()).toEqual(['tk:acme2:news']);
  });

  it('does not come back with a connection', async () => {
    const elsewhere = await open({ fence });
    await hear(elsewhere, 'acme');
    const others = await hear(elsewhere, 'acme2');
    await fence.freeze('acme');
    for (const raw of store.servers) await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await untilChannels([...own('acme'), ...own('acme2')]);
    await fence.markErased('acme');
    for (const raw of store.servers) await raw.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await untilChannels(own('acme2'));
    await publishIn(elsewhere, 'acme2', 'news', 'back');
    await others.hears('back');
    expect(await channels()).toEqual(own('acme2').sort());
  });
});
