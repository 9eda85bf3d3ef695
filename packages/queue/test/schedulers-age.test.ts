import { withTenant } from '@tenantkit/core';
import { queueAuditor, type Queue } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { KEY, bench, finished, type Bench } from './support.ts';

const DAY = 86_400_000;
/** No job is picked up within it. */
const SHORT = { signingKeys: [KEY], maxAge: 1 };
const LANE = 'bull:mail~acme:';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const inside = <T>(fn: () => T): T => withTenant('acme', fn);

/** Makes a scheduler whose first job is due at once. @returns the id of that job, when it is too old */
async function outlived(queue: Queue, id: string, schedule: object): Promise<string> {
  const job = await inside(() => queue.upsertJobScheduler(id, schedule, { name: 'n' }));
  const made = job?.id ?? '';
  const due = Number(made.split(':').at(-1));
  await expect.poll(() => Date.now() - due).toBeGreaterThan(5);
  return made;
}

async function found(): Promise<readonly (readonly [string, string | undefined])[]> {
  const all: (readonly [string, string | undefined])[] = [];
  const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [KEY] });
  for await (const { code, name } of auditor.audit()) all.push([code, name]);
  return all;
}

describe('a job that has waited for longer than maxAge', () => {
  it('is refused with a text that says so, and what to do', async () => {
    const queue = on.queue('mail', { tenant: SHORT });
    const { timestamp } = await inside(() => queue.add('n', {}, { jobId: 'one' }));
    await expect.poll(() => Date.now() - timestamp).toBeGreaterThan(5);
    const [ended] = await finished(
      on.worker('mail', async () => undefined, { tenant: SHORT }),
      1,
    );
    expect(ended?.error).toMatchObject({ code: 'SIGNATURE_INVALID', reason: 'replayed' });
    expect(ended?.error?.message).toMatch(
      /waited for longer than the option maxAge allows, or was put back: retry lets it run/,
    );
    const failed = await inside(() => queue.getJob('one'));
    expect(failed?.failedReason).toMatch(/maxAge/);
  });

  for (const [kind, schedule] of [
    ['an interval', { every: DAY }],
    ['a pattern', { pattern: '0 0 1 1 *', immediately: true }],
  ] as const) {
    it(`does not run for a scheduler of ${kind}, which goes on with its next one`, async () => {
      const queue = on.queue('mail', { tenant: SHORT });
      const first = await outlived(queue, 'tick', schedule);
      const ran: unknown[] = [];
      const worker = on.worker('mail', async ({ id }) => ran.push(id), { tenant: SHORT });
      const [ended] = await finished(worker, 1);
      expect(ended).toMatchObject({ event: 'failed', id: undefined, error: { reason: 'replayed' } });
      expect(await on.redis.zscore(`${LANE}failed`, first)).not.toBeNull();
      const { next } = (await inside(() => queue.getJobScheduler('tick'))) ?? {};
      const [delayed] = await inside(() => queue.getDelayed());
      expect(delayed?.id).toBe(`repeat:tick:${next}`);
      expect(next).toBeGreaterThan(Date.now());
      expect(await inside(() => queue.getJobSchedulersCount())).toBe(1);
      expect(await found()).toEqual([]);
      await worker.close();
      // That one verifies, and runs; so does the old one when somebody says so, once, and makes no other.
      const other = on.worker('mail', async ({ id }) => id, { tenant: { ...SHORT, maxAge: DAY } });
      const both = finished(other, 2);
      await inside(() => delayed?.promote());
      await inside(async () => (await queue.getJob(first))?.retry());
      const results = (await both).map(({ result }) => result);
      expect(new Set(results)).toEqual(new Set([first, delayed?.id]));
      expect(ran).toEqual([]);
      expect(await inside(() => queue.getDelayedCount())).toBe(1);
    });
  }

  it('and that is altered as well ends its scheduler, which the auditor then names', async () => {
    const queue = on.queue('mail', { tenant: SHORT });
    const first = await outlived(queue, 'tick', { every: DAY });
    // Beside it schedulers that have a job to come, or have come to their end.
    await inside(async () => {
      await queue.upsertJobScheduler('lives', { every: DAY, startDate: Date.now() + DAY });
      await queue.upsertJobScheduler('once', { every: DAY, limit: 1 });
    });
    expect(await found()).toEqual([]);
    await on.redis.hset(LANE + first, 'data', '{"forged":true}');
    const worker = on.worker('mail', async () => undefined, { tenant: { ...SHORT, maxAge: DAY } });
    await finished(worker, 2);
    await worker.close();
    expect((await found()).filter(([code]) => code !== 'invalid_signature')).toEqual([
      ['stopped_scheduler', `${LANE}repeat:tick`],
    ]);
    await inside(() => queue.upsertJobScheduler('tick', { every: DAY, startDate: Date.now() + DAY }));
    expect((await found()).filter(([code]) => code === 'stopped_scheduler')).toEqual([]);
  });
});
