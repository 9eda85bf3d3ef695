import { once } from 'node:events';
import {
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import type { FreshRedis } from '@tenantkit/testing';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  QueueEvents,
  QueueEventsProducer,
  type QueueEventsOptions,
  type QueueTenantOptions,
} from '@tenantkit/queue';
import { feedOf } from '../src/events/feed.ts';
import { eventBench, recorder, type EventBench } from './events-support.ts';
import { POOL, placed, type Place, type Placed } from './place-support.ts';
import { proxyTo } from './proxy.ts';
import { KEY, OPERATOR } from './support.ts';

let of: Placed<EventBench>;
let on: EventBench;
let silo: FreshRedis;
let there: Redis;
beforeAll(async () => {
  of = await placed(eventBench);
  ({ on, silo, there } = of);
});
afterEach(() => of.reset());
afterAll(() => of[Symbol.asyncDispose]());

/** Only this tenant is elsewhere. */
const big: Place = (id) => of.big(id);
const options = (place: Place, more: Partial<QueueTenantOptions> = {}): { tenant: QueueTenantOptions } => ({
  tenant: { signingKeys: [KEY], place, ...more },
});
const eventsIn = (place: Place, more: Partial<QueueEventsOptions> = {}): QueueEvents =>
  on.events('mail', { ...options(place), ...more });
const BOTH = ['big', 'acme'] as const;

const inOrder = (all: readonly unknown[][]): unknown[][] =>
  all.toSorted((one, other) => String(one).localeCompare(String(other)));

/** Writes an entry into the stream of a tenant, and registers the lane, as anybody could who can write to that Redis. */
async function forge(redis: Redis, tenant: string): Promise<void> {
  await redis.zadd('bull:mail~:lanes', Date.now(), tenant);
  await redis.xadd(
    `bull:mail~${tenant}:events`,
    '*',
    'event',
    'completed',
    'jobId',
    `${tenant}~x`,
    'returnvalue',
    '1',
  );
}

/** A worker that is started when everything is ready. */
async function runAll(place: Place): Promise<void> {
  await on.worker('mail', async () => currentTenant()?.tenant, options(place)).waitUntilReady();
}

