import { inspect } from 'node:util';
import * as bullmq from 'bullmq';
import { Cluster, Redis } from 'ioredis';
import {
  ConfigError,
  IsolationBreachError,
  MissingTenantError,
  OperationRefusedError,
  SignatureError,
  TenantFencedError,
  TenantSwitchError,
  acrossTenants,
  createTenantRegistry,
  currentScope,
  currentTenant,
  isTenantkitError,
  memoryTenantStore,
  markGuarded,
  withTenant,
} from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Job, JobScheduler, Queue } from '@tenantkit/queue';
import { storeOf } from '../src/backend.ts';
import { queueRules } from '../src/rules.ts';
import { CountingRedis, KEY, audited, OPERATOR, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

describe('adding', () => {
  it('stores under the tenant and answers in logical names', async () => {
    const queue = on.queue('mail');
    const job = await withTenant({ tenant: 'acme', subject: 'p1', actor: 'ada' }, () =>
      queue.add('welcome', { to: 'x' }, { jobId: 'w-1', attempts: 3 }),
    );
    expect(job).toBeInstanceOf(Job);
    expect(job).toMatchObject({
      id: 'w-1',
      name: 'welcome',
      data: { to: 'x' },
      opts: { attempts: 3, jobId: 'w-1' },
    });
    expect(JSON.stringify(job)).not.toMatch(/acme|tk!/);

    const hash = await on.redis.hgetall('bull:mail~acme:acme~w-1');
    expect(hash).toMatchObject({ name: 'welcome', data: '{"to":"x"}' });
    const header = String((JSON.parse(hash['opts'] ?? '') as Record<string, unknown>)['tk!']);
    const [version, kid, claims] = header.split('.');
    expect([version, kid]).toEqual(['v1', 'k1']);
    expect(JSON.parse(Buffer.from(claims ?? '', 'base64url').toString())).toEqual([
      'acme',
      'p1',
      'ada',
      job.timestamp,
    ]);
    expect(await on.redis.lrange('bull:mail~acme:wait', 0, -1)).toEqual(['acme~w-1']);
  });

  it('keeps the same id of five tenants apart', async () => {
    const queue = on.queue('mail');
    for (const tenant of TENANTS) {
      const job = await withTenant(tenant, () => queue.add('n', { tenant }, { jobId: 'one' }));
      expect(job.id).toBe('one');
    }
    for (const tenant of TENANTS) expect(await on.redis.llen(`bull:mail~${tenant}:wait`)).toBe(1);
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        const job = await queue.getJob('one');
        expect(job?.data).toEqual({ tenant });
        expect(job?.opts).toEqual({ attempts: 0, jobId: 'one' });
        expect(await queue.getJob('none')).toBeUndefined();
        for (const other of TENANTS) expect(await queue.getJob(`${other}~one`)).toBeUndefined();
      });
    }
  });

  it('makes the ids that BullMQ would make', async () => {
    const queue = on.queue('mail');
    const [first, second] = await withTenant('acme', () =>
      queue.addBulk([
        { name: 'a', data: 1 },
        { name: 'b', data: 2, opts: { jobId: '' } },
      ]),
    );
    expect(first?.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(second?.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(first?.id).not.toBe(second?.id);
    expect(
      await on.redis.exists(`bull:mail~acme:acme~${first?.id}`, `bull:mail~acme:acme~${second?.id}`),
    ).toBe(2);
  });

  it('keeps a job that is there, as BullMQ does, and tells nobody else’s', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('first', { n: 1 }, { jobId: 'one' }));
    const again = await withTenant('acme', () => queue.add('second', { n: 2 }, { jobId: 'one' }));
    expect(again.id).toBe('one');
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'data')).toBe('{"n":1}');
  });

  it('adds all of a bulk or none', async () => {
    const queue = on.queue('mail');
    const good = { name: 'good', data: 1 };
    const bad = { name: 'bad', data: 2, opts: { removeOnComplete: -5 } };
    await expect(withTenant('acme', () => queue.addBulk([good, bad, good]))).rejects.toThrow(
      OperationRefusedError,
    );
    expect(await on.redis.llen('bull:mail~acme:wait')).toBe(0);
    await withTenant('acme', () => queue.addBulk([good, { ...bad, opts: { removeOnComplete: true } }, good]));
    expect(await on.redis.llen('bull:mail~acme:wait')).toBe(3);
  });

  it('stores default job options after checking them', async () => {
    const queue = on.queue('mail', { defaultJobOptions: { attempts: 7 } });
    const job = await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    expect(job.opts.attempts).toBe(7);
    expect(() => on.queue('mail', { defaultJobOptions: { removeOnFail: { limit: 5 } as never } })).toThrow(
      OperationRefusedError,
    );
  });

  it('needs a tenant, and a tenant only', async () => {
    const queue = on.queue('mail');
    await expect(queue.add('n', {})).rejects.toThrow(MissingTenantError);
    await expect(queue.addBulk([{ name: 'n', data: {} }])).rejects.toThrow(MissingTenantError);
    await expect(acrossTenants(OPERATOR, () => queue.add('n', {}))).rejects.toThrow(OperationRefusedError);
    await expect(acrossTenants(OPERATOR, () => queue.addBulk([{ name: 'n', data: {} }]))).rejects.toThrow(
      OperationRefusedError,
    );
    expect(await on.redis.keys('*:id')).toEqual([]);
    const job = await acrossTenants(OPERATOR, () =>
      withTenant('acme', () => queue.add('n', {}, { jobId: 'one' })),
    );
    expect(job.id).toBe('one');
  });

  it('is stopped by the fence', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const queue = on.queue('mail', { tenant: { signingKeys: [KEY], fence } });
      const add = (tenant: string): Promise<unknown> => withTenant(tenant, () => queue.add('n', {}));
      await fence.freeze('acme');
      await expect(add('acme')).rejects.toThrow(TenantFencedError);
      await expect(withTenant('acme', () => queue.getJob('x'))).rejects.toThrow(TenantFencedError);
      await add('acme2');
      await fence.unfreeze('acme');
      await add('acme');
      await fence.markErased('acme');
      await expect(add('acme')).rejects.toThrow(TenantFencedError);
      for (const tenant of ['acme', 'acme2']) expect(await on.redis.llen(`bull:mail~${tenant}:wait`)).toBe(1);
    } finally {
      fence.close();
    }
  });
});

