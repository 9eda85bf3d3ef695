import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { acrossTenants, withTenant } from '@tenantkit/core';
import type { QueueEventsListener } from '@tenantkit/queue';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventFields } from '../src/events/entries.ts';
import { feedOf } from '../src/events/feed.ts';
import { eventBench, recorder, type EventBench } from './events-support.ts';
import { OPERATOR } from './support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const read = (events: object): readonly string[] => feedOf(events)?.readers.seats[0]?.reader.tenants ?? [];

/** The connections on which QueueEvents of this queue wait, or those of them that wait right now. */
async function waiting(queue: string, command = ''): Promise<readonly string[]> {
  const name = `name=bull:${Buffer.from(queue).toString('base64')}:qe `;
  const all = String(await on.redis.client('LIST')).split('\n');
  return all
    .filter((line) => line.includes(name) && line.includes(command))
    .map((line) => /id=(\d+)/.exec(line)?.[1] ?? '');
}

const blocked = (queue: string): Promise<readonly string[]> => waiting(queue, ' cmd=xread ');

describe('the table of events', () => {
  it('has every event and field that BullMQ’s scripts write', () => {
    const folder = join(dirname(createRequire(import.meta.url).resolve('bullmq')), 'commands');
    const files = [folder, join(folder, 'includes')].flatMap((at) =>
      readdirSync(at)
        .filter((file) => file.endsWith('.lua') && !file.startsWith('relay'))
        .map((file) => readFileSync(join(at, file), 'utf8')),
    );
    const written = files.flatMap((text) =>
      [...text.matchAll(/"XADD",([^)]*)\)/g)].map(([, call = '']) =>
        call.split(',').map((part) => part.trim()),
      ),
    );
    expect(written.length).toBeGreaterThan(35);
    const names = new Set<string>();
    for (const parts of written) {
      const at = parts.findIndex((part) => part === '"event"');
      const [, event = '', ...rest] = parts.slice(at);
      // pause says its event and moveToFinished its event and its first field in an argument.
      const events = event.startsWith('"')
        ? [event.slice(1, -1)]
        : rest.length > 0
          ? ['completed', 'failed']
          : ['paused', 'resumed'];
      for (const name of events) {
        names.add(name);
        const row: object = Reflect.get(eventFields, name) as object;
        expect(row, name).toBeDefined();
        for (let field = 0; field < rest.length; field += 2) {
          const [said = ''] = /\w+/.exec(rest[field] ?? '') ?? [];
          if (!said.startsWith('ARGV')) expect(Object.keys(row), name).toContain(said);
        }
      }
    }
    expect([...names].toSorted()).toEqual(Object.keys(eventFields).toSorted());
  });
});

