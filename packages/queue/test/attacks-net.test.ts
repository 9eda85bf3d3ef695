import type { Command } from 'ioredis';
import { Redis } from 'ioredis';
import { Job as RawJob, type JobJson } from 'bullmq';
import { SignatureError, withTenant } from '@tenantkit/core';
import { Job } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { KeyedStore } from '../src/lanes/keyed.ts';
import { Lane } from '../src/lanes/lane.ts';
import { PickedJob } from '../src/picked.ts';
import { EndedJobs } from '../src/ended.ts';
import { audited, bench, finished, type Bench, type Finished } from './support.ts';

// What no check has thought of: a fault in our own code, or in BullMQ's, that one job of one tenant meets.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await on.reset();
});
afterAll(() => on[Symbol.asyncDispose]());

const fault = (): never => {
  throw new RangeError('Maximum call stack size exceeded');
};

const memberOf = <T extends object, Name extends keyof T>(of: T, name: Name): T[Name] => of[name];

const isOfEvil = (text: unknown): boolean => typeof text === 'string' && text.includes('evil~bad');

/** By what a job may be hit before its processor begins. */
const FAULTS: Readonly<Record<string, () => void>> = {
  'when it is looked at'() {
    const has = memberOf(EndedJobs.prototype, 'has');
    vi.spyOn(EndedJobs.prototype, 'has').mockImplementation(function faulty(this: EndedJobs, id, at) {
      return isOfEvil(id) ? fault() : has.call(this, id, at);
    });
  },
  'when the loop’s job is made of it'() {
    faultyJson((type) => type === RawJob);
  },
  'when it is made for its processor'() {
    faultyJson((type) => type === Job);
  },
};

/** Lets nobody make a job of what was verified of the attacker's. */
function faultyJson(isHit: (type: unknown) => boolean): void {
  const fromJSON = memberOf(RawJob, 'fromJSON');
  vi.spyOn(RawJob, 'fromJSON').mockImplementation(function faulty(
    this: typeof RawJob,
    queue,
    json: JobJson,
    id,
  ) {
    return isHit(this) && json.name === 'bad' ? fault() : fromJSON.call(this, queue, json, id);
  });
}

const stateOf = (id: string): Promise<string> =>
  withTenant('evil', () => on.queue('mail').getJobState(id) as Promise<string>);

describe('a fault that nobody has thought of', () => {
  it.each(Object.entries(FAULTS))('%s ends that one job, and no other', async (_when, plant) => {
    plant();
    using refused = audited('refused');
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('bad', {}, { jobId: 'bad', attempts: 3 }));
    for (const tenant of ['evil', 'acme']) {
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'good' }));
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'good-2' }));
    }
    const errors: Error[] = [];
    const ran: unknown[] = [];
    const failures: Finished[] = [];
    const worker = on.worker('mail', async (job) => void ran.push(job.name), { autorun: false });
    worker.on('error', (error) => errors.push(error));
    worker.on('failed', (job, error) => failures.push({ event: 'failed', id: job?.id, error }));
    const done = finished(worker, 5);
    void worker.run();
    const ended = await done;
    expect(ended.filter(({ event }) => event === 'completed')).toHaveLength(4);
    expect(ran).toEqual(['n', 'n', 'n', 'n']);
    expect(failures).toEqual([{ event: 'failed', id: undefined, error: expect.any(SignatureError) }]);
    expect(failures).toMatchObject([{ error: { reason: 'malformed', where: 'bull:mail~evil:evil~bad' } }]);
    expect(await stateOf('bad')).toBe('failed');
    expect(refused.events).toMatchObject([
      { data: { unmapped: { fault: 'RangeError', reason: 'malformed', name: 'bull:mail~evil:evil~bad' } } },
    ]);
    expect(errors).toEqual([]);
  });

  it('when its end is told is told as an error, and its end stands', async () => {
    const show = memberOf(PickedJob.prototype, 'show');
    let isOver = false;
    vi.spyOn(PickedJob.prototype, 'show').mockImplementation(function faulty(this: PickedJob) {
      return isOver && this.tenant?.tenant === 'evil' ? fault() : show.call(this);
    });
    const queue = on.queue('mail');
    await withTenant('evil', () => queue.add('n', {}, { jobId: 'bad', attempts: 3 }));
    const errors: Error[] = [];
    const ran: unknown[] = [];
    const worker = on.worker(
      'mail',
      async (job) => {
        ran.push(job.id);
        if (job.id === 'bad') isOver = true;
      },
      { autorun: false },
    );
    worker.on('error', (error) => errors.push(error));
    const done = finished(worker, 2);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'two' }));
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed' }, { event: 'completed' }]);
    await expect.poll(() => stateOf('bad')).toBe('completed');
    await expect.poll(() => errors).toEqual([expect.any(RangeError)]);
    expect(ran.map(String).toSorted()).toEqual(['bad', 'one', 'two']);
  });

  it('when the next job of its scheduler is made lets this one run when it has stalled', async () => {
    const next = memberOf(KeyedStore.prototype, 'updateJobSchedulerNextMillis');
    vi.spyOn(KeyedStore.prototype, 'updateJobSchedulerNextMillis').mockImplementation(function faulty(
      this: KeyedStore,
      ...call
    ) {
      return call[0].includes('evil')
        ? Promise.reject(new RangeError('no such time'))
        : next.apply(this, call);
    });
    const queue = on.queue('mail');
    const template = { name: 'n', opts: { removeOnComplete: false } };
    const made = await withTenant('evil', () =>
      queue.upsertJobScheduler('bad', { every: 3_600_000 }, template),
    );
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'good' }));
    const errors: Error[] = [];
    const worker = on.worker('mail', async (job) => job.id, {
      autorun: false,
      stalledInterval: 200,
      lockDuration: 200,
    });
    worker.on('error', (error) => errors.push(error));
    const done = finished(worker, 2);
    void worker.run();
    expect(await done).toMatchObject([
      { event: 'completed', id: 'good' },
      { event: 'completed', id: made?.id },
    ]);
    expect(errors.map(({ message }) => message)).toContain(
      'Failed to add repeatable job for next iteration: no such time',
    );
  }, 20_000);
});

