import { queueAuditor, queueEraser } from '@tenantkit/queue';
import { SignatureError, createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Queue } from '@tenantkit/queue';
import { KEY, audited, bench, finished, type Bench } from './support.ts';

const DAY = 86_400_000;
const END = Date.now() + 99 * DAY;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const lane = (tenant: string, key: string): string => `bull:mail~${tenant}:${key}`;
const TEMPLATE = lane('acme', 'repeat:tick');

/** A scheduler of acme whose first job waits. */
async function scheduled(): Promise<{ readonly queue: Queue; readonly id: string; readonly key: string }> {
  const queue = on.queue('mail');
  const job = await withTenant('acme', () =>
    queue.upsertJobScheduler(
      'tick',
      { every: DAY, offset: 1_000, limit: 5, startDate: 1_000, endDate: END, tz: 'UTC' },
      { name: 'n', data: { amount: 1 }, opts: { attempts: 1, keepLogs: 7 } },
    ),
  );
  const id = job?.id ?? '';
  return { queue, id, key: lane('acme', id) };
}

/** Runs a worker until it has ended so many jobs, and says how each of them ended. */
async function run(count = 1): Promise<readonly string[]> {
  const worker = on.worker('mail', async (job) => job.data as unknown, { autorun: false });
  const done = finished(worker, count);
  void worker.run();
  const ended = await done;
  await worker.close();
  return ended.map(({ event, error }) => (event === 'completed' ? event : (error as SignatureError).reason));
}

/** Puts a job in front of the lane, as the work that is to be done next. */
async function push(id: string, tenant = 'acme', queue = 'mail'): Promise<void> {
  await on.redis.lpush(`bull:${queue}~${tenant}:wait`, id);
  await on.redis.zadd(`bull:${queue}~:ready`, 0, tenant);
  await on.redis.zadd(`bull:${queue}~:wake`, 0, '0');
}

async function edited(key: string, change: (opts: Record<string, unknown>) => unknown): Promise<void> {
  const opts = JSON.parse((await on.redis.hget(key, 'opts')) ?? '') as Record<string, unknown>;
  change(opts);
  await on.redis.hset(key, 'opts', JSON.stringify(opts));
}
const option = (name: string, value: unknown) => (key: string) => edited(key, (opts) => (opts[name] = value));
const inRepeat = (name: string, value: unknown) => (key: string) =>
  edited(key, ({ repeat }) => ((repeat as Record<string, unknown>)[name] = value));
const field = (name: string, value: string) => (key: string) => on.redis.hset(key, name, value);
const noField = (name: string) => (key: string) => on.redis.hdel(key, name);

type Edits = Readonly<Record<string, readonly [reason: string, edit: (key: string) => Promise<unknown>]>>;

const BOUND: Edits = {
  'the name': ['mismatch', field('name', 'other')],
  'the data': ['mismatch', field('data', '{"amount":1000}')],
  'an option': ['mismatch', option('attempts', 9)],
  'another option': ['mismatch', option('lifo', true)],
  'the interval that was signed': ['mismatch', inRepeat('every', 1)],
  'a pattern that was not': ['mismatch', inRepeat('pattern', '* * * * * *')],
  'the limit that was signed': ['mismatch', inRepeat('limit', 9_999)],
  'the offset that was signed': ['mismatch', inRepeat('offset', 1)],
  'the zone that was signed': ['mismatch', inRepeat('tz', 'Europe/Paris')],
  'the start that was signed': ['mismatch', inRepeat('startDate', 0)],
  'the end that was signed': ['mismatch', inRepeat('endDate', END * 2)],
  'the schedule, removed': ['mismatch', option('repeat', undefined)],
  'the header, removed': ['missing', option('tk!', undefined)],
  'the header, of another kind': ['malformed', option('tk!', 7)],
  'the options, removed': ['missing', noField('opts')],
};

const OF_JOB: Edits = {
  ...BOUND,
  'the scheduler': ['mismatch', field('rjk', 'other')],
  'the scheduler, removed': ['mismatch', noField('rjk')],
  'the scheduler in the options': ['mismatch', option('repeatJobKey', 'other')],
  'the id in the options': ['mismatch', option('jobId', 'repeat:tick:1700000000000')],
  'the time that the next one goes by': ['mismatch', option('prevMillis', 9e12)],
  'a count that is no number': ['mismatch', inRepeat('count', 'x')],
  'a deduplication': ['mismatch', field('deid', 'd')],
  'a parent key': ['mismatch', field('parentKey', lane('acme2', 'acme2~p'))],
  'a parent': ['mismatch', field('parent', '{"id":"acme2~p","queueKey":"bull:mail~acme2"}')],
};

