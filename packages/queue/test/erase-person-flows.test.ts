import { once } from 'node:events';
import { currentTenant, withTenant, type TenantContext } from '@tenantkit/core';
import { queueEraser, type Worker } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { flowBench, type FlowBench } from './flows-support.ts';
import { finished } from './support.ts';

let on: FlowBench;
beforeAll(async () => {
  on = await flowBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const ADA = { tenant: 'acme', subject: 'ada' };
const BOB = { tenant: 'acme', subject: 'bob' };
const PARENT = 'bull:reports~acme:acme~p';

/** A parent of bob, in another queue, that waits for the children that these have added. */
async function flow(children: readonly (readonly [TenantContext, string])[]): Promise<void> {
  const mail = on.queue('mail');
  await withTenant(BOB, () =>
    on.flows().add({
      name: 'p',
      queueName: 'reports',
      opts: { jobId: 'p' },
      children: [{ name: 'c', queueName: 'mail', data: {}, opts: { jobId: 'of-bob' } }],
    }),
  );
  for (const [of, jobId] of children)
    await withTenant(of, () => mail.add('c', {}, { jobId, parent: { id: 'p', queue: 'bull:reports' } }));
}
const work = (queue: string): Worker =>
  on.worker(queue, async (job) =>
    queue === 'mail' ? `secret of ${currentTenant()?.subject}` : Object.keys(await job.getChildrenValues()),
  );
const erase = (of: TenantContext): Promise<unknown> =>
  queueEraser(on.queue('mail')).erase({ tenant: of.tenant, subject: of.subject ?? '' });

describe('the erasure of a person whose jobs are children of others', () => {
  it('takes what they have answered from the parent, and what others have answered stays', async () => {
    await flow([[ADA, 'of-ada']]);
    // A second child keeps the parent waiting.
    await on.redis.sadd(`${PARENT}:dependencies`, 'bull:mail~acme:acme~other');
    const worker = work('mail');
    await finished(worker, 2);
    await worker.close();
    const answers = (): Promise<Record<string, string>> => on.redis.hgetall(`${PARENT}:processed`);
    expect(Object.keys(await answers())).toHaveLength(2);
    await erase(ADA);
    expect(await answers()).toEqual({ 'bull:mail~acme:acme~of-bob': '"secret of bob"' });
    expect(await on.redis.zcard('bull:reports~acme:waiting-children')).toBe(1);
  });

  it('lets the parent run that has waited for nothing else', async () => {
    await flow([[ADA, 'of-ada']]);
    await withTenant(BOB, async () => (await on.queue('mail').getJob('of-bob'))?.remove());
    expect(await on.redis.zcard('bull:reports~acme:waiting-children')).toBe(1);
    const worker = on.worker('reports', async (job) => Object.keys(await job.getChildrenValues()), {
      ...on.asleep,
      autorun: false,
    });
    const asleep = once(worker, 'drained');
    void worker.run();
    await asleep;
    const done = finished(worker, 1);
    await erase(ADA);
    expect(await done).toMatchObject([{ id: 'p', result: [] }]);
  });

  it('leaves a parent waiting that waits for others as well', async () => {
    await flow([[ADA, 'of-ada']]);
    await erase(ADA);
    expect(await on.redis.smembers(`${PARENT}:dependencies`)).toEqual(['bull:mail~acme:acme~of-bob']);
    expect(await on.redis.zcard('bull:reports~acme:waiting-children')).toBe(1);
  });

  it.each([
    ['of another tenant', 'bull:reports~acme2:acme2~p'],
    ['of a tenant whose id ends so', 'bull:reports~x-acme:acme2~p'],
    ['in no lane', 'bull:reports:acme2~p'],
    ['of another prefix', 'bulk:reports~acme:acme~p'],
    ['that is no key of a job', 'bull:reports~acme:acme~p:x'],
  ])('touches no parent %s that somebody has written into a job', async (_what, parent) => {
    await flow([[ADA, 'of-ada']]);
    await on.redis.hset('bull:mail~acme:acme~of-ada', 'parentKey', parent);
    const child = 'bull:mail~acme:acme~of-ada';
    await on.redis.sadd(`${parent}:dependencies`, child);
    await on.redis.hset(`${parent}:processed`, child, '1');
    await on.redis.hset(parent, 'name', 'p');
    const lane = parent.slice(0, parent.indexOf(':', parent.indexOf(':') + 1));
    await on.redis.zadd(`${lane}:waiting-children`, 1, parent.slice(lane.length + 1));
    await erase(ADA);
    expect(await on.redis.exists(child)).toBe(0);
    expect(await on.redis.exists(`${parent}:dependencies`, `${parent}:processed`)).toBe(2);
    expect(await on.redis.exists(`${lane}:wait`)).toBe(0);
  });
});
