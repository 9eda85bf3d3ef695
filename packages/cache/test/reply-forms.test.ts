import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { Cluster, cacheAuditor, cacheEraser, indexCache, Redis, type RedisOptions } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { Command } from 'ioredis';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { proxyTo } from './proxy.ts';
import { failure, openCache, type Opened } from './support.ts';

let opened: Opened;
let servers: RedisCluster;
let fence: TenantRegistry;
beforeAll(async () => {
  [opened, servers] = await Promise.all([openCache(), startRedisCluster({ masters: 2 })]);
});
afterAll(async () => {
  await opened[Symbol.asyncDispose]();
  await servers.stop();
});
beforeEach(async () => {
  await opened.raw.flushdb();
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  return () => fence.close();
});

const FORMS: readonly RedisOptions[] = [
  { protocol: 2 },
  { replyMapping: 'resp3' },
  { enableAutoPipelining: true },
];

type Transformers = Record<string, ((value: never) => unknown) | undefined>;

const transformers = (
  Command as unknown as { _transformer: Readonly<Record<'argument' | 'reply', Transformers>> }
)._transformer;

/** What services make of replies, for all clients of the process. */
const TRANSFORMED: Readonly<Record<string, (reply: unknown) => unknown>> = {
  del: () => 0,
  exists: (reply) => Number(reply) > 0,
  unlink: (reply) => Number(reply) > 0,
  zrem: (reply) => Number(reply) > 0,
  zadd: (reply) => Number(reply) > 0,
  zcard: (reply) => `${String(reply)} entries`,
  zrange: (reply) => new Set(reply as unknown[]),
  zscan: () => ({}),
  zscore: () => 0,
  scan: () => ({ cursor: 0, keys: [] }),
  type: (reply) => ({ type: String(reply) }),
  pttl: (reply) => (Number(reply) < 0 ? null : reply),
  get: (reply) => ({ value: reply }),
  info: () => ({}),
  ping: () => false,
  set: () => true,
  acl: () => [],
};

describe.each(FORMS)('with %j', (options) => {
  works(options);
});

describe('with functions for replies and arguments', () => {
  const before = { argument: { ...transformers.argument }, reply: { ...transformers.reply } };
  beforeAll(() => {
    for (const [name, transform] of Object.entries(TRANSFORMED)) {
      Command.setReplyTransformer(name, transform);
      // With other arguments ioredis could not tell that a server is ready.
      if (name === 'info') continue;
      Command.setArgumentTransformer(name, (args) => ['of somebody else', ...(args as unknown[])]);
    }
    return () => {
      for (const name of Object.keys(TRANSFORMED)) {
        delete transformers.argument[name];
        delete transformers.reply[name];
      }
      Object.assign(transformers.argument, before.argument);
      Object.assign(transformers.reply, before.reply);
    };
  });
  works({});

  it('erases in a Cluster, whose nodes are asked one by one', async () => {
    const cluster = new Cluster([...servers.masters], {
      tenant: { index: true, fence, subjects: ['mail:{subject}'] },
    });
    await once(cluster, 'ready');
    try {
      for (const tenant of ['acme', 'acme2'])
        await withTenant({ tenant, subject: 'p1' }, async () => {
          for (const key of ['a', 'b', 'mail:p1']) await cluster.incr(key);
        });
      const eraser = cacheEraser(cluster);
      const person = { tenant: 'acme', subject: 'p1' };
      await withTenant('acme', () => cluster.incr('other'));
      expect((await eraser.erase(person, run())).erased).toEqual([{ kind: 'keys', count: 3 }]);
      expect(isVerified(await eraser.verify(person))).toBe(true);
      expect((await eraser.erase({ tenant: 'acme' }, run())).erased).toEqual([{ kind: 'keys', count: 1 }]);
      expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
      expect(isVerified(await eraser.verify({ tenant: 'acme2' }))).toBe(false);
      expect((await eraser.plan({ tenant: 'acme2' })).items[0]).toEqual({ kind: 'keys', count: 3 });
    } finally {
      cluster.disconnect();
    }
  });
});

