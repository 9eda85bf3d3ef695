import { once } from 'node:events';
import { inspect } from 'node:util';
import * as bullmq from 'bullmq';
import {
  MissingTenantError,
  OperationRefusedError,
  TenantSwitchError,
  acrossTenants,
  createTenantRegistry,
  currentScope,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Job, UnrecoverableError, Worker } from '@tenantkit/queue';
import { workerRules } from '../src/rules.ts';
import { KEY, OTHER_KEY, OPERATOR, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const members = (key: string): Promise<string[]> => on.redis.zrange(key, 0, '-1');

describe('the processor', () => {
  it('runs inside the tenant, subject and actor that the job was added in', async () => {
    const queue = on.queue('mail');
    const seen: unknown[] = [];
    const worker = on.worker('mail', async (job) => {
      seen.push([currentTenant(), job.id, job.name, job.data, job.opts, job instanceof Job]);
      return { from: currentTenant()?.tenant };
    });
    const done = finished(worker, 2);
    await withTenant({ tenant: 'acme', subject: 'p1', actor: 'ada' }, () =>
      queue.add('a', { n: 1 }, { jobId: 'one', attempts: 2 }),
    );
    await withTenant('acme2', () => queue.add('b', { n: 2 }, { jobId: 'one' }));
    expect(await done).toEqual([
      { event: 'completed', id: 'one', result: { from: 'acme' } },
      { event: 'completed', id: 'one', result: { from: 'acme2' } },
    ]);
    expect(seen).toEqual([
      [
        { tenant: 'acme', subject: 'p1', actor: 'ada' },
        'one',
        'a',
        { n: 1 },
        { attempts: 2, jobId: 'one' },
        true,
      ],
      [{ tenant: 'acme2' }, 'one', 'b', { n: 2 }, { attempts: 0, jobId: 'one' }, true],
    ]);
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'returnvalue')).toBe('{"from":"acme"}');
  });

  it('runs in the tenant of the job when the Worker was made, run, paused and resumed inside another', async () => {
    const queue = on.queue('mail');
    const seen: unknown[] = [];
    const worker = withTenant('ac', () =>
      on.worker('mail', async () => void seen.push(currentTenant()?.tenant), { autorun: false }),
    );
    const first = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    const running = withTenant('ac', () => worker.run());
    await first;
    await withTenant('ac', () => worker.pause());
    await running;
    expect(worker.isPaused()).toBe(true);
    const second = finished(worker, 2);
    await withTenant('acme2', () => queue.add('n', {}));
    await withTenant('a-b', () => queue.add('n', {}));
    await withTenant('ac', () => worker.resume());
    await second;
    // Between two tenants it is not the order of adding that counts.
    expect([seen[0], new Set(seen.slice(1))]).toEqual(['acme', new Set(['a-b', 'acme2'])]);
    expect(seen).toHaveLength(3);
    await withTenant('ac', () => worker.close());
  });

  it('never sees another tenant at concurrency 50', async () => {
    const queue = on.queue('mail');
    const wrong: unknown[] = [];
    const running = new Map<string, number>();
    let most = 0;
    const worker = on.worker(
      'mail',
      async (job) => {
        const check = (): void => {
          if (currentTenant()?.tenant !== (job.data as { tenant: string }).tenant) wrong.push(job.data);
        };
        running.set(job.id ?? '', (running.get(job.id ?? '') ?? 0) + 1);
        most = Math.max(most, running.get(job.id ?? '') ?? 0);
        check();
        await job.updateProgress(1);
        check();
        await job.log('half');
        check();
        await new Promise((resolve) => setImmediate(resolve));
        check();
        running.set(job.id ?? '', (running.get(job.id ?? '') ?? 0) - 1);
        if (job.attemptsMade === 0 && job.data.n % 7 === 0) throw new Error('once more');
      },
      { concurrency: 50 },
    );
    const jobs = 60;
    const done = finished(worker, jobs * TENANTS.length);
    for (const tenant of TENANTS) {
      await withTenant(tenant, () =>
        queue.addBulk(
          Array.from({ length: jobs }, (_, n) => ({
            name: 'n',
            data: { tenant, n },
            opts: { jobId: `j${n}`, attempts: 2 },
          })),
        ),
      );
    }
    expect((await done).every(({ event }) => event === 'completed')).toBe(true);
    expect(wrong).toEqual([]);
    // The same logical id of several tenants was in work at the same time.
    expect(most).toBeGreaterThan(1);
    for (const tenant of TENANTS) {
      expect(await on.redis.lrange(`bull:mail~${tenant}:${tenant}~j0:logs`, 0, -1)).toEqual(['half', 'half']);
    }
  });

  it('gets the token, and a signal when it asks for one', async () => {
    const queue = on.queue('mail');
    const running: string[] = [];
    const worker = on.worker(
      'mail',
      async (job, token, signal) => {
        expect(token).toBe(job.token);
        running.push(`${currentTenant()?.tenant}:${job.id}`);
        if (signal === undefined) throw new Error('no signal');
        const aborted = once(signal, 'abort');
        await job.updateProgress('started');
        await aborted;
        throw new UnrecoverableError(`aborted: ${String(signal.reason)}`);
      },
      { concurrency: 2 },
    );
    const done = finished(worker, 2);
    const both = new Promise<void>((resolve) => {
      let count = 0;
      worker.on('progress', () => void ((count += 1) === 2 && resolve()));
    });
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    await both;
    expect(withTenant('ac', () => worker.cancelJob('one', 'not mine'))).toBe(false);
    expect(withTenant('ac', () => worker.cancelJob('acme~one', 'not mine'))).toBe(false);
    expect(() => worker.cancelJob('one')).toThrow(MissingTenantError);
    expect(withTenant('acme', () => worker.cancelJob('one', 'by acme'))).toBe(true);
    expect(() => withTenant('acme', () => worker.cancelAllJobs())).toThrow(OperationRefusedError);
    acrossTenants(OPERATOR, () => worker.cancelAllJobs('by the operator'));
    expect(new Set((await done).map(({ error }) => error?.message))).toEqual(
      new Set(['aborted: by acme', 'aborted: by the operator']),
    );
    expect(running.toSorted()).toEqual(['acme2:one', 'acme:one']);
  });

  it('is not given a signal when it does not ask, as in BullMQ', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (_job, _token) => 'no signal');
    const done = finished(worker, 1);
    const job = await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await done;
    expect(withTenant('acme', () => worker.cancelJob(job.id ?? ''))).toBe(false);
  });

  it('may enter no other tenant, and reaches no loop through its job', async () => {
    const queue = on.queue('mail');
    const caught: unknown[] = [];
    await withTenant('acme2', () => queue.add('other', {}, { jobId: 'two' }));
    const attempt = async (call: () => unknown): Promise<void> => {
      try {
        await call();
        caught.push('passed');
      } catch (error) {
        caught.push((error as Error).constructor);
      }
    };
    const worker = on.worker('mail', async (job) => {
      if (job.name === 'other') return;
      await attempt(() => withTenant('acme2', () => job.log('x')));
      await attempt(async () => {
        if ((await worker.backend.getJobData('acme2~two')) === undefined) throw new RangeError('nothing');
      });
      await attempt(() => worker.backend.moveToActive('token', 'name'));
      await attempt(() => worker.getNextJob('token'));
      await attempt(() => worker.processJob(job, 'token'));
      await attempt(() => worker.extendJobLocks(['acme2~two'], ['t'], 1));
      await attempt(() => job.moveToFailed(new Error('x'), '0'));
      await attempt(() => job.moveToDelayed(Date.now(), '0'));
      await attempt(() => job.moveToWaitingChildren('0'));
      // The lock is the job's own, with its token; with another one it is not extended.
      expect(await job.extendLock(job.token ?? '', 5_000)).toBe(1);
      expect(await job.extendLock('0', 5_000)).toBe(0);
    });
    const done = finished(worker, 2);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    expect((await done).map(({ error }) => error)).toEqual([undefined, undefined]);
    expect(caught).toEqual([
      TenantSwitchError,
      RangeError,
      OperationRefusedError,
      OperationRefusedError,
      OperationRefusedError,
      OperationRefusedError,
      OperationRefusedError,
      OperationRefusedError,
      OperationRefusedError,
    ]);
  });

  it('cannot change how the loop goes on by changing its job', async () => {
    const queue = on.queue('mail');
    let runs = 0;
    const worker = on.worker('mail', async (job) => {
      runs += 1;
      job.id = 'acme2~one';
      job.opts.attempts = 10;
      job.opts.removeOnFail = { count: 0 };
      job.attemptsMade = -5;
      throw new Error('fails');
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one', attempts: 2 }));
    await done;
    expect(runs).toBe(2);
    expect(await members('bull:mail~acme:failed')).toEqual(['acme~one']);
  });
});

