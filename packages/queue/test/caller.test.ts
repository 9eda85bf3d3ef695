import {
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FlowProducer, QueueEvents, type Job } from '@tenantkit/queue';
import { KEY, OPERATOR, audited, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const tenant = { signingKeys: [KEY] };

describe('a refusal says what was called', () => {
  it('a Worker', async () => {
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    await expect(worker.getNextJob('token')).rejects.toThrow(/^worker\.getNextJob is refused: /);
    const inside = withTenant('acme', () => worker.pause());
    await expect(inside).rejects.toThrow(/^worker\.pause is refused inside a tenant: /);
    expect(() => worker.cancelJob('other')).toThrow('worker.cancelJob was called outside of any tenant');
    expect(withTenant('acme', () => worker.cancelJob('other'))).toBe(false);
    await expect(withTenant('acme', () => worker.rateLimit(5))).rejects.toThrow(/^worker\.rateLimit is /);
    await expect(worker.rateLimit(5)).rejects.toThrow(/worker\.rateLimit was called outside/);
  });

  it('a FlowProducer', async () => {
    await using flows = Object.assign(new FlowProducer({ connection: on.redis, tenant }), {
      [Symbol.asyncDispose]: () => flows.close(),
    });
    const call = flows.add({ name: 'n', queueName: 'mail' });
    await expect(call).rejects.toThrow(MissingTenantError);
    await expect(call).rejects.toThrow('flows.add was called outside of any tenant');
    await expect(flows.addBulk([])).rejects.toThrow('flows.addBulk was called outside of any tenant');
    const list = withTenant('acme', () => flows.addBulk('x' as never));
    await expect(list).rejects.toThrow(/^flows\.addBulk is refused inside a tenant: the jobs are no array/);
  });

  it('a Job', async () => {
    const job = (await withTenant('acme', () => on.queue('mail').add('n', {}))) as Job;
    await expect(job.getState()).rejects.toThrow('job.getState was called outside of any tenant');
    expect(await withTenant('acme', () => job.getState())).toBe('waiting');
  });

  it('a QueueEvents', async () => {
    await using events = Object.assign(new QueueEvents('mail', { connection: on.redis, tenant }), {
      [Symbol.asyncDispose]: () => events.close(),
    });
    const inside = withTenant('acme', () => events.close());
    await expect(inside).rejects.toThrow(/^queueEvents\.close is refused inside a tenant/);
  });

  it('a Queue, whose calls have other names inside BullMQ', async () => {
    using refused = audited('refused');
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const queue = on.queue('mail', { tenant: { ...tenant, fence } });
      await expect(acrossTenants(OPERATOR, () => queue.add('n', {}))).rejects.toThrow(
        /^queue\.add is refused/,
      );
      await fence.freeze('acme');
      const calls = {
        add: () => queue.add('n', {}),
        addBulk: () => queue.addBulk([{ name: 'n', data: {} }]),
        getJobCounts: () => queue.getJobCounts(),
      };
      for (const [name, call] of Object.entries(calls)) {
        const asked = withTenant('acme', (): Promise<unknown> => call());
        await expect(asked).rejects.toThrow(new RegExp(`^queue\\.${name} is refused`));
        await expect(asked).rejects.toMatchObject({ code: 'TENANT_FENCED', operation: name });
      }
    } finally {
      fence.close();
    }
    const operations = refused.events.map(({ data }) => data.api.operation);
    expect(new Set(operations)).toEqual(new Set(['add', 'addBulk', 'getJobCounts']));
  });

  it('a Queue, which is called as the surface is; and the error itself names the same as ever', async () => {
    using refused = audited('refused');
    const queue = on.queue('mail');
    const call = queue.add('n', {});
    await expect(call).rejects.toThrow('queue.add was called outside of any tenant');
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const inside = withTenant('acme', () => worker.pause());
    await expect(inside).rejects.toThrow(OperationRefusedError);
    await expect(inside).rejects.toMatchObject({ surface: 'queue', operation: 'pause' });
    expect(refused.events.map(({ data }) => data.api.operation)).toEqual(['add', 'pause']);
    await acrossTenants(OPERATOR, () => worker.pause());
  });
});