it('takes nothing else for a number', async () => {
  const { port, db } = opened.raw.options;
  await using between = await proxyTo({ host: '127.0.0.1', port: Number(port) });
  const redis = new Redis({ port: between.port, db: Number(db), tenant: { subjects: ['mail:{subject}'] } });
  try {
    const scope = { tenant: 'acme', subject: 'p1' };
    await withTenant('acme', () => redis.mset('mail:p1', 'm'));
    expect((await cacheEraser(redis).plan(scope)).items).toEqual([{ kind: 'keys', count: 1 }]);
    between.answer(/\r\nexists\r\n/i, '$1\r\n0\r\n');
    for (const work of [
      () => cacheEraser(redis).plan(scope),
      () => cacheEraser(redis).erase(scope, run()),
      () => cacheEraser(redis).verify(scope),
    ])
      expect(await failure(work)).toMatchObject({ code: 'CONFIG_INVALID' });
  } finally {
    redis.disconnect();
  }
});

function works(options: RedisOptions): void {
  let redis: Redis;
  // The witness of this file goes through the same functions: it is asked for nothing but names, and by a script.
  const names = async (): Promise<string[]> =>
    ((await opened.raw.eval("return redis.call('KEYS', 'tk*')", 0)) as string[]).sort();

  beforeEach(async () => {
    redis = opened.guarded({
      ...options,
      tenant: { index: true, fence, subjects: ['mail:{subject}', 'user:{subject}:*'] },
    });
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => redis.mset('tagged', '1', 'tagged2', '2'));
    await withTenant('acme', () => redis.mset('mail:p1', 'm', 'user:p1:a', 'u', 'other', 'x'));
    await withTenant({ tenant: 'acme2', subject: 'p1' }, () => redis.mset('mail:p1', 'm', 'tagged', 'x'));
  });

  const others = ['tk!keys:tk:acme2:', 'tk!subject:p1:tk:acme2:', 'tk:acme2:mail:p1', 'tk:acme2:tagged'];

  it.each(['at work', 'frozen'])('erases a person of a tenant that is %s', async (state) => {
    if (state === 'frozen') await fence.freeze('acme');
    const scope = { tenant: 'acme', subject: 'p1' };
    const eraser = cacheEraser(redis);
    expect((await eraser.plan(scope)).items).toEqual([
      { kind: 'keys', count: 4 },
      { kind: 'entries', count: 2 },
    ]);
    const orchestrated = run();
    expect((await eraser.erase(scope, orchestrated)).erased).toEqual([{ kind: 'keys', count: 4 }]);
    expect(await names()).toEqual(['tk!keys:tk:acme:', ...others, 'tk:acme:other'].sort());
    const verified = await eraser.verify(scope);
    expect(isVerified(verified)).toBe(true);
    expect(verified.control).toMatchObject({ planted: 3, found: 3 });
    // It goes on from what it has saved.
    expect((await eraser.erase(scope, orchestrated)).erased).toEqual([{ kind: 'keys', count: 4 }]);
  });

  it.each(['walking', 'by a complete registry'])('erases a tenant, %s', async (how) => {
    if (how !== 'walking') expect(await indexCache(redis)).toEqual({ keys: 7, tenants: 2 });
    await fence.freeze('acme');
    const eraser = cacheEraser(redis);
    const orchestrated = run();
    expect((await eraser.erase({ tenant: 'acme' }, orchestrated)).erased).toEqual([
      { kind: 'keys', count: 5 },
    ]);
    expect((await names()).filter((name) => !name.startsWith('tk!indexed'))).toEqual([...others].sort());
    const verified = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(verified)).toBe(true);
    expect((await eraser.erase({ tenant: 'acme' }, orchestrated)).erased).toEqual([
      { kind: 'keys', count: 5 },
    ]);
    expect(isVerified(await eraser.verify({ tenant: 'acme2' }))).toBe(false);
  });

  it('audits', async () => {
    await indexCache(redis);
    await opened.raw.eval("redis.call('SET', 'tk:acme:past', '1')", 0);
    await opened.raw.eval("redis.call('DEL', 'tk:acme:other')", 0);
    await opened.raw.eval("redis.call('SET', 'tk!keys:tk:ac:', '1')", 0);
    const found: string[] = [];
    for await (const { code, name, message } of cacheAuditor(redis, { details: true }).audit(
      AbortSignal.timeout(60_000),
    ))
      found.push(`${code} ${String(name)} ${/\d+/.exec(message)?.[0] ?? ''}`);
    expect(found.sort()).toEqual([
      'broken_registry tk!keys:tk:ac: ',
      'entry_without_key tk!keys:tk:acme: 1',
      'not_in_registry tk:acme:past ',
      'without_expiry tk:acme2: 2',
      'without_expiry tk:acme: 5',
    ]);
  });
}
