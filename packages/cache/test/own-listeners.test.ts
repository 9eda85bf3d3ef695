import { Cluster, type Redis } from '@tenantkit/cache';
import { startRedisCluster } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asPlumbing } from '../src/plumbing.ts';
import { acme, acme2, failure, openCache, operator, ready, until, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

describe('when a service has removed all listeners', () => {
  it('what is not sent again is rejected all the same', async () => {
    for (const event of ['close', undefined]) {
      const client = opened.guarded({ autoResendUnfulfilledCommands: false, retryStrategy: () => 1 });
      await ready(client);
      if (event === undefined) client.removeAllListeners();
      else client.removeAllListeners(event);
      await acme(() => client.set('key', 'x'));
      const lost = acme(() => failure(() => client.get('key')));
      await until(() => client.commandQueue.length > 0);
      client.stream.destroy();
      expect((await lost).message).toBe('Command aborted due to connection close');
      expect(await acme(() => client.get('key'))).toBe('x');
    }
  });

  it('connections that are lent end with the client', async () => {
    const client = opened.guarded({ connectionName: 'no-listeners' });
    await ready(client);
    const count = async (): Promise<number> =>
      String(await opened.raw.client('LIST')).split(' name=no-listeners ').length - 1;
    await acme(() => client.dedicated((own) => own.ping()));
    expect(await count()).toBe(2);
    client.removeAllListeners();
    client.disconnect();
    while ((await count()) > 0);
  });

  it('what waits for a node of a cluster leaves when that is there', async () => {
    const servers = await startRedisCluster({ masters: 3 });
    const cluster = new Cluster(
      servers.masters.map(({ port }) => ({ host: '127.0.0.1', port })),
      {
        enableAutoPipelining: true,
        enableOfflineQueue: false,
        enableReadyCheck: false,
        redisOptions: { lazyConnect: true },
      },
    );
    try {
      await once(cluster, 'ready');
      const first = Promise.all(['a', 'b', 'c', 'd', 'e'].map((key) => acme(() => cluster.get(key))));
      await until(() => cluster.nodes().some(({ status }) => status === 'connecting'));
      // After the wait for it has begun.
      await new Promise(setImmediate);
      for (const node of cluster.nodes()) if (node.status !== 'ready') node.removeAllListeners('ready');
      expect(await first).toEqual([null, null, null, null, null]);
    } finally {
      cluster.disconnect();
      await servers.stop();
    }
  });

  it('none of ours are among those that it counts', async () => {
    const client = opened.guarded({ autoResendUnfulfilledCommands: false });
    await ready(client);
    await acme(() => client.dedicated((own) => own.ping()));
    await acme(() => client.subscribe('news'));
    const own = operator(() => client.duplicate());
    await ready(own);
    for (const one of [client, own]) {
      // What ioredis waits for while it connects is over by then.
      await until(() => one.listenerCount('ready') === 0);
      for (const event of ['close', 'end', 'error', 'connect', 'reconnecting'])
        expect([event, one.listenerCount(event)]).toEqual([event, 0]);
    }
  });
});

describe('what others listen to', () => {
  it('is not told inside a tenant: neither its events nor how many listen', async () => {
    const client = opened.guarded();
    await ready(client);
    const own = (): void => undefined;
    acme2(() => {
      client.on('reply:4711', own).on('app', own).once('app', own);
      client.on('message', own);
    });
    acme(() => client.on('app', own).on('smessage', own));
    client.on('error', own);
    const told = (): unknown => [
      client.eventNames().filter((name) => name !== 'newListener'),
      ['app', 'reply:4711', 'error', 'message', 'smessage'].map((event) => client.listenerCount(event)),
      client.listenerCount('app', own),
    ];
    expect(acme(told)).toEqual([['app', 'smessage'], [1, 0, 0, 0, 1], 1]);
    expect(acme2(told)).toEqual([['reply:4711', 'app', 'message'], [2, 1, 0, 1, 0], 2]);
    expect(client.eventNames()).toEqual(expect.arrayContaining(['reply:4711', 'app', 'error']));
    expect(client.listenerCount('app')).toBe(3);
  });
});

describe('ASKING, which a cluster sends for a slot that moves', () => {
  it('ends no process when the connection breaks before its reply', async () => {
    const servers = await startRedisCluster({ masters: 3 });
    const cluster = new Cluster(servers.masters.map(({ port }) => ({ host: '127.0.0.1', port })));
    const unheard: unknown[] = [];
    const hear = (reason: unknown): void => void unheard.push(reason);
    process.on('unhandledRejection', hear);
    try {
      await once(cluster, 'ready');
      const [node] = cluster.nodes('master') as [Redis];
      await acme(() => node.ping());
      const ended = once(node, 'end');
      const asked = asPlumbing(() => node.asking());
      const outcome = failure(() => asked.then(() => undefined));
      // As ioredis does it: nobody holds this one.
      void asPlumbing(() => node.asking());
      node.stream.destroy();
      await ended;
      expect((await outcome).message).toBe('Connection is closed.');
      await new Promise(setImmediate);
      expect(unheard).toEqual([]);
    } finally {
      process.off('unhandledRejection', hear);
      cluster.disconnect();
      await servers[Symbol.asyncDispose]();
    }
  });
});
