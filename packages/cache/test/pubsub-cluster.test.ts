import { withTenant } from '@tenantkit/core';
import { Cluster, type ClusterOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { listen, publishIn, sorted, type Ear } from './pubsub-support.ts';
import { acme, acme2, failure, operator, until } from './support.ts';

const NAME = 'service';

let servers: RedisCluster;
let admins: Raw[];
let clients: Cluster[] = [];
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3, settings: { 'notify-keyspace-events': 'KEA' } });
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
  const cluster = new Cluster(
    servers.masters.map(({ port }) => ({ host: '127.0.0.1', port })),
    { redisOptions: { connectionName: NAME }, ...options } as ClusterOptions & {
      redisOptions?: { replyMapping?: 'legacy' };
    },
  );
  clients.push(cluster);
  return cluster;
}

/** Whether each server has its links to all others: what is published goes by them, and is lost without. */
async function linked(): Promise<boolean> {
  const lists = await Promise.all(admins.map((admin) => admin.cluster('NODES')));
  return lists.every((list) => !String(list).includes(' disconnected'));
}

const FORMS: readonly ClusterOptions[] = [
  {},
  { redisOptions: { connectionName: NAME, protocol: 2 } },
  { tenant: { hashTag: true }, shardedSubscribers: true },
  { lazyConnect: true, enableAutoPipelining: true },
];

describe.each(FORMS)('publish and subscribe on a cluster with %j', (options) => {
  const channels = Array.from({ length: 12 }, (_, index) => `c${index}`);

  it('gives every tenant its own messages, by the names it knows', async () => {
    await expect.poll(linked, { timeout: 60_000 }).toBe(true);
    const [cluster, other] = [open(options), open(options)];
    const ears = new Map(
      TENANTS.map((tenant): [string, Ear] => [tenant, withTenant(tenant, () => listen(cluster))]),
    );
    for (const tenant of TENANTS)
      await withTenant(tenant, async () => {
        expect(await cluster.subscribe(...channels)).toBe(12);
        expect(await cluster.psubscribe('c1?', '*')).toBe(14);
        // In many slots, so on all masters.
        expect(await cluster.ssubscribe(...channels)).toBe(12);
      });
    for (const tenant of TENANTS)
      for (const channel of channels) {
        await publishIn(other, tenant, channel, `${channel} of ${tenant}`);
        expect(await withTenant(tenant, () => other.spublish(channel, `shard ${channel} of ${tenant}`))).toBe(
          1,
        );
      }
    for (const [tenant, ear] of ears) {
      const expected = channels.flatMap((channel) => [
        ['message', tenant, channel, `${channel} of ${tenant}`],
        ...['*', ...(channel.length === 3 ? ['c1?'] : [])].map((pattern) => [
          'pmessage',
          tenant,
          pattern,
          channel,
          `${channel} of ${tenant}`,
        ]),
        ['smessage', tenant, channel, `shard ${channel} of ${tenant}`],
      ]);
      await expect.poll(() => sorted(ear.heard), { timeout: 60_000 }).toEqual(sorted(expected));
    }
    expect(await acme(() => cluster.unsubscribe())).toBe(2);
    expect(await acme(() => cluster.sunsubscribe('c0', 'c1', 'none'))).toBe(10);
    expect(await acme(() => cluster.sunsubscribe())).toBe(0);
    expect(await acme2(() => cluster.unsubscribe('none'))).toBe(14);
    expect(await acme2(() => other.spublish('c0', 'still'))).toBe(1);
    expect(await acme(() => other.spublish('c0', 'gone'))).toBe(0);
    await ears.get('acme2')?.hears('still');
    const ended = once(cluster, 'end');
    cluster.disconnect();
    await ended;
    await expect.poll(() => acme2(() => other.spublish('c0', 'gone')), { timeout: 60_000 }).toBe(0);
    expect(await acme(() => failure(() => cluster.subscribe('news')))).toMatchObject({
      message: 'Connection is closed.',
    });
  });

  it('subscribes anew when its connections are cut', async () => {
    const [cluster, other] = [open(options), open(options)];
    const ear = acme(() => listen(cluster));
    await acme(() => cluster.subscribe('news'));
    await acme(() => cluster.psubscribe('p*'));
    await acme(() => cluster.ssubscribe(...channels));
    await acme(() => cluster.unsubscribe('left'));
    const lost = new Set<string>();
    acme(() => cluster.on('resubscribed', (own: readonly string[]) => own.forEach((name) => lost.add(name))));
    let killed = 0;
    for (const admin of admins)
      for (const id of await idsOn(admin)) killed += Number(await admin.client('KILL', 'ID', id));
    expect(killed).toBeGreaterThanOrEqual(2);
    for (const channel of channels)
      while ((await acme(() => other.spublish(channel, `${channel} again`))) === 0);
    let probes = 0;
    const heard = (event: string): boolean => ear.heard.some((entry) => entry[0] === event);
    while (!heard('message') || !heard('pmessage')) {
      probes += 1;
      await publishIn(other, 'acme', 'news', `news ${probes}`);
      await publishIn(other, 'acme', 'pp', `pp ${probes}`);
    }
    for (const channel of channels) await ear.hears(`${channel} again`);
    await until(() => lost.size === channels.length + 2);
    expect([...lost].toSorted()).toEqual(['news', 'p*', ...channels].toSorted());
  });
});

