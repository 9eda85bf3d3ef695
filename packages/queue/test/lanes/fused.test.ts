import { once } from 'node:events';
import { createIORedisClient } from 'bullmq';
import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Taker, addNoted } from '../../src/lanes/fused.ts';
import { laneKeys } from '../../src/lanes/names.ts';
import { CountingRedis, KEY, bench, finished, type Bench } from '../support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const NOTE = { keys: { ready: 'ready', wake: 'wake', lanes: 'lanes' }, tenant: 'acme' };
const never = (): never => {
  throw new Error('never');
};
const ADDED = { plain: {}, delayed: { delay: 3_600_000 }, prioritized: { priority: 1 } };

describe('a job that is added', () => {
  it.each(Object.entries(ADDED))('%s: is noted in the same command', async (_kind, options) => {
    const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const queue = on.queue('mail', { connection });
    // The first one registers the lane.
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one', ...options }));
    await on.redis.del('bull:mail~:ready', 'bull:mail~:wake');
    const before = connection.sent;
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'two', ...options }));
    expect(connection.sent).toBe(before + 1);
    expect(await on.redis.zrange('bull:mail~:ready', 0, '-1', 'WITHSCORES')).toEqual(['acme', '0']);
    expect(await on.redis.zrange('bull:mail~:wake', 0, '-1', 'WITHSCORES')).toEqual(['0', '0']);
    await queue.close();
    connection.disconnect();
  });

  it('keeps the place that its tenant has in the line', async () => {
    const queue = on.queue('mail');
    await on.redis.zadd('bull:mail~:ready', 7.5, 'acme');
    await withTenant('acme', () => queue.add('n', {}));
    expect(await on.redis.zrange('bull:mail~:ready', 0, '-1', 'WITHSCORES')).toEqual(['acme', '7.5']);
  });

  it('is noted behind, and runs, where the text of BullMQ’s script is not at hand', async () => {
    const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const queue = on.queue('mail', { connection });
    await queue.waitUntilReady();
    const scripts: Record<string, unknown> = connection.scriptsSet;
    const added = Object.keys(scripts).filter((name) => name.startsWith('addStandardJob:'));
    expect(added).toHaveLength(1);
    for (const name of added) delete scripts[name];
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    const before = connection.sent;
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'two' }));
    expect(connection.sent).toBe(before + 2);
    const ran = finished(
      on.worker('mail', (job) => Promise.resolve(job.id)),
      2,
    );
    expect((await ran).map(({ id }) => id)).toEqual(['one', 'two']);
    await queue.close();
    connection.disconnect();
  });
});

describe('a script that adds', () => {
  it.each([
    ['answers an id', 'return "acme~7"', 'acme~7', ['acme']],
    ['answers a number that is no refusal', 'return 0', 0, ['acme']],
    ['refuses', 'return -5', -5, []],
  ])('%s', async (_what, lua, answer, ready) => {
    const client = createIORedisClient(on.redis);
    const name = `test:${answer}`;
    client.defineCommand(name, { numberOfKeys: 1, lua });
    expect(await addNoted(client, name, ['key', 'argument'], NOTE, never)).toBe(answer);
    expect(await on.redis.zrange('ready', 0, '-1')).toEqual(ready);
    expect(await on.redis.zrange('lanes', 0, '-1')).toEqual(ready);
    expect(await on.redis.exists('wake')).toBe(ready.length);
  });

  it('is given its own keys and arguments first', async () => {
    const client = createIORedisClient(on.redis);
    const lua = 'return { KEYS[1], KEYS[2], ARGV[1], #KEYS, #ARGV }';
    client.defineCommand('test:own', { numberOfKeys: 2, lua });
    const reply = await addNoted(client, 'test:own', ['k1', 'k2', 'a1'], NOTE, never);
    expect(reply).toEqual(['k1', 'k2', 'a1', 5, 3]);
  });

  it('is sent as it is where nobody has defined it, or it cannot be a function', async () => {
    const client = createIORedisClient(on.redis);
    client.defineCommand('test:odd', { numberOfKeys: 0, lua: 'return 1 end' });
    for (const name of ['test:none', 'test:odd', 'test:odd'])
      expect(await addNoted(client, name, [], NOTE, () => 'plain'), name).toBe('plain');
  });

  it('is not sent again when it fails', async () => {
    const client = createIORedisClient(on.redis);
    client.defineCommand('test:fails', { numberOfKeys: 0, lua: 'return redis.call("LPUSH", "ready")' });
    await expect(async () => addNoted(client, 'test:fails', [], NOTE, never)).rejects.toThrow(
      /LPUSH|number of arg/,
    );
  });
});

