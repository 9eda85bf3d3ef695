import { once } from 'node:events';
import { inspect } from 'node:util';
import { Redis } from 'ioredis';
import {
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { HOSTILE_TENANTS } from '@tenantkit/testing';
import { startRedisNode } from '@tenantkit/testing/servers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Queue, Worker } from '@tenantkit/queue';
import { KEY, audited, OPERATOR, bench, finished, type Bench } from '../support.ts';

/** A worker that was not woken would sleep for longer than any test lasts. */
const ASLEEP = { drainDelay: 600 } as const;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const add = (queue: Queue, tenant: string, jobId: string, opts: object = {}): Promise<unknown> =>
  withTenant(tenant, () => queue.add('n', {}, { jobId, ...opts }));
const addMany = (queue: Queue, tenant: string, count: number): Promise<unknown> =>
  withTenant(tenant, () => queue.addBulk(Array.from({ length: count }, () => ({ name: 'n', data: {} }))));
/** Which tenants' jobs begin, in this order. */
const noting = (ran: (string | undefined)[]) => async (): Promise<void> => {
  ran.push(currentTenant()?.tenant);
};

describe('turns', () => {
  it('a single job does not wait behind ten thousand of another tenant', async () => {
    const queue = on.queue('mail');
    await addMany(queue, 'acme', 10_000);
    const ran: (string | undefined)[] = [];
    const concurrency = 10;
    const worker = on.worker('mail', noting(ran), { concurrency, autorun: false });
    const heard = new Promise<number>((resolve) => {
      worker.on('completed', () => {
        if (currentTenant()?.tenant === 'acme2') resolve(ran.length);
      });
    });
    const busy = finished(worker, 50);
    void worker.run();
    await busy;
    const before = ran.length;
    await add(queue, 'acme2', 'one');
    // Those that run, the turns that are handed out, and what ran while the job was on its way.
    expect((await heard) - before).toBeLessThan(1_000);
    await worker.close(true);
    expect(ran.filter((tenant) => tenant === 'acme2')).toHaveLength(1);
  });

  it('tenants whose jobs wait already take turns, whoever was first', async () => {
    const queue = on.queue('mail');
    await addMany(queue, 'acme', 400);
    await addMany(queue, 'acme2', 20);
    const ran: (string | undefined)[] = [];
    const worker = on.worker('mail', noting(ran), { concurrency: 4, autorun: false });
    const done = finished(worker, 420);
    void worker.run();
    await done;
    // 20 of each, and what the slots may have begun beyond: a quantum each.
    expect(ran.lastIndexOf('acme2')).toBeLessThan(80);
  });
});

describe('a worker that has nothing to do', () => {
  it('is woken by each job, whichever tenant’s, and by each of many workers’ jobs once', async () => {
    const queue = on.queue('mail');
    const ran: string[] = [];
    const workers = [1, 2].map((concurrency) =>
      on.worker('mail', async (job) => void ran.push(`${currentTenant()?.tenant} ${job.id}`), {
        concurrency,
        ...ASLEEP,
      }),
    );
    const tenants = HOSTILE_TENANTS.slice(0, 6);
    const expected: string[] = [];
    for (let round = 0; round < 40; round += 1) {
      for (const [at, tenant] of tenants.entries()) {
        expected.push(`${tenant} j${round}`);
        // Now and then two at once: one worker takes the marker, the other has to hear of the rest.
        const adding = add(queue, tenant, `j${round}`);
        if ((round + at) % 3 > 0) await adding;
        if ((round + at) % 3 > 1) await expect.poll(() => ran.length, { interval: 1 }).toBe(expected.length);
      }
    }
    await expect.poll(() => ran.length).toBe(expected.length);
    expect(ran.toSorted()).toEqual(expected.toSorted());
    // Many at once are noted as well, and by nobody else: a sweep comes once in half a minute.
    await addMany(queue, 'acme', 20);
    await expect.poll(() => ran.length, { timeout: 10_000 }).toBe(expected.length + 20);
    expect(workers).toHaveLength(2);
  });

  it('wakes up by itself when a delayed job of any lane is due', async () => {
    const queue = on.queue('mail');
    const begun = Date.now();
    const ran: [string | undefined, number][] = [];
    const worker = on.worker(
      'mail',
      async () => void ran.push([currentTenant()?.tenant, Date.now() - begun]),
      ASLEEP,
    );
    const done = finished(worker, 3);
    for (const [tenant, delay] of [
      ['acme', 400],
      ['acme2', 200],
      ['ac', 0],
    ] as const)
      await add(queue, tenant, 'one', { delay });
    await done;
    expect(ran.map(([tenant]) => tenant)).toEqual(['ac', 'acme2', 'acme']);
    expect(ran[1]?.[1]).toBeGreaterThanOrEqual(200);
    expect(ran[2]?.[1]).toBeGreaterThanOrEqual(400);
  });

  it('is drained when no lane has work, and not whenever one has none', async () => {
    const queue = on.queue('mail');
    for (const tenant of HOSTILE_TENANTS.slice(0, 8)) await add(queue, tenant, 'one');
    let ran = 0;
    const worker = on.worker('mail', async () => void (ran += 1), { autorun: false, ...ASLEEP });
    const drained: number[] = [];
    worker.on('drained', () => void drained.push(ran));
    const first = once(worker, 'drained');
    void worker.run();
    await first;
    expect(drained).toEqual([8]);
  });
});

describe('work that nobody has noted', () => {
  it('is found by a sweep: what raw BullMQ has added, and what a process has added that died', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'done');
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => void ran.push(job.id), {
      stalledInterval: 50,
      ...ASLEEP,
    });
    await finished(worker, 1);
    await expect.poll(() => on.redis.zcard('bull:mail~:ready')).toBe(0);
    const done = finished(worker, 2);
    await on.raw('mail~acme').add('n', {}, { jobId: 'acme~forged' });
    // As if the process had died between the job and its note.
    await add(queue, 'acme', 'late', { delay: 60_000 });
    await on.redis
      .multi()
      .zrem('bull:mail~acme:delayed', 'acme~late')
      .rpush('bull:mail~acme:wait', 'acme~late')
      .exec();
    expect((await done).map(({ event }) => event).toSorted()).toEqual(['completed', 'failed']);
    expect(ran).toEqual(['done', 'late']);
  });

  it('is looked for once per interval, by however many workers', async () => {
    // A server of its own: ioredis takes what others do there for the answer to MONITOR.
    const server = await startRedisNode();
    await using ending = new AsyncDisposableStack();
    ending.defer(() => server.stop());
    const connection = new Redis(server.url, { maxRetriesPerRequest: null });
    const monitor = await connection.monitor();
    ending.defer(() => connection.disconnect());
    ending.defer(() => monitor.disconnect());
    ending.defer(() => on.reset());
    await add(on.queue('mail', { connection }), 'acme', 'one');
    const seen: string[] = [];
    monitor.on('monitor', (_time: string, args: readonly string[]) => {
      seen.push(args.slice(0, 2).join(' ').toLowerCase());
    });
    const workers = [1, 2, 3].map(() =>
      on.worker('mail', async () => undefined, { connection, autorun: false }),
    );
    for (const worker of workers) {
      const drained = once(worker, 'drained');
      void worker.run();
      await drained;
    }
    // Each asks for the lock, and one of them has got it.
    const looks = () => seen.filter((command) => command === 'set bull:mail~:sweep').length;
    await expect.poll(looks, { timeout: 10_000 }).toBe(3);
    const scans = () => seen.filter((command) => command.startsWith('zscan '));
    await expect.poll(scans, { timeout: 10_000 }).toEqual(['zscan bull:mail~:lanes']);
    expect(await connection.pttl('bull:mail~:sweep')).toBeGreaterThan(20_000);
  });
});

