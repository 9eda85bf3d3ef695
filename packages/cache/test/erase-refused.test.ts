import { acrossTenants } from '@tenantkit/core';
import { Cluster, Redis, cacheAuditor, cacheEraser, indexCache } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { acme, acme2, failure, openCache, operator, type Opened } from './support.ts';

const SCOPE = { tenant: 'acme2' };
const tenant = { index: true } as const;

let opened: Opened;
let servers: RedisCluster;
let clusters: Cluster[] = [];
beforeAll(async () => {
  [opened, servers] = await Promise.all([openCache(), startRedisCluster({ masters: 1, replicas: 1 })]);
});
afterAll(async () => {
  await opened[Symbol.asyncDispose]();
  await servers.stop();
});
afterEach(() => {
  for (const cluster of clusters) cluster.disconnect();
  clusters = [];
});

/** All that works on the keys of every tenant. */
function works(client: Redis | Cluster): readonly (() => Promise<unknown>)[] {
  const eraser = cacheEraser(client);
  return [
    () => eraser.plan(SCOPE),
    async () => {
      for await (const { code } of cacheAuditor(client).audit()) expect(code).toBeTypeOf('string');
    },
    () => indexCache(client),
    () => eraser.verify(SCOPE),
    () => eraser.erase(SCOPE, run()),
  ];
}

async function clusterWith(options: object): Promise<Cluster> {
  const cluster = new Cluster([...servers.masters], { tenant, ...options });
  clusters.push(cluster);
  await once(cluster, 'ready');
  return cluster;
}

describe('what works on the keys of all tenants', () => {
  it('is refused inside a tenant, and not outside or across them', async () => {
    const redis = opened.guarded({ tenant });
    await acme2(() => redis.set('x', '1'));
    for (const work of works(redis)) {
      const error = await acme(() => failure(work));
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
      expect(error.message).toContain('outside of withTenant');
    }
    expect(await acme2(() => redis.get('x'))).toBe('1');
    for (const work of works(redis)) await operator(work);
    expect(await acme2(() => redis.get('x'))).toBe(null);
    for (const work of works(redis)) await work();
    await acrossTenants({ reason: 'test', actor: 'test' }, () => cacheEraser(redis).plan(SCOPE));
  });

  it('is refused with numbers that are texts', async () => {
    const redis = opened.guarded({ tenant, stringNumbers: true });
    await acme2(() => redis.set('x', '1'));
    for (const work of works(redis))
      expect(await failure(work)).toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('stringNumbers'),
      });
    expect(await acme2(() => redis.get('x'))).toBe('1');
    for (const work of works(redis.duplicate({ stringNumbers: false }))) await work();
    expect(await acme2(() => redis.get('x'))).toBe(null);
  });

  it.each([
    ['scaleReads', { scaleReads: 'slave' }],
    ['scaleReads', { scaleReads: 'all' }],
    ['scaleReads', { scaleReads: (nodes: readonly unknown[]) => nodes[0] }],
    ['stringNumbers', { redisOptions: { stringNumbers: true } }],
  ])('is refused on a Cluster that may ask replicas, or answers texts: %s', async (option, options) => {
    const cluster = await clusterWith(options);
    const fit = await clusterWith({ scaleReads: 'master' });
    await acme2(() => fit.set('x', '1'));
    for (const work of works(cluster))
      expect(await failure(work)).toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(option),
      });
    expect(await acme2(() => fit.get('x'))).toBe('1');
    for (const work of works(fit)) await work();
    expect(await acme2(() => fit.get('x'))).toBe(null);
  });
});