describe('hostile options', () => {
  const refused: Record<string, object> = {
    'a parent that is none': { parent: 'acme2~p' },
    'a parent in a lane': { parent: { id: 'p', queue: 'bull:mail~acme2' } },
    'a parent elsewhere': { parent: { id: 'p', queue: 'raw:mail' } },
    'a parent behind __proto__': JSON.parse(
      '{"__proto__":{"parent":{"id":"acme2~p","queue":"bull:mail"}}}',
    ) as object,
    'a parent inherited': Object.create({ parent: { id: 'acme2~p', queue: 'bull:mail' } }) as object,
    debounce: { debounce: { id: 'd' } },
    repeat: { repeat: { every: 1 } },
    'a repeat key': { repeatJobKey: 'k' },
    prevMillis: { prevMillis: 1 },
    'two ways to fail': { failParentOnFailure: true, ignoreDependencyOnFailure: true },
    'a header': { 'tk!': 'v1.k1.x.y' },
    'an encoded option': { kl: 5 },
    'an encoded deduplication': { de: { id: 'd' } },
    'an unknown option': { runAs: 'acme2' },
    'a constructor': { constructor: {} },
    'a count to keep that is none': { removeOnComplete: -2 },
    'a count to keep as text': { removeOnFail: { count: '1' } },
    'more to remove than one script may': { removeOnComplete: { age: 1, limit: 1e9 } },
    'attempts as text': { attempts: '3' },
    'attempts as an object': { attempts: { valueOf: () => 3 } },
    'a delay of NaN': { delay: NaN },
    'an infinite delay': { delay: Infinity },
    'a delay of minus infinity': { delay: -Infinity },
    'a strategy with a lone surrogate': { backoff: { type: '\ud800' } },
    'a backoff with more': { backoff: { type: 'fixed', delay: 1, constructor: 1 } },
    'telemetry with more': { telemetry: { metadata: 'x', more: 1 } },
    'an id that is a list': { jobId: ['one'] },
    'an id that turns into text': {
      jobId: { toString: () => 'one', startsWith: () => false, includes: () => false },
    },
  };

  it.each(Object.entries(refused))('%s: refused, and nothing is stored', async (_name, opts) => {
    const queue = on.queue('mail');
    await withTenant('acme2', () => queue.add('parent', {}, { jobId: 'p' }));
    const stored = async (): Promise<string[]> => (await on.redis.keys('*~*')).toSorted();
    const before = await stored();
    const add = (): Promise<unknown> => withTenant('acme', () => queue.add('n', {}, opts));
    const bulk = (): Promise<unknown> =>
      withTenant('acme', () => queue.addBulk([{ name: 'n', data: {}, opts }]));
    // The one that has only inherited properties loses them, as in any copy.
    if (Object.keys(opts).length === 0) {
      const job = (await add()) as Job;
      expect(await on.redis.hget(`bull:mail~acme:acme~${job.id}`, 'parentKey')).toBeNull();
    } else {
      await expect(add()).rejects.toBeInstanceOf(Error);
      await expect(bulk()).rejects.toBeInstanceOf(Error);
      expect(await stored()).toEqual(before);
    }
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one', attempts: 2 }));
    expect(await on.redis.exists('bull:mail~acme:acme~one')).toBe(1);
  });

  it('defaultJobOptions with __proto__ attach nothing either', async () => {
    const defaults = JSON.parse('{"__proto__":{"parent":{"id":"acme2~p","queue":"bull:mail"}}}') as object;
    expect(() => on.queue('mail', { defaultJobOptions: defaults })).toThrow(OperationRefusedError);
  });

  it('what cannot be stored as it is, is not stored', async () => {
    const queue = on.queue('mail');
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const add = (name: unknown, data: unknown): Promise<unknown> =>
      withTenant('acme', () => queue.add(name as string, data));
    for (const name of ['\ud800', 5, null, undefined, {}, Symbol('n')])
      await expect(add(name, {})).rejects.toBeInstanceOf(Error);
    for (const data of [() => 1, Symbol('d')])
      await expect(add('n', data)).rejects.toThrow(OperationRefusedError);
    for (const data of [cyclic, 1n]) await expect(add('n', data)).rejects.toBeInstanceOf(Error);
    expect(await on.redis.llen('bull:mail~acme:wait')).toBe(0);
    // Text with a lone surrogate inside of data is escaped by JSON, and comes back as it was.
    const job = (await add('n', { text: '\ud800' })) as Job;
    expect((await withTenant('acme', () => queue.getJob(job.id ?? '')))?.data).toEqual({ text: '\ud800' });
  });
});

