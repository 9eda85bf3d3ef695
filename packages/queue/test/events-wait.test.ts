import { acrossTenants, createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventBench, type EventBench } from './events-support.ts';
import { OPERATOR } from './support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const refused = { code: 'OPERATION_REFUSED' };

describe('job.waitUntilFinished', () => {
  it('answers the result, or throws the reason, of a job that ends', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    on.worker('mail', async (job) => {
      if (job.name === 'bad') throw new Error('no such address');
      return { sent: job.id };
    });
    await withTenant('acme', async () => {
      const good = await queue.add('good', {}, { jobId: 'good' });
      expect(await good.waitUntilFinished(events)).toEqual({ sent: 'good' });
      // It has ended before anybody waits.
      expect(await good.waitUntilFinished(events, 10_000)).toEqual({ sent: 'good' });
      const bad = await queue.add('bad', {}, { jobId: 'bad' });
      await expect(bad.waitUntilFinished(events)).rejects.toThrow(/^no such address$/);
      await expect(bad.waitUntilFinished(events)).rejects.toThrow(/^no such address$/);
      const kept = await queue.add('good', {}, { jobId: 'gone', removeOnComplete: true, delay: 50 });
      expect(await kept.waitUntilFinished(events)).toEqual({ sent: 'gone' });
      await expect(kept.waitUntilFinished(events)).rejects.toThrow('Missing key for job gone. isFinished');
    });
    expect(withTenant('acme', () => events.eventNames())).toEqual([]);
  });

  it('answers the same as BullMQ', async () => {
    const queue = on.raw('raw');
    const own = on.queue('own');
    const rawEvents = on.rawEvents('raw');
    const events = on.events('own');
    await rawEvents.waitUntilReady();
    const raw = await queue.add('late', {}, { jobId: 'x-1', delay: 60_000 });
    const ours = await withTenant('acme', () => own.add('late', {}, { jobId: 'x-1', delay: 60_000 }));
    const said = async (wait: Promise<unknown>): Promise<string> =>
      wait.then(String, (error: Error) => error.message);
    const late = await said(raw.waitUntilFinished(rawEvents, 5));
    expect(await said(withTenant('acme', () => ours.waitUntilFinished(events, 5)))).toBe(late);
    expect(late).toBe(
      'Job wait late timed out before finishing, no finish notification arrived after 5ms (id=x-1)',
    );
  });

  it('ends when the job is removed, and when the QueueEvents is closed', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    await withTenant('acme', async () => {
      const job = await queue.add('a', {}, { jobId: 'one' });
      const waiting = job.waitUntilFinished(events);
      const ended = waiting.catch((error: unknown) => error);
      await events.waitUntilReady();
      await job.remove();
      expect(await ended).toEqual(new Error('Missing key for job one. isFinished'));
    });
    const left = await withTenant('acme', () => queue.add('a', {}, { jobId: 'two' }));
    const closed = withTenant('acme', () => left.waitUntilFinished(events)).catch((error: unknown) => error);
    await withTenant('acme', () => events.waitUntilReady());
    await events.close();
    expect(await closed).toEqual(new Error('The QueueEvents was closed.'));
    await expect(withTenant('acme', () => left.waitUntilFinished(events))).rejects.toMatchObject(refused);
  });

  it('is not ended by what another tenant’s job, or stream, says', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const job = await withTenant('acme', () => queue.add('a', {}, { jobId: 'one', delay: 60_000 }));
    const theirs = await withTenant('globex', () => queue.add('a', {}, { jobId: 'one' }));
    const waits = Promise.all([
      withTenant('acme', () => job.waitUntilFinished(events)),
      withTenant('globex', () => theirs.waitUntilFinished(events)),
    ]);
    await withTenant('acme', () => events.waitUntilReady());
    await withTenant('globex', () => events.waitUntilReady());
    // Forged into the other's stream, under each of the ids.
    for (const jobId of ['acme~one', 'one'])
      await on.forge('mail~globex', 'event', 'completed', 'jobId', jobId, 'returnvalue', '"forged"');
    on.worker('mail', async () => 'done');
    await withTenant('globex', () => theirs.waitUntilFinished(events));
    await withTenant('acme', () => job.promote());
    expect(await waits).toEqual(['done', 'done']);
  });

  it('refuses another QueueEvents, another tenant, and none', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    on.worker('mail', async () => 'done');
    const job = await withTenant('acme', () => queue.add('a', {}, { jobId: 'one' }));
    for (const foreign of [
      on.rawEvents('mail'),
      on.events('other'),
      on.events('mail', { prefix: 'b' }),
      {},
      undefined,
    ])
      await expect(
        withTenant('acme', () => job.waitUntilFinished(foreign as typeof events)),
      ).rejects.toMatchObject(refused);
    await expect(withTenant('acme', () => job.waitUntilFinished(events, -1))).rejects.toMatchObject(refused);
    await expect(withTenant('globex', () => job.waitUntilFinished(events))).rejects.toMatchObject({
      code: 'TENANT_SWITCH',
    });
    await expect(job.waitUntilFinished(events)).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    const seen = await acrossTenants(OPERATOR, () => queue.getJob('acme~one'));
    await expect(acrossTenants(OPERATOR, async () => seen?.waitUntilFinished(events))).rejects.toMatchObject(
      refused,
    );
    expect(await withTenant('acme', () => job.waitUntilFinished(events))).toBe('done');
  });

  it('works in a processor, for a job of the same tenant', async () => {
    const queue = on.queue('mail');
    const inner = on.queue('inner');
    const events = on.events('inner');
    on.worker('inner', async (job) => `inner ${job.id}`);
    on.worker('mail', async () => {
      const job = await inner.add('a', {}, { jobId: 'x-1' });
      return job.waitUntilFinished(events);
    });
    const outer = on.events('mail');
    const job = await withTenant('acme', () => queue.add('a', {}));
    expect(await withTenant('acme', () => job.waitUntilFinished(outer))).toBe('inner x-1');
  });

  it('leaves no lane that is read, and waits for many jobs of many tenants', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    on.worker('mail', async (job) => job.data as unknown, { concurrency: 50 });
    const tenants = Array.from({ length: 100 }, (_, at) => `t${at}`);
    const all = tenants.flatMap((tenant) =>
      [1, 2, 3].map((n) =>
        withTenant(tenant, async () => {
          const job = await queue.add('a', { tenant, n });
          return job.waitUntilFinished(events, 20_000);
        }),
      ),
    );
    expect(await Promise.all(all)).toEqual(
      tenants.flatMap((tenant) => [1, 2, 3].map((n) => ({ tenant, n }))),
    );
  });
});

