import { Cluster, Redis, type RedisOptions } from '@tenantkit/cache';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { acme, failure, openCache, ready, until, type Opened } from './support.ts';

let opened: Opened;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

const options = { enableOfflineQueue: false, maxRetriesPerRequest: null, retryStrategy: () => 10 } as const;

function nowhere(): Redis {
  const client = new Redis({ ...options, port: 1 });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

describe('without an offline queue', () => {
  it.each(['subscribe', 'psubscribe', 'ssubscribe'] as const)(
    '%s is rejected as long as there is no connection, as with ioredis',
    async (kind) => {
      const client = nowhere();
      const raw = new Raw({ ...options, port: 1 });
      raw.on('error', () => undefined);
      clients.push(raw);
      const { message } = await failure(() => raw[kind]('news'));
      expect(message).toMatch(/^Stream isn't writeable/);
      expect((await acme(() => failure(() => client[kind]('news')))).message).toBe(message);
      await until(() => client.status === 'reconnecting');
      expect((await acme(() => failure(() => client.call(kind, 'news')))).message).toBe(message);
      // Nothing of it is left.
      expect(await acme(() => client.unsubscribe())).toBe(0);
    },
  );

  it('the first one connects, and with a connection nothing is rejected', async () => {
    const client = opened.guarded({ enableOfflineQueue: false, lazyConnect: true });
    expect((await acme(() => failure(() => client.subscribe('news')))).message).toMatch(/isn't writeable/);
    await ready(client);
    expect(await acme(() => client.subscribe('news'))).toBe(1);
    expect(await acme(() => client.dedicated((own) => own.subscribe('news')))).toBe(1);
    expect(await acme(() => client.unsubscribe('news'))).toBe(0);
  });

  it('of a Cluster it is rejected until that is ready', async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { enableOfflineQueue: false });
    cluster.on('error', () => undefined);
    clients.push(cluster);
    expect((await acme(() => failure(() => cluster.subscribe('news')))).message).toBe(
      "Cluster isn't ready and enableOfflineQueue options is false",
    );
  });

  it('with one it waits, as ever', async () => {
    const client = opened.guarded({} satisfies RedisOptions);
    expect(await acme(() => client.subscribe('news'))).toBe(1);
  });
});
