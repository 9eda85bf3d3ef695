import { generateKeyPairSync } from 'node:crypto';
import { Redis } from 'ioredis';
import { isVerified, withTenant, type EraseRun, type Eraser } from '@tenantkit/core';
import type { JobsOptions } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { queueEraser, type Queue } from '@tenantkit/queue';
import { forgetJobs, forgetSchedulers, type ErasedOfPerson } from '../src/erase-person-scripts.ts';
import { RawRedis } from '../src/raw-redis.ts';
import { withClaim, withHeader, withParts, type Stored } from './attacks-support.ts';
import { KEY, OTHER_KEY, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const ADA = { tenant: 'acme', subject: 'ada' };
const BOB = { tenant: 'acme', subject: 'bob' };
const LANE = 'bull:mail~acme:';

/** The erasure of a run that nobody stops, begun anew or with what an earlier one has saved. */
function run(
  signal: AbortSignal = new AbortController().signal,
  from?: string,
): EraseRun & { saved: string[] } {
  const saved: string[] = [];
  const checkpoint: EraseRun['checkpoint'] = {
    load: async () => saved.at(-1) ?? from,
    save: async (state) => void saved.push(state),
  };
  return { signal, saved, checkpoint, progress: () => undefined };
}

/** The jobs of the lane of acme that are stored, without those of others of ours. */
async function stored(lane = LANE): Promise<readonly string[]> {
  const keys = await on.redis.keys(`${lane}acme*~*`);
  return keys.map((key) => key.slice(lane.length)).toSorted();
}

/** Every key but the streams, as it is stored; of the lists and sets what the predicate keeps. */
async function everything(keep: (member: string) => boolean): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  for (const key of (await on.redis.keys('*')).toSorted()) {
    const type = await on.redis.type(key);
    if (key.startsWith('bull:mail~:') || !keep(key)) continue;
    if (type === 'hash') all[key] = await on.redis.hgetall(key);
    else if (type === 'list') all[key] = (await on.redis.lrange(key, 0, -1)).filter(keep);
    else if (type === 'zset') all[key] = (await on.redis.zrange(key, 0, '-1')).filter(keep);
    else if (type === 'string') all[key] = await on.redis.get(key);
  }
  for (const [key, value] of Object.entries(all))
    if (Array.isArray(value) && value.length === 0) delete all[key];
  return all;
}

const counts = ({ items }: Awaited<ReturnType<Eraser['plan']>>): Record<string, number> =>
  Object.fromEntries(items.map(({ kind, count }) => [kind, count]));

type Who = { readonly tenant: string; readonly subject?: string };

const nameOf = ({ subject = 'nobody' }: Who): string => subject;

/** Jobs of each in every state that a service can bring them into, with logs and results. */
async function fill(queue: Queue, ...all: readonly Who[]): Promise<void> {
  const worker = on.worker('mail', async (job) => {
    const { about } = job.data as { about: string };
    await job.log(`log about ${about}`);
    await job.updateProgress({ about });
    if (job.name === 'bad') throw new Error(`bad for ${about}`);
    return { about };
  });
  const done = finished(worker, 3 * all.length);
  for (const who of all) {
    const [about, data] = [nameOf(who), { about: nameOf(who) }];
    await withTenant(who, () =>
      queue.addBulk([
        { name: 'good', data, opts: { jobId: `${about}-completed` } },
        { name: 'bad', data, opts: { jobId: `${about}-failed` } },
        { name: 'good', data, opts: { jobId: `${about}-gone`, removeOnComplete: true } },
      ]),
    );
  }
  await done;
  await worker.close();
  for (const who of all) {
    const [about, data] = [nameOf(who), { about: nameOf(who) }];
    await withTenant(who, async () => {
      const rows: readonly JobsOptions[] = [
        { jobId: `${about}-waiting` },
        { jobId: `${about}-lifo`, lifo: true },
        { jobId: `${about}-delayed`, delay: 60_000 },
        { jobId: `${about}-prioritized`, priority: 3 },
        { jobId: `${about}-single`, deduplication: { id: `single-${about}` } },
      ];
      for (const opts of rows) await queue.add('n', data, opts);
      await queue.upsertJobScheduler(`nightly-${about}`, { every: 3_600_000 }, { name: 'n', data });
    });
  }
}