describe('a connection that only hears channels', () => {
  it('is made anew on some node when it is cut', async () => {
    const [cluster, other] = [open(), open()];
    const ear = acme(() => listen(cluster));
    await acme(() => cluster.subscribe('news'));
    let killed = 0;
    for (const admin of admins)
      for (const id of await idsOn(admin)) killed += Number(await admin.client('KILL', 'ID', id));
    expect(killed).toBe(1);
    for (let n = 0; ear.heard.length === 0; n += 1) await publishIn(other, 'acme', 'news', `news ${n}`);
    expect(ear.heard[0]?.slice(0, 3)).toEqual(['message', 'acme', 'news']);
  });

  it('is not made anew once the cluster has ended, in the midst of looking for a node too', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): unknown => unhandled.push(error);
    process.on('unhandledRejection', note);
    onTestFinished(() => void process.off('unhandledRejection', note));
    const cluster = open();
    await acme(() => cluster.subscribe('news'));
    const refresh = cluster.refreshSlotsCache.bind(cluster);
    const ended = new Promise<unknown>((resolve) => {
      cluster.refreshSlotsCache = (callback) => {
        resolve(once(cluster, 'end'));
        cluster.disconnect();
        refresh(callback);
      };
    });
    for (const admin of admins) for (const id of await idsOn(admin)) await admin.client('KILL', 'ID', id);
    await ended;
    for (const admin of admins) while ((await idsOn(admin)).length > 0);
    expect(unhandled).toEqual([]);
  });
});

describe('sharded channels', () => {
  it('follow their slot to another master, and those of others stay', async () => {
    const [cluster, other] = [open(), open()];
    const [mine, others] = [acme(() => listen(cluster)), acme2(() => listen(cluster))];
    const tag = '{moving}';
    const slot = (await admins[0]?.cluster('KEYSLOT', tag)) ?? 0;
    await acme(() => cluster.ssubscribe(`${tag}a`, 'stays'));
    await acme2(() => cluster.ssubscribe(`${tag}a`));
    // It learns of the move when it is sent on.
    const late = open();
    await acme(() => late.subscribe('news'));
    const from = servers.ownerOf(slot);
    const to = servers.masters.find((node) => node !== from);
    if (to === undefined) throw new TypeError('one master only');
    await servers.move(slot, to);
    expect(await acme(() => late.ssubscribe(`${tag}c`))).toBe(1);
    expect(await acme(() => other.spublish(`${tag}c`, 'sent on'))).toBe(1);
    while ((await acme(() => other.spublish(`${tag}a`, 'moved'))) === 0);
    while ((await acme2(() => other.spublish(`${tag}a`, 'moved too'))) === 0);
    await acme(() => other.spublish('stays', 'end'));
    await Promise.all([mine.hears('moved'), others.hears('moved too'), mine.hears('end')]);
    expect(new Set(mine.heard.map((entry) => entry.at(-1)))).toEqual(new Set(['moved', 'end']));
    expect(await acme(() => cluster.sunsubscribe(`${tag}a`))).toBe(1);
    expect(await acme(() => other.spublish(`${tag}a`, 'gone'))).toBe(0);
    expect(await acme2(() => other.spublish(`${tag}a`, 'end'))).toBe(1);
    await others.hears('end');
    // The move is known to the clients that subscribe from now on.
    expect(await acme(() => cluster.ssubscribe(`${tag}b`))).toBe(2);
    expect(await acme(() => other.spublish(`${tag}b`, 'late'))).toBe(1);
    await mine.hears('late');
  });
});