describe('reading the lanes', () => {
  it('goes on behind a connection that was lost, without hearing anything twice', async () => {
    const queue = on.queue('lost');
    const events = on.events('lost');
    const heard = recorder();
    await withTenant('acme', async () => {
      events.on('added', ({ jobId }) => heard.listener(jobId));
      await events.waitUntilReady();
      await queue.add('a', {}, { jobId: 'j-1' });
      await heard.until(1);
      for (let round = 2; round <= 6; round += 1) {
        for (const client of await waiting('lost')) await on.redis.client('KILL', 'ID', client);
        await queue.add('a', {}, { jobId: `j-${round}` });
        await heard.until(round);
      }
    });
    expect(heard.heard.flat()).toEqual(['j-1', 'j-2', 'j-3', 'j-4', 'j-5', 'j-6']);
    expect(await waiting('lost')).toHaveLength(1);
    await events.close();
    await expect.poll(() => waiting('lost')).toEqual([]);
  });

  it('hears of a tenant at once whose listener comes while others are waited for', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { blockingTimeout: 60_000 });
    for (let at = 0; at < 20; at += 1) {
      const heard = recorder();
      await withTenant(`t${at}`, async () => {
        events.on('added', heard.listener);
        await events.waitUntilReady();
        await queue.add('a', {}, { jobId: 'one' });
      });
      await heard.until(1);
    }
    expect(read(events)).toHaveLength(20);
  });

  it('hears of a tenant whose listener comes while the next command is being made up', async () => {
    const queue = on.queue('mail');
    for (let round = 0; round < 40; round += 1) {
      const events = on.events('mail', { blockingTimeout: 60_000 });
      await events.waitUntilReady();
      withTenant('first', () => events.on('added', () => undefined));
      // Each time a little later, between the question where the first stream ends and the command that waits.
      const until = performance.now() + round * 0.05;
      do await new Promise((resolve) => setImmediate(resolve));
      while (performance.now() < until);
      const heard = recorder();
      await withTenant('second', async () => {
        events.on('added', heard.listener);
        await events.waitUntilReady();
        await queue.add('a', {});
      });
      expect(await heard.until(1)).toHaveLength(1);
      await events.close();
    }
  });

  it('hears of a new tenant behind a connection that was lost', async () => {
    const queue = on.queue('lost');
    const events = on.events('lost', { blockingTimeout: 60_000 });
    await withTenant('first', async () => {
      events.on('added', () => undefined);
      await events.waitUntilReady();
    });
    await expect.poll(() => blocked('lost')).toHaveLength(1);
    const [before = ''] = await blocked('lost');
    await on.redis.client('KILL', 'ID', before);
    await expect.poll(async () => (await blocked('lost')).filter((id) => id !== before)).toHaveLength(1);
    const heard = recorder();
    await withTenant('second', async () => {
      events.on('added', heard.listener);
      await events.waitUntilReady();
      await queue.add('a', {});
    });
    await heard.until(1);
  });

  it('leaves no lane that is read behind a thousand listeners that came and went', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const listener = (): void => undefined;
    for (let at = 0; at < 1_000; at += 1)
      withTenant(`t${at % 100}`, () => events.on('completed', listener).off('completed', listener));
    await expect.poll(() => read(events), { timeout: 5_000 }).toEqual([]);
    const heard = recorder();
    await withTenant('acme', async () => {
      events.once('added', heard.listener);
      await events.waitUntilReady();
      expect(read(events)).toEqual(['acme']);
      await queue.add('a', {});
      await heard.until(1);
    });
    await expect.poll(() => read(events), { timeout: 5_000 }).toEqual([]);
    expect(withTenant('acme', () => events.listenerCount('added'))).toBe(0);
  });

  it('reads on where one key is no stream, and says so', async () => {
    await on.redis.set('bull:mail~evil:events', 'no stream');
    const queue = on.queue('mail');
    const events = on.events('mail');
    const errors: unknown[] = [];
    const theirs: unknown[] = [];
    events.on('error', (error) => errors.push(error));
    const heard = recorder();
    await withTenant('evil', async () => {
      events.on('added', () => undefined);
      events.on('error', (error) => theirs.push(error));
      await events.waitUntilReady();
    });
    await withTenant('acme', async () => {
      events.on('error', (error) => theirs.push(error));
      events.on('added', heard.listener);
      await events.waitUntilReady();
      await queue.add('a', {});
    });
    await heard.until(1);
    expect(errors).toEqual([expect.objectContaining({ code: 'CONFIG_INVALID' })]);
    expect(theirs).toEqual(errors);
  });

  it('does not let one lane’s many events keep those of another waiting', async () => {
    const many = on.redis.pipeline();
    for (let at = 0; at < 100_000; at += 1)
      many.xadd('bull:mail~flood:events', '*', 'event', 'waiting', 'jobId', 'flood~1');
    many.xadd('bull:mail~quiet:events', '*', 'event', 'waiting', 'jobId', 'quiet~1');
    await many.exec();
    const events = on.events('mail', { lastEventId: '0', autorun: false });
    let before = 0;
    const quiet = recorder();
    withTenant('flood', () => events.on('waiting', () => (before += 1)));
    withTenant('quiet', () => events.on('waiting', () => quiet.listener(before)));
    const running = events.run();
    const [[first] = []] = await quiet.until(1);
    expect(Number(first)).toBeLessThanOrEqual(100);
    await expect.poll(() => before, { timeout: 20_000 }).toBe(100_000);
    await events.close();
    await running;
  });

  it('begins where it is told to, once', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () =>
      queue.addBulk(['j-1', 'j-2'].map((jobId) => ({ name: 'a', data: {}, opts: { jobId } }))),
    );
    const all = recorder();
    const events = on.events('mail', { lastEventId: '0' });
    withTenant('acme', () => events.on('added', ({ jobId }, id) => all.listener(jobId, id)));
    const [, [, second] = []] = await all.until(2);
    expect(all.heard.map(([jobId]) => jobId)).toEqual(['j-1', 'j-2']);
    withTenant('acme', () => events.removeAllListeners());
    await expect.poll(() => read(events), { timeout: 5_000 }).toEqual([]);
    const later = recorder();
    await withTenant('acme', async () => {
      events.on('added', ({ jobId }) => later.listener(jobId));
      await events.waitUntilReady();
      await queue.add('a', {}, { jobId: 'j-3' });
    });
    expect(await later.until(1)).toEqual([['j-3']]);
    const rest = recorder();
    const behind = on.events('mail', { lastEventId: String(second) });
    withTenant('acme', () => behind.on('added', ({ jobId }) => rest.listener(jobId)));
    expect(await rest.until(1)).toEqual([['j-3']]);
  });

  it('reads nothing before it is run, and runs once', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail', { autorun: false });
    const heard = recorder();
    await withTenant('acme', async () => {
      events.on('added', ({ jobId }) => heard.listener(jobId));
      await events.waitUntilReady();
      await queue.add('a', {}, { jobId: 'j-1' });
    });
    expect(heard.heard).toEqual([]);
    const running = events.run();
    expect(await heard.until(1)).toEqual([['j-1']]);
    await expect(events.run()).rejects.toThrow('Queue Events is already running.');
    await events.close();
    await running;
  });

  it('reads very many lanes in turns', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const heard = recorder();
    const tenants = Array.from({ length: 1_200 }, (_, at) => `t${at}`);
    for (const tenant of tenants)
      withTenant(tenant, () => events.on('added', ({ jobId }) => heard.listener(tenant, jobId)));
    await Promise.all(tenants.map((tenant) => withTenant(tenant, () => events.waitUntilReady())));
    for (const tenant of ['t0', 't600', 't1199'])
      await withTenant(tenant, () => queue.add('a', {}, { jobId: tenant }));
    await heard.until(3);
    expect(heard.heard.map(String).toSorted()).toEqual(['t0,t0', 't1199,t1199', 't600,t600']);
    for (const tenant of tenants) withTenant(tenant, () => events.removeAllListeners());
    await expect.poll(() => read(events), { timeout: 5_000 }).toEqual([]);
  });

  it('reads all lanes only as long as an operator listens', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    await withTenant('acme', () => queue.add('a', {}));
    const heard = recorder();
    acrossTenants(OPERATOR, () => events.on('added', heard.listener));
    await acrossTenants(OPERATOR, () => events.waitUntilReady());
    await withTenant('globex', () => queue.add('a', {}));
    await heard.until(1);
    expect(read(events).toSorted()).toEqual(['acme', 'globex']);
    withTenant('acme', () => events.on('added', () => undefined));
    acrossTenants(OPERATOR, () => events.off('added', heard.listener));
    expect(read(events)).toEqual(['acme']);
  });
});

