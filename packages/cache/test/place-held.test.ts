import { createTenantRegistry, memoryTenantStore, withTenant, type TenantRegistry } from '@tenantkit/core';
import { cacheAuditor, cacheEraser, indexCache, type CachePlacement, type Redis } from '@tenantkit/cache';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { KEPT } from '../src/silo.ts';
import { run } from './erase-run.ts';
import { openPlaces, type Places } from './place-support.ts';
import { proxyTo, type Proxy } from './proxy.ts';

// More than one page of a walk, so that it needs its client again after what happens meanwhile.
const KEYS = 2500;

// The database of `a-b`.
const BRIDGE = 5;

let places: Places;
let way: Proxy;
let fence: TenantRegistry;
let clock = 0;
/** Which tenants have gone from their silo to the pool. */
let gone: ReadonlySet<string>;

beforeAll(async () => {
  places = await openPlaces();
}, 60_000);
afterAll(() => places[Symbol.asyncDispose]());
beforeEach(async () => {
  await places.fill();
  for (let from = 0; from < KEYS; from += 500) {
    const keys = Array.from({ length: 500 }, (_, index) => [`tk:acme2:k${from + index}`, '1']);
    await places.raw.acme2.mset(keys.flat());
  }
  way = await proxyTo({ host: '127.0.0.1', port: places.nodes.acme2.port });
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  gone = new Set();
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + clock);
});
afterEach(async () => {
  places.disconnect();
  fence.close();
  vi.restoreAllMocks();
  await way[Symbol.asyncDispose]();
});

function where(tenant: string): CachePlacement {
  if (tenant === 'acme2' && !gone.has(tenant)) return { level: 'silo', url: `redis://127.0.0.1:${way.port}` };
  return tenant === 'a-b' && !gone.has(tenant) ? { level: 'bridge', db: BRIDGE } : { level: 'pool' };
}

/** A client in a process that has not served `acme2`. */
function open(index = false): Redis {
  return places.open({}, { place: where, fence, index });
}

/** How many clients have a connection to the silo; one of those that the server lists is the witness. */
async function connected(): Promise<number> {
  return (
    String(await places.raw.acme2.client('LIST'))
      .trim()
      .split('\n').length - 1
  );
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => void setImmediate(resolve));
}

/** Serves `a-b`, moves it and others to the pool, and waits until the client that nobody needs has been ended. */
async function settle(redis: Redis, others: readonly string[] = []): Promise<void> {
  await withTenant('a-b', () => redis.set('key', '1'));
  const isBridged = async (): Promise<boolean> =>
    String(await places.raw.pool.client('LIST')).includes(` db=${BRIDGE} `);
  expect(await isBridged()).toBe(true);
  const tenants = ['a-b', ...others];
  for (const tenant of tenants) await fence.freeze(tenant);
  gone = new Set(tenants);
  clock += KEPT;
  for (const tenant of tenants) await fence.unfreeze(tenant);
  for (const tenant of tenants) await withTenant(tenant, () => redis.get('key'));
  await until(async () => !(await isBridged()));
}

/** Does what walks a silo, of which the answers are kept back until clients have been ended. */
async function over<T>(redis: Redis, moved: readonly string[], work: () => Promise<T>): Promise<T> {
  way.hold();
  const working = work();
  const done = working.catch(() => undefined);
  await until(async () => (await connected()) > 0);
  await settle(redis, moved);
  way.release();
  await done;
  return working;
}

describe('the client of a silo, while others are at work and other tenants move', () => {
  it.each(['plan', 'erase', 'verify'] as const)(
    'stays for %s of a tenant that this process has not served, and no longer',
    async (step) => {
      const redis = open();
      await fence.freeze('acme2');
      const eraser = cacheEraser(redis);
      const count = { kind: 'keys', count: KEYS + 1 };
      const result = await over<unknown>(redis, [], () =>
        step === 'erase' ? eraser.erase({ tenant: 'acme2' }, run()) : eraser[step]({ tenant: 'acme2' }),
      );
      expect(result).toMatchObject(
        {
          plan: { items: [count] },
          erase: { erased: [count] },
          verify: { remaining: [count, { kind: 'acl-user', count: 0 }] },
        }[step],
      );
      await until(async () => (await connected()) === 0);
      // It opens another one.
      expect((await eraser.plan({ tenant: 'acme2' })).store).toBe('cache');
      await until(async () => (await connected()) === 0);
    },
  );

  it('stays for two that work at once, until the second is done', async () => {
    const redis = open();
    await fence.freeze('acme2');
    const eraser = cacheEraser(redis);
    const [one, two] = [eraser.plan({ tenant: 'acme2' }), eraser.verify({ tenant: 'acme2' })];
    expect((await one).items).toEqual([{ kind: 'keys', count: KEYS + 1 }]);
    expect((await two).remaining[0]).toEqual({ kind: 'keys', count: KEYS + 1 });
    await until(async () => (await connected()) === 0);
  });

  it('stays for the auditor when its tenant moves away meanwhile, and no longer', async () => {
    const redis = open();
    const found = await over(redis, ['acme2'], async () => {
      const names = new Set<string>();
      const signal = new AbortController().signal;
      for await (const { code, name } of cacheAuditor(redis, { tenants: ['acme2', 'acme'] }).audit(signal))
        names.add(`${code} ${name}`);
      return names;
    });
    expect(found).toContain('misplaced tk:acme2:');
    await until(async () => (await connected()) === 0);
  });

  it('is given back by an auditor that is not listened to until the end', async () => {
    const redis = open();
    await places.raw.acme2.set('stray', '1');
    const signal = new AbortController().signal;
    for await (const { name } of cacheAuditor(redis, { tenants: ['acme2'] }).audit(signal))
      if (name === 'stray') break;
    await settle(redis, ['acme2']);
    await until(async () => (await connected()) === 0);
    expect(await connected()).toBe(0);
  });

  it('stays for indexCache when its tenant moves away meanwhile, and no longer', async () => {
    const redis = open(true);
    const { keys } = await over(redis, ['acme2'], () => indexCache(redis, { tenants: ['acme2'] }));
    expect(keys).toBeGreaterThan(KEYS);
    await until(async () => (await connected()) === 0);
  });

  it('stays for whoever has it of clientOf, as long as the tenant is there', async () => {
    const redis = open();
    await fence.freeze('acme2');
    const own = redis.clientOf('acme2');
    await own.ping();
    await settle(redis);
    expect(own.status).toBe('ready');
    await fence.unfreeze('acme2');
    gone = new Set(['a-b', 'acme2']);
    clock += KEPT;
    await withTenant('acme2', () => redis.get('key'));
    await until(async () => own.status === 'end');
  });
});
