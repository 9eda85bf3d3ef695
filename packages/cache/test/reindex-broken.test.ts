import { createTenantRegistry, isVerified, memoryTenantStore, type TenantRegistry } from '@tenantkit/core';
import { Cluster, cacheEraser, indexCache, type Redis } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNode } from './cluster-node.ts';
import { run } from './erase-run.ts';
import { openPlaces } from './place-support.ts';
import { acme, acme2, failure, openCache, type Opened } from './support.ts';

const MARK = 'tk!indexed:tk:{tenant}:';
const BROKEN = 'tk!keys:tk:acme:';

describe('indexCache, where something else stands in the place of a registry', () => {
  let opened: Opened;
  let redis: Redis;
  let fence: TenantRegistry;
  beforeAll(async () => {
    opened = await openCache();
  });
  afterAll(() => opened[Symbol.asyncDispose]());
  beforeEach(async () => {
    await opened.raw.flushdb();
    fence = await createTenantRegistry({ store: memoryTenantStore() });
    redis = opened.guarded({ tenant: { index: true, fence } });
    await acme2(() => opened.redis.set('past', '1'));
    await acme(() => opened.redis.set('past', '1'));
    return () => fence.close();
  });

  const left = async (): Promise<string[]> => (await opened.raw.keys('*')).sort();

  it.each(['set', 'hset'])('goes on, names it, and marks nothing (%s)', async (command) => {
    await indexCache(redis);
    expect(await opened.raw.exists(MARK)).toBe(1);
    await opened.raw.unlink(BROKEN, 'tk!keys:tk:acme2:');
    await opened.raw.call(command, BROKEN, ...(command === 'set' ? ['1'] : ['field', '1']));
    const error = await failure(() => indexCache(redis));
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', operation: 'indexCache' });
    expect(error.message).toContain(`no sorted set: ${BROKEN}. `);
    expect(await opened.raw.zrange('tk!keys:tk:acme2:', 0, '-1')).toEqual(['kpast']);
    expect(await opened.raw.exists(MARK)).toBe(0);
    await opened.raw.unlink(BROKEN);
    // Nothing is believed that was said before.
    await fence.freeze('acme');
    const { erased } = await cacheEraser(redis).erase({ tenant: 'acme' }, run());
    expect(erased).toEqual([{ kind: 'keys', count: 1 }]);
    expect(isVerified(await cacheEraser(redis).verify({ tenant: 'acme' }))).toBe(true);
    expect(await indexCache(redis)).toEqual({ keys: 1, tenants: 1 });
    expect(await left()).toEqual([MARK, 'tk!keys:tk:acme2:', 'tk:acme2:past']);
  });

  it('names three of many', async () => {
    for (const id of ['a', 'b', 'c', 'd', 'e'])
      await opened.raw.mset(`tk:${id}:key`, '1', `tk!keys:tk:${id}:`, '1');
    const { message } = await failure(() => indexCache(redis));
    expect(message.match(/tk!keys:tk:[a-e]:/g)).toHaveLength(3);
    expect(message).toContain(', and 2 more');
  });

  it('tells of anything else that the server says', async () => {
    const name = 'may-not-enter';
    await opened.raw.call('ACL', 'SETUSER', name, 'on', 'nopass', '~*', '&*', '+@all', '-zadd');
    const user = opened.guarded({ username: name, password: 'x', tenant: { index: true } });
    expect((await failure(() => indexCache(user))).message).toMatch(/^NOPERM/);
    await opened.raw.call('ACL', 'DELUSER', name);
  });
});

it('indexCache looks at every place, and marks those that are complete', async () => {
  await using places = await openPlaces();
  await places.fill();
  const redis = places.open({}, { index: true });
  await places.raw.pool.set('tk!keys:tk:a:', '1');
  await places.raw.pool.set('tk:a:key', '1');
  await places.raw.acme2.set('tk:acme2:past', '1');
  const error = await failure(() => indexCache(redis, { tenants: ['acme2'] }));
  expect(error.message).toContain('no sorted set: tk!keys:tk:a:. ');
  expect(await places.raw.acme2.zscore('tk!keys:tk:acme2:', 'kpast')).not.toBeNull();
  expect(await places.raw.acme2.exists(MARK)).toBe(1);
  expect(await places.raw.pool.exists(MARK)).toBe(0);
});

it('indexCache names a registry of one slot of a Cluster', async () => {
  await using server = await startClusterNode();
  const past = new Cluster([server.port]);
  const cluster = new Cluster([server.port], { tenant: { index: true } });
  try {
    await Promise.all([once(past, 'ready'), once(cluster, 'ready')]);
    for (const key of ['one', 'two', 'three']) await acme(() => past.set(key, '1'));
    expect(await indexCache(cluster)).toEqual({ keys: 3, tenants: 1 });
    const [broken = '', other = ''] = await server.raw.keys('tk!keys*');
    await server.raw.unlink(other);
    await server.raw.set(broken, '1');
    const error = await failure(() => indexCache(cluster));
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(error.message).toContain(broken);
    expect(await server.raw.zcard(other)).toBe(1);
    expect(await server.raw.exists(MARK)).toBe(0);
  } finally {
    past.disconnect();
    cluster.disconnect();
  }
});
