import { createTenantRegistry, currentTenant, memoryTenantStore } from '@tenantkit/core';
import { Redis, type RedisOptions, type ResubscribedListener } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { killSubscribers, listen, ownNames } from './pubsub-support.ts';
import { acme, acme2, failure, openCache, operator, ready, until, type Opened } from './support.ts';

let names: string;
let connectionName: string;
let opened: Opened;
beforeEach(async () => {
  names = ownNames();
  connectionName = `lost-${names.slice(0, 14)}`;
  opened = await openCache();
});
afterEach(() => opened[Symbol.asyncDispose]());

const open = (options: RedisOptions = {}): Redis =>
  opened.guarded({ connectionName, ...options, tenant: { names, ...options.tenant } });

/** What the scope that runs now is told, and in which tenant. */
function losses(client: Redis): unknown[] {
  const told: unknown[] = [];
  const listener: ResubscribedListener = (lost) => told.push([currentTenant()?.tenant, ...lost]);
  client.on('resubscribed', listener);
  return told;
}

describe('when the connection that hears messages was away', () => {
  it.each([3, 2] as const)('each tenant is told of its own names (protocol %i)', async (protocol) => {
    const client = open({ protocol });
    const [mine, others, nobody] = [
      acme(() => losses(client)),
      acme2(() => losses(client)),
      operator(() => losses(client)),
    ];
    await acme(() => client.subscribe('a', 'left'));
    await acme(() => client.psubscribe('p*', '__key*__:k'));
    await acme2(() => client.subscribe('b'));
    await acme(() => client.unsubscribe('left'));
    expect(await acme(() => failure(() => client.subscribe('__keyspace@7__:k')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    await killSubscribers(opened.raw, connectionName);
    await until(() => mine.length > 0 && others.length > 0);
    expect([mine, others, nobody]).toEqual([[['acme', 'a', 'p*', '__key*__:k']], [['acme2', 'b']], []]);
    // What is published from then on is heard.
    const ear = acme(() => listen(client));
    const publisher = open();
    expect(await acme(() => publisher.publish('a', 'after'))).toBe(1);
    await ear.hears('after');
  });

  it('and when that of sharded channels was, those are told', async () => {
    const client = open();
    const told = acme(() => losses(client));
    await acme(() => client.ssubscribe('s'));
    await killSubscribers(opened.raw, connectionName);
    await until(() => told.length > 0);
    expect(told).toEqual([['acme', 's']]);
  });

  it('nobody is told of the first connection, nor a tenant that is frozen', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const client = open({ tenant: { names, fence } });
    const [mine, others] = [acme(() => losses(client)), acme2(() => losses(client))];
    await acme2(() => client.subscribe('b'));
    await acme(() => client.subscribe('a'));
    expect([mine, others]).toEqual([[], []]);
    await fence.freeze('acme');
    await killSubscribers(opened.raw, connectionName);
    await until(() => others.length > 0);
    await fence.unfreeze('acme');
    await killSubscribers(opened.raw, connectionName);
    await until(() => mine.length > 0 && others.length > 1);
    expect([mine, others]).toEqual([
      [['acme', 'a']],
      [
        ['acme2', 'b'],
        ['acme2', 'b'],
      ],
    ]);
    fence.close();
  });

  it('a listener that throws keeps no other tenant from hearing of it', async () => {
    const client = open();
    const thrown: unknown[] = [];
    const hear = (error: unknown): void => void thrown.push(error);
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException').on('uncaughtException', hear);
    try {
      const error = new Error('of acme');
      acme(() =>
        client.on('resubscribed', () => {
          throw error;
        }),
      );
      await acme(() => client.subscribe('a'));
      const others = acme2(() => losses(client));
      await acme2(() => client.subscribe('b'));
      await killSubscribers(opened.raw, connectionName);
      await until(() => others.length > 0 && thrown.length > 0);
      expect([others, thrown]).toEqual([[['acme2', 'b']], [error]]);
    } finally {
      process.off('uncaughtException', hear);
      for (const listener of before) process.on('uncaughtException', listener);
    }
  });

  it('is told inside a tenant only, and by the client alone', async () => {
    const client = open();
    expect(await failure(() => losses(client))).toMatchObject({ code: 'TENANT_MISSING' });
    const told = acme(() => losses(client));
    expect(acme2(() => client.emit('resubscribed', ['x']))).toBe(false);
    expect(acme2(() => client.listenerCount('resubscribed'))).toBe(0);
    expect(told).toEqual([]);
  });

  it.each([
    ['null', null],
    ['a function that gives up', () => null],
  ])('messages are heard again while the client is there: retryStrategy %s', async (_, retryStrategy) => {
    const client = open({ retryStrategy: retryStrategy as never });
    await ready(client);
    const told = acme(() => losses(client));
    const ear = acme(() => listen(client));
    await acme(() => client.subscribe('a'));
    await killSubscribers(opened.raw, connectionName);
    await until(() => told.length > 0);
    const publisher = opened.guarded({ tenant: { names } });
    await acme(() => publisher.publish('a', 'after'));
    await ear.hears('after');
    expect(client.status).toBe('ready');
  });
});

describe('the connection that hears messages', () => {
  it.each([
    ['a client with a name', { connectionName: 'named' }, 'named:subscriber'],
    ['a client without', {}, ''],
  ] as const)('has a name of its own only with %s', async (_, options, name) => {
    // Others have connections to the shared server.
    const node = await startRedisNode();
    const client = new Redis({ port: node.port, ...options });
    const admin = new Raw(node.url);
    onTestFinished(() => {
      for (const one of [client, admin]) one.disconnect();
      return node.stop();
    });
    await acme(() => client.subscribe('a'));
    const list = String(await admin.client('LIST')).split('\n');
    const own = list.filter((line) => line.includes(' sub=1 '));
    expect(own.map((line) => / name=(\S*) /.exec(line)?.[1])).toEqual([name]);
  });
});
