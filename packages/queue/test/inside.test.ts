import { acrossTenants, withTenant, type EraseRun } from '@tenantkit/core';
import { queueAuditor, queueEraser } from '@tenantkit/queue';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KEY, bench, type Bench } from './support.ts';

const SCOPE = { tenant: 'acme2' };
const RUN: EraseRun = {
  signal: new AbortController().signal,
  checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
  progress: () => undefined,
};

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterAll(() => on[Symbol.asyncDispose]());

/** All that works on the jobs of every tenant; the last takes those of one away. */
function works(): readonly (() => Promise<unknown>)[] {
  const queues = ['mail'];
  const eraser = queueEraser(on.redis, { queues });
  const auditor = queueAuditor(on.redis, { queues, signingKeys: [KEY] });
  const audited = async (): Promise<void> => {
    for await (const { code } of auditor.audit()) expect(code).toBeTypeOf('string');
  };
  return [() => eraser.plan(SCOPE), audited, () => eraser.verify(SCOPE), () => eraser.erase(SCOPE, RUN)];
}

it('eraser and auditor are refused inside a tenant, and not outside or across them', async () => {
  const queue = on.queue('mail');
  const add = (tenant: string): Promise<unknown> =>
    withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
  const stored = async (): Promise<string[]> => (await on.redis.keys('bull:mail~*~one')).toSorted();
  for (const tenant of TENANTS) await add(tenant);
  const before = await stored();
  for (const tenant of TENANTS) {
    for (const work of works()) {
      const refused: unknown = await withTenant(tenant, () =>
        work().then(
          () => 'not refused',
          (error: unknown) => error,
        ),
      );
      expect(refused).toMatchObject({
        code: 'OPERATION_REFUSED',
        surface: 'queue',
        message: expect.stringContaining('outside of withTenant'),
      });
      expect((refused as Error).message).not.toContain('acme');
    }
  }
  expect(await stored()).toEqual(before);
  const left = before.filter((key) => key !== 'bull:mail~acme2:acme2~one');
  expect(left).toHaveLength(TENANTS.length - 1);
  const bypass = { reason: 'test', actor: 'test' };
  for (const work of works()) await withTenant('acme', () => acrossTenants(bypass, work));
  expect(await stored()).toEqual(left);
  await add('acme2');
  for (const work of works()) await work();
  expect(await stored()).toEqual(left);
});