describe('erasing a person', () => {
  it('takes what is about the person in every state, and leaves everybody else byte for byte', async () => {
    const queue = on.queue('mail');
    const everybody: readonly Who[] = [ADA, BOB, { tenant: 'acme' }, { tenant: 'acme2', subject: 'ada' }];
    await fill(queue, ...everybody);
    const keepsOthers = (name: string): boolean => !/ada/.test(name) || name.includes('acme2');
    const before = await everything(keepsOthers);
    expect(JSON.stringify(before)).toMatch(/bob-waiting.*nobody-waiting|nobody-waiting.*bob-waiting/);
    expect(await on.redis.keys(`${LANE}*ada*`)).toHaveLength(12);

    const eraser = queueEraser(queue);
    expect(eraser.subjects).toBe('supported');
    const planned = await eraser.plan(ADA);
    // The first job of the scheduler is one of them. The hash of the scheduler, two logs and a deduplication are keys.
    expect(counts(planned)).toEqual({ jobs: 8, keys: 4, events: expect.any(Number) });
    expect(counts(planned)['events']).toBeGreaterThan(15);
    expect(planned.kept).toEqual([]);
    expect(await everything(keepsOthers)).toEqual(before);

    const outcome = await eraser.erase(ADA, run());
    expect(outcome).toMatchObject({ store: 'queue', kept: [] });
    expect(outcome.erased.slice(0, 2)).toEqual([
      { kind: 'jobs', count: 8 },
      { kind: 'keys', count: 4 },
    ]);
    expect(await everything(keepsOthers)).toEqual(before);
    const left = await everything((name) => name.startsWith(LANE) || !name.includes(':'));
    expect(JSON.stringify(left)).not.toMatch(/ada/);
    // Neither does the stream say anything of the person: no result, no error, no id.
    const events = JSON.stringify(await on.redis.xrange(`${LANE}events`, '-', '+'));
    expect(events).not.toMatch(/ada/);
    expect(events).toMatch(/acme~bob-failed.*bad for bob/);

    const verification = await eraser.verify(ADA);
    expect(isVerified(verification)).toBe(true);
    expect(verification.control).toMatchObject({ planted: 1, found: 1 });
    expect(isVerified(await eraser.verify(BOB))).toBe(false);
    expect(await on.redis.keys('*tk-control*')).toEqual([]);
    // What is left still runs: the header of nobody was touched.
    const worker = on.worker('mail', async () => undefined);
    await finished(worker, 8);
  });

  it('is the same for jobs that are many, beside those of others', async () => {
    const queue = on.queue('mail');
    const many = Array.from({ length: 1_300 }, (_, n) => n);
    for (const who of [ADA, BOB]) {
      await withTenant(who, () =>
        queue.addBulk(
          many.map((n) => ({
            name: 'n',
            data: { n },
            opts: { jobId: `${who.subject}${n}`, ...(n % 2 === 0 ? {} : { delay: 60_000 + n }) },
          })),
        ),
      );
    }
    const { erased } = await queueEraser(queue).erase(ADA, run());
    expect(erased[0]).toEqual({ kind: 'jobs', count: many.length });
    const [waiting, delayed] = [
      await on.redis.lrange(`${LANE}wait`, 0, -1),
      await on.redis.zrange(`${LANE}delayed`, 0, '-1'),
    ];
    expect(waiting.toReversed()).toEqual(many.filter((n) => n % 2 === 0).map((n) => `acme~bob${n}`));
    expect(delayed).toEqual(many.filter((n) => n % 2 === 1).map((n) => `acme~bob${n}`));
    expect(await stored()).toHaveLength(many.length);
  });

  it('waits for a job that a worker is processing, and reports one that takes too long', async () => {
    const queue = on.queue('mail');
    const ends: (() => void)[] = [];
    const started = new Promise<void>((resolve) => {
      on.worker(
        'mail',
        () =>
          new Promise<void>((end) => {
            if (ends.push(end) === 2) resolve();
          }),
        { concurrency: 2 },
      );
    });
    for (const who of [ADA, BOB])
      await withTenant(who, () => queue.add('n', {}, { jobId: `slow-${who.subject}` }));
    await started;
    const impatient = queueEraser(queue, { activeTimeout: 0 });
    expect((await impatient.erase(ADA, run())).kept).toMatchObject([
      { kind: 'jobs', count: 1, why: expect.stringContaining('processing') },
    ]);
    expect(isVerified(await impatient.verify(ADA))).toBe(false);
    expect(await stored()).toContain('acme~slow-ada');

    const looked = run();
    const erasing = queueEraser(queue, { activeTimeout: 20_000 }).erase(ADA, looked);
    await expect.poll(() => looked.saved.length).toBeGreaterThan(0);
    for (const end of ends) end();
    expect((await erasing).kept).toEqual([]);
    expect(isVerified(await impatient.verify(ADA))).toBe(true);
    expect(await stored()).toContain('acme~slow-bob');
  });

  it('takes what a running job keeps for later, whosever that one is, and leaves what it keeps for others', async () => {
    const queue = on.queue('mail');
    const ends: (() => void)[] = [];
    const ran: string[] = [];
    const started = new Promise<void>((resolve) => {
      on.worker(
        'mail',
        (job) =>
          new Promise<void>((end) => {
            ran.push(job.id ?? '');
            if (ends.push(end) === 2) resolve();
          }),
        { concurrency: 2 },
      );
    });
    const add = (who: typeof ADA, id: string, jobId: string): Promise<unknown> =>
      withTenant(who, () => queue.add('n', {}, { jobId, deduplication: { id, keepLastIfActive: true } }));
    await add(BOB, 'one', 'bob-runs-one');
    await add(BOB, 'two', 'bob-runs-two');
    await started;
    await add(ADA, 'one', 'ada-next');
    await add(BOB, 'two', 'bob-next');
    const eraser = queueEraser(queue);
    expect(counts(await eraser.plan(ADA))).toMatchObject({ jobs: 0, keys: 1 });
    expect((await eraser.erase(ADA, run())).erased[1]).toEqual({ kind: 'keys', count: 1 });
    expect(await on.redis.keys(`${LANE}dn:*`)).toEqual([`${LANE}dn:two`]);
    expect(isVerified(await eraser.verify(ADA))).toBe(true);
    for (const end of ends) end();
    await expect.poll(() => ran).toEqual(['bob-runs-one', 'bob-runs-two', 'bob-next']);
    ends.at(-1)?.();
    await expect.poll(() => on.redis.keys(`${LANE}de:*`)).toEqual([]);
    expect(ran).not.toContain('ada-next');
  });

  it('sets a deduplication free that its job holds, and no other one', async () => {
    const queue = on.queue('mail');
    const add = (who: typeof ADA, id: string, jobId: string): Promise<unknown> =>
      withTenant(who, () => queue.add('n', {}, { jobId, deduplication: { id } }));
    await add(ADA, 'one', 'ada-one');
    await add(ADA, 'two', 'ada-two');
    // Set free, and taken by somebody else, while the first job is still there.
    await withTenant(ADA, () => queue.removeDeduplicationKey('two'));
    await add(BOB, 'two', 'bob-two');
    await queueEraser(queue).erase(ADA, run());
    expect(await on.redis.keys(`${LANE}de:*`)).toEqual([`${LANE}de:two`]);
    expect(await on.redis.get(`${LANE}de:two`)).toBe('acme~bob-two');
    expect(await add(BOB, 'one', 'bob-one')).toMatchObject({ id: 'bob-one' });
  });

  it('stops when it is told to, and counts on from where it was', async () => {
    const queue = on.queue('mail');
    await fill(queue, ADA);
    const eraser = queueEraser(queue);
    const reason = new Error('stop');
    const controller = new AbortController();
    const first = run(controller.signal);
    await expect(eraser.erase(ADA, { ...first, progress: () => controller.abort(reason) })).rejects.toBe(
      reason,
    );
    expect(first.saved).not.toEqual([]);
    const { erased } = await eraser.erase(ADA, run(undefined, first.saved.at(-1)));
    expect(erased.slice(0, 2).map(({ count }) => count)).toEqual([8, 4]);
    expect(isVerified(await eraser.verify(ADA))).toBe(true);
  });

  it('is verified while the tenant goes on working for others', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'done', { removeOnComplete: { count: 0 } });
    const runs = async (who: Who): Promise<void> => {
      const done = finished(worker, 1);
      await withTenant(who, () => queue.add('n', {}));
      await done;
    };
    const events = async (): Promise<string> =>
      JSON.stringify(await on.redis.xrange(`${LANE}events`, '-', '+'));
    await runs(ADA);
    expect(await events()).toContain('"returnvalue"');
    const eraser = queueEraser(queue);
    await eraser.erase(ADA, run());
    expect(await events()).not.toContain('"returnvalue"');
    await runs(BOB);
    // Its events name a job that is gone, as the person's did; but they came behind the erasure.
    expect(await events()).toContain('"returnvalue"');
    const verification = await eraser.verify(ADA);
    expect(verification.remaining.map(({ count }) => count)).toEqual([0, 0, 0]);
    expect(isVerified(verification)).toBe(true);
    // Who has not erased cannot tell.
    expect(isVerified(await queueEraser(queue).verify(ADA))).toBe(false);
  });

  it('finds what no state of the lane leads to, in the recount and in the erasure behind it', async () => {
    const queue = on.queue('mail');
    await withTenant(ADA, () => queue.add('n', {}, { jobId: 'lost' }));
    await withTenant(BOB, () => queue.add('n', {}, { jobId: 'lost-too' }));
    await on.redis.del(`${LANE}wait`);
    const eraser = queueEraser(queue);
    expect((await eraser.erase(ADA, run())).erased[0]).toEqual({ kind: 'jobs', count: 0 });
    expect((await eraser.verify(ADA)).remaining[0]).toEqual({ kind: 'jobs', count: 1 });
    expect((await eraser.erase(ADA, run())).erased[0]).toEqual({ kind: 'jobs', count: 1 });
    expect(isVerified(await eraser.verify(ADA))).toBe(true);
    expect(await stored()).toEqual(['acme~lost-too']);
  });
});

