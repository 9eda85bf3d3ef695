import type { JobScheduler } from 'bullmq';
import * as bullmq from 'bullmq';
import {
  MissingTenantError,
  OperationRefusedError,
  SignatureError,
  acrossTenants,
  currentTenant,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { schedulerRules } from '../src/rules.ts';
import type { Queue, Worker } from '@tenantkit/queue';
import { audited, bench, finished, type Bench } from './support.ts';

const OPERATOR = { reason: 'test', actor: 'operator' };
const DAY = 86_400_000;

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const lane = (tenant: string, key: string): string => `bull:mail~${tenant}:${key}`;
const inside = <T>(tenant: string, fn: () => T): T => withTenant(tenant, fn);

/** Resolves when the worker has completed so many jobs, with what each of them was. */
function completed(worker: Worker, count: number): Promise<readonly unknown[]> {
  const { promise, resolve } = Promise.withResolvers<readonly unknown[]>();
  const ran: unknown[] = [];
  worker.on('completed', (_job, result) => {
    ran.push(result);
    if (ran.length === count) resolve(ran);
  });
  return promise;
}

describe('a scheduler', () => {
  it('makes jobs for its tenant, under the ids that BullMQ gives them', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) {
      const job = await inside(tenant, () =>
        queue.upsertJobScheduler('tick', { every: 50, limit: 3 }, { name: 'n', data: { of: tenant } }),
      );
      expect(job?.id).toMatch(/^repeat:tick:\d{13}$/);
      expect(job?.repeatJobKey).toBe('tick');
    }
    const errors: Error[] = [];
    const worker = on.worker(
      'mail',
      async (job) => ({
        tenant: currentTenant()?.tenant,
        data: job.data as unknown,
        name: job.name,
        id: job.id?.replace(/\d{13}$/, '#'),
        key: job.repeatJobKey,
        count: (job.opts as { repeat?: { count?: number } }).repeat?.count,
      }),
      { autorun: false },
    );
    worker.on('error', (error) => errors.push(error));
    const ran = completed(worker, 6);
    void worker.run();
    const of = (tenant: string, count: number) => ({
      tenant,
      data: { of: tenant },
      name: 'n',
      id: 'repeat:tick:#',
      key: 'tick',
      count,
    });
    const all = (await ran) as { tenant: string; count: number }[];
    for (const tenant of ['acme', 'acme2'])
      expect(all.filter((job) => job.tenant === tenant)).toEqual([1, 2, 3].map((count) => of(tenant, count)));
    expect(errors).toEqual([]);
    // The limit is reached: nothing follows.
    for (const tenant of ['acme', 'acme2']) expect(await on.redis.zcard(lane(tenant, 'delayed'))).toBe(0);
  });

  it('of a pattern makes its jobs as well', async () => {
    const queue = on.queue('mail');
    const made = await inside('acme', () =>
      queue.upsertJobScheduler(
        'tick',
        { pattern: '* * * * * *', tz: 'Europe/Paris', limit: 2, endDate: Date.now() + DAY },
        { opts: { attempts: 3, backoff: 5, removeOnComplete: true, priority: 2, keepLogs: 7 } },
      ),
    );
    expect(made?.name).toBe('tick');
    let failures = 0;
    const worker = on.worker('mail', async (job) => {
      if (failures++ === 0) throw new Error('once more');
      return [job.opts.attempts, job.opts.priority, job.opts.keepLogs, job.attemptsMade];
    });
    expect(await completed(worker, 2)).toEqual([
      [3, 2, 7, 1],
      [3, 2, 7, 0],
    ]);
  });
});
