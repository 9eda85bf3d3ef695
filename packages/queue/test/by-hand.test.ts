import * as bullmq from 'bullmq';
import { Redis } from 'ioredis';
import { DelayedError, type Job, type Queue } from '@tenantkit/queue';
import {
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  requireTenant,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { heldUp } from './held-up.ts';
import { bench, finished, type Bench } from './support.ts';

const MINUTE = 60_000;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** Lets something happen once, between a read of a job and what follows. */
class Meanwhile extends Redis {
  behindRead: (() => Promise<void>) | undefined;

  override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
    const sent = super.sendCommand(...args);
    const act = this.behindRead;
    if (args[0].name !== 'hgetall' || act === undefined) return sent;
    this.behindRead = undefined;
    return (async () => {
      const answer: unknown = await sent;
      await act();
      return answer;
    })();
  }
}

const inside = <T>(tenant: string, fn: () => T): T => withTenant(tenant, fn);

async function of(queue: Queue, id: string): Promise<Job> {
  const job = await queue.getJob(id);
  if (job === undefined) throw new Error(`${id} is not there`);
  return job;
}

describe('a job that was changed', () => {
  it('runs with its new data, for the person that it was about', async () => {
    const queue = on.queue('mail');
    const about = { tenant: 'acme', subject: 'p1', actor: 'ada' };
    await withTenant(about, () =>
      queue.add('n', { n: 1 }, { jobId: 'one', attempts: 2, backoff: { type: 'fixed', delay: 1 } }),
    );
    await withTenant({ tenant: 'acme', subject: 'p2' }, async () => {
      const job = await of(queue, 'one');
      await job.updateData({ n: 2, empty: [], text: '“ü”\u2028' });
      expect(job.data).toEqual({ n: 2, empty: [], text: '“ü”\u2028' });
    });
    const worker = on.worker('mail', async (job) => [
      job.data as unknown,
      requireTenant(),
      job.opts.attempts,
    ]);
    expect(await finished(worker, 1)).toMatchObject([
      { event: 'completed', result: [{ n: 2, empty: [], text: '“ü”\u2028' }, about, 2] },
    ]);
  });

  it('runs with the last of many changes at once, and never with half of one', async () => {
    const queue = on.queue('mail');
    await inside('acme', async () => {
      await queue.add('n', { n: -1 }, { jobId: 'one' });
      const job = await of(queue, 'one');
      const seen: unknown[] = [];
      const changes = Array.from({ length: 30 }, (_, n) => job.updateData({ n }));
      // Whoever looks meanwhile sees one of them whole: a half one would not verify.
      for (let look = 0; look < 30; look += 1) seen.push(((await of(queue, 'one')).data as { n: number }).n);
      await Promise.all(changes);
      for (const n of seen) expect(n).toBeTypeOf('number');
    });
    const worker = on.worker('mail', async (job) => (job.data as { n: number }).n);
    const [done] = await finished(worker, 1);
    expect(done).toMatchObject({ event: 'completed' });
    expect(done?.result).toBeGreaterThanOrEqual(0);
  });

  it('is changed while workers take jobs, and each of them runs', async () => {
    const queue = on.queue('mail');
    const names = Array.from({ length: 50 }, (_, at) => `job-${at}`);
    await inside('acme', () =>
      queue.addBulk(names.map((jobId) => ({ name: 'n', data: { n: 1 }, opts: { jobId } }))),
    );
    const worker = on.worker('mail', async (job) => (job.data as { n: number }).n, { concurrency: 5 });
    const done = finished(worker, names.length);
    await inside('acme', () =>
      Promise.all(names.map(async (id) => (await of(queue, id)).updateData({ n: 2 }))),
    );
    const all = await done;
    expect(all.filter(({ event }) => event === 'failed')).toEqual([]);
    for (const { result } of all) expect([1, 2]).toContain(result);
  });

  it('that is gone, or forged, is not changed', async () => {
    const queue = on.queue('mail');
    await inside('acme', async () => {
      await queue.add('n', { n: 1 }, { jobId: 'one' });
      const job = await of(queue, 'one');
      await on.redis.hset('bull:mail~acme:acme~one', 'name', 'other');
      await expect(job.updateData({ n: 2 })).rejects.toMatchObject({ code: 'SIGNATURE_INVALID' });
      expect(await on.redis.hget('bull:mail~acme:acme~one', 'data')).toBe('{"n":1}');
      await queue.remove('one');
      await expect(job.updateData({ n: 2 })).rejects.toThrow('Missing key for job one. updateData');
      expect(await on.redis.exists('bull:mail~acme:acme~one')).toBe(0);
    });
  });

  it('that was removed and added anew meanwhile does not get the options of the one before', async () => {
    const between = new Meanwhile(on.url, { maxRetriesPerRequest: null });
    const [queue, other] = [on.queue('mail', { connection: between }), on.queue('mail')];
    await inside('acme', async () => {
      await queue.add('before', {}, { jobId: 'one', attempts: 5 });
      const job = await of(queue, 'one');
      between.behindRead = async () => {
        await other.remove('one');
        await other.add('behind', {}, { jobId: 'one', attempts: 2 });
      };
      await job.updateData({ n: 2 });
      expect(await of(queue, 'one')).toMatchObject({ name: 'behind', data: { n: 2 }, opts: { attempts: 2 } });
    });
    await queue.close();
    between.disconnect();
  });

  it('keeps a job that a processor changes as it goes', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (job) => {
      const { step } = job.data as { step: number };
      await job.updateData({ step: step + 1 });
      if (step < 3) throw new Error('not yet');
      return job.data as unknown;
    });
    const done = finished(worker, 1);
    await inside('acme', () =>
      queue.add('n', { step: 1 }, { attempts: 5, backoff: { type: 'fixed', delay: 1 } }),
    );
    expect(await done).toMatchObject([{ event: 'completed', result: { step: 4 } }]);
  });

  it('runs after its delay and its priority were changed, and with the options that were signed', async () => {
    const queue = on.queue('mail');
    await inside('acme', async () => {
      await queue.add('n', {}, { jobId: 'late', delay: MINUTE });
      await queue.add('n', {}, { jobId: 'never', delay: MINUTE });
      await queue.add('n', {}, { jobId: 'low', priority: 9 });
      await queue.add('n', {}, { jobId: 'high', priority: 5 });
      await queue.add('n', {}, { jobId: 'first' });
      await (await of(queue, 'late')).changeDelay(1);
      await (await of(queue, 'low')).changePriority({ priority: 1 });
      await (await of(queue, 'first')).changePriority({ priority: 7 });
    });
    const worker = on.worker('mail', async (job) => [job.opts.delay, job.opts.priority]);
    const all = await finished(worker, 4);
    expect(all.filter(({ id }) => id !== 'late').map(({ id }) => id)).toEqual(['low', 'high', 'first']);
    expect(all.find(({ id }) => id === 'late')).toMatchObject({
      event: 'completed',
      result: [MINUTE, undefined],
    });
    expect(all.find(({ id }) => id === 'low')).toMatchObject({ event: 'completed', result: [undefined, 9] });
    expect(await inside('acme', () => queue.getJobState('never'))).toBe('delayed');
  });

  it('runs again after a retry, by hand, from both ends', async () => {
    const queue = on.queue('mail');
    let fails = true;
    const worker = on.worker('mail', async () => {
      if (fails) throw new Error('no');
      return currentTenant()?.tenant;
    });
    const failed = finished(worker, 2);
    for (const tenant of ['acme', 'acme2']) await inside(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    expect(await failed).toMatchObject([{ event: 'failed' }, { event: 'failed' }]);
    fails = false;
    const retried = finished(worker, 1);
    await inside('acme', async () => (await of(queue, 'one')).retry());
    expect(await retried).toMatchObject([{ event: 'completed', id: 'one', result: 'acme' }]);
    const again = finished(worker, 1);
    await inside('acme', async () => (await of(queue, 'one')).retry('completed'));
    expect(await again).toMatchObject([{ event: 'completed', id: 'one', result: 'acme' }]);
    expect(await inside('acme2', () => queue.getJobState('one'))).toBe('failed');
    const all = finished(worker, 1);
    await inside('acme2', () => queue.retryJobs());
    expect(await all).toMatchObject([{ event: 'completed', result: 'acme2' }]);
  });

  it('is promoted alone, and with all of its tenant', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      for (const jobId of ['one', 'two'])
        await inside(tenant, () => queue.add('n', {}, { jobId, delay: MINUTE }));
    const worker = on.worker('mail', async (job) => `${currentTenant()?.tenant} ${job.id}`);
    const first = finished(worker, 1);
    await inside('acme', async () => (await of(queue, 'two')).promote());
    expect(await first).toMatchObject([{ result: 'acme two' }]);
    const rest = finished(worker, 1);
    await inside('acme', () => queue.promoteJobs());
    expect(await rest).toMatchObject([{ result: 'acme one' }]);
    expect(await inside('acme2', () => queue.getDelayedCount())).toBe(2);
  });
});