describe('a job that moves while its person is erased', () => {
  it('is met by another pass', async () => {
    const queue = on.queue('mail');
    await withTenant(ADA, () => queue.add('n', {}, { jobId: 'moving' }));
    // Back to where the pass has been, between its look and its script.
    const redis = new Redis(on.url);
    const evaluate: unknown = Reflect.get(redis, 'eval');
    let isMoved = false;
    Reflect.set(redis, 'eval', async (...call: readonly unknown[]): Promise<unknown> => {
      const [wait, delayed, id] = [`${LANE}wait`, `${LANE}delayed`, 'acme~moving'];
      if (!isMoved) await on.redis.multi().lrem(wait, 1, id).zadd(delayed, 9e15, id).exec();
      isMoved = true;
      return Reflect.apply(evaluate as (...args: readonly unknown[]) => unknown, redis, call);
    });
    const eraser = queueEraser(redis, { queues: ['mail'], signingKeys: [KEY] });
    expect((await eraser.erase(ADA, run())).erased[0]).toEqual({ kind: 'jobs', count: 1 });
    expect(isMoved).toBe(true);
    expect(await on.redis.exists(`${LANE}delayed`, `${LANE}wait`)).toBe(0);
    redis.disconnect();
  });
});

describe('whom a job is about', () => {
  const job = async (id: string): Promise<Stored> => ({
    prefix: 'bull',
    queue: 'mail',
    id,
    hash: await on.redis.hgetall(LANE + id),
  });
  const write = async ({ id, hash }: Stored): Promise<void> => void (await on.redis.hset(LANE + id, hash));

  it('is nobody’s guess when its header does not verify: it is counted, and stays', async () => {
    const queue = on.queue('mail');
    for (const jobId of ['stripped', 'other-person', 'other-key', 'data', 'untouched'])
      await withTenant(ADA, () => queue.add('n', { about: 'ada' }, { jobId }));
    const eraser = queueEraser(queue);
    expect((await eraser.plan(ADA)).kept).toEqual([]);
    await write(withHeader(await job('acme~stripped'), undefined));
    // Hidden from the erasure by somebody who can write to Redis.
    await write(withClaim(await job('acme~other-person'), 1, 'bob'));
    await write(withParts(withClaim(await job('acme~other-key'), 1, null), { 1: 'unknown' }));
    // Altered, and the header still names the person.
    await on.redis.hset(`${LANE}acme~data`, 'data', '{"about":"bob"}');
    const untold = { kind: 'jobs', count: 3, why: expect.stringContaining('do not verify') };
    const planned = await eraser.plan(ADA);
    expect([counts(planned)['jobs'], planned.kept]).toEqual([2, [untold]]);
    await eraser.erase(ADA, run());
    const verification = await eraser.verify(ADA);
    expect(isVerified(verification)).toBe(true);
    expect(verification.kept).toEqual([untold]);
    expect(JSON.stringify(verification.kept)).not.toMatch(/ada|bob|stripped/);
    expect(await stored()).toEqual(['acme~other-key', 'acme~other-person', 'acme~stripped']);
  });

  it('is told of a scheduler in the same way', async () => {
    const queue = on.queue('mail');
    for (const id of ['mine', 'forged'])
      await withTenant(ADA, () => queue.upsertJobScheduler(id, { every: 3_600_000 }, { name: 'n' }));
    await on.redis.hset(`${LANE}repeat:forged`, 'opts', '{}');
    const eraser = queueEraser(queue);
    await eraser.erase(ADA, run());
    expect(await on.redis.zrange(`${LANE}repeat`, 0, '-1')).toEqual(['forged']);
    expect((await eraser.verify(ADA)).kept).toEqual([
      { kind: 'schedulers', count: 1, why: expect.stringContaining('do not verify') },
    ]);
  });

  it('does not mean the same person in another tenant, whose job lies in the lane', async () => {
    const queue = on.queue('mail');
    await withTenant({ tenant: 'acme2', subject: 'ada' }, () => queue.add('n', {}, { jobId: 'theirs' }));
    await on.redis.hset(`${LANE}acme~copy`, await on.redis.hgetall('bull:mail~acme2:acme2~theirs'));
    const eraser = queueEraser(queue);
    expect((await eraser.plan(ADA)).kept).toMatchObject([{ kind: 'jobs', count: 1 }]);
    await eraser.erase(ADA, run());
    expect(await stored()).toEqual(['acme~copy']);
  });

  it('is judged once more when it is removed: a job that has taken the id since stays', async () => {
    const queue = on.queue('mail');
    const read = new RawRedis(on.redis, 'test');
    const total: ErasedOfPerson = {
      jobs: 0,
      keys: 0,
      events: 0,
      moved: 0,
      active: new Set(),
      parents: new Set(),
    };
    const removals = [
      { state: 'wait', opts: {} },
      { state: 'delayed', opts: { delay: 60_000 } },
      { state: 'anywhere', opts: {} },
    ] as const;
    for (const [at, { state, opts }] of removals.entries()) {
      const id = `acme~job${at}`;
      await withTenant(ADA, () => queue.add('n', {}, { jobId: `job${at}`, ...opts }));
      const before = (await on.redis.hget(LANE + id, 'opts')) ?? '';
      await withTenant(ADA, () => queue.remove(`job${at}`));
      await withTenant(BOB, () => queue.add('n', {}, { jobId: `job${at}`, ...opts }));
      const now = (await on.redis.hget(LANE + id, 'opts')) ?? '';
      const from = state === 'anywhere' ? state : { state, start: 0 };
      await forgetJobs(read, LANE, from, [{ id, opts: before }], total);
      expect([total.jobs, total.moved]).toEqual([at, at + 1]);
      await forgetJobs(read, LANE, from, [{ id, opts: now }], total);
      expect([total.jobs, total.moved]).toEqual([at + 1, at + 1]);
    }
    // Moved to another state meanwhile: it is not left there without its hash.
    await withTenant(ADA, () => queue.add('n', {}, { jobId: 'moving', delay: 60_000 }));
    const opts = (await on.redis.hget(`${LANE}acme~moving`, 'opts')) ?? '';
    await withTenant(ADA, async () => (await queue.getJob('moving'))?.promote());
    await forgetJobs(read, LANE, { state: 'delayed', start: 0 }, [{ id: 'acme~moving', opts }], total);
    expect([total.jobs, total.moved]).toEqual([3, 4]);
    expect(await on.redis.lrange(`${LANE}wait`, 0, -1)).toEqual(['acme~moving']);
    await withTenant(BOB, () => queue.upsertJobScheduler('s', { every: 3_600_000 }, { name: 'n' }));
    await forgetSchedulers(read, LANE, [{ id: 's', opts: 'of another' }], total);
    expect(total.moved).toBe(5);
    expect(await on.redis.exists(`${LANE}repeat:s`)).toBe(1);
  });
});

