import { OperationRefusedError } from '@tenantkit/core';
import { Redis, type RedisOptions } from '@tenantkit/cache';
import { connect } from 'node:net';
import { Duplex } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { proxyTo } from './proxy.ts';
import { acme, acme2, failure, openCache, ready, until, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
  await acme(() => opened.redis.set('key', 'of acme'));
  await acme2(() => opened.redis.set('key', 'of acme2'));
});
afterAll(() => opened[Symbol.asyncDispose]());

type Inner = Readonly<Record<string, (...args: unknown[]) => unknown>>;

// What ioredis has for its own work, as a caller would use it against the others.
const MEMBERS: Readonly<Record<string, readonly unknown[]>> = {
  _connect: [],
  flushQueue: [new Error('of acme')],
  recoverFromFatalError: [new Error('of acme'), new Error('of acme'), {}],
  resetCommandQueue: [],
  resetOfflineQueue: [],
  setSocketTimeout: [],
  setStatus: ['end'],
};

const call = (client: Redis, name: string): unknown =>
  (client as unknown as Inner)[name]?.(...(MEMBERS[name] ?? []));

async function open(options: RedisOptions = {}): Promise<Redis> {
  const client = opened.guarded({ retryStrategy: () => 1, ...options });
  await ready(client);
  return client;
}

describe.each(Object.keys(MEMBERS))('%s of ioredis', (name) => {
  it('is refused inside a tenant, and the calls of others in flight are answered', async () => {
    const client = await open();
    const inFlight = acme2(() => Promise.all([client.get('key'), client.get('key'), client.get('key')]));
    const error = await failure(() => acme(() => call(client, name)));
    expect(error).toBeInstanceOf(OperationRefusedError);
    expect(error.message).toContain(`cache.${name}`);
    const own = acme(() => client.get('key'));
    expect(await inFlight).toEqual(['of acme2', 'of acme2', 'of acme2']);
    expect(await own).toBe('of acme');
    expect(client.status).toBe('ready');
  });

  it('is there for ioredis itself, and for a tenant on a client of its own', async () => {
    const own = acme(() => opened.redis.duplicate());
    await ready(own);
    expect(await refusedOn(own, name)).toBe(false);
    own.disconnect();
  });
});

describe('what ioredis does by itself', () => {
  it('goes on when a socket fails in the context of a tenant that has written', async () => {
    for (const options of [{}, { enableAutoPipelining: true }, { maxRetriesPerRequest: 0 }]) {
      const client = await open(options);
      client.on('error', () => undefined);
      const again = new Promise((resolve) => void client.once('connecting', resolve));
      // As a write that fails does it.
      acme(() => client.stream.destroy(new Error('failed under a write')));
      await again;
      expect(await acme2(() => answered(client))).toBe('of acme2');
    }
  });

  it('goes on when a stream of a connector ends in the context of a tenant', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    const streams: Duplex[] = [];
    // As a tunnel has it: a stream that is no socket tells of its end where that was asked for.
    class Tunnel {
      connect(): Promise<Duplex> {
        const socket = connect(Number(port), hostname);
        const stream = new Duplex({
          read: () => void socket.resume(),
          write: (bytes, _, done) => void socket.write(bytes as Buffer, done),
          destroy: (error, done) => {
            socket.destroy();
            done(error);
          },
        });
        socket.on('data', (bytes) => void stream.push(bytes));
        const none = (): void => undefined;
        streams.push(Object.assign(stream, { setNoDelay: none, setTimeout: none, setKeepAlive: none }));
        return Promise.resolve(stream);
      }
      check(): boolean {
        return true;
      }
      disconnect(): void {
        streams.at(-1)?.destroy();
      }
    }
    const client = new Redis({
      db: Number(pathname.slice(1)),
      Connector: Tunnel as never,
      retryStrategy: () => 1,
    });
    await until(() => client.status === 'ready');
    acme(() => streams.at(-1)?.destroy());
    await until(() => streams.length === 2);
    expect(await acme2(() => client.get('key'))).toBe('of acme2');
    client.disconnect();
  });

  it('goes on after the time-out of a socket, which begins with the call of a tenant', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const client = new Redis({
      port: proxy.port,
      db: Number(pathname.slice(1)),
      retryStrategy: () => 1,
      socketTimeout: 50,
    });
    client.on('error', () => undefined);
    await until(() => client.status === 'ready');
    const again = new Promise((resolve) => void client.once('connecting', resolve));
    proxy.hold();
    const held = acme(() => client.get('key').catch(() => undefined));
    await again;
    proxy.release();
    await held;
    expect(await acme2(() => answered(client))).toBe('of acme2');
    client.disconnect();
  });

  it('ends and begins anew with quit, disconnect and connect', async () => {
    const client = await open();
    await client.quit();
    await until(() => client.status === 'end');
    await client.connect();
    expect(await acme2(() => client.get('key'))).toBe('of acme2');
    client.disconnect();
    await until(() => client.status === 'end');
    const late = await failure(() => acme(() => client.get('key')));
    expect(late.message).toBe('Connection is closed.');
  });
});

async function refusedOn(client: Redis, name: string): Promise<boolean> {
  try {
    await acme(() => call(client, name));
    return false;
  } catch (error) {
    return error instanceof OperationRefusedError;
  }
}

// Others may be rejected while the connection is gone.
async function answered(client: Redis): Promise<string | null> {
  for (;;) {
    const [result] = await Promise.allSettled([client.get('key')]);
    if (result.status === 'fulfilled') return result.value;
    await new Promise(setImmediate);
  }
}