describe('what an operator does to all tenants', () => {
  it('a pause holds every lane, and its end wakes the workers', async () => {
    const queue = on.queue('mail');
    await acrossTenants(OPERATOR, () => queue.pause());
    expect(await acrossTenants(OPERATOR, () => queue.isPaused())).toBe(true);
    const ran: (string | undefined)[] = [];
    const worker = on.worker('mail', noting(ran), { autorun: false, ...ASLEEP });
    const done = finished(worker, 2);
    const drained = once(worker, 'drained');
    void worker.run();
    for (const tenant of ['acme', 'acme2']) await add(queue, tenant, 'one');
    await drained;
    expect(ran).toEqual([]);
    await acrossTenants(OPERATOR, () => queue.resume());
    await done;
    expect(new Set(ran)).toEqual(new Set(['acme', 'acme2']));
  });

  it('the option limiter counts the jobs of all tenants together', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await addMany(queue, tenant, 10);
    const begun: number[] = [];
    const ran: (string | undefined)[] = [];
    const worker = on.worker(
      'mail',
      async () => {
        begun.push(performance.now());
        ran.push(currentTenant()?.tenant);
      },
      { autorun: false, concurrency: 10, limiter: { max: 4, duration: 250 } },
    );
    const done = finished(worker, 20);
    void worker.run();
    await done;
    // Four windows have to pass before the fifth begins.
    expect((begun.at(-1) ?? 0) - (begun[0] ?? 0)).toBeGreaterThan(4 * 250 - 100);
    expect(new Set(ran.slice(0, 8)).size).toBe(2);
  });

  it('rateLimit holds every lane for a time', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await add(queue, tenant, 'one');
    await acrossTenants(OPERATOR, () => queue.rateLimit(400));
    const begun = performance.now();
    const worker = on.worker('mail', async () => performance.now() - begun, ASLEEP);
    for (const { result } of await finished(worker, 2)) expect(result).toBeGreaterThan(300);
  });

  it('a limit of the whole is refused, since it would hold for nobody', async () => {
    const queue = on.queue('mail');
    for (const call of [() => queue.setGlobalConcurrency(1), () => queue.setGlobalRateLimit(1, 1)])
      await expect(acrossTenants(OPERATOR, call)).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
  });
});

