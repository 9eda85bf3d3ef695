import {
  auditChannels,
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  type AuditEvent,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  Cluster,
  cacheAuditor,
  cacheEraser,
  indexCache,
  type CacheOptions,
  type Redis,
} from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { witnessOf, type Witnessed } from './cluster-node.ts';
import { run } from './erase-run.ts';
import { acme, acme2, failure, openCache, type Opened } from './support.ts';

const MARK = 'tk!indexed:tk:{tenant}:';
const scope = { tenant: 'acme' };

let fence: TenantRegistry;
beforeEach(async () => {
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  return () => fence.close();
});

/** Erases, and how many keys the recount finds. */
async function erased(client: Redis | Cluster, tenant = 'acme'): Promise<number | undefined> {
  await cacheEraser(client).erase({ tenant }, run());
  const { remaining } = await cacheEraser(client).verify({ tenant });
  return remaining.find(({ kind }) => kind === 'keys')?.count;
}

describe('a recount that finds what a complete registry did not lead to', () => {
  let opened: Opened;
  let redis: Redis;
  beforeAll(async () => {
    opened = await openCache();
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  beforeEach(async () => {
    await opened.raw.flushdb();
    redis = opened.guarded({ tenant: { index: true, fence } });
    await indexCache(redis);
    await acme(() => redis.set('entered', '1'));
    await acme2(() => redis.set('entered', '1'));
  });

  const past = async (name = 'tk:acme:past'): Promise<void> => void (await opened.raw.set(name, '1'));

  it.each(['the same client', 'another process'])('makes the next erasure by %s walk', async (who) => {
    await past();
    await fence.freeze('acme');
    expect(await erased(redis)).toBe(1);
    const other = who === 'the same client' ? redis : opened.guarded({ tenant: { index: true, fence } });
    expect(await erased(other)).toBe(0);
    expect(isVerified(await cacheEraser(other).verify(scope))).toBe(true);
    expect((await opened.raw.keys('*')).sort()).toEqual(['tk!keys:tk:acme2:', 'tk:acme2:entered']);
  });

  it('is told, and over when indexCache has run again', async () => {
    const events: AuditEvent[] = [];
    const listen = (event: AuditEvent): void => void events.push(event);
    auditChannels.erasure.subscribe(listen as never);
    onTestFinished(() => {
      auditChannels.erasure.unsubscribe(listen as never);
    });
    await past();
    await fence.freeze('acme');
    await erased(redis);
    expect(await opened.raw.exists(MARK)).toBe(0);
    const told = events.filter(({ data }) => data.api.operation === 'verify');
    expect(told.map(({ data }) => data.message)).toEqual([expect.stringContaining('indexCache')]);
    await erased(redis);
    await indexCache(redis);
    expect(await opened.raw.exists(MARK)).toBe(1);
    expect(await erased(redis)).toBe(0);
    expect(await opened.raw.exists(MARK)).toBe(1);
  });

  it('is none while all that is there was entered', async () => {
    await acme(() => redis.mset(Object.fromEntries(Array.from({ length: 2500 }, (_, n) => [`k${n}`, '1']))));
    expect(isVerified(await cacheEraser(redis).verify(scope))).toBe(false);
    await past('tk:acme2:past');
    await fence.freeze('acme');
    // What is wrong with another tenant is not found on the way.
    expect(await erased(redis)).toBe(0);
    expect(await opened.raw.exists(MARK)).toBe(1);
  });

  it('is remembered where the mark may not be removed, until registries are completed anew', async () => {
    const { raw } = opened;
    const username = `disproved-${process.pid}-${opened.redis.options.db ?? 0}`;
    await raw.acl(
      'SETUSER',
      username,
      'reset',
      'on',
      'nopass',
      '+@all',
      '~tk:*',
      '~tk!keys:*',
      '~tk!subject:*',
      '%R~tk!*',
    );
    const confined = opened.guarded({ username, password: 'any', tenant: { index: true, fence } });
    onTestFinished(async () => {
      confined.disconnect();
      await raw.acl('DELUSER', username);
    });
    await past();
    await fence.freeze('acme');
    expect(await erased(confined)).toBe(1);
    expect(await raw.exists(MARK)).toBe(1);
    expect(await erased(confined)).toBe(0);
    await past();
    const [before] = await raw.mget(MARK);
    await indexCache(redis);
    expect(await raw.get(MARK)).not.toBe(before);
    // Gone by again: nothing but what indexCache has entered is found.
    await past('tk:acme:later');
    expect(await erased(confined)).toBe(1);
    expect(await erased(confined)).toBe(0);
  });

  it('needs no second run for a tenant that is erased: what it still has came past the registry', async () => {
    await fence.markErased('acme');
    await past();
    expect(await erased(redis)).toBe(0);
    expect(await opened.raw.exists(MARK)).toBe(1);
  });

  it('says so when the server cannot be asked', async () => {
    await past();
    await fence.freeze('acme');
    await cacheEraser(redis).erase(scope, run());
    redis.disconnect();
    expect(await failure(() => cacheEraser(redis, { timeout: 300 }).verify(scope))).toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
  });

  it('is mended by what the auditor advises, while the tenant is frozen', async () => {
    const missing = async (): Promise<unknown[]> => {
      const found: unknown[] = [];
      for await (const { code, name, hint } of cacheAuditor(redis).audit(AbortSignal.timeout(60_000)))
        if (code === 'not_in_registry') found.push([name, hint]);
      return found;
    };
    await past();
    await fence.freeze('acme');
    expect(await missing()).toEqual([['tk:acme:past', expect.stringContaining('indexCache')]]);
    expect(await indexCache(redis)).toEqual({ keys: 3, tenants: 2 });
    expect(await missing()).toEqual([]);
    expect(await erased(redis)).toBe(0);
  });
});

describe.each<CacheOptions>([{ index: true }, { index: true, hashTag: true }])(
  'in a cluster, with %j,',
  (options) => {
    let servers: RedisCluster;
    let masters: Witnessed[];
    beforeAll(async () => {
      servers = await startRedisCluster({ masters: 3 });
      masters = servers.masters.map(witnessOf);
    });
    afterAll(async () => {
      for (const { raw } of masters) raw.disconnect();
      await servers.stop();
    });

    it('a recount that finds keys which were not entered makes the next erasure walk', async () => {
      const cluster = new Cluster([...servers.masters], { tenant: { ...options, fence } });
      const plain = new Cluster([...servers.masters], { tenant: { hashTag: options.hashTag } });
      onTestFinished(() => [cluster, plain].forEach((client) => client.disconnect()));
      await once(cluster, 'ready');
      await indexCache(cluster);
      const names = Array.from({ length: 20 }, (_, n) => `k${n}`);
      for (const name of names) {
        await acme(() => cluster.set(name, '1'));
        await acme(() => plain.set(`past ${name}`, '1'));
        await acme2(() => cluster.set(name, '1'));
      }
      await fence.freeze('acme');
      expect(await erased(cluster)).toBe(20);
      expect(await erased(cluster)).toBe(0);
      const left = (await Promise.all(masters.map(({ raw }) => raw.keys('tk*acme*')))).flat();
      expect(left.filter((name) => !name.includes('acme2'))).toEqual([]);
      expect(left.filter((name) => name.startsWith('tk:')).length).toBe(20);
    });
  },
);
