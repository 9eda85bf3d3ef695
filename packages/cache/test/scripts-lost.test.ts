import { withTenant } from '@tenantkit/core';
import { Cluster, Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import type { ChainableCommander } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNode, type ClusterNode } from './cluster-node.ts';
import { acme, acme2, failure, operator, ready } from './support.ts';

const add = {
  lua: 'return redis.call("INCRBY", KEYS[1], ARGV[1])',
  numberOfKeys: 1,
  tenant: 'keys-only',
} as const;
const read = {
  lua: 'return redis.call("GET", KEYS[1])',
  numberOfKeys: 1,
  readOnly: true,
  tenant: 'keys-only',
} as const;

interface Commands {
  add(key: string, by: number): Promise<number>;
  read(key: string): Promise<string | null>;
}

// A server of one's own, since its scripts are flushed: those of other tests would go as well.
let node: ClusterNode;
let redis: Redis & Commands;
let cluster: Cluster & Commands;
beforeAll(async () => {
  node = await startClusterNode();
  const scripts = { add, read };
  redis = new Redis(node.port, { scripts, retryStrategy: () => 1 }) as Redis & Commands;
  cluster = new Cluster([{ host: '127.0.0.1', port: node.port }], { scripts }) as Cluster & Commands;
  await ready(redis);
});
afterAll(async () => {
  redis.disconnect();
  cluster.disconnect();
  await node[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await node.raw.flushall();
  await node.raw.script('FLUSH');
});

const chain = (client: Redis | Cluster, kind: 'pipeline' | 'multi'): Chained => client[kind]() as Chained;

type Chained = ChainableCommander & {
  add(key: string, by: number): ChainableCommander;
};

describe('a defined command whose script the server has lost', () => {
  it.each(['Redis', 'Cluster'])('%s: goes on, and nothing runs twice', async (kind) => {
    const client = kind === 'Redis' ? redis : cluster;
    await acme(async () => {
      expect(await client.add('n', 1)).toBe(1);
      await node.raw.script('FLUSH');
      expect(await Promise.all([client.add('n', 1), client.add('n', 1), client.add('n', 1)])).toEqual([
        2, 3, 4,
      ]);
      await node.raw.script('FLUSH');
      expect(await chain(client, 'pipeline').add('n', 1).get('n').exec()).toHaveLength(2);
      expect(await client.get('n')).toBe('5');
    });
    expect(await node.raw.get('tk:acme:n')).toBe('5');
  });

  it.each(['Redis', 'Cluster'])('%s: calls of several tenants go on in theirs', async (kind) => {
    const client = kind === 'Redis' ? redis : cluster;
    const round = (): Promise<number[]> =>
      Promise.all(TENANTS.map((tenant, place) => withTenant(tenant, () => client.add('n', place + 1))));
    expect(await round()).toEqual([1, 2, 3, 4, 5]);
    await node.raw.script('FLUSH');
    expect(await round()).toEqual([2, 4, 6, 8, 10]);
    expect(await Promise.all(TENANTS.map((tenant) => node.raw.get(`tk:${tenant}:n`)))).toEqual([
      '2',
      '4',
      '6',
      '8',
      '10',
    ]);
  });

  it.each(['Redis', 'Cluster'])('%s: is whole in a transaction, which cannot be done again', async (kind) => {
    const client = kind === 'Redis' ? redis : cluster;
    await acme(async () => {
      await client.add('n', 1);
      await node.raw.script('FLUSH');
      expect(await chain(client, 'multi').add('n', 1).incr('n').exec()).toEqual([
        [null, 2],
        [null, 3],
      ]);
      expect(await client.add('n', 1)).toBe(4);
    });
  });

  it('sends the text once on a connection, and then its SHA-1', async () => {
    await acme(async () => {
      const own = redis.duplicate() as Redis & Commands;
      await ready(own);
      const sizes: number[] = [];
      for (let call = 0; call < 3; call += 1) {
        const written = own.stream.bytesWritten;
        await own.add('n', 1);
        sizes.push(own.stream.bytesWritten - written);
      }
      own.disconnect();
      // EVALSHA has three letters more, and 40 digits in place of the text.
      const [whole = 0, ...later] = sizes;
      const bySha1 = whole - add.lua.length + 40 + 3;
      expect(later).toEqual([bySha1, bySha1]);
    });
  });

  it('is sent with its text on a new connection', async () => {
    await acme(() => redis.add('n', 1));
    await node.raw.script('FLUSH');
    const id = await operator(() => redis.call('CLIENT', 'ID'));
    await node.raw.client('KILL', 'ID', Number(id));
    expect(await Promise.all([acme(() => redis.add('n', 1)), acme2(() => redis.add('n', 1))])).toEqual([
      2, 1,
    ]);
  });

  it('answers NOSCRIPT to whoever calls EVALSHA of another text', async () => {
    const own = new Redis(node.port, {
      tenant: { scripts: [{ sha1: 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db' }] },
    });
    const error = await acme(() => failure(() => own.evalsha('e0e1f9fabfc9d4800c877a703b823ac0578ff8db', 0)));
    expect(error.message).toMatch(/^NOSCRIPT/);
    own.disconnect();
  });
});

describe('in a cluster', () => {
  it('a defined command goes to the slot of the tenant’s key, with and without autopipelining', async () => {
    const batched = new Cluster([{ host: '127.0.0.1', port: node.port }], {
      enableAutoPipelining: true,
      scripts: { add, read },
    }) as Cluster & Commands;
    for (const client of [cluster, batched]) {
      await node.raw.flushall();
      const calls = TENANTS.flatMap((tenant) =>
        ['n', '{m}', 'tk:acme:n'].map((key) => withTenant(tenant, () => client.add(key, 1))),
      );
      expect(await Promise.all(calls)).toEqual(calls.map(() => 1));
      expect(await acme(() => client.read('{m}'))).toBe('1');
      expect((await node.raw.keys('*')).sort()).toEqual(
        TENANTS.flatMap((tenant) => ['n', '{m}', 'tk:acme:n'].map((key) => `tk:${tenant}:${key}`)).sort(),
      );
    }
    batched.disconnect();
  });

  it('the list holds on the nodes that it hands out', async () => {
    const [first] = cluster.nodes();
    expect(await acme(() => failure(() => first?.eval(add.lua, 1, 'n')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => failure(() => cluster.eval(`${add.lua} `, 1, 'n')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => cluster.eval(add.lua, 1, 'n', 1))).toBe(1);
    expect(await acme(() => failure(() => cluster.defineCommand('get', add)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(() => cluster.defineCommand('get', add)).toThrow(/refused/);
    expect(() => new Cluster([{ port: 1 }], { redisOptions: { scripts: { add } } })).toThrow(/redisOptions/);
  });
});