/** What BullMQ computes for each job. */
const FREE: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
  nothing: async () => undefined,
  'the count': inRepeat('count', 3),
  'the time in the options': option('timestamp', 5),
  'the delay in the options': option('delay', 5),
  'the priority in the hash': field('priority', '3'),
};

describe('a job of a scheduler, edited in Redis', () => {
  it.each(Object.entries(OF_JOB))('%s: it fails, and makes no next one', async (_name, [reason, edit]) => {
    const { key } = await scheduled();
    await edit(key);
    expect(await run()).toEqual([reason]);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(0);
    expect(await on.redis.llen(lane('acme', 'wait'))).toBe(0);
  });

  it.each(Object.entries(FREE))('%s: it runs, and makes the next one', async (_name, edit) => {
    const { key } = await scheduled();
    await edit(key);
    expect(await run()).toEqual(['completed']);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(1);
  });

  it('a scheduler that has stopped so goes on after it is upserted', async () => {
    const { queue, key } = await scheduled();
    await on.redis.hset(key, 'data', '{"amount":1000}');
    expect(await run()).toEqual(['mismatch']);
    await withTenant('acme', () => queue.upsertJobScheduler('tick', { every: DAY }, { data: 2 }));
    const [id] = await on.redis.zrange(lane('acme', 'delayed'), 0, '-1');
    await withTenant('acme', async () => (await queue.getJob(id ?? ''))?.promote());
    expect(await run()).toEqual(['completed']);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(1);
  });
});

describe('a scheduler, edited in Redis', () => {
  const edits: Edits = {
    ...BOUND,
    'the interval that the scripts go by': ['mismatch', field('every', '1')],
    'a pattern that nobody has signed': ['mismatch', field('pattern', '* * * * * *')],
    'the limit': ['mismatch', field('limit', '9999')],
    'no limit any more': ['mismatch', noField('limit')],
    'the zone': ['mismatch', field('tz', 'Europe/Paris')],
    'the start': ['mismatch', field('startDate', '1')],
    'the end': ['mismatch', field('endDate', '1')],
    'the offset': ['mismatch', field('offset', '1')],
  };
  it.each(Object.entries(edits))(
    '%s: it is shown to nobody and makes nothing',
    async (_name, [reason, edit]) => {
      const { queue } = await scheduled();
      expect(await withTenant('acme', () => queue.getJobSchedulers())).toHaveLength(1);
      await edit(TEMPLATE);
      using refusals = audited('refused');
      await withTenant('acme', async () => {
        await expect(queue.getJobScheduler('tick')).rejects.toMatchObject({ reason });
        expect(await queue.getJobSchedulers()).toEqual([]);
      });
      expect(refusals.events).toHaveLength(2);
      expect(JSON.stringify(refusals.events)).not.toContain('amount');
      // What it has made before is as it was signed.
      expect(await run()).toEqual(['completed']);
      expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(0);
      // It is still there, for whoever looks into it.
      expect(await on.redis.zcard(lane('acme', 'repeat'))).toBe(1);
    },
  );

  it('one that was written past us makes nothing', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'signed' }));
    await on.raw('mail~acme').upsertJobScheduler('tick', { every: DAY }, { name: 'n', data: { amount: 1 } });
    expect((await run(2)).toSorted()).toEqual(['completed', 'missing']);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(0);
    expect(await withTenant('acme', () => queue.getJobSchedulers())).toEqual([]);
  });
});

