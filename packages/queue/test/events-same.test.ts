import { once } from 'node:events';
import * as bullmq from 'bullmq';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import { queueEraser, type QueueEvents } from '@tenantkit/queue';
import { eventFields, type StreamEvent } from '../src/events/entries.ts';
import { eventBench, recorder, type EventBench } from './events-support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const ALL = Object.keys(eventFields) as StreamEvent[];

describe('QueueEvents and BullMQ’s own', () => {
  it('hear the same, but for the ids', async () => {
    const queue = on.queue('mail');
    const raw = on.rawEvents('mail~acme');
    const ours = on.events('mail');
    const [theirs, own] = [recorder(), recorder()];
    for (const event of ALL) raw.on(event, (...args: unknown[]) => theirs.listener(event, ...args));
    await withTenant('acme', async () => {
      for (const event of ALL) ours.on(event, (...args: unknown[]) => own.listener(event, ...args));
      await ours.waitUntilReady();
      // BullMQ says that it listens before it does.
      const heard = async (): Promise<number> => {
        await on.forge('mail~acme', 'event', 'paused');
        return theirs.heard.length;
      };
      await expect.poll(heard).toBeGreaterThan(0);
      await queue.pause();
    });
    await withTenant('acme', async () => {
      await queue.resume();
      await queue.add('a', {}, { jobId: 'once' });
      await queue.add('a', {}, { jobId: 'once' });
      await queue.add('a', {}, { jobId: 'd-1', deduplication: { id: 'd' } });
      await queue.add('a', {}, { jobId: 'd-2', deduplication: { id: 'd' } });
      const late = await queue.add('a', {}, { jobId: 'late', delay: 60_000 });
      await late.changeDelay(50_000);
      await late.promote();
      await queue.add('a', {}, { jobId: 'gone', priority: 3 });
      await queue.remove('gone');
      await queue.add('bad', {}, { jobId: 'bad', attempts: 2, backoff: 1 });
    });
    const worker = on.worker('mail', async (job) => {
      await job.updateProgress({ at: job.id });
      if (job.name === 'bad') throw new Error('bad');
      return { done: job.id };
    });
    await once(worker, 'drained');
    await withTenant('acme', async () => {
      const failed = await queue.getJob('bad');
      await failed?.waitUntilFinished(ours).catch((error: Error) => expect(error.message).toBe('bad'));
      await queue.clean(0, 100, 'completed');
      await queue.add('end', {}, { jobId: 'end', delay: 1_000_000 });
    });
    const isOver = (heard: readonly (readonly unknown[])[]): boolean =>
      heard.some(([event, args]) => event === 'delayed' && JSON.stringify(args).includes('end'));
    await expect.poll(() => isOver(theirs.heard) && isOver(own.heard)).toBe(true);
    const from = theirs.heard.findIndex(([event]) => event === 'resumed');
    const expected = theirs.heard.slice(from).map((one) => JSON.stringify(one).replaceAll('acme~', ''));
    const first = own.heard.findIndex(([event]) => event === 'resumed');
    expect(own.heard.slice(first).map((one) => JSON.stringify(one))).toEqual(expected);
    const names = new Set(expected.map((one) => (JSON.parse(one) as [string])[0]));
    // Stalls need a worker that dies, and nobody waits for children yet.
    expect(ALL.filter((event) => !names.has(event))).toEqual(['paused', 'stalled', 'waiting-children']);
  });

  it('have the same types', () => {
    expectTypeOf<QueueEvents<string>>().toExtend<bullmq.QueueEvents<string>>();
    const typed = (events: QueueEvents<{ sent: number }>) =>
      events.on('completed', ({ returnvalue }) =>
        expectTypeOf(returnvalue).toEqualTypeOf<{ sent: number }>(),
      );
    expect(typed).toBeTypeOf('function');
    // @ts-expect-error -- an event that nobody emits
    void ((events: QueueEvents) => events.on('finished', () => undefined));
  });

  it('say when the connection is lost', async () => {
    const events = on.events('close');
    const closed = once(events, 'ioredis:close');
    await withTenant('acme', async () => {
      events.on('added', () => undefined);
      await events.waitUntilReady();
    });
    const name = `name=bull:${Buffer.from('close').toString('base64')}:qe `;
    const id = async (): Promise<string | undefined> =>
      String(await on.redis.client('LIST'))
        .split('\n')
        .flatMap((line) => (line.includes(name) ? (/id=(\d+)/.exec(line)?.[1] ?? []) : []))[0];
    await expect.poll(id).toBeDefined();
    await on.redis.client('KILL', 'ID', (await id()) ?? '');
    expect(await closed).toEqual([]);
  });
});

describe('around a QueueEvents', () => {
  it('a worker that closes ends the waits for its jobs', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const gate = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<{ readonly wait: Promise<unknown> }>();
    const worker = on.worker('mail', async (job) => {
      begun.resolve({ wait: job.waitUntilFinished(events).catch((error: unknown) => error) });
      await gate.promise;
    });
    await withTenant('acme', () => queue.add('a', {}));
    const { wait } = await begun.promise;
    const closing = worker.close();
    expect(await wait).toEqual(new Error('closing queue'));
    gate.resolve();
    await closing;
  });

  it('an erasure takes the events along, and disturbs nobody', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const errors: unknown[] = [];
    events.on('error', (error) => errors.push(error));
    const [acme, globex] = [recorder(), recorder()];
    for (const [tenant, { listener }] of [
      ['acme', acme],
      ['globex', globex],
    ] as const)
      await withTenant(tenant, async () => {
        events.on('added', ({ jobId }) => listener(jobId));
        await events.waitUntilReady();
        await queue.add('a', {}, { jobId: 'j-1' });
      });
    await acme.until(1);
    await queueEraser(on.redis, { queues: ['mail'] }).erase({ tenant: 'acme' });
    expect(await on.redis.exists('bull:mail~acme:events')).toBe(0);
    await withTenant('globex', () => queue.add('a', {}, { jobId: 'j-2' }));
    expect(await globex.until(2)).toEqual([['j-1'], ['j-2']]);
    expect(acme.heard).toEqual([['j-1']]);
    // Without a fence the tenant may come back, and is heard.
    await withTenant('acme', () => queue.add('a', {}, { jobId: 'j-3' }));
    expect(await acme.until(2)).toEqual([['j-1'], ['j-3']]);
    expect(errors).toEqual([]);
  });
});
