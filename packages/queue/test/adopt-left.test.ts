import { acrossTenants } from '@tenantkit/core';
import { adoptJobs } from '@tenantkit/queue';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { OPERATOR, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

it('a job that is not adopted is left under the reason that it has, with one id to look at', async () => {
  const raw = on.raw('mail');
  await raw.add('n', {}, { jobId: 'a:b:c' });
  await raw.add('n', {}, { jobId: 'time', timestamp: 1_795_358_516.693 });
  await raw.add('n', {}, { jobId: 'backoff', backoff: {} as never });
  await raw.add('n', {}, { jobId: 'broken' });
  await on.redis.hset('bull:mail:broken', 'data', '{');
  await raw.add('n', {}, { jobId: 'clock' });
  await on.redis.hset('bull:mail:clock', 'timestamp', 'noon');
  await raw.add('other', {}, { jobId: 'whose' });
  await raw.add('n', {}, { jobId: 'good' });
  const { adopted, left, examples } = await acrossTenants(OPERATOR, () =>
    adoptJobs(on.queue('mail'), { tenantOf: ({ name }) => (name === 'n' ? 'acme' : undefined) }),
  );
  expect(adopted).toEqual({ acme: 1 });
  expect(left).toEqual({ id: 1, option: 2, unreadable: 2, noTenant: 1 });
  expect(examples).toEqual({ id: 'a:b:c', option: 'time', unreadable: 'broken', noTenant: 'whose' });
});
