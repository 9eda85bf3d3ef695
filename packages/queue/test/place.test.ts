import { once } from 'node:events';
import {
  ConfigError,
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import type { FreshRedis } from '@tenantkit/testing';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  FlowProducer,
  queueAuditor,
  queueEraser,
  type Queue,
  type QueuePlacement,
  type QueueTenantOptions,
  type Worker,
} from '@tenantkit/queue';
import { POOL, placed, type Place, type Placed } from './place-support.ts';
import { proxyTo } from './proxy.ts';
import { KEY, OPERATOR, bench, finished, type Bench } from './support.ts';

let of: Placed<Bench>;
let on: Bench;
let silo: FreshRedis;
let there: Redis;
beforeAll(async () => {
  of = await placed(bench);
  ({ on, silo, there } = of);
});
afterEach(() => of.reset());
afterAll(() => of[Symbol.asyncDispose]());

/** Only this tenant is elsewhere. */
const big: Place = (id) => of.big(id);

const tenant = (place: Place, more: Partial<QueueTenantOptions> = {}): QueueTenantOptions => ({
  signingKeys: [KEY],
  place,
  ...more,
});
const queueIn = (place: Place, more: Partial<QueueTenantOptions> = {}): Queue =>
  on.queue('mail', { tenant: tenant(place, more) });
const workerIn = (place: Place, processor: Parameters<Bench['worker']>[1], more: object = {}): Worker =>
  on.worker('mail', processor, { tenant: tenant(place), ...more });
const add = (queue: Queue, id: string, jobId = 'one', options: object = {}): Promise<{ id?: string }> =>
  withTenant(id, () => queue.add('n', { of: id }, { jobId, ...options }));
const who = (): string | undefined => currentTenant()?.tenant;

