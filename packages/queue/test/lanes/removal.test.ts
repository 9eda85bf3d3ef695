import { acrossTenants, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Queue } from '@tenantkit/queue';
import { OPERATOR, bench, type Bench } from '../support.ts';

// One script that removed all of a big queue would keep the server from everybody for seconds.

const MINUTE = 60_000;
const MANY = 1_200;
const BATCH = 500;

let on: Bench;
let queue: Queue;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

async function add(tenant: string, count: number, opts: object = {}): Promise<void> {
  const jobs = Array.from({ length: count }, () => ({ name: 'n', data: {}, opts }));
  await withTenant(tenant, () => queue.addBulk(jobs));
}

/** How many jobs each script has removed: BullMQ's script says it in the events of the lane. */
async function steps(tenant: string): Promise<readonly number[]> {
  const events = await on.redis.xrange(`bull:mail~${tenant}:events`, '-', '+');
  return events.flatMap(([, [, event, , count]]) => (event === 'cleaned' ? [Number(count)] : []));
}

const counts = (tenant: string) =>
  withTenant(tenant, () => queue.getJobCounts('waiting', 'prioritized', 'delayed', 'completed'));
const hashes = async (tenant: string): Promise<number> =>
  (await on.redis.keys(`bull:mail~${tenant}:${tenant}~*`)).length;

describe('a big queue', () => {
  it.each([
    { state: 'waiting', opts: {} },
    { state: 'prioritized', opts: { priority: 5 } },
    { state: 'delayed', opts: { delay: MINUTE } },
  ])('is drained a few jobs at a time: $state', async ({ state, opts }) => {
    queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await add(tenant, MANY, opts);
    const later = { every: MINUTE, startDate: Date.now() + MINUTE };
    await withTenant('acme', async () => {
      for (const id of ['one', 'two']) await queue.upsertJobScheduler(id, later);
      await queue.drain(true);
    });
    // The next jobs of schedulers stay, as in BullMQ.
    expect(await counts('acme')).toEqual({ waiting: 0, prioritized: 0, delayed: 2, completed: 0 });
    expect(await hashes('acme')).toBe(0);
    const removed = await steps('acme');
    expect(Math.max(...removed)).toBeLessThanOrEqual(BATCH + 2);
    expect(removed.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(MANY - BATCH - 2);
    expect(await counts('acme2')).toMatchObject({ [state]: MANY });
    expect(await hashes('acme2')).toBe(MANY);
    await acrossTenants(OPERATOR, () => queue.drain(true));
    expect(await counts('acme2')).toMatchObject({ [state]: 0 });
    expect(Math.max(...(await steps('acme2')))).toBeLessThanOrEqual(BATCH);
  });

  it('is cleaned a few jobs at a time, as many as asked for', async () => {
    queue = on.queue('mail');
    await add('acme', MANY, { timestamp: 1 });
    expect(await withTenant('acme', () => queue.clean(0, 700, 'waiting'))).toHaveLength(700);
    expect(await steps('acme')).toEqual([500, 200]);
    expect(await withTenant('acme', () => queue.clean(0, 0, 'waiting'))).toHaveLength(500);
    expect(await hashes('acme')).toBe(0);
    // A small one as BullMQ does it.
    await add('acme', 3, { timestamp: 1 });
    expect(await withTenant('acme', () => queue.clean(0, 0, 'waiting'))).toHaveLength(3);
    expect(await steps('acme')).toEqual([500, 200, 500, 3]);
  });

  it('is cleaned behind what has to stay', async () => {
    queue = on.queue('mail');
    await add('acme', 600, { priority: 1 });
    await add('acme', 300, { priority: 2, timestamp: 1 });
    expect(await withTenant('acme', () => queue.clean(MINUTE, 0, 'prioritized'))).toHaveLength(300);
    expect(await counts('acme')).toMatchObject({ prioritized: 600 });
    expect(await withTenant('acme', () => queue.clean(MINUTE, 0, 'prioritized'))).toEqual([]);
    await add('acme2', MANY, { timestamp: 1 });
    expect(await acrossTenants(OPERATOR, () => queue.clean(0, 900, 'waiting'))).toHaveLength(900);
    expect(await counts('acme2')).toMatchObject({ waiting: MANY - 900 });
  });
});
