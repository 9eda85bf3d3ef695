import { SignatureError, withTenant } from '@tenantkit/core';
import type { Job } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { audited, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const LANE = 'bull:mail~acme:';

describe('a job that is refused', () => {
  it('is named where it lies, in the event and to operators, and in nothing that goes outward', async () => {
    using refused = audited('refused');
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'altered' }));
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'genuine' }));
    await on.redis.hset(`${LANE}acme~altered`, 'data', '{"forged":true}');
    await on.raw('mail~acme').add('n', {}, { jobId: 'acme~evil' });
    const worker = on.worker('mail', async () => 'ran');
    const heard: unknown[] = [];
    withTenant('globex', () => worker.on('failed', (job, error) => heard.push([job, error])));
    withTenant('acme', () => worker.on('failed', (job, error) => heard.push([job, error])));
    const ended = await finished(worker, 3);
    expect(ended.filter(({ event }) => event === 'completed')).toHaveLength(1);
    const errors = ended.flatMap(({ error }) => error ?? []) as SignatureError[];
    expect(errors.map(({ reason, where }) => [reason, where])).toEqual([
      ['mismatch', `${LANE}acme~altered`],
      ['missing', `${LANE}acme~evil`],
    ]);
    for (const error of errors) {
      expect(error).toBeInstanceOf(SignatureError);
      expect(error.message).not.toContain('acme');
      expect(JSON.parse(JSON.stringify(error))).toEqual({
        name: 'SignatureError',
        code: 'SIGNATURE_INVALID',
        surface: 'queue',
        operation: 'process',
        message: error.message,
        reason: error.reason,
        hint: error.hint,
      });
    }
    expect(refused.events.map(({ tenantid, data }) => [tenantid, data.unmapped])).toEqual([
      [undefined, { queue: 'mail', reason: 'mismatch', lane: 'acme', name: `${LANE}acme~altered` }],
      [undefined, { queue: 'mail', reason: 'missing', lane: 'acme', name: `${LANE}acme~evil` }],
    ]);
    // No tenant hears of it, and what is stored says nothing of where.
    expect(heard).toEqual([]);
    expect(await on.redis.hget(`${LANE}acme~altered`, 'failedReason')).not.toContain('acme');
    const asked = withTenant('acme', (): Promise<Job | undefined> => queue.getJob('altered'));
    await expect(asked).rejects.toMatchObject({ reason: 'mismatch', where: undefined });
  });

  it('is not named where a tenant has asked: a scheduler, say', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.upsertJobScheduler('tick', { every: 60_000 }));
    await on.redis.hset(`${LANE}repeat:tick`, 'data', '{"forged":true}');
    using refused = audited('refused');
    expect(await withTenant('acme', () => queue.getJobSchedulers())).toEqual([]);
    expect(refused.events.map(({ tenantid, data }) => [tenantid, data.unmapped])).toEqual([
      ['acme', { queue: 'mail', reason: 'mismatch' }],
    ]);
  });
});
