import { EventEmitter, once } from 'node:events';
import * as bullmq from 'bullmq';
import {
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  currentScope,
  currentTenant,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { UnrecoverableError, type Worker } from '@tenantkit/queue';
import { checkCouplings, misfit, undecided } from '../src/couplings.ts';
import { queueRules } from '../src/rules.ts';
import { heldUp } from './held-up.ts';
import { OPERATOR, bench, finished, type Bench } from './support.ts';

// `acme` is hostile and runs code of its own; `acme2` is the victim, with the same ids.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const victimKeys = async (): Promise<string[]> => (await on.redis.keys('*acme2~*')).toSorted();

describe('what is handed to the store', () => {
  it('is a real list, each entry of which is signed', async () => {
    const queue = on.queue('mail');
    const forged = { job: { name: 'n', data: '{}', opts: {}, timestamp: 1 }, jobId: 'acme2~one' };
    const list = Object.assign([{ name: 'n', data: {} }], { map: () => [forged] });
    const entry = { job: { name: 'n', data: '{}', opts: {}, timestamp: 1 }, jobId: 'one' };
    await withTenant('acme', async () => {
      const backend = queue.backend as unknown as { addJobs(entries: unknown): Promise<string[]> };
      await expect(backend.addJobs({ map: () => [forged] })).rejects.toThrow(OperationRefusedError);
      const chain = { map: () => ({ map: () => ({ map: () => [forged] }), forEach() {} }) };
      await expect(queue.addBulk(chain as never)).rejects.toThrow(OperationRefusedError);
      // An array with a `map` of its own is an array all the same: its elements are read.
      expect(await queue.addBulk(list)).toMatchObject([{ name: 'n', id: expect.any(String) }]);
      const ids = await backend.addJobs(Object.assign([entry], { map: () => [forged] }));
      expect(ids).toEqual(['one']);
    });
    expect(await victimKeys()).toEqual([]);
    expect(await withTenant('acme2', () => queue.addBulk([{ name: 'n', data: {} }]))).toHaveLength(1);
  });

  it('is what was checked: no getter answers a second time', async () => {
    const queue = on.queue('mail');
    await withTenant('acme2', () => queue.add('n', {}, { jobId: 'one', delay: 60_000 }));
    const before = await victimKeys();
    const links = {
      parentKey: 'bull:mail~acme2:acme2~one',
      parent: { id: 'acme2~one', queueKey: 'bull:mail' },
      deduplicationId: 'd',
      repeatJobKey: 'r',
    };
    for (const [link, value] of Object.entries(links)) {
      let reads = 0;
      const job = Object.defineProperty(
        { name: 'n', data: '{}', opts: { delay: 60_000 }, timestamp: Date.now() },
        link,
        { get: () => (reads++ === 0 ? undefined : value), enumerable: true },
      );
      await withTenant('acme', () => queue.backend.addJob(job as never, link));
      const stored = await on.redis.hgetall(`bull:mail~acme:acme~${link}`);
      expect(stored).not.toHaveProperty(link);
      expect(stored).toMatchObject({ name: 'n', data: '{}' });
      // The control: what is named openly is refused.
      const open = { name: 'n', data: '{}', opts: {}, timestamp: Date.now(), [link]: value };
      await expect(
        withTenant('acme', () => queue.backend.addJob(open as never, `open-${link}`)),
      ).rejects.toThrow(OperationRefusedError);
    }
    expect(await victimKeys()).toEqual(before);
    expect(await on.redis.keys('bull:mail:de:*')).toEqual([]);
  });

  it('goes where the queue is, whoever writes to the queue’s public properties', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'ran', {
      autorun: false,
      removeOnComplete: { age: 60 },
      limiter: { max: 100, duration: 1000 },
    });
    expect(() => Object.assign(queue.keys, { wait: 'bull:mail~acme:acme~own:logs' })).toThrow(TypeError);
    expect(() => Object.assign(queue.backend.keys, { '': 'gone' })).toThrow(TypeError);
    expect(() => Object.assign(queue.jobsOpts, { removeOnComplete: true })).toThrow(TypeError);
    expect(() => Object.assign(worker.opts, { removeOnComplete: { count: 0 } })).toThrow(TypeError);
    expect(() => Object.assign(worker.opts.removeOnComplete as object, { age: 0 })).toThrow(TypeError);
    expect(() => Object.assign(worker.opts.limiter ?? {}, { max: 1 })).toThrow(TypeError);
    expect(() => Object.assign(worker.opts.settings ?? {}, { backoffStrategy: () => 1 })).toThrow(TypeError);
    for (const [object, members] of [
      [queue, ['backend', 'opts', 'jobsOpts', 'keys', 'toKey', 'name']],
      [worker, ['backend', 'opts', 'processFn', 'keys']],
    ] as const)
      for (const member of members) expect(() => Object.assign(object, { [member]: {} })).toThrow(TypeError);
    const done = finished(worker, 1);
    await withTenant('acme2', () => queue.add('n', {}, { jobId: 'one' }));
    void worker.run();
    await done;
    expect(await on.redis.hget('bull:mail~acme2:acme2~one', 'returnvalue')).toBe('"ran"');
  });
});

