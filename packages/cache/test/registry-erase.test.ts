import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { Redis, cacheEraser, indexCache } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as RawRedis, type Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { proxyTo, type Proxy } from './proxy.ts';
import { acme, acme2, everythingIn, failure, openCache, ready, type Opened } from './support.ts';

const MARK = 'tk!indexed:tk:{tenant}:';
const ACME = 'tk!keys:tk:acme:';

let opened: Opened;
let raw: Raw;
let fence: TenantRegistry;
let redis: Redis;
let proxy: Proxy;
beforeAll(async () => {
  opened = await openCache();
  ({ raw } = opened);
  const { hostname, port } = new URL(opened.url);
  proxy = await proxyTo({ host: hostname, port: Number(port) });
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await opened[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await raw.flushdb();
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  redis = new Redis({
    port: proxy.port,
    db: Number(new URL(opened.url).pathname.slice(1)),
    tenant: { index: true, fence },
  });
  await ready(redis);
  return () => {
    redis.disconnect();
    fence.close();
  };
});

const scope = { tenant: 'acme' };

async function erase(tenant = 'acme', more: Parameters<typeof run>[0] = {}): Promise<number | undefined> {
  return (await cacheEraser(redis).erase({ tenant }, run(more))).erased[0]?.count;
}

/** Whether the keyspace was walked since it was last asked. */
const walked = (): boolean => proxy.commands().includes('scan');

describe('with a registry, the eraser', () => {
  it('walks nothing when the registry is complete and nobody writes any more', async () => {
    await raw.mset('tk:acme:before', '1', 'tk:acme2:before', '1');
    await acme(() =>
      redis.mset(Object.fromEntries(Array.from({ length: 1200 }, (_, n) => [`k${n}*[`, '1']))),
    );
    await acme2(() => redis.set('k1', '1'));
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => redis.hset('h', 'f', 'v'));
    expect(await indexCache(redis)).toEqual({ keys: 1204, tenants: 2 });
    await fence.freeze('acme');
    proxy.commands();
    expect(await erase()).toBe(1202);
    expect(walked()).toBe(false);
    expect((await raw.keys('*')).sort()).toEqual([
      MARK,
      'tk!keys:tk:acme2:',
      'tk:acme2:before',
      'tk:acme2:k1',
    ]);
    expect(isVerified(await cacheEraser(redis).verify(scope))).toBe(true);
    expect(isVerified(await cacheEraser(redis).verify({ tenant: 'acme2' }))).toBe(false);
  });

  const INCOMPLETE: Readonly<Record<string, () => Promise<unknown>>> = {
    'nobody has completed it': () => raw.del(MARK),
    'the tenant may still write': () => fence.unfreeze('acme'),
  };

  it.each(Object.entries(INCOMPLETE))('walks when %s', async (_, make) => {
    await acme(() => redis.set('entered', '1'));
    await indexCache(redis);
    await raw.set('tk:acme:past the client', '1');
    await fence.freeze('acme');
    await make();
    proxy.commands();
    expect(await erase()).toBe(2);
    expect(walked()).toBe(true);
    expect(await raw.keys('tk*acme:*')).toEqual([]);
  });

  it('walks when servers may evict registries, and when they do not say', async () => {
    const node = await startRedisNode();
    const { port } = node;
    const admin = new RawRedis(port);
    const client = new Redis({ port, tenant: { index: true, fence } });
    try {
      for (const [memory, policy, walks] of [
        ['0', 'allkeys-lru', false],
        ['100mb', 'allkeys-lru', true],
        ['100mb', 'allkeys-lfu', true],
        ['100mb', 'allkeys-random', true],
        ['100mb', 'volatile-lru', false],
        ['100mb', 'volatile-ttl', false],
        ['100mb', 'noeviction', false],
      ] as const) {
        await admin.flushall();
        await fence.unfreeze('acme');
        await acme(() => client.set('entered', '1'));
        await indexCache(client);
        await admin.config('SET', 'maxmemory', memory, 'maxmemory-policy', policy);
        await fence.freeze('acme');
        await admin.config('RESETSTAT');
        expect((await cacheEraser(client).erase(scope, run())).erased[0]?.count).toBe(1);
        const scanned = (await admin.info('commandstats')).includes('cmdstat_scan:');
        expect([memory, policy, scanned]).toEqual([memory, policy, walks]);
      }
      await fence.unfreeze('acme');
      await acme(() => client.set('entered', '1'));
      await fence.freeze('acme');
      await admin.call('ACL', 'SETUSER', 'default', '-info');
      await admin.config('RESETSTAT');
      expect((await cacheEraser(client).erase(scope, run())).erased[0]?.count).toBe(1);
      await admin.call('ACL', 'SETUSER', 'default', '+info');
      expect(await admin.info('commandstats')).toContain('cmdstat_scan:');
    } finally {
      client.disconnect();
      admin.disconnect();
      await node.stop();
    }
  });

  it('walks when it is run again, since the recount has found something', async () => {
    await indexCache(redis);
    await acme(() => redis.set('entered', '1'));
    await raw.set('tk:acme:past the client', '1');
    await fence.freeze('acme');
    const one = run();
    await cacheEraser(redis).erase(scope, one);
    expect(await raw.exists('tk:acme:past the client')).toBe(1);
    expect(isVerified(await cacheEraser(redis).verify(scope))).toBe(false);
    await cacheEraser(redis).erase(scope, run({ saved: one.saved }));
    expect(isVerified(await cacheEraser(redis).verify(scope))).toBe(true);
    expect(await raw.keys('tk*acme:*')).toEqual([]);
  });

  it('removes what a client writes that still takes its entry for written', async () => {
    await acme(() => redis.set('hot', '1'));
    let late: Promise<unknown> | undefined;
    const count = await erase('acme', {
      progress: () => {
        late ??= acme(() => redis.set('hot', '2'));
      },
    });
    await late;
    expect(count).toBe(2);
    expect(await raw.dbsize()).toBe(0);
    // And what comes later is entered anew.
    await acme(() => redis.set('hot', '3'));
    expect(await raw.zrange(ACME, '0', '-1')).toEqual(['khot']);
  });

  it('never removes the key of another tenant, whatever somebody has planted', async () => {
    await acme2(() => redis.mset('x', '1', 'p1', '1'));
    await raw.set('tk!keys', 'x');
    await raw.zadd(
      ACME,
      1,
      'tk:acme2:x',
      2,
      'ktk:acme2:x',
      3,
      'k../acme2:x',
      4,
      'sx:tk:acme2:',
      5,
      '',
      6,
      'z',
    );
    await raw.zadd(ACME, 7, 'sp1:tk:acme2:', 8, 's*', 9, 'sp1');
    await raw.zadd('tk!subject:p1:tk:acme2:', 1, 'kx');
    await indexCache(redis);
    const others = await everythingIn(raw);
    delete others[ACME];
    await fence.freeze('acme');
    expect(await erase()).toBe(0);
    expect(await everythingIn(raw)).toMatchObject(others);
    expect(await raw.exists(ACME)).toBe(0);
  });

  it('passes over a registry of another type, and leaves nothing of it', async () => {
    await raw.set('tk:acme:x', '1');
    await indexCache(redis);
    await raw.set(ACME, 'of another type');
    expect(isVerified(await cacheEraser(redis).verify(scope))).toBe(false);
    await fence.freeze('acme');
    expect(await erase()).toBe(1);
    expect(await raw.keys('tk*acme:*')).toEqual([]);
  });

  it('goes on where it was interrupted', async () => {
    await acme(() => redis.mset(Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`k${n}`, '1']))));
    await indexCache(redis);
    await fence.freeze('acme');
    const stop = new AbortController();
    const one = run({ signal: stop.signal, progress: () => stop.abort(new Error('stopped')) });
    expect((await failure(() => cacheEraser(redis).erase(scope, one))).message).toBe('stopped');
    expect(await raw.dbsize()).toBeGreaterThan(1);
    expect((await cacheEraser(redis).erase(scope, run({ saved: one.saved }))).erased).toEqual([
      { kind: 'keys', count: 2000 },
    ]);
    expect(await raw.keys('*')).toEqual([MARK]);
  });

  it('counts what is left of entries', async () => {
    await raw.zadd(ACME, 1, 'kgone');
    await raw.zadd('tk!subject:p1:tk:acme:', 1, 'kgone');
    const { remaining, control } = await cacheEraser(redis).verify(scope);
    expect(remaining).toEqual([
      { kind: 'keys', count: 0 },
      { kind: 'entries', count: 2 },
      { kind: 'acl-user', count: 0 },
    ]);
    expect(control.found).toBe(control.planted);
    await erase();
    expect(await raw.dbsize()).toBe(0);
  });

  it('of a client without a registry removes the registry of other clients, too', async () => {
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => redis.set('x', '1'));
    const plain = opened.guarded();
    await cacheEraser(plain).erase(scope, run());
    expect(await raw.dbsize()).toBe(0);
  });
});

