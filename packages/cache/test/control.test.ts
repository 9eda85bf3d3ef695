import { isVerified, withTenant } from '@tenantkit/core';
import { Cluster, cacheEraser, type CacheOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { startRedisCluster, type RedisCluster, type RedisNode } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { slotOf } from '../src/registry-names.ts';
import { witnessOf, type Witnessed } from './cluster-node.ts';

let servers: RedisCluster;
let masters: Witnessed[];
let clients: Cluster[] = [];
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3 });
  masters = servers.masters.map(witnessOf);
});
afterAll(async () => {
  for (const { raw } of masters) raw.disconnect();
  await servers.stop();
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  for (const { raw } of masters) await raw.flushall();
});

/** @param hidden - a master that the client has not heard of yet, as after a failover */
async function open(tenant: CacheOptions, hidden?: RedisNode): Promise<Cluster> {
  const cluster = new Cluster([...servers.masters], { tenant });
  clients.push(cluster);
  await once(cluster, 'ready');
  const nodes = cluster.nodes.bind(cluster);
  Object.defineProperty(cluster, 'nodes', {
    value: (role?: 'master') => nodes(role).filter(({ options }) => options.port !== hidden?.port),
  });
  return cluster;
}

describe.each<CacheOptions>([
  { hashTag: true },
  {},
  { hashTag: true, index: true, subjects: ['user:*:{subject}'] },
  { index: true, subjects: ['user:*:{subject}'] },
])('the control of a recount in a Cluster, with %j', (options) => {
  const knowsPersons = options.index === true;
  const scopes = TENANTS.flatMap((tenant) =>
    knowsPersons ? [{ tenant }, { tenant, subject: 'p1' }] : [{ tenant }],
  );

  it('is where the data may be, and found', async () => {
    const cluster = await open(options);
    for (const scope of scopes) {
      const { control, ...rest } = await cacheEraser(cluster, { users: false }).verify(scope);
      expect(isVerified({ control, ...rest })).toBe(true);
      if (options.hashTag !== true) expect(control.planted).toBeGreaterThanOrEqual(32);
      for (const { raw } of masters) expect(await raw.dbsize()).toBe(0);
    }
  });

  it('is not found where a master with data is left out', async () => {
    for (const tenant of TENANTS) {
      const hidden = servers.ownerOf(slotOf(`tk:{${tenant}}:`));
      const whole = await open(options);
      await withTenant({ tenant, subject: 'p1' }, () =>
        Promise.all(['1', '2', '3', '4', '5', '6'].map((n) => whole.set(`user:${n}:p1`, '1'))),
      );
      const cluster = await open(options, hidden);
      for (const scope of scopes.filter((one) => one.tenant === tenant)) {
        const { control } = await cacheEraser(cluster, { users: false }).verify(scope);
        expect(control.found).toBeLessThan(control.planted);
      }
    }
  });
});
