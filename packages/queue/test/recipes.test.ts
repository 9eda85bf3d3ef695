import * as bullmq from 'bullmq';
import { acrossTenants, currentTenant, forEachTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { OPERATOR, bench, finished, type Bench } from './support.ts';

// What docs/recipes.md and changing.md promise.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

describe('jobs of no tenant', () => {
  it('a job of the service’s own tenant adds one for each customer', async () => {
    const nightly = on.queue('nightly');
    const reports = on.queue('reports');
    const worker = on.worker('reports', async () => currentTenant()?.tenant, { autorun: false });
    on.worker('nightly', async () => {
      await acrossTenants(OPERATOR, () =>
        forEachTenant(['acme', 'globex'], () => reports.add('monthly', {})),
      );
    });
    const done = finished(worker, 2);
    void worker.run();
    await withTenant('system', () => nightly.add('all', {}));
    expect((await done).map(({ result }) => String(result)).toSorted()).toEqual(['acme', 'globex']);
  });
});

describe('the way back', () => {
  it('raw BullMQ runs what lies in a lane', async () => {
    await withTenant('acme', () => on.queue('mail').add('welcome', { to: 'ada' }, { jobId: 'w-1' }));
    expect(await on.redis.zrange('bull:mail~:lanes', 0, '-1')).toEqual(['acme']);
    const ran = Promise.withResolvers<unknown>();
    const raw = new bullmq.Worker(
      'mail~acme',
      async ({ id, name, data }) => ran.resolve([id, name, data, currentTenant()]),
      { connection: on.redis },
    );
    expect(await ran.promise).toEqual(['acme~w-1', 'welcome', { to: 'ada' }, undefined]);
    await raw.close();
  });
});
