import type { JobScheduler } from 'bullmq';
import {
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  currentTenant,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { schedulerRules } from '../src/rules.ts';
import type { Queue, Worker } from '@tenantkit/queue';
import { bench, type Bench } from './support.ts';

const OPERATOR = { reason: 'test', actor: 'operator' };
const DAY = 86_400_000;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const lane = (tenant: string, key: string): string => `bull:mail~${tenant}:${key}`;
const inside = <T>(tenant: string, fn: () => T): T => withTenant(tenant, fn);

/** Resolves when the worker has completed so many jobs, with what each of them was. */
function completed(worker: Worker, count: number): Promise<readonly unknown[]> {
  const { promise, resolve } = Promise.withResolvers<readonly unknown[]>();
  const ran: unknown[] = [];
  worker.on('completed', (_job, result) => {
    ran.push(result);
    if (ran.length === count) resolve(ran);
  });
  return promise;
}

describe('a scheduler', () => {
  it('makes jobs for its tenant, under the ids that BullMQ gives them', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) {
      const job = await inside(tenant, () =>
        queue.upsertJobScheduler('tick', { every: 50, limit: 3 }, { name: 'n', data: { of: tenant } }),
      );
      expect(job?.id).toMatch(/^repeat:tick:\d{13}$/);
      expect(job?.repeatJobKey).toBe('tick');
    }
    const errors: Error[] = [];
    const worker = on.worker(
      'mail',
      async (job) => ({
        tenant: currentTenant()?.tenant,
        data: job.data as unknown,
        name: job.name,
        id: job.id?.replace(/\d{13}$/, '#'),
        key: job.repeatJobKey,
        count: (job.opts as { repeat?: { count?: number } }).repeat?.count,
      }),
      { autorun: false },
    );
    worker.on('error', (error) => errors.push(error));
    const ran = completed(worker, 6);
    void worker.run();
    const of = (tenant: string, count: number) => ({
      tenant,
      data: { of: tenant },
      name: 'n',
      id: 'repeat:tick:#',
      key: 'tick',
      count,
    });
    const all = (await ran) as { tenant: string; count: number }[];
    for (const tenant of ['acme', 'acme2'])
      expect(all.filter((job) => job.tenant === tenant)).toEqual([1, 2, 3].map((count) => of(tenant, count)));
    expect(errors).toEqual([]);
    // The limit is reached: nothing follows.
    for (const tenant of ['acme', 'acme2']) expect(await on.redis.zcard(lane(tenant, 'delayed'))).toBe(0);
  });

  it('of a pattern makes its jobs as well', async () => {
    const queue = on.queue('mail');
    const made = await inside('acme', () =>
      queue.upsertJobScheduler(
        'tick',
        { pattern: '* * * * * *', tz: 'Europe/Paris', limit: 2, endDate: Date.now() + DAY },
        { opts: { attempts: 3, backoff: 5, removeOnComplete: true, priority: 2, keepLogs: 7 } },
      ),
    );
    expect(made?.name).toBe('tick');
    let failures = 0;
    const worker = on.worker('mail', async (job) => {
      if (failures++ === 0) throw new Error('once more');
      return [job.opts.attempts, job.opts.priority, job.opts.keepLogs, job.attemptsMade];
    });
    expect(await completed(worker, 2)).toEqual([
      [3, 2, 7, 1],
      [3, 2, 7, 0],
    ]);
  });
});

/** A scheduler of each tenant, under the same id. */
async function scheduled(): Promise<Queue> {
  const queue = on.queue('mail');
  for (const tenant of ['acme', 'acme2'])
    await inside(tenant, () =>
      queue.upsertJobScheduler(
        'tick',
        { every: DAY, offset: 1_000, limit: 5, startDate: 1_000, endDate: new Date(Date.now() + 9 * DAY) },
        { name: 'n', data: { of: tenant }, opts: { attempts: 2, keepLogs: 7 } },
      ),
    );
  return queue;
}

/** Everything that the server has about a tenant. */
async function stored(tenant: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const key of (await on.redis.keys(lane(tenant, '*'))).toSorted())
    found[key] = (await on.redis.dumpBuffer(key))?.toString('base64') ?? '';
  return found;
}

