import { IsolationBreachError } from '@tenantkit/core';
import { HOSTILE_TENANTS } from '@tenantkit/testing';
import { createIORedisClient } from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sweep } from '../../src/lanes/scripts.ts';
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