describe('indexCache', () => {
  it('needs a client that keeps the registry up to date', async () => {
    expect(await failure(() => indexCache(opened.redis))).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await raw.dbsize()).toBe(0);
    expect(await failure(() => indexCache(redis, { deep: true } as object))).toMatchObject({
      message: expect.stringContaining('unknown option "deep"; there are timeout, signal, tenants'),
    });
  });

  it('enters what is there, of any name, and of nobody who is erased', async () => {
    const odd = Buffer.concat([Buffer.from('tk:acme:'), Buffer.from([0xff, 0, 0x0a])]);
    await raw.set(odd, '1');
    await raw.mset('tk:acme:', '1', 'tk:acme2:x', '1', 'plain', '1', 'tk:frozen:x', '1', 'tk:erased:x', '1');
    await fence.freeze('frozen');
    await fence.markErased('erased');
    expect(await indexCache(redis)).toEqual({ keys: 4, tenants: 3 });
    expect((await raw.zrangeBuffer(ACME, '0', '-1')).map((entry) => entry.toString('latin1')).sort()).toEqual(
      ['k', 'k\xff\0\n'],
    );
    expect(await raw.zrange('tk!keys:tk:frozen:', '0', '-1')).toEqual(['kx']);
    expect(await raw.exists('tk!keys:tk:erased:')).toBe(0);
  });

  it('enters nothing of a frozen tenant that is gone meanwhile, as it goes in an erasure', async () => {
    await raw.mset('tk:acme:x', '1', 'tk:acme2:x', '1');
    await fence.freeze('acme');
    const { options } = redis;
    const name = `index-${process.pid}-${options.db ?? 0}`;
    const own = new Redis({
      port: proxy.port,
      db: options.db ?? 0,
      connectionName: name,
      tenant: { index: true, fence },
    });
    try {
      await ready(own);
      proxy.hold();
      const indexed = indexCache(own);
      const scanned = async (): Promise<boolean> =>
        String(await raw.client('LIST'))
          .split('\n')
          .some((line) => line.includes(` name=${name} `) && line.includes(' cmd=scan '));
      while (!(await scanned()));
      await raw.del('tk:acme:x');
      proxy.release();
      expect(await indexed).toEqual({ keys: 1, tenants: 1 });
      expect((await raw.keys('tk!keys*')).sort()).toEqual(['tk!keys:tk:acme2:']);
    } finally {
      own.disconnect();
    }
  });

  it('leaves no mark when it is stopped', async () => {
    await raw.set('tk:acme:x', '1');
    const reason = new Error('enough');
    expect(await failure(() => indexCache(redis, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(await raw.exists(MARK)).toBe(0);
  });
});