describe('code of a processor', () => {
  /** Looks at the scope, and tries the store, from wherever it is called. */
  const spy = (
    worker: () => Worker,
  ): { readonly seen: Map<string, unknown>; readonly look: (where: string) => void } => {
    const seen = new Map<string, unknown>();
    return {
      seen,
      look(where) {
        let store: unknown;
        try {
          store = worker().backend.client;
        } catch (error) {
          store = (error as Error).name;
        }
        seen.set(where, [currentTenant()?.tenant, store]);
      },
    };
  };

  it('runs in its tenant wherever it is called from', async () => {
    const queue = on.queue('mail');
    const { seen, look } = spy(() => worker);
    class Peculiar extends Error {
      override get message(): string {
        look('message');
        return 'peculiar';
      }
      override readonly stack!: string;
      constructor() {
        super();
        Object.defineProperty(this, 'stack', {
          get() {
            look('stack');
            return 'a stack';
          },
        });
      }
    }
    const acts: Record<string, () => unknown> = {
      toJSON: () => ({
        toJSON() {
          look('toJSON');
          return { written: 'as JSON' };
        },
      }),
      // What drizzle, knex and Mongoose answer: a query that runs when somebody waits for it.
      thenable: () => ({
        // oxlint-disable-next-line unicorn/no-thenable -- what is tested
        then(resolve: (value: unknown) => void) {
          look('then');
          resolve('queried');
        },
      }),
      error: () => {
        throw new Peculiar();
      },
    };
    const worker: Worker = on.worker('mail', (job) => acts[job.name]?.() as Promise<unknown>, {
      settings: {
        backoffStrategy: () =>
          ({
            // oxlint-disable-next-line unicorn/no-thenable -- what is tested
            then(resolve: (value: number) => void) {
              look('backoff');
              resolve(-1);
            },
          }) as never,
      },
    });
    const done = finished(worker, 3);
    for (const name of Object.keys(acts)) {
      await withTenant('acme', () =>
        queue.add(name, {}, { jobId: name, attempts: 2, backoff: { type: 'own' } }),
      );
    }
    const all = await done;
    expect(all).toMatchObject([
      { event: 'completed', id: 'toJSON', result: { toJSON: expect.any(Function) } },
      { event: 'completed', id: 'thenable', result: 'queried' },
      { event: 'failed', id: 'error', error: expect.any(Peculiar) },
    ]);
    expect(seen).toEqual(
      new Map(
        ['toJSON', 'then', 'message', 'stack', 'backoff'].map((where) => [
          where,
          ['acme', 'OperationRefusedError'],
        ]),
      ),
    );
    expect(await on.redis.hget('bull:mail~acme:acme~toJSON', 'returnvalue')).toBe('{"written":"as JSON"}');
    expect(await on.redis.hget('bull:mail~acme:acme~thenable', 'returnvalue')).toBe('"queried"');
    expect(await on.redis.hmget('bull:mail~acme:acme~error', 'failedReason', 'stacktrace')).toEqual([
      'peculiar',
      '["a stack"]',
    ]);
  });

  it('hears of its cancelling in its tenant, whoever cancels', async () => {
    const queue = on.queue('mail');
    const heard = Promise.withResolvers<unknown>();
    const started = Promise.withResolvers<void>();
    const worker = on.worker('mail', async (_job, _token, signal) => {
      signal?.addEventListener('abort', () => heard.resolve([currentScope(), signal.reason]));
      started.resolve();
      return heard.promise;
    });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await started.promise;
    acrossTenants(OPERATOR, () => worker.cancelAllJobs('enough'));
    expect(await heard.promise).toEqual([{ tenant: { tenant: 'acme' }, bypass: undefined }, 'enough']);
  });

  it('hears of its cancelling by another tenant’s code as well, and nothing breaks', async () => {
    const queue = on.queue('mail');
    const heard = Promise.withResolvers<unknown>();
    const started = Promise.withResolvers<void>();
    const worker = on.worker('mail', async (_job, _token, signal) => {
      signal?.addEventListener('abort', () => heard.resolve(currentTenant()));
      started.resolve();
      return heard.promise;
    });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await started.promise;
    const hidden = worker as unknown as { lockManager?: { cancelAllJobs(): void }; mainLoopQueue?: unknown };
    withTenant('acme2', () => {
      expect([hidden.lockManager, hidden.mainLoopQueue]).toEqual([undefined, undefined]);
      expect(() => (hidden.mainLoopQueue = null)).toThrow(OperationRefusedError);
      expect(worker.cancelJob('one')).toBe(false);
    });
    // As an operator who is inside the wrong tenant for once.
    const manager = hidden.lockManager;
    withTenant('acme2', () => manager?.cancelAllJobs());
    expect(await heard.promise).toEqual({ tenant: 'acme' });
  });

  it('is stored with data that a worker can read', async () => {
    const queue = on.queue('mail');
    const job = (data: string) => ({ name: 'n', data, opts: {}, timestamp: 1 }) as never;
    for (const data of ['{bad', '', 'undefined', '[1,]', '\u0000'])
      await expect(withTenant('acme', () => queue.backend.addJob(job(data), 'one'))).rejects.toThrow(
        OperationRefusedError,
      );
    expect(await withTenant('acme', () => queue.backend.addJob(job('{"n":1}'), 'one'))).toBe('one');
  });

  it('hears nothing by a listener that was registered past the class', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'ran');
    const heard: unknown[] = [];
    withTenant('acme', () =>
      EventEmitter.prototype.on.call(worker, 'completed', (...args) => heard.push(args)),
    );
    withTenant('acme2', () => worker.on('completed', ({ id }) => heard.push(id)));
    const done = finished(worker, 1);
    await withTenant('acme2', () => queue.add('n', { secret: 1 }, { jobId: 'one' }));
    await done;
    expect(heard).toEqual(['one']);
    expect(withTenant('acme', () => worker.listeners('completed'))).toEqual([]);
    expect(withTenant('acme2', () => worker.listeners('completed'))).toHaveLength(1);
  });

  it('makes nobody hear of another tenant’s jobs what it has made up', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'ran', { autorun: false });
    const heard: unknown[] = [];
    const listen = (who: string) => (): void => void heard.push([who, currentTenant()?.tenant]);
    for (const event of ['stalled', 'failed', 'lockRenewalFailed', 'newListener'] as const) {
      worker.on(event as 'stalled', listen(`operator ${event}`));
      withTenant('acme2', () => worker.on(event as 'stalled', listen(`acme2 ${event}`)));
    }
    heard.length = 0;
    const emit = (): void => {
      worker.emit('stalled', 'acme2~one', 'active');
      worker.emit('lockRenewalFailed', ['acme2~one']);
      worker.emit('failed', undefined, new Error('x'), 'active');
    };
    withTenant('acme', emit);
    expect(heard).toEqual([]);
    emit();
    expect(heard).toEqual([
      ['operator stalled', 'acme2'],
      ['acme2 stalled', 'acme2'],
      ['operator lockRenewalFailed', 'acme2'],
      ['acme2 lockRenewalFailed', 'acme2'],
      ['operator failed', undefined],
    ]);
    heard.length = 0;
    withTenant('acme', () => worker.on('completed', () => undefined));
    expect(heard).toEqual([['operator newListener', 'acme']]);
    await queue.close();
  });

  it('may not lock a job for longer than an hour', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (job, token = '') => {
      const locked = await job.extendLock(token, 3_600_000);
      await expect(job.extendLock(token, 3_600_001)).rejects.toThrow(OperationRefusedError);
      await expect(job.extendLock(token, Number.NaN)).rejects.toThrow(OperationRefusedError);
      return locked;
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    expect(await done).toMatchObject([{ event: 'completed', result: 1 }]);
  });

  it('may not be retried before everybody else’s', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', async () => {
      for (const opts of [
        { lifo: true, attempts: 2 },
        { lifo: true, attempts: 2, backoff: 0 },
        { attempts: 2, backoff: { type: 'constructor' } },
        { attempts: 2, backoff: { type: '__proto__' } },
      ])
        await expect(queue.add('n', {}, opts)).rejects.toThrow(OperationRefusedError);
      for (const opts of [
        { lifo: true },
        { lifo: true, attempts: 2, backoff: 10 },
        { attempts: 2 },
        { attempts: 2, backoff: { type: 'own' } },
      ])
        expect((await queue.add('n', {}, opts)).id).toEqual(expect.any(String));
    });
  });

  it('fails for good when its backoff is of a type that the worker does not know', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => {
      throw new Error('no');
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { attempts: 5, backoff: { type: 'own' } }));
    expect(await done).toMatchObject([{ event: 'failed', error: { message: 'no' } }]);
  });

  const named = (name: string): Error => Object.assign(new Error('x'), { name });
  const THROWN: Readonly<Record<string, { thrown: unknown; reason: RegExp; attempts?: number }>> = {
    'the text of the rate limiter': {
      thrown: new Error('bullmq:rateLimitExceeded'),
      reason: /rate-limit a queue/,
    },
    'BullMQ’s RateLimitError': { thrown: new bullmq.RateLimitError(), reason: /rate-limit a queue/ },
    'BullMQ’s DelayedError': { thrown: new bullmq.DelayedError(), reason: /cannot delay/ },
    'a WaitingError by name': { thrown: named('WaitingError'), reason: /cannot delay/ },
    'a WaitingChildrenError by name': { thrown: named('WaitingChildrenError'), reason: /cannot delay/ },
    'a class of its own that is unrecoverable': {
      thrown: new (class UserGone extends UnrecoverableError {})('gone'),
      reason: /^gone$/,
      attempts: 3,
    },
    'a class of its own that delays': {
      thrown: new (class Later extends bullmq.DelayedError {})('later'),
      reason: /cannot delay/,
    },
    'a Proxy whose class throws': {
      thrown: new Proxy(new Error('x'), {
        getPrototypeOf() {
          throw new Error('Connection is closed.');
        },
      }),
      reason: /^x$/,
    },
    null: { thrown: null, reason: /not an error/ },
    'a text': { thrown: 'only a text', reason: /^only a text$/ },
    'an error whose message throws null': {
      thrown: Object.defineProperty(new Error('x'), 'message', {
        get() {
          throw null;
        },
      }),
      reason: /not an error/,
    },
    'an error whose message throws what a lost connection throws': {
      thrown: Object.defineProperty(new Error('x'), 'message', {
        get() {
          throw new Error('Connection is closed.');
        },
      }),
      reason: /not an error/,
    },
    'BullMQ’s UnrecoverableError': {
      thrown: new UnrecoverableError('no more'),
      reason: /^no more$/,
      attempts: 3,
    },
  };

  it.for(Object.entries(THROWN))(
    'does not steer the loop of all tenants: %s',
    async ([, { thrown, reason, attempts = 1 }]) => {
      const queue = on.queue('mail');
      let runs = 0;
      const worker = on.worker('mail', async () => {
        if (currentTenant()?.tenant === 'acme2') return 'ran';
        runs += 1;
        throw thrown;
      });
      const done = finished(worker, 2);
      await withTenant('acme', () => queue.add('n', {}, { jobId: 'one', attempts }));
      await withTenant('acme2', () => queue.add('n', {}, { jobId: 'one' }));
      const all = await done;
      // Not toBe: it would ask a Proxy for its class.
      expect(Object.is(all[0]?.error, thrown)).toBe(true);
      expect(all).toMatchObject([
        { event: 'failed', id: 'one' },
        { event: 'completed', id: 'one', result: 'ran' },
      ]);
      expect(runs).toBe(1);
      expect(await on.redis.hget('bull:mail~acme:acme~one', 'failedReason')).toMatch(reason);
      expect(await on.redis.llen('bull:mail~acme:active')).toBe(0);
    },
  );

  it('a result that cannot be written fails the job, and nothing else', async () => {
    const queue = on.queue('mail');
    const results: Readonly<Record<string, unknown>> = {
      bigint: 1n,
      closed: {
        toJSON() {
          throw new Error('Connection is closed.');
        },
      },
      undefined,
      date: new Date(0),
    };
    const worker = on.worker('mail', async (job) => results[job.name]);
    const done = finished(worker, 4);
    for (const name of Object.keys(results)) await withTenant('acme', () => queue.add(name, {}));
    expect(await done).toMatchObject([
      { event: 'failed', error: { message: expect.stringMatching(/BigInt/) } },
      { event: 'failed', error: { message: 'Connection is closed.' } },
      { event: 'completed' },
      { event: 'completed', result: new Date(0) },
    ]);
  });
});

