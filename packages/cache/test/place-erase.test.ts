import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  type Finding,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  cacheAuditor,
  cacheEraser,
  indexCache,
  type CacheAuditorOptions,
  type Redis,
} from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { KEPT } from '../src/silo.ts';
import { run } from './erase-run.ts';
import { keysOf, openPlaces, type Places } from './place-support.ts';
import { acme2, failure } from './support.ts';

let places: Places;
let fence: TenantRegistry;
beforeAll(async () => {
  places = await openPlaces();
}, 60_000);
afterAll(() => places[Symbol.asyncDispose]());
beforeEach(async () => {
  await places.fill();
  fence = await createTenantRegistry({ store: memoryTenantStore() });
});
afterEach(() => {
  places.disconnect();
  fence.close();
});

const a = <T>(fn: () => T): T => withTenant('a', fn);

describe.each([false, true])('the eraser of a client with places, with index: %s', (index) => {
  const open = (): Redis => places.open({}, { fence, index, subjects: ['user:{subject}:*'] });

  it('erases a tenant in its silo and in the pool, and counts again in both', async () => {
    const redis = open();
    for (const tenant of TENANTS) await withTenant(tenant, () => redis.set('entered', '1'));
    // What a move has left behind.
    await places.raw.pool.set('tk:acme2:left', 'behind');
    await places.raw.acme2.set('tk:acme:key', 'not of acme2');
    const before = await keysOf(places);
    const eraser = cacheEraser(redis);
    expect((await eraser.plan({ tenant: 'acme2' })).items[0]).toEqual({ kind: 'keys', count: 3 });
    expect(await keysOf(places)).toEqual(before);
    await fence.freeze('acme2');
    const outcome = await eraser.erase({ tenant: 'acme2' }, run());
    expect(outcome.erased).toEqual([{ kind: 'keys', count: 3 }]);
    const ofOthers = (keys: string[]): string[] => keys.filter((key) => !key.includes('acme2:'));
    expect(await keysOf(places)).toEqual({
      pool: ofOthers(before.pool),
      acme2: ofOthers(before.acme2),
      a: before.a,
    });
    const verification = await eraser.verify({ tenant: 'acme2' });
    expect(verification.control).toMatchObject({ planted: 2, found: 2 });
    expect(isVerified(verification)).toBe(true);
    // In either of the two it is seen.
    for (const name of ['pool', 'acme2'] as const) {
      await places.raw[name].set('tk:acme2:again', '1');
      expect(isVerified(await eraser.verify({ tenant: 'acme2' }))).toBe(false);
      await places.raw[name].del('tk:acme2:again');
    }
    expect(await a(() => redis.get('key'))).toBe('of a');
  });

  it('erases a person in both, and the same person of no other tenant', async () => {
    const redis = open();
    const person = (tenant: string) => ({ tenant, subject: 'p1' });
    for (const tenant of TENANTS) await withTenant(person(tenant), () => redis.set('user:p1:name', 'Ada'));
    if (index)
      for (const tenant of TENANTS) await withTenant(person(tenant), () => redis.set('written', 'for p1'));
    await places.raw.pool.set('tk:acme2:user:p1:old', 'left behind');
    const eraser = cacheEraser(redis);
    await eraser.erase(person('acme2'), run());
    const keys = await keysOf(places);
    expect(keys.acme2.filter((key) => !key.startsWith('tk!'))).toEqual(['tk:acme2:key']);
    expect(keys.pool).not.toContain('tk:acme2:user:p1:old');
    expect(keys.pool).toContain('tk:acme:user:p1:name');
    expect(keys.a).toContain('tk:a:user:p1:name');
    const verification = await eraser.verify(person('acme2'));
    expect(isVerified(verification)).toBe(true);
    expect(verification.control.planted).toBe(index ? 4 : 2);
  });

  it('erases where a tenant was when it was frozen, and where it is said to be now', async () => {
    let moved = false;
    const redis = places.open(
      {},
      { fence, index, place: (tenant) => places.place(moved && tenant === 'acme2' ? 'a' : tenant) },
    );
    await acme2(() => redis.set('key', 'of acme2'));
    await places.raw.a.set('tk:acme2:copied', '1');
    await fence.freeze('acme2');
    moved = true;
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => now() + KEPT);
    await failure(() => acme2(() => redis.get('key')));
    await cacheEraser(redis).erase({ tenant: 'acme2' }, run());
    vi.restoreAllMocks();
    const keys = await keysOf(places);
    expect(
      Object.values(keys)
        .flat()
        .filter((key) => key.includes(':acme2:')),
    ).toEqual([]);
    expect(keys.a).toEqual(['tk:a:key']);
  });

  it('does not pass for done when the silo is down, or nobody knows where it is', async () => {
    const redis = places.open(
      { maxRetriesPerRequest: 1 },
      {
        fence,
        index,
        place: (tenant) => {
          if (tenant === 'a') throw new Error('unknown');
          return tenant === 'acme2'
            ? { level: 'silo', options: { host: '127.0.0.1', port: 1 } }
            : { level: 'pool' };
        },
      },
    );
    redis.on('error', () => undefined);
    const eraser = cacheEraser(redis, { timeout: 5000 });
    expect(await failure(() => eraser.erase({ tenant: 'acme2' }, run()))).toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
    expect(await failure(() => eraser.verify({ tenant: 'a' }))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect((await eraser.erase({ tenant: 'acme' }, run())).erased).toEqual([{ kind: 'keys', count: 1 }]);
  });
});

