import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { Cluster, cacheEraser, indexCache, type ClusterOptions } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster, type RedisNode } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { slotOf } from '../src/registry-names.ts';
import { witnessOf, type Witnessed } from './cluster-node.ts';
import { run } from './erase-run.ts';
import { Storm } from './storm.ts';
import { acme, acme2, until } from './support.ts';

const FORMS: readonly ClusterOptions[] = [
  { tenant: { index: true } },
  { tenant: { index: true }, enableAutoPipelining: true },
  { tenant: { index: true, hashTag: true } },
  { tenant: { index: true, hashTag: true }, enableAutoPipelining: true },
];

let servers: RedisCluster;
let masters: Witnessed[];
let fence: TenantRegistry;
let clients: Cluster[] = [];
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3 });
  masters = servers.masters.map(witnessOf);
});
afterAll(async () => {
  for (const { raw } of masters) raw.disconnect();
  await servers.stop();
});
beforeEach(async () => {
  fence = await createTenantRegistry({ store: memoryTenantStore() });
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  fence.close();
  for (const { raw } of masters) await raw.flushall();
});

async function open({ tenant, ...options }: ClusterOptions): Promise<Cluster> {
  const all = { ...options, tenant: { ...tenant, fence } };
  const cluster = new Cluster([...servers.masters], all as object);
  clients.push(cluster);
  await once(cluster, 'ready');
  return cluster;
}

