import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventBench, type EventBench } from './events-support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

/** The three classes that emit, as their untyped emitters. */
async function emitters(): Promise<readonly (readonly [string, NodeJS.EventEmitter])[]> {
  const worker = on.worker('mail', async () => undefined, { autorun: false });
  const events = on.events('mail');
  await Promise.all([worker.waitUntilReady(), events.waitUntilReady()]);
  return [
    ['queue', on.queue('mail') as NodeJS.EventEmitter],
    ['worker', worker as NodeJS.EventEmitter],
    ['events', events as NodeJS.EventEmitter],
  ];
}

const SHARED = ['closing', 'closed', 'ready', 'drained', 'ioredis:close'] as const;

it('what a tenant emits of what all share is heard by itself alone', async () => {
  for (const [what, emitter] of await emitters()) {
    for (const event of what === 'worker' ? SHARED : (['ioredis:close'] as const)) {
      const heard: unknown[] = [];
      emitter.on(event, () => heard.push('service'));
      for (const id of ['acme', 'evil', 'evil2'])
        withTenant(id, () => emitter.on(event, () => heard.push(id)));
      withTenant('evil', () => emitter.emit(event, 'evil says'));
      expect([what, event, heard]).toEqual([what, event, ['evil']]);
      heard.length = 0;
      // As the loops of BullMQ do it.
      emitter.emit(event, 'the service says');
      expect(heard.map(String).toSorted()).toEqual(['acme', 'evil', 'evil2', 'service']);
    }
  }
});

it('an error that a tenant emits is heard by the service, and shown to no other tenant', async () => {
  const error = Object.assign(new Error('FORGED BY EVIL'), { [Symbol.for('tenantkit.error')]: true });
  for (const [what, emitter] of await emitters()) {
    const heard: unknown[] = [];
    emitter.on('error', ({ message }: Error) => heard.push(['service', message]));
    for (const id of ['acme', 'evil'])
      withTenant(id, () => emitter.on('error', ({ message }: Error) => heard.push([id, message])));
    withTenant('evil', () => emitter.emit('error', error));
    expect([what, ...heard.map(String).toSorted()]).toEqual([
      what,
      'evil,FORGED BY EVIL',
      'service,FORGED BY EVIL',
    ]);
  }
});

it('a tenant sees and counts its own listeners only, and does not say how many there may be', async () => {
  for (const [what, emitter] of await emitters()) {
    const most = emitter.getMaxListeners();
    emitter.on('error', () => undefined);
    const own = (): void => undefined;
    withTenant('acme', () => emitter.on('completed', own));
    expect([what, withTenant('acme', () => seen(emitter, own))]).toEqual([what, [['completed'], 1, 1, 0]]);
    expect([what, withTenant('evil', () => seen(emitter, own))]).toEqual([what, [[], 0, 0, 0]]);
    expect(seen(emitter, own)[3]).toBe(1);
    withTenant('evil', () => emitter.setMaxListeners(0));
    expect(emitter.getMaxListeners()).toBe(most);
    emitter.setMaxListeners(most + 1);
    expect(emitter.getMaxListeners()).toBe(most + 1);
  }
});

function seen(emitter: NodeJS.EventEmitter, own: () => void): readonly unknown[] {
  return [
    emitter.eventNames(),
    emitter.listenerCount('completed'),
    emitter.listenerCount('completed', own),
    emitter.listenerCount('error'),
  ];
}