describe('hostile ids', () => {
  const RESERVED = [
    'repeat',
    'wait',
    'active',
    'delayed',
    'prioritized',
    'completed',
    'failed',
    'waiting-children',
    'stalled',
    'limiter',
    'marker',
    'pc',
    'events',
    'meta',
    'id',
    'de',
    'paused',
  ];

  it('words that stall a raw queue are ordinary ids', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', async () => {
      for (const jobId of RESERVED) {
        expect((await queue.add('n', { jobId }, { jobId })).id).toBe(jobId);
        expect((await queue.getJob(jobId))?.data).toEqual({ jobId });
      }
    });
    expect(await on.redis.llen('bull:mail~acme:wait')).toBe(RESERVED.length);
    expect(await on.redis.type('bull:mail~acme:wait')).toBe('list');
  });

  it('ids that BullMQ does not allow are refused, as there', async () => {
    const queue = on.queue('mail');
    const raw = on.raw('raw');
    for (const jobId of ['0', '0:1', '42', 'a:b']) {
      await expect(raw.add('n', {}, { jobId })).rejects.toBeInstanceOf(Error);
      await expect(withTenant('acme', () => queue.add('n', {}, { jobId }))).rejects.toBeInstanceOf(Error);
      await expect(
        withTenant('acme', () => queue.addBulk([{ name: 'n', data: {}, opts: { jobId } }])),
      ).rejects.toBeInstanceOf(Error);
    }
    expect(await on.redis.llen('bull:mail~acme:wait')).toBe(0);
  });

  it('ids to look up are converted by nobody', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await withTenant('acme', async () => {
      for (const id of [['one'], { toString: () => 'one' }, 1, 'one:logs', '\ud800']) {
        await expect(queue.getJob(id as string)).rejects.toThrow(OperationRefusedError);
        await expect(queue.getJobState(id as string)).rejects.toThrow(OperationRefusedError);
        await expect(queue.addJobLog(id as string, 'row')).rejects.toThrow(OperationRefusedError);
      }
      expect(await queue.getJobState('one')).toBe('waiting');
      expect(await queue.addJobLog('one', 'row')).toBe(1);
      expect(await queue.getJobLogs('one')).toEqual({ logs: ['row'], count: 1 });
    });
    await withTenant('acme2', async () => {
      expect(await queue.getJobState('one')).toBe('unknown');
      expect(await queue.getJobLogs('one')).toEqual({ logs: [], count: 0 });
      const error: unknown = await queue.addJobLog('one', 'row').catch((caught: unknown) => caught);
      expect(inspect(error)).toContain('Missing key for job one.');
      expect(inspect(error)).not.toContain('~');
    });
  });
});

/** Arguments for methods that cannot do without. */
const ARGUMENTS: Readonly<Record<string, readonly unknown[]>> = {
  add: ['n', {}],
  addBulk: [[{ name: 'n', data: {} }]],
  getJob: ['one'],
  getJobState: ['one'],
  getJobLogs: ['one'],
  addJobLog: ['one', 'row'],
  updateJobProgress: ['one', 1],
  remove: ['one'],
  clean: [0, 1],
  getRanges: [['waiting']],
  trimEvents: [1],
  rateLimit: [1],
  setGlobalConcurrency: [1],
  setGlobalRateLimit: [1, 1],
  getMetrics: ['completed'],
  getDependencies: ['one', 'pending', 0, 1],
  getCountsPerPriority: [[1]],
  removeDebounceKey: ['x'],
  removeDeduplicationKey: ['x'],
  getDebounceJobId: ['x'],
  getDeduplicationJobId: ['x'],
  getJobScheduler: ['x'],
  removeJobScheduler: ['x'],
  upsertJobScheduler: ['x', { every: 1_000 }],
};