describe('copies', () => {
  const copy = async (from: string, to: string, change: Record<string, string> = {}): Promise<void> => {
    await on.redis.copy(from, to);
    if (Object.keys(change).length > 0) await on.redis.hset(to, change);
  };
  /** A copy of a job that says the same of itself everywhere. */
  const copyJob = async (from: string, to: string, id: string, scheduler: string): Promise<void> => {
    await copy(from, to, { rjk: scheduler });
    await edited(to, (opts) => Object.assign(opts, { jobId: id, repeatJobKey: scheduler }));
  };

  it('of a job to another scheduler does not run', async () => {
    const { key } = await scheduled();
    const id = 'repeat:other:1700000000000';
    await copyJob(key, lane('acme', id), id, 'other');
    await push(id);
    expect((await run(2)).toSorted()).toEqual(['completed', 'mismatch']);
  });

  it.each(['acme2', 'nobody'])('of a job into the lane of %s does not run', async (tenant) => {
    const { queue, id, key } = await scheduled();
    await withTenant(tenant, () => queue.upsertJobScheduler('tick', { every: DAY }, { data: 'own' }));
    const forged = 'repeat:tick:1700000000000';
    await copyJob(key, lane(tenant, forged), forged, 'tick');
    await push(forged, tenant);
    expect((await run(3)).toSorted()).toEqual(['completed', 'completed', 'mismatch']);
    await withTenant(tenant, async () => {
      await expect(queue.getJob(forged)).rejects.toThrow(SignatureError);
      // Its own one may be of the same millisecond.
      expect((await queue.getJob(id))?.data ?? 'own').toBe('own');
    });
  });

  it('of a job to another queue does not run', async () => {
    const { id, key } = await scheduled();
    await on.redis.copy(key, `bull:post~acme:${id}`);
    await push(id, 'acme', 'post');
    const worker = on.worker('post', async () => undefined, { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'failed', error: { reason: 'mismatch' } }]);
  });

  it('of a job to an id that is no iteration’s, or as the job of a caller, does not run', async () => {
    const { key } = await scheduled();
    for (const id of ['repeat:tick:5', 'acme~x', 'acme~repeat:tick:1700000000000']) {
      await on.redis.copy(key, lane('acme', id));
      await push(id);
    }
    expect((await run(4)).toSorted()).toEqual(['completed', 'mismatch', 'mismatch', 'mismatch']);
  });

  it('of a scheduler to another id or lane is shown to nobody', async () => {
    const { queue } = await scheduled();
    await on.redis.copy(TEMPLATE, lane('acme', 'repeat:other'));
    await on.redis.copy(TEMPLATE, lane('acme2', 'repeat:tick'));
    await on.redis.zadd(lane('acme', 'repeat'), 1, 'other');
    await on.redis.zadd(lane('acme2', 'repeat'), 1, 'tick');
    for (const [tenant, id, shown] of [
      ['acme', 'other', ['tick']],
      ['acme2', 'tick', []],
    ] as const) {
      await withTenant(tenant, async () => {
        await expect(queue.getJobScheduler(id)).rejects.toMatchObject({ reason: 'mismatch' });
        expect((await queue.getJobSchedulers()).map(({ key }) => key)).toEqual(shown);
      });
    }
  });

  it('a caller’s own job with the header of a scheduler does not run', async () => {
    const { queue, key } = await scheduled();
    await withTenant('acme', () => queue.add('n', { amount: 1 }, { jobId: 'x' }));
    const opts = JSON.parse((await on.redis.hget(key, 'opts')) ?? '') as Record<string, unknown>;
    await edited(lane('acme', 'acme~x'), (own) => (own['tk!'] = opts['tk!']));
    expect((await run(2)).toSorted()).toEqual(['completed', 'mismatch']);
  });

  // Stated in the README: the server computes the times, so that no header binds them.
  it('of a job to another time of the same scheduler runs, as what was signed', async () => {
    const { key } = await scheduled();
    const id = 'repeat:tick:1700000000000';
    await copy(key, lane('acme', id));
    await edited(lane('acme', id), (opts) => Object.assign(opts, { jobId: id }));
    await push(id);
    expect(await run(2)).toEqual(['completed', 'completed']);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(1);
  });
});

