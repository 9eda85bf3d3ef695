import { createIORedisClient } from 'bullmq';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { addNoted } from '../../src/lanes/fused.ts';
import { CountingRedis, bench, finished, type Bench } from '../support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

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
    const keys = { ready: 'ready', wake: 'wake', lanes: 'lanes' };
    expect(await addNoted(client, name, ['key', 'argument'], { keys, tenant: 'acme' })).toBe(answer);
    expect(await on.redis.zrange('ready', 0, '-1')).toEqual(ready);
    expect(await on.redis.zrange('lanes', 0, '-1')).toEqual(ready);
    expect(await on.redis.exists('wake')).toBe(ready.length);
  });

  it('is given its own keys and arguments first', async () => {
    const client = createIORedisClient(on.redis);
    const lua = 'return { KEYS[1], KEYS[2], ARGV[1], #KEYS, #ARGV }';
    client.defineCommand('test:own', { numberOfKeys: 2, lua });
    const note = { keys: { ready: 'ready', wake: 'wake', lanes: 'lanes' }, tenant: 'acme' };
    expect(await addNoted(client, 'test:own', ['k1', 'k2', 'a1'], note)).toEqual(['k1', 'k2', 'a1', 5, 3]);
  });

  it('that nobody has defined is not sent', () => {
    const note = { keys: { ready: 'ready', wake: 'wake', lanes: 'lanes' }, tenant: 'acme' };
    expect(addNoted(createIORedisClient(on.redis), 'test:none', [], note)).toBeUndefined();
  });
});
