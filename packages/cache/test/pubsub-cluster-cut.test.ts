import { Cluster, type ClusterOptions } from '@tenantkit/cache';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { JoinTries } from '../src/join-tries.ts';
import { listen, publishIn, sorted } from './pubsub-support.ts';
import { acme, acme2, failure, ready } from './support.ts';

const KINDS = ['subscribe', 'psubscribe', 'ssubscribe'] as const;
const LEAVING = { subscribe: 'unsubscribe', psubscribe: 'punsubscribe', ssubscribe: 'sunsubscribe' } as const;
const CLOSED = 'Connection is closed.';
const BUSY = 50;
const SPIN = `
  local function now() local time = redis.call('TIME') return time[1] * 1000 + time[2] / 1000 end
  local till = now() + ARGV[1]
  while now() < till do end`;
const PATIENT = { retryDelayOnFailover: 10, maxRedirections: 1_000_000 };

let servers: RedisCluster;
let admins: Raw[];
let clients: Cluster[] = [];
beforeAll(async () => {
  servers = await startRedisCluster({ masters: 3 });
  admins = servers.masters.map((node) => new Raw(node.url));
}, 60_000);
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  await admit(10_000);
});
afterAll(async () => {
  for (const admin of admins) admin.disconnect();
  await servers.stop();
});

async function open(options: ClusterOptions = {}): Promise<Cluster> {
  const nodes = servers.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const cluster = new Cluster(nodes, options as object);
  clients.push(cluster);
  // What is refused below is told there, too.
  cluster.on('error', () => undefined);
  await ready(cluster);
  await acme(() => Promise.all(Array.from({ length: 20 }, (_, n) => cluster.set(`k${n}`, 'connected'))));
  return cluster;
}

/** Cuts all connections that hear messages, and reads nothing of them for `busy` milliseconds before. */
function cut(busy = 0): Promise<unknown> {
  return Promise.all(
    admins.map((admin) =>
      admin.pipeline().eval(SPIN, 0, busy).call('CLIENT', 'KILL', 'TYPE', 'pubsub').exec(),
    ),
  );
}

/** With 1 the servers let nobody in any more, while who is there stays. */
async function admit(count: number, to = admins): Promise<void> {
  await Promise.all(to.map((admin) => admin.config('SET', 'maxclients', count)));
}

/** How often somebody was turned away. */
async function turnedAway(): Promise<number> {
  const replies = await Promise.all(admins.map((admin) => admin.info('stats')));
  return replies.reduce((sum, reply) => sum + Number(/^rejected_connections:(\d+)/m.exec(reply)?.[1]), 0);
}

async function namesOnServers(): Promise<unknown[]> {
  const questions = ['CHANNELS', 'SHARDCHANNELS', 'NUMPAT'].flatMap((question) =>
    admins.map((admin) => admin.call('PUBSUB', question)),
  );
  return (await Promise.all(questions)).flat().filter((reply) => reply !== 0);
}