const SHOWN = {
  key: 'tick',
  name: 'n',
  every: DAY,
  offset: 1_000,
  limit: 5,
  startDate: 1_000,
  endDate: expect.any(Number) as number,
  iterationCount: 1,
  next: expect.any(Number) as number,
  template: { data: { of: 'acme' }, opts: { attempts: 2, keepLogs: 7 } },
};

/** What each method answers to `acme`, of its own schedulers alone. */
const METHODS: Readonly<Record<string, (scheduler: JobScheduler) => Promise<readonly [unknown, unknown]>>> = {
  upsertJobScheduler: async (scheduler) => {
    const job = await scheduler.upsertJobScheduler('other', { every: DAY }, 'm', {}, {}, { override: true });
    return [
      [job?.name, job?.repeatJobKey],
      ['m', 'other'],
    ];
  },
  getScheduler: async (scheduler) => [
    [await scheduler.getScheduler('tick'), await scheduler.getScheduler('none')],
    [SHOWN, undefined],
  ],
  getJobSchedulers: async (scheduler) => [await scheduler.getJobSchedulers(), [SHOWN]],
  getSchedulersCount: async (scheduler) => [await scheduler.getSchedulersCount(), 1],
  isJobScheduler: async (scheduler) => [
    [await scheduler.isJobScheduler('tick'), await scheduler.isJobScheduler('none')],
    [true, false],
  ],
  removeJobScheduler: async (scheduler) => [
    [
      await scheduler.removeJobScheduler('none'),
      await scheduler.removeJobScheduler('tick'),
      await scheduler.getSchedulersCount(),
    ],
    [1, 0, 0],
  ],
};

describe('the methods', () => {
  it('each that is not refused has a test', () => {
    const scoped = Object.entries(schedulerRules).filter(([, { kind }]) => kind === 'custom');
    expect(scoped.map(([name]) => name).toSorted()).toEqual(Object.keys(METHODS).toSorted());
  });

  it.each(Object.keys(METHODS))('%s: of its tenant alone, by its own names', async (name) => {
    const queue = await scheduled();
    const before = await stored('acme2');
    const call = async (): Promise<readonly [unknown, unknown]> =>
      (await METHODS[name]?.(await queue.jobScheduler)) ?? [1, 2];
    const [found, expected] = await inside('acme', call);
    expect(found).toEqual(expected);
    expect(JSON.stringify(found)).not.toMatch(/acme~|acme2|tk!/);
    expect(await stored('acme2')).toEqual(before);
    const scheduler = await inside('acme', () => queue.jobScheduler);
    await expect(async () => METHODS[name]?.(scheduler)).rejects.toThrow(MissingTenantError);
  });

  it.each(['close', 'disconnect'] as const)('%s is refused: the connection is the queue’s', async (name) => {
    const queue = await scheduled();
    const scheduler = await inside('acme', () => queue.jobScheduler);
    await expect(inside('acme', () => scheduler[name]())).rejects.toThrow(OperationRefusedError);
    expect(await inside('acme', () => scheduler.getSchedulersCount())).toBe(1);
  });

  it('those of the Queue go the same way', async () => {
    const queue = await scheduled();
    await inside('acme', async () => {
      expect(await queue.getJobScheduler('tick')).toEqual(SHOWN);
      expect(await queue.getJobSchedulers(0, -1, true)).toEqual([SHOWN]);
      expect(await queue.getJobSchedulersCount()).toBe(1);
      expect(await queue.removeJobScheduler('tick')).toBe(true);
      expect(await queue.removeJobScheduler('tick')).toBe(false);
      expect(await queue.getJobSchedulers()).toEqual([]);
    });
    expect(await inside('acme2', () => queue.getJobSchedulersCount())).toBe(1);
  });

  it('its next job is a job of the tenant like any other', async () => {
    const queue = await scheduled();
    await inside('acme', async () => {
      const [job] = await queue.getWaiting();
      expect(job).toMatchObject({ name: 'n', data: { of: 'acme' }, repeatJobKey: 'tick' });
      const id = job?.id ?? '';
      expect(id).toMatch(/^repeat:tick:\d+$/);
      expect((await queue.getJob(id))?.opts).not.toHaveProperty('tk!');
      expect(await queue.getJobState(id)).toBe('waiting');
      await queue.addJobLog(id, 'row');
      expect(await queue.getJobLogs(id)).toEqual({ logs: ['row'], count: 1 });
      // BullMQ does not remove the job that a scheduler is to make.
      await expect(job?.remove()).rejects.toThrow('belongs to a job scheduler');
      await job?.updateData({ of: 'acme', more: 1 });
      expect((await queue.getJob(id))?.data).toEqual({ of: 'acme', more: 1 });
    });
    const worker = on.worker('mail', async (running) => running.data as unknown);
    expect(await completed(worker, 2)).toEqual(
      expect.arrayContaining([{ of: 'acme', more: 1 }, { of: 'acme2' }]),
    );
    // The next one is made from the template again.
    const next = await inside('acme', () => queue.getDelayed());
    expect(next.map(({ data }) => data as unknown)).toEqual([{ of: 'acme' }]);
    expect(await inside('acme2', () => queue.getJobCounts('delayed', 'completed'))).toEqual({
      delayed: 1,
      completed: 1,
    });
  });

  it('an operator names it with the tenant before it, and cannot make one', async () => {
    const queue = await scheduled();
    await acrossTenants(OPERATOR, async () => {
      expect(await queue.getJobSchedulersCount()).toBe(2);
      const keys = (await queue.getJobSchedulers()).map(({ key }) => key);
      expect(keys.toSorted()).toEqual(['acme2~tick', 'acme~tick']);
      expect(await queue.getJobScheduler('acme~tick')).toMatchObject({ key: 'acme~tick', every: DAY });
      expect(await queue.getJobScheduler('tick')).toBeUndefined();
      await expect(queue.upsertJobScheduler('acme~x', { every: DAY })).rejects.toThrow(OperationRefusedError);
      expect(await queue.removeJobScheduler('acme~tick')).toBe(true);
      expect(await queue.getJobSchedulersCount()).toBe(1);
    });
    expect(await inside('acme2', () => queue.getJobSchedulersCount())).toBe(1);
  });
});