describe('what BullMQ does with a job', () => {
  it('retries with backoff, delays, keeps logs, progress and results, in the tenant', async () => {
    const queue = on.queue('mail');
    const seen: unknown[] = [];
    const worker = on.worker('mail', async (job) => {
      seen.push([currentTenant()?.tenant, job.attemptsMade, job.data, job.opts.backoff]);
      await job.log(`attempt ${job.attemptsMade}`);
      await job.updateProgress({ attempt: job.attemptsMade });
      if (job.attemptsMade < 2) throw new Error(`failed ${job.attemptsMade}`);
      return 'done';
    });
    const done = finished(worker, 1);
    await withTenant('acme', () =>
      queue.add(
        'n',
        { x: 'é' },
        { jobId: 'one', attempts: 3, delay: 30, backoff: { type: 'exponential', delay: 5 }, priority: 2 },
      ),
    );
    expect(await done).toEqual([{ event: 'completed', id: 'one', result: 'done' }]);
    const backoff = { type: 'exponential', delay: 5 };
    expect(seen).toEqual([0, 1, 2].map((attempt) => ['acme', attempt, { x: 'é' }, backoff]));
    await withTenant('acme', async () => {
      const job = await queue.getJob('one');
      expect(job).toMatchObject({
        id: 'one',
        returnvalue: 'done',
        attemptsMade: 3,
        progress: { attempt: 2 },
      });
      expect(await job?.isCompleted()).toBe(true);
      expect(await queue.getJobLogs('one')).toEqual({
        logs: ['attempt 0', 'attempt 1', 'attempt 2'],
        count: 3,
      });
    });
  });

  it('runs a job again whose worker died', async () => {
    const queue = on.queue('mail');
    const errors: string[] = [];
    let revive = (): void => undefined;
    const started = new Promise<void>((resolve) => {
      // Neither renews its lock nor looks for stalled jobs: as good as dead.
      const dying = on.worker(
        'mail',
        () => {
          resolve();
          return new Promise<void>((finish) => (revive = finish));
        },
        { lockDuration: 200, skipLockRenewal: true, skipStalledCheck: true },
      );
      dying.on('error', ({ message }) => void errors.push(message));
    });
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => queue.add('n', { n: 1 }, { jobId: 'one' }));
    await started;
    const worker = on.worker('mail', async (job) => [currentTenant(), job.id, job.stalledCounter], {
      stalledInterval: 100,
    });
    const stalled: unknown[] = [];
    worker.on('stalled', (id) => void stalled.push([currentTenant()?.tenant, id]));
    expect(await finished(worker, 1)).toMatchObject([
      { event: 'completed', result: [{ tenant: 'acme', subject: 'p1' }, 'one', 1] },
    ]);
    expect(stalled).toEqual([['acme', 'one']]);
    // The first worker comes back: it has lost the lock, and cannot finish the job a second time.
    revive();
    await expect.poll(() => errors.join()).toContain('Missing lock for job acme~one');
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'atm')).toBe('1');
  });

  it('keeps the lock of a job that takes long', async () => {
    const queue = on.queue('mail');
    const lockDuration = 2_000;
    const begun = performance.now();
    let runs = 0;
    const renewed: unknown[] = [];
    let enough = (): void => undefined;
    const often = new Promise<void>((resolve) => (enough = resolve));
    const worker = on.worker(
      'mail',
      async () => {
        runs += 1;
        await often;
      },
      { lockDuration, lockRenewTime: 100, stalledInterval: 50, concurrency: 2 },
    );
    const stalled: unknown[] = [];
    worker.on('stalled', (id) => void stalled.push(id));
    withTenant('acme', () =>
      worker.on('locksRenewed', ({ jobIds }) => {
        // Five times, and for longer than the lock would have lasted.
        if (renewed.push(jobIds) >= 5 && performance.now() - begun > 1.5 * lockDuration) enough();
      }),
    );
    const done = finished(worker, 2);
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    expect((await done).map(({ event }) => event)).toEqual(['completed', 'completed']);
    expect(runs).toBe(2);
    expect(stalled).toEqual([]);
    expect(renewed.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => ['one']));
  });

  it('removes what was to be removed, and nothing of another tenant', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (job) => {
      if (job.name === 'bad') throw new Error('bad');
    });
    const done = finished(worker, 4);
    await withTenant('acme2', () =>
      queue.addBulk([
        { name: 'n', data: {}, opts: { jobId: 'one' } },
        { name: 'bad', data: {}, opts: { jobId: 'two' } },
      ]),
    );
    await withTenant('acme', () =>
      queue.addBulk([
        { name: 'n', data: {}, opts: { jobId: 'one', removeOnComplete: true } },
        { name: 'bad', data: {}, opts: { jobId: 'two', removeOnFail: true } },
      ]),
    );
    await done;
    expect(await members('bull:mail~acme2:completed')).toEqual(['acme2~one']);
    expect(await members('bull:mail~acme2:failed')).toEqual(['acme2~two']);
    expect(await on.redis.keys('bull:mail~acme:acme~*')).toEqual([]);
  });

  it('asks the backoff strategy in the tenant of the job, with its job', async () => {
    const queue = on.queue('mail');
    const asked: unknown[] = [];
    const worker = on.worker(
      'mail',
      async (job) => {
        if (job.attemptsMade === 0) throw new Error('again');
      },
      {
        settings: {
          backoffStrategy: (attemptsMade, type, error, job) => {
            asked.push([currentTenant()?.tenant, attemptsMade, type, error?.message, job?.id, job?.data]);
            return 1;
          },
        },
      },
    );
    const done = finished(worker, 1);
    await withTenant('acme', () =>
      queue.add('n', { n: 1 }, { jobId: 'one', attempts: 2, backoff: { type: 'mine' } }),
    );
    await done;
    expect(asked).toEqual([['acme', 1, 'mine', 'again', 'one', { n: 1 }]]);
  });

  it('is traced: what a producer’s span left in the job is bound, and comes back to the consumer’s', async () => {
    const began: string[] = [];
    const received: string[] = [];
    const span: bullmq.Span = {
      setSpanOnContext: (context) => context,
      setAttribute: () => undefined,
      setAttributes: () => undefined,
      addEvent: () => undefined,
      recordException: () => undefined,
      end: () => undefined,
    };
    const telemetry: bullmq.Telemetry = {
      tracer: {
        startSpan(name) {
          began.push(name);
          return span;
        },
      },
      contextManager: {
        with: (_context, fn) => fn(),
        active: () => ({}),
        getMetadata: () => 'trace-1',
        fromMetadata(context, metadata) {
          received.push(metadata);
          return context;
        },
      },
    };
    const queue = on.queue('mail', { telemetry });
    const worker = on.worker('mail', async (job) => [currentTenant()?.tenant, job.opts.telemetry], {
      telemetry,
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    expect(await done).toMatchObject([{ event: 'completed', result: ['acme', { metadata: 'trace-1' }] }]);
    expect(began).toEqual(expect.arrayContaining(['add mail.n', 'process mail']));
    expect(received).toContain('trace-1');
  });

  it('is verified with the key that signed it, after the keys were rotated', async () => {
    const old = on.queue('mail', { tenant: { signingKeys: [OTHER_KEY] } });
    await withTenant('acme', () => old.add('n', {}, { jobId: 'one' }));
    const rotated = { tenant: { signingKeys: [KEY, OTHER_KEY] } } as const;
    await withTenant('acme', () => on.queue('mail', rotated).add('n', {}, { jobId: 'two' }));
    const worker = on.worker('mail', async () => 'ran', rotated);
    const done = await finished(worker, 2);
    expect(done.map(({ event, id }) => [event, id])).toEqual([
      ['completed', 'one'],
      ['completed', 'two'],
    ]);
  });
});