describe('the keys of an eraser of persons', () => {
  it('are the Queue’s, or told; without any, persons are refused and tenants are not', async () => {
    const queue = on.queue('mail');
    await withTenant(ADA, () => queue.add('n', {}, { jobId: 'one' }));
    const blind = queueEraser(on.redis, { queues: ['mail'] });
    expect(blind.subjects).toEqual({ unsupported: expect.stringContaining('signingKeys') });
    for (const operation of ['plan', 'verify', 'erase'] as const)
      await expect(blind[operation](ADA)).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(counts(await blind.plan({ tenant: 'acme' }))['jobs']).toBe(1);
    // A Queue knows its own keys and no other queue's.
    expect(queueEraser(queue, { queues: ['mail', 'reports'] }).subjects).not.toBe('supported');
    const told = queueEraser(on.redis, { queues: ['mail', 'reports'], signingKeys: [KEY] });
    expect(told.subjects).toBe('supported');
    expect(counts(await told.plan(ADA))['jobs']).toBe(1);
    // With another key everybody else's jobs are untold.
    const wrong = queueEraser(on.redis, { queues: ['mail'], signingKeys: [OTHER_KEY] });
    expect((await wrong.plan(BOB)).kept).toMatchObject([{ kind: 'jobs', count: 1 }]);
    expect((await told.plan(BOB)).kept).toEqual([]);
  });

  it('may be public', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const queue = on.queue('mail', { tenant: { signingKeys: [{ kid: 'pair', privateKey }] } });
    for (const who of [ADA, BOB]) await withTenant(who, () => queue.add('n', {}));
    const eraser = queueEraser(on.redis, { queues: ['mail'], signingKeys: [{ kid: 'pair', publicKey }] });
    await eraser.erase(ADA, run());
    const verification = await eraser.verify(ADA);
    expect([isVerified(verification), verification.kept]).toEqual([true, []]);
    expect(await stored()).toHaveLength(1);
  });

  it('do not help whoever is inside a tenant, or names what is no person', async () => {
    const eraser = queueEraser(on.queue('mail'));
    await expect(withTenant('acme', () => eraser.plan(ADA))).rejects.toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    for (const subject of ['', '*', 'a:b', 'x'.repeat(65)])
      await expect(eraser.erase({ tenant: 'acme', subject }, run())).rejects.toMatchObject({
        code: 'TENANT_INVALID',
      });
  });
});
