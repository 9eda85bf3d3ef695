import { withTenant } from '@tenantkit/core';
import { Cluster, type ClusterOptions, type Redis } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { witnessOf, type Witnessed } from './cluster-node.ts';
import { acme, failure, operator } from './support.ts';

let servers: RedisCluster;
let masters: Witnessed[];
let cluster: Cluster;
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3, settings: { 'notify-keyspace-events': 'KEA' } });
  masters = servers.masters.map(witnessOf);
});
afterAll(async () => {
  for (const { raw } of masters) raw.disconnect();
  await servers.stop();
});
beforeEach(async () => {
  for (const { raw } of masters) await raw.flushall();
  const options: ClusterOptions = { tenant: { hashTag: true } };
  cluster = new Cluster([...servers.masters], options as object);
  await once(cluster, 'ready');
  return () => cluster.disconnect();
});

const DUPLICATE = /cluster\.duplicate\(\).*acrossTenants/;

describe('a connection of one’s own in a cluster, inside acrossTenants,', () => {
  it('is none that is lent: it says what works, and that works', async () => {
    const error = await failure(() => operator(() => cluster.dedicated((own) => own.blpop('jobs', 1))));
    expect(error).toMatchObject({
      code: 'OPERATION_REFUSED',
      operation: 'dedicated',
      instead: expect.stringMatching(DUPLICATE),
    });
    expect(error.message).not.toContain('outside of any tenant');
    const jobs = await operator(async () => {
      const own = cluster.duplicate();
      try {
        await cluster.rpush('jobs', 'one');
        return [await own.blpop('jobs', 1), await own.xread('BLOCK', 1, 'STREAMS', 'stream', '$')];
      } finally {
        own.disconnect();
      }
    });
    expect(jobs).toEqual([['jobs', 'one'], null]);
    expect(await acme(() => cluster.dedicated((own) => own.set('key', '1')))).toBe('OK');
    expect((await failure(() => cluster.dedicated(() => 1))).code).toBe('TENANT_MISSING');
  });

  it('is what the refusals of commands speak of, and dedicated() is not', async () => {
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      blpop: () => cluster.blpop('jobs', 1),
      xread: () => cluster.xread('BLOCK', 1, 'STREAMS', 'stream', '$'),
      wait: () => cluster.wait(1, 1),
    };
    for (const [operation, call] of Object.entries(calls)) {
      const error = await failure(() => operator(call));
      expect(error).toMatchObject({ operation, instead: expect.stringMatching(DUPLICATE) });
      expect(error.message).not.toContain('dedicated(');
    }
    const watch = await failure(() => operator(() => cluster.watch('key')));
    expect(watch).toMatchObject({ instead: expect.stringContaining("cluster.nodes('master')") });
    const held = await failure(() => operator(() => cluster.multi({ pipeline: false })));
    expect(held).toMatchObject({ instead: watch['instead' as keyof Error] });
    // Inside a tenant, with hashTag, it is lent; and nodes lend theirs.
    const inside = await failure(() => acme(() => cluster.blpop('jobs', 1)));
    expect(inside).toMatchObject({ instead: expect.stringContaining('dedicated(') });
    await Promise.all(masters.map(({ raw }) => raw.ping()));
    const [node] = cluster.nodes('master') as [Redis, ...Redis[]];
    const name = await nameOn(node);
    expect(await operator(() => node.dedicated((own) => own.watch(name)))).toBe('OK');
  });

  it('that was made outside is for nobody’s commands that wait', async () => {
    const shared = cluster.duplicate();
    try {
      const error = await failure(() => operator(() => shared.blpop('jobs', 1)));
      expect(error).toMatchObject({ instead: expect.stringMatching(DUPLICATE) });
    } finally {
      shared.disconnect();
    }
  });
});

describe('notifications of keys in a cluster, inside acrossTenants,', () => {
  it.each([
    ['subscribe', '__keyevent@0__:expired'],
    ['subscribe', '__keyspace@0__:tk:{acme}:key'],
    ['psubscribe', '__keyevent@0__:*'],
    ['psubscribe', '__key*__:*'],
  ] as const)('are refused where most would be missed: %s %s', async (method, name) => {
    expect(await failure(() => operator(() => cluster[method]('news', name)))).toMatchObject({
      code: 'OPERATION_REFUSED',
      instead: expect.stringContaining("cluster.nodes('master')"),
    });
    // Nothing of it was subscribed to.
    expect(await operator(() => cluster[method]('other'))).toBe(1);
  });

  it('come from each master, for tenants of all of them', async () => {
    expect(await operator(() => cluster.subscribe('__key', '__keyspaces', 'keyevent@0'))).toBe(3);
    expect(await operator(() => cluster.ssubscribe('__keyevent@0__:del'))).toBe(1);
    const tenants = ['acme', 'acme2', 'a', 'a-b', 'ac', 'b', 'c', 'd'];
    const heard = new Set<string>();
    const all = Promise.withResolvers<void>();
    await operator(async () => {
      for (const node of cluster.nodes('master')) {
        node.on('message', (_, key) => {
          heard.add(key);
          if (heard.size === tenants.length) all.resolve();
        });
        expect(await node.subscribe('__keyevent@0__:del')).toBe(1);
      }
    });
    for (const tenant of tenants) {
      await withTenant(tenant, () => cluster.set('key', '1'));
      await withTenant(tenant, () => cluster.del('key'));
    }
    await all.promise;
    expect([...heard].sort()).toEqual(tenants.map((tenant) => `tk:{${tenant}}:key`).sort());
  });
});

/** A name that is in a slot of this node. */
async function nameOn(node: Redis): Promise<string> {
  for (let n = 0; ; n += 1)
    if (
      await operator(() =>
        node.exists(`k${n}`).then(
          () => true,
          () => false,
        ),
      )
    )
      return `k${n}`;
}
