import { withTenant } from '@tenantkit/core';
import { FlowProducer, type Job, type QueueEvents } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventBench, type EventBench } from './events-support.ts';
import { KEY } from './keys.ts';

let on: EventBench;
const opened: FlowProducer[] = [];
beforeAll(async () => {
  on = await eventBench();
});
afterEach(async () => {
  for (const flows of opened.splice(0)) await flows.close();
  await on.reset();
});
afterAll(() => on[Symbol.asyncDispose]());

function producer(connection: ConstructorParameters<typeof FlowProducer>[0]['connection']): FlowProducer {
  const flows = new FlowProducer({ connection, tenant: { signingKeys: [KEY] } });
  flows.on('error', () => undefined);
  opened.push(flows);
  return flows;
}

const REPORT = {
  name: 'report',
  queueName: 'reports',
  opts: { jobId: 'r' },
  children: [{ name: 'fetch', queueName: 'mail', opts: { jobId: 'c' } }],
};

/** Everything that hands a job to its tenant, of the queues `mail` and `reports`. */
const origins: Readonly<Record<string, (flows: FlowProducer) => Promise<readonly (Job | undefined)[]>>> = {
  add: async () => [await on.queue('mail').add('a', {}, { jobId: 'a' })],
  addBulk: () => on.queue('mail').addBulk([{ name: 'a', data: {}, opts: { jobId: 'a' } }]),
  getJob: async () => {
    const queue = on.queue('mail');
    await queue.add('a', {}, { jobId: 'a' });
    return [await queue.getJob('a')];
  },
  getJobs: async () => {
    const queue = on.queue('mail');
    await queue.add('a', {}, { jobId: 'a' });
    return queue.getJobs();
  },
  upsertJobScheduler: async () => [await on.queue('mail').upsertJobScheduler('s', { every: 60_000 })],
  'flows.add, the root and its child': async (flows) => {
    const { job, children = [] } = await flows.add(REPORT);
    return [job, ...children.map((child) => child.job)];
  },
  'flows.add without children': async (flows) => [
    (await flows.add({ name: 'a', queueName: 'mail', opts: { jobId: 'a' } })).job,
  ],
  'flows.addBulk': async (flows) => (await flows.addBulk([REPORT])).map(({ job }) => job),
  'flows.getFlow, the root and its child': async (flows) => {
    await flows.add(REPORT);
    const found = await flows.getFlow({ id: 'r', queueName: 'reports' });
    return [found?.job, ...(found?.children ?? []).map((child) => child.job)];
  },
};

function eventsOf(job: Job): QueueEvents {
  const events = on.events(job.queueName);
  events.on('error', () => undefined);
  return events;
}

describe('job.waitUntilFinished of a job from wherever', () => {
  for (const [origin, make] of Object.entries(origins)) {
    it(`waits for one of ${origin}`, async () => {
      const jobs = await withTenant('acme', () => make(producer({ url: on.url })));
      expect(jobs.length).toBeGreaterThan(0);
      const waits = jobs.map((job) =>
        withTenant('acme', async () => {
          if (job === undefined) throw new Error('no job was given');
          const foreign = on.events(job.queueName === 'mail' ? 'reports' : 'mail');
          foreign.on('error', () => undefined);
          await expect(job.waitUntilFinished(foreign)).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
          return [job.id, await job.waitUntilFinished(eventsOf(job), 20_000)];
        }),
      );
      for (const name of ['mail', 'reports']) on.worker(name, async (job) => `done ${job.id}`);
      expect(await Promise.all(waits)).toEqual(jobs.map((job) => [job?.id, `done ${job?.id}`]));
    });
  }

  it('waits for the jobs that a listener hears of', async () => {
    const worker = on.worker('mail', async (job) => `done ${job.id}`);
    const heard = Promise.withResolvers<unknown>();
    const events = on.events('mail');
    worker.on(
      'active',
      (job) => void job.waitUntilFinished(events, 20_000).then(heard.resolve, heard.reject),
    );
    await withTenant('acme', () => on.queue('mail').add('a', {}, { jobId: 'a' }));
    expect(await heard.promise).toBe('done a');
  });

  it('waits for many of one FlowProducer on a client that is shared, and leaves no listener behind', async () => {
    const flows = producer(on.redis);
    const before = flows.eventNames();
    const events = on.events('mail');
    on.worker('mail', async (job) => job.id, { concurrency: 10 });
    const warned: Error[] = [];
    const warn = (warning: Error): void => void warned.push(warning);
    process.on('warning', warn);
    const all = await withTenant('acme', async () => {
      const trees = await flows.addBulk(
        Array.from({ length: 30 }, (_, at) => ({ name: 'a', queueName: 'mail', opts: { jobId: `n${at}` } })),
      );
      return Promise.all(trees.map(({ job }) => job.waitUntilFinished(events, 20_000)));
    });
    process.off('warning', warn);
    expect(all).toEqual(Array.from({ length: 30 }, (_, at) => `n${at}`));
    expect(flows.eventNames()).toEqual(before);
    expect(warned).toEqual([]);
  });

  it('is refused to another tenant', async () => {
    const flows = producer(on.redis);
    const { job } = await withTenant('acme', () => flows.add(REPORT));
    const events = on.events('reports');
    await expect(withTenant('globex', () => job.waitUntilFinished(events))).rejects.toMatchObject({
      code: 'TENANT_SWITCH',
    });
  });
});