describe('what a cluster hands out', () => {
  it('holds no client without a guard that hears messages', async () => {
    for (const options of [{}, { shardedSubscribers: true }]) {
      const cluster = open(options);
      await acme(() => cluster.subscribe('news'));
      await acme(() => cluster.ssubscribe('shard'));
      const subscriber = Reflect.get(cluster, 'subscriber') as { getInstance(): unknown };
      expect(subscriber.getInstance()).toBeNull();
      expect(Reflect.set(cluster, 'subscriber', {})).toBe(false);
      expect(Reflect.get(cluster, 'shardedSubscribers')).toBeUndefined();
    }
  });

  it('notifies of keys on its nodes, each of its own', async () => {
    const cluster = open();
    for (const call of [
      () => cluster.psubscribe('__keyspace@0__:*'),
      () => cluster.subscribe('__keyevent@0__:set'),
      () => cluster.psubscribe('__key*__:*'),
    ])
      expect(await acme(() => failure(call))).toMatchObject({
        code: 'OPERATION_REFUSED',
        instead: expect.stringContaining("cluster.nodes('master')") as string,
      });
    await acme(() => cluster.set('x', 'ready'));
    const nodes = cluster.nodes('master');
    const ears = nodes.map((node) => acme(() => listen(node)));
    for (const node of nodes) await acme(() => node.psubscribe('__keyevent@0__:set'));
    for (let n = 0; n < 20; n += 1) {
      await acme2(() => cluster.set(`k${n}`, 'secret'));
      await acme(() => cluster.set(`k${n}`, 'x'));
    }
    const all = (): unknown[] => ears.flatMap(({ heard }) => heard.map((entry) => entry.at(-1)));
    await until(() => all().length === 20);
    expect(sorted(all())).toEqual(sorted(Array.from({ length: 20 }, (_, n) => `k${n}`)));
    expect(ears.filter(({ heard }) => heard.length > 0).length).toBeGreaterThan(1);
  });

  it('inside acrossTenants speaks raw names', async () => {
    const cluster = open();
    const ear = operator(() => listen(cluster));
    await operator(() => cluster.psubscribe('tk:*:raw'));
    await publishIn(cluster, 'acme', 'raw', 'hello');
    await ear.hears('hello');
    expect(ear.heard).toEqual([['pmessage', undefined, 'tk:*:raw', 'tk:acme:raw', 'hello']]);
  });
});

// The last, since the cluster needs a while to be whole again.
describe('a master that is gone for a while', () => {
  it('is heard again, and the others meanwhile', async () => {
    const [cluster, other] = [open(), open()];
    const ear = acme(() => listen(cluster));
    const channels = Array.from({ length: 12 }, (_, index) => `c${index}`);
    await acme(() => cluster.subscribe('news'));
    await acme(() => cluster.ssubscribe(...channels));
    const [first] = servers.masters;
    await first?.kill();
    await first?.restart();
    for (const channel of ['news', ...channels]) {
      const tell = channel === 'news' ? 'publish' : 'spublish';
      const told = (): boolean => ear.heard.some((entry) => entry.at(-1) === `${channel} again`);
      // Until the cluster is whole again, publishing fails.
      while (!told()) await acme(() => other[tell](channel, `${channel} again`)).catch(() => undefined);
    }
    expect(new Set(ear.heard.map(([event]) => event))).toEqual(new Set(['message', 'smessage']));
  });
});

async function idsOn(admin: Raw): Promise<string[]> {
  const lines = String(await admin.client('LIST')).split('\n');
  return lines.flatMap((line) =>
    line.includes(` name=${NAME}:subscriber `) ? (/^id=(\d+)/.exec(line)?.[1] ?? []) : [],
  );
}