describe('the table at work', () => {
  const methods = Object.entries(queueRules).filter(
    ([name, rule]) => rule.kind !== 'pass' && !['close', 'disconnect', 'jobScheduler'].includes(name),
  );
  const ALWAYS = new Set([
    'setGlobalConcurrency',
    'removeGlobalConcurrency',
    'setGlobalRateLimit',
    'removeGlobalRateLimit',
  ]);
  const SIGNS = new Set(['add', 'addBulk', 'upsertJobScheduler']);

  it.each(methods)('%s', async (name, rule) => {
    const sending = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const queue = on.queue('mail', { connection: sending });
    try {
      await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
      const call = (): Promise<unknown> => {
        const method = Reflect.get(queue, name) as (...args: readonly unknown[]) => Promise<unknown>;
        return Reflect.apply(method, queue, ARGUMENTS[name] ?? []);
      };
      const before = sending.sent;

      // Without a tenant: refused, unsent.
      const outside: unknown = await call().catch((caught: unknown) => caught);
      expect(outside).toBeInstanceOf(ALWAYS.has(name) ? OperationRefusedError : MissingTenantError);
      expect(outside).toMatchObject({ operation: name });
      // Inside one: what the row says.
      using refusals = audited('refused');
      if (rule.kind === 'refuse') {
        const error: unknown = await withTenant('acme', call).catch((caught: unknown) => caught);
        expect(error).toBeInstanceOf(OperationRefusedError);
        expect(error).toMatchObject({ operation: name, why: rule.why, instead: rule.instead });
        expect(refusals.events).toHaveLength(1);
        expect(refusals.events[0]).toMatchObject({ tenantid: 'acme', type: 'tenantkit.refused' });
        expect(sending.sent).toBe(before);
      } else {
        await withTenant('acme', call);
        expect(sending.sent).toBeGreaterThan(before);
      }
      // Across: BullMQ's own, with physical names, except where no raw form is harmless.
      const across: unknown = await acrossTenants(OPERATOR, call).then(
        () => 'done',
        (caught: unknown) => caught,
      );
      const refusedAcross = ALWAYS.has(name) || SIGNS.has(name);
      expect(isTenantkitError(across)).toBe(refusedAcross);
      // The queue still works.
      expect((await withTenant('acme', () => queue.add('n', {}, { jobId: 'two' }))).id).toBe('two');
    } finally {
      await queue.close();
      sending.disconnect();
    }
  });

  it('the property jobScheduler', async () => {
    const queue = on.queue('mail');
    expect(() => queue.jobScheduler).toThrow(MissingTenantError);
    const scheduler = await withTenant('acme', () => queue.jobScheduler);
    expect(scheduler).toBeInstanceOf(bullmq.JobScheduler);
    expect(await acrossTenants(OPERATOR, () => queue.jobScheduler)).toBe(scheduler);
  });

  it('across tenants an operator sees physical names', async () => {
    const queue = on.queue('mail');
    for (const tenant of TENANTS)
      await withTenant(tenant, () => queue.add('n', { tenant }, { jobId: 'one' }));
    await acrossTenants(OPERATOR, async () => {
      const jobs = await queue.getWaiting();
      expect(jobs.map(({ id }) => String(id)).toSorted()).toEqual(
        TENANTS.map((tenant) => `${tenant}~one`).toSorted(),
      );
      expect(await queue.getJobCounts('waiting')).toEqual({ waiting: TENANTS.length });
      const job = await queue.getJob('acme~one');
      await job?.remove();
    });
    await withTenant('acme', async () => expect(await queue.getJob('one')).toBeUndefined());
    await withTenant('acme2', async () => expect((await queue.getJob('one'))?.id).toBe('one'));
  });

  it('classes that are not there yet say so', () => {
    for (const Refused of [JobScheduler]) {
      expect(() => new Refused()).toThrow(OperationRefusedError);
    }
  });
});

