import { once } from 'node:events';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import type { RedisQueueBackend } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Job, JobsOptions } from '@tenantkit/queue';
import { bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const LATEST = 8_640_000_000_000_000;

/** Runs what waits, with an idle slot besides, and tells what a worker has met meanwhile. */
async function runBeside(jobs: number): Promise<{ ended: readonly unknown[]; errors: readonly Error[] }> {
  const errors: Error[] = [];
  const worker = on.worker('mail', async (job) => job.id, { autorun: false, concurrency: 2 });
  worker.on('error', (error) => errors.push(error));
  const done = finished(worker, jobs);
  void worker.run();
  const ended = (await done).toSorted((one, other) => other.event.localeCompare(one.event));
  // A lane that is looked at again and again would be ready for ever.
  await expect.poll(() => on.redis.zcard('bull:mail~:ready')).toBe(0);
  return { ended, errors };
}

type Act = (job: Job, token: string | undefined) => Promise<unknown>;

/** What BullMQ's types hide, and JavaScript does not. */
const byHand =
  (time: number): Act =>
  (job, token) =>
    (Reflect.get(job, 'backend') as RedisQueueBackend).moveToDelayed(job.id ?? '', time, 0, token ?? '', {});

/** The error that something meets in a processor of the attacker's. */
async function inProcessor(act: Act): Promise<unknown> {
  let said: unknown;
  const worker = on.worker('mail', async (job, token) => {
    said = await act(job, token).catch((error: unknown) => error);
  });
  const done = finished(worker, 1);
  await withTenant('evil', () => on.queue('mail').add('n', {}));
  expect(await done).toMatchObject([{ event: 'completed' }]);
  await worker.close();
  return said;
}

const inOrder = (ended: readonly unknown[]): unknown[] =>
  ended.toSorted((one, other) =>
    String(Reflect.get(Object(one), 'id')).localeCompare(String(Reflect.get(Object(other), 'id'))),
  );

const addGood = (): Promise<unknown> =>
  withTenant('acme', () => on.queue('mail').add('n', {}, { jobId: 'good' }));
const GOOD = { event: 'completed', id: 'good', result: 'good' };

describe('a time at which nothing can be run', () => {
  it.each<[string, JobsOptions]>([
    ['delay', { delay: LATEST * 2 }],
    ['delay', { delay: 1e300 }],
    ['backoff', { attempts: 2, backoff: 1e300 }],
    ['backoff', { attempts: 2, backoff: { type: 'fixed', delay: 1e300 } }],
    ['timestamp', { timestamp: Number.MAX_SAFE_INTEGER, delay: 1 }],
  ])('is refused as %s', async (name, options) => {
    const queue = on.queue('mail');
    await withTenant('evil', async () => {
      await expect(queue.add('n', {}, options)).rejects.toThrow(`the option ${name} holds what it must not`);
      await queue.add('n', {}, { delay: LATEST });
    });
    await addGood();
    expect(await runBeside(1)).toEqual({ ended: [expect.objectContaining(GOOD)], errors: [] });
  });

  it.each([1e300, LATEST * 2])('is refused for a job that is there: %d', async (time) => {
    const acts: Act[] = [
      (job, token) => job.moveToDelayed(time, token),
      (job) => job.changeDelay(time),
      byHand(time),
    ];
    for (const act of acts) expect(await inProcessor(act)).toBeInstanceOf(OperationRefusedError);
  });

  it.each([-50_000, -1e300, Number.NaN])('is refused for a job that is there: %d', async (time) => {
    expect(await inProcessor(byHand(time))).toBeInstanceOf(OperationRefusedError);
  });

  it.each(['1e300', 'inf', '-204800000', '-inf', '36893488147419103232'])(
    'stops nobody else when it is written past us: %s',
    async (score) => {
      const queue = on.queue('mail');
      await withTenant('evil', () => queue.add('n', {}, { jobId: 'late', delay: 60_000 }));
      await on.redis.zadd('bull:mail~evil:delayed', score, 'evil~late');
      await on.redis.zadd('bull:mail~:ready', 0, 'evil');
      await addGood();
      expect(await runBeside(1)).toEqual({ ended: [expect.objectContaining(GOOD)], errors: [] });
      expect(await on.redis.zcard('bull:mail~evil:delayed')).toBe(1);
    },
  );

  it.each(['inf', '9007199254740993', '-inf', '-5'])(
    'stops nobody as the time of a lane: %s',
    async (score) => {
      await on.redis.zadd('bull:mail~:due', score, 'evil');
      await addGood();
      expect(await runBeside(1)).toEqual({ ended: [expect.objectContaining(GOOD)], errors: [] });
    },
  );

  it('stops nobody when a backoff grows to it', async () => {
    const queue = on.queue('mail');
    await withTenant('evil', async () => {
      await queue.add('n', {}, { jobId: 'bad', attempts: 2_000, backoff: { type: 'exponential', delay: 1 } });
      // As if it had failed so often already.
      await on.redis.hset('bull:mail~evil:evil~bad', 'atm', 1_500);
    });
    const worker = on.worker('mail', async (job) => {
      if (job.id === 'bad') throw new Error('again');
      return job.id;
    });
    const errors: Error[] = [];
    worker.on('error', (error) => errors.push(error));
    await once(worker, 'failed');
    const done = finished(worker, 1);
    await addGood();
    expect(await done).toMatchObject([GOOD]);
    await expect.poll(() => on.redis.zcard('bull:mail~:ready')).toBe(0);
    expect(errors).toEqual([]);
  });
});

describe('what would never end', () => {
  const nested = (depth: number): unknown => {
    let value: unknown = 'x';
    for (let at = 0; at < depth; at += 1) value = at % 2 === 0 ? [value, 'y]"'] : { 'a"[': value };
    return value;
  };

  it('is refused as progress, and left out where it was written past us', async () => {
    const queue = on.queue('mail');
    const added = await withTenant('evil', () => queue.add('n', {}, { jobId: 'deep' }));
    await withTenant('evil', async () => {
      await expect(added.updateProgress(nested(501) as object)).rejects.toThrow(/more than 500 deep/);
      await added.updateProgress(nested(500) as object);
      expect((await queue.getJob('deep'))?.progress).toEqual(nested(500));
    });
    await on.redis.hset('bull:mail~evil:evil~deep', 'progress', JSON.stringify(nested(3_000)));
    const heard: unknown[] = [];
    const worker = on.worker('mail', async (job) => job.progress, { autorun: false });
    worker.on('active', (job) => heard.push(job.progress));
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed', result: 0 }]);
    expect(heard).toEqual([0]);
  });

  it('the text by which BullMQ limits is no text of a child', async () => {
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('n', {}, { jobId: 'bad' }));
    await on.redis.hset('bull:mail~evil:evil~bad', 'defa', 'bullmq:rateLimitExceeded');
    await addGood();
    const { ended, errors } = await runBeside(2);
    expect(errors).toEqual([]);
    expect(ended).toMatchObject([{ event: 'failed', id: 'bad', error: { message: 'a child failed' } }, GOOD]);
  });

  it.each(['rjk', 'deid', 'parentKey'])('an empty %s is not none', async (field) => {
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('n', {}, { jobId: 'bad' }));
    await on.redis.hset('bull:mail~evil:evil~bad', field, '');
    await addGood();
    const { ended, errors } = await runBeside(2);
    expect(errors).toEqual([]);
    expect(ended).toMatchObject([{ event: 'failed', error: { reason: 'mismatch' } }, GOOD]);
  });

  it('a job without its name is another one', async () => {
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('', {}, { jobId: 'bad' }));
    await on.redis.hdel('bull:mail~evil:evil~bad', 'name');
    await addGood();
    expect((await runBeside(2)).ended).toMatchObject([
      { event: 'failed', error: { reason: 'mismatch' } },
      GOOD,
    ]);
  });

  it('options that hold null, which no header binds, are those of a job without them', async () => {
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('n', {}, { jobId: 'null', attempts: 2 }));
    const opts = String(await on.redis.hget('bull:mail~evil:evil~null', 'opts'));
    await on.redis.hset('bull:mail~evil:evil~null', 'opts', opts.replace('{', '{"backoff":null,'));
    await addGood();
    const { ended, errors } = await runBeside(2);
    expect(errors).toEqual([]);
    expect(inOrder(ended)).toMatchObject([GOOD, { event: 'completed', id: 'null' }]);
  });
});

