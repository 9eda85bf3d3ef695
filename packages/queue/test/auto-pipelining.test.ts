import { withTenant } from '@tenantkit/core';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FlowProducer, QueueEvents, type Queue } from '@tenantkit/queue';
import { KEY, bench, finished, type Bench } from './support.ts';

// With `enableAutoPipelining` ioredis collects what is sent in one turn of the event loop.

let on: Bench;
let connection: Redis;
beforeAll(async () => {
  on = await bench();
});
beforeEach(() => {
  connection = new Redis(on.url, { maxRetriesPerRequest: null, enableAutoPipelining: true });
});
afterEach(async () => {
  await on.reset();
  connection.disconnect();
});
afterAll(() => on[Symbol.asyncDispose]());

const IDS = Array.from({ length: 20 }, (_, at) => `job-${at}`);

/** What a service sends meanwhile on the same client. */
function busy(): Disposable {
  let isOver = false;
  const next = (): void => {
    if (isOver) return;
    connection
      .get('of-the-service')
      .finally(next)
      .catch(() => undefined);
  };
  for (let at = 0; at < 10; at += 1) next();
  return { [Symbol.dispose]: () => void (isOver = true) };
}

const addAll = (queue: Queue): Promise<unknown> =>
  Promise.all(IDS.map((jobId) => withTenant('acme', () => queue.add('n', {}, { jobId }))));

describe('a client with enableAutoPipelining', () => {
  it('adds and runs jobs from the first turn on, as that of raw BullMQ does', async () => {
    const raw = on.raw('raw');
    await Promise.all(IDS.map((jobId) => raw.add('n', {}, { jobId })));
    expect(await raw.count()).toBe(IDS.length);

    using _ = busy();
    const queue = on.queue('mail', { connection });
    await queue.waitUntilReady();
    await addAll(queue);
    expect(await withTenant('acme', () => queue.count())).toBe(IDS.length);
    const worker = on.worker('mail', async ({ id }) => id, { connection, concurrency: 5 });
    const done = await finished(worker, IDS.length);
    expect(done.map(({ result }) => String(result)).toSorted()).toEqual(IDS.toSorted());
  });

  it('does the rest as well: bulk, delays, priorities, schedulers, flows, limits and waiting', async () => {
    using _ = busy();
    const queue = on.queue('mail', { connection });
    const flows = new FlowProducer({ connection, tenant: { signingKeys: [KEY] } });
    const events = new QueueEvents('mail', { connection, tenant: { signingKeys: [KEY] } });
    const worker = on.worker('mail', async ({ name }) => name, { connection, concurrency: 5, drainDelay: 1 });
    const done = finished(worker, 7);
    await withTenant('acme', async () => {
      const [job] = await Promise.all([
        queue.add('plain', {}),
        queue.add('late', {}, { delay: 1 }),
        queue.add('first', {}, { priority: 1 }),
        queue.addBulk([{ name: 'bulk', data: {} }]),
        queue.upsertJobScheduler('often', { every: 3_600_000, limit: 1 }, { name: 'scheduled' }),
        flows.add({ name: 'parent', queueName: 'mail', children: [{ name: 'child', queueName: 'mail' }] }),
      ]);
      expect(await job.waitUntilFinished(events)).toBe('plain');
      await done;
      const [changed] = await queue.getCompleted(0, 0);
      await changed?.updateData({ a: 1 });
      await changed?.retry('completed');
    });
    expect((await done).map(({ result }) => String(result)).toSorted()).toEqual([
      'bulk',
      'child',
      'first',
      'late',
      'parent',
      'plain',
      'scheduled',
    ]);
    await events.close();
    await flows.close();
  });
});