describe('the limits of a lane', () => {
  it('hold for its tenant, and for nobody else', async () => {
    const queue = on.queue('mail');
    await on.raw('mail~acme').setGlobalConcurrency(2);
    for (const tenant of ['acme', 'acme2']) await addMany(queue, tenant, 60);
    const running = new Map<string | undefined, number>();
    const most = new Map<string | undefined, number>();
    const worker = on.worker(
      'mail',
      async () => {
        const tenant = currentTenant()?.tenant;
        running.set(tenant, (running.get(tenant) ?? 0) + 1);
        most.set(tenant, Math.max(most.get(tenant) ?? 0, running.get(tenant) ?? 0));
        await new Promise((resolve) => setImmediate(resolve));
        await on.redis.ping();
        running.set(tenant, (running.get(tenant) ?? 0) - 1);
      },
      { autorun: false, concurrency: 8 },
    );
    const begun = performance.now();
    const done = finished(worker, 120);
    void worker.run();
    await done;
    expect(most.get('acme')).toBe(2);
    expect(most.get('acme2')).toBeGreaterThan(2);
    // The end of a job lets the next one begin: not only the look that comes once a second.
    expect(performance.now() - begun).toBeLessThan(4_000);
  });

  it('that are no numbers stop that lane, are reported, and stop nothing else', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await add(queue, tenant, 'one');
    await on.redis.hset('bull:mail~acme:meta', 'concurrency', 'many');
    using refusals = audited('refused');
    const worker = on.worker('mail', async () => currentTenant()?.tenant, { autorun: false });
    const first = finished(worker, 1);
    const drained = once(worker, 'drained');
    void worker.run();
    expect(await first).toMatchObject([{ result: 'acme2' }]);
    await drained;
    const reported = refusals.events.filter(({ tenantid }) => tenantid === 'acme');
    expect(JSON.stringify(reported)).toContain('limits of a lane');
    const second = finished(worker, 1);
    await on.redis.hset('bull:mail~acme:meta', 'concurrency', 1);
    await add(queue, 'acme', 'two');
    expect(await second).toMatchObject([{ result: 'acme' }]);
  });
});

describe('a lane that another process has removed', () => {
  const lanes = () => on.redis.zrange('bull:mail~:lanes', '0', '-1');

  it.each([
    ['obliterate', (queue: Queue) => acrossTenants(OPERATOR, () => queue.obliterate())],
    ['an erasure', () => on.redis.zrem('bull:mail~:lanes', 'acme')],
  ])('is registered again with its next job: %s', async (_how, remove) => {
    const [here, there] = [on.queue('mail'), on.queue('mail')];
    await add(here, 'acme', 'one');
    const since = Number(await on.redis.zscore('bull:mail~:lanes', 'acme'));
    await remove(there);
    expect(await lanes()).toEqual([]);
    await add(here, 'acme', 'two');
    expect(await lanes()).toEqual(['acme']);
    expect(Number(await on.redis.zscore('bull:mail~:lanes', 'acme'))).toBeGreaterThanOrEqual(since);
    // Its jobs are found by a sweep again.
    await on.redis.del('bull:mail~:ready');
    if (_how === 'obliterate') await acrossTenants(OPERATOR, () => there.resume());
    await finished(
      on.worker('mail', async () => undefined, { stalledInterval: 100 }),
      1,
    );
  });

  it('is not brought back by a late note, when it holds nothing', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'one');
    await withTenant('acme', () => queue.drain());
    await on.redis.zrem('bull:mail~:lanes', 'acme');
    await withTenant('acme', () => queue.resume());
    expect(await lanes()).toEqual([]);
  });
});

