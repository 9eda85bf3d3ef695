import { EventEmitter, once } from 'node:events';
import { inspect } from 'node:util';
import * as bullmq from 'bullmq';
import { Redis } from 'ioredis';
import { acrossTenants, currentScope, currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { QueueEvents } from '@tenantkit/queue';
import { eventBench, recorder, type EventBench } from './events-support.ts';
import { KEY, OPERATOR } from './support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const refused = { code: 'OPERATION_REFUSED' };
const missing = { code: 'TENANT_MISSING' };

describe('ways around', () => {
  it('registers nothing past the guards', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const past = recorder();
    const mine = recorder();
    await withTenant('evil', async () => {
      for (const name of ['on', 'addListener', 'once', 'prependListener'] as const)
        Reflect.apply(EventEmitter.prototype[name], events, ['added', past.listener]);
      Reflect.apply(Reflect.get(bullmq.QueueEvents.prototype, 'on'), events, ['added', mine.listener]);
      events.on('added', mine.listener);
      await events.waitUntilReady();
    });
    await withTenant('acme', () => queue.add('a', {}, { jobId: 'theirs' }));
    await withTenant('evil', () => queue.add('a', {}, { jobId: 'mine' }));
    const own = [{ jobId: 'mine', name: 'a' }, expect.any(String)];
    expect(await mine.until(1)).toEqual([own]);
    // Node's `once` calls the guarded `on`; the others stand where nothing is emitted.
    expect(past.heard).toEqual([own]);
  });

  it('reads nothing through BullMQ’s own loop, or the backend', async () => {
    const events = on.events('mail', { autorun: false });
    const { backend } = events;
    expect(backend).toBe(events.getBackend());
    await withTenant('evil', async () => {
      await expect(backend.readEvents('0', 10)).rejects.toMatchObject(refused);
      await expect(backend.moveToActive('t', 'w')).rejects.toMatchObject(refused);
      expect(() => backend.client).toThrow(expect.objectContaining(refused));
      expect(() => backend.blockingClient).toThrow(expect.objectContaining(refused));
      const running: unknown = Reflect.apply(Reflect.get(bullmq.QueueEvents.prototype, 'run'), events, []);
      await expect(running).rejects.toMatchObject(refused);
      await expect(backend.publishEvent({ event: 'completed', jobId: 'acme~1' }, 1)).rejects.toMatchObject(
        refused,
      );
      // It is the service's to run and to end.
      await expect(events.run()).rejects.toMatchObject(refused);
      await expect(events.close()).rejects.toMatchObject(refused);
      await expect(events.disconnect()).rejects.toMatchObject(refused);
    });
    await expect(backend.readEvents('0', 10)).rejects.toMatchObject(missing);
    expect(events.closing).toBeUndefined();
    // A tenant runs and ends what it has made itself.
    await withTenant('acme', async () => {
      const own = on.events('mail', { autorun: false });
      const running = own.run();
      await own.close();
      await running;
    });
  });

  it('leads to no store, no client of ours, no secret', async () => {
    const events = on.events('mail');
    const producer = on.producer('mail');
    withTenant('acme', () => events.on('added', () => undefined));
    for (const client of [events, producer]) {
      expect(inspect(client, { depth: 20, showHidden: true, getters: false })).not.toContain(
        String(KEY.secret),
      );
      const found = Object.values(Object.getOwnPropertyDescriptors(client)).filter(
        ({ value }) =>
          value instanceof bullmq.RedisQueueBackend ||
          value instanceof bullmq.RedisConnection ||
          value instanceof Redis,
      );
      expect(found).toEqual([]);
      expect(Object.isFrozen(client.opts)).toBe(true);
      expect(client.opts).not.toHaveProperty('tenant');
      expect(() => Object.assign(client, { name: 'other' })).toThrow(TypeError);
      expect(() => Object.assign(client, { backend: {} })).toThrow(TypeError);
    }
  });

  it('a listener runs in its tenant, in nobody’s name, with no power of the loop', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const scopes = recorder();
    const powers = recorder();
    await withTenant({ tenant: 'acme', subject: 'ada', actor: 'ada' }, async () => {
      events.on('added', async () => {
        scopes.listener(currentScope());
        await Promise.resolve();
        powers.listener(
          currentTenant(),
          await events.backend.readEvents('0', 1).catch((error: { code: string }) => error.code),
          await events.close().catch((error: { code: string }) => error.code),
        );
      });
      await events.waitUntilReady();
      await queue.add('a', {});
    });
    expect(await scopes.until(1)).toEqual([[{ tenant: { tenant: 'acme' }, bypass: undefined }]]);
    expect(await powers.until(1)).toEqual([[{ tenant: 'acme' }, 'OPERATION_REFUSED', 'OPERATION_REFUSED']]);
  });

  it('an operator’s listener has no bypass left in it', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const scopes = recorder();
    await acrossTenants(OPERATOR, async () => {
      events.on('added', () => scopes.listener(currentScope()));
      await events.waitUntilReady();
    });
    await withTenant('acme', () => queue.add('a', {}));
    expect(await scopes.until(1)).toEqual([[{ tenant: { tenant: 'acme' }, bypass: undefined }]]);
  });

  it('what a tenant emits is heard by no other', () => {
    const events = on.events('mail');
    const heard: string[] = [];
    withTenant('acme', () => events.on('paused', () => heard.push('acme')));
    withTenant('globex', () => events.on('paused', () => heard.push('globex')));
    acrossTenants(OPERATOR, () => events.on('paused', () => heard.push('operator')));
    expect(withTenant('acme', () => events.emit('paused', {}, '1-1'))).toBe(true);
    expect(withTenant('evil', () => events.emit('paused', {}, '1-1'))).toBe(false);
    expect(heard).toEqual(['acme']);
  });

  it('shows no tenant what others have registered', () => {
    const events = on.events('mail');
    const theirs = (): void => undefined;
    withTenant('acme', () => events.on('paused', theirs));
    withTenant('evil', () => {
      expect(events.listeners('paused')).toEqual([]);
      expect(events.rawListeners('paused')).toEqual([]);
      expect(events.eventNames()).toEqual([]);
      expect(events.off('paused', theirs).listenerCount('paused')).toBe(0);
    });
    const names: unknown[] = [];
    const onNew = (name: unknown): number => names.push(name);
    withTenant(
      'evil',
      () => Reflect.apply(Reflect.get(events, 'on'), events, ['newListener', onNew]) as unknown,
    );
    withTenant('acme', () => events.on('resumed', theirs));
    expect(names).toEqual([]);
    withTenant('evil', () => events.on('resumed', theirs));
    expect(names).toEqual(['resumed']);
    expect(withTenant('acme', () => events.listeners('paused'))).toEqual([theirs]);
    expect(events.listenerCount('paused')).toBe(1);
  });

  it('answers who waits with once of node:events', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    await withTenant('acme', async () => {
      const next = once(events, 'added');
      await events.waitUntilReady();
      await queue.add('a', {}, { jobId: 'one' });
      expect(await next).toEqual([{ jobId: 'one', name: 'a' }, expect.any(String)]);
      expect(events.eventNames()).toEqual([]);
    });
  });

  it('a stream of a queue whose name looks like a lane is nobody’s', async () => {
    for (const name of ['mail~acme', '', 'a:b'])
      expect(() => new QueueEvents(name, { connection: on.redis, tenant: { signingKeys: [KEY] } })).toThrow(
        expect.objectContaining({ code: 'CONFIG_INVALID' }),
      );
  });

  it('refuses options that it does not know, or cannot use', () => {
    const tenant = { signingKeys: [KEY] };
    for (const options of [
      { telemetry: {} },
      { sharedConnection: true },
      { lastEventId: 'x' },
      { lastEventId: 1 },
      { blockingTimeout: -1 },
      { blockingTimeout: Infinity },
      { tenant: undefined },
      { connection: { keyPrefix: 'x' } },
    ])
      expect(
        () => new QueueEvents('mail', { connection: on.redis, tenant, ...(options as object) }),
        JSON.stringify(options),
      ).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    const events = on.events('mail', { lastEventId: '1-1', blockingTimeout: 50, skipVersionCheck: true });
    expect(events.opts).toMatchObject({ lastEventId: '1-1', blockingTimeout: 50 });
    expect(events).toBeInstanceOf(bullmq.QueueEvents);
    expect(events.name).toBe('mail');
  });
});