describe.each(KINDS)('%s on a cluster whose connection for messages is cut', (kind) => {
  const tell = kind === 'ssubscribe' ? 'spublish' : 'publish';

  it('waits for the next one, and hears everything', async () => {
    const [cluster, other] = [await open(), await open()];
    const ear = acme(() => listen(cluster));
    await acme(() => cluster[kind]('base'));
    for (let n = 0; n < 12; n += 1) {
      const killed = cut();
      if (n % 2 === 0) await killed;
      expect(await acme(() => cluster[kind](`n${n}`))).toBe(n + 2);
      await killed;
    }
    for (let n = 0; n < 12; n += 1) {
      const heard = (): boolean => ear.heard.some((entry) => entry.at(-1) === `to n${n}`);
      while (!heard()) await acme(() => other[tell](`n${n}`, `to n${n}`));
    }
  });

  it('is left without an error, since nothing is subscribed to there', async () => {
    const cluster = await open();
    await acme(() => cluster[kind]('base', 'n0', 'n1', 'n2', 'n3', 'n4', 'n5'));
    await acme2(() => cluster[kind]('base'));
    for (let n = 0; n < 6; n += 1) {
      // On the next connection everything is heard again.
      while ((await namesOnServers()).length < (kind === 'psubscribe' ? 1 : 8 - n));
      const killed = cut(BUSY);
      expect(await acme(() => cluster[LEAVING[kind]](`n${n}`))).toBe(6 - n);
      await killed;
    }
    if (kind !== 'psubscribe')
      await expect
        .poll(async () => sorted(await namesOnServers()))
        .toEqual(sorted(['tk:acme:base', 'tk:acme2:base']));
    else await expect.poll(namesOnServers).toEqual([2]);
  });

  it('is tried until a node lets it in', async () => {
    const cluster = await open(PATIENT);
    const before = await turnedAway();
    await admit(1);
    const joined = acme(() => cluster[kind]('news'));
    while ((await turnedAway()) < before + 3);
    await admit(10_000);
    expect(await joined).toBe(1);
    expect(await acme(() => cluster[LEAVING[kind]]())).toBe(0);
  });

  it('is not tried again once nobody wants it', async () => {
    const cluster = await open(PATIENT);
    const before = await turnedAway();
    await admit(1);
    const joined = acme(() => cluster[kind]('gone'));
    while ((await turnedAway()) === before);
    // The servers are still closed to it: there is nothing to be had from them.
    expect(await acme(() => Promise.all([cluster[LEAVING[kind]]('gone'), joined]))).toEqual([0, 1]);
    await admit(10_000);
    expect(await acme(() => cluster[kind]('stays'))).toBe(1);
    expect(await namesOnServers()).toEqual([kind === 'psubscribe' ? 1 : 'tk:acme:stays']);
  });

  it('ends with the cluster', async () => {
    const cluster = await open({ ...PATIENT, retryDelayOnFailover: 2 ** 30 });
    const before = await turnedAway();
    await admit(1);
    const failed = acme(() => failure(() => cluster[kind]('news')));
    while ((await turnedAway()) === before);
    cluster.disconnect();
    expect((await failed).message).toBe(CLOSED);
    expect((await acme(() => failure(() => cluster[kind]('news')))).message).toBe(CLOSED);
  });

  it('ends with the cluster in the midst of a try, too', async () => {
    const cluster = await open(PATIENT);
    const failed = acme(() => failure(() => cluster[kind]('news')));
    cluster.disconnect();
    expect((await failed).message).toBe(CLOSED);
  });

  it('goes on when the cluster has connected again', async () => {
    const cluster = await open({ ...PATIENT, retryDelayOnFailover: 2 ** 30 });
    const before = await turnedAway();
    await admit(1);
    const joined = acme(() => cluster[kind]('news'));
    while ((await turnedAway()) === before);
    await admit(10_000);
    cluster.disconnect(true);
    expect(await joined).toBe(1);
  });

  it('waits for the cluster when that connects again in the midst of looking for nodes', async () => {
    const cluster = await open(PATIENT);
    await admit(1);
    const refresh = cluster.refreshSlotsCache.bind(cluster);
    cluster.refreshSlotsCache = (callback) => {
      cluster.refreshSlotsCache = refresh;
      refresh(async () => {
        await admit(10_000);
        cluster.disconnect(true);
        callback?.();
      });
    };
    expect(await acme(() => cluster[kind]('news'))).toBe(1);
  });

  it.each([
    [
      { maxRedirections: 3, retryDelayOnFailover: 1 },
      `Too many Cluster redirections. Last error: Error: ${CLOSED}`,
    ],
    [{ maxRedirections: 0 }, `Too many Cluster redirections. Last error: Error: ${CLOSED}`],
    [{ retryDelayOnFailover: 0 }, CLOSED],
    [{ ...PATIENT, redisOptions: { commandTimeout: 1500 } }, 'Command timed out'],
  ] satisfies [ClusterOptions, string][])('is given up as commands are with %j', async (options, message) => {
    const cluster = await open(options);
    await admit(1);
    expect((await acme(() => failure(() => cluster[kind]('news')))).message).toBe(message);
    await admit(10_000);
    // Nothing of it is left, and the next one is as any other.
    expect(await acme(() => cluster[kind]('late'))).toBe(1);
  });
});

describe('a node that lets nobody in', () => {
  it('is one of several: the others are tried', async () => {
    const other = await open();
    const several = await Promise.all(Array.from({ length: 8 }, () => open(PATIENT)));
    const ears = several.map((cluster) => acme(() => listen(cluster)));
    await admit(1, admins.slice(1));
    const replies = several.map((cluster) => acme(() => cluster.subscribe('news')));
    expect(await Promise.all(replies)).toEqual(several.map(() => 1));
    await publishIn(other, 'acme', 'news', 'hello');
    for (const ear of ears) await ear.hears('hello');
  });
});

describe('what is still being tried when the cluster has ended', () => {
  it('is not tried again', async () => {
    const cluster = await open();
    const tries = new JoinTries(cluster, async () => undefined);
    const name = Buffer.from('news');
    const failed = failure(() =>
      tries.run(
        [name],
        () => [name],
        async () => {
          const ended = once(cluster, 'end');
          cluster.disconnect();
          await ended;
          throw new Error(CLOSED);
        },
      ),
    );
    expect((await failed).message).toBe(CLOSED);
  });
});

describe('what the cluster itself has ended by connecting again', () => {
  it('is tried when that has connected', async () => {
    const cluster = await open();
    const tries = new JoinTries(cluster, async () => undefined);
    cluster.on('ready', () => tries.open());
    const name = Buffer.from('news');
    const joins: string[] = [];
    await tries.run(
      [name],
      () => [name],
      async () => {
        joins.push(cluster.status);
        if (joins.length > 1) return;
        cluster.disconnect(true);
        throw new Error(CLOSED);
      },
    );
    expect(joins).toEqual(['ready', 'ready']);
  });
});

describe('what a server refuses', () => {
  it('is told at once, and not tried again', async () => {
    const login = { username: 'mute', password: 'secret' };
    for (const admin of admins)
      await admin.call('ACL', 'SETUSER', 'mute', 'on', '>secret', '~*', '+@all', 'resetchannels');
    const cluster = await open({ redisOptions: login });
    for (const admin of admins) await admin.call('ACL', 'LOG', 'RESET');
    for (const kind of KINDS)
      expect((await acme(() => failure(() => cluster[kind]('news')))).message).toMatch(/^NOPERM/);
    // The same one once more would be counted.
    const logs = (await Promise.all(admins.map((admin) => admin.call('ACL', 'LOG')))) as unknown[][][];
    const counts = logs.flat().map((entry) => entry[entry.indexOf('count') + 1]);
    expect(counts.reduce((sum: number, count) => sum + Number(count), 0)).toBe(KINDS.length);
  });
});