describe('a worker that was woken', () => {
  const ASLEEP = { drainDelay: 600 } as const;

  it('takes a job with the turn, and knows when there was no other one', async () => {
    const queue = on.queue('mail');
    const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const worker = on.worker('mail', (job) => Promise.resolve(job.id), {
      connection,
      ...ASLEEP,
      autorun: false,
    });
    const first = once(worker, 'drained');
    void worker.run();
    await first;
    for (const jobId of ['one', 'two', 'three']) {
      const drained = once(worker, 'drained');
      const completed = once(worker, 'completed');
      const before = connection.sent;
      await withTenant('acme', () => queue.add('n', {}, { jobId }));
      expect((await completed)[1]).toBe(jobId);
      await drained;
      // One takes it, one ends it. On a machine that is slow, one more looks for others.
      expect(connection.sent - before).toBeLessThanOrEqual(3);
      expect(await on.redis.exists('bull:mail~:ready', 'bull:mail~:wake')).toBe(0);
    }
    await worker.close();
    connection.disconnect();
  });

  it('picks first where a fence is asked between the turn and the job', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const tenant = { signingKeys: [KEY], fence };
    const queue = on.queue('mail');
    const connection = new CountingRedis(on.url, { maxRetriesPerRequest: null });
    const worker = on.worker('mail', (job) => Promise.resolve(job.id), {
      connection,
      tenant,
      ...ASLEEP,
      autorun: false,
    });
    const first = once(worker, 'drained');
    void worker.run();
    await first;
    const drained = once(worker, 'drained');
    const before = connection.sent;
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await drained;
    expect(connection.sent - before).toBeGreaterThanOrEqual(4);
    await worker.close();
    connection.disconnect();
    fence.close();
  });

  const locked = { connection: {}, lockDuration: 30_000 };
  const taker = new Taker(laneKeys('bull', 'mail'), 'bull', locked);
  const take = (slot: string): Promise<unknown> =>
    taker.take(createIORedisClient(on.redis), Date.now(), 1, slot, undefined);

  it('wakes the next one also when BullMQ’s script fails', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => queue.add('n', {}));
    await on.redis.set('bull:mail~acme:events', 'no stream');
    await on.redis.del('bull:mail~:wake');
    const [turns, ready, , , , failure] = (await take('slot')) as unknown[];
    expect([turns, ready]).toEqual([['acme'], 2]);
    expect(failure).toBeInstanceOf(Error);
    expect(await on.redis.exists('bull:mail~:wake')).toBe(1);
  });

  it('runs the jobs of others beside a lane in which BullMQ’s script fails', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    await withTenant('acme2', () => queue.add('n', {}, { jobId: 'two' }));
    await on.redis.set('bull:mail~acme:events', 'no stream');
    const worker = on.worker('mail', (job) => Promise.resolve(job.id), { ...ASLEEP, autorun: false });
    const errors: string[] = [];
    worker.on('error', ({ message }) => errors.push(message));
    const ran = finished(worker, 1);
    void worker.run();
    expect((await ran).map(({ id }) => id)).toEqual(['two']);
    expect(errors).not.toEqual([]);
    expect(errors.filter((message) => !message.includes('WRONGTYPE'))).toEqual([]);
  });

  it('lets nobody come anew with single jobs before others have had their turn', async () => {
    const queue = on.queue('mail');
    const add = (tenant: string): Promise<unknown> => withTenant(tenant, () => queue.add('n', {}));
    for (let n = 0; n < 20; n += 1) await add('acme');
    await add('aa');
    const taken: unknown[] = [];
    for (let n = 0; n < 20; n += 1) {
      const reply = await take(`slot-${n}`);
      const [[tenant], ready, , , , job] = reply as [string[], number, 0, [], [], [string[], string]];
      taken.push(tenant);
      expect(ready).toBe(2);
      expect(job[1].startsWith(`${tenant}~`)).toBe(true);
      // Its only job has just been taken.
      if (tenant === 'aa') await add('aa');
    }
    expect(taken.filter((tenant) => tenant === 'acme')).toHaveLength(10);
  });
});