describe('the fence', () => {
  let fence: TenantRegistry;
  beforeAll(async () => {
    fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 50,
      maxStaleness: 1_000,
    });
  });
  afterAll(() => fence.close());

  it('a frozen tenant’s job waits, an erased one’s fails, and neither is shown', async () => {
    const tenant = { signingKeys: [KEY], fence } as const;
    const queue = on.queue('mail', { tenant });
    for (const name of ['acme', 'acme2', 'ac'])
      await withTenant(name, () => queue.add('n', { name }, { jobId: 'one' }));
    await fence.freeze('acme');
    await fence.markErased('ac');
    const ran: unknown[] = [];
    const active: unknown[] = [];
    const worker = on.worker('mail', async () => void ran.push(currentTenant()?.tenant), {
      tenant,
      autorun: false,
    });
    worker.on('active', (job) => void active.push(job.id));
    const done = finished(worker, 2);
    const failures: unknown[] = [];
    worker.on('failed', (job, error) => void failures.push([job, currentScope(), error]));
    void worker.run();
    await done;
    expect(ran).toEqual(['acme2']);
    expect(active).toEqual(['one']);
    expect(failures).toMatchObject([[undefined, undefined, { code: 'SIGNATURE_INVALID', reason: 'fenced' }]]);
    // But for the key, by which an operator finds it.
    const shown = failures.map((failure) =>
      (failure as unknown[]).map((one) => (one instanceof Error ? [one.message, JSON.stringify(one)] : one)),
    );
    expect(inspect(shown, { depth: 10 })).not.toMatch(/"?ac"?\W*one/);
    // The frozen tenant's lane is put aside as a whole, and its job is not touched.
    expect(await members('bull:mail~:due')).toEqual(['acme']);
    expect(await on.redis.lrange('bull:mail~acme:wait', 0, -1)).toEqual(['acme~one']);
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'ats')).toBeNull();
    // Of an erased tenant nothing is kept: what a late write has left ends here.
    expect(await members('bull:mail~ac:failed')).toEqual([]);
    expect(await on.redis.exists('bull:mail~ac:ac~one')).toBe(0);

    const thawed = finished(worker, 1);
    await fence.unfreeze('acme');
    await thawed;
    expect(ran).toEqual(['acme2', 'acme']);
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'atm')).toBe('1');
  });
});

