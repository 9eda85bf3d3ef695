import { IsolationBreachError } from '@tenantkit/core';
import { HOSTILE_TENANTS } from '@tenantkit/testing';
import { createIORedisClient } from 'bullmq';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { pick } from '../../src/lanes/scripts.ts';
import { audited, bench, type Bench } from '../support.ts';
import { dump, lanesOf, type Lanes } from './support.ts';

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

const HOUR = 3_600_000;

describe('pick', () => {
  it('hands out a turn for each job of each lane, whatever the tenant is called', async () => {
    for (const tenant of HOSTILE_TENANTS) await mail.fill(tenant, 2);
    const { turns, ready } = await mail.pick(100);
    expect(turns.toSorted()).toEqual([...HOSTILE_TENANTS, ...HOSTILE_TENANTS].toSorted());
    expect(ready).toBe(HOSTILE_TENANTS.length);
    // Round by round: nobody has his second turn before all have had their first.
    expect(new Set(turns.slice(0, HOSTILE_TENANTS.length)).size).toBe(HOSTILE_TENANTS.length);
  });

  it('knows waiting, prioritised and due jobs, and counts no others', async () => {
    await mail.fill('waiting', 1);
    await mail.fill('prioritised', 1, { priority: 7 });
    await mail.fill('later', 1, { delay: HOUR });
    await mail.touch('nobody');
    const { turns, ready, due } = await mail.pick();
    expect(turns.toSorted()).toEqual(['prioritised', 'waiting']);
    expect(ready).toBe(2);
    expect(await mail.members('due')).toEqual(['later']);
    expect(Math.abs(due - Date.now() - HOUR)).toBeLessThan(60_000);
    // A millisecond too early is too early.
    expect((await mail.pick(4, due - 1)).turns).not.toContain('later');
    expect((await mail.pick(4, due)).turns).toContain('later');
    expect(await mail.members('due')).toEqual([]);
  });

  it('leaves out a lane that is paused, until it is resumed', async () => {
    await mail.fill('acme', 2);
    await mail.fill('a', 1);
    await mail.lane('acme').pause();
    expect((await mail.pick()).turns).toEqual(['a']);
    expect(await mail.members('ready')).toEqual(['a']);
    await mail.lane('acme').resume();
    await mail.touch('acme');
    expect((await mail.pick()).turns.toSorted()).toEqual(['a', 'acme', 'acme']);
  });

  it('hands out nothing while an operator has paused them all, and forgets none', async () => {
    await mail.fill('acme', 1);
    const all = on.raw('mail');
    await all.pause();
    expect(await mail.pick()).toEqual({ turns: [], ready: 0, due: 0, capped: [], unreadable: [] });
    expect(await mail.members('ready')).toEqual(['acme']);
    await all.resume();
    expect((await mail.pick()).turns).toEqual(['acme']);
  });

  it('hands out no more turns than the concurrency of a lane leaves', async () => {
    await mail.fill('acme', 5);
    await mail.fill('a', 1);
    await mail.lane('acme').setGlobalConcurrency(2);
    const first = await mail.pick();
    expect(first.turns.toSorted()).toEqual(['a', 'acme', 'acme']);
    expect(first.capped).toEqual(['acme']);
    await mail.take('acme');
    expect((await mail.pick()).turns.toSorted()).toEqual(['a', 'acme']);
    await mail.take('acme');
    const now = Date.now();
    const full = await mail.pick(4, now);
    expect(full.turns).toEqual(['a']);
    // Whoever ends one of its jobs is told by `capped` to note the lane; should he die, it is looked at again.
    expect(full.capped).toEqual(['acme']);
    expect(full.due).toBe(now + 5_000);
    await mail.touch('acme');
    // Put aside by the server's clock, although it is another hour for the worker.
    expect((await mail.pick(4, now + HOUR)).due).toBe(now + HOUR + 5_000);
    const until = Number(await on.redis.zscore(mail.keys.due, 'acme')) - 8_700_000_000_000_000;
    expect(Math.abs(until - Date.now() - 5_000)).toBeLessThan(60_000);
  });

  it('hands out no more turns than the rate of a lane leaves, and comes back when it is over', async () => {
    await mail.fill('acme', 5);
    await mail.fill('a', 1);
    await mail.lane('acme').setGlobalRateLimit(2, HOUR);
    expect((await mail.pick(8)).turns.toSorted()).toEqual(['a', 'acme', 'acme']);
    await mail.take('acme');
    expect((await mail.pick(8)).turns.toSorted()).toEqual(['a', 'acme']);
    await mail.take('acme');
    const now = Date.now();
    const limited = await mail.pick(8, now);
    expect(limited.turns).toEqual(['a']);
    expect(Math.abs(limited.due - now - HOUR)).toBeLessThan(60_000);
  });

  it.each([0, HOUR, -HOUR])(
    'comes back by the server’s clock, whatever that of a worker says: %d',
    async (ahead) => {
      await mail.fill('acme', 5);
      await mail.lane('acme').setGlobalRateLimit(2, 1_500);
      await mail.take('acme');
      await mail.take('acme');
      const now = Date.now() + ahead;
      const limited = await mail.pick(8, now);
      expect(limited).toMatchObject({ turns: [], ready: 0 });
      // It is told when by its own clock, and waits for that.
      expect(limited.due - now).toBeGreaterThan(0);
      expect(limited.due - now).toBeLessThanOrEqual(1_500);
      expect(await mail.pick(8)).toMatchObject({ turns: [] });
      // The window is over: as many as in a new one.
      await expect.poll(async () => (await mail.pick(8)).turns).toEqual(['acme', 'acme']);
    },
  );

  it.each(['concurrency', 'max', 'weight'])(
    'runs nothing of a lane whose %s is no number, and all others',
    async (field) => {
      await mail.fill('acme', 1);
      await mail.fill('a', 1);
      await on.redis.hset(mail.lane('acme').toKey('meta'), field, '2; drop');
      expect(await mail.pick()).toMatchObject({ turns: ['a'], unreadable: ['acme'] });
      await on.redis.hset(mail.lane('acme').toKey('meta'), field, '2');
      await mail.touch('acme');
      expect(await mail.pick()).toMatchObject({ unreadable: [], ready: 2 });
    },
  );

  it('takes for a lane only what can be a tenant', async () => {
    await mail.fill('acme', 1);
    await on.raw('other').add('job', {});
    // Another writer of Redis: this one would be the queue `other` of everybody, or keys of anybody's.
    for (const bad of ['', 'a:b', 'x'.repeat(65), 'é', 'undefined', 'null', 'a b', '*']) {
      await on.redis.zadd(mail.keys.ready, 0, bad);
      await on.redis.lpush(`${mail.keys.lanePrefix}${bad}:wait`, '1');
    }
    expect((await mail.pick(50)).turns).toEqual(['acme']);
    expect(await mail.members('ready')).toEqual(['acme']);
  });

  it('neither sees nor changes the lanes of another queue, or of another prefix', async () => {
    const others = [lanesOf(on, 'mail2'), lanesOf(on, 'mai'), lanesOf(on, 'mail', 'bull2')];
    for (const other of others) await other.fill('acme', 2);
    await mail.fill('a', 1);
    const kept = (): Promise<unknown> =>
      Promise.all(['bull:mail2~', 'bull:mai~', 'bull2:'].map((begins) => dump(on, begins)));
    const before = await kept();
    expect((await mail.pick(50)).turns).toEqual(['a']);
    expect((await mail.sweep(['acme', 'a'])).found).toBe(0);
    expect(await kept()).toEqual(before);
    for (const other of others) expect((await other.pick()).turns).toEqual(['acme', 'acme']);
  });

  // Rule W1.
  it('wakes another worker while there is anything left, and nobody when there is nothing', async () => {
    await mail.fill('acme', 1);
    await on.redis.del(mail.keys.wake);
    await mail.pick(1);
    expect(await mail.members('wake')).toEqual(['0']);
    await on.redis.del(mail.keys.wake);
    await mail.take('acme');
    expect(await mail.pick(1)).toMatchObject({ turns: [], ready: 0 });
    expect(await mail.members('wake')).toEqual([]);
    expect(await mail.members('ready')).toEqual([]);
  });

  it('finds a lane behind hundreds of empty ones', async () => {
    const empty = Array.from({ length: 300 }, (_, at) => `e${at}`);
    await mail.touch(...empty);
    await mail.fill('zz', 1);
    expect((await mail.pick(1)).turns).toEqual(['zz']);
    expect(await mail.members('ready')).toEqual(['zz']);
  });

  it('refuses a reply of another shape, and says so', async () => {
    using breaches = audited('breach');
    const other = on.redis.duplicate();
    const client = createIORedisClient(other);
    for (const reply of [
      '{}',
      '{{}, 0, 0, {}}',
      "{{'a:b'}, 0, 0, {}, {}}",
      '{{}, -1, 0, {}, {}}',
      "{{'a','a'}, 1, 0, {}, {}}",
      "'x'",
    ]) {
      client.defineCommand('tenantkit:lanes:pick:3', { numberOfKeys: 5, lua: `return ${reply}` });
      await expect(pick(client, mail.keys, 0, 1), reply).rejects.toThrow(IsolationBreachError);
    }
    client.defineCommand('tenantkit:lanes:pick:3', { numberOfKeys: 5, lua: "return {{'a'}, 1, 0, {}, {}}" });
    expect((await pick(client, mail.keys, 0, 1)).turns).toEqual(['a']);
    expect(breaches.events.length).toBe(6);
    other.disconnect();
  });
});

