import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  Cluster,
  cacheAuditor,
  cacheEraser,
  type CacheOptions,
  type CachePlacement,
  type ClusterOptions,
  type Redis,
} from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { startRedisCluster, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { KEPT } from '../src/silo.ts';
import { run } from './erase-run.ts';
import { listen } from './pubsub-support.ts';
import { acme, acme2, failure, operator, until } from './support.ts';

const LUA = 'return redis.call("GET", KEYS[1])';
const NAMES = Array.from({ length: 20 }, (_, index) => `key${index}`);

let pool: RedisCluster;
let silo: RedisCluster;
let admins: Readonly<Record<'pool' | 'silo', readonly Raw[]>>;
let fence: TenantRegistry;
let isMoved = false;
let clock = 0;
let clients: Cluster[] = [];
beforeAll(async () => {
  [pool, silo] = await Promise.all([startRedisCluster({ masters: 3 }), startRedisCluster({ masters: 3 })]);
  admins = {
    pool: pool.masters.map(({ url }) => new Raw(url)),
    silo: silo.masters.map(({ url }) => new Raw(url)),
  };
}, 90_000);
afterAll(async () => {
  for (const admin of Object.values(admins).flat()) admin.disconnect();
  await Promise.all([pool.stop(), silo.stop()]);
});
beforeEach(async () => {
  for (const admin of Object.values(admins).flat()) await admin.flushall();
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  isMoved = false;
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + clock);
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
  fence.close();
  vi.restoreAllMocks();
});

function open(options: ClusterOptions = {}, tenant: CacheOptions = {}): Cluster {
  const nodes = silo.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const place = (id: string): CachePlacement =>
    id === 'acme2' && !isMoved ? { level: 'silo', nodes } : { level: 'pool' };
  const cluster = new Cluster(
    pool.masters.map(({ port }) => ({ host: '127.0.0.1', port })),
    { ...options, tenant: { place, fence, ...tenant } } as ClusterOptions & {
      redisOptions?: { replyMapping?: 'legacy' };
    },
  );
  clients.push(cluster);
  return cluster;
}

function masterOf(cluster: Cluster): Redis {
  const [node] = cluster.nodes('master');
  if (node === undefined) throw new TypeError('the cluster has no master');
  return node;
}

async function keysIn(name: 'pool' | 'silo'): Promise<string[]> {
  return (await Promise.all(admins[name].map((admin) => admin.keys('*')))).flat().sort();
}

const OPTIONS: readonly (readonly [string, ClusterOptions, CacheOptions])[] = [
  ['a cluster', {}, {}],
  ['a cluster with hash tags', { enableAutoPipelining: true }, { hashTag: true }],
  ['a cluster with registries', { lazyConnect: true }, { index: true }],
];

