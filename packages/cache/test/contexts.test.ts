import { Cluster, Command, type Redis } from '@tenantkit/cache';
import { startRedisCluster } from '@tenantkit/testing/servers';
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { acme, acme2, openCache, ready, until, type Opened } from './support.ts';

// As a service keeps its user, or a tracer its span.
const requests = new AsyncLocalStorage<string>();

/** Inside requests of the two tenants. */
const ann = <T>(fn: () => T): T => requests.run('ann of acme', () => acme(fn));
const bob = <T>(fn: () => T): T => requests.run('bob of acme2', () => acme2(fn));

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

/** In which requests a listener that is registered right now runs. */
function requestsOf(client: Redis | Cluster, event: string): unknown[] {
  const seen: unknown[] = [];
  client.on(event, () => seen.push(requests.getStore()));
  return seen;
}

describe('the request of another tenant, which has opened a connection', () => {
  it('is not that of listeners: they run in the request in which they were registered', async () => {
    const client = opened.guarded({ lazyConnect: true, retryStrategy: () => 1 });
    const service = requestsOf(client, 'ready');
    await bob(() => client.get('key'));
    await bob(() => client.subscribe('own'));
    const messages = ann(() => requestsOf(client, 'message'));
    const closes = ann(() => requestsOf(client, 'close'));
    const readies = ann(() => requestsOf(client, 'ready'));
    await ann(() => client.subscribe('news'));
    await ann(() => client.publish('news', 'hello'));
    await until(() => messages.length > 0);
    client.stream.destroy();
    await until(() => readies.length > 0);
    await bob(() => client.get('key'));
    expect([messages, closes, readies]).toEqual([['ann of acme'], ['ann of acme'], ['ann of acme']]);
    expect(service).toEqual([undefined, undefined]);
  });

  it('is not that of listeners on what dedicated() lends', async () => {
    await bob(() => opened.redis.dedicated((own) => own.get('key')));
    const seen = await ann(() =>
      opened.redis.dedicated(async (own) => {
        const closes = requestsOf(own, 'close');
        own.disconnect();
        await until(() => closes.length > 0);
        return closes;
      }),
    );
    expect(seen).toEqual(['ann of acme']);
  });

  it('is not that of functions of the options, nor of a Command of one’s own', async () => {
    const seen: unknown[] = [];
    const client = opened.guarded({
      lazyConnect: true,
      retryStrategy() {
        seen.push(requests.getStore());
        return 1;
      },
    });
    await bob(() => client.get('key'));
    client.stream.destroy();
    await once(client, 'ready');
    await bob(() => client.sendCommand(new Command('get', ['key'])));
    const told = await ann(
      () =>
        new Promise<unknown>((resolve) => {
          const command = new Command('get', ['key']);
          command.resolve = () => resolve(requests.getStore());
          void client.sendCommand(command);
        }),
    );
    expect([seen, told]).toEqual([[undefined], undefined]);
  });

  it('is not that of what listens to a cluster, or waits for it', async () => {
    const servers = await startRedisCluster({ masters: 3 });
    const cluster = new Cluster(
      servers.masters.map(({ port }) => ({ host: '127.0.0.1', port })),
      { lazyConnect: true },
    );
    try {
      await bob(() => cluster.get('key'));
      const refreshes = ann(() => requestsOf(cluster, 'refresh'));
      const told = await ann(
        () =>
          new Promise<unknown>((resolve) => cluster.refreshSlotsCache(() => resolve(requests.getStore()))),
      );
      expect(told).toBe('ann of acme');
      expect(new Set(refreshes)).toEqual(new Set(['ann of acme']));
    } finally {
      cluster.disconnect();
      await servers[Symbol.asyncDispose]();
    }
  });

  it('is not that of callbacks, streams and pipelines', async () => {
    const client = opened.guarded({ lazyConnect: true });
    await bob(() => client.get('key'));
    await ready(client);
    const seen: unknown[] = [];
    const note = (): void => void seen.push(requests.getStore());
    await ann(async () => {
      await client.set('key', 'x', note);
      await client.pipeline().get('key', note).exec();
      const stream = client.scanStream();
      stream.on('data', note);
      await once(stream, 'end');
    });
    await until(() => seen.length >= 3);
    expect(new Set(seen)).toEqual(new Set(['ann of acme']));
  });
});