describe('a Queue with places', () => {
  it('adds jobs where the tenant is, and shows those only', async () => {
    const queue = queueIn(big);
    for (const id of ['big', 'big2', 'acme']) await add(queue, id);
    expect(await there.exists('bull:mail~big:big~one')).toBe(1);
    expect((await there.keys('*')).filter((key) => !/^bull:mail~(?:big)?:/.test(key))).toEqual([]);
    expect(await on.redis.keys('bull:mail~big:*')).toEqual([]);
    expect(await on.redis.exists('bull:mail~big2:big2~one', 'bull:mail~acme:acme~one')).toBe(2);
    for (const id of ['big', 'big2', 'acme']) {
      await withTenant(id, async () => {
        expect(await queue.getJobCounts('waiting')).toEqual({ waiting: 1 });
        expect((await queue.getJobs()).map((job) => [job.id, job.data])).toEqual([['one', { of: id }]]);
        const job = await queue.getJob('one');
        await job?.updateData({ of: 'me' });
        await job?.remove();
        expect(await queue.getWaitingCount()).toBe(0);
      });
    }
  });

  it('keeps schedulers, deduplication, pause, limits and bulks there', async () => {
    const queue = queueIn(big);
    await withTenant('big', async () => {
      await queue.addBulk([
        { name: 'n', data: {} },
        { name: 'n', data: {}, opts: { delay: 60_000 } },
      ]);
      const { id } = await queue.add('n', {}, { deduplication: { id: 'd' } });
      expect(await queue.getDeduplicationJobId('d')).toBe(id);
      await queue.upsertJobScheduler('s', { every: 60_000 }, { name: 'n' });
      expect((await queue.getJobSchedulers()).map(({ key }) => key)).toEqual(['s']);
      await queue.pause();
      expect(await queue.isPaused()).toBe(true);
    });
    const asOperator = <T>(fn: () => T): T => acrossTenants(OPERATOR, fn);
    await asOperator(() => queue.setTenantLimits('big', { concurrency: 3 }));
    expect(await asOperator(() => queue.getTenantLimits('big'))).toEqual({ concurrency: 3 });
    expect(await asOperator(() => queue.getTenants())).toEqual(['big']);
    expect(await there.hget('bull:mail~big:meta', 'concurrency')).toBe('3');
    // Nothing of the tenant is in the pool, but that it is elsewhere.
    expect(await on.redis.keys('*big*')).toEqual([]);
    expect(await on.redis.zrange('bull:mail~:placed', '0', '-1')).toEqual(['big']);
  });

  it('takes a client of the caller, which it does not close', async () => {
    const queue = queueIn((id) => (id === 'big' ? { level: 'silo', connection: there } : POOL));
    await add(queue, 'big');
    await queue.close();
    expect(there.status).toBe('ready');
    // Another client is another place, wherever it leads: nobody compares what is alive.
    let connection = there;
    const other = queueIn((id) => (id === 'big' ? { level: 'silo', connection } : POOL));
    await add(other, 'big', 'two');
    connection = there.duplicate();
    await expect
      .poll(() => add(other, 'big', 'three').catch((error: unknown) => error))
      .toMatchObject({ code: 'OPERATION_REFUSED' });
    connection.disconnect();
    expect(await there.exists('bull:mail~big:big~one')).toBe(1);
  });

  it('has one client for a silo, however many tenants are there, which ends with it', async () => {
    const queue = queueIn(() => ({ level: 'silo', connection: { url: silo.url } }));
    const changed = { url: silo.url };
    const other = queueIn(() => ({ level: 'silo', connection: changed }));
    for (const id of ['big', 'acme', 'a']) await add(queue, id);
    expect(await clients()).toBe(1);
    await add(other, 'big', 'two');
    changed.url = 'redis://127.0.0.1:1';
    await expect
      .poll(() => add(other, 'big', 'three').catch((error: unknown) => error))
      .toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    await queue.close();
    await other.close();
    await expect.poll(() => clients()).toBe(0);
  });

  it.each<[string, () => unknown, RegExp]>([
    [
      'throws',
      () => {
        throw new Error('lookup of big.internal failed');
      },
      /has failed/,
    ],
    ['promises', () => Promise.resolve(POOL), /place\.level/],
    ['answers nothing', () => undefined, /place\.level/],
    ['names another level', () => ({ level: 'bridge', db: 3 }), /place\.level/],
    ['gives no address', () => ({ level: 'silo', connection: {} }), /place\.connection/],
    [
      'gives an URL in the place of a connection',
      () => ({ level: 'silo', connection: silo.url }),
      /place\.connection/,
    ],
    [
      'says more than is known',
      () => ({ level: 'silo', connection: { url: silo.url }, db: 3 }),
      /unknown option db/,
    ],
  ])('a place that %s refuses the tenant, and no other one', async (_, place, problem) => {
    const queue = queueIn((id) => (id === 'big' ? (place() as QueuePlacement) : POOL));
    const told = once(queue, 'error') as Promise<[ConfigError]>;
    const refused = add(queue, 'big');
    await expect(refused).rejects.toThrow(OperationRefusedError);
    await expect(refused).rejects.toThrow(/nobody knows where/);
    await expect(refused).rejects.not.toThrow(/internal/);
    const [error] = await told;
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(problem);
    await add(queue, 'acme');
    expect(await on.redis.keys('bull:mail~big:*')).toEqual([]);
    expect(await on.redis.exists('bull:mail~acme:acme~one')).toBe(1);
  });

  it('moves nobody without a fence, and with one only who is frozen meanwhile', async () => {
    let isBig = false;
    const place: Place = (id) => (isBig ? big(id) : POOL);
    const unfenced = queueIn(place);
    await add(unfenced, 'big');
    const store = memoryTenantStore();
    const fence = await createTenantRegistry({ store, refreshEvery: 10, maxStaleness: 500 });
    using closing = new DisposableStack();
    closing.defer(() => fence.close());
    const fenced = queueIn(place, { fence });
    await add(fenced, 'big', 'two');
    isBig = true;
    // The answer of before is believed for a second.
    await expect
      .poll(() => add(unfenced, 'big', 'three').catch((error: unknown) => error))
      .toMatchObject({ code: 'OPERATION_REFUSED' });
    await fence.freeze('big');
    await expect(add(fenced, 'big', 'four')).rejects.toThrow(/frozen/);
    await fence.unfreeze('big');
    await expect
      .poll(async () => {
        await add(fenced, 'big', 'five');
        return there.exists('bull:mail~big:big~five');
      })
      .toBe(1);
  });

  it('does not believe what place has answered while the tenant was frozen', async () => {
    let isBig = false;
    const fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 10,
      maxStaleness: 500,
    });
    using closing = new DisposableStack();
    closing.defer(() => fence.close());
    const queue = queueIn((id) => (isBig ? big(id) : POOL), { fence });
    await fence.freeze('big');
    expect(await acrossTenants(OPERATOR, () => queue.getTenantLimits('big'))).toEqual({});
    isBig = true;
    await fence.unfreeze('big');
    await add(queue, 'big');
    expect(await there.exists('bull:mail~big:big~one')).toBe(1);
  });

  it('tells of the connections to silos as of its own', async () => {
    const connection = { host: '127.0.0.1', port: 1, retryStrategy: () => null };
    const queue = queueIn((id) => (id === 'big' ? { level: 'silo', connection } : POOL));
    const told: Error[] = [];
    queue.on('error', (error) => void told.push(error));
    await expect(add(queue, 'big')).rejects.toThrow(/Connection is closed|ECONNREFUSED/);
    expect(told[0]).toMatchObject({ code: 'ECONNREFUSED' });
    await add(queue, 'acme');
  });

  it('a silo that is down keeps its own tenants waiting only', async () => {
    await using proxy = await proxyTo(Number(new URL(silo.url).port));
    const { pathname } = new URL(silo.url);
    const url = `redis://127.0.0.1:${proxy.port}${pathname}`;
    const queue = queueIn((id) => (id === 'big' ? { level: 'silo', connection: { url } } : POOL));
    queue.on('error', () => undefined);
    await add(queue, 'big');
    const isLost = proxy.swallow();
    const late = add(queue, 'big', 'late');
    await isLost;
    await add(queue, 'acme');
    proxy.restore();
    expect((await late).id).toBe('late');
  });
});

