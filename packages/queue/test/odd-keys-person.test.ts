import { isVerified, withTenant, type EraseRun } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FlowProducer, queueAuditor, queueEraser } from '@tenantkit/queue';
import { KEY, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const LANE = 'bull:mail~evil:';
const ADA = { tenant: 'evil', subject: 'ada' };
const BOB = { tenant: 'evil', subject: 'bob' };

/** BullMQ's keys of a queue, with a type that they do not have. */
const STATES = [
  ['wait', 'string'],
  ['paused', 'hash'],
  ['active', 'zset'],
  ['delayed', 'string'],
  ['prioritized', 'list'],
  ['completed', 'hash'],
  ['failed', 'stream'],
  ['waiting-children', 'set'],
  ['stalled', 'string'],
  ['repeat', 'list'],
  ['events', 'hash'],
] as const;

const WRITE: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
  string: (key) => on.redis.set(key, 'x'),
  list: (key) => on.redis.rpush(key, 'x'),
  set: (key) => on.redis.sadd(key, 'x'),
  zset: (key) => on.redis.zadd(key, 1, 'x'),
  stream: (key) => on.redis.xadd(key, '*', 'x', 'y'),
  hash: (key) => on.redis.hset(key, 'x', 1),
};

/** Jobs of two persons of one tenant, and of another tenant, in some states and with a scheduler. */
async function fill(): Promise<void> {
  const queue = on.queue('mail');
  for (const who of [ADA, BOB, { tenant: 'evil2', subject: 'ada' }]) {
    const about = who.subject;
    await withTenant(who, async () => {
      await queue.add('n', { about }, { jobId: `${about}-one`, deduplication: { id: about } });
      await queue.add('n', { about }, { jobId: `${about}-late`, delay: 60_000 });
      await queue.add('n', { about }, { jobId: `${about}-third`, priority: 3 });
      await queue.upsertJobScheduler(`s-${about}`, { every: 60_000 }, { name: 'n', data: { about } });
    });
  }
}

/** A run of an eraser that nobody stops. */
const run = (): EraseRun => ({
  signal: new AbortController().signal,
  checkpoint: { load: async () => undefined, save: async () => undefined },
  progress: () => undefined,
});

/** Every hash of the lanes but those of Ada, as it is stored. */
async function hashesOfOthers(): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for (const key of await on.redis.keys('bull:mail~evil*')) {
    const isAdas = key.startsWith(LANE) && key.includes('ada');
    if (!isAdas && (await on.redis.type(key)) === 'hash') all[key] = await on.redis.hgetall(key);
  }
  return all;
}

describe('a key of another type in a lane', () => {
  it.each(STATES)('(%s, a %s) keeps no person from being erased, and is kept', async (state, type) => {
    await fill();
    await on.redis.del(LANE + state);
    await WRITE[type]?.(LANE + state);
    const others = await hashesOfOthers();
    expect(Object.keys(others).filter((key) => key.includes('bob'))).toHaveLength(5);
    const eraser = queueEraser(on.queue('mail'));
    const kept = [
      { kind: 'keys', count: 1, why: expect.stringMatching(/hold another thing.*unreadable_key/) as string },
    ];

    const plan = await eraser.plan(ADA);
    expect(plan.kept).toEqual(kept);
    // Three jobs and that of the scheduler; the scheduler and a deduplication.
    expect(plan.items.slice(0, 2)).toEqual([
      { kind: 'jobs', count: 4 },
      { kind: 'keys', count: 2 },
    ]);
    const outcome = await eraser.erase(ADA, run());
    expect(outcome.kept).toEqual(kept);
    expect(outcome.erased.slice(0, 2)).toEqual(plan.items.slice(0, 2));
    const verification = await eraser.verify(ADA);
    expect(verification.remaining.map(({ count }) => count)).toEqual([0, 0, 0]);
    expect(isVerified(verification)).toBe(true);
    expect(verification.kept).toEqual(kept);

    expect(await on.redis.keys(`${LANE}*ada*`)).toEqual([]);
    expect(await on.redis.type(LANE + state)).toBe(type);
    expect(await hashesOfOthers()).toEqual(others);
    // The erasure of the tenant takes it.
    await eraser.plan({ tenant: 'evil' });
    await eraser.erase({ tenant: 'evil' });
    expect(await on.redis.keys(`${LANE}*`)).toEqual([]);
  });

  it('is not named where there is none', async () => {
    await fill();
    const eraser = queueEraser(on.queue('mail'));
    expect((await eraser.plan(ADA)).kept).toEqual([]);
    expect((await eraser.erase(ADA, run())).kept).toEqual([]);
    expect((await eraser.verify(ADA)).kept).toEqual([]);
  });

  it.each(['wait', 'meta'])(
    '(%s) of a parent that waits keeps no person from being erased',
    async (state) => {
      const flows = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
      const child = on.queue('mail');
      const { job } = await withTenant(BOB, () =>
        flows.add({
          name: 'p',
          queueName: 'reports',
          opts: { jobId: 'p' },
          children: [{ name: 'c', queueName: 'mail', opts: { jobId: 'b' } }],
        }),
      );
      const parent = { id: job.id ?? '', queue: job.queueQualifiedName };
      await withTenant(ADA, () => child.add('n', {}, { jobId: 'c', parent }));
      await withTenant(BOB, () => child.remove('b'));
      const waits = 'bull:reports~evil:evil~p:dependencies';
      expect(await on.redis.smembers(waits)).toEqual([`${LANE}evil~c`]);
      await on.redis.del(`bull:reports~evil:${state}`);
      await on.redis.set(`bull:reports~evil:${state}`, 'x');
      const { erased } = await queueEraser(child).erase(ADA, run());
      expect(erased[0]).toEqual({ kind: 'jobs', count: 1 });
      expect(await on.redis.exists(`${LANE}evil~c`, waits)).toBe(0);
      const found: string[] = [];
      const auditor = queueAuditor(on.redis, { queues: ['reports'], signingKeys: [KEY] });
      for await (const { code, name = '' } of auditor.audit()) found.push(`${code} ${name}`);
      // It stays in the state in which it was, where what BullMQ would write to can be told beforehand.
      const code = state === 'wait' ? 'orphaned_parent' : 'orphaned_job';
      expect(found).toContain(`${code} bull:reports~evil:evil~p`);
      expect(found.includes('unreadable_key bull:reports~evil:wait')).toBe(state === 'wait');
      await flows.close();
    },
  );

  it.each(['ready', 'due', 'lanes', 'placed'])(
    'of the queue (%s) is named by the recount of a person',
    async (key) => {
      await fill();
      await on.redis.del(`bull:mail~:${key}`);
      await on.redis.set(`bull:mail~:${key}`, 'x');
      const eraser = queueEraser(on.queue('mail'));
      await eraser.erase(ADA, run());
      expect(await on.redis.keys(`${LANE}*ada*`)).toEqual([]);
      await expect(eraser.verify(ADA)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(`bull:mail~:${key}`) as string,
      });
      await on.redis.del(`bull:mail~:${key}`);
      expect(isVerified(await eraser.verify(ADA))).toBe(true);
    },
  );
});