describe('a lane with a key of another type', () => {
  const INTERVAL = 100;
  const KEYS = ['wait', 'prioritized', 'delayed', 'meta', 'limiter', 'active', 'events', 'stalled', 'pc'];

  it.each(KEYS)('%s: is set aside and reported, and stops nobody else', async (key) => {
    const queue = on.queue('mail');
    await acrossTenants(OPERATOR, () =>
      queue.setTenantLimits('acme', { concurrency: 5, rate: { max: 9, duration: 9 } }),
    );
    await add(queue, 'acme', 'one');
    const broken = `bull:mail~acme:${key}`;
    await on.redis.del(broken);
    await (key === 'wait' || key === 'active' ? on.redis.set(broken, 'x') : on.redis.rpush(broken, 'x', 'y'));
    using refusals = audited('refused');
    const errors: Error[] = [];
    const worker = on.worker('mail', async () => currentTenant()?.tenant, {
      autorun: false,
      stalledInterval: INTERVAL,
      concurrency: 2,
    });
    worker.on('error', (error) => errors.push(error));
    const begun = performance.now();
    const done = finished(worker, 30);
    void worker.run();
    // While it sweeps, again and again.
    for (let n = 0; n < 30; n += 1) {
      await add(queue, 'acme2', `job-${n}`);
      if (n % 10 === 0)
        await expect
          .poll(() => on.redis.exists('bull:mail~:sweep'), { interval: 2, timeout: 10_000 })
          .toBe(0);
    }
    const ran = (await done).map(({ result }) => result).filter((tenant) => tenant !== 'acme');
    expect(ran.length).toBeGreaterThanOrEqual(29);
    const reported = refusals.events.filter(({ tenantid }) => tenantid === 'acme');
    if (!HARMLESS.has(key)) expect(reported.length + errors.length).toBeGreaterThan(0);
    // A few for each sweep, and not one for each look.
    const sweeps = (performance.now() - begun) / INTERVAL + 1;
    expect(errors.length).toBeLessThan(6 * sweeps);
  });

  /** Nothing looks at them as long as the job does. */
  const HARMLESS: ReadonlySet<string> = new Set(['pc', 'prioritized']);
});

describe('an end', () => {
  it('that is not recorded gives back the job of the next lane', async () => {
    const queue = on.queue('mail');
    const errors: string[] = [];
    const ran: string[] = [];
    const worker: Worker = on.worker(
      'mail',
      async (job) => {
        const tenant = currentTenant()?.tenant;
        ran.push(`${tenant} ${job.id}`);
        // As if the worker had stood still for longer than its lock lasts.
        if (tenant === 'acme') await on.redis.del('bull:mail~acme:acme~one:lock');
      },
      { autorun: false, concurrency: 1, ...ASLEEP },
    );
    worker.on('error', ({ message }) => void errors.push(message));
    const done = new Promise<void>((resolve) => {
      worker.on('completed', () => resolve());
    });
    // Two lanes, so that the slot changes with the next job.
    await addMany(queue, 'acme2', 1);
    await add(queue, 'acme', 'one');
    void worker.run();
    await done;
    await expect.poll(() => errors.join()).toContain('Missing lock');
    expect(ran.filter((job) => job.startsWith('acme2 '))).toHaveLength(1);
    expect(await on.redis.llen('bull:mail~acme2:active')).toBe(0);
  });

  it('is not recorded when the tenant was erased meanwhile, and the job is not tried again', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const tenant = { signingKeys: [KEY], fence } as const;
    const queue = on.queue('mail', { tenant });
    let runs = 0;
    const erased = Promise.withResolvers<void>();
    const worker = on.worker(
      'mail',
      async (job) => {
        if (currentTenant()?.tenant === 'acme') {
          runs += 1;
          // When both of its jobs run.
          if (runs === 2) erased.resolve(await fence.markErased('acme'));
          await erased.promise;
        }
        if (job.name === 'bad') throw new Error('a secret of acme');
        return 'a secret of acme';
      },
      { tenant, autorun: false, concurrency: 3 },
    );
    const done = finished(worker, 3);
    await withTenant('acme', () => queue.add('good', {}, { jobId: 'good', attempts: 3 }));
    await withTenant('acme', () => queue.add('bad', {}, { jobId: 'bad' }));
    await add(queue, 'acme2', 'one');
    void worker.run();
    const ends = await done;
    expect(ends.filter(({ event }) => event === 'completed')).toMatchObject([{ id: 'one' }]);
    for (const { error } of ends.filter(({ event }) => event === 'failed'))
      expect(error).toMatchObject({ code: 'SIGNATURE_INVALID', reason: 'fenced' });
    expect(runs).toBe(2);
    expect(await on.redis.exists('bull:mail~acme:acme~good', 'bull:mail~acme:acme~bad')).toBe(0);
    expect(JSON.stringify(await on.redis.xrange('bull:mail~acme:events', '-', '+'))).not.toContain(
      'a secret',
    );
    expect(await on.redis.hget('bull:mail~acme2:acme2~one', 'returnvalue')).toBe('"a secret of acme"');
    fence.close();
  });
});