describe('a QueueEvents with places', () => {
  it('hears every tenant where it is', async () => {
    const events = eventsIn(big);
    const queue = on.queue('mail', options(big));
    const heard = recorder();
    for (const id of BOTH) {
      await withTenant(id, async () => {
        events.on('completed', ({ jobId, returnvalue }) =>
          heard.listener(id, currentTenant()?.tenant, jobId, returnvalue),
        );
        await events.waitUntilReady();
        await queue.add('n', {}, { jobId: 'one' });
      });
    }
    await runAll(big);
    expect(inOrder(await heard.until(2))).toEqual([
      ['acme', 'acme', 'one', 'acme'],
      ['big', 'big', 'one', 'big'],
    ]);
  });

  it('lets a job be waited for in either', async () => {
    const events = eventsIn(big);
    const queue = on.queue('mail', options(big));
    await runAll(big);
    for (const id of BOTH) {
      await withTenant(id, async () => {
        const job = await queue.add('n', {});
        expect(await job.waitUntilFinished(events, 10_000)).toBe(id);
        // One that has ended before anybody listened.
        expect(await job.waitUntilFinished(events, 10_000)).toBe(id);
      });
    }
  });

  it('tells an operator of all places, also of those that come later', async () => {
    const events = eventsIn(big);
    const queue = on.queue('mail', options(big));
    const heard = recorder();
    acrossTenants(OPERATOR, () =>
      events.on('completed', ({ jobId }) => heard.listener(currentTenant()?.tenant, jobId)),
    );
    await acrossTenants(OPERATOR, () => events.waitUntilReady());
    await runAll(big);
    for (const id of BOTH) await withTenant(id, () => queue.add('n', {}, { jobId: 'one' }));
    expect(inOrder(await heard.until(2))).toEqual([
      ['acme', 'one'],
      ['big', 'one'],
    ]);
  });

  it('hears own events in the silo', async () => {
    const events = eventsIn(big);
    const producer = new QueueEventsProducer('mail', { connection: on.redis, ...options(big) });
    const heard = recorder();
    await withTenant('big', async () => {
      events.on('bounced' as 'completed', heard.listener);
      await events.waitUntilReady();
      await producer.publishEvent({ eventName: 'bounced', address: 'ada@example.com' });
    });
    expect((await heard.until(1))[0]?.[0]).toEqual({ address: 'ada@example.com' });
    expect(await on.redis.exists('bull:mail~big:events')).toBe(0);
    await producer.close();
  });

  it('believes nobody in one place who speaks of a tenant of another', async () => {
    const events = eventsIn(big);
    const heard = recorder();
    for (const id of BOTH)
      await withTenant(id, async () => {
        events.on('completed', () => heard.listener('tenant', id));
        await events.waitUntilReady();
      });
    await acrossTenants(OPERATOR, async () => {
      events.on('completed', () => heard.listener('operator', currentTenant()?.tenant));
      await on.redis.zadd('bull:mail~:placed', Date.now(), 'big');
      await events.waitUntilReady();
    });
    await forge(there, 'acme');
    await forge(on.redis, 'big');
    // Heard by nobody before those that come after them in the same two places, and in lanes that are found later.
    await forge(there, 'acme2');
    await forge(there, 'big');
    await forge(on.redis, 'acme');
    await forge(on.redis, 'acme3');
    expect(inOrder(await heard.until(5))).toEqual([
      ['operator', 'acme'],
      ['operator', 'acme3'],
      ['operator', 'big'],
      ['tenant', 'acme'],
      ['tenant', 'big'],
    ]);
  });

  it('refuses to listen where nobody knows where the tenant is, and goes on for others', async () => {
    let fails = true;
    const place: Place = (tenant) => {
      if (tenant === 'big' && fails) throw new Error('not loaded: secret.internal');
      return big(tenant);
    };
    const events = eventsIn(place);
    const queue = on.queue('mail', options(big));
    const errors = recorder();
    events.on('error', errors.listener);
    await withTenant('big', async () => {
      const job = await queue.add('n', {}, { jobId: 'one' });
      const refused = await job.waitUntilFinished(events).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(OperationRefusedError);
      expect(String(refused)).not.toContain('secret.internal');
      expect(() => events.on('completed', () => undefined)).toThrow(OperationRefusedError);
      expect(events.listenerCount('completed')).toBe(0);
    });
    expect(errors.heard[0]?.[0]).toMatchObject({ code: 'CONFIG_INVALID' });
    await runAll(big);
    await withTenant('acme', async () => {
      const job = await queue.add('n', {});
      expect(await job.waitUntilFinished(events, 10_000)).toBe('acme');
    });
    fails = false;
    await withTenant('big', async () => {
      const job = await queue.getJob('one');
      expect(await job?.waitUntilFinished(events, 10_000)).toBe('big');
    });
  });

  it('follows a tenant that moves, and still hears what is run where it was', async () => {
    const fence = await createTenantRegistry({
      store: memoryTenantStore(),
      refreshEvery: 20,
      maxStaleness: 1_000,
    });
    let isMoved = false;
    const place: Place = (tenant) => (isMoved ? big(tenant) : POOL);
    const events = on.events('mail', { ...options(place, { fence }), blockingTimeout: 500 });
    const queue = on.queue('mail', options(place, { fence }));
    const heard = recorder();
    try {
      await withTenant('big', async () => {
        events.on('waiting', ({ jobId }) => heard.listener(jobId));
        await events.waitUntilReady();
        await queue.add('n', {}, { jobId: 'before' });
      });
      expect(await heard.until(1)).toEqual([['before']]);
      await fence.freeze('big');
      isMoved = true;
      // The events of the silo are read: what the client that waits there says.
      await expect.poll(() => waiting(), { timeout: 5_000 }).toBe(1);
      await fence.unfreeze('big');
      await withTenant('big', () => queue.add('n', {}, { jobId: 'after' }));
      expect(await heard.until(2)).toEqual([['before'], ['after']]);
      await forge(on.redis, 'big');
      withTenant('big', () => events.on('completed', () => heard.listener('old place')));
      await forge(on.redis, 'big');
      expect((await heard.until(3)).at(-1)).toEqual(['old place']);
      withTenant('big', () => events.removeAllListeners());
      await expect
        .poll(() => feedOf(events)?.readers.seats.map(({ reader }) => reader.tenants), { timeout: 5_000 })
        .toEqual([[], []]);
    } finally {
      fence.close();
    }
  });

  it('is ready for an operator when every silo is read in which somebody is', async () => {
    await on.redis.zadd('bull:mail~:placed', Date.now(), 'big');
    const events = eventsIn(big);
    const heard = recorder();
    await acrossTenants(OPERATOR, async () => {
      events.on('completed', ({ jobId }) => heard.listener(currentTenant()?.tenant, jobId));
      await events.waitUntilReady();
    });
    await forge(there, 'big');
    expect(await heard.until(1)).toEqual([['big', 'x']]);
  });

  it('says to the service that a silo has gone, and still hears the pool', async () => {
    const { port, pathname } = new URL(silo.url);
    await using gone = new AsyncDisposableStack();
    const proxy = gone.use(await proxyTo(Number(port)));
    const connection = { url: `redis://127.0.0.1:${proxy.port}${pathname}` };
    const events = eventsIn((id) => (id === 'big' ? { level: 'silo', connection } : POOL));
    const [errors, heard] = [recorder(), recorder()];
    events.on('error', errors.listener);
    await withTenant('big', async () => {
      events.on('completed', () => undefined);
      await events.waitUntilReady();
    });
    await gone.disposeAsync();
    expect(String((await errors.until(1))[0]?.[0])).toContain('ECONN');
    await withTenant('acme', async () => {
      events.on('completed', ({ jobId }) => heard.listener(jobId));
      await events.waitUntilReady();
    });
    await forge(on.redis, 'acme');
    expect(await heard.until(1)).toEqual([['x']]);
  });

  it('ends what it reads in silos, too', async () => {
    const events = eventsIn(big, { autorun: false });
    const running = events.run();
    await withTenant('big', async () => {
      events.on('completed', () => undefined);
      await events.waitUntilReady();
    });
    await expect.poll(() => waiting()).toBe(1);
    await events.close();
    await running;
  });

  it('ends its own connections, and leaves a client that was given', async () => {
    const before = await clients();
    const own = eventsIn(big);
    const given = eventsIn((id) => (id === 'big' ? { level: 'silo', connection: there } : POOL));
    await withTenant('big', async () => {
      for (const events of [own, given]) {
        events.on('completed', () => undefined);
        await events.waitUntilReady();
      }
    });
    expect(await clients()).toBe(before + 3);
    const closed = once(own, 'ioredis:close');
    await own.disconnect();
    await closed;
    await own.close();
    await given.close();
    await expect.poll(() => clients()).toBe(before);
    expect(there.status).toBe('ready');
  });
});

/** How many clients of the silo there are besides the observer, as its server says. */
async function clients(of: (line: string) => boolean = () => true): Promise<number> {
  const lines = String(await there.call('CLIENT', 'LIST')).split('\n');
  return lines.filter(
    (line) => line.includes(`db=${there.options.db} `) && !line.includes('cmd=client') && of(line),
  ).length;
}
const waiting = (): Promise<number> => clients((line) => line.includes('cmd=xread'));
