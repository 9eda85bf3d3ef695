import { IsolationBreachError, withTenant } from '@tenantkit/core';
import { HOSTILE_TENANTS } from '@tenantkit/testing';
import { createIORedisClient } from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { register, sweep } from '../../src/lanes/scripts.ts';
import { bench, type Bench } from '../support.ts';
import { lanesOf, type Lanes } from './support.ts';

let on: Bench;
let mail: Lanes;
beforeAll(async () => {
  on = await bench();
});
beforeEach(() => {
  mail = lanesOf(on, 'mail');
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

describe('sweep', () => {
  it('finds work that nobody has noted, of whatever tenant, and wakes a worker', async () => {
    for (const tenant of HOSTILE_TENANTS) await mail.lane(tenant).add('job', {});
    expect((await mail.pick()).turns).toEqual([]);
    expect(await mail.sweep(HOSTILE_TENANTS)).toEqual({
      active: [],
      found: HOSTILE_TENANTS.length,
      retired: 0,
    });
    expect(await mail.members('wake')).toEqual(['0']);
    expect((await mail.pick(100)).turns.toSorted()).toEqual(HOSTILE_TENANTS.toSorted());
    // What is noted is not found again.
    expect((await mail.sweep(HOSTILE_TENANTS)).found).toBe(0);
  });

  it('finds waiting, prioritised and delayed jobs, and wakes nobody for lanes without', async () => {
    await mail.sweep(['nobody', 'paused']);
    expect(await mail.members('wake')).toEqual([]);
    await mail.lane('prioritised').add('job', {}, { priority: 1 });
    await mail.lane('delayed').add('job', {}, { delay: 3_600_000 });
    await mail.lane('paused').add('job', {});
    await mail.lane('paused').pause();
    expect((await mail.sweep(['prioritised', 'delayed', 'paused', 'nobody'])).found).toBe(2);
    expect((await mail.members('ready')).toSorted()).toEqual(['delayed', 'prioritised']);
  });

  it('leaves alone what is noted for its time, and not what is noted for a later one', async () => {
    await mail.fill('acme', 1, { delay: 3_600_000 });
    await mail.pick();
    expect(await mail.members('due')).toEqual(['acme']);
    expect((await mail.sweep(['acme'])).found).toBe(0);
    // A job for an earlier time whose note was lost.
    await mail.lane('acme').add('job', {}, { delay: 60_000 });
    expect((await mail.sweep(['acme'])).found).toBe(1);
  });

  it('says which lanes have jobs in work', async () => {
    await mail.fill('acme', 1);
    await mail.fill('a', 1);
    await mail.take('acme');
    expect((await mail.sweep(['a', 'acme', 'nobody'])).active).toEqual(['acme']);
  });

  it('lets what a retired lane has kept go a day later, unless its tenant comes back', async () => {
    const ttls = async (tenant: string): Promise<Record<string, number>> => {
      const all: Record<string, number> = {};
      for (const key of await on.redis.keys(mail.lane(tenant).toKey('*')))
        all[key.slice(mail.lane(tenant).toKey('').length)] = await on.redis.ttl(key);
      return all;
    };
    for (const tenant of ['gone', 'limited', 'busy', 'back', 'noted']) {
      await mail.fill(tenant, 1);
      const lane = mail.lane(tenant);
      if (tenant !== 'busy') await on.redis.del(lane.toKey('wait'), lane.toKey('1'));
      await on.redis.zadd(mail.keys.lanes, 1, tenant);
    }
    await on.redis.hset(mail.lane('limited').toKey('meta'), 'concurrency', 2, 'limits', 'own');
    const tenants = ['gone', 'limited', 'busy', 'back', 'noted'];
    expect((await mail.sweep(tenants, Date.now() - 1)).retired).toBe(4);
    const [gone, limited, busy] = await Promise.all(['gone', 'limited', 'busy'].map(ttls));
    expect(Object.keys(gone ?? {})).toEqual(expect.arrayContaining(['events', 'id', 'meta']));
    for (const ttl of Object.values(gone ?? {})) expect(ttl).toBeGreaterThan(86_000);
    expect(limited).toMatchObject({ meta: -1, events: expect.any(Number) as number });
    expect(limited?.['events']).toBeGreaterThan(86_000);
    expect(new Set(Object.values(busy ?? {}))).toEqual(new Set([-1]));
    // Registered anew, or noted behind a job that another process has added.
    await register(createIORedisClient(on.redis), mail.keys, 'back', Date.now(), {
      count: 1_000,
      isSaid: false,
    });
    await mail.fill('noted', 1);
    await mail.touch('noted');
    for (const tenant of ['back', 'noted'])
      expect([tenant, new Set(Object.values(await ttls(tenant)))]).toEqual([tenant, new Set([-1])]);
  });

  it.each([
    ['a pause', { paused: '1' }, true],
    ['a limit', { concurrency: '2', limits: 'own' }, true],
    ['a limit that an earlier version has set', { max: '2', duration: '1000' }, true],
    ['that there is to be none', { limits: 'own' }, true],
    ['what a later BullMQ keeps there', { 'opts.other': '1' }, true],
    ['a limit that is the default', { concurrency: '2', limits: '/2///' }, false],
    ['nothing', { version: 'bullmq:6.7.0' }, false],
  ] as const)('of a retired lane keeps %s', async (_, fields, isKept) => {
    const meta = mail.lane('acme').toKey('meta');
    await on.redis.hset(meta, { 'opts.maxLenEvents': '1000', ...fields });
    await on.redis.zadd(mail.keys.lanes, 1, 'acme');
    expect((await mail.sweep(['acme'], Date.now() - 1)).retired).toBe(1);
    expect([(await on.redis.pttl(meta)) === -1, await on.redis.exists(meta)]).toEqual([isKept, 1]);
  });

  it('lets a tenant that has paused its queue find it paused days later', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.pause());
    await on.redis.zadd(mail.keys.lanes, 1, 'acme');
    expect((await mail.sweep(['acme'], Date.now() - 1)).retired).toBe(1);
    for (const key of await on.redis.keys('bull:mail~acme:*'))
      if ((await on.redis.pttl(key)) > 0) await on.redis.del(key);
    expect(await withTenant('acme', () => queue.isPaused())).toBe(true);
  });

  it('leaves the lock alone by which BullMQ looks for the jobs of dead workers', async () => {
    const lock = mail.lane('acme').toKey('stalled-check');
    const again = async (): Promise<void> => {
      await on.redis.zadd(mail.keys.lanes, 1, 'acme');
      expect((await mail.sweep(['acme'], Date.now() - 1)).retired).toBe(1);
    };
    await on.redis.set(lock, 1, 'PX', 60_000);
    await again();
    await register(createIORedisClient(on.redis), mail.keys, 'acme', Date.now(), {
      count: 1_000,
      isSaid: false,
    });
    expect(await on.redis.pttl(lock)).toBeGreaterThan(0);
    await again();
    await mail.fill('acme', 1);
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}));
    const left = await on.redis.pttl(lock);
    expect([left > 0, left <= 60_000]).toEqual([true, true]);
  });

  it('keeps what a retired lane has kept for a process that adds to it without registering it anew', async () => {
    const queue = on.queue('mail');
    const job = await withTenant('acme', () => queue.add('n', {}));
    await withTenant('acme', () => job.remove());
    await on.redis.zadd(mail.keys.lanes, 1, 'acme');
    expect((await mail.sweep(['acme'], Date.now() - 1)).retired).toBe(1);
    expect(await on.redis.ttl('bull:mail~acme:events')).toBeGreaterThan(86_000);
    await withTenant('acme', () => queue.add('n', {}));
    for (const key of await on.redis.keys('bull:mail~acme:*'))
      expect([key, await on.redis.ttl(key)]).toEqual([key, -1]);
    expect(await mail.members('lanes')).toEqual(['acme']);
  });

  it('retires a lane that is old and holds nothing at all', async () => {
    const now = Date.now();
    await mail.fill('finished', 1);
    await mail.fill('work', 1);
    await mail.fill('later', 1, { delay: 3_600_000 });
    await mail.lane('scheduled').upsertJobScheduler('every', { every: 3_600_000 });
    // Between two of its jobs: nothing but the schedule is left.
    await on.redis.del(mail.lane('scheduled').toKey('wait'), mail.lane('scheduled').toKey('delayed'));
    await mail.take('work');
    await on.redis.zadd(mail.lane('finished').toKey('completed'), 1, '1');
    await on.redis.del(mail.lane('finished').toKey('wait'));
    const all = ['finished', 'work', 'later', 'scheduled', 'old', 'young', 'unregistered'];
    for (const tenant of all.slice(0, -1))
      await on.redis.zadd(mail.keys.lanes, tenant === 'young' ? now : 1, tenant);
    await mail.touch('old');
    expect((await mail.sweep(all, now - 1)).retired).toBe(1);
    expect((await mail.members('lanes')).toSorted()).toEqual([
      'finished',
      'later',
      'scheduled',
      'work',
      'young',
    ]);
    expect(await mail.members('ready')).not.toContain('old');
  });

  it('refuses a reply of another shape', async () => {
    const other = on.redis.duplicate();
    const client = createIORedisClient(other);
    for (const reply of ['{}', "{{'a:b'}, 0, 0}", "{{}, 0, 'x'}", '{{}, 0}']) {
      client.defineCommand('tenantkit:lanes:sweep:1', { numberOfKeys: 4, lua: `return ${reply}` });
      await expect(sweep(client, mail.keys, 0, ['a']), reply).rejects.toThrow(IsolationBreachError);
    }
    other.disconnect();
  });
});