describe.each(FORMS)('in a cluster of three masters, with %j,', (options) => {
  const physical = (owner: string, name: string): string =>
    options.tenant?.hashTag === true ? `tk:{${owner}}:${name}` : `tk:${owner}:${name}`;

  /** What is stored of a tenant's keys, and what its registries name, both in logical names. */
  async function stored(owner: string): Promise<{ keys: string[]; entries: string[]; misplaced: string[] }> {
    const prefix = physical(owner, '');
    const keys: string[] = [];
    const entries: string[] = [];
    const misplaced: string[] = [];
    for (const { raw } of masters) {
      const own = (await raw.keys('tk:*')).filter((key) => key.startsWith(prefix));
      keys.push(...own.map((key) => key.slice(prefix.length)));
      for (const name of (await raw.keys('tk!keys*')).filter((name) => name.endsWith(`:${prefix}`))) {
        const members = await raw.zrange(name, '0', '-1');
        entries.push(...members.map((entry) => entry.slice(1)));
        // An entry belongs to the slot of its key.
        const slot = slotOf(name);
        for (const entry of members)
          if (entry.startsWith('k') && slotOf(prefix + entry.slice(1)) !== slot) misplaced.push(entry);
      }
    }
    return { keys: keys.sort(), entries: entries.sort(), misplaced };
  }

  it('enters every key in the slot where it is, in every form of a call', async () => {
    const cluster = await open(options);
    const names = Array.from({ length: 60 }, (_, n) => `n${n}`);
    const write = (owner: string): Promise<unknown> =>
      withTenant(owner, () =>
        Promise.all(
          names.flatMap((name) => [
            cluster.set(`${name}-a`, 'x'),
            cluster.call('HSET', `${name}-b`, 'f', 'v'),
            cluster.pipeline().set(`${name}-c`, 'x').get(`${name}-c`).exec(),
            cluster.multi().set(`${name}-d`, 'x').append(`${name}-d`, 'y').exec(),
          ]),
        ),
      );
    const ok = [null, 'OK'];
    const replies = names.flatMap(() => ['OK', 1, [ok, [null, 'x']], [ok, [null, 2]]]);
    expect(await Promise.all([write('acme'), write('acme2')])).toEqual([replies, replies]);
    const expected = names.flatMap((name) => ['a', 'b', 'c', 'd'].map((form) => `${name}-${form}`)).sort();
    for (const owner of ['acme', 'acme2'])
      expect(await stored(owner)).toEqual({ keys: expected, entries: expected, misplaced: [] });
  });

  it.each(['before the slot is known', 'in the midst of a move'])(
    'follows redirections: %s',
    async (when) => {
      const cluster = await open(options);
      const tag = `{${when.slice(0, 3)}}`;
      await acme(() => cluster.set(`${tag}0`, 'x'));
      const slot = slotOf(physical('acme', `${tag}0`));
      const from = servers.ownerOf(slot);
      const to = servers.masters.find((node) => node !== from) as RedisNode;
      if (when === 'in the midst of a move') await servers.beginMove(slot, to);
      else await servers.move(slot, to);
      const replies = await acme(() =>
        Promise.all([
          cluster.set(`${tag}1`, 'x'),
          cluster.pipeline().set(`${tag}2`, 'x').exec(),
          cluster.multi().set(`${tag}3`, 'x').exec(),
          withTenant({ tenant: 'acme', subject: 'p1' }, () => cluster.set(`${tag}4`, 'x')),
        ]),
      );
      expect(replies).toEqual(['OK', [[null, 'OK']], [[null, 'OK']], 'OK']);
      if (when === 'in the midst of a move') await servers.finishMove(slot, to);
      const { keys, entries } = await stored('acme');
      expect(keys).toEqual(Array.from({ length: 5 }, (_, n) => `${tag}${n}`).sort());
      expect(entries).toEqual(expect.arrayContaining(keys));
      expect(entries).toContain('p1');
    },
  );

  it('misses no key while slots move under the writes of two tenants, and erases one of them', async () => {
    const cluster = await open(options);
    await indexCache(cluster);
    const expected = /^(?:(?:MOVED|ASK) \d+ 127\.0\.0\.1:\d+$|EXECABORT )/;
    const storm = new Storm(cluster, ['acme', 'acme2'], { callers: 20, expected });
    // So many new keys for each move, however long it takes: each has a registry of its own where it is alone in a slot.
    const fresh = { running: true, count: 0, allowed: 0 };
    const writers = [acme, acme2].map((as) =>
      as(async () => {
        while (fresh.running) {
          await until(() => fresh.count < fresh.allowed || !fresh.running);
          fresh.count += 1;
          const name = `fresh${fresh.count}`;
          await cluster.set(name, 'x').catch((error: unknown) => storm.failed(error));
        }
      }),
    );
    for (let move = 0; move < 12; move += 1) {
      fresh.allowed += 50;
      await storm.more(100);
      const slot = slotOf(physical(move % 2 === 0 ? 'acme' : 'acme2', `k${move}`));
      const others = servers.masters.filter((node) => node !== servers.ownerOf(slot));
      const target = others[move % others.length];
      if (target === undefined) throw new Error('there is one master only');
      await servers.move(slot, target);
    }
    await storm.more(200);
    await until(() => fresh.count >= fresh.allowed);
    await storm.stop();
    fresh.running = false;
    await Promise.all(writers);
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
    for (const owner of ['acme', 'acme2']) {
      const { keys, entries, misplaced } = await stored(owner);
      expect(keys.length).toBeGreaterThan(20);
      expect(new Set(entries)).toEqual(new Set([...keys, ...entries]));
      expect(misplaced).toEqual([]);
    }
    const others = await stored('acme2');
    await fence.freeze('acme');
    const eraser = cacheEraser(cluster);
    const count = (await stored('acme')).keys.length;
    const scans = await commands('scan');
    expect((await eraser.erase({ tenant: 'acme' }, run())).erased).toEqual([{ kind: 'keys', count }]);
    // Its registries alone tell where its keys are.
    expect(await commands('scan')).toBe(scans);
    expect(await stored('acme')).toEqual({ keys: [], entries: [], misplaced: [] });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(await stored('acme2')).toEqual(others);
    expect(await acme2(() => cluster.set('after', 'x'))).toBe('OK');
  });

  it('erases a tenant whose registry somebody has filled with keys of other slots', async () => {
    const cluster = await open(options);
    for (let index = 0; index < 20; index += 1) await acme(() => cluster.set(`k${index}`, 'x'));
    await acme2(() => cluster.set('k1', 'of acme2'));
    for (const { raw } of masters) {
      const name = (await raw.keys('tk!keys*')).find((one) => one.endsWith(`:${physical('acme', '')}`));
      if (name !== undefined) await raw.zadd(name, 1, 'kk1', 1, 'kk2', 1, 'kk3', 1, 'kk4');
    }
    await fence.freeze('acme');
    const eraser = cacheEraser(cluster);
    expect((await eraser.erase({ tenant: 'acme' }, run())).erased).toEqual([{ kind: 'keys', count: 20 }]);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(await acme2(() => cluster.get('k1'))).toBe('of acme2');
  });

  it('erases a person over all masters, and nothing of the same person elsewhere', async () => {
    const cluster = await open(options);
    const names = Array.from({ length: 50 }, (_, n) => `n${n}`);
    for (const tenant of ['acme', 'acme2'])
      for (const subject of ['p1', 'p10'])
        await withTenant({ tenant, subject }, () =>
          Promise.all(names.map((name) => cluster.set(`${subject}-${name}`, 'x'))),
        );
    const eraser = cacheEraser(cluster);
    const scope = { tenant: 'acme', subject: 'p1' };
    expect((await eraser.erase(scope, run())).erased).toEqual([{ kind: 'keys', count: 50 }]);
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    expect((await stored('acme')).keys).toEqual(names.map((name) => `p10-${name}`).sort());
    expect((await stored('acme2')).keys).toHaveLength(100);
  });
});

/** How often the masters have run a command. */
async function commands(name: string): Promise<number> {
  let sum = 0;
  for (const { raw } of masters)
    sum += Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(await raw.info('commandstats'))?.[1] ?? 0);
  return sum;
}