describe('the order of lanes', () => {
  /** How the turns of many picks are shared, while all lanes have enough. */
  async function shares(picks: number, wanted: number): Promise<Record<string, number>> {
    const all: Record<string, number> = {};
    for (let at = 0; at < picks; at += 1) {
      for (const turn of (await mail.pick(wanted)).turns) all[turn] = (all[turn] ?? 0) + 1;
    }
    return all;
  }

  it('is fair, however few turns are asked for', async () => {
    for (const tenant of ['a', 'b', 'c']) await mail.fill(tenant, 20);
    expect(await shares(30, 1)).toEqual({ a: 10, b: 10, c: 10 });
    expect(await shares(12, 5)).toEqual({ a: 20, b: 20, c: 20 });
  });

  it('goes by weight', async () => {
    for (const tenant of ['a', 'b', 'c']) await mail.fill(tenant, 20);
    await on.redis.hset(mail.lane('a').toKey('meta'), 'weight', '3');
    expect(await shares(50, 1)).toEqual({ a: 30, b: 10, c: 10 });
    expect(await shares(10, 5)).toEqual({ a: 30, b: 10, c: 10 });
  });

  it('gives nobody credit for having been idle', async () => {
    await mail.fill('a', 20);
    await shares(50, 1);
    await mail.fill('b', 20);
    const { a = 0, b = 0 } = await shares(20, 1);
    expect(Math.abs(a - b)).toBeLessThanOrEqual(2);
  });

  // Looks with few turns and with more than there are lanes, and the tenant first and last among equals: the lane has
  // to be seen empty as often as possible, since it is new then.
  it.each([
    ['a-sly', 1],
    ['a-sly', 4],
    ['a-sly', 7],
    ['a-sly', 12],
    ['z-sly', 4],
    ['z-sly', 12],
  ])('gives %s nothing for adding jobs one by one, at %i turns a pick', async (sly, wanted) => {
    for (const tenant of ['f1', 'f2', 'f3', 'f4', 'f5']) await mail.fill(tenant, 100);
    let own = 0;
    let all = 0;
    for (let at = 0; at < 240 / wanted; at += 1) {
      if ((await mail.lane(sly).getWaitingCount()) === 0) await mail.lane(sly).add('job', {});
      await mail.touch(sly);
      const { turns } = await mail.pick(wanted);
      all += turns.length;
      if (!turns.includes(sly)) continue;
      own += 1;
      await mail.take(sly);
      await on.redis.lpop(mail.lane(sly).toKey('active'));
    }
    expect(own).toBeGreaterThan(0);
    expect(own).toBeLessThanOrEqual(Math.ceil(all / 6) + 1);
  });
});
