import { acrossTenants, isTenantkitError, OperationRefusedError, withTenant } from '@tenantkit/core';
import { FlowProducer, type Queue } from '@tenantkit/queue';
import type { FlowJob } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { KEY } from './keys.ts';
import { bench, finished, OPERATOR, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** The first time that Lua writes in another way than JavaScript: BullMQ's scripts make the ids of jobs of it. */
const TOO_LATE = 1e14;
const LATEST = 8_640_000_000_000_000;

const keysOf = async (): Promise<readonly string[]> => (await on.redis.keys('*~evil:*')).toSorted();

describe('a time by which no job can be named', () => {
  it.each<[string, object]>([
    ['startDate', { every: 1_000, startDate: TOO_LATE }],
    ['startDate', { every: 1_000, startDate: LATEST }],
    ['startDate', { every: 1_000, startDate: LATEST + 1 }],
    ['startDate', { every: 1_000, startDate: 'no date' }],
    ['startDate', { every: 1_000, startDate: new Date(Number.NaN) }],
    ['startDate', { pattern: '0 0 * * *', startDate: TOO_LATE }],
    ['startDate', { pattern: '0 0 * * *', startDate: LATEST - 1 }],
    // The next first of January is behind it.
    ['pattern', { pattern: '0 0 1 1 *', startDate: TOO_LATE - 1 }],
    ['startDate', { pattern: '0 0 * * *', startDate: LATEST + 1 }],
    ['startDate', { pattern: '0 0 * * *', startDate: 'no date' }],
    ['endDate', { every: 1_000, endDate: TOO_LATE }],
    ['endDate', { every: 1_000, endDate: LATEST + 1 }],
    ['endDate', { pattern: '0 0 * * *', endDate: 'no date' }],
    ['every', { every: TOO_LATE }],
    ['every', { every: LATEST, offset: LATEST }],
    ['every', { every: TOO_LATE - 1 }],
    ['offset', { every: 1_000, offset: TOO_LATE - 1 }],
    ['offset', { every: TOO_LATE / 2, offset: TOO_LATE / 2 }],
  ])('is refused as %s before anything is stored: %j', async (_name, repeat) => {
    const queue = on.queue('mail');
    await withTenant('evil', async () => {
      await expect(queue.upsertJobScheduler('s', repeat as never, { name: 'n' })).rejects.toBeInstanceOf(
        OperationRefusedError,
      );
    });
    expect(await keysOf()).toEqual([]);
  });

  it.each<object>([
    { every: 1_000, startDate: TOO_LATE - 10_000 },
    { every: 9e13 },
    { every: 4e13, offset: 3e13 },
    { pattern: '0 0 * * *', startDate: Date.UTC(5_000, 0) },
    { pattern: '0 0 * * *', endDate: TOO_LATE - 1 },
  ])('is not one before: %j', async (repeat) => {
    const queue = on.queue('mail');
    await withTenant('evil', async () => {
      const job = await queue.upsertJobScheduler('s', repeat, { name: 'n' });
      expect(job?.id).toMatch(/^repeat:s:\d{13,14}$/);
      expect((await queue.getJobScheduler('s'))?.name).toBe('n');
      expect((await queue.getJob(job?.id ?? ''))?.name).toBe('n');
    });
  });
});

type Call = (queue: Queue) => Promise<unknown>;

describe('what is no argument', () => {
  it.each<[string, Call]>([
    ['trimEvents', (queue) => queue.trimEvents(1e300)],
    ['trimEvents', (queue) => queue.backend.trimEvents(1e300)],
    ['trimEvents', (queue) => queue.trimEvents(-1)],
    ['trimEvents', (queue) => queue.trimEvents('x' as never)],
    ['clearLogs', (queue) => queue.backend.clearLogs('id', 'x' as never)],
    ['clearLogs', (queue) => queue.backend.clearLogs('id', 1e300)],
    ['getCountsPerPriority', (queue) => queue.getCountsPerPriority({} as never)],
    ['getCountsPerPriority', (queue) => queue.getCountsPerPriority(7 as never)],
    ['getCountsPerPriority', (queue) => queue.getCountsPerPriority(undefined as never)],
    ['getCountsPerPriority', (queue) => queue.backend.getCountsPerPriority({} as never)],
    ['getCountsPerPriority', (queue) => queue.getCountsPerPriority([{} as never])],
  ])('of %s is refused to tenants and operators: %s', async (_name, call) => {
    const queue = on.queue('mail');
    await withTenant('evil', async () => {
      await queue.add('n', {}, { jobId: 'id' });
      await expect(call(queue)).rejects.toBeInstanceOf(OperationRefusedError);
    });
    await acrossTenants(OPERATOR, async () => {
      await expect(call(queue)).rejects.toBeInstanceOf(OperationRefusedError);
    });
    await withTenant('evil', async () => {
      expect(await queue.trimEvents(1)).toBeTypeOf('number');
      expect(await queue.getCountsPerPriority([0, 1])).toEqual({ 0: 1, 1: 0 });
    });
  });
});

describe('a tree that leads back to itself', () => {
  it('is refused, and nothing of it is stored', async () => {
    const flows = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
    const leaf: FlowJob = { name: 'leaf', queueName: 'mail' };
    const tree: FlowJob = { name: 'root', queueName: 'mail', children: [leaf, { ...leaf }] };
    const circle: FlowJob = { name: 'root', queueName: 'mail', children: [] };
    circle.children?.push({ ...leaf, children: [circle] });
    await withTenant('evil', async () => {
      await expect(flows.add(circle)).rejects.toBeInstanceOf(OperationRefusedError);
      await expect(flows.addBulk([tree, circle])).rejects.toBeInstanceOf(OperationRefusedError);
      expect(await keysOf()).toEqual([]);
      // Twice the same child is no circle.
      await flows.add({ ...tree, children: [leaf, leaf] });
    });
    expect(await keysOf()).not.toEqual([]);
    await flows.close();
  });

  it.each([undefined, null, 7, 'x', {}, { children: [null] }, { children: 7 }])(
    'nor is anything else a tree: %j',
    async (given) => {
      const flows = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
      await withTenant('evil', async () => {
        await expect(flows.add(given as never)).rejects.toSatisfy(isTenantkitError);
        await expect(flows.addBulk([given as never])).rejects.toSatisfy(isTenantkitError);
      });
      expect(await keysOf()).toEqual([]);
      await flows.close();
    },
  );
});

it('a sandboxed processor may throw anything', async () => {
  const file = new URL('processors/proxy.mjs', import.meta.url);
  for (const useWorkerThreads of [false, true]) {
    const worker = on.worker('mail', file, { useWorkerThreads, autorun: false });
    const done = finished(worker, 3);
    await withTenant('evil', () => on.queue('mail').add('throw', {}, { jobId: `bad-${useWorkerThreads}` }));
    await withTenant('evil', () =>
      on.queue('mail').add('revoked', {}, { jobId: `worse-${useWorkerThreads}` }),
    );
    await withTenant('acme', () => on.queue('mail').add('n', {}, { jobId: `good-${useWorkerThreads}` }));
    void worker.run();
    const ended = (await done).toSorted((one, other) => String(one.id).localeCompare(String(other.id)));
    expect(ended).toMatchObject([
      { event: 'failed', error: { message: 'The processor threw something that is not an error.' } },
      // The very same child, which has not ended meanwhile.
      { event: 'completed', id: `good-${useWorkerThreads}` },
      { event: 'failed', error: { message: 'The processor threw something that is not an error.' } },
    ]);
    await worker.close();
  }
}, 30_000);