describe('over time', () => {
  it('what was changed while a job ran holds from the next one on', async () => {
    const queue = on.queue('mail');
    const upsert = (every: number, data: unknown): Promise<unknown> =>
      withTenant('acme', () => queue.upsertJobScheduler('tick', { every, limit: 9 }, { data }));
    // Not a day: BullMQ keeps the offset of the old interval, and adds it when a job of the new one begins late.
    await upsert(90, 'old');
    const ran: unknown[] = [];
    const both = Promise.withResolvers<void>();
    const worker = on.worker('mail', async (job) => {
      ran.push(job.data);
      if (ran.length === 1) await upsert(50, 'new');
      if (ran.length === 3) both.resolve();
    });
    // What would end the chain of its jobs.
    worker.on('failed', (_job, error) => both.reject(error));
    worker.on('error', (error) => both.reject(error));
    await both.promise;
    expect(ran).toEqual(['old', 'new', 'new']);
  });

  it('a worker that died with a job in hand, before it made the next one: another one makes it', async () => {
    const { id } = await scheduled();
    await on.redis.lmove(lane('acme', 'wait'), lane('acme', 'active'), 'LEFT', 'LEFT');
    await on.redis.sadd(lane('acme', 'stalled'), id);
    const worker = on.worker('mail', async (job) => job.id, { stalledInterval: 50 });
    expect(await finished(worker, 1)).toMatchObject([{ event: 'completed', id }]);
    expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(1);
  });

  it('of a tenant that was erased nothing further is made', async () => {
    const fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 50,
      maxStaleness: 1_000,
    });
    try {
      const tenant = { signingKeys: [KEY], fence } as const;
      const queue = on.queue('mail', { tenant });
      for (const id of ['acme', 'acme2']) {
        await withTenant(id, () => queue.upsertJobScheduler('tick', { every: DAY }, { data: id }));
      }
      await fence.markErased('acme');
      const worker = on.worker('mail', async (job) => job.data as unknown, { tenant, autorun: false });
      const done = finished(worker, 2);
      void worker.run();
      expect(await done).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ event: 'completed', result: 'acme2' }),
          expect.objectContaining({ event: 'failed', error: expect.objectContaining({ reason: 'fenced' }) }),
        ]),
      );
      expect(await on.redis.zcard(lane('acme', 'delayed'))).toBe(0);
      expect(await on.redis.zcard(lane('acme2', 'delayed'))).toBe(1);
    } finally {
      fence.close();
    }
  });
});

describe('operators', () => {
  const audit = async (): Promise<unknown[]> => {
    const found: unknown[] = [];
    const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [KEY] });
    for await (const { code, name } of auditor.audit(AbortSignal.timeout(60_000))) found.push([code, name]);
    return found;
  };

  it('the auditor verifies schedulers and what they have made', async () => {
    const { queue, key } = await scheduled();
    await withTenant('acme2', () => queue.upsertJobScheduler('a:b', { every: DAY }));
    expect(await audit()).toEqual([]);
    await on.redis.hset(key, 'data', '{"amount":1000}');
    await on.redis.hset(TEMPLATE, 'every', '1');
    await on.redis.zadd(lane('acme', 'repeat'), 1, 'gone');
    expect(await audit()).toEqual(
      expect.arrayContaining([
        ['invalid_signature', key],
        ['invalid_signature', TEMPLATE],
        ['unsigned_scheduler', lane('acme', 'repeat:gone')],
      ]),
    );
  });

  it('the eraser removes schedulers, what they have made, and deduplications', async () => {
    const { queue, id } = await scheduled();
    const add = (tenant: string, jobId: string): Promise<unknown> =>
      withTenant(tenant, () => queue.add('n', {}, { jobId, deduplication: { id: `d-${jobId}`, ttl: DAY } }));
    await withTenant('acme2', () => queue.upsertJobScheduler('tick', { every: DAY }));
    await withTenant('acme', () => queue.addJobLog(id, 'row'));
    for (const tenant of ['acme', 'acme2']) for (const jobId of ['one', 'two']) await add(tenant, jobId);
    // Removed by hand: its deduplication goes on for a day.
    await on.redis.del(lane('acme', 'acme~two'));
    await on.redis.lrem(lane('acme', 'wait'), 0, 'acme~two');
    const before = (await on.redis.keys(lane('acme2', '*'))).toSorted();
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    const { items } = await eraser.plan({ tenant: 'acme' });
    expect(items.find(({ kind }) => kind === 'jobs')).toEqual({ kind: 'jobs', count: 2 });
    const run = {
      signal: AbortSignal.timeout(60_000),
      checkpoint: { load: async () => undefined, save: async () => undefined },
      progress: () => undefined,
    };
    await eraser.erase({ tenant: 'acme' }, run);
    expect(await on.redis.keys(lane('acme', '*'))).toEqual([]);
    expect((await on.redis.keys(lane('acme2', '*'))).toSorted()).toEqual(before);
  });
});
