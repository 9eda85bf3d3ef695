import { withTenant } from '@tenantkit/core';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, expect, inject, it } from 'vitest';
import { queueAuditor, queueEraser, type QueuePlacement } from '@tenantkit/queue';
import { KEY, bench, type Bench } from './support.ts';

// A tenant that is in a Redis of its own, and an eraser or an auditor that is not told where.

let on: Bench;
let silo: FreshRedis;
beforeAll(async () => {
  on = await bench();
  silo = await freshRedis(inject('servers').redis);
});
afterEach(() => on.reset());
afterAll(async () => {
  await on[Symbol.asyncDispose]();
  await silo.cleanup();
});

const POOL: QueuePlacement = { level: 'pool' };
const place = (tenant: string): QueuePlacement =>
  tenant === 'big' ? { level: 'silo', connection: { url: silo.url } } : POOL;
const placed = () => on.redis.zrange('bull:mail~:placed', 0, '-1');

it.each([
  ['no place', undefined, /the eraser has no place/],
  [
    'a place that says that it is in the pool',
    () => POOL,
    /place says that the tenant is in the shared Redis/,
  ],
] as const)('is not taken for erased by an eraser with %s', async (_, wrong, reason) => {
  const tenant = { signingKeys: [KEY], place };
  const queue = on.queue('mail', { tenant });
  for (const id of ['big', 'acme']) await withTenant(id, () => queue.add('n', {}, { jobId: 'one' }));
  const options = { queues: ['mail'], signingKeys: [KEY], ...(wrong === undefined ? {} : { place: wrong }) };
  const eraser = queueEraser(on.redis, options);
  for (const scope of [{ tenant: 'big' }, { tenant: 'big', subject: 'p1' }]) {
    for (const call of ['plan', 'erase', 'verify'] as const)
      await expect(eraser[call](scope)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(reason) as string,
      });
  }
  expect(await placed()).toEqual(['big']);
  // Nobody else is concerned.
  expect((await eraser.erase({ tenant: 'acme' })).erased).toContainEqual({ kind: 'jobs', count: 1 });
  // And an eraser that knows where it is erases it.
  const right = queueEraser(on.redis, { queues: ['mail'], place });
  expect((await right.erase({ tenant: 'big' })).erased).toContainEqual({ kind: 'jobs', count: 1 });
  expect(await placed()).toEqual([]);
  for (const known of [eraser, right])
    expect((await known.verify({ tenant: 'big' })).remaining.map(({ count }) => count)).toEqual([0, 0, 0]);
});

it('is named by an auditor without a place', async () => {
  const queue = on.queue('mail', { tenant: { signingKeys: [KEY], place } });
  for (const id of ['big', 'acme']) await withTenant(id, () => queue.add('n', {}, { jobId: 'one' }));
  const found = async (options: object): Promise<unknown[]> => {
    const findings: unknown[] = [];
    const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [KEY], ...options });
    for await (const { code, name } of auditor.audit(new AbortController().signal))
      findings.push([code, name]);
    return findings;
  };
  expect(await found({})).toEqual([['unplaced_tenant', 'bull:mail~:placed big']]);
  expect(await found({ place })).toEqual([]);
});
