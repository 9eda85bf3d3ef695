import { Redis, type RedisOptions } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { proxyTo, type Proxy } from './proxy.ts';
import { acme, acme2, failure, openCache, ready, until, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

/** A client whose way to the server can fail, and tells what went there. */
async function through(options: RedisOptions): Promise<Proxy & { readonly client: Redis }> {
  const { hostname, port, pathname } = new URL(opened.url);
  const proxy = await proxyTo({ host: hostname, port: Number(port) });
  const own: RedisOptions = { port: proxy.port, db: Number(pathname.slice(1)), ...options };
  const client = new Redis(own as RedisOptions & { replyMapping?: 'legacy' });
  await ready(client);
  return Object.assign(proxy, { client });
}

describe('a connection that is lent', () => {
  it('is duplicated as the client that lends it would be', async () => {
    const client = opened.guarded();
    await acme(() =>
      client.dedicated(async (own) => {
        const copy = own.duplicate();
        // Without a command.
        await once(copy, 'ready');
        expect(await copy.set('key', 'of a copy')).toBe('OK');
        copy.disconnect();
        const lazy = own.duplicate({ lazyConnect: true });
        expect(lazy.status).toBe('wait');
        lazy.disconnect();
      }),
    );
    expect(await acme(() => client.get('key'))).toBe('of a copy');
    const waiting = opened.guarded({ lazyConnect: true });
    await acme(() =>
      waiting.dedicated((own) => {
        const copy = own.duplicate();
        expect(copy.status).toBe('wait');
        copy.disconnect();
      }),
    );
  });

  it('is closed, not out of reach, when the client ends while it is being made', async () => {
    await using proxy = await through({});
    const { client } = proxy;
    proxy.swallow();
    const asked = acme(() => failure(() => client.dedicated((own) => own.ping())));
    client.disconnect();
    await once(client, 'end');
    expect((await asked).message).toBe('Connection is closed.');
  });

  it('knows what others have entered into the registry a moment ago', async () => {
    await using proxy = await through({ tenant: { index: true } });
    const { client } = proxy;
    await acme(() => client.dedicated((own) => own.set('key', 'x')));
    proxy.commands();
    const names: string[] = [];
    const writing = async (): Promise<void> => {
      await acme(() => client.dedicated((own) => own.set('key', 'y')));
      await acme(() => client.set('key', 'z'));
      await acme2(() => client.dedicated((own) => own.set('key', 'x')));
      names.push(...proxy.commands());
    };
    await writing();
    // That of the other tenant alone.
    expect(names.filter((name) => name === 'zadd')).toHaveLength(1);
    expect(await opened.raw.zrange('tk!keys:tk:acme:', '0', '-1')).toEqual(['kkey']);
    expect(await opened.raw.zrange('tk!keys:tk:acme2:', '0', '-1')).toEqual(['kkey']);
    client.disconnect();
  });

  it('keeps registries from growing, however short each loan is', async () => {
    await using proxy = await through({ tenant: { index: true } });
    const { client } = proxy;
    proxy.commands();
    for (let n = 0; n < 40; n += 1) await acme(() => client.dedicated((own) => own.set(`short${n}`, 'x')));
    const looks = proxy.commands().filter((name) => name === 'evalsha');
    await until(() => looks.length > 0 || proxy.commands().includes('evalsha'));
    // It went over the connection that is lent, which goes back all the same.
    await acme(() => client.dedicated((own) => own.ping()));
    expect(client.commandQueue.length).toBe(0);
    client.disconnect();
  });
});