describe('what serves all tenants', () => {
  it('is stopped by none of them, but by whoever has made it', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => 'ran');
    await withTenant('acme', async () => {
      for (const call of [
        () => worker.pause(),
        () => worker.close(),
        () => worker.disconnect(),
        () => queue.close(),
        () => queue.disconnect(),
      ]) {
        await expect(call()).rejects.toThrow(OperationRefusedError);
      }
      expect(() => (worker.concurrency = 1)).toThrow(OperationRefusedError);
    });
    const done = finished(worker, 1);
    await withTenant('acme2', () => queue.add('n', {}));
    expect(await done).toMatchObject([{ event: 'completed' }]);
    worker.concurrency = 3;
    expect(withTenant('acme', () => worker.concurrency)).toBe(3);
    await worker.close();
    expect(worker.isRunning()).toBe(false);
  });

  it('is stopped by the service’s own listener, which runs inside the tenant of a job', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (_job, token) => {
      await expect(worker.close()).rejects.toThrow(OperationRefusedError);
      return token;
    });
    const closed = new Promise<unknown>((resolve, reject) => {
      worker.on('completed', () => {
        expect(currentTenant()?.tenant).toBe('acme');
        worker.close().then(resolve, reject);
      });
    });
    const refused = new Promise<unknown>((resolve) => {
      withTenant('acme', () => worker.on('completed', () => void worker.pause().catch(resolve)));
    });
    await withTenant('acme', () => queue.add('n', {}));
    await closed;
    expect(await refused).toBeInstanceOf(OperationRefusedError);
    expect(worker.isRunning()).toBe(false);
  });
});