describe('a FlowProducer with places', () => {
  it('keeps all jobs of a flow where its tenant is, and a Worker runs them there', async () => {
    const flows = new FlowProducer({ connection: on.redis, tenant: tenant(big) });
    try {
      const flow = {
        name: 'parent',
        queueName: 'mail',
        opts: { jobId: 'p' },
        children: [{ name: 'child', queueName: 'mail', opts: { jobId: 'c' } }],
      };
      for (const id of ['big', 'acme']) await withTenant(id, () => flows.add(flow));
      expect(await there.exists('bull:mail~big:big~p', 'bull:mail~big:big~c')).toBe(2);
      expect(await on.redis.keys('*big*')).toEqual([]);
      expect(await on.redis.exists('bull:mail~acme:acme~p')).toBe(1);
      for (const id of ['big', 'acme']) {
        const found = await withTenant(id, () => flows.getFlow({ id: 'p', queueName: 'mail' }));
        expect([found.job.id, found.children?.map(({ job }) => job.id)]).toEqual(['p', ['c']]);
      }
      const worker = workerIn(big, async (job) =>
        job.name === 'child' ? who() : Object.values(await job.getChildrenValues()),
      );
      const done = await finished(worker, 4);
      expect(done.filter(({ id }) => id === 'p').map(({ result }) => result)).toEqual(
        expect.arrayContaining([['acme'], ['big']]),
      );
    } finally {
      await flows.close();
    }
    await expect.poll(() => clients((line) => !line.includes('cmd=bzpopmin'))).toBeLessThan(2);
  });
});

