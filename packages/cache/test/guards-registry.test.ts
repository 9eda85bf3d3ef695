import { createTenantRegistry, memoryTenantStore, withTenant, type TenantRegistry } from '@tenantkit/core';
import { Redis, cacheAuditor, cacheEraser, indexCache, type CacheOptions } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as RawRedis, type Redis as Raw } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { run } from './erase-run.ts';
import { proxyTo, type Proxy } from './proxy.ts';
import { acme, acme2, failure, openCache, operator, ready, shown, until, type Opened } from './support.ts';

const MARK = 'tk!indexed:tk:{tenant}:';
const ACME = 'tk!keys:tk:acme:';
const OF_P1 = 'tk!subject:p1:tk:acme:';
const SCOPE = { tenant: 'acme' };
const PERSON = { tenant: 'acme', subject: 'p1' };

// What the trimmer subtracts from the score of an entry without a key.
const BASE = 1_000_000_000_000_000;

let opened: Opened;
let raw: Raw;
let fence: TenantRegistry;
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
  return () => fence.close();
});
afterEach(() => {
  vi.useRealTimers();
});

async function client(tenant: CacheOptions = { index: true }): Promise<Redis> {
  const made = opened.guarded({ tenant });
  await ready(made);
  return made;
}

/** What is written passes by, and can be asked for. */
async function recorded(tenant: CacheOptions = { index: true }): Promise<Redis> {
  const db = Number(new URL(opened.url).pathname.slice(1));
  const made = new Redis({ port: proxy.port, db, tenant, maxRetriesPerRequest: 0, retryStrategy: () => 1 });
  await ready(made);
  proxy.commands();
  return made;
}

const entries = (name = ACME): Promise<string[]> => raw.zrange(name, '0', '-1');

