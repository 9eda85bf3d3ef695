import { Cluster, type ClusterOptions } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { slotOf } from '../src/registry-names.ts';
import { listen, publishIn } from './pubsub-support.ts';
import { acme, acme2, ready } from './support.ts';

let servers: RedisCluster;
let admins: Raw[];
let clients: Cluster[] = [];
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3 });
  admins = servers.masters.map((node) => new Raw(node.url));
}, 60_000);
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});
afterAll(async () => {
  for (const admin of admins) admin.disconnect();
  await servers.stop();
});

function open(options: ClusterOptions = {}): Cluster {
  const nodes = servers.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const cluster = new Cluster(nodes, options as object);
  clients.push(cluster);
  return cluster;
}

/** What the servers say is subscribed to, by physical names. */
async function channelsOn(question: 'CHANNELS' | 'SHARDCHANNELS'): Promise<string[]> {
  const replies = await Promise.all(admins.map((admin) => admin.call('PUBSUB', question)));
  return (replies as string[][]).flat().sort();
}

const patterns = async (): Promise<number> => {
  const counts = await Promise.all(admins.map((admin) => admin.call('PUBSUB', 'NUMPAT')));
  return counts.map(Number).reduce((sum, count) => sum + count, 0);
};

describe('on a cluster, who leaves a channel right after joining it', () => {
  it.each(['ready', 'still connecting', 'made lazily'])('has left it, also one that is %s', async (when) => {
    const cluster = open({ lazyConnect: when === 'made lazily' });
    if (when === 'ready') await ready(cluster);
    await acme(async () => {
      const replies = [
        cluster.subscribe('gone', 'stays'),
        cluster.unsubscribe('gone'),
        cluster.psubscribe('gone*'),
        cluster.punsubscribe('gone*'),
        cluster.ssubscribe('sgone', 'sstays'),
        cluster.sunsubscribe('sgone'),
      ];
      expect(await Promise.all(replies)).toEqual([2, 1, 2, 1, 2, 1]);
      expect(await channelsOn('CHANNELS')).toEqual(['tk:acme:stays']);
      expect(await channelsOn('SHARDCHANNELS')).toEqual(['tk:acme:sstays']);
      expect(await patterns()).toBe(0);
      expect(await Promise.all([cluster.unsubscribe(), cluster.sunsubscribe()])).toEqual([0, 0]);
      expect(await channelsOn('CHANNELS')).toEqual([]);
      expect(await channelsOn('SHARDCHANNELS')).toEqual([]);
    });
  });

  it('hears it when it has joined once more, and another tenant all the time', async () => {
    const cluster = open();
    await ready(cluster);
    const [mine, others] = [acme(() => listen(cluster)), acme2(() => listen(cluster))];
    const replies = [
      ...acme(() => [
        cluster.subscribe('news'),
        cluster.ssubscribe('shard'),
        cluster.unsubscribe('news'),
        cluster.sunsubscribe('shard'),
      ]),
      ...acme2(() => [cluster.subscribe('news'), cluster.ssubscribe('shard')]),
      ...acme(() => [cluster.subscribe('news'), cluster.ssubscribe('shard')]),
    ];
    expect(await Promise.all(replies)).toEqual([1, 1, 0, 0, 1, 1, 1, 1]);
    for (const tenant of ['acme', 'acme2']) await publishIn(cluster, tenant, 'news', 'hello');
    expect(await acme(() => cluster.spublish('shard', 'shared'))).toBe(1);
    expect(await acme2(() => cluster.spublish('shard', 'shared'))).toBe(1);
    for (const ear of [mine, others]) {
      await ear.hears('hello');
      await ear.hears('shared');
    }
  });

  it('has left it also when its slot has moved, which the client does not know', async () => {
    const cluster = open();
    await ready(cluster);
    await acme(() => cluster.ssubscribe('sstays'));
    const slot = slotOf('tk:acme:smoved');
    const target = servers.masters.find((node) => node !== servers.ownerOf(slot));
    if (target === undefined) throw new TypeError('one master only');
    await servers.move(slot, target);
    const replies = acme(() => [cluster.ssubscribe('smoved'), cluster.sunsubscribe('smoved')]);
    expect(await Promise.all(replies)).toEqual([2, 1]);
    expect(await channelsOn('SHARDCHANNELS')).toEqual(['tk:acme:sstays']);
    expect(await acme(() => cluster.ssubscribe('smoved'))).toBe(2);
    expect(await acme(() => cluster.spublish('smoved', 'x'))).toBe(1);
    expect(await acme(() => cluster.sunsubscribe('smoved', 'sstays'))).toBe(0);
    expect(await channelsOn('SHARDCHANNELS')).toEqual([]);
  });
});