describe('erasing and auditing with places', () => {
  const ofJobs = (items: readonly { kind: string; count: number }[]): number | undefined =>
    items.find(({ kind }) => kind === 'jobs')?.count;

  it('a tenant is erased where it is and in the pool, and nobody else anywhere', async () => {
    const queue = queueIn(big);
    for (const id of ['big', 'acme', 'big2']) await add(queue, id);
    // Left behind by a move, and a neighbour in the silo.
    await add(on.queue('mail'), 'big', 'left');
    await add(
      queueIn(() => ({ level: 'silo', connection: { url: silo.url } })),
      'acme',
      'there',
    );
    const eraser = queueEraser(queue);
    expect(ofJobs((await eraser.plan({ tenant: 'big' })).items)).toBe(2);
    expect(ofJobs((await eraser.erase({ tenant: 'big' })).erased)).toBe(2);
    const { remaining, control } = await eraser.verify({ tenant: 'big' });
    expect(remaining.map(({ count }) => count)).toEqual([0, 0, 0]);
    expect(control).toMatchObject({ planted: 2, found: 2, method: expect.stringContaining('2 places') });
    for (const redis of [on.redis, there]) {
      expect((await redis.keys('*')).filter((key) => /~big[~:]/.test(key))).toEqual([]);
      expect(await redis.zrange('bull:mail~:placed', 0, '-1')).not.toContain('big');
    }
    expect(await on.redis.exists('bull:mail~acme:acme~one', 'bull:mail~big2:big2~one')).toBe(2);
    expect(await there.exists('bull:mail~acme:acme~there')).toBe(1);
    expect(await clients((line) => !line.includes('cmd=zadd'))).toBeLessThan(4);
  });

  it('an erasure that was stopped goes on in the place where it was, and counts what it has erased before', async () => {
    const queue = queueIn(big);
    await add(queue, 'big');
    await add(on.queue('mail'), 'big', 'left');
    let saved: string | undefined;
    const stop = new AbortController();
    const run = {
      signal: stop.signal,
      checkpoint: {
        load: async () => saved,
        async save(text: string) {
          saved = text;
          // The silo is done, the pool is not.
          stop.abort(new Error('stopped'));
        },
      },
      progress: () => undefined,
    };
    const eraser = queueEraser(queue);
    await expect(eraser.erase({ tenant: 'big' }, run)).rejects.toThrow('stopped');
    expect(await on.redis.exists('bull:mail~big:big~left')).toBe(1);
    const again = { ...run, signal: new AbortController().signal };
    expect(ofJobs((await eraser.erase({ tenant: 'big' }, again)).erased)).toBe(2);
  });

  it('a person is erased in both places as well', async () => {
    const queue = queueIn(big);
    const about = (subject: string, of: Queue, jobId: string): Promise<unknown> =>
      withTenant({ tenant: 'big', subject }, () => of.add('n', {}, { jobId }));
    await about('p1', queue, 'one');
    await about('p2', queue, 'two');
    await about('p1', on.queue('mail'), 'left');
    const eraser = queueEraser(queue);
    expect(ofJobs((await eraser.erase({ tenant: 'big', subject: 'p1' })).erased)).toBe(2);
    expect(await there.exists('bull:mail~big:big~one')).toBe(0);
    expect(await there.exists('bull:mail~big:big~two')).toBe(1);
    expect(await on.redis.exists('bull:mail~big:big~left')).toBe(0);
  });

  it('nothing is erased when nobody knows where the tenant is', async () => {
    const queue = queueIn(big);
    await add(queue, 'big');
    const lost = () => {
      throw new Error('not known');
    };
    const eraser = queueEraser(on.redis, { queues: ['mail'], place: lost });
    await expect(eraser.erase({ tenant: 'big' })).rejects.toThrow(ConfigError);
    expect(await there.exists('bull:mail~big:big~one')).toBe(1);
    await queueEraser(on.redis, { queues: ['mail'], place: big }).erase({ tenant: 'big' });
    expect(await there.exists('bull:mail~big:big~one')).toBe(0);
  });

  it('a silo that cannot be reached is said, with its address', async () => {
    const gone: Place = () => ({ level: 'silo', connection: { host: '127.0.0.1', port: 1 } });
    const eraser = queueEraser(on.redis, { queues: ['mail'], place: gone, timeout: 300 });
    await expect(eraser.plan({ tenant: 'big' })).rejects.toMatchObject({
      code: 'STORE_UNREACHABLE',
      message: expect.stringContaining('127.0.0.1:1'),
    });
  });

  it('the auditor looks at every silo that somebody has used, once', async () => {
    const queue = queueIn((id) =>
      id.startsWith('big') ? { level: 'silo', connection: { url: silo.url } } : POOL,
    );
    for (const id of ['big', 'big2', 'acme']) await add(queue, id);
    await there.hset('bull:mail~big:big~one', 'data', '{"of":"somebody"}');
    await on.redis.hset('bull:mail~acme:acme~one', 'data', '{"of":"somebody"}');
    const found: unknown[] = [];
    for await (const { code, name } of queueAuditor(queue, { signingKeys: [KEY] }).audit())
      found.push([code, name]);
    expect(found).toEqual([
      ['invalid_signature', 'bull:mail~acme:acme~one'],
      ['invalid_signature', 'bull:mail~big:big~one'],
    ]);
  });
});

/** How many clients of the silo there are besides the observer, as its server says. */
async function clients(of: (line: string) => boolean = () => true): Promise<number> {
  const lines = String(await there.call('CLIENT', 'LIST')).split('\n');
  return lines.filter(
    (line) => line.includes(`db=${there.options.db} `) && !line.includes('cmd=client') && of(line),
  ).length;
}
const blocking = (): Promise<number> => clients((line) => line.includes('cmd=bzpopmin'));

