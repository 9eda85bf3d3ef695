import { acrossTenants, currentTenant, withTenant } from '@tenantkit/core';
import type { QueueEventsListener } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventBench, recorder, type EventBench } from './events-support.ts';
import { OPERATOR, audited } from './support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

interface OfOne extends QueueEventsListener {
  'waiting:two': (args: { jobId: string }, id: string) => void;
}

const id = expect.stringMatching(/^\d+-\d+$/) as string;

describe('QueueEvents', () => {
  it('hears the events of its tenant, with logical ids, inside the tenant', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const mine = recorder();
    const theirs = recorder();
    await withTenant('acme', async () => {
      for (const event of ['added', 'waiting', 'active', 'progress', 'completed', 'drained'] as const)
        events.on(event, (...args: unknown[]) => mine.listener(event, ...args, currentTenant()));
      await events.waitUntilReady();
    });
    await withTenant('globex', async () => {
      events.on('completed', (...args) => theirs.listener(...args));
      await events.waitUntilReady();
    });
    on.worker('mail', async (job) => {
      await job.updateProgress({ half: true });
      return { by: currentTenant()?.tenant };
    });
    await withTenant('acme', () => queue.add('welcome', {}, { jobId: 'one' }));
    const acme = { tenant: 'acme' };
    expect(await mine.until(6)).toEqual([
      ['added', { jobId: 'one', name: 'welcome' }, id, acme],
      ['waiting', { jobId: 'one' }, id, acme],
      ['active', { jobId: 'one', prev: 'waiting' }, id, acme],
      ['progress', { jobId: 'one', data: { half: true } }, id, acme],
      ['completed', { jobId: 'one', returnvalue: { by: 'acme' }, prev: 'active' }, id, acme],
      ['drained', id, acme],
    ]);
    await withTenant('globex', () => queue.add('welcome', {}, { jobId: 'one' }));
    expect(await theirs.until(1)).toEqual([
      [{ jobId: 'one', returnvalue: { by: 'globex' }, prev: 'active' }, id],
    ]);
    expect(mine.heard).toHaveLength(6);
  });

  it('refuses listeners for jobs outside of any tenant', async () => {
    const events = on.events('mail');
    expect(() => events.on('completed', () => undefined)).toThrow(
      expect.objectContaining({ code: 'TENANT_MISSING' }),
    );
    expect(() => events.once('completed', () => undefined)).toThrow(
      expect.objectContaining({ code: 'TENANT_MISSING' }),
    );
    // What is about the connection is heard.
    events.on('error', () => undefined);
    expect(events.listenerCount('error')).toBe(1);
    withTenant('acme', () => events.on('completed', () => undefined));
    expect(events.listenerCount('completed')).toBe(1);
    expect(withTenant('globex', () => events.listenerCount('completed'))).toBe(0);
  });

  it('tells operators of the events of all tenants, each inside its tenant', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const all = recorder();
    await withTenant('acme', () => queue.add('before', {}, { jobId: 'before' }));
    await acrossTenants(OPERATOR, async () => {
      events.on('added', ({ jobId }) => all.listener(currentTenant()?.tenant, jobId));
      await events.waitUntilReady();
    });
    await withTenant('acme', () => queue.add('a', {}, { jobId: 'one' }));
    // A lane that is new.
    await withTenant('globex', () => queue.add('a', {}, { jobId: 'one' }));
    await all.until(2);
    expect(all.heard.toSorted(([a], [b]) => String(a).localeCompare(String(b)))).toEqual([
      ['acme', 'one'],
      ['globex', 'one'],
    ]);
  });

  it('withholds what is no event of its tenant, and says how much', async () => {
    using refused = audited('refused');
    const events = on.events('mail');
    const heard = recorder();
    await withTenant('acme', async () => {
      for (const event of ['completed', 'progress', 'delayed', 'waiting', 'deduplicated'] as const)
        events.on(event, heard.listener);
      await events.waitUntilReady();
    });
    const forged: readonly (readonly string[])[] = [
      ['event', 'completed', 'jobId', 'globex~1', 'returnvalue', '1'],
      ['event', 'completed', 'jobId', 'globex', 'returnvalue', '1'],
      ['event', 'completed', 'jobId', '1', 'returnvalue', '1'],
      ['event', 'completed', 'returnvalue', '1'],
      ['event', 'completed', 'jobId', 'acme~1', 'returnvalue', '{'],
      ['event', 'completed', 'jobId', 'acme~1'],
      ['event', 'progress', 'jobId', 'acme~1', 'data', 'nonsense'],
      ['event', 'delayed', 'jobId', 'acme~1', 'delay', 'soon'],
      ['event', 'deduplicated', 'jobId', 'acme~1', 'deduplicationId', 'd', 'deduplicatedJobId', 'globex~2'],
      ['event', 'error', 'jobId', 'acme~1'],
      ['event', 'newListener'],
      ['event', 'toString'],
      ['event', '__proto__'],
      ['event', 'moved', 'jobId', 'acme~1'],
      ['event', 'tenantkit:custom', 'data', '["completed",{"jobId":"1"}]'],
      ['event', 'tenantkit:custom', 'data', '["completed:1",{}]'],
      ['event', 'tenantkit:custom', 'data', '{}'],
      ['event', 'tenantkit:custom'],
      ['nothing', ''],
    ];
    for (const fields of forged) await on.forge('mail~acme', ...fields);
    // The control: one that could be true. Nobody has signed it.
    await on.forge('mail~acme', 'event', 'completed', 'jobId', 'acme~1', 'returnvalue', '1', 'more', 'x');
    expect(await heard.until(1)).toEqual([[{ jobId: '1', returnvalue: 1 }, id]]);
    const counts = refused.events.map((event) => event.data.unmapped?.['count']);
    expect(counts.reduce((sum: number, count) => sum + Number(count), 0)).toBe(forged.length);
    expect(JSON.stringify(refused.events)).not.toContain('globex');
  });

  it('takes listeners away, and reads no lane that nobody listens to', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const heard = recorder();
    const gone = recorder();
    await withTenant('acme', async () => {
      events.once('added', heard.listener);
      events.on('waiting', gone.listener);
      events.off('waiting', gone.listener);
      events.on<OfOne>('waiting:two', heard.listener);
      await events.waitUntilReady();
      await queue.add('a', {}, { jobId: 'one' });
      await queue.add('a', {}, { jobId: 'two' });
      await heard.until(2);
    });
    expect(heard.heard).toEqual([
      [{ jobId: 'one', name: 'a' }, id],
      [{ jobId: 'two' }, id],
    ]);
    expect(gone.heard).toEqual([]);
    // A tenant cannot take another's listeners away; the service can.
    withTenant('globex', () => events.removeAllListeners());
    expect(withTenant('acme', () => events.eventNames())).toEqual(['waiting:two']);
    events.removeAllListeners();
    expect(withTenant('acme', () => events.eventNames())).toEqual([]);
  });
});