it.each([{}, { limiter: { max: 100, duration: 100 } }])(
  'what fails in a lane when a job is taken in stops nobody else: %j',
  async (options) => {
    const received = memberOf(Lane.prototype, 'received');
    const moveToActive = memberOf(Lane.prototype, 'moveToActive');
    vi.spyOn(Lane.prototype, 'received').mockImplementation(function faulty(this: Lane, reply) {
      return this.tenant === 'evil' ? fault() : Reflect.apply(received, this, [reply]);
    });
    vi.spyOn(Lane.prototype, 'moveToActive').mockImplementation(function faulty(this: Lane, ...call) {
      return this.tenant === 'evil' ? Promise.reject(new RangeError()) : moveToActive.apply(this, call);
    });
    const queue = on.queue('mail');
    for (const jobId of ['1', '2', '3'].map((at) => `bad-${at}`))
      await withTenant('evil', () => queue.add('n', {}, { jobId }));
    for (const jobId of ['1', '2', '3'].map((at) => `good-${at}`))
      await withTenant('acme', () => queue.add('n', {}, { jobId }));
    const errors: Error[] = [];
    const worker = on.worker('mail', async (job) => job.id, { autorun: false, ...options });
    worker.on('error', (error) => errors.push(error));
    const done = finished(worker, 3);
    const start = performance.now();
    void worker.run();
    expect(await done).toMatchObject(Array.from({ length: 3 }, () => ({ event: 'completed' })));
    expect(performance.now() - start).toBeLessThan(900);
    await expect.poll(() => on.redis.zscore('bull:mail~:due', 'evil')).not.toBeNull();
    expect(errors.map(({ name }) => name)).toEqual(['RangeError']);
  },
);

/** Answers the scripts that hand out turns with rubbish, as often as it is told. */
class Babbling extends Redis {
  rubbish = 0;

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    const [command] = args as unknown as [Command & { resolve: (reply: unknown) => void }];
    const isPick = command.name === 'evalsha' && command.args.some((arg) => String(arg) === 'bull:mail~:vt');
    if (isPick && this.rubbish > 0) {
      this.rubbish -= 1;
      const { resolve } = command;
      command.resolve = () => resolve([['evil'], 'x', {}]);
    }
    return super.sendCommand(...args);
  }
}

it('a reply of another form makes nobody ask without end', async () => {
  const connection = new Babbling(on.url, { maxRetriesPerRequest: null });
  const errors: Error[] = [];
  // What the script has taken along is lost with its reply, until it stalls.
  const stalls = { stalledInterval: 300, lockDuration: 300, maxStalledCount: 5 };
  const worker = on.worker('mail', async (job) => job.id, { connection, autorun: false, ...stalls });
  worker.on('error', (error) => errors.push(error));
  await worker.waitUntilReady();
  connection.rubbish = 3;
  const first = performance.now();
  const done = finished(worker, 1);
  await withTenant('acme', () => on.queue('mail').add('n', {}, { jobId: 'good' }));
  void worker.run();
  expect(await done).toMatchObject([{ event: 'completed', id: 'good' }]);
  expect(errors.map(({ name }) => name)).toEqual(errors.map(() => 'IsolationBreachError'));
  expect(errors).toHaveLength(3);
  expect(performance.now() - first).toBeGreaterThan(1_900);
  await worker.close();
  connection.disconnect();
}, 20_000);