describe('the eraser', () => {
  it('takes nothing for a key, or a person, that this package has not entered', async () => {
    const redis = await client();
    await withTenant(PERSON, () => redis.set('mine', '1'));
    await acme(() => redis.mset('other', '1', 'zother', '1'));
    await raw.zadd(OF_P1, 1, 'other', 2, 'zother', 3, 's*');
    await cacheEraser(redis).erase(PERSON, run());
    expect((await raw.keys('tk:acme:*')).sort()).toEqual(['tk:acme:other', 'tk:acme:zother']);
    expect(await raw.exists('tk:acme:mine')).toBe(0);
  });

  it('says so when the server does not let it count entries', async () => {
    const user = `guard-${randomUUID()}`;
    await raw.acl('SETUSER', user, 'on', '>secret', '~*', '&*', '+@all', '-zcard');
    const redis = opened.guarded({ username: user, password: 'secret', tenant: { index: true } });
    await raw.zadd(ACME, 1, 'kgone');
    expect((await failure(() => cacheEraser(redis).plan(SCOPE))).message).toMatch(/^NOPERM/);
    await raw.acl('SETUSER', user, '+zcard');
    expect((await cacheEraser(redis).plan(SCOPE)).items).toContainEqual({ kind: 'entries', count: 1 });
    redis.disconnect();
    await raw.acl('DELUSER', user);
  });

  it('finds registries under a template of glob characters', async () => {
    const redis = await client({ index: true, names: 'x[1]*:{tenant}:' });
    await raw.zadd('tk!keys:x[1]*:acme:', 1, 'kgone');
    await raw.zadd('tk!keys:x1y:acme:', 1, 'kgone');
    expect((await cacheEraser(redis).plan(SCOPE)).items).toContainEqual({ kind: 'entries', count: 1 });
    await cacheEraser(redis).erase(SCOPE, run());
    expect(await raw.keys('tk!keys:*')).toEqual(['tk!keys:x1y:acme:']);
  });

  it('leaves the registries of another template, whose names end alike', async () => {
    const redis = await client({ index: true, names: '{tenant}:' });
    await acme(() => redis.set('x', '1'));
    await raw.zadd(ACME, 1, 'kx');
    await raw.zadd(OF_P1, 1, 'kx');
    await cacheEraser(redis).erase(SCOPE, run());
    expect((await raw.keys('*')).sort()).toEqual([ACME, OF_P1]);
  });

  it('of a client without a registry goes by nobody else’s', async () => {
    const redis = await client({ fence });
    await acme(() => redis.set('x', '1'));
    await acme2(() => redis.set('x', '1'));
    await raw.set(MARK, 'by another client');
    await fence.freeze('acme');
    expect((await cacheEraser(redis).erase(SCOPE, run())).erased).toEqual([{ kind: 'keys', count: 1 }]);
    expect((await raw.keys('tk:*')).sort()).toEqual(['tk:acme2:x']);
  });

  // What an erased tenant still has came past everything, the registry too.
  it.each([
    ['frozen', false],
    ['erased already', true],
  ] as const)('of a tenant that is %s, with a complete registry, walks: %s', async (state, walks) => {
    const redis = await recorded({ index: true, fence });
    await acme(() => redis.set('x', '1'));
    await indexCache(redis);
    await fence.freeze('acme');
    if (state === 'erased already') await fence.markErased('acme');
    await raw.set('tk:acme:past', '1');
    await raw.zadd(ACME, 1, 'kpast');
    proxy.commands();
    expect((await cacheEraser(redis).erase(SCOPE, run())).erased).toEqual([{ kind: 'keys', count: 2 }]);
    expect(proxy.commands().includes('scan')).toBe(walks);
    redis.disconnect();
  });

  it('looks once more at a registry that was complete, for what was on its way', async () => {
    const redis = await client({ index: true, fence });
    await acme(() => redis.set('x', '1'));
    await indexCache(redis);
    await fence.freeze('acme');
    let late: Promise<unknown> | undefined;
    const own = run();
    own.checkpoint.save = async (state) => {
      own.saved = state;
      await (late ??= Promise.all([raw.zadd(ACME, 1, 'klate'), raw.set('tk:acme:late', '1')]));
    };
    await cacheEraser(redis).erase(SCOPE, own);
    expect(await raw.keys('tk*acme:*')).toEqual([]);
  });

  it.each([
    ['a tenant', SCOPE, {}],
    ['a tenant with a registry', SCOPE, { index: true }],
    ['a person', PERSON, { subjects: ['user:{subject}:*'] }],
  ] as const)('ends, though somebody goes on to write: %s', async (_who, scope, tenant) => {
    const redis = await client(tenant);
    await acme(() => redis.set('user:p1:0', '1'));
    const own = run();
    let written = 0;
    own.checkpoint.save = async () => {
      if (written < 60) await acme(() => redis.set(`user:p1:${(written += 1)}`, '1'));
    };
    await cacheEraser(redis).erase(scope, own);
    expect(own.steps.length).toBeGreaterThan(1);
    expect(written).toBeLessThan(60);
  });

  it('removes of a person what was written meanwhile', async () => {
    const redis = await client({ subjects: ['user:{subject}:*'] });
    await acme(() => redis.mset('user:p1:a', '1', 'user:p2:a', '1'));
    let late: Promise<unknown> | undefined;
    const own = run();
    own.checkpoint.save = async () => {
      await (late ??= acme(() => redis.set('user:p1:late', '1')));
    };
    expect((await cacheEraser(redis).erase(PERSON, own)).erased).toEqual([{ kind: 'keys', count: 2 }]);
    expect(await raw.keys('*')).toEqual(['tk:acme:user:p2:a']);
  });

  it('that is stopped before it begins has done nothing', async () => {
    const redis = await client();
    await raw.set(ACME, 'of another type');
    const stopped = run({ signal: AbortSignal.abort(new Error('stopped')) });
    expect((await failure(() => cacheEraser(redis).erase(SCOPE, stopped))).message).toBe('stopped');
    expect(await raw.get(ACME)).toBe('of another type');
    await cacheEraser(redis).erase(SCOPE, run());
    expect(await raw.exists(ACME)).toBe(0);
  });

  it('knows no persons from an empty list', async () => {
    const redis = await client({ subjects: [] });
    await acme(() => redis.set('x', '1'));
    expect(cacheEraser(redis).subjects).toMatchObject({ unsupported: expect.stringContaining('subjects') });
    expect(await failure(() => cacheEraser(redis).erase(PERSON, run()))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(cacheEraser(await client({ subjects: ['{subject}'] })).subjects).toBe('supported');
  });

  it.each([
    ['a tenant', SCOPE],
    ['a person', PERSON],
  ])('leaves a control that it cannot remove to expire: %s', async (_who, scope) => {
    const user = `guard-${randomUUID()}`;
    await raw.acl('SETUSER', user, 'on', '>secret', '~*', '&*', '+@all', '-unlink');
    const tenant = { subjects: ['user:{subject}:*'] };
    const redis = opened.guarded({ username: user, password: 'secret', tenant });
    expect((await failure(() => cacheEraser(redis).verify(scope))).message).toMatch(/^NOPERM/);
    const left = await raw.keys('*');
    expect(left).toHaveLength(1);
    expect(await raw.ttl(left[0] ?? '')).toBeGreaterThan(0);
    redis.disconnect();
    await raw.acl('DELUSER', user);
  });
});

describe('an entry', () => {
  it('is put off for a command that waits, also where it was written a moment ago', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const redis = await client();
    const own = acme(() => redis.duplicate());
    await acme(() => own.set('to', '1'));
    await acme(() => own.del('to'));
    const before = Number(await raw.zscore(ACME, 'kto'));
    const waiting = acme(() => own.blmove('from', 'to', 'LEFT', 'RIGHT', 0));
    await expect.poll(() => raw.zscore(ACME, 'kto').then(Number)).toBeGreaterThan(before + 86_400_000);
    await acme(() => redis.rpush('from', 'x'));
    expect(await waiting).toBe('x');
    acme(() => own.disconnect());
  });

  it('of several keys is as old as the oldest, when the command has waited', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const redis = await client();
    await acme(() => redis.set('a', '1'));
    redis.disconnect();
    await until(() => redis.status === 'end');
    vi.advanceTimersByTime(900);
    const connecting = redis.connect();
    const waiting = acme(() => redis.mset('a', '2', 'b', '2'));
    await raw.zrem(ACME, 'ka');
    vi.advanceTimersByTime(500);
    await connecting;
    await waiting;
    expect((await entries()).sort()).toEqual(['ka', 'kb']);
  });

  it('is written for scripts, and for what an operator sends past the table', async () => {
    const redis = await client();
    redis.defineCommand('put', {
      lua: 'return redis.call("SET", KEYS[1], ARGV[1])',
      numberOfKeys: 1,
      tenant: 'keys-only',
    });
    await acme(() => Reflect.get(redis, 'put').call(redis, 'by script', '1'));
    await raw.set('plain', '1');
    const dump = (await raw.dumpBuffer('plain')) ?? '';
    await operator(() => redis.restore('tk:acme:restored', 0, dump));
    expect((await entries()).sort()).toEqual(['kby script', 'krestored']);
    expect(await acme(() => redis.mget('by script', 'restored'))).toEqual(['1', '1']);
  });

  it('is not taken for written once one was refused', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const redis = await client();
    await acme(() => redis.set('a', '1'));
    await raw.set(ACME, 'of another type');
    const error = await failure(() => acme(() => redis.set('b', '1')));
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(shown(error)).not.toMatch(/tk:acme:|tk!keys/);
    await raw.del(ACME);
    await acme(() => redis.set('a', '2'));
    expect(await entries()).toEqual(['ka']);
  });

  it('that is lost with its connection leaves the mark, since the key is lost as well', async () => {
    const redis = await recorded();
    await raw.set(MARK, 'complete');
    const lost = failure(() => acme(() => redis.set('a', '1')));
    redis.stream.destroy();
    await lost;
    await acme2(() => redis.set('a', '1'));
    expect(await raw.exists(MARK)).toBe(1);
    expect(await entries('tk!keys:tk:acme2:')).toEqual(['ka']);
    redis.disconnect();
  });

  it('shares a command with no more than a thousand others', async () => {
    const redis = await recorded();
    await acme(() => redis.mset(Object.fromEntries(Array.from({ length: 2_500 }, (_, n) => [`k${n}`, '1']))));
    expect(proxy.commands().filter((name) => name === 'zadd')).toHaveLength(3);
    expect(await raw.zcard(ACME)).toBe(2_500);
    redis.disconnect();
  });
});