describe('a fenced queue', () => {
  it('does not write later what it admitted before: not after a freeze that came meanwhile', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using fenced = await bench(fence);
    const connection = fenced.redis.duplicate({ lazyConnect: true, retryStrategy: null });
    const queue = fenced.queue('mail', { connection, skipWaitingForReady: true });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'before' }));
    connection.disconnect();
    await once(connection, 'end');
    // Queued by ioredis until the connection is back.
    void connection.connect();
    const late = withTenant('acme', () => queue.add('n', {}, { jobId: 'late' }));
    const other = withTenant('acme2', () => queue.add('n', {}, { jobId: 'late' }));
    await fence.freeze('acme');
    await expect(late).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    expect((await other).id).toBe('late');
    expect(await fenced.redis.exists('bull:mail~acme:acme~late')).toBe(0);
    expect(await fenced.redis.exists('bull:mail~acme:acme~before')).toBe(1);
    await queue.close();
    connection.disconnect();
    fence.close();
  });
});

describe('a BullMQ that is not the one this was made for', () => {
  it('is refused when a class has a member that no table knows', () => {
    class Newer extends bullmq.Queue {
      shareJob(): void {}
    }
    const internal = Object.getOwnPropertyNames(bullmq.Queue.prototype).join(' ');
    expect(undecided(Newer.prototype, queueRules, internal)).toBe('shareJob');
    expect(() => checkCouplings()).not.toThrow();
  });

  it.each([
    [bullmq.Worker, 'createSandbox'],
    [bullmq.Worker, 'createJob'],
    [bullmq.RedisQueueBackend, 'execCommand'],
    [bullmq.ChildPool, 'retain'],
    [bullmq.ChildPool, 'kill'],
  ])('is refused when %o has lost %s, by which jobs get to what runs them', ({ name, prototype }, member) => {
    expect(misfit()).toBeUndefined();
    const own = Object.getOwnPropertyDescriptor(prototype, member) ?? {};
    try {
      Reflect.deleteProperty(prototype, member);
      expect(misfit()).toBe(`${name}.${member} is not in the installed BullMQ`);
    } finally {
      Object.defineProperty(prototype, member, own);
    }
    expect(misfit()).toBeUndefined();
  });

  it('is refused when a message of a sandbox has another number', () => {
    const numbers = bullmq.ChildCommand as unknown as Record<string, number>;
    const { Init = 0 } = numbers;
    try {
      numbers['Init'] = 7;
      expect(misfit()).toBe('ChildCommand.Init of the installed BullMQ is another number');
    } finally {
      numbers['Init'] = Init;
    }
    expect(misfit()).toBeUndefined();
  });
});

describe('an erasure that has ended', () => {
  it('is not followed by a job that the network had held up', async () => {
    await using held = await heldUp();
    const { queue, redis } = held;
    const add = (jobId: string) => queue.add('n', {}, { jobId });
    await withTenant('acme', () => add('before'));
    const [late, other] = await held.whileErased('acme', () =>
      ['acme', 'acme2'].map((tenant) => withTenant(tenant, () => add('late'))),
    );
    await expect(late).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    expect((await other)?.id).toBe('late');
    expect(await redis.exists('bull:mail~acme:acme~late')).toBe(0);
    expect(await redis.exists('bull:mail~acme2:acme2~late')).toBe(1);
  });
});