describe('an erased tenant', () => {
  it('hears nothing more, and no wait of it is left', async () => {
    const fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 1_000,
      maxStaleness: 5_000,
    });
    await using own = await eventBench(fence);
    const queue = own.queue('mail');
    const events = own.events('mail', { blockingTimeout: 50 });
    const errors: unknown[] = [];
    withTenant('globex', () => events.on('error', (error) => errors.push(error)));
    const heard: unknown[] = [];
    const job = await withTenant('acme', () => queue.add('a', {}, { delay: 60_000 }));
    const waiting = withTenant('acme', () => job.waitUntilFinished(events));
    const ended = waiting.catch((error: unknown) => error);
    await withTenant('acme', async () => {
      events.on('waiting', (args) => heard.push(args));
      await events.waitUntilReady();
    });
    await fence.freeze('acme');
    expect(() => withTenant('acme', () => events.on('waiting', () => undefined))).toThrow(
      expect.objectContaining({ code: 'TENANT_FENCED' }),
    );
    await fence.markErased('acme');
    await own.forge('mail~acme', 'event', 'waiting', 'jobId', 'acme~1');
    expect(await ended).toMatchObject({ code: 'TENANT_FENCED', state: 'erased' });
    expect(events.listenerCount('waiting')).toBe(0);
    expect(heard).toEqual([]);
    expect(errors).toEqual([]);
    fence.close();
  });
});