describe('a look at a registry', () => {
  const some = (name: string, count = 64): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`${name}${n}`, '1']));
  /** Writes so much that a look is taken, and has been. */
  const look = async (redis: Redis): Promise<void> => {
    await acme(() => redis.mset(some('new')));
    await acme(() => redis.ping());
    await raw.ping();
  };

  it('removes nothing that it has not seen before without a key', async () => {
    const redis = await client();
    await acme(() => redis.mset(some('gone', 40)));
    await raw.del(Object.keys(some('tk:acme:gone', 40)));
    await look(redis);
    await expect.poll(() => raw.zcount(ACME, '-inf', '(0')).toBeGreaterThan(0);
    expect(await entries()).toEqual(expect.arrayContaining(Object.keys(some('kgone', 40))));
  });

  it('keeps what has come back, and gives what is gone no longer than it has', async () => {
    const redis = await client();
    const doomed = Date.now() - 20_000 - BASE;
    const seen = Date.now() - 5_000 - BASE;
    await raw.zadd(ACME, doomed, 'kback', doomed, 'kgone');
    await raw.set('tk:acme:back', '1');
    for (const entry of Object.keys(some('kseen', 20))) await raw.zadd(ACME, seen, entry);
    await look(redis);
    await expect.poll(() => raw.zscore(ACME, 'kgone')).toBeNull();
    expect(Number(await raw.zscore(ACME, 'kback'))).toBeGreaterThan(0);
    for (const entry of Object.keys(some('kseen', 20)))
      expect(Number(await raw.zscore(ACME, entry))).toBe(seen);
  });

  it('is short where nothing is to be removed, and long where much is', async () => {
    await using node = await startRedisNode();
    const admin = new RawRedis(node.port);
    const redis = new Redis({ port: node.port, tenant: { index: true } });
    const looks = async (): Promise<number> =>
      Number(/cmdstat_exists:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1] ?? 0);
    try {
      await acme(() => redis.mset(some('there', 640)));
      await expect.poll(looks).toBe(16);
      await admin.zadd(ACME, ...Object.keys(some('kgone', 6_400)).flatMap((entry) => [1, entry]));
      await acme(() => redis.mset(some('new')));
      await expect.poll(looks).toBe(16 + 2 * 64);
      expect(await admin.zcount(ACME, '-inf', '(0')).toBeGreaterThan(64);
    } finally {
      redis.disconnect();
      admin.disconnect();
    }
  });

  it('is taken on a server that has never seen its script', async () => {
    const node = await startRedisNode();
    const admin = new RawRedis(node.port);
    const redis = new Redis({ port: node.port, tenant: { index: true } });
    try {
      const doomed = Date.now() - 20_000 - BASE;
      await admin.zadd(ACME, doomed, 'kgone');
      await look(redis);
      await expect.poll(() => admin.zscore(ACME, 'kgone')).toBeNull();
      expect(await admin.zscore(ACME, 'knew1')).not.toBeNull();
    } finally {
      redis.disconnect();
      admin.disconnect();
      await node.stop();
    }
  });
});