describe('a processor moves its job by hand', () => {
  it('to later, and it runs again then', async () => {
    const queue = on.queue('mail');
    let runs = 0;
    const worker = on.worker('mail', async (job, token) => {
      runs += 1;
      if (runs === 1) {
        await job.moveToDelayed(Date.now() + 5, token);
        throw new DelayedError();
      }
      return job.attemptsMade;
    });
    const done = finished(worker, 1);
    await inside('acme', () => queue.add('n', {}, { jobId: 'one' }));
    expect(await done).toMatchObject([{ event: 'completed', id: 'one', result: 0 }]);
    expect(runs).toBe(2);
  });

  it('back to where it waited', async () => {
    const queue = on.queue('mail');
    let runs = 0;
    const worker = on.worker('mail', async (job, token) => {
      runs += 1;
      if (runs === 1) {
        await job.moveToWait(token);
        throw new bullmq.WaitingError();
      }
      return 'ran';
    });
    const done = finished(worker, 1);
    await inside('acme', () => queue.add('n', {}, { jobId: 'one' }));
    expect(await done).toMatchObject([{ event: 'completed', result: 'ran' }]);
  });

  it('with an error that says so alone, it fails', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => {
      throw new DelayedError();
    });
    const done = finished(worker, 1);
    await inside('acme', () => queue.add('n', {}));
    await done;
    expect((await inside('acme', () => queue.getFailed()))[0]?.failedReason).toMatch(/moveToDelayed/);
  });

  it('with its own token, and none other', async () => {
    const queue = on.queue('mail');
    const tried = Promise.withResolvers<readonly unknown[]>();
    const worker = on.worker('mail', async (job, token = '') => {
      const tries = [
        () => job.moveToDelayed(Date.now(), 'another'),
        () => job.moveToWait('another'),
        () => job.moveToCompleted('x', 'another'),
        () => job.moveToFailed(new Error('x'), 'another'),
      ];
      const errors: unknown[] = [];
      for (const call of tries) errors.push(await call().catch((error: unknown) => String(error)));
      await job.extendLock(token, MINUTE);
      tried.resolve(errors);
      return 'ran';
    });
    const done = finished(worker, 1);
    await inside('acme', () => queue.add('n', {}, { jobId: 'one' }));
    for (const error of await tried.promise) expect(error).toMatch(/[Ll]ock.*job one/);
    expect(await done).toMatchObject([{ event: 'completed', result: 'ran' }]);
  });

  it('to its end, whatever the worker does behind it; the next one runs', async () => {
    const queue = on.queue('mail');
    const errors: string[] = [];
    const worker = on.worker('mail', async (job, token = '') => {
      if (job.id === 'done') expect(await job.moveToCompleted({ n: 1 }, token)).toBeUndefined();
      if (job.id === 'failed') await job.moveToFailed(new Error('by hand'), token);
      return 'ran';
    });
    worker.on('error', ({ message }) => errors.push(message));
    const done = finished(worker, 1);
    await inside('acme', async () => {
      for (const jobId of ['done', 'failed', 'next']) await queue.add('n', {}, { jobId });
    });
    expect(await done).toMatchObject([{ event: 'completed', id: 'next' }]);
    await inside('acme', async () => {
      expect((await of(queue, 'done')).returnvalue).toEqual({ n: 1 });
      expect((await of(queue, 'failed')).failedReason).toBe('by hand');
    });
    // The worker finds that the job is no longer its own, as BullMQ's does.
    for (const message of errors) expect(message).toMatch(/job (acme~)?(done|failed)/);
  });

  it('writes into its hash only what BullMQ writes', async () => {
    const queue = on.queue('mail');
    const moved = Promise.withResolvers<void>();
    const worker = on.worker('mail', async (job, token = '') => {
      await worker.backend.moveToDelayed(String(job.id), Date.now(), MINUTE, token, {
        fieldsToUpdate: { parentKey: 'bull:mail~acme2:acme2~one', data: '{}', failedReason: 'later' },
      });
      moved.resolve();
      throw new DelayedError();
    });
    worker.on('error', () => undefined);
    await inside('acme', () => queue.add('n', { n: 1 }, { jobId: 'one' }));
    await moved.promise;
    const hash = await on.redis.hgetall('bull:mail~acme:acme~one');
    expect(hash).toMatchObject({ data: '{"n":1}', failedReason: 'later' });
    expect(hash).not.toHaveProperty('parentKey');
  });
});