describe('what is refused', () => {
  const bad: Readonly<Record<string, readonly unknown[]>> = {
    'an empty id': ['', { every: DAY }],
    'a lone surrogate': ['\ud800', { every: DAY }],
    'an id like an iteration': ['tick:1700000000000', { every: DAY }],
    'an id like a lock of one': ['tick:1700000000000:lock', { every: DAY }],
    'an id that is a list': [['tick'], { every: DAY }],
    'a part of a millisecond': ['x', { every: 1.5 }],
    'a negative interval': ['x', { every: -1 }],
    'an interval as text': ['x', { every: '1000' }],
    'a limit as text': ['x', { every: DAY, limit: '5' }],
    'no limit at all': ['x', { every: DAY, limit: Infinity }],
    'a negative offset': ['x', { every: DAY, offset: -1 }],
    'a member that cron-parser would read': ['x', { pattern: '* * * * *', hashSeed: 'acme2' }],
    'a key': ['x', { every: DAY, key: 'acme2~tick' }],
    'a start that is no date': ['x', { every: DAY, startDate: 'never' }],
    'an id in the template': ['x', { every: DAY }, { opts: { jobId: 'mine' } }],
    'a deduplication in the template': ['x', { every: DAY }, { opts: { deduplication: { id: 'd' } } }],
    'a parent in the template': ['x', { every: DAY }, { opts: { parent: { id: 'p', queue: 'bull:mail' } } }],
    'a header in the template': ['x', { every: DAY }, { opts: { 'tk!': 'v1.k1.x.y' } }],
    'a repeat in the template': ['x', { every: DAY }, { opts: { repeat: { every: 1 } } }],
    'a priority that is too big': ['x', { every: DAY }, { opts: { priority: 2 ** 22 } }],
    'a name that is no text': ['x', { every: DAY }, { name: 5 }],
    'data that is no JSON': ['x', { every: DAY }, { data: () => 1 }],
  };
  it.each(Object.entries(bad))('%s, and nothing is stored', async (_name, [id, schedule, template]) => {
    const queue = on.queue('mail');
    const call = inside('acme', () =>
      queue.upsertJobScheduler(id as string, schedule as object, template as object),
    );
    await expect(call).rejects.toThrow(OperationRefusedError);
    expect(await on.redis.keys(lane('acme', '*'))).toEqual([]);
  });

  it.each([
    ['every', { every: 10_000 / 3 }, /every of the schedule.* a whole number of milliseconds.*Math\.round/],
    ['offset', { every: DAY, offset: 0.5 }, /offset of the schedule.* a whole number of milliseconds/],
    ['limit', { every: DAY, limit: 1.5 }, /limit of the schedule.* a whole number of jobs/],
    ['utc', { pattern: '* * * * *', utc: true }, /the schedule has utc, which is no option/],
    [
      'what may be data',
      { every: DAY, 'ada@example.com': 1 },
      /the schedule has a member, which is no option/,
    ],
  ] as const)('and the refusal says which member it was: %s', async (_name, schedule, text) => {
    const queue = on.queue('mail');
    await inside('acme', async () => {
      await expect(queue.upsertJobScheduler('x', schedule)).rejects.toThrow(text);
      await expect(queue.upsertJobScheduler('x', { every: Math.round(10_000 / 3) })).resolves.toBeDefined();
    });
  });

  it('a pattern that is too long, a zone that is no text and a time that is none, past cron-parser', async () => {
    const { backend } = on.queue('mail');
    await inside('acme', async () => {
      for (const [next, schedule] of [
        [1, { pattern: '*'.repeat(1_001) }],
        [1, { pattern: '* * * * *', tz: { zone: 'UTC' } }],
        [Number.NaN, { pattern: '* * * * *' }],
      ] as const) {
        const ofJob = { repeat: { ...schedule, count: 1 } };
        const call = backend.addJobScheduler(
          'x',
          next,
          '{}',
          {},
          { name: 'n', ...schedule } as never,
          ofJob as never,
        );
        await expect(call).rejects.toThrow(OperationRefusedError);
      }
    });
    expect(await on.redis.keys(lane('acme', '*'))).toEqual([]);
  });

  const good = ['tick', '0', '42', 'repeat', 'a:b', 'user:42', 'a:b::c:1 2', '~', 'acme2~tick', 'ü'];
  it.each(good)('%j is an id', async (id) => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      await inside(tenant, () => queue.upsertJobScheduler(id, { every: DAY, limit: 2 }, { data: tenant }));
    await inside('acme', async () => {
      expect((await queue.getJobScheduler(id))?.key).toBe(id);
      const [job] = await queue.getJobs(['waiting', 'delayed']);
      expect(job?.repeatJobKey).toBe(id);
    });
    const worker = on.worker('mail', async (job) => [job.data, job.repeatJobKey]);
    expect(await completed(worker, 2)).toEqual(
      expect.arrayContaining([
        ['acme', id],
        ['acme2', id],
      ]),
    );
    expect(await inside('acme', () => queue.removeJobScheduler(id))).toBe(true);
    expect(await inside('acme2', () => queue.getJobSchedulersCount())).toBe(1);
  });

  it('an id of an iteration is nobody’s to give', async () => {
    const queue = await scheduled();
    const { backend } = queue;
    await inside('acme', async () => {
      for (const jobId of ['repeat:tick:1700000000000', 'repeat:tick'])
        await expect(queue.add('n', {}, { jobId })).rejects.toThrow(Error);
      const job = { name: 'n', data: '{}', opts: {}, timestamp: Date.now() };
      await expect(backend.addJob(job as never, 'repeat:tick:1700000000000')).rejects.toThrow(
        OperationRefusedError,
      );
      await expect(
        backend.updateJobSchedulerNextMillis('tick', 1, '{}', {}, 'repeat:tick:1700000000000'),
      ).rejects.toThrow(OperationRefusedError);
      expect(await queue.getJob('repeat:tick:1700000000000')).toBeUndefined();
      // The hash of a scheduler is no job.
      await expect(queue.getJob('repeat:tick')).rejects.toThrow(OperationRefusedError);
    });
  });
});
