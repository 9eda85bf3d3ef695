import { isVerified, withTenant } from '@tenantkit/core';
import { Cluster, cacheEraser, type ClusterOptions } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster, type RedisNode } from '@tenantkit/testing/servers';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { witnessOf, type Witnessed } from './cluster-node.ts';
import { assertGuarded } from '../src/fit.ts';
import { Storm } from './storm.ts';
import { acme, acme2, failure, shown } from './support.ts';

// A cluster as in production: three masters, each with a third of the slots.
const OWNERS = ['acme', 'acme2', 'a'] as const;
const CALLERS = 50;
const FORMS: readonly ClusterOptions[] = [{}, { enableAutoPipelining: true }, { tenant: { hashTag: true } }];

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

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster([...servers.masters], options as object);
  clients.push(cluster);
  await once(cluster, 'ready');
  return cluster;
}

describe('a cluster of three masters', () => {
  it.each(FORMS)('computes slots from physical keys, in every form of a call: %j', async (options) => {
    const cluster = await open(options);
    const before = await redirections();
    const names = Array.from({ length: 100 }, (_, n) => `k${n}`);
    const each = <T>(call: (owner: string, name: string) => Promise<T>): Promise<T[]> =>
      Promise.all(OWNERS.flatMap((owner) => names.map((name) => withTenant(owner, () => call(owner, name)))));
    await each((owner, name) => cluster.set(name, `${owner} ${name}`));
    const expected = OWNERS.flatMap((owner) => names.map((name) => `${owner} ${name}`));
    expect(await each((_, name) => cluster.get(name))).toEqual(expected);
    const piped = await each((_, name) => cluster.pipeline().get(name).exec());
    expect(piped.map((results) => results?.[0]?.[1])).toEqual(expected);
    const transacted = await each((_, name) => cluster.multi().get(name).exec());
    expect(transacted.map((results) => results?.[0]?.[1])).toEqual(expected);
    // Every key was asked for where it is, at once.
    expect(await redirections()).toBe(before);
    const stored = await Promise.all(masters.map(({ raw }) => raw.keys('*')));
    expect(stored.flat()).toHaveLength(300);
    for (const [index, keys] of stored.entries())
      for (const key of keys) expect(await holderOf(key)).toBe(masters[index]);
    if (options.tenant === undefined) for (const keys of stored) expect(keys.length).toBeGreaterThan(50);
  });

  it('counts a redirection when there is one', async () => {
    const before = await redirections();
    const holder = await holderOf('key');
    const other = masters.find((master) => master !== holder);
    expect((await failure(() => other?.raw.get('key'))).message).toMatch(/^MOVED /);
    expect(await redirections()).toBe(before + 1);
  });

  it('with hashTag keeps all keys of a tenant on one master, where commands take several', async () => {
    const cluster = await open({ tenant: { hashTag: true } });
    for (const owner of OWNERS)
      await withTenant(owner, async () => {
        await cluster.mset('a', `${owner} 1`, 'b', `${owner} 2`, 'c', `${owner} 3`);
        expect(await cluster.mget('a', 'b', 'c')).toEqual([`${owner} 1`, `${owner} 2`, `${owner} 3`]);
        expect(await cluster.rename('c', 'd')).toBe('OK');
        expect(await cluster.multi().get('a').del('b', 'd').exec()).toEqual([
          [null, `${owner} 1`],
          [null, 2],
        ]);
        expect(await cluster.pipeline().get('a').exists('b', 'c', 'd').exec()).toEqual([
          [null, `${owner} 1`],
          [null, 0],
        ]);
      });
    const stored = await Promise.all(masters.map(({ raw }) => raw.keys('*')));
    expect(stored.flat().sort()).toEqual(OWNERS.map((owner) => `tk:{${owner}}:a`).sort());
  });

  it('says what to do about names that are in several slots, and no physical name', async () => {
    const cluster = await open();
    const [here, sameMaster, elsewhere] = await names();
    for (const call of [
      () => cluster.mget(here, elsewhere),
      () => cluster.pipeline().get(here).get(elsewhere).exec(),
      () => cluster.pipeline().mget(here, sameMaster).exec(),
      () => cluster.multi().set(here, 'x').set(elsewhere, 'x').exec(),
      () => cluster.rename(here, sameMaster),
    ]) {
      const error = await acme(() => failure(call));
      expect(error.message).toMatch(/^(?:CROSSSLOT|All (?:the )?keys) .*tenant: \{ hashTag: true \}/);
      expect(error.message).toContain('{user:1}:name');
      expect(shown(error)).not.toContain('tk:');
    }
    const [[, first] = []] = (await acme(() => cluster.pipeline().get(here).get(sameMaster).exec())) ?? [];
    expect(first).toBe(null);
    const inTransaction = await acme(() =>
      failure(() => cluster.multi().set(here, 'x').set(sameMaster, 'x').exec()),
    );
    expect(inTransaction.message).toMatch(/^CROSSSLOT .*hashTag/);
    expect(shown(inTransaction)).not.toContain('tk:');
  });

  it('is scanned node by node, and each tenant meets its own keys', async () => {
    const cluster = await open();
    const all = Array.from({ length: 300 }, (_, n) => `k${n}`).sort();
    for (const owner of OWNERS)
      await withTenant(owner, () => Promise.all(all.map((name) => cluster.set(name, owner))));
    for (const owner of OWNERS)
      await withTenant(owner, async () => {
        const found = await Promise.all(
          cluster
            .nodes('master')
            .map(async (node) => (await node.scanStream({ count: 50 }).toArray()).flat() as string[]),
        );
        for (const names of found) expect(names.length).toBeGreaterThan(20);
        expect(found.flat().sort()).toEqual(all);
      });
  });

  it('is erased over all masters, while others write', async () => {
    const cluster = await open();
    const mine = Array.from({ length: 2000 }, (_, n) => `n${n}`);
    await acme(() => Promise.all(mine.map((name) => cluster.set(name, 'x'))));
    await acme2(() => Promise.all(mine.map((name) => cluster.set(name, 'of acme2'))));
    const storm = new Storm(cluster, ['acme2', 'a'], { callers: 10 });
    const eraser = cacheEraser(cluster);
    expect((await eraser.plan({ tenant: 'acme' })).items).toContainEqual({ kind: 'keys', count: 2000 });
    const outcome = await eraser.erase(
      { tenant: 'acme' },
      {
        signal: new AbortController().signal,
        checkpoint: { load: async () => undefined, save: async () => undefined },
        progress: () => undefined,
      },
    );
    expect(outcome.erased).toContainEqual({ kind: 'keys', count: 2000 });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    await storm.stop();
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
    for (const { raw } of masters) expect(await raw.keys('tk:acme:*')).toEqual([]);
    const values = await acme2(() => Promise.all(mine.map((name) => cluster.get(name))));
    expect(new Set(values)).toEqual(new Set(['of acme2']));
  });

  it('is counted and erased whole, also when a slot moves behind the walk', async () => {
    const cluster = await open();
    const eraser = cacheEraser(cluster);
    const [first, last] = [cluster.nodes('master').at(0), cluster.nodes('master').at(-1)];
    const nodeOf = (node: typeof first): RedisNode | undefined =>
      servers.masters.find(({ port }) => port === node?.options.port);
    const target = nodeOf(first);
    const source = nodeOf(last);
    if (last === undefined || target === undefined) throw new TypeError('there are three');
    let name = '';
    for (let n = 0; name === ''; n += 1)
      if ((await holderOf(`tk:acme:n${n}`))?.node === source) name = `n${n}`;
    await acme(() => cluster.set(name, 'x'));
    const wiring = assertGuarded(last);
    const ask = wiring.ask.bind(wiring);
    let moves = 0;
    // The walk is over with the first master, and asks the last one.
    wiring.ask = async (command, args) => {
      if (command === 'scan') moves += 1;
      if (command === 'scan' && moves === 1) await servers.move(await slotOf(`tk:acme:${name}`), target);
      return ask(command, args);
    };
    expect((await eraser.plan({ tenant: 'acme' })).items).toContainEqual({ kind: 'keys', count: 1 });
    expect(moves).toBe(2);
  });

  it.each([{}, { tenant: { hashTag: true } }] as ClusterOptions[])(
    'is listed, counted and flushed whole, also when a slot moves behind the walk: %j',
    async (options) => {
      const cluster = await open(options);
      const calls: readonly [(cluster: Cluster) => Promise<unknown>, (name: string) => unknown][] = [
        [(client) => client.keys('*'), (name) => [name]],
        [(client) => client.dbsize(), () => 1],
        [(client) => client.flushdb(), () => 'OK'],
      ];
      for (const [call, expected] of calls) {
        const nodes = cluster.nodes('master');
        const [first, last] = [nodes.at(0), nodes.at(-1)];
        const nodeOf = (node: typeof first): RedisNode | undefined =>
          servers.masters.find(({ port }) => port === node?.options.port);
        const target = nodeOf(first);
        if (last === undefined || target === undefined) throw new TypeError('there are three');
        const prefix = options.tenant?.hashTag === true ? 'tk:{acme}:' : 'tk:acme:';
        let name = 'n';
        for (let n = 0; n < 100 && (await holderOf(prefix + name))?.node !== nodeOf(last); n += 1)
          name = `n${n}`;
        const slot = await slotOf(prefix + name);
        const source = nodeOf(last);
        if (source !== undefined && servers.ownerOf(slot) !== source) await servers.move(slot, source);
        await acme(() => cluster.set(name, 'x'));
        const send = last.sendCommand.bind(last);
        let scans = 0;
        // The walk is over with the first master, and asks the last one.
        last.sendCommand = (command, ...rest) => {
          if (command.name !== 'scan' || (scans += 1) > 1) return send(command, ...rest);
          return servers.move(slot, target).then(() => send(command, ...rest));
        };
        expect(await acme(() => call(cluster))).toEqual(expected(name));
        expect(scans).toBeGreaterThan(1);
        if (expected(name) === 'OK')
          for (const { raw } of masters) expect(await raw.keys('tk:*')).toEqual([]);
        last.sendCommand = send;
        await acme(() => cluster.del(name));
      }
    },
  );

  it('is listed and counted, but not flushed, while a slot is moving', async () => {
    const cluster = await open();
    const [from, to] = servers.masters;
    if (from === undefined || to === undefined) throw new TypeError('there are three');
    let name = '';
    for (let n = 0; name === ''; n += 1) if ((await holderOf(`tk:acme:n${n}`))?.node === from) name = `n${n}`;
    const slot = await slotOf(`tk:acme:${name}`);
    await acme(() => cluster.set(name, 'x'));
    await servers.beginMove(slot, to);
    expect(await acme(() => cluster.keys('*'))).toEqual([name]);
    expect(await acme(() => cluster.dbsize())).toBe(1);
    expect(await acme(() => failure(() => cluster.flushdb()))).toMatchObject({ code: 'OPERATION_REFUSED' });
    await servers.finishMove(slot, to);
    expect(await acme(() => cluster.flushdb())).toBe('OK');
    expect(await acme(() => cluster.dbsize())).toBe(0);
  });

  it('is not said to be erased while a slot is moving', async () => {
    const cluster = await open();
    const [from, to] = servers.masters;
    if (from === undefined || to === undefined) throw new TypeError('there are three');
    let slot = 0;
    while (servers.ownerOf(slot) !== from) slot += 1;
    await servers.beginMove(slot, to);
    const error = await failure(() => cacheEraser(cluster).verify({ tenant: 'acme' }));
    expect(error).toEqual(expect.objectContaining({ code: 'OPERATION_REFUSED' }));
    expect(error.message).toContain('Run it again when resharding has ended');
    await servers.finishMove(slot, to);
    expect(isVerified(await cacheEraser(cluster).verify({ tenant: 'acme' }))).toBe(true);
  });
});

