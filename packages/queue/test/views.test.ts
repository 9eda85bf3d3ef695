import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { queueBackstop, type Job, type Queue } from '@tenantkit/queue';
import { OperationRefusedError, acrossTenants, currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { jobRules, queueRules } from '../src/rules.ts';
import { CountingRedis, audited, OPERATOR, bench, finished, type Bench } from './support.ts';

// `acme` is hostile; `acme2` is the victim, with jobs of the same ids in the same states.

const MINUTE = 60_000;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const inside = <T>(tenant: string, fn: () => T): T => withTenant(tenant, fn);

/** A job in each state, of both tenants alike: `waiting`, `prioritized`, `delayed`, `completed`, `failed`. */
async function filled(connection: Redis = on.redis): Promise<Queue> {
  const queue = on.queue('mail', { connection });
  const worker = on.worker(
    'mail',
    async (job) => {
      await job.log(`a row of ${currentTenant()?.tenant}`);
      if (job.id === 'failed') throw new Error('no');
      return { of: currentTenant()?.tenant };
    },
    { connection, metrics: { maxDataPoints: 10 } },
  );
  const done = finished(worker, 4);
  for (const tenant of ['acme', 'acme2']) {
    await inside(tenant, async () => {
      for (const jobId of ['completed', 'failed']) await queue.add('n', { tenant }, { jobId });
    });
  }
  await done;
  await worker.close();
  for (const tenant of ['acme', 'acme2']) {
    await inside(tenant, async () => {
      await queue.add('n', { tenant, n: 1 }, { jobId: 'waiting', timestamp: 1 });
      await queue.add('n', { tenant }, { jobId: 'prioritized', priority: 7, timestamp: 1 });
      await queue.add('n', { tenant }, { jobId: 'delayed', delay: MINUTE, timestamp: 1 });
    });
  }
  return queue;
}

/** Everything that the server has about a tenant, byte for byte. */
async function stored(tenant: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const keys = (await on.redis.keys('*')).filter((key) => key.startsWith(`bull:mail~${tenant}:`));
  for (const key of keys.toSorted()) found[key] = (await on.redis.dumpBuffer(key))?.toString('base64') ?? '';
  return found;
}

async function of(queue: Queue, id: string): Promise<Job> {
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error(`${id} is not there`);
  return job;
}

/** BullMQ emits an id or a job, whatever its types say. */
const nameOf = (job: string | { readonly id?: string }): unknown => (typeof job === 'string' ? job : job.id);

const ids = (jobs: readonly { readonly id?: string | undefined }[]): unknown[] => jobs.map(({ id }) => id);

/** What has tests of its own: deduplication.test.ts, schedulers.test.ts, flows.test.ts. */
const ELSEWHERE = /Deduplication|Debounce|JobScheduler|ChildDep|Unprocessed|ChildrenV|ChildrenF|Dependenc/;

/** What each method of Queue answers to `acme`, of its own jobs alone. */
const LOOKS: Readonly<Record<string, (queue: Queue) => Promise<readonly [unknown, unknown]>>> = {
  getJob: async (queue) => [(await of(queue, 'failed')).failedReason, 'no'],
  getJobState: async (queue) => [await queue.getJobState('delayed'), 'delayed'],
  getJobs: async (queue) => [
    ids(await queue.getJobs())
      .map(String)
      .toSorted(),
    ['completed', 'delayed', 'failed', 'prioritized', 'waiting'],
  ],
  getRanges: async (queue) => [
    await queue.getRanges(['waiting', 'failed', 'delayed'], 0, -1),
    ['waiting', 'failed', 'delayed'],
  ],
  getWaiting: async (queue) => [ids(await queue.getWaiting()), ['waiting']],
  getWaitingChildren: async (queue) => [ids(await queue.getWaitingChildren()), []],
  getActive: async (queue) => [ids(await queue.getActive()), []],
  getDelayed: async (queue) => [ids(await queue.getDelayed()), ['delayed']],
  getPrioritized: async (queue) => [ids(await queue.getPrioritized()), ['prioritized']],
  getCompleted: async (queue) => [
    (await queue.getCompleted()).map(({ id, returnvalue }) => [id, returnvalue as unknown]),
    [['completed', { of: 'acme' }]],
  ],
  getFailed: async (queue) => [ids(await queue.getFailed()), ['failed']],
  count: async (queue) => [await queue.count(), 3],
  getJobCounts: async (queue) => [
    await queue.getJobCounts('waiting', 'completed', 'failed', 'delayed', 'prioritized', 'active'),
    { waiting: 1, completed: 1, failed: 1, delayed: 1, prioritized: 1, active: 0 },
  ],
  getJobCountByTypes: async (queue) => [await queue.getJobCountByTypes('waiting', 'failed'), 2],
  getCompletedCount: async (queue) => [await queue.getCompletedCount(), 1],
  getFailedCount: async (queue) => [await queue.getFailedCount(), 1],
  getDelayedCount: async (queue) => [
    [
      await queue.getDelayedCount(),
      await queue.getDelayedCount(1),
      await queue.getDelayedCount(Date.now() + 2 * MINUTE),
    ],
    [1, 0, 1],
  ],
  getActiveCount: async (queue) => [await queue.getActiveCount(), 0],
  getPrioritizedCount: async (queue) => [await queue.getPrioritizedCount(), 1],
  getCountsPerPriority: async (queue) => [await queue.getCountsPerPriority([0, 7, 8]), { 0: 1, 7: 1, 8: 0 }],
  getWaitingCount: async (queue) => [await queue.getWaitingCount(), 1],
  getWaitingChildrenCount: async (queue) => [await queue.getWaitingChildrenCount(), 0],
  getMetrics: async (queue) => [(await queue.getMetrics('failed')).meta.count, 1],
  exportPrometheusMetrics: async (queue) => [
    (await queue.exportPrometheusMetrics({ zone: 'z' }))
      .split('\n')
      .filter((line) => / [1-9]\d*$/.test(line))
      .toSorted(),
    [
      'bullmq_job_completed_total{queue="mail", zone="z"} 1',
      'bullmq_job_count{queue="mail", state="completed", zone="z"} 1',
      'bullmq_job_count{queue="mail", state="delayed", zone="z"} 1',
      'bullmq_job_count{queue="mail", state="failed", zone="z"} 1',
      'bullmq_job_count{queue="mail", state="prioritized", zone="z"} 1',
      'bullmq_job_count{queue="mail", state="waiting", zone="z"} 1',
      'bullmq_job_failed_total{queue="mail", zone="z"} 1',
    ],
  ],
  getJobLogs: async (queue) => [await queue.getJobLogs('completed'), { logs: ['a row of acme'], count: 1 }],
  getMeta: async (queue) => [
    await queue.getMeta(),
    { maxLenEvents: 1_000, paused: false, version: expect.stringMatching(/^bullmq:/) },
  ],
  getVersion: async (queue) => [await queue.getVersion(), expect.stringMatching(/^bullmq:6\./)],
  getGlobalConcurrency: async (queue) => [await queue.getGlobalConcurrency(), null],
  getGlobalRateLimit: async (queue) => [await queue.getGlobalRateLimit(), null],
  getRateLimitTtl: async (queue) => [
    [await queue.getRateLimitTtl(), await queue.getRateLimitTtl(5)],
    [-2, 0],
  ],
  isPaused: async (queue) => [await queue.isPaused(), false],
  isMaxed: async (queue) => [await queue.isMaxed(), false],
};

const states = (queue: Queue) =>
  queue.getJobCounts('waiting', 'completed', 'failed', 'delayed', 'prioritized');
const ALL = { waiting: 1, completed: 1, failed: 1, delayed: 1, prioritized: 1 };

/** What each method of Queue does to the jobs of `acme`. */
const ACTS: Readonly<Record<string, (queue: Queue) => Promise<void>>> = {
  async add(queue) {
    await queue.add('n', {}, { jobId: 'new' });
    expect(await states(queue)).toEqual({ ...ALL, waiting: 2 });
  },
  async addBulk(queue) {
    await queue.addBulk([{ name: 'n', data: {} }]);
    expect(await states(queue)).toEqual({ ...ALL, waiting: 2 });
  },
  async addJobLog(queue) {
    expect(await queue.addJobLog('completed', 'row')).toBe(2);
  },
  async updateJobProgress(queue) {
    await queue.updateJobProgress('waiting', { done: 1 });
    expect((await of(queue, 'waiting')).progress).toEqual({ done: 1 });
  },
  async drain(queue) {
    await queue.drain();
    expect(await states(queue)).toEqual({ ...ALL, waiting: 0, prioritized: 0 });
    await queue.drain(true);
    expect(await states(queue)).toEqual({ ...ALL, waiting: 0, prioritized: 0, delayed: 0 });
  },
  async clean(queue) {
    expect(await queue.clean(0, 10, 'completed')).toEqual(['completed']);
    for (const state of ['failed', 'delayed', 'prioritized', 'waiting'] as const) {
      expect(await queue.clean(-1, 0, state)).toEqual([state]);
    }
    expect(await queue.getJobs()).toEqual([]);
  },
  async obliterate(queue) {
    await queue.obliterate();
    expect(await queue.getJobs()).toEqual([]);
    expect(await queue.isPaused()).toBe(false);
  },
  async retryJobs(queue) {
    await queue.retryJobs();
    expect(await states(queue)).toEqual({ ...ALL, failed: 0, waiting: 2 });
    await queue.retryJobs({ state: 'completed' });
    expect(await states(queue)).toEqual({ ...ALL, failed: 0, completed: 0, waiting: 3 });
  },
  async promoteJobs(queue) {
    await queue.promoteJobs();
    expect(await states(queue)).toEqual({ ...ALL, delayed: 0, waiting: 2 });
  },
  async pause(queue) {
    await queue.pause();
    expect(await queue.isPaused()).toBe(true);
  },
  async resume(queue) {
    await queue.pause();
    await queue.resume();
    expect(await queue.isPaused()).toBe(false);
  },
  async trimEvents(queue) {
    expect(await on.redis.xlen('bull:mail~acme:events')).toBeGreaterThan(0);
    await queue.trimEvents(0);
    expect(await on.redis.xlen('bull:mail~acme:events')).toBe(0);
  },
  async removeDeprecatedPriorityKey(queue) {
    await on.redis.set('bull:mail~acme:priority', '1');
    expect(await queue.removeDeprecatedPriorityKey()).toBe(1);
  },
  async remove(queue) {
    for (const id of Object.keys(ALL)) expect(await queue.remove(id)).toBe(1);
    expect(await queue.getJobs()).toEqual([]);
  },
};

/** What each method of Job does to a job of `acme`. */
const CHANGES: Readonly<Record<string, (queue: Queue) => Promise<void>>> = {
  async updateProgress(queue) {
    await (await of(queue, 'waiting')).updateProgress(5);
    expect((await of(queue, 'waiting')).progress).toBe(5);
  },
  async log(queue) {
    expect(await (await of(queue, 'completed')).log('row')).toBe(2);
  },
  async clearLogs(queue) {
    await (await of(queue, 'completed')).clearLogs();
    expect(await queue.getJobLogs('completed')).toEqual({ logs: [], count: 0 });
  },
  async getState(queue) {
    expect(await (await of(queue, 'failed')).getState()).toBe('failed');
  },
  async isCompleted(queue) {
    expect(await (await of(queue, 'completed')).isCompleted()).toBe(true);
  },
  async isFailed(queue) {
    expect(await (await of(queue, 'failed')).isFailed()).toBe(true);
  },
  async isDelayed(queue) {
    expect(await (await of(queue, 'delayed')).isDelayed()).toBe(true);
  },
  async isActive(queue) {
    expect(await (await of(queue, 'delayed')).isActive()).toBe(false);
  },
  async isWaiting(queue) {
    expect(await (await of(queue, 'waiting')).isWaiting()).toBe(true);
  },
  async isWaitingChildren(queue) {
    expect(await (await of(queue, 'waiting')).isWaitingChildren()).toBe(false);
  },
  async extendLock(queue) {
    expect(await (await of(queue, 'waiting')).extendLock('token', 1)).toBe(0);
  },
  async updateData(queue) {
    await (await of(queue, 'waiting')).updateData({ n: 2 });
    expect((await of(queue, 'waiting')).data).toEqual({ n: 2 });
  },
  async changeDelay(queue) {
    await (await of(queue, 'delayed')).changeDelay(5 * MINUTE);
    expect((await of(queue, 'delayed')).delay).toBe(5 * MINUTE);
  },
  async changePriority(queue) {
    await (await of(queue, 'waiting')).changePriority({ priority: 3 });
    expect((await of(queue, 'waiting')).priority).toBe(3);
    expect(await states(queue)).toEqual({ ...ALL, waiting: 0, prioritized: 2 });
  },
  async promote(queue) {
    await (await of(queue, 'delayed')).promote();
    expect(await states(queue)).toEqual({ ...ALL, waiting: 2, delayed: 0 });
  },
  async retry(queue) {
    const failed = await of(queue, 'failed');
    await failed.retry('failed', { resetAttemptsMade: true });
    expect(failed.attemptsMade).toBe(0);
    await (await of(queue, 'completed')).retry('completed');
    expect(await states(queue)).toEqual({ ...ALL, failed: 0, completed: 0, waiting: 3 });
  },
  async remove(queue) {
    for (const id of Object.keys(ALL)) await (await of(queue, id)).remove();
    expect(await queue.getJobs()).toEqual([]);
  },
};

describe('a tenant looks at its queue', () => {
  const methods = Object.keys(LOOKS);

  it('every method that answers has a test', () => {
    const scoped = Object.entries(queueRules).filter(
      ([, { kind, ...rule }]) =>
        kind === 'custom' &&
        'custom' in rule &&
        ['scoped', 'jobs', 'bulk', 'counted', 'dates', 'obliterates'].includes(rule.custom),
    );
    const here = scoped.map(([name]) => name).filter((name) => !ELSEWHERE.test(name));
    expect(here.toSorted()).toEqual([...methods, ...Object.keys(ACTS)].toSorted());
  });

  it.each(methods)('%s: its own jobs, by their own names, and nothing is changed', async (name) => {
    const queue = await filled();
    const before = [await stored('acme'), await stored('acme2')];
    const [found, expected] = await inside('acme', async () => (await LOOKS[name]?.(queue)) ?? []);
    expect(found).toEqual(expected);
    expect(JSON.stringify(found)).not.toMatch(/acme~|acme2|tk!/);
    expect([await stored('acme'), await stored('acme2')]).toEqual(before);
    // A tenant that has no job sees none of theirs.
    const nobody = await inside('nobody', async () =>
      LOOKS[name]?.(queue).then(
        ([answer]) => JSON.stringify(answer),
        (error: unknown) => String(error),
      ),
    );
    expect(nobody).not.toMatch(/acme|~|tk!/);
  });

  it('jobs have no header, their own ids, and the data that was signed', async () => {
    const queue = await filled();
    const [job] = await inside('acme', () => queue.getDelayed());
    expect(job).toMatchObject({
      id: 'delayed',
      data: { tenant: 'acme' },
      opts: { jobId: 'delayed', delay: MINUTE, attempts: 0 },
      timestamp: 1,
    });
    const same = await inside('acme', () => queue.getJob('delayed'));
    expect(JSON.stringify(job)).toBe(JSON.stringify(same));
  });

  it('a page is a page, in the order of BullMQ', async () => {
    const queue = on.queue('mail');
    const raw = on.raw('plain');
    const names = Array.from({ length: 12 }, (_, at) => `job-${at}`);
    for (const jobId of names) {
      await raw.add('n', {}, { jobId });
      await inside('acme', () => queue.add('n', {}, { jobId }));
      await inside('acme2', () => queue.add('n', {}, { jobId: `other-${jobId}` }));
    }
    for (const [start, end, asc] of [
      [0, -1, false],
      [0, 3, false],
      [0, 3, true],
      [4, 7, true],
      [10, 20, true],
    ] as const) {
      const [own, theirs] = [
        await inside('acme', () => queue.getJobs(['waiting'], start, end, asc)),
        await raw.getJobs(['waiting'], start, end, asc),
      ];
      expect(ids(own)).toEqual(ids(theirs));
      expect(await inside('acme', () => queue.getRanges(['waiting'], start, end, asc))).toEqual(
        await raw.getRanges(['waiting'], start, end, asc),
      );
    }
  });

  it('a list of a hundred jobs is one command', async () => {
    const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const queue = on.queue('mail', { connection });
    await inside('acme', () => queue.addBulk(Array.from({ length: 100 }, () => ({ name: 'n', data: {} }))));
    const before = connection.sent;
    expect(await inside('acme', () => queue.getWaiting())).toHaveLength(100);
    expect(connection.sent - before).toBe(1);
    await queue.close();
    connection.disconnect();
  });

  it('what is no state, position or number is refused, and nothing is made of it', async () => {
    const queue = await filled();
    const { backend } = queue;
    const bad: readonly (() => Promise<unknown>)[] = [
      () => queue.getJobs('meta' as 'waiting'),
      () => queue.getJobs('waiting:x' as 'waiting'),
      () => queue.getJobs(['waiting'], '0' as never),
      () => queue.getJobs(['waiting'], 0, Number.NaN),
      () => queue.getRanges(['waiting', 'acme~waiting:logs' as 'waiting']),
      () => queue.getJobCounts('stalled' as 'waiting'),
      () => queue.getMetrics('x:data' as 'failed'),
      () => queue.getCountsPerPriority(['1' as never]),
      () => queue.getRateLimitTtl('x' as never),
      () => queue.clean(0, 1, 'meta' as 'failed'),
      () => queue.clean('x' as never, 1),
      () => queue.retryJobs({ state: 'delayed' as 'failed' }),
      () => queue.retryJobs({ count: 0 }),
      () => queue.retryJobs({ timestamp: Number.NaN }),
      () => queue.promoteJobs({ count: 0 }),
      () => queue.obliterate({ count: 0 }),
      () => queue.obliterate({ force: true }),
      () => queue.trimEvents(-1),
      () => backend.cleanJobsByState('events', 1, 1),
      () => backend.getCounts({ map: () => ['waiting'] } as never),
      async () => (await of(queue, 'delayed')).changeDelay(Number.NaN),
      async () => (await of(queue, 'delayed')).changeDelay('1' as never),
      async () => (await of(queue, 'waiting')).changePriority({ priority: 2 ** 21 + 1 }),
      async () => (await of(queue, 'waiting')).changePriority({ priority: 0.5 }),
      async () => (await of(queue, 'waiting')).updateData(undefined),
      async () => (await of(queue, 'failed')).retry('delayed' as 'failed'),
      async () => (await of(queue, 'waiting')).moveToWait('0'),
      async () => (await of(queue, 'waiting')).moveToWait(),
      async () => (await of(queue, 'waiting')).moveToDelayed(1),
      async () => (await of(queue, 'waiting')).moveToCompleted('x', '0'),
      async () => (await of(queue, 'waiting')).moveToFailed(new Error('x'), ''),
    ];
    const before = await stored('acme');
    for (const call of bad) await expect(inside('acme', call)).rejects.toThrow(OperationRefusedError);
    expect(await stored('acme')).toEqual(before);
  });
});

describe('a tenant acts on its queue', () => {
  it.each(Object.entries(ACTS))('%s: on its own jobs, and on nobody else’s', async (name, act) => {
    const queue = await filled();
    const before = await stored('acme2');
    await inside('acme', () => act(queue));
    expect(await stored('acme2')).toEqual(before);
    await inside('acme2', async () => {
      expect(await states(queue)).toEqual(ALL);
      expect(await queue.isPaused()).toBe(false);
      // The control: the same does the same to its own.
      if (!NAMES_ACME.has(name)) await act(queue);
    });
  });

  it('every method of a job that is not refused has a test', () => {
    const scoped = Object.entries(jobRules).filter(
      ([, rule]) => rule.kind === 'custom' && rule.custom === 'scoped',
    );
    // moveToCompleted and moveToFailed need the token of a worker: see by-hand.test.ts.
    const names = scoped
      .map(([name]) => name)
      .filter((name) => !name.startsWith('moveTo') && !ELSEWHERE.test(name));
    expect(names.toSorted()).toEqual(Object.keys(CHANGES).toSorted());
  });

  it.each(Object.entries(CHANGES))('Job.%s: its own, and nobody else’s', async (_name, act) => {
    const queue = await filled();
    const before = await stored('acme2');
    await inside('acme', () => act(queue));
    expect(await stored('acme2')).toEqual(before);
    await inside('acme2', () => act(queue));
  });

  it('events go to the listeners of that tenant, with its own ids', async () => {
    const queue = await filled();
    const heard: unknown[] = [];
    const listen = (who: string): void => {
      queue.on('cleaned', (cleaned, type) => heard.push([who, 'cleaned', cleaned, type]));
      queue.on('paused', () => heard.push([who, 'paused', currentTenant()?.tenant]));
      queue.on('resumed', () => heard.push([who, 'resumed', currentTenant()?.tenant]));
      queue.on('removed', (job: string | { id?: string }) => heard.push([who, 'removed', nameOf(job)]));
      queue.on('progress', (job: string | { id?: string }, progress) =>
        heard.push([who, 'progress', nameOf(job), progress]),
      );
    };
    inside('acme', () => listen('acme'));
    inside('acme2', () => listen('acme2'));
    await inside('acme', async () => {
      await queue.clean(0, 10, 'completed');
      await queue.pause();
      await queue.resume();
      await queue.remove('waiting');
      await (await of(queue, 'delayed')).remove();
      await queue.updateJobProgress('failed', 5);
    });
    expect(heard).toEqual([
      ['acme', 'cleaned', ['completed'], 'completed'],
      ['acme', 'paused', 'acme'],
      ['acme', 'resumed', 'acme'],
      ['acme', 'removed', 'waiting'],
      ['acme', 'removed', 'delayed'],
      ['acme', 'progress', 'failed', 5],
    ]);
    // An operator's pause is everybody's.
    heard.length = 0;
    await acrossTenants(OPERATOR, () => queue.pause());
    expect(heard).toEqual([
      ['acme', 'paused', 'acme'],
      ['acme2', 'paused', 'acme2'],
    ]);
    expect(await inside('acme', () => queue.isPaused())).toBe(true);
    expect(await inside('acme', () => queue.getMeta())).toMatchObject({ paused: true });
    await acrossTenants(OPERATOR, () => queue.resume());
    expect(await inside('acme', () => queue.isPaused())).toBe(false);
  });

  it('a paused tenant waits, alone, and goes on when it resumes', async () => {
    const queue = on.queue('mail');
    await inside('acme', () => queue.pause());
    for (const tenant of ['acme', 'acme2']) await inside(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    const ran: unknown[] = [];
    const worker = on.worker('mail', async () => ran.push(currentTenant()?.tenant));
    await finished(worker, 1);
    expect(ran).toEqual(['acme2']);
    const more = finished(worker, 1);
    await inside('acme', () => queue.resume());
    await more;
    expect(ran).toEqual(['acme2', 'acme']);
  });

  it('an operator’s pause stops everybody, and the end of it starts them', async () => {
    const queue = on.queue('mail');
    await acrossTenants(OPERATOR, () => queue.pause());
    const worker = on.worker('mail', async () => currentTenant()?.tenant);
    const done = finished(worker, 2);
    for (const tenant of ['acme', 'acme2']) await inside(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    // A tenant's own resume does not end it.
    await inside('acme', () => queue.resume());
    expect(await acrossTenants(OPERATOR, () => queue.getJobCounts('waiting'))).toEqual({ waiting: 2 });
    await acrossTenants(OPERATOR, () => queue.resume());
    expect((await done).map(({ result }) => String(result)).toSorted()).toEqual(['acme', 'acme2']);
  });
});

describe('the Redis user of the backstop', () => {
  const user = `tk-test-${randomBytes(8).toString('hex')}`;
  const password = randomBytes(24).toString('hex');
  let limited: Redis;
  beforeAll(async () => {
    const { rules } = queueBackstop({ user, queues: ['mail'] });
    await on.redis.call('ACL', 'SETUSER', ...rules, `>${password}`, 'on');
    limited = new Redis(on.url, { username: user, password, maxRetriesPerRequest: null });
  });
  afterAll(async () => {
    limited.disconnect();
    await on.redis.call('ACL', 'DELUSER', user);
  });

  it.each(Object.entries(LOOKS))('may do what %s does', async (_name, look) => {
    const queue = await filled(limited);
    const [found, expected] = await inside('acme', () => look(queue));
    expect(found).toEqual(expected);
  });

  it.each([...Object.entries(ACTS), ...Object.entries(CHANGES)])(
    'may do what %s does',
    async (_name, act) => {
      const queue = await filled(limited);
      await inside('acme', () => act(queue));
      // The control: it is this user.
      await expect(limited.call('CONFIG', 'GET', 'databases')).rejects.toThrow(/NOPERM/);
    },
  );

  it('may do what an operator does', async () => {
    const queue = await filled(limited);
    await acrossTenants(OPERATOR, async () => {
      await queue.setTenantLimits('acme', { concurrency: 2, weight: 3 });
      expect(await queue.getTenantLimits('acme')).toEqual({ concurrency: 2, weight: 3 });
      expect(await queue.getTenants()).toEqual(['acme', 'acme2']);
      await queue.pause();
      await queue.resume();
      await queue.retryJobs();
      await queue.drain(true);
      expect(await queue.getWaitingCount()).toBe(0);
      await queue.obliterate();
    });
    expect(await on.redis.keys('bull:mail~acme*')).toEqual([]);
  });
});

describe('what somebody else has put into a lane', () => {
  /** Acme's genuine job, in the lane of acme2 and in acme's own under another id; and a forged one in each. */
  async function planted(): Promise<Queue> {
    const queue = await filled();
    const hash = await on.redis.hgetall('bull:mail~acme2:acme2~waiting');
    await on.redis.hset('bull:mail~acme:acme2~waiting', hash);
    await on.redis.hset('bull:mail~acme:acme~copy', hash);
    await on.redis.rpush('bull:mail~acme:wait', 'acme2~waiting', 'acme~copy');
    await on.raw('mail~acme').add('n', { forged: true }, { jobId: 'acme~forged' });
    return queue;
  }

  it('is shown to nobody, and reported; counts count it', async () => {
    const queue = await planted();
    using refusals = audited('refused');
    await inside('acme', async () => {
      const found = await queue.getWaiting();
      expect(ids(found)).toEqual(['waiting']);
      expect(found[0]?.data).toEqual({ tenant: 'acme', n: 1 });
      expect(await queue.getWaitingCount()).toBe(4);
    });
    expect(refusals.events).toHaveLength(3);
    expect(JSON.stringify(refusals.events)).not.toMatch(/acme2|forged/);
    expect((await inside('acme', () => queue.getRanges(['waiting'], 0, -1))).toSorted()).toEqual([
      'copy',
      'forged',
      'waiting',
    ]);
  });

  it('can be removed by the tenant, without what it claims to be linked to', async () => {
    const queue = await planted();
    const before = await victimWithChildren();
    for (const id of ['acme~copy', 'acme~forged', 'acme~delayed']) await link(id);
    for (const id of ['acme~copy', 'acme~forged', 'acme~delayed'])
      await on.redis.sadd(`bull:mail~acme:${id}:dependencies`, 'bull:mail~acme2:acme2~waiting');
    await inside('acme', async () => {
      expect(await queue.remove('copy')).toBe(1);
      expect(await queue.remove('forged')).toBe(1);
      expect(await queue.remove('delayed')).toBe(1);
      await expect(queue.getJob('delayed')).resolves.toBeUndefined();
    });
    expect(await stored('acme2')).toEqual(before);
  });

  const WHOLE: Readonly<Record<string, (queue: Queue) => Promise<unknown>>> = {
    drain: (queue) => queue.drain(true),
    clean: async (queue) => {
      for (const state of ['completed', 'failed', 'delayed', 'prioritized', 'waiting'] as const)
        await queue.clean(-1, 1, state);
    },
    obliterate: (queue) => queue.obliterate(),
    retryJobs: async (queue) => {
      await queue.retryJobs();
      await queue.retryJobs({ state: 'completed' });
    },
  };

  it.each(Object.entries(WHOLE))('%s follows no link', async (_name, act) => {
    const queue = await filled();
    const before = await victimWithChildren();
    for (const id of Object.keys(ALL)) await link(`acme~${id}`);
    await inside('acme', () => act(queue));
    expect(await stored('acme2')).toEqual(before);
    // The control: BullMQ itself does.
    const raw = on.raw('mail~acme');
    await raw.add('n', {}, { jobId: 'linked' });
    await link('linked');
    await raw.remove('linked');
    expect(await stored('acme2')).not.toEqual(before);
  });

  it('cannot be changed, run again or ended by hand', async () => {
    const queue = await planted();
    await link('acme~failed');
    const before = await victimWithChildren();
    const at = await stored('acme');
    await inside('acme', async () => {
      const { backend } = queue;
      const job = (id: string) => ({ id, opts: {} }) as never;
      for (const id of ['copy', 'forged', 'failed']) {
        for (const call of [
          () => backend.updateData(job(id), { n: 1 }),
          () => backend.retryFinishedJob(job(id), 'failed'),
          () => backend.moveToCompleted(job(id), 'x', true, 'token', false),
          () => backend.moveToFailed(job(id), 'x', true, 'token', false),
          () => backend.moveToDelayed(id, 1, 1, 'token'),
          () => backend.moveJobFromActiveToWait(id, 'token'),
          () => backend.retryJob(id, false, 'token'),
        ]) {
          await expect(call()).rejects.toMatchObject({ code: 'SIGNATURE_INVALID' });
        }
      }
    });
    expect(await stored('acme')).toEqual(at);
    expect(await stored('acme2')).toEqual(before);
  });

  /** Gives `acme2` a job that waits for children, as flows have them. */
  async function victimWithChildren(): Promise<Record<string, string>> {
    await on.redis.hset('bull:mail~acme2:acme2~parent', 'name', 'n', 'data', '{}', 'opts', '{}');
    await on.redis.zadd('bull:mail~acme2:waiting-children', 1, 'acme2~parent');
    for (const id of [
      ...Object.keys(ALL).map((own) => `acme~${own}`),
      'acme~copy',
      'acme~forged',
      'linked',
    ]) {
      const child = `bull:mail~acme:${id}`;
      await on.redis.sadd('bull:mail~acme2:acme2~parent:dependencies', child);
      await on.redis.hset('bull:mail~acme2:acme2~parent:processed', child, '1');
      await on.redis.hset('bull:mail~acme2:acme2~parent:failed', child, '1');
    }
    return stored('acme2');
  }

  /** Makes a job of `acme` claim that it is the only child that the job of `acme2` waits for. */
  async function link(id: string): Promise<void> {
    await on.redis.hset(`bull:mail~acme:${id}`, 'parentKey', 'bull:mail~acme2:acme2~parent');
  }
});

/** Those that look at keys of `acme` by name. */
const NAMES_ACME: ReadonlySet<string> = new Set(['trimEvents', 'removeDeprecatedPriorityKey']);
