import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JobsOptions, Queue } from '@tenantkit/queue';
import { bench, finished, type Bench } from './support.ts';

// How many finished jobs are kept. `acme` says so, and `acme2` has as many jobs of the same ids.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const NAMES = ['1', '2', '3', '4', '5', '6'].map((n) => `job-${n}`);
const OLD = 3_600;

/** Adds the jobs of a tenant and runs them, one after the other, before those of the next one. */
async function run(
  queue: Queue,
  options: Readonly<Record<string, JobsOptions>>,
  fails = false,
): Promise<void> {
  for (const [tenant, opts] of Object.entries(options)) {
    for (const jobId of NAMES) {
      await withTenant(tenant, () => queue.add(fails ? 'bad' : 'n', {}, { ...opts, jobId }));
      const worker = on.worker('mail', async ({ name }) => {
        if (name === 'bad') throw new Error('bad');
      });
      await finished(worker, 1);
      await worker.close();
    }
  }
}

const kept = (queue: Queue, tenant: string, state: 'completed' | 'failed') =>
  withTenant(tenant, async () => (await queue.getJobs([state])).map(({ id }) => String(id)).toSorted());

describe.each([
  { option: 'removeOnComplete', state: 'completed' },
  { option: 'removeOnFail', state: 'failed' },
] as const)('$option of a job', ({ option, state }) => {
  const fails = state === 'failed';

  it.each([
    { keeps: 2, left: 2 },
    { keeps: { count: 3 }, left: 3 },
    { keeps: { age: OLD, count: 1 }, left: 1 },
    { keeps: 0, left: 0 },
    { keeps: true, left: 0 },
    { keeps: -1, left: 6 },
    { keeps: { age: OLD }, left: 6 },
  ])('$keeps leaves the last $left of its tenant, and all of everybody else', async ({ keeps, left }) => {
    const queue = on.queue('mail');
    await run(queue, { acme2: {}, acme: { [option]: keeps } }, fails);
    expect(await kept(queue, 'acme', state)).toEqual(left === 0 ? [] : NAMES.slice(-left));
    expect(await kept(queue, 'acme2', state)).toEqual(NAMES);
    // What is removed leaves no hash behind.
    expect(await on.redis.keys('bull:mail~acme:acme~*')).toHaveLength(left);
  });

  it('an age removes what is older, as many as its limit says', async () => {
    const queue = on.queue('mail');
    await run(queue, { acme: {}, acme2: {} }, fails);
    for (const tenant of ['acme', 'acme2'])
      for (const name of NAMES) await on.redis.zadd(`bull:mail~${tenant}:${state}`, 1, `${tenant}~${name}`);
    const worker = on.worker('mail', async () => {
      if (fails) throw new Error('bad');
    });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'new', [option]: { age: OLD, limit: 4 } }));
    await done;
    expect(await kept(queue, 'acme', state)).toHaveLength(3);
    expect(await kept(queue, 'acme', state)).toContain('new');
    expect(await kept(queue, 'acme2', state)).toEqual(NAMES);
  });

  it('of the Worker counts for each tenant by itself; a job’s own goes before', async () => {
    const queue = on.queue('mail');
    const worker = on.worker(
      'mail',
      async () => {
        if (fails) throw new Error('bad');
      },
      { [option]: { count: 2 } },
    );
    const done = finished(worker, 18);
    for (const tenant of ['acme', 'acme2', 'other']) {
      const opts = tenant === 'other' ? { [option]: 5 } : {};
      await withTenant(tenant, () =>
        queue.addBulk(NAMES.map((jobId) => ({ name: 'n', data: {}, opts: { ...opts, jobId } }))),
      );
    }
    await done;
    for (const tenant of ['acme', 'acme2'])
      expect(await kept(queue, tenant, state), tenant).toEqual(NAMES.slice(-2));
    expect(await kept(queue, 'other', state)).toEqual(NAMES.slice(-5));
  });
});

it('what a scheduler makes keeps as its template says', async () => {
  const queue = on.queue('mail');
  const worker = on.worker('mail', async () => undefined);
  const done = finished(worker, 4);
  await withTenant('acme', () =>
    queue.upsertJobScheduler(
      'often',
      { every: 20, limit: 4 },
      { name: 'n', data: {}, opts: { removeOnComplete: { age: 60.5, count: 2 } } },
    ),
  );
  expect((await done).map(({ event }) => event)).toEqual(Array.from({ length: 4 }, () => 'completed'));
  expect(await withTenant('acme', () => queue.getCompletedCount())).toBe(2);
});
