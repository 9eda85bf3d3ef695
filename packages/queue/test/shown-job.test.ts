import { once } from 'node:events';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

it.each([
  ['frozen', (job: object) => Object.freeze(job)],
  [
    'taken over',
    (job: object) =>
      Object.defineProperty(job, 'finishedOn', {
        set() {
          throw new Error('never');
        },
      }),
  ],
  ['left alone', () => undefined],
])(
  'a job that its processor has %s is completed, and its listeners hear of it as it is',
  async (_how, act) => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', (job) => {
      act(job);
      return Promise.resolve(job.id);
    });
    const errors: unknown[] = [];
    worker.on('error', (error) => errors.push(error));
    const completed = once(worker, 'completed');
    await withTenant('acme', () => queue.add('a', { n: 1 }, { jobId: 'one' }));
    const [job] = (await completed) as [
      { id: string; data: object; returnvalue: string; finishedOn: number },
    ];
    expect([job.id, job.data, job.returnvalue, errors]).toEqual(['one', { n: 1 }, 'one', []]);
    expect(job.finishedOn).toBeGreaterThan(0);
  },
);

it('a job runs again as it was signed, whatever its processor does to its options', async () => {
  const queue = on.queue('mail');
  const worker = on.worker('mail', (job) => {
    Object.assign(job.opts.backoff as object, { type: 'exponential', delay: 3_600_000 });
    Object.assign(job.opts, { attempts: 1 });
    return Promise.reject(new Error('again'));
  });
  const done = finished(worker, 1);
  await withTenant('acme', () =>
    queue.add('a', {}, { jobId: 'one', attempts: 3, backoff: { type: 'fixed', delay: 5 } }),
  );
  expect(await done).toEqual([{ event: 'failed', id: 'one', error: new Error('again') }]);
  expect(await on.redis.hget('bull:mail~acme:acme~one', 'atm')).toBe('3');
});