describe.each(OPTIONS)('%s with places', (_, options, tenant) => {
  it('finds the servers of every tenant, in every form', async () => {
    const cluster = open(options, tenant);
    cluster.defineCommand('read', { lua: LUA, numberOfKeys: 1, tenant: 'keys-only' });
    for (const id of TENANTS)
      await withTenant(id, async () => {
        await Promise.all(NAMES.map((name) => cluster.set(name, id)));
        expect(new Set(await Promise.all(NAMES.map((name) => cluster.get(name))))).toEqual(new Set([id]));
        expect(await cluster.call('GET', 'key1')).toBe(id);
        expect(await cluster.pipeline().get('key1').exec()).toEqual([[null, id]]);
        expect(await cluster.multi().get('key1').exec()).toEqual([[null, id]]);
        expect(await (cluster as unknown as { read(key: string): Promise<unknown> }).read('key1')).toBe(id);
        expect((await cluster.keys('*')).sort()).toEqual([...NAMES].sort());
        expect(await cluster.dbsize()).toBe(NAMES.length);
        const ports = cluster.nodes('master').map(({ options: { port } }) => port);
        const own = id === 'acme2' ? silo : pool;
        expect(new Set(ports)).toEqual(new Set(own.masters.map(({ port }) => port)));
        if (tenant.hashTag === true) {
          expect(await cluster.dedicated((line) => line.get('key1'))).toBe(id);
          expect(await cluster.mget('key1', 'key2')).toEqual([id, id]);
        }
        const copy = cluster.duplicate();
        expect(await copy.get('key1')).toBe(id);
        copy.disconnect();
      });
    const isOf = (key: string): boolean => /[:{]acme2[}:]/.test(key);
    expect((await keysIn('pool')).filter(isOf)).toEqual([]);
    expect((await keysIn('silo')).filter((key) => !isOf(key))).toEqual([]);
    await acme2(() => cluster.flushdb());
    expect(await acme2(() => cluster.dbsize())).toBe(0);
    expect(await acme(() => cluster.dbsize())).toBe(NAMES.length);
    expect(await cluster.quit()).toBe('OK');
  });

  it('hears the messages of every tenant from its own servers', async () => {
    const cluster = open(options, tenant);
    const ears = { acme: acme(() => listen(cluster)), acme2: acme2(() => listen(cluster)) };
    for (const here of [acme, acme2]) {
      await here(() => cluster.subscribe('news'));
      await here(() => cluster.ssubscribe('shard'));
    }
    for (const [id, here] of [
      ['acme', acme],
      ['acme2', acme2],
    ] as const) {
      await here(() => cluster.publish('news', `news of ${id}`));
      await here(() => cluster.spublish('shard', `shard of ${id}`));
      await ears[id].hears(`news of ${id}`);
      await ears[id].hears(`shard of ${id}`);
    }
    // They come over two connections, in whatever order.
    const heard = (id: keyof typeof ears): string[] =>
      ears[id].heard.map((entry) => String(entry.at(-1))).sort();
    expect(heard('acme')).toEqual(['news of acme', 'shard of acme']);
    expect(heard('acme2')).toEqual(['news of acme2', 'shard of acme2']);
  });

  it('is erased and audited in both', async () => {
    const cluster = open(options, tenant);
    for (const id of TENANTS)
      await withTenant(id, () => Promise.all(NAMES.map((name) => cluster.set(name, id))));
    // What a move has left behind.
    isMoved = true;
    await fence.freeze('acme2');
    const other = open(options, tenant);
    await fence.unfreeze('acme2');
    await acme2(() => other.set('left', '1'));
    isMoved = false;
    const found = [];
    for await (const { code } of cacheAuditor(cluster).audit(new AbortController().signal)) found.push(code);
    expect(found).toEqual(['misplaced']);
    await fence.freeze('acme2');
    const eraser = cacheEraser(cluster);
    expect((await eraser.erase({ tenant: 'acme2' }, run())).erased).toEqual([
      { kind: 'keys', count: NAMES.length + 1 },
    ]);
    const verification = await eraser.verify({ tenant: 'acme2' });
    expect(isVerified(verification)).toBe(true);
    // One in each place at least; where slots are spread, one for all 512.
    expect(verification.control.planted).toBeGreaterThanOrEqual(2);
    expect(await acme(() => cluster.dbsize())).toBe(NAMES.length);
  });

  it('takes no object along when a tenant moves', async () => {
    const cluster = open(options, tenant);
    await acme2(() => cluster.set('key1', 'in the silo'));
    await acme(() => cluster.set('key1', 'in the pool'));
    const pipeline = acme2(() => cluster.pipeline().set('late', '1'));
    const node = acme2(() => masterOf(cluster));
    const foreign = acme(() => masterOf(cluster));
    await fence.freeze('acme2');
    isMoved = true;
    clock += KEPT;
    await fence.unfreeze('acme2');
    const refused = expect.objectContaining({
      code: 'OPERATION_REFUSED',
      why: expect.stringContaining('in another place') as string,
    });
    expect(await acme2(() => pipeline.exec())).toEqual([[refused]]);
    expect(await failure(() => acme2(() => node.set('late', '1')))).toEqual(refused);
    await acme2(() => cluster.set('new', '1'));
    expect((await keysIn('silo')).filter((key) => key.endsWith(':late') || key.endsWith(':new'))).toEqual([]);
    expect((await keysIn('pool')).filter((key) => key.endsWith(':new'))).toHaveLength(1);
    // And no node of the pool takes what is in a silo.
    await fence.freeze('acme2');
    isMoved = false;
    clock += KEPT;
    await fence.unfreeze('acme2');
    expect(await failure(() => acme2(() => foreign.set('late', '1')))).toEqual(refused);
    expect((await keysIn('pool')).filter((key) => key.endsWith(':late'))).toEqual([]);
  });
});

describe('a cluster', () => {
  it('takes neither a database nor a single server for a place', async () => {
    for (const place of [
      { level: 'bridge', db: 1 },
      { level: 'silo', url: 'redis://localhost' },
    ] as CachePlacement[]) {
      const cluster = open({}, { place: (id) => (id === 'acme2' ? place : { level: 'pool' }) });
      const errors: Error[] = [];
      cluster.on('error', (error) => errors.push(error as Error));
      expect(await failure(() => acme2(() => cluster.get('key1')))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
      expect(errors).toEqual([expect.objectContaining({ code: 'CONFIG_INVALID' })]);
      expect(errors[0]?.message).toContain(
        place.level === 'silo'
          ? 'place.nodes: must be the nodes'
          : "must be 'pool' or 'silo', and not 'bridge'",
      );
      expect(await acme(() => cluster.get('key1'))).toBeNull();
    }
  });

  it('works across tenants in the pool, and in one silo by its own client', async () => {
    const cluster = open();
    await acme2(() => cluster.set('key1', '1'));
    const own = cluster.clientOf('acme2');
    expect(await operator(() => own.get('tk:acme2:key1'))).toBe('1');
    expect(await operator(() => cluster.get('tk:acme2:key1'))).toBeNull();
    expect(await failure(() => acme(() => own.get('key1')))).toMatchObject({ code: 'OPERATION_REFUSED' });
    cluster.disconnect();
    await until(() => ['end', 'close', 'disconnecting'].includes(own.status));
  });
});