it('indexCache enters nothing for a tenant that is erased', async () => {
  const redis = await client({ index: true, fence });
  await raw.mset('tk:acme:x', '1', 'tk:acme2:x', '1');
  await fence.freeze('acme');
  await fence.markErased('acme');
  expect(await indexCache(redis)).toEqual({ keys: 1, tenants: 1 });
  expect(await raw.exists(ACME)).toBe(0);
  expect(await entries('tk!keys:tk:acme2:')).toEqual(['kx']);
});

describe('the auditor', () => {
  const codes = async (redis: Redis, known: string[] = []): Promise<string[]> => {
    const found: string[] = [];
    for await (const { code, name } of cacheAuditor(redis, { known }).audit(new AbortController().signal))
      found.push(`${code} ${name}`);
    return found.sort();
  };

  it('takes no entry for a person’s that names none', async () => {
    const redis = await client();
    await raw.zadd(ACME, 1, 's*');
    expect(await codes(redis)).toEqual([`foreign_entry ${ACME}`]);
    await raw.zrem(ACME, 's*');
    await raw.zadd(ACME, 1, 'sp1');
    expect(await codes(redis)).toEqual([]);
  });

  it('misses nothing in the registry of a client that keeps none', async () => {
    await raw.mset('tk:acme:x', '1', MARK, 'now');
    expect(await codes(opened.redis)).toEqual([]);
    expect(await codes(await client())).toEqual(['not_in_registry tk:acme:x']);
  });

  it('leaves out only what begins with what it is told', async () => {
    await raw.mset('bull:a', '1', 'xbull:a', '1');
    expect(await codes(opened.redis, ['bull:'])).toEqual(['outside_every_tenant xbull:a']);
  });
});