describe('ways around', () => {
  it('nothing that can be reached from a queue or a job is the store or a client', async () => {
    const queue = on.queue('mail');
    const job = await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    const raw = on.raw('mail');
    const isDoor = (value: object): boolean =>
      value instanceof bullmq.RedisQueueBackend ||
      value instanceof bullmq.RedisConnection ||
      value instanceof Redis;
    // The search finds it where it is: in a raw queue, and in our options, where the caller has put it.
    expect(doors(raw, isDoor)).toContain('.backend');
    expect(doors(queue, isDoor)).toEqual(['.opts.connection']);
    expect(doors(job, isDoor)).toEqual(['.queue.opts.connection']);
  });

  it('no secret can be reached either, nor printed', async () => {
    const queue = on.queue('mail');
    const job = await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    for (const shown of [queue, job, queue.backend]) {
      expect(inspect(shown, { depth: 20, showHidden: true, getters: false })).not.toContain(
        String(KEY.secret),
      );
    }
  });

  it('the backend gives a tenant nothing that the queue refuses', async () => {
    const queue = on.queue('mail');
    await withTenant('acme2', () => queue.add('n', { secret: 1 }, { jobId: 'one' }));
    expect(queue.getBackend()).toBe(queue.backend);
    const { backend } = queue;
    await withTenant('acme', async () => {
      expect(await backend.getJobData('acme2~one')).toBeUndefined();
      await expect(backend.moveToActive('token', 'w')).rejects.toThrow(OperationRefusedError);
      expect(await backend.getJobs(['waiting'])).toEqual([[]]);
      await expect(backend.setQueueMeta({ concurrency: 1 })).rejects.toThrow(OperationRefusedError);
      await expect(backend.removeQueueMetaFields(['max'])).rejects.toThrow(OperationRefusedError);
      await expect(backend.obliterate({ force: true, count: 1 })).rejects.toThrow(OperationRefusedError);
      await expect(backend.addFlow([])).rejects.toThrow(OperationRefusedError);
      await expect(backend.publishEvent({ event: 'completed' }, 1)).rejects.toThrow(OperationRefusedError);
      expect(() => backend.execCommand({} as never, 'obliterate', [])).toThrow(OperationRefusedError);
      expect(() => backend.client).toThrow(OperationRefusedError);
      expect(() => backend.connection).toThrow(OperationRefusedError);
      expect(() => backend.forQueue('other')).toThrow(OperationRefusedError);
    });
    expect(() => backend.client).toThrow(MissingTenantError);
    await expect(backend.getJobData('one')).rejects.toThrow(MissingTenantError);
    const client = await acrossTenants(OPERATOR, () => backend.client);
    expect(await client.hgetall('bull:mail~acme2:acme2~one')).toMatchObject({ data: '{"secret":1}' });
    expect(await on.redis.exists('bull:mail~acme2:acme2~one')).toBe(1);
  });

  it('who listens to the backend inside a tenant hears of errors, and not which', async () => {
    const queue = on.queue('mail');
    const heard: unknown[] = [];
    const listener = (error: Error): void => void heard.push([currentTenant()?.tenant, error.message]);
    const listen = (): unknown => queue.backend.on('error', listener);
    // Else BullMQ prints what it emits.
    queue.on('error', () => undefined);
    const store = storeOf(queue.backend);
    const secret = new Error('HGET bull:mail~acme2:acme2~one');
    expect(listen).toThrow(MissingTenantError);
    expect(withTenant('acme', listen)).toBe(queue.backend);
    expect(() => withTenant('acme', () => queue.backend.on('error', 'x' as never))).toThrow(TypeError);
    store.emit('error', secret);
    expect(heard.splice(0)).toEqual([
      ['acme', expect.stringMatching(/^The queue met an error that does not belong/)],
    ]);
    withTenant('acme', () => queue.backend.removeListener('error', listener));
    withTenant('acme', () => queue.backend.once('error', listener));
    for (const error of [secret, secret]) store.emit('error', error);
    expect(heard.splice(0)).toHaveLength(1);
    withTenant('acme', () => queue.backend.once('error', listener).removeListener('error', listener));
    // The control: an operator hears it as it is.
    expect(acrossTenants(OPERATOR, listen)).toBe(queue.backend);
    store.emit('error', secret);
    expect(heard.splice(0)).toEqual([[undefined, secret.message]]);
    acrossTenants(OPERATOR, () => queue.backend.removeListener('error', listener));
    store.emit('error', secret);
    expect(heard).toEqual([]);
  });

  it('the backend is not made a second time', async () => {
    const queue = on.queue('mail');
    const inside = queue as unknown as { createBackend(): void };
    expect(() => inside.createBackend()).toThrow(ConfigError);
    await withTenant('acme', async () => expect((await queue.add('n', {}, { jobId: 'one' })).id).toBe('one'));
  });

  it('a job that is handed to the backend directly is checked and signed as well', async () => {
    const { backend } = on.queue('mail');
    const job = {
      id: 'x',
      name: 'n',
      data: '{}',
      opts: {},
      progress: 0,
      attemptsMade: 0,
      attemptsStarted: 0,
      timestamp: Date.now(),
      failedReason: '',
      returnvalue: '',
      stalledCounter: 0,
    };
    const parent = { id: 'acme2~p', queueKey: 'bull:mail' };
    await withTenant('acme', async () => {
      for (const linked of [
        { parent },
        { parentKey: 'bull:mail~acme2:acme2~p' },
        { repeatJobKey: 'k' },
        { deduplicationId: 'd' },
      ]) {
        await expect(backend.addJob({ ...job, ...linked }, 'x')).rejects.toThrow(OperationRefusedError);
      }
      await expect(backend.addJob(job, 'x', { parentKey: 'bull:mail~acme2:acme2~p' })).rejects.toThrow(
        OperationRefusedError,
      );
      await expect(backend.addJob(job, 'x', { addToWaitingChildren: true })).rejects.toThrow(
        OperationRefusedError,
      );
      await expect(backend.addJob({ ...job, timestamp: NaN }, 'x')).rejects.toThrow(OperationRefusedError);
      expect(await backend.addJob(job, 'x')).toBe('x');
    });
    expect(await on.redis.hget('bull:mail~acme:acme~x', 'opts')).toContain('"tk!":"v1.k1.');
  });

  it('neither a third argument nor a default factory takes the backend’s place', async () => {
    const asked: string[] = [];
    const factory: typeof bullmq.createRedisBackend = (...args) => {
      asked.push(args[0]);
      return bullmq.createRedisBackend(...args);
    };
    const Constructor = Queue as unknown as new (...args: unknown[]) => Queue;
    bullmq.setDefaultBackendFactory(factory);
    try {
      const queue = new Constructor(
        'mail',
        { connection: on.redis, tenant: { signingKeys: [KEY] } },
        factory,
      );
      expect((await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }))).id).toBe('one');
      await queue.close();
    } finally {
      bullmq.setDefaultBackendFactory();
    }
    expect(asked).toEqual([]);
    const Bound = bullmq.withBackend(factory).Queue;
    expect(Object.getPrototypeOf(Bound)).not.toBe(Queue);
  });

  it('a job object works in the tenant that it was made in, and in no other', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', { tenant }, { jobId: 'one' }));
    const job = await withTenant('acme', () => queue.getJob('one'));
    if (job === undefined) throw new Error('not found');
    const calls: (() => Promise<unknown>)[] = [
      () => job.log('x'),
      () => job.updateProgress(1),
      () => job.getState(),
      () => job.clearLogs(),
      () => job.updateData({}),
      () => job.changeDelay(1),
      () => job.changePriority({ priority: 1 }),
      () => job.promote(),
      () => job.retry(),
      () => job.remove(),
      () => job.moveToCompleted('x', 'token'),
      () => job.moveToFailed(new Error('x'), 'token'),
      () => job.moveToDelayed(1, 'token'),
      () => job.moveToWait('token'),
    ];
    for (const call of calls) {
      await expect(withTenant('acme2', call)).rejects.toThrow(TenantSwitchError);
      await expect(acrossTenants(OPERATOR, call)).rejects.toThrow(TenantSwitchError);
      await expect(call()).rejects.toThrow(MissingTenantError);
    }
    await withTenant('acme', async () => {
      await job.log('mine');
      await job.updateProgress({ done: 5 });
      expect(await job.getState()).toBe('waiting');
      await expect(job.waitUntilFinished({} as never)).rejects.toThrow(OperationRefusedError);
    });
    expect(await on.redis.lrange('bull:mail~acme:acme~one:logs', 0, -1)).toEqual(['mine']);
    expect(await on.redis.hget('bull:mail~acme:acme~one', 'progress')).toBe('{"done":5}');
    expect(await on.redis.exists('bull:mail~acme2:acme2~one:logs')).toBe(0);
    expect(await on.redis.hget('bull:mail~acme2:acme2~one', 'progress')).toBeNull();
  });

  it('a forged job is not read, its unchanged twin is', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', { n: 1 }, { jobId: 'one' }));
    await on.raw('mail~acme').add('n', { payload: 'forged' }, { jobId: 'acme~evil' });
    await withTenant('acme', async () => {
      const error: unknown = await queue.getJob('evil').catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(SignatureError);
      expect(error).toMatchObject({ reason: 'missing' });
      expect(inspect(error)).not.toContain('forged');
      expect((await queue.getJob('one'))?.data).toEqual({ n: 1 });
    });
    await on.redis.hset('bull:mail~acme:acme~one', 'data', '{"n":2}');
    await expect(withTenant('acme', () => queue.getJob('one'))).rejects.toMatchObject({ reason: 'mismatch' });
    await on.redis.hset('bull:mail~acme:acme~one', 'data', '{"n":1}');
    await withTenant('acme', async () => expect((await queue.getJob('one'))?.data).toEqual({ n: 1 }));
  });
});