describe('a Worker with places', () => {
  it('runs the jobs of every place, each in its tenant, and tells of all of them', async () => {
    const queue = queueIn(big);
    for (const id of ['big', 'acme']) await add(queue, id);
    const ran: unknown[] = [];
    const worker = workerIn(big, async (job) => {
      await job.updateProgress(50);
      await job.log('a line');
      ran.push([who(), job.id, job.data]);
      return who();
    });
    const heard: unknown[] = [];
    withTenant('big', () => worker.on('completed', (job, result) => void heard.push([job.id, result])));
    const done = await finished(worker, 2);
    expect(new Set(done.map(({ result }) => result))).toEqual(new Set(['acme', 'big']));
    expect(ran).toHaveLength(2);
    expect(ran).toEqual(
      expect.arrayContaining([
        ['acme', 'one', { of: 'acme' }],
        ['big', 'one', { of: 'big' }],
      ]),
    );
    expect(heard).toEqual([['one', 'big']]);
    await withTenant('big', async () => {
      const job = await queue.getJob('one');
      expect(await job?.getState()).toBe('completed');
      expect(job?.progress).toBe(50);
      expect(await queue.getJobLogs('one')).toEqual({ logs: ['a line'], count: 1 });
    });
  });

  it('finds a silo that nobody was in when it began', async () => {
    const worker = workerIn(big, async () => who());
    await worker.waitUntilReady();
    const done = finished(worker, 1);
    await add(queueIn(big), 'big');
    expect((await done)[0]?.result).toBe('big');
  });

  it('still runs what a tenant has left in the pool, in its place', async () => {
    await add(on.queue('mail'), 'big', 'left');
    const worker = workerIn(big, async (job) => {
      await job.updateProgress(1);
      return who();
    });
    expect(await finished(worker, 1)).toMatchObject([{ id: 'left', result: 'big' }]);
    expect(await on.redis.hget('bull:mail~big:big~left', 'progress')).toBe('1');
    expect(await there.keys('*~left')).toEqual([]);
  });

  it('is paused, resumed and closed with all of its parts', async () => {
    const queue = queueIn(big);
    await add(queue, 'big');
    const worker = workerIn(big, async () => undefined, { drainDelay: 1 });
    await finished(worker, 1);
    await worker.pause();
    for (const id of ['big', 'acme']) await add(queue, id, 'two');
    const done = finished(worker, 2);
    await worker.resume();
    await done;
    await worker.close();
    await expect.poll(blocking).toBe(0);
    for (const id of ['big', 'acme']) {
      await add(queue, id, 'three');
      expect(await withTenant(id, () => queue.getWaitingCount())).toBe(1);
    }
  });

  it('is not closed before the jobs in silos have ended', async () => {
    const queue = queueIn(big);
    await add(queue, 'big');
    const { promise, resolve } = Promise.withResolvers<void>();
    const worker = workerIn(big, () => promise);
    await new Promise((begun) => worker.once('active', begun));
    let isClosed = false;
    const closing = worker.close().then(() => (isClosed = true));
    await expect
      .poll(async () => (await on.redis.ping()) === 'PONG' && isClosed, { timeout: 200 })
      .toBe(true)
      .then(
        () => expect.unreachable('it is closed'),
        () => undefined,
      );
    resolve();
    await closing;
    expect(await withTenant('big', () => queue.getCompletedCount())).toBe(1);
  });

  it('has one loop for a silo, and looks for no more once it is closed', async () => {
    await add(queueIn(big), 'big');
    let asked = 0;
    const worker = workerIn(
      (id) => {
        asked += 1;
        return big(id);
      },
      async () => undefined,
    );
    await expect.poll(() => asked).toBeGreaterThan(2);
    expect(await blocking()).toBe(1);
    await worker.close();
    const before = asked;
    await expect(expect.poll(() => asked, { timeout: 1_500 }).toBeGreaterThan(before)).rejects.toThrow(
      /in time|greater/,
    );
  });

  it.each(['before', 'after'])('has the concurrency that was set %s a silo was found there', async (when) => {
    const queue = queueIn(big);
    let [now, most] = [0, 0];
    const worker = workerIn(big, async (job) => {
      if (job.id === 'first') return;
      most = Math.max(most, (now += 1));
      await expect.poll(() => most).toBe(3);
      now -= 1;
    });
    if (when === 'before') worker.concurrency = 3;
    else {
      const begun = finished(worker, 1);
      await add(queue, 'big', 'first');
      await begun;
      worker.concurrency = 3;
    }
    const done = finished(worker, 3);
    for (const jobId of ['one', 'two', 'three']) await add(queue, 'big', jobId);
    expect((await done).map(({ event }) => event)).toEqual(['completed', 'completed', 'completed']);
  });

  it('begins in a silo that is found while it is paused when it is resumed', async () => {
    const asked: string[] = [];
    const ran: boolean[] = [];
    let isResumed = false;
    const worker = workerIn(
      (id) => {
        asked.push(id);
        return big(id);
      },
      async () => void ran.push(isResumed),
    );
    await worker.waitUntilReady();
    await worker.pause();
    await add(queueIn(big), 'big');
    await expect.poll(() => asked).toContain('big');
    await expect
      .poll(() => ran.length, { timeout: 300 })
      .toBe(1)
      .then(
        () => expect.unreachable('it has run'),
        () => undefined,
      );
    const done = finished(worker, 1);
    isResumed = true;
    await worker.resume();
    await done;
    expect(ran).toEqual([true]);
  });

  it('that did not run yet finds silos when it is resumed', async () => {
    await add(queueIn(big), 'big');
    const worker = workerIn(big, async () => who(), { autorun: false });
    const done = finished(worker, 1);
    await worker.resume();
    expect((await done)[0]?.result).toBe('big');
  });

  it('tells of its own loop what it tells, and nothing of those in silos', async () => {
    const queue = queueIn(big);
    await add(queue, 'big');
    const worker = workerIn(big, async () => undefined, { autorun: false });
    const told: string[] = [];
    for (const event of ['drained', 'paused', 'resumed', 'closing', 'closed'] as const)
      worker.on(event, () => void told.push(event));
    const done = finished(worker, 1);
    void worker.run();
    await done;
    await worker.pause();
    await worker.resume();
    await worker.close();
    expect(told.filter((event) => event !== 'drained')).toEqual(['paused', 'resumed', 'closing', 'closed']);
  });

  it('cancels a job of the tenant wherever it runs, and of nobody else', async () => {
    const queue = queueIn(big);
    for (const id of ['big', 'acme']) await add(queue, id, 'one', { attempts: 1 });
    const running: string[] = [];
    const worker = workerIn(big, (_job, _token, signal) => {
      running.push(String(who()));
      return new Promise((_resolve, reject) => {
        signal?.addEventListener('abort', () => reject(new Error(`stopped ${String(signal.reason)}`)));
      });
    });
    const done = finished(worker, 2);
    await expect.poll(() => running.length).toBe(2);
    expect(withTenant('other', () => worker.cancelJob('one', 'no'))).toBe(false);
    expect(withTenant('big', () => worker.cancelJob('one', 'by big'))).toBe(true);
    expect(withTenant('acme', () => worker.cancelJob('one', 'by acme'))).toBe(true);
    expect(new Set((await done).map(({ error }) => error?.message))).toEqual(
      new Set(['stopped by acme', 'stopped by big']),
    );
  });

  it('says once that nobody knows where a tenant is, and goes on with the others', async () => {
    const errors: Error[] = [];
    await add(queueIn(big), 'big');
    await add(queueIn(big), 'acme');
    let asked = 0;
    const worker = workerIn(
      (id) => {
        asked += 1;
        if (id === 'big') throw new Error('not known');
        return POOL;
      },
      async () => who(),
      { autorun: false },
    );
    worker.on('error', (error) => void errors.push(error));
    const done = finished(worker, 1);
    const told = once(worker, 'error');
    void worker.run();
    expect((await done)[0]?.result).toBe('acme');
    await told;
    await expect.poll(() => asked).toBeGreaterThan(2);
    expect(errors.map((error) => (error as ConfigError).code)).toEqual(['CONFIG_INVALID']);
    expect(await there.llen('bull:mail~big:wait')).toBe(1);
  });

  it('opens nothing for a name that somebody has written into Redis', async () => {
    const asked: string[] = [];
    for (const name of ['evil', 'no tenant:x', '../x']) await on.redis.zadd('bull:mail~:placed', 1, name);
    const worker = workerIn(
      (id) => {
        asked.push(id);
        return POOL;
      },
      async () => who(),
    );
    const done = finished(worker, 1);
    await add(on.queue('mail'), 'acme');
    await done;
    expect(asked).toEqual(['evil']);
  });
});