describe('registries with places', () => {
  it('are with the keys, and are completed in every place', async () => {
    const redis = places.open({}, { fence, index: true });
    await acme2(() => redis.set('new', '1'));
    expect((await keysOf(places)).acme2).toContain('tk!keys:tk:acme2:');
    expect((await keysOf(places)).pool.filter((key) => key.startsWith('tk!'))).toEqual([]);
    expect(await acme2(async () => (await redis.keys('*')).sort())).toEqual(['key', 'new']);
    expect(await indexCache(redis, { tenants: ['a'] })).toEqual({ keys: 6, tenants: 5 });
    for (const [name, id] of [
      ['acme2', 'acme2'],
      ['a', 'a'],
      ['pool', 'acme'],
    ] as const) {
      expect(await places.raw[name].zscore(`tk!keys:tk:${id}:`, 'kkey')).not.toBeNull();
      expect(await places.raw[name].keys('tk!indexed*')).toHaveLength(1);
    }
  });
});

describe('the auditor of a client with places', () => {
  async function audit(redis: Redis, options: CacheAuditorOptions = {}): Promise<Finding[]> {
    const found: Finding[] = [];
    for await (const finding of cacheAuditor(redis, options).audit(new AbortController().signal))
      found.push(finding);
    return found;
  }

  it('looks at every place that is known, and says where keys are that do not belong there', async () => {
    const redis = places.open();
    expect(await audit(redis, { tenants: [...TENANTS] })).toEqual([]);
    await places.raw.pool.set('tk:acme2:left', 'behind');
    await places.raw.a.set('tk:acme:key', 'of the pool');
    await places.raw.acme2.set('stray', '1');
    const found = await audit(redis);
    expect(found.map(({ code, name }) => `${code} ${name}`).sort()).toEqual([
      'misplaced tk:acme2:',
      'misplaced tk:acme:',
      'outside_every_tenant stray',
    ]);
    expect(found.find(({ name }) => name === 'stray')?.message).toContain(`:${places.nodes.acme2.port}`);
    // One that has seen nobody knows of the pool alone, and of those that it is told of.
    const fresh = places.open();
    expect((await audit(fresh)).map(({ name }) => name)).toEqual(['tk:acme2:']);
    expect((await audit(fresh, { tenants: [...TENANTS] })).map(({ name }) => `${name}`).sort()).toEqual([
      'stray',
      'tk:acme2:',
      'tk:acme:',
    ]);
  });
});