describe('listeners', () => {
  it('hear the jobs of the tenant they were registered in, or all, each in its tenant', async () => {
    const queue = on.queue('mail');
    const worker = on.worker(
      'mail',
      async (job) => {
        await job.updateProgress(50);
        if (job.name === 'bad') throw new Error(`${currentTenant()?.tenant} failed`);
        return currentTenant()?.tenant;
      },
      { autorun: false },
    );
    const heard: Record<string, unknown[]> = { outside: [], acme: [], across: [] };
    const listen = (who: string): void => {
      const note = (event: string, ...rest: unknown[]): void =>
        void heard[who]?.push([event, currentTenant()?.tenant, ...rest]);
      worker.on('active', (job, prev) => note('active', job.id, prev));
      worker.on('progress', (job, progress) => note('progress', job.id, progress));
      worker.on('completed', (job, result, prev) =>
        note('completed', job.id, job.returnvalue, result, prev, job.data),
      );
      worker.on('failed', (job, error) => note('failed', job?.id, job?.failedReason, error.message));
      worker.on('drained', () => note('drained'));
    };
    listen('outside');
    withTenant('acme', () => listen('acme'));
    acrossTenants(OPERATOR, () => listen('across'));
    const done = finished(worker, 3);
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', { tenant }, { jobId: 'one' }));
    await withTenant('acme2', () => queue.add('bad', {}, { jobId: 'two' }));
    const drained = once(worker, 'drained');
    void worker.run();
    await done;
    await drained;
    const jobOf = (tenant: string): unknown[] => [
      ['active', tenant, 'one', 'waiting'],
      ['progress', tenant, 'one', 50],
      ['completed', tenant, 'one', tenant, tenant, 'active', { tenant }],
    ];
    const all = [
      ...jobOf('acme'),
      ...jobOf('acme2'),
      ['active', 'acme2', 'two', 'waiting'],
      ['progress', 'acme2', 'two', 50],
      ['failed', 'acme2', 'two', 'acme2 failed', 'acme2 failed'],
    ];
    expect(heard['outside']).toEqual([...all, ['drained', undefined]]);
    expect(heard['across']).toEqual([...all, ['drained', undefined]]);
    expect(heard['acme']).toEqual([...jobOf('acme'), ['drained', 'acme']]);
  });

  it('take themselves away, also inside the tenant of a job, and nobody else’s', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const heard: unknown[] = [];
    const ofService = (): void => {
      heard.push(currentTenant()?.tenant);
      worker.off('completed', ofService);
    };
    worker.on('completed', ofService);
    const ofTenant = (): void => {
      heard.push('tenant');
      worker.off('completed', stays);
    };
    const stays = (): void => void heard.push('stays');
    worker.on('completed', stays);
    withTenant('acme', () => worker.on('completed', ofTenant));
    const errors = worker.listenerCount('error');
    const last = finished(worker, 2);
    const completed = once(worker, 'completed');
    void worker.run();
    for (const name of ['one', 'two']) await withTenant('acme', () => queue.add(name, {}));
    await completed;
    await last;
    expect(heard).toEqual(['acme', 'stays', 'tenant', 'stays', 'tenant']);
    // `once` listens for errors meanwhile.
    expect(worker.listenerCount('error')).toBe(errors);
  });

  it('hear of locks by tenant', () => {
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const heard: unknown[] = [];
    worker.on('lockRenewalFailed', (ids) => void heard.push(['outside', currentTenant()?.tenant, ids]));
    withTenant('acme', () => worker.on('lockRenewalFailed', (ids) => void heard.push(['acme', ids])));
    withTenant('acme', () => worker.on('locksRenewed', (data) => void heard.push(['acme', data])));
    worker.emit('lockRenewalFailed', ['acme~1', 'acme2~1', 'acme~2', 'nobody']);
    worker.emit('locksRenewed', { count: 3, jobIds: ['acme~1', 'acme2~1', 'acme2~2'] });
    expect(heard).toEqual([
      ['outside', 'acme', ['1', '2']],
      ['acme', ['1', '2']],
      ['outside', 'acme2', ['1']],
      ['outside', undefined, ['nobody']],
      ['acme', { count: 1, jobIds: ['1'] }],
    ]);
  });

  it('that throw reach only those who may hear it', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => undefined);
    const heard: unknown[] = [];
    withTenant('acme', () =>
      worker.on('completed', () => {
        throw new Error('secret of acme');
      }),
    );
    withTenant('acme', () => worker.on('error', (error) => void heard.push(['acme', error.message])));
    withTenant('acme2', () => worker.on('error', (error) => void heard.push(['acme2', error.message])));
    const told = new Promise<void>((resolve) => {
      worker.on('error', (error) => {
        heard.push(['outside', error.message]);
        resolve();
      });
    });
    await withTenant('acme', () => queue.add('n', {}));
    await told;
    expect(heard).toEqual([
      ['acme', expect.not.stringContaining('secret')],
      ['outside', 'secret of acme'],
    ]);
  });
});

