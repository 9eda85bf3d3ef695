import { withTenant } from '@tenantkit/core';
import { Cluster, type Redis } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, failure } from './support.ts';

// A service on a cluster of three masters, as somebody writes it who has read the README and nothing else.
let servers: RedisCluster;
let cluster: Cluster;
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3 });
  cluster = new Cluster([...servers.masters], { tenant: { hashTag: true } });
}, 60_000);
afterAll(async () => {
  await cluster.quit();
  await servers.stop();
});
beforeEach(async () => {
  for (const tenant of [acme, acme2]) await tenant(() => cluster.flushdb());
});

/** Takes money from an account, unless that holds too little. `undefined`: somebody else was faster. */
async function tryToPay(own: Redis, amount: number): Promise<boolean | undefined> {
  await own.watch('ada');
  if (Number(await own.get('ada')) < amount) return false;
  const done = await own.multi().decrby('ada', amount).incrby('bob', amount).exec();
  return done === null ? undefined : true;
}

/** Begins again outside of `dedicated`, with a connection that was given back. */
async function pay(amount: number, client = cluster): Promise<boolean> {
  for (;;) {
    const paid = await client.dedicated((own) => tryToPay(own, amount));
    if (paid !== undefined) return paid;
  }
}

describe('a service of a cluster with hashTag', () => {
  it('moves money between two keys of a tenant, under WATCH, for two tenants at once', async () => {
    for (const tenant of [acme, acme2]) await tenant(() => cluster.mset('ada', 100, 'bob', 0));
    const paid = await Promise.all([
      ...Array.from({ length: 20 }, () => acme(() => pay(1))),
      acme2(() => pay(70)),
      acme2(() => pay(70)),
    ]);
    expect(paid.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => true));
    expect(paid.slice(20).filter(Boolean)).toHaveLength(1);
    expect(await acme(() => cluster.mget('ada', 'bob'))).toEqual(['80', '20']);
    expect(await acme2(() => cluster.mget('ada', 'bob'))).toEqual(['30', '70']);
  });

  it('gives an error to who begins again while holding the last connection of the tenant', async () => {
    const small = new Cluster([...servers.masters], {
      tenant: { hashTag: true, dedicated: { max: 2, perTenant: 1, wait: 300 } },
    });
    await acme(() => cluster.mset('ada', 100, 'bob', 0));
    const overtaken = async (own: Redis): Promise<boolean | undefined> => {
      await own.watch('ada');
      await cluster.incr('ada');
      return (await own.multi().decr('ada').incr('bob').exec()) === null ? undefined : true;
    };
    const held = await acme(() =>
      failure(() =>
        small.dedicated(
          async (own) => (await overtaken(own)) ?? small.dedicated((more) => tryToPay(more, 1)),
        ),
      ),
    );
    expect(held).toMatchObject({
      code: 'OPERATION_REFUSED',
      message: expect.stringMatching(/more connections/),
    });
    expect(await acme(() => small.dedicated(overtaken))).toBe(undefined);
    // Who gives the connection back first gets through with this one.
    expect(await acme(() => pay(1, small))).toBe(true);
    expect(await acme(() => cluster.mget('ada', 'bob'))).toEqual(['101', '1']);
    small.disconnect();
  });

  it('waits for work on a connection of its own', async () => {
    const [next] = await Promise.all([
      acme(() => cluster.dedicated((own) => own.blpop('jobs', 'urgent', 5))),
      acme2(() => cluster.rpush('jobs', 'of acme2')),
      acme(() => cluster.rpush('urgent', 'of acme')),
    ]);
    expect(next).toEqual(['urgent', 'of acme']);
    expect(await acme2(() => cluster.lrange('jobs', 0, -1))).toEqual(['of acme2']);
  });

  it('uses names with braces of its own, which decide nothing any more', async () => {
    await acme(async () => {
      await cluster.mset('{user:1}:name', 'Ada', '{user:2}:name', 'Bob');
      expect(await cluster.mget('{user:1}:name', '{user:2}:name')).toEqual(['Ada', 'Bob']);
      expect(await cluster.dedicated((own) => own.mget('{user:1}:name', '{user:2}:name'))).toEqual([
        'Ada',
        'Bob',
      ]);
      expect((await cluster.keys('*')).sort()).toEqual(['{user:1}:name', '{user:2}:name']);
    });
  });

  it('sees all keys of the tenant on the lent connection, though there are three masters', async () => {
    await acme(async () => {
      for (const key of ['a', 'b', 'c']) await cluster.set(key, '1');
      const seen = await cluster.dedicated(async (own) => ({
        keys: (await own.keys('*')).sort(),
        scanned: ((await own.scanStream().toArray()) as string[][]).flat().sort(),
        size: await own.dbsize(),
      }));
      expect(seen).toEqual({ keys: ['a', 'b', 'c'], scanned: ['a', 'b', 'c'], size: 3 });
    });
    expect(await acme2(() => cluster.dedicated((own) => own.dbsize()))).toBe(0);
  });

  it('does not find what was stored without hashTag, and says nothing about it', async () => {
    const before = new Cluster([...servers.masters]);
    await acme(() => before.set('old', '1'));
    expect(await acme(() => cluster.get('old'))).toBe(null);
    expect(await acme(() => before.get('old'))).toBe('1');
    await acme(() => before.flushdb());
    before.disconnect();
  });

  it('is told what is missing without hashTag, and outside of a tenant', async () => {
    const plain = new Cluster([...servers.masters]);
    const error = await acme(() => failure(() => plain.dedicated((own) => own.watch('a'))));
    expect(error.message).toContain('hashTag');
    plain.disconnect();
    expect(await failure(() => cluster.dedicated((own) => own.watch('a')))).toMatchObject({
      code: expect.stringMatching(/^(?:TENANT_MISSING|OPERATION_REFUSED)$/),
    });
    expect(await withTenant('acme', () => cluster.dedicated((own) => own.watch('a')))).toBe('OK');
  });
});
