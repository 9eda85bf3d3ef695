import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { queueAuditor, queueEraser } from '@tenantkit/queue';
import { KEY, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const STATES = [
  'wait',
  'paused',
  'active',
  'delayed',
  'prioritized',
  'completed',
  'failed',
  'waiting-children',
  'stalled',
  'repeat',
  'events',
] as const;

/** Jobs of a tenant who is attacked and of one beside it, each in two states and with a scheduler. */
async function fill(): Promise<void> {
  const queue = on.queue('mail');
  for (const id of ['evil', 'evil2']) {
    await withTenant(id, async () => {
      await queue.add('n', {}, { jobId: 'one', deduplication: { id: 'd' } });
      await queue.add('n', {}, { jobId: 'late', delay: 60_000 });
      await queue.upsertJobScheduler('s', { every: 60_000 }, { name: 'n' });
    });
  }
}

const keysOf = async (lane: string): Promise<readonly string[]> =>
  (await on.redis.keys(`bull:mail~${lane}:*`)).toSorted();

describe('a key of another type in a lane', () => {
  it.each(STATES.map((state) => [state] as const))('(%s) keeps nobody from being erased', async (state) => {
    await fill();
    const others = await keysOf('evil2');
    await on.redis.del(`bull:mail~evil:${state}`);
    await on.redis.hset(`bull:mail~evil:${state}`, 'x', 1);
    const eraser = queueEraser(on.queue('mail'));
    const scope = { tenant: 'evil' };
    const plan = await eraser.plan(scope);
    expect(plan.items.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThan(5);
    await eraser.erase(scope);
    // The thorough pass takes what the state led to.
    await eraser.erase(scope);
    const { remaining, control } = await eraser.verify(scope);
    expect(remaining.map(({ count }) => count)).toEqual([0, 0, 0]);
    expect(control.found).toBe(control.planted);
    expect(await keysOf('evil')).toEqual([]);
    expect(await keysOf('evil2')).toEqual(others);
  });

  it.each(['string', 'list', 'set', 'zset', 'stream', 'hash'])(
    'that reads like a job (%s) is erased',
    async (type) => {
      await fill();
      const write: Record<string, () => Promise<unknown>> = {
        string: () => on.redis.set('bull:mail~evil:weird', 'x'),
        list: () => on.redis.rpush('bull:mail~evil:weird', 'x'),
        set: () => on.redis.sadd('bull:mail~evil:weird', 'x'),
        zset: () => on.redis.zadd('bull:mail~evil:weird', 1, 'x'),
        stream: () => on.redis.xadd('bull:mail~evil:weird', '*', 'x', 'y'),
        hash: () => on.redis.hset('bull:mail~evil:weird', 'x', 1),
      };
      await write[type]?.();
      const eraser = queueEraser(on.queue('mail'));
      await eraser.plan({ tenant: 'evil' });
      await eraser.erase({ tenant: 'evil' });
      expect(await keysOf('evil')).toEqual([]);
    },
  );

  it.each(['ready', 'due', 'lanes', 'placed'])(
    'of the queue (%s) is named by whoever erases',
    async (key) => {
      await fill();
      const held = await on.redis.type(`bull:mail~:${key}`);
      await on.redis.rename(`bull:mail~:${key}`, 'kept').catch(() => held);
      await on.redis.set(`bull:mail~:${key}`, 'x');
      const eraser = queueEraser(on.queue('mail'));
      const wrong = {
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(`bull:mail~:${key}`) as string,
      };
      await expect(eraser.plan({ tenant: 'evil' })).rejects.toMatchObject(wrong);
      await expect(eraser.erase({ tenant: 'evil' })).rejects.toMatchObject(wrong);
      expect(await on.redis.exists('bull:mail~evil:evil~one')).toBe(1);
      await on.redis.del(`bull:mail~:${key}`);
      await on.redis.rename('kept', `bull:mail~:${key}`).catch(() => held);
      await eraser.erase({ tenant: 'evil' });
      expect(await keysOf('evil')).toEqual([]);
    },
  );
});

describe('an audit', () => {
  const audited = async (options: object = {}): Promise<readonly (readonly unknown[])[]> => {
    const found: unknown[][] = [];
    const auditor = queueAuditor(on.redis, { queues: ['mail', 'other'], signingKeys: [KEY], ...options });
    for await (const { code, name } of auditor.audit()) found.push([code, name]);
    return found;
  };

  it.each(
    STATES.filter((state) => state !== 'stalled' && state !== 'events').map((state) => [state] as const),
  )('says that %s cannot be read, and goes on', async (state) => {
    await fill();
    await withTenant('acme', () => on.queue('other').add('n', {}, { jobId: 'bad' }));
    await on.redis.hset('bull:other~acme:acme~bad', 'data', '{"altered":1}');
    await on.redis.del(`bull:mail~evil:${state}`);
    await on.redis.hset(`bull:mail~evil:${state}`, 'x', 1);
    const found = await audited();
    expect(found).toContainEqual(['unreadable_key', `bull:mail~evil:${state}`]);
    expect(found).toContainEqual(['invalid_signature', 'bull:other~acme:acme~bad']);
  });

  it('does not stop at the children of a parent', async () => {
    await fill();
    await on.redis.zadd('bull:mail~evil:waiting-children', 1, 'evil~one');
    await on.redis.set('bull:mail~evil:evil~one:dependencies', 'x');
    expect(await audited()).toContainEqual(['orphaned_parent', 'bull:mail~evil:evil~one']);
  });

  it.each(['ready', 'due', 'lanes', 'placed'])('names the key of the queue: %s', async (key) => {
    await fill();
    await on.redis.del(`bull:mail~:${key}`);
    await on.redis.set(`bull:mail~:${key}`, 'x');
    const place = (): { readonly level: 'pool' } => ({ level: 'pool' });
    expect(await audited({ place })).toContainEqual(['unreadable_key', `bull:mail~:${key}`]);
  });

  it('names who stands among the tenants of silos, and is none', async () => {
    await fill();
    await on.redis.zadd('bull:mail~:placed', 1, 'nobody');
    await on.redis.hset('bull:mail~evil:evil~one', 'data', '{"altered":1}');
    const place = (tenant: string): { readonly level: 'pool' } => {
      if (tenant === 'nobody') throw new Error('no such tenant');
      return { level: 'pool' };
    };
    expect(await audited({ place })).toEqual([
      ['invalid_signature', 'bull:mail~evil:evil~one'],
      ['unplaced_tenant', 'bull:mail~:placed nobody'],
    ]);
  });
});

describe('a late note of a tenant that was erased', () => {
  it('brings nothing of it back, with default limits either', async () => {
    const tenant = { signingKeys: [KEY], concurrency: 5 };
    const worker = on.worker('mail', async (job) => job.id, { tenant });
    await worker.waitUntilReady();
    await on.redis.zadd('bull:mail~:ready', 0, 'evil');
    await on.redis.zadd('bull:mail~:wake', 0, '0');
    await expect.poll(() => on.redis.zcard('bull:mail~:ready')).toBe(0);
    expect(await keysOf('evil')).toEqual([]);
    await withTenant('evil', () => on.queue('mail').add('n', {}, { jobId: 'one' }));
    await expect.poll(() => on.redis.hget('bull:mail~evil:meta', 'concurrency')).toBe('5');
  });
});