describe('a listener that throws', () => {
  it('ends nothing, and is told to its own tenant and the service', async () => {
    const queue = on.queue('mail');
    const events = on.events('mail');
    const told: [string, string][] = [];
    events.on('error', (error) => told.push(['service', error.message]));
    for (const tenant of ['acme', 'globex'])
      withTenant(tenant, () => events.on('error', (error) => told.push([tenant, error.message])));
    const heard = recorder();
    await withTenant('acme', async () => {
      events.on('added', () => {
        throw new Error('broken');
      });
      events.on('waiting', heard.listener);
      await events.waitUntilReady();
      await queue.add('a', {});
    });
    await heard.until(1);
    expect(told.map(String).toSorted()).toEqual(['acme,broken', 'service,broken']);
  });

  it('hides from a tenant what belongs to no tenant', () => {
    const events = on.events('mail');
    const told: string[] = [];
    events.on('error', (error) => told.push(error.message));
    withTenant('acme', () => events.on('error', (error) => told.push(error.message)));
    events.emit('error', new Error('of the connection'));
    expect(told).toEqual(['of the connection', expect.stringContaining('does not belong to a tenant')]);
  });
});

interface Own extends QueueEventsListener {
  bounced: (args: Record<string, string>, id: string) => void;
}

describe('QueueEventsProducer', () => {
  it('publishes for the listeners of its tenant', async () => {
    const events = on.events('mail');
    const producer = on.producer('mail');
    const mine = recorder();
    const theirs = recorder();
    for (const [tenant, { listener }] of [
      ['acme', mine],
      ['globex', theirs],
    ] as const)
      await withTenant(tenant, async () => {
        events.on<Own>('bounced', listener);
        await events.waitUntilReady();
      });
    await withTenant('globex', () => producer.publishEvent({ eventName: 'bounced', to: 'grace', n: 1 }));
    expect(await theirs.until(1)).toEqual([[{ to: 'grace', n: '1' }, expect.any(String)]]);
    await withTenant('acme', () => producer.publishEvent({ eventName: 'bounced', jobId: 'x' }));
    expect(await mine.until(1)).toEqual([[{ jobId: 'x' }, expect.any(String)]]);
    await expect(producer.publishEvent({ eventName: 'bounced' })).rejects.toMatchObject({
      code: 'TENANT_MISSING',
    });
    await expect(
      acrossTenants(OPERATOR, () => producer.publishEvent({ eventName: 'bounced' })),
    ).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
  });

  it('refuses names that BullMQ emits under, and values that are no text', async () => {
    const producer = on.producer('mail');
    const bad: { eventName: string; [field: string]: unknown }[] = [
      { eventName: 'completed' },
      { eventName: 'completed:one' },
      { eventName: 'failed' },
      { eventName: 'error' },
      { eventName: 'ioredis:close' },
      { eventName: 'tenantkit:custom' },
      { eventName: 'newListener' },
      { eventName: '' },
      { eventName: 'a', event: 'completed' },
      { eventName: 'a', field: {} },
      { eventName: 'a', field: null },
      { eventName: undefined as unknown as string },
    ];
    for (const event of bad)
      await expect(
        withTenant('acme', () => producer.publishEvent(event)),
        JSON.stringify(event),
      ).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
    await expect(
      withTenant('acme', () => producer.publishEvent({ eventName: 'a' }, -1)),
    ).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await on.redis.exists('bull:mail~acme:events')).toBe(0);
    await withTenant('acme', () => producer.publishEvent({ eventName: 'a' }));
    expect(await on.redis.xlen('bull:mail~acme:events')).toBe(1);
  });
});
