import { createTenantRegistry, isVerified, memoryTenantStore, withTenant } from '@tenantkit/core';
import { Cluster, Redis, cacheAuditor, cacheEraser, indexCache, type CacheOptions } from '@tenantkit/cache';
import { startRedisCluster, startRedisNode, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { idOf, portionsOf, startOf } from '../src/portions.ts';
import { run } from './erase-run.ts';

const MEGABYTE = 2 ** 20;
const COUNT = 36;
const SCOPE = { tenant: 'acme' };
const PERSON = { tenant: 'acme', subject: 'p1' };

// What goes into one command is 16 MB at most.
const COMMANDS = COUNT / 16;

let node: Awaited<ReturnType<typeof startRedisNode>>;
let servers: RedisCluster;
let raw: Raw;
let master: Raw;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  [node, servers] = await Promise.all([startRedisNode(), startRedisCluster({ masters: 1 })]);
  raw = new Raw(node.url);
  master = new Raw(servers.masters[0]?.port ?? 0);
});
afterAll(async () => {
  raw.disconnect();
  master.disconnect();
  await Promise.all([node.stop(), servers.stop()]);
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  await raw.flushall();
});

function guarded(tenant: CacheOptions): Redis {
  const client = new Redis(node.url, { tenant });
  clients.push(client);
  return client;
}

/** Keys of one megabyte each: within a tenant's own rights. */
async function fill(client: Redis | Cluster): Promise<void> {
  const long = 'x'.repeat(MEGABYTE);
  for (let n = 0; n < COUNT; n += 1) await withTenant(PERSON, () => client.set(`${n}${long}`, '1'));
  await withTenant('acme2', () => client.set('x', '1'));
}

/** How often a server was given a command meanwhile. */
async function calls(name: string, work: () => Promise<unknown>, server = raw): Promise<number> {
  const stats = new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm');
  const count = async (): Promise<number> => Number(stats.exec(await server.info('commandstats'))?.[1] ?? 0);
  const before = await count();
  await work();
  return (await count()) - before;
}

const erased = (count: number): object[] => [{ kind: 'keys', count }];

const left = async (): Promise<string[]> => (await raw.keys('tk*')).map((key) => key.slice(0, 40)).sort();

describe('a tenant with names of a megabyte', () => {
  it('is erased, and recounted', async () => {
    const redis = guarded({});
    await fill(redis);
    expect((await cacheEraser(redis).plan(SCOPE)).items).toEqual(erased(COUNT));
    const unlinks = await calls('unlink', async () =>
      expect((await cacheEraser(redis).erase(SCOPE, run())).erased).toEqual(erased(COUNT)),
    );
    expect(unlinks).toBeGreaterThanOrEqual(COMMANDS);
    expect(isVerified(await cacheEraser(redis).verify(SCOPE))).toBe(true);
    expect(await left()).toEqual(['tk:acme2:x']);
  });

  it('has its registry completed, is audited, and is erased by it, like one of its persons', async () => {
    await using fence = await registry();
    const redis = guarded({ index: true, fence: fence.registry });
    await fill(guarded({}));
    const zadds = await calls('zadd', async () =>
      expect(await indexCache(redis)).toEqual({ keys: COUNT + 1, tenants: 2 }),
    );
    expect(zadds).toBeGreaterThanOrEqual(COMMANDS + 1);
    const codes: string[] = [];
    for await (const { code, name = '' } of cacheAuditor(redis, { details: true }).audit()) {
      codes.push(code);
      expect(name.length).toBeLessThan(2_000);
    }
    expect(codes).toEqual(['without_expiry', 'without_expiry']);
    await fence.registry.freeze('acme');
    let zrems = 0;
    const unlinks = await calls('unlink', async () => {
      zrems = await calls('zrem', async () =>
        expect((await cacheEraser(redis).erase(SCOPE, run())).erased).toEqual(erased(COUNT)),
      );
    });
    expect(Math.min(unlinks, zrems)).toBeGreaterThanOrEqual(COMMANDS);
    expect(isVerified(await cacheEraser(redis).verify(SCOPE))).toBe(true);
    expect((await left()).filter((name) => name.includes('acme:'))).toEqual([]);
    expect(await left()).toContain('tk:acme2:x');
  });

  it('loses those of a person', async () => {
    const redis = guarded({ index: true });
    await fill(redis);
    expect((await cacheEraser(redis).erase(PERSON, run())).erased).toEqual(erased(COUNT));
    expect(isVerified(await cacheEraser(redis).verify(PERSON))).toBe(true);
    expect(await left()).toEqual(['tk!keys:tk:acme2:', 'tk:acme2:x']);
  });

  it('flushes them', async () => {
    const redis = guarded({});
    await fill(redis);
    const unlinks = await calls('unlink', () => withTenant('acme', () => redis.flushdb()));
    expect(unlinks).toBeGreaterThanOrEqual(COMMANDS);
    expect(await left()).toEqual(['tk:acme2:x']);
  });

  it('is erased in a Cluster', async () => {
    const cluster = new Cluster([...servers.masters], { tenant: { index: true, hashTag: true } });
    clients.push(cluster);
    await once(cluster, 'ready');
    await fill(cluster);
    const unlinks = await calls(
      'unlink',
      async () => expect((await cacheEraser(cluster).erase(SCOPE, run())).erased).toEqual(erased(COUNT)),
      master,
    );
    expect(unlinks).toBeGreaterThanOrEqual(COMMANDS);
    expect(isVerified(await cacheEraser(cluster).verify(SCOPE))).toBe(true);
    expect(isVerified(await cacheEraser(cluster).verify({ tenant: 'acme2' }))).toBe(false);
    await cacheEraser(cluster).erase({ tenant: 'acme2' }, run());
  });
});

