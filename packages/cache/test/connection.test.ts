import { currentTenant, withTenant } from '@tenantkit/core';
import { Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import type { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isPlumbing } from '../src/plumbing.ts';
import { proxyTo } from './proxy.ts';
import { acme, acme2, failure, openCache, operator, ready, shown, until, type Opened } from './support.ts';

let opened: Opened;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache();
  ({ raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});

describe('before the connection is there', () => {
  it('calls wait with the tenant they were made in', async () => {
    const own = opened.guarded({ lazyConnect: true });
    const waiting = TENANTS.map((tenant) =>
      withTenant(tenant, () =>
        Promise.all([own.get('key'), own.pipeline().get('key').exec(), own.multi().get('key').exec()]),
      ),
    );
    const refused = Promise.allSettled([own.get('key'), acme(() => own.config('GET', '*'))]);
    for (const [index, tenant] of TENANTS.entries()) {
      const value = `of ${tenant}`;
      expect(await waiting[index]).toEqual([value, [[null, value]], [[null, value]]]);
    }
    expect(await refused).toMatchObject([
      { reason: { code: 'TENANT_MISSING' } },
      { reason: { code: 'OPERATION_REFUSED' } },
    ]);
  });

  it('the handshake with database, user, name and read-only mode works, also when a tenant opens it', async () => {
    const name = `tk_${process.pid}_handshake`;
    await raw.call('ACL', 'SETUSER', name, 'reset', 'on', '>secret', '~*', '+@all');
    try {
      for (const protocol of [2, 3] as const) {
        const own = acme(() =>
          opened.guarded({
            protocol,
            username: name,
            password: 'secret',
            connectionName: 'my-service',
            lazyConnect: true,
          }),
        );
        expect(await acme(() => own.get('key'))).toBe('of acme');
        expect(await operator(() => own.call('CLIENT', 'GETNAME'))).toBe('my-service');
        expect(await operator(() => own.call('ACL', 'WHOAMI'))).toBe(name);
        own.disconnect();
      }
    } finally {
      await raw.call('ACL', 'DELUSER', name);
    }
  });

  it('without an offline queue, ioredis rejects as ever', async () => {
    const own = opened.guarded({ lazyConnect: true, enableOfflineQueue: false });
    expect((await failure(() => acme(() => own.get('key')))).message).toMatch(/Stream isn't writeable/);
    await ready(own);
    expect(await acme(() => own.get('key'))).toBe('of acme');
  });
});

describe('listeners', () => {
  it('run in the scope they were registered in, and what they send is no work of ioredis', async () => {
    const own = acme2(() => opened.guarded({ lazyConnect: true }));
    const heard: unknown[] = [];
    const note = (): unknown => heard.push([currentTenant()?.tenant, isPlumbing()]);
    acme(() => own.on('ready', note));
    acme2(() => own.prependListener('ready', note));
    own.on('ready', note);
    const select = new Promise((resolve) => own.once('ready', () => resolve(failure(() => own.select(0)))));
    const info = new Promise((resolve) => own.once('ready', () => resolve(failure(() => own.info()))));
    await withTenant('ac', () => own.connect());
    expect(heard).toEqual([
      ['acme2', false],
      ['acme', false],
      [undefined, false],
    ]);
    expect(await select).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await info).toMatchObject({ code: 'TENANT_MISSING' });
  });

  it('can be counted, listed and removed as given', async () => {
    const own = opened.guarded({ lazyConnect: true });
    const heard: string[] = [];
    const listener = (): unknown => heard.push('heard');
    acme(() => own.on('custom', listener).once('custom', listener).addListener('custom', listener));
    expect(own.listenerCount('custom')).toBe(3);
    expect(own.listeners('custom')).toEqual([listener, listener, listener]);
    own.emit('custom');
    expect(heard).toHaveLength(3);
    expect(own.listenerCount('custom')).toBe(2);
    own.off('custom', listener).removeListener('custom', listener).removeListener('custom', listener);
    own.prependOnceListener('custom', listener).off('custom', listener);
    expect(own.listenerCount('custom')).toBe(0);
    acme(() => own.once('custom', listener));
    own.removeAllListeners('custom');
    expect(own.emit('custom')).toBe(false);
    expect(() => own.on('custom', 'no function' as never)).toThrow(TypeError);
    const waited = once(own, 'custom');
    own.emit('custom', 7);
    expect(await waited).toEqual([7]);
  });

  it('and the callback of connect keep the caller’s tenant', async () => {
    const own = opened.guarded({ lazyConnect: true });
    const tenant = await new Promise(
      (resolve) =>
        void acme(() =>
          own.connect((...answers) => resolve([currentTenant()?.tenant, isPlumbing(), answers])),
        ),
    );
    // As from ioredis: no second argument.
    expect(tenant).toEqual(['acme', false, [null]]);
  });
});

describe('a connection that breaks', () => {
  it('gives no reply to a wrong caller, and loses no tenant', async () => {
    for (const options of [{}, { enableAutoPipelining: true }]) {
      const own = opened.guarded({ ...options, maxRetriesPerRequest: null, retryStrategy: () => 1 });
      // Writing to a connection that has just been killed.
      own.on('error', (error: NodeJS.ErrnoException) =>
        expect(['EPIPE', 'ECONNRESET']).toContain(error.code),
      );
      await ready(own);
      const state = { running: true, replies: 0, aborted: 0 };
      const workers = TENANTS.flatMap((tenant) =>
        [0, 1, 2].map((kind) =>
          withTenant(tenant, async () => {
            while (state.running) {
              try {
                const value = await read(own, kind);
                expect(value).toBe(`of ${tenant}`);
                state.replies += 1;
              } catch (error) {
                // ioredis does not resend half a pipeline.
                expect(error).toMatchObject({
                  message: expect.stringMatching(/^Command aborted due to connection close/),
                });
                expect(shown(error)).not.toContain('tk:');
                state.aborted += 1;
              }
            }
          }),
        ),
      );
      for (let kill = 0; kill < 20; kill += 1) {
        const enough = state.replies + 50;
        const id = await operator(() => own.call('CLIENT', 'ID'));
        await raw.call('CLIENT', 'KILL', 'ID', Number(id));
        await until(() => state.replies >= enough);
      }
      state.running = false;
      await Promise.all(workers);
      expect(state.replies).toBeGreaterThan(1000);
      expect(state.aborted).toBeLessThan(state.replies);
      own.disconnect();
    }
  });

  it('is opened again outside of any tenant, whoever has closed it', async () => {
    const own = opened.guarded({ retryStrategy: () => 1 });
    await ready(own);
    const again = once(own, 'ready');
    operator(() => own.disconnect(true));
    await again;
    expect(await acme2(() => own.get('key'))).toBe('of acme2');
    expect(await failure(() => own.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
  });

  it('resends a command as it was rewritten, when reconnectOnError asks for it', async () => {
    const seen: string[] = [];
    const own = opened.guarded({
      reconnectOnError: (error) => {
        seen.push(shown(error));
        return seen.length === 1 ? 2 : false;
      },
    });
    await ready(own);
    const error = await failure(() => acme(() => own.lpush('key', 'x')));
    expect(error.message).toMatch(/^WRONGTYPE/);
    expect(seen).toHaveLength(2);
    for (const text of seen) expect(text).not.toContain('tk:acme:');
    expect(await acme(() => own.get('key'))).toBe('of acme');
  });

  it('tells the callbacks of a broken pipeline logical names', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const own = new Redis({ port: proxy.port, db: Number(pathname.slice(1)), retryStrategy: null });
    try {
      await ready(own);
      await acme(() => own.mset('one', 'first', 'two', 'second'));
      proxy.breakAfter('$5\r\nfirst\r\n'.length);
      const errors: unknown[] = [];
      const results = await acme(() =>
        own
          .pipeline()
          .get('one')
          .get('two', (error) => errors.push(shown(error)))
          .get('three')
          .exec(),
      );
      expect(results?.[0]).toEqual([null, 'first']);
      expect(results?.[1]?.[0]).toMatchObject({ command: { name: 'get', args: ['two'] } });
      expect(results?.[2]?.[0]).toMatchObject({ command: { name: 'get', args: ['three'] } });
      expect(errors).toEqual([expect.stringContaining("args: [ 'two'")]);
      expect(errors[0] + shown(results)).not.toContain('tk:acme:');
    } finally {
      own.disconnect();
    }
  });
});

describe('the end of a connection', () => {
  it('quit and disconnect work outside of any tenant', async () => {
    const own = opened.guarded();
    await ready(own);
    expect(await own.quit()).toBe('OK');
    if (own.status !== 'end') await once(own, 'end');
    expect((await failure(() => acme(() => own.get('key')))).message).toBe('Connection is closed.');
    const lazy = opened.guarded({ lazyConnect: true });
    lazy.disconnect();
    await once(lazy, 'end');
  });

  it('a server that is not there rejects as ioredis does', async () => {
    const own = new Redis({ port: 1, maxRetriesPerRequest: 0, retryStrategy: () => 1 });
    own.on('error', () => undefined);
    expect((await failure(() => acme(() => own.get('key')))).name).toBe('MaxRetriesPerRequestError');
    own.disconnect();
  });
});

async function read(own: Redis, kind: number): Promise<unknown> {
  if (kind === 0) return own.get('key');
  const results = await (kind === 1 ? own.pipeline() : own.multi()).get('key').exec();
  const [error, value] = results?.[0] ?? [];
  if (error) throw error;
  return value;
}