describe('what is in a lane and is not its tenant’s', () => {
  it('is failed there, and shown to nobody', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'one', { delay: 60_000 });
    await add(queue, 'ac', 'own');
    const hash = await on.redis.hgetall('bull:mail~acme:acme~one');
    for (const id of ['acme~one', 'ac~one']) {
      await on.redis.hset(`bull:mail~ac:${id}`, hash);
      await on.redis.lpush('bull:mail~ac:wait', id);
    }
    await withTenant('ac', async () => {
      await expect(queue.getJob('one')).rejects.toMatchObject({ reason: 'mismatch' });
      expect((await queue.getJob('own'))?.id).toBe('own');
    });
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => void ran.push([currentTenant()?.tenant, job.id]), {
      autorun: false,
    });
    const done = finished(worker, 3);
    void worker.run();
    await done;
    expect(ran).toEqual([['ac', 'own']]);
    expect((await on.redis.zrange('bull:mail~ac:failed', 0, '-1')).toSorted()).toEqual([
      'acme~one',
      'ac~one',
    ]);
    // The genuine one is where it was.
    expect(await on.redis.zrange('bull:mail~acme:delayed', 0, '-1')).toEqual(['acme~one']);
  });

  it('is heard of by operators only, when its worker dies', async () => {
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const heard: unknown[] = [];
    worker.on('stalled', (id) => void heard.push(['outside', currentTenant()?.tenant, id]));
    withTenant('ac', () => worker.on('stalled', (id) => void heard.push(['ac', id])));
    worker.emit('stalled', 'ac~:acme~one', 'active');
    worker.emit('stalled', 'ac~one', 'active');
    expect(heard).toEqual([
      ['outside', undefined, 'ac~:acme~one'],
      ['outside', 'ac', 'one'],
      ['ac', 'one'],
    ]);
  });

  it('stays where it is in the queue of nobody, which no worker looks at', async () => {
    const queue = on.queue('mail');
    await on.raw('mail').add('n', {}, { jobId: 'acme~forged' });
    await add(queue, 'acme', 'one');
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed', id: 'one' }]);
    expect(await on.redis.lrange('bull:mail:wait', 0, -1)).toEqual(['acme~forged']);
  });
});

describe('a BullMQ that hands over jobs in another form', () => {
  /** Answers what a script hands over in a transaction in another order; everything else is real. */
  class NewerRedis extends Redis {
    override multi(): never {
      const multi = super.multi() as unknown as { exec(): Promise<[unknown, unknown][]> };
      const exec = multi.exec.bind(multi);
      multi.exec = async () =>
        (await exec()).map(([error, reply]) => [error, Array.isArray(reply) ? reply.toReversed() : reply]);
      return multi as never;
    }
  }

  it('takes no job, and says so', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'one');
    const connection = new NewerRedis(on.url, { maxRetriesPerRequest: null });
    const ran: unknown[] = [];
    const worker = on.worker('mail', async () => void ran.push(1), { connection, autorun: false });
    const told = new Promise<unknown>((resolve) => {
      worker.on('error', resolve);
    });
    void worker.run();
    expect(await told).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('form') });
    expect(ran).toEqual([]);
    expect(await on.redis.lrange('bull:mail~acme:wait', 0, -1)).toEqual(['acme~one']);
    expect(inspect(await on.redis.keys('*probe*'))).toBe('[]');
    await worker.close();
    connection.disconnect();
    const known = on.worker('mail', async () => 'ran');
    expect(await finished(known, 1)).toMatchObject([{ event: 'completed' }]);
  });
});
