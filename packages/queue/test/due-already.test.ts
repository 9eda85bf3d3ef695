import { acrossTenants, withTenant } from '@tenantkit/core';
import { FlowProducer, adoptJobs } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { KEY, OPERATOR, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

it('a delay that has become negative meanwhile is none, as in BullMQ: the job runs at once', async () => {
  const raw = on.raw('raw');
  const due = { delay: Date.now() - 1 - Date.now() };
  await raw.add('raw', {}, due);
  expect(await raw.getJobCounts('wait', 'delayed')).toEqual({ wait: 1, delayed: 0 });

  const queue = on.queue('mail');
  const flows = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
  await withTenant('acme', async () => {
    await queue.add('added', {}, { ...due, jobId: 'added' });
    await queue.addBulk([
      { name: 'a', data: {}, opts: { delay: -0.5, jobId: 'bulk' } },
      { name: 'a', data: {}, opts: { delay: 60_000, jobId: 'later' } },
    ]);
    await flows.add({ name: 'a', queueName: 'mail', opts: { delay: -5, jobId: 'flow' } });
    expect(await queue.getJobCounts('wait', 'delayed')).toEqual({ wait: 3, delayed: 1 });
    await (await queue.getJob('later'))?.changeDelay(-1);
  });
  await on.raw('mail').add('raw', {}, { delay: -5, jobId: 'adopted' });
  const { left } = await acrossTenants(OPERATOR, () => adoptJobs(queue, { tenantOf: () => 'acme' }));
  expect(left).toEqual({});

  const worker = on.worker('mail', async (job) => job.id, { autorun: false });
  const done = finished(worker, 5);
  void worker.run();
  expect((await done).map(({ result }) => String(result)).toSorted()).toEqual([
    'added',
    'adopted',
    'bulk',
    'flow',
    'later',
  ]);
  await flows.close();
});

it('what is no number of milliseconds is refused still', async () => {
  const queue = on.queue('mail');
  for (const delay of [Number.NaN, -Infinity, Infinity, '-1', null])
    await expect(
      withTenant('acme', () => queue.add('a', {}, { delay: delay as number })),
    ).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
});