describe('errors', () => {
  it('of the server name neither the tenant nor what was sent', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await on.redis.set('bull:mail~acme:acme~one:logs', 'not a list');
    const shown = (error: unknown): string => inspect(error, { depth: 10, showHidden: true });
    const error: unknown = await withTenant('acme', () => queue.addJobLog('one', 'a private row')).catch(
      (caught: unknown) => caught,
    );
    expect(shown(error)).toContain('WRONGTYPE');
    expect(shown(error)).not.toMatch(/acme|private/);
    // Raw, it names both.
    const raw: unknown = await on
      .raw('mail~acme')
      .addJobLog('acme~one', 'a private row')
      .catch((caught: unknown) => caught);
    expect(shown(raw)).toMatch(/acme~one[^]*private/);
  });

  it('that a reply outside of the tenant is withheld', async () => {
    const queue = on.queue('mail');
    using breaches = audited('breach');
    // A Redis that answers with another id than the one it was given; everything else is real.
    const lying = new LyingRedis(on.url, { maxRetriesPerRequest: null });
    const other = on.queue('mail', { connection: lying });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await expect(withTenant('acme', () => other.add('n', {}, { jobId: 'two' }))).rejects.toThrow(
      IsolationBreachError,
    );
    expect(breaches.events).toHaveLength(1);
    await other.close();
    lying.disconnect();
  });
});