/** Remembers the keys of what it is given. */
class Recording extends Redis {
  readonly seen = new Set<string>();

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    for (const arg of args[0].args) this.seen.add(String(arg));
    return super.sendCommand(...args);
  }
}

it('a parent that is refused is noted nowhere: a tenant may make up any name of its queue', async () => {
  const connection = new Recording(on.url, { maxRetriesPerRequest: null });
  const [queue, reports] = ['mail', 'reports'].map((name) => on.queue(name, { connection }));
  await withTenant('evil', async () => {
    const made = { parent: { id: 'p', queue: 'bull:made-up' } };
    await expect(queue?.add('n', {}, made)).rejects.toThrow(/Missing key for parent job/);
    const parent = await reports?.add('n', {}, { jobId: 'p' });
    await queue?.add('n', {}, { parent: { id: 'p', queue: parent?.queueQualifiedName ?? '' } });
  });
  // What is noted is written before it is closed.
  await Promise.all([queue?.close(), reports?.close()]);
  expect(connection.seen).toContain('bull:reports~:ready');
  expect(connection.seen).not.toContain('bull:made-up~:ready');
  connection.disconnect();
});

describe('what ioredis would make a text of', () => {
  const bomb: unknown = JSON.parse('{"toString":1}');

  it('ends no process: a row of a log is text before it gets there', async () => {
    const queue = on.queue('mail');
    const said: unknown[] = [];
    const worker = on.worker('mail', async (job, token) => {
      for (const act of [
        () => job.log(bomb as string),
        () => queue.addJobLog(job.id ?? '', bomb as string),
        () => queue.addJobLog(job.id ?? '', 'row', bomb as number),
        () => queue.getJobLogs(job.id ?? '', bomb as number),
        () => job.clearLogs(bomb as number),
        () => job.extendLock(bomb as string, 1_000),
      ])
        said.push(await act().catch((error: unknown) => error));
      await job.log('a text');
      await job.log(new Error('an error') as unknown as string);
      await job.log(7 as unknown as string);
      await job.extendLock(token ?? '', 30_000);
    });
    const done = finished(worker, 1);
    await withTenant('evil', () => queue.add('n', {}, { jobId: 'one' }));
    expect(await done).toMatchObject([{ event: 'completed' }]);
    expect(said.map((error) => error instanceof OperationRefusedError)).toEqual(said.map(() => true));
    await withTenant('evil', async () => {
      expect(await queue.getJobLogs('one')).toEqual({ logs: ['a text', 'Error: an error', '7'], count: 3 });
      expect(await queue.getJobLogs('one', 1, 1, false)).toEqual({ logs: ['Error: an error'], count: 3 });
    });
  });
});

describe('a key of another type', () => {
  it.each([
    ['ready', 2],
    ['due', 2],
    ['vt', 2],
    // Where the worker waits as well: BullMQ's own pause of 100 ms is between.
    ['wake', 12],
  ])(
    'of the queue (%s) makes nobody ask without end',
    async (key, most) => {
      const errors: Error[] = [];
      const worker = on.worker('mail', async (job) => job.id, { autorun: false });
      worker.on('error', (error) => errors.push(error));
      await worker.waitUntilReady();
      await on.redis.hset(`bull:mail~:${key}`, 'x', 1);
      void worker.run();
      await expect.poll(() => errors.length).toBeGreaterThan(0);
      const first = performance.now();
      await expect.poll(() => errors.length, { timeout: 10_000 }).toBeGreaterThan(most);
      expect(performance.now() - first).toBeGreaterThan(900);
      await on.redis.del(`bull:mail~:${key}`);
      const done = finished(worker, 1);
      await addGood();
      expect(await done).toMatchObject([GOOD]);
    },
    20_000,
  );
});