async function registry() {
  const made = await createTenantRegistry({ store: memoryTenantStore() });
  return {
    registry: made,
    [Symbol.asyncDispose]: async () => made.close(),
  };
}

describe('a name that is as long as can be written', () => {
  // With the prefix of this tenant it is longer than Redis takes, or than a text can be.
  const id = 'a'.repeat(64);
  const LENGTH = 2 ** 29 - 41;

  it.each([
    ['a Buffer', () => Buffer.alloc(LENGTH)],
    // Nobody writes it down: V8 keeps in mind what it is made of.
    ['a text', () => 'x'.repeat(LENGTH)],
  ])('is refused, and ends no connection: %s', async (_, make) => {
    const redis = guarded({});
    await withTenant('acme2', () => redis.set('n', '1'));
    const connected = redis.stream;
    const error: unknown = await withTenant(id, () => redis.exists(make())).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED', message: expect.stringContaining('512 MB') });
    expect(await withTenant('acme2', () => redis.incr('n'))).toBe(2);
    expect(redis.stream).toBe(connected);
    expect(await withTenant(id, () => redis.exists(Buffer.alloc(MEGABYTE)))).toBe(0);
  });
});

describe('portions', () => {
  const cut = (lengths: readonly number[], count?: number): number[][] =>
    [...portionsOf(lengths, (length) => length, count)].map((some) => [...some]);

  it('hold 500 names and 16 MB at most, and one name of more', () => {
    expect(cut([])).toEqual([]);
    expect(cut(Array.from({ length: 1_001 }, () => 1)).map(({ length }) => length)).toEqual([500, 500, 1]);
    expect(cut([1, 2, 3], 2)).toEqual([[1, 2], [3]]);
    expect(cut([2 ** 24, 1, 2 ** 24 - 1, 1])).toEqual([[2 ** 24], [1, 2 ** 24 - 1], [1]]);
    expect(cut([1, 2 ** 29, 1])).toEqual([[1], [2 ** 29], [1]]);
  });

  it('tell names apart that are longer than a text can be', () => {
    // Of these pages nothing is written, so that they take no memory.
    const long = Buffer.alloc(2 ** 29);
    long.write('tk:acme:');
    expect(() => long.toString('latin1')).toThrow('Cannot create a string longer');
    expect(startOf(long)).toMatch(/^tk:acme:/);
    expect(startOf(long).length).toBeLessThan(5_000);
    const [one, other] = [Buffer.alloc(5_000, 'x'), Buffer.alloc(5_000, 'x')];
    expect(idOf(one)).toBe(idOf(other));
    other.write('y', 4_999);
    expect(idOf(one)).not.toBe(idOf(other));
    expect(idOf(long)).not.toBe(idOf(one));
    const short = Buffer.from('tk:acme:\u00ff');
    expect(idOf(short)).toBe(short.toString('latin1'));
    expect(startOf(short)).toBe(short.toString('latin1'));
  });
});