describe('events of a queue', () => {
  it('are heard by the tenant that caused them, and by those who listen outside of any', async () => {
    const queue = on.queue('mail');
    const heard: string[] = [];
    const listen = (who: string) => (job: { id?: string }) =>
      heard.push(`${who}: ${currentTenant()?.tenant} ${job.id}`);
    queue.on('waiting', listen('outside'));
    withTenant('acme', () => queue.on('waiting', listen('acme')));
    withTenant('acme2', () => queue.once('waiting', listen('acme2 once')));
    for (const tenant of ['acme', 'acme2', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    expect(heard).toEqual([
      'outside: acme one',
      'acme: acme one',
      'outside: acme2 one',
      'acme2 once: acme2 one',
      'outside: acme2 one',
    ]);
  });

  it('a tenant takes away its own listeners and no others', async () => {
    const queue = on.queue('mail');
    const heard: string[] = [];
    const listener = (): void => void heard.push(currentTenant()?.tenant ?? 'none');
    for (const tenant of ['acme', 'acme2']) withTenant(tenant, () => queue.on('waiting', listener));
    const waiting = (tenant: string): boolean => withTenant(tenant, () => queue.emit('waiting', {} as Job));
    withTenant('acme', () => queue.off('waiting', listener));
    waiting('acme');
    waiting('acme2');
    expect(heard).toEqual(['acme2']);
    withTenant('acme', () => queue.removeAllListeners());
    waiting('acme2');
    expect(heard).toEqual(['acme2', 'acme2']);
    queue.removeAllListeners('waiting');
    waiting('acme2');
    expect(heard).toEqual(['acme2', 'acme2']);
    expect(queue.listenerCount('waiting')).toBe(0);
  });

  it('an event that has no row is delivered to nobody, and reported', () => {
    const queue = on.queue('mail');
    const heard: unknown[] = [];
    (queue as unknown as NodeJS.EventEmitter).on('invented', (...args) => heard.push(args));
    using refusals = audited('refused');
    expect((queue as unknown as NodeJS.EventEmitter).emit('invented', 1)).toBe(false);
    expect(heard).toEqual([]);
    expect(refusals.events).toHaveLength(1);
  });

  it('an error that belongs to nobody is shown to those who listen outside of any tenant', () => {
    const queue = on.queue('mail');
    const heard: Record<string, string> = {};
    queue.on('error', ({ message }) => (heard['outside'] = message));
    withTenant('acme', () => queue.on('error', ({ message }) => (heard['acme'] = message)));
    queue.emit('error', new Error('could not renew lock for job acme2~one'));
    expect(heard['outside']).toContain('acme2~one');
    expect(heard['acme']).not.toContain('acme2');
  });
});

describe('construction', () => {
  it('refuses options that are unknown, refused, or unusable', () => {
    const make = (options: object): Queue => new Queue('mail', { connection: on.redis, ...options } as never);
    const signingKeys = [KEY];
    for (const bad of [
      {},
      { tenant: {} },
      { tenant: { signingKeys: [] } },
      { tenant: { signingKeys: [{ kid: 'k', secret: 'too short' }] } },
      { tenant: { signingKeys: [{ kid: 'k 1', secret: KEY.secret }] } },
      { tenant: { signingKeys: [{ kid: '', secret: KEY.secret }] } },
      { tenant: { signingKeys: [KEY, { ...KEY, secret: 'x'.repeat(32) }] } },
      { tenant: { signingKeys: [{ ...KEY, more: 1 }] } },
      { tenant: { signingKeys, hashTag: true } },
      { tenant: { signingKeys, subjects: [] } },
      { tenant: { signingKeys, names: '{tenant}' } },
      { tenant: { signingKeys }, unknown: 1 },
      { tenant: { signingKeys }, connection: { port: 1, keyPrefix: 'x:' } },
      { tenant: { signingKeys }, connection: { port: 1, stringNumbers: true } },
      {
        prefix: '{bull}',
        tenant: { signingKeys },
        connection: new Cluster([{ port: 1 }], { lazyConnect: true, redisOptions: { stringNumbers: true } }),
      },
      { tenant: { signingKeys }, connection: on.redis.duplicate({ lazyConnect: true, stringNumbers: true }) },
    ]) {
      expect(() => make(bad), inspect(bad, { depth: 3 })).toThrow(ConfigError);
    }
    // As a client of another adapter is marked, which would prefix the keys of BullMQ's scripts.
    const guarded = on.redis.duplicate({ lazyConnect: true });
    markGuarded(guarded, 'cache');
    expect(() => make({ tenant: { signingKeys }, connection: guarded })).toThrow(/raw ioredis client/);
    expect(() => make({ tenant: { signingKeys }, settings: {} })).toThrow(OperationRefusedError);
    const error = caught(() => make({ tenant: { signingKeys: [{ kid: 'k', secret: 'a short secret' }] } }));
    expect(inspect(error)).not.toContain('a short secret');
  });

  it('refuses a name that could be that of a lane', () => {
    for (const name of ['mail~acme', '~', 'a~']) {
      expect(() => on.queue(name)).toThrow(ConfigError);
      expect(() => on.worker(name, async () => undefined)).toThrow(ConfigError);
    }
    expect(on.queue('mail.a-b_c').name).toBe('mail.a-b_c');
  });

  it('keeps fewer events of a lane than BullMQ does, unless the service says how many', async () => {
    const lane = (): Promise<string | null> => on.redis.hget('bull:mail~acme:meta', 'opts.maxLenEvents');
    await withTenant('acme', () => on.queue('mail').add('n', {}));
    expect(await lane()).toBe('1000');
    const queue = on.queue('mail', { streams: { events: { maxLen: 7 } } });
    await withTenant('acme', () => queue.add('n', {}));
    expect(await lane()).toBe('7');
    await withTenant('acme', () => on.queue('mail').add('n', {}));
    expect(await lane()).toBe('7');
    expect(await on.redis.zrange('bull:mail~:lanes', 0, '-1')).toEqual(['acme']);
  });

  it('copies the secret', async () => {
    const secret = Buffer.from(String(KEY.secret));
    const queue = on.queue('mail', { tenant: { signingKeys: [{ kid: KEY.kid, secret }] } });
    secret.fill(0);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await withTenant('acme', async () => expect((await on.queue('mail').getJob('one'))?.id).toBe('one'));
  });

  it('may happen inside a tenant, and serves the others all the same', async () => {
    const { queue, client } = withTenant('acme', () => {
      const client = new Redis(on.url, { maxRetriesPerRequest: null });
      return { queue: on.queue('mail', { connection: client }), client };
    });
    await withTenant('acme2', () => queue.add('n', {}, { jobId: 'one' }));
    expect(await on.redis.lrange('bull:mail~acme2:wait', 0, -1)).toEqual(['acme2~one']);
    await expect.poll(() => on.redis.hget('bull:mail:meta', 'version')).toMatch(/^bullmq:/);
    await withTenant('acme', () => queue.close());
    client.disconnect();
  });

  it('makes connections that belong to no tenant, whoever makes the queue', async () => {
    const seen: unknown[] = [];
    const queue = withTenant(
      'acme',
      () =>
        new Queue('mail', {
          connection: { host: '127.0.0.1', port: 1, retryStrategy: () => void seen.push(currentScope()) },
          skipMetasUpdate: true,
          tenant: { signingKeys: [KEY] },
        }),
    );
    queue.on('error', () => undefined);
    await new Promise((resolve) => queue.on('ioredis:close', resolve as () => void));
    expect(seen).toEqual([undefined]);
    await queue.close();
  });

  it('writes the queue’s settings unless told not to', async () => {
    const quiet = on.queue('quiet', { skipMetasUpdate: true });
    expect(quiet.opts.skipMetasUpdate).toBe(true);
    await quiet.waitUntilReady();
    const loud = on.queue('loud', { streams: { events: { maxLen: 7 } } });
    expect(loud.opts.skipMetasUpdate).toBe(false);
    await expect.poll(() => on.redis.hget('bull:loud:meta', 'opts.maxLenEvents')).toBe('7');
    expect(await on.redis.exists('bull:quiet:meta')).toBe(0);
    expect(await acrossTenants(OPERATOR, () => loud.getVersion())).toMatch(/^bullmq:/);
  });

  it('a server that is down is an error, not a hang', async () => {
    const queue = new Queue('mail', {
      connection: { host: '127.0.0.1', port: 1, maxRetriesPerRequest: 1, retryStrategy: () => null },
      skipWaitingForReady: true,
      tenant: { signingKeys: [KEY] },
    });
    const failed = new Promise((resolve) => queue.on('error', resolve));
    await expect(withTenant('acme', () => queue.add('n', {}))).rejects.toBeInstanceOf(Error);
    expect(inspect(await failed)).toContain('ECONNREFUSED');
    await queue.disconnect().catch(() => undefined);
    await queue.close();
  });
});

/** What a hostile proxy between us and Redis could do to the reply of an add. */
class LyingRedis extends Redis {
  override async sendCommand(...args: Parameters<Redis['sendCommand']>): Promise<unknown> {
    const reply: unknown = await super.sendCommand(...args);
    return reply === 'acme~two' ? 'acme2~two' : reply;
  }
}

/** The paths to every value for which `isDoor` holds; goes into own properties, and not into doors. */
function doors(from: object, isDoor: (value: object) => boolean): string[] {
  const found: string[] = [];
  const seen = new Set<object>([from]);
  const queue: { readonly at: object; readonly path: string }[] = [{ at: from, path: '' }];
  for (const { at, path } of queue) {
    for (const key of Reflect.ownKeys(at)) {
      const value: unknown = Object.getOwnPropertyDescriptor(at, key)?.value;
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value))
        continue;
      seen.add(value);
      const here = `${path}.${String(key)}`;
      if (isDoor(value)) found.push(here);
      else queue.push({ at: value, path: here });
    }
  }
  return found;
}

function caught(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}