describe('under traffic of two tenants', () => {
  it.each(FORMS)('slots move back and forth, and nothing is lost or goes astray: %j', async (options) => {
    const cluster = await open(options);
    // A slot that moves between two commands of one pipeline: ioredis sends it again only if it was redirected whole.
    // The same within a transaction ends it.
    const expected = /^(?:(?:MOVED|ASK) \d+ 127\.0\.0\.1:\d+$|EXECABORT )/;
    const storm = new Storm(cluster, ['acme', 'acme2'], { callers: CALLERS, expected });
    const before = await redirections();
    for (let move = 0; move < 15; move += 1) {
      await storm.more(100);
      const slot = await slotOf(physical(options, Math.random() < 0.5 ? 'acme' : 'acme2'));
      const others = servers.masters.filter((node) => node !== servers.ownerOf(slot));
      const to = others[Math.floor(Math.random() * others.length)];
      if (to !== undefined) await servers.move(slot, to);
    }
    await storm.more(500);
    await storm.stop();
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
    expect(await redirections()).toBeGreaterThan(before);
  });

  it.each(FORMS)('connections are killed on every master, and no reply goes astray: %j', async (options) => {
    const cluster = await open({
      ...options,
      retryDelayOnFailover: 1,
      redisOptions: { retryStrategy: () => 1 },
    } as object);
    cluster.on('error', () => undefined);
    // It is tried 16 times, a millisecond apart: on a busy machine that is less than a connection takes.
    const expected =
      /^Too many Cluster redirections\. Last error: \w*Error: (?:Connection is closed|Command aborted due to connection close)/;
    const storm = new Storm(cluster, ['acme', 'acme2'], { callers: CALLERS, expected });
    for (let killed = 0; killed < 60;) {
      await storm.more(Math.floor(Math.random() * 200));
      for (const { raw } of masters)
        killed += Number(await raw.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    }
    await storm.more(500);
    await storm.stop();
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
  });

  it('a master stands still for a while, and those of the others go on', async () => {
    const cluster = await open();
    const storm = new Storm(cluster, ['acme', 'acme2'], { callers: CALLERS });
    const [halted] = servers.masters;
    for (let time = 0; time < 3; time += 1) {
      await storm.more(500);
      await halted?.pause();
      await storm.more(100);
      await halted?.resume();
    }
    await storm.more(500);
    await storm.stop();
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
  });

  it('a master ends and comes back, and no reply goes astray', async () => {
    const cluster = await open({ redisOptions: { retryStrategy: () => 10 } } as object);
    cluster.on('error', () => undefined);
    // It comes back empty, and takes its time to answer for its slots: what it held is lost.
    const expected =
      /^(?:CLUSTERDOWN|LOADING|connect ECONNREFUSED|Failed to refresh slots cache|Too many Cluster redirections|EXECABORT)/;
    const storm = new Storm(cluster, ['acme', 'acme2'], { callers: CALLERS, expected });
    await storm.more(500);
    await servers.masters[1]?.kill();
    await storm.more(50);
    await servers.masters[1]?.restart();
    await storm.more(2000);
    await storm.stop();
    expect([storm.wrong, storm.strange]).toEqual([[], []]);
  });
});

function physical({ tenant }: ClusterOptions, owner: string): string {
  const key = `k${Math.floor(Math.random() * CALLERS)}`;
  return tenant?.hashTag === true ? `tk:{${owner}}:${key}` : `tk:${owner}:${key}`;
}

function slotOf(key: string): Promise<number> {
  const [{ raw }] = masters as [Witnessed, ...Witnessed[]];
  return raw.cluster('KEYSLOT', key);
}

async function holderOf(key: string): Promise<Witnessed | undefined> {
  const holder = servers.ownerOf(await slotOf(key));
  return masters.find(({ node }) => node === holder);
}

/** A name of acme, one of another slot of the same master, and one of another master. */
async function names(): Promise<[string, string, string]> {
  const holder = await holderOf('tk:acme:here');
  let [same, other] = ['', ''];
  for (let n = 0; same === '' || other === ''; n += 1) {
    if ((await holderOf(`tk:acme:n${n}`)) === holder) same = `n${n}`;
    else other = `n${n}`;
  }
  return ['here', same, other];
}

/** How many MOVED and ASK the masters have answered. */
async function redirections(): Promise<number> {
  const counts = masters.map(async ({ raw }) => {
    const told = (await raw.info('errorstats')).matchAll(/errorstat_(?:MOVED|ASK):count=(\d+)/g);
    return [...told].reduce((sum, [, count]) => sum + Number(count), 0);
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}