describe('a fenced tenant', () => {
  it('changes nothing, while another one does', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using fenced = await bench(fence);
    const queue = fenced.queue('mail');
    for (const tenant of ['acme', 'acme2']) await inside(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    const [job, other] = [
      await inside('acme', () => of(queue, 'one')),
      await inside('acme2', () => of(queue, 'one')),
    ];
    await fence.freeze('acme');
    const calls: readonly ((own: Job) => Promise<unknown>)[] = [
      () => queue.pause(),
      () => queue.resume(),
      () => queue.getJobs(),
      (own) => own.updateData({ n: 2 }),
      (own) => own.changePriority({ priority: 2 }),
      () => queue.retryJobs(),
      () => queue.promoteJobs(),
      () => queue.clean(-1, 1, 'prioritized'),
      () => queue.drain(),
    ];
    const before = await fenced.redis.dumpBuffer('bull:mail~acme:acme~one');
    for (const call of calls) {
      await expect(inside('acme', () => call(job))).rejects.toMatchObject({ code: 'TENANT_FENCED' });
      await inside('acme2', () => call(other));
    }
    expect(await fenced.redis.dumpBuffer('bull:mail~acme:acme~one')).toEqual(before);
    fence.close();
  });

  it('is not written of again by what the network had held up', async () => {
    await using held = await heldUp();
    const { queue, redis } = held;
    for (const tenant of ['acme', 'acme2']) await inside(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    const [late, other] = await held.whileErased(
      'acme',
      () => ['acme', 'acme2'].map((tenant) => inside(tenant, () => queue.clean(-1, 1, 'failed'))),
      async () => redis.del(...(await redis.keys('bull:mail~acme:*'))),
    );
    await expect(late).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    expect(await other).toEqual([]);
    // BullMQ's script says `cleaned` in the events, also where there was nothing.
    expect(await redis.keys('bull:mail~acme:*')).toEqual([]);
    expect(await redis.exists('bull:mail~acme2:events')).toBe(1);
  });
});