describe('construction and the table', () => {
  it('needs a processor and known options', () => {
    const make = (processor: unknown, options: object = {}): Worker =>
      new Worker('mail', processor as never, {
        connection: on.redis,
        tenant: { signingKeys: [KEY] },
        ...options,
      });
    for (const processor of [undefined, null, '', {}]) {
      expect(() => make(processor)).toThrow(OperationRefusedError);
    }
    const processor = async (): Promise<void> => undefined;
    for (const options of [
      { removeOnComplete: { count: -5 } },
      { removeOnFail: { age: 5, limit: 1e9 } },
      { settings: { repeatStrategy: () => 1 } },
    ]) {
      expect(() => make(processor, options), JSON.stringify(options)).toThrow(OperationRefusedError);
    }
    expect(() => make(processor, { unknown: 1 })).toThrow(/unknown option unknown/);
    expect(() => make(processor, { tenant: undefined })).toThrow(/tenant/);
  });

  it('keeps finished jobs by age for all tenants alike', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => undefined, {
      removeOnComplete: { count: 0 },
      removeOnFail: { age: 60, limit: 5 },
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await done;
    expect(await on.redis.exists('bull:mail~acme:acme~one')).toBe(0);
  });

  it.each(Object.entries(workerRules).filter(([, rule]) => rule.kind === 'refuse'))(
    '%s is refused',
    async (name, rule) => {
      const worker = on.worker('mail', async () => undefined, { autorun: false });
      const call = async (): Promise<unknown> => {
        const member: unknown = Reflect.get(worker, name);
        return typeof member === 'function' ? (Reflect.apply(member, worker, [1]) as unknown) : member;
      };
      await expect(withTenant('acme', call)).rejects.toMatchObject({
        code: 'OPERATION_REFUSED',
        operation: name,
        why: rule.kind === 'refuse' ? rule.why : '',
      });
      await expect(call()).rejects.toBeInstanceOf(Error);
    },
  );

  it('takes the options of a connection as well as a client', async () => {
    const { hostname: host, port, pathname } = new URL(on.url);
    const connection = { host, port: Number(port), db: Number(pathname.slice(1)) };
    const queue = on.queue('mail', { connection });
    const worker = on.worker('mail', async () => currentTenant()?.tenant, { connection, name: 'w' });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    expect(await done).toMatchObject([{ event: 'completed', result: 'acme' }]);
    expect(withTenant('acme', () => worker.opts.connection)).toMatchObject(connection);
  });

  it('starts by itself, outside of any tenant, and stops when closed inside one', async () => {
    const queue = on.queue('mail');
    const worker = withTenant('acme', () => on.worker('mail', async () => currentTenant()?.tenant));
    expect(worker.isRunning()).toBe(true);
    expect(worker.opts.autorun).toBe(true);
    const done = finished(worker, 1);
    await withTenant('acme2', () => queue.add('n', {}));
    expect(await done).toMatchObject([{ result: 'acme2' }]);
    await withTenant('acme', () => worker.close());
    expect(worker.isRunning()).toBe(false);
  });

  it('has no way to the store', () => {
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    for (const value of Object.values(worker)) {
      expect(value).not.toBeInstanceOf(bullmq.RedisQueueBackend);
      expect(value).not.toBeInstanceOf(bullmq.RedisConnection);
    }
    expect(() => withTenant('acme', () => worker.backend.client)).toThrow(OperationRefusedError);
    expect(inspect(worker, { depth: 10, showHidden: true })).not.toContain(String(KEY.secret));
  });

  it('a step of the loop that is called by hand gets nothing', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'ran', { autorun: false });
    await withTenant('acme', () => queue.add('n', { secret: 1 }, { jobId: 'one' }));
    const inside = worker as unknown as Record<
      'moveToActive' | 'nextJobFromJobData' | 'callProcessJob',
      (...args: unknown[]) => Promise<unknown>
    >;
    await expect(inside.moveToActive('t', 'w')).rejects.toThrow(MissingTenantError);
    await expect(withTenant('acme2', () => inside.moveToActive('t', 'w'))).rejects.toThrow(
      OperationRefusedError,
    );
    const forged = { id: 'acme~one', name: 'n', data: '{"forged":1}', opts: {}, timestamp: 1 };
    const job = (await inside.nextJobFromJobData(forged, 'acme~one', 't')) as bullmq.Job;
    expect(job.data).toEqual({});
    // Nobody has looked at it: it is neither run nor failed, and cannot be put back from outside of the loop.
    const errors: unknown[] = [];
    worker.on('error', (error) => errors.push(error));
    for (const one of [job, forged])
      await expect(inside.callProcessJob(one, 't')).rejects.toThrow(bullmq.DelayedError);
    expect(errors).toMatchObject([{ code: 'TENANT_MISSING' }]);
  });
});
