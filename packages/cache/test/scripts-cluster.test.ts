import { withTenant } from '@tenantkit/core';
import { Cluster, type ClusterOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import type { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startClusterNodes, type ClusterNodes } from './cluster-nodes.ts';

const scripts = {
  add: { lua: 'return redis.call("INCRBY", KEYS[1], ARGV[1])', numberOfKeys: 1, tenant: 'keys-only' },
  read: { lua: 'return redis.call("GET", KEYS[1])', numberOfKeys: 1, readOnly: true, tenant: 'keys-only' },
} as const;

interface Commands {
  add(key: string, by: number): Promise<number>;
  read(key: string): Promise<string | null>;
}

let nodes: ClusterNodes;
const clients: Cluster[] = [];
beforeAll(async () => {
  nodes = await startClusterNodes();
}, 60_000);
afterAll(() => nodes[Symbol.asyncDispose]());
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});

async function open(options: ClusterOptions = {}): Promise<Cluster & Commands> {
  const cluster = new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], {
    ...options,
    scripts,
  } as ClusterOptions & { redisOptions?: { replyMapping?: 'legacy' } });
  clients.push(cluster);
  await once(cluster, 'ready');
  return cluster as Cluster & Commands;
}

/** A key of the tenant `acme` that the first master holds at the beginning. */
async function keyOfFirst(name: string): Promise<string> {
  for (let tried = 0; ; tried += 1) {
    const key = `${name}${tried}`;
    if ((await nodes.first.raw.cluster('KEYSLOT', `tk:acme:${key}`)) < 8192) return key;
  }
}

const calls = async (raw: Raw, command: string): Promise<number> =>
  Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await raw.info('commandstats'))?.[1] ?? 0);

it('a defined command that only reads goes to the replica', async () => {
  const cluster = await open({ scaleReads: 'slave' });
  const key = await keyOfFirst('read');
  await withTenant('acme', async () => {
    expect(await cluster.add(key, 5)).toBe(5);
    await nodes.first.raw.wait(1, 5000);
    const before = await calls(nodes.replica.raw, 'eval');
    expect(await cluster.read(key)).toBe('5');
    expect(await calls(nodes.replica.raw, 'eval')).toBe(before + 1);
    const again = await calls(nodes.replica.raw, 'evalsha');
    expect(await cluster.read(key)).toBe('5');
    expect(await calls(nodes.replica.raw, 'evalsha')).toBe(again + 1);
    expect(await cluster.add(key, 1)).toBe(6);
  });
});

it.each([{}, { enableAutoPipelining: true }] as ClusterOptions[])(
  'a defined command follows its slot to a server that does not have the script: %j',
  async (options) => {
    const cluster = await open(options);
    const key = await keyOfFirst(options.enableAutoPipelining === true ? 'batched' : 'moved');
    await withTenant('acme', async () => {
      expect(await cluster.add(key, 1)).toBe(1);
      await nodes.second.raw.script('FLUSH');
      await nodes.move(await nodes.first.raw.cluster('KEYSLOT', `tk:acme:${key}`));
      expect(await cluster.add(key, 1)).toBe(2);
      expect(await cluster.add(key, 1)).toBe(3);
    });
    expect(await nodes.second.raw.get(`tk:acme:${key}`)).toBe('3');
  },
);

it('tenants with the same key are on servers of their own, and none sees another', async () => {
  const cluster = await open();
  const rounds = TENANTS.map((tenant, place) =>
    withTenant(tenant, async () => {
      for (let round = 0; round < 3; round += 1) await cluster.add('same', place + 1);
      return cluster.read('same');
    }),
  );
  expect(await Promise.all(rounds)).toEqual(['3', '6', '9', '12', '15']);
});
