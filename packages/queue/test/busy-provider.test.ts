import { acrossTenants, currentTenant, withTenant } from '@tenantkit/core';
import { DelayedError, type Job, type Processor } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { OPERATOR, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** In milliseconds. */
const BUSY = 400;

interface Ran {
  readonly tenant: string | undefined;
  readonly attempts: number;
  readonly at: number;
}

/** Two jobs of two tenants, of which the provider turns the first one away once. */
async function turnedAway(busy: (job: Job, token: string, until: number) => Promise<never>): Promise<{
  readonly until: number;
  readonly ran: readonly Ran[];
}> {
  const queue = on.queue('mail');
  let until = 0;
  const call: Processor = async (job, token = ''): Promise<Ran> => {
    if (until === 0) {
      until = Date.now() + BUSY;
      await busy(job, token, until);
    }
    return { tenant: currentTenant()?.tenant, attempts: job.attemptsMade, at: Date.now() };
  };
  const worker = on.worker('mail', call, { autorun: false });
  await withTenant('acme', () => queue.add('a', {}, { jobId: 'first', attempts: 1 }));
  await withTenant('globex', () => queue.add('a', {}, { jobId: 'second', attempts: 1 }));
  const done = finished(worker, 2);
  void worker.run();
  const all = await done;
  return { until, ran: all.map(({ result, error }) => (error ?? result) as Ran) };
}

describe('a job that finds the provider busy', () => {
  it('waits until then, and no attempt is counted; jobs of others go on', async () => {
    const { until, ran } = await turnedAway(async (job, token, time) => {
      await job.moveToDelayed(time, token);
      throw new DelayedError();
    });
    expect(ran.map(({ tenant, attempts }) => [tenant, attempts])).toEqual([
      ['globex', 0],
      ['acme', 0],
    ]);
    expect(ran[0]?.at).toBeLessThan(until);
    expect(ran[1]?.at).toBeGreaterThanOrEqual(until);
  });

  it('may hold back the jobs of all tenants, in the name of the service', async () => {
    const queue = on.queue('mail');
    const { until, ran } = await turnedAway(async (job, token, time) => {
      await acrossTenants(OPERATOR, () => queue.rateLimit(BUSY));
      await job.moveToDelayed(time, token);
      throw new DelayedError();
    });
    expect(ran.map(({ attempts }) => attempts)).toEqual([0, 0]);
    // Redis counts whole milliseconds from its own clock.
    for (const { at } of ran) expect(at).toBeGreaterThanOrEqual(until - 2);
  });

  it('cannot hold back other tenants’ jobs itself: the text names what was called, and what to do', async () => {
    const worker = on.worker('mail', async () => undefined);
    await expect(withTenant('acme', () => worker.rateLimit(BUSY))).rejects.toThrow(
      /holds back the jobs of every tenant \(worker\.rateLimit\).*job\.moveToDelayed/,
    );
  });
});
