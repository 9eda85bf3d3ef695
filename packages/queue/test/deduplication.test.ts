import type { DeduplicationOptions } from 'bullmq';
import { IsolationBreachError, OperationRefusedError, acrossTenants, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Queue } from '@tenantkit/queue';
import { audited, bench, finished, type Bench } from './support.ts';

const OPERATOR = { reason: 'test', actor: 'operator' };

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const lane = (tenant: string, key: string): string => `bull:mail~${tenant}:${key}`;

/** Adds a job under the deduplication id `d`, whose data says which one it is. */
async function add(
  queue: Queue,
  tenant: string,
  data: string,
  deduplication: Omit<DeduplicationOptions, 'id'> = {},
  options: { readonly jobId?: string; readonly delay?: number } = {},
): Promise<string | undefined> {
  const opts = { ...options, deduplication: { id: 'd', ...deduplication } };
  return (await withTenant(tenant, () => queue.add('n', data, opts))).id;
}

describe('the modes', () => {
  it('simple: a second job is the first one, in its own tenant only, until that one has finished', async () => {
    const queue = on.queue('mail');
    expect(await add(queue, 'acme', 'first', {}, { jobId: 'one' })).toBe('one');
    expect(await add(queue, 'acme', 'second', {}, { jobId: 'two' })).toBe('one');
    expect(await add(queue, 'acme2', 'theirs', {}, { jobId: 'two' })).toBe('two');
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => ran.push([job.deduplicationId, job.data]), {
      autorun: false,
    });
    const done = finished(worker, 2);
    void worker.run();
    expect((await done).map(({ event }) => event)).toEqual(['completed', 'completed']);
    expect(ran).toEqual(
      expect.arrayContaining([
        ['d', 'first'],
        ['d', 'theirs'],
      ]),
    );
    expect(await on.redis.keys('*:de:*')).toEqual([]);
    expect(await add(queue, 'acme', 'third', {}, { jobId: 'three' })).toBe('three');
  });

  it('ttl and extend: the key lives for that long, in the lane of the tenant', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', { ttl: 60_000 }, { jobId: 'one' });
    await on.redis.pexpire(lane('acme', 'de:d'), 5_000);
    expect(await add(queue, 'acme', 'second', { ttl: 60_000 })).toBe('one');
    expect(await on.redis.pttl(lane('acme', 'de:d'))).toBeLessThanOrEqual(5_000);
    expect(await add(queue, 'acme', 'third', { ttl: 60_000, extend: true })).toBe('one');
    expect(await on.redis.pttl(lane('acme', 'de:d'))).toBeGreaterThan(5_000);
    expect(await on.redis.keys('*de:*')).toEqual([lane('acme', 'de:d')]);
  });

  it('replace: a delayed job makes room for the next one, which runs as its own', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      expect(await add(queue, tenant, 'first', { replace: true }, { jobId: 'one', delay: 60_000 })).toBe(
        'one',
      );
    expect(await add(queue, 'acme', 'last', { replace: true }, { jobId: 'two', delay: 1 })).toBe('two');
    expect(await on.redis.exists(lane('acme', 'acme~one'), lane('acme2', 'acme2~one'))).toBe(1);
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => ran.push([job.id, job.data]), { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed', id: 'two' }]);
    expect(ran).toEqual([['two', 'last']]);
  });

  it('reschedule: the job that is there gets the delay of the new one, and still verifies', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', {}, { jobId: 'one', delay: 60_000 });
    expect(await add(queue, 'acme', 'second', { reschedule: true }, { delay: 1 })).toBe('one');
    const worker = on.worker('mail', async (job) => job.data, { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed', id: 'one', result: 'first' }]);
  });

  it('addBulk answers the ids of the jobs that are there', async () => {
    const queue = on.queue('mail');
    const bulk = (data: string, id: string, jobId: string) => ({
      name: 'n',
      data,
      opts: { jobId, deduplication: { id } },
    });
    const jobs = await withTenant('acme', () =>
      queue.addBulk([bulk('a', 'd', 'one'), bulk('b', 'd', 'two'), bulk('c', 'other', 'three')]),
    );
    expect(jobs.map(({ id }) => id)).toEqual(['one', 'one', 'three']);
    expect(await on.redis.llen(lane('acme', 'wait'))).toBe(2);
  });

  it('the options of the queue may deduplicate', async () => {
    const queue = on.queue('mail', { defaultJobOptions: { deduplication: { id: 'all' } } as object });
    const ids = await withTenant('acme', async () => [
      (await queue.add('n', 1)).id,
      (await queue.add('n', 2)).id,
    ]);
    expect(ids[0]).toBe(ids[1]);
  });
});

/** Keeps the processor of the first job open, while others are added. */
async function whileActive<T>(tenant: string, act: (queue: Queue) => Promise<T>): Promise<unknown[]> {
  const queue = on.queue('mail');
  await add(queue, tenant, 'first', { keepLastIfActive: true }, { jobId: 'first' });
  const ran: unknown[] = [];
  const [active, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const worker = on.worker(
    'mail',
    async (job) => {
      ran.push([job.id, job.data]);
      if (job.id !== 'first') return;
      active.resolve();
      await release.promise;
    },
    { autorun: false },
  );
  const done = finished(worker, 2);
  void worker.run();
  await active.promise;
  await act(queue);
  release.resolve();
  const outcomes = await done;
  return [ran, outcomes.map(({ id, error }) => id ?? (error as { reason?: string } | undefined)?.reason)];
}

describe('keepLastIfActive', () => {
  it('the last of the duplicates runs when the job has finished, under its own id and header', async () => {
    const [ran, outcomes] = await whileActive('acme', async (queue) => {
      for (const data of ['second', 'third'])
        expect(await add(queue, 'acme', data, { keepLastIfActive: true }, { jobId: data })).toBe('first');
      expect(await on.redis.hget(lane('acme', 'dn:d'), 'jid')).toBe('acme~third');
      // Another tenant's job of the same id does not wait, and keeps nothing.
      expect(
        await add(queue, 'acme2', 'theirs', { keepLastIfActive: true }, { jobId: 'x', delay: 9e6 }),
      ).toBe('x');
    });
    expect(ran).toEqual([
      ['first', 'first'],
      ['third', 'third'],
    ]);
    expect(outcomes).toEqual(['first', 'third']);
    expect(await on.redis.keys('*:dn:*')).toEqual([]);
    expect(await on.redis.keys('*:de:*')).toEqual([lane('acme2', 'de:d')]);
  });

  const stored = async (): Promise<Record<string, unknown>> =>
    JSON.parse((await on.redis.hget(lane('acme', 'dn:d'), 'opts')) ?? '') as Record<string, unknown>;
  const set = (field: string, value: string): Promise<number> =>
    on.redis.hset(lane('acme', 'dn:d'), field, value);
  const edits: Readonly<Record<string, () => Promise<unknown>>> = {
    name: () => set('name', 'other'),
    data: () => set('data', '"forged"'),
    'the id': () => set('jid', 'acme~other'),
    'the id removed': () => on.redis.hdel(lane('acme', 'dn:d'), 'jid'),
    'an id of another tenant': () => set('jid', 'acme2~third'),
    options: async () => set('opts', JSON.stringify({ ...(await stored()), attempts: 9 })),
    'the header removed': async () => {
      const { 'tk!': _, ...rest } = await stored();
      await set('opts', JSON.stringify(rest));
    },
    'the deduplication id': async () =>
      set('opts', JSON.stringify({ ...(await stored()), de: { id: 'e', keepLastIfActive: true } })),
    'a scheduler': () => set('rjk', 's'),
    'a parent': async () => {
      await set('pk', lane('acme2', 'acme2~p'));
      await set('pd', JSON.stringify({ id: 'acme2~p', queueKey: 'bull:mail~acme2' }));
    },
  };
  it.each(Object.entries(edits))('%s edited in Redis: what was kept does not run', async (name, edit) => {
    const [ran, outcomes] = await whileActive('acme', async (queue) => {
      await add(queue, 'acme', 'third', { keepLastIfActive: true }, { jobId: 'third' });
      await edit();
    });
    expect(ran).toEqual([['first', 'first']]);
    expect(outcomes).toEqual(['first', name === 'the header removed' ? 'missing' : 'mismatch']);
  });

  it('options that are no JSON stop that one job, and nobody else', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', { keepLastIfActive: true }, { jobId: 'first' });
    const active = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    const worker = on.worker(
      'mail',
      async (job) => {
        if (job.id !== 'first') return;
        active.resolve();
        await release.promise;
      },
      { autorun: false, concurrency: 2 },
    );
    const errors: Error[] = [];
    worker.on('error', (error) => errors.push(error));
    const done = finished(worker, 2);
    void worker.run();
    await active.promise;
    await add(queue, 'acme', 'third', { keepLastIfActive: true }, { jobId: 'third' });
    await set('opts', '{');
    release.resolve();
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'x' }));
    expect((await done).map(({ id }) => id)).toEqual(['x', 'x']);
    expect(errors.length).toBeGreaterThan(0);
    expect(await on.redis.exists(lane('acme', 'acme~third'))).toBe(0);
  });
});

describe('a deduplication id', () => {
  const good = [
    'repeat',
    '0',
    '42',
    'a:b::c:1 2',
    'de',
    '~',
    'acme2~d',
    ' ',
    '*',
    'ü\u0000',
    'x'.repeat(5_000),
  ];
  it.each(good.map((id) => [id.slice(0, 12), id]))('%j: any text is one', async (_name, id) => {
    const queue = on.queue('mail');
    const opts = { deduplication: { id } };
    await withTenant('acme', async () => {
      const first = await queue.add('n', 1, opts);
      expect((await queue.add('n', 2, opts)).id).toBe(first.id);
      expect(await queue.getDeduplicationJobId(id)).toBe(first.id);
      expect((await queue.getJob(first.id ?? ''))?.deduplicationId).toBe(id);
    });
    expect(await withTenant('acme2', () => queue.getDeduplicationJobId(id))).toBeNull();
    const worker = on.worker('mail', async (job) => job.opts.deduplication?.id, { autorun: false });
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([{ event: 'completed', result: id }]);
    expect(await on.redis.exists(lane('acme', `de:${id}`))).toBe(0);
  });

  const bad: Readonly<Record<string, object>> = {
    'an empty id': { id: '' },
    'a number': { id: 1 },
    'a list': { id: ['d'] },
    'an object that turns into text': { id: { toString: () => 'd' } },
    'a lone surrogate': { id: '\ud800' },
    'no id': { ttl: 1 },
    'a ttl as text': { id: 'd', ttl: '1' },
    'a ttl with a fraction': { id: 'd', ttl: 1.5 },
    'a negative ttl': { id: 'd', ttl: -1 },
    'a ttl that is written with an exponent': { id: 'd', ttl: 1e20 },
    'a truth that is no boolean': { id: 'd', replace: 1 },
    'an unknown member': { id: 'd', key: 'acme2' },
  };
  it.each(Object.entries(bad))('%s: refused, and nothing is stored', async (_name, deduplication) => {
    const queue = on.queue('mail');
    const opts = { deduplication: deduplication as never };
    await withTenant('acme', async () => {
      // Without an id BullMQ itself throws first, so that the backend is asked as well.
      await expect(queue.add('n', {}, opts)).rejects.toBeInstanceOf(Error);
      const job = { name: 'n', data: '{}', opts, timestamp: Date.now() };
      await expect(queue.backend.addJob(job as never, 'one')).rejects.toThrow(OperationRefusedError);
    });
    expect(await on.redis.keys(lane('acme', '*'))).toEqual([]);
  });

  it('is bound by the header: another one, or none, and the job does not run', async () => {
    for (const edit of [
      (key: string) => on.redis.hset(key, 'deid', 'e'),
      (key: string) => on.redis.hdel(key, 'deid'),
      async (key: string) => {
        const opts = JSON.parse((await on.redis.hget(key, 'opts')) ?? '') as Record<string, unknown>;
        return on.redis.hset(key, 'opts', JSON.stringify({ ...opts, de: { id: 'd', ttl: 5 } }));
      },
    ]) {
      const queue = on.queue('mail');
      await add(queue, 'acme', 'first', {}, { jobId: 'one' });
      await edit(lane('acme', 'acme~one'));
      const worker = on.worker('mail', async () => undefined, { autorun: false });
      const done = finished(worker, 1);
      void worker.run();
      expect(await done).toMatchObject([{ event: 'failed', error: { reason: 'mismatch' } }]);
      await on.reset();
    }
  });

  it('a refused job sets its id free: what is added after it runs', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', {}, { jobId: 'one' });
    await on.redis.hset(lane('acme', 'acme~one'), 'data', '"forged"');
    const worker = on.worker('mail', async (job) => job.data, { autorun: false });
    const [failed, done] = [finished(worker, 1), finished(worker, 2)];
    void worker.run();
    expect(await failed).toMatchObject([{ event: 'failed', error: { reason: 'mismatch' } }]);
    expect(await on.redis.exists(lane('acme', 'acme~one'))).toBe(1);
    expect(await add(queue, 'acme', 'second', {}, { jobId: 'two' })).toBe('two');
    expect((await done).at(-1)).toMatchObject({ event: 'completed', id: 'two', result: 'second' });
  });

  it('a refused job does not free what another one holds, nor trip over a key of another kind', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', {}, { jobId: 'one', delay: 60_000 });
    await on.redis.lpush(lane('acme', 'de:list'), 'acme~x');
    const raw = on.raw('mail~acme');
    for (const deid of ['d', 'list']) {
      await raw.add('n', {}, { jobId: `acme~raw-${deid}` });
      await on.redis.hset(lane('acme', `acme~raw-${deid}`), 'deid', deid);
    }
    await on.redis.zadd('bull:mail~:ready', 0, 'acme');
    const worker = on.worker('mail', async () => undefined, { autorun: false });
    const done = finished(worker, 2);
    void worker.run();
    expect(await done).toMatchObject([{ error: { reason: 'missing' } }, { error: { reason: 'missing' } }]);
    expect(await on.redis.get(lane('acme', 'de:d'))).toBe('acme~one');
    expect(await on.redis.type(lane('acme', 'de:list'))).toBe('list');
  });

  it('a key that names a job of nobody here is a breach, not an answer', async () => {
    const queue = on.queue('mail');
    await on.redis.set(lane('acme', 'de:d'), 'acme2~theirs');
    await on.redis.hset(lane('acme', 'acme2~theirs'), 'name', 'n');
    using breaches = audited('breach');
    await withTenant('acme', async () => {
      await expect(queue.getDeduplicationJobId('d')).rejects.toThrow(IsolationBreachError);
      const error: unknown = await add(queue, 'acme', 'mine').catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(IsolationBreachError);
      expect(String(error)).not.toContain('acme2');
    });
    expect(breaches.events).toHaveLength(2);
  });
});

describe('what is asked of an id', () => {
  it('answers and frees what the tenant holds, and nothing of another one', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'mine', {}, { jobId: 'one' });
    await add(queue, 'acme2', 'theirs', {}, { jobId: 'two' });
    await withTenant('acme', async () => {
      expect(await queue.getDeduplicationJobId('d')).toBe('one');
      expect(await queue.getDebounceJobId('d')).toBe('one');
      expect(await queue.getDeduplicationJobId('none')).toBeNull();
      expect(await queue.removeDeduplicationKey('none')).toBe(0);
      expect(await queue.removeDeduplicationKey('d')).toBe(1);
      expect(await queue.removeDebounceKey('d')).toBe(0);
    });
    expect(await withTenant('acme2', () => queue.getDeduplicationJobId('d'))).toBe('two');
    expect(await add(queue, 'acme', 'again', {}, { jobId: 'three' })).toBe('three');
  });

  it('a job frees its own id, once', async () => {
    const queue = on.queue('mail');
    const job = await withTenant('acme', () => queue.add('n', {}, { deduplication: { id: 'd' } }));
    await add(queue, 'acme2', 'theirs', {}, { jobId: 'two' });
    await withTenant('acme', async () => {
      expect(await job.removeDeduplicationKey()).toBe(true);
      expect(await job.removeDeduplicationKey()).toBe(false);
      expect(await add(queue, 'acme', 'again', {}, { jobId: 'three' })).toBe('three');
      expect(await job.removeDeduplicationKey()).toBe(false);
    });
    expect(await on.redis.get(lane('acme', 'de:d'))).toBe('acme~three');
    expect(await on.redis.get(lane('acme2', 'de:d'))).toBe('acme2~two');
  });

  it.each([undefined, null, 1, '', ['d'], '\ud800', { toString: () => 'd' }])('%j: refused', async (id) => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'mine', {}, { jobId: 'one' });
    await withTenant('acme', async () => {
      await expect(queue.getDeduplicationJobId(id as never)).rejects.toThrow(OperationRefusedError);
      await expect(queue.removeDeduplicationKey(id as never)).rejects.toThrow(OperationRefusedError);
      await expect(queue.backend.removeDeduplicationKey(id as never, 'one')).rejects.toThrow(
        OperationRefusedError,
      );
    });
    expect(await on.redis.get(lane('acme', 'de:d'))).toBe('acme~one');
  });

  it('an operator names it with the tenant before it', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'mine', {}, { jobId: 'one' });
    await on.raw('mail').add('n', {}, { jobId: 'raw', deduplication: { id: 'd' } });
    await acrossTenants(OPERATOR, async () => {
      expect(await queue.getDeduplicationJobId('acme~d')).toBe('acme~one');
      expect(await queue.getDeduplicationJobId('acme2~d')).toBeNull();
      expect(await queue.getDeduplicationJobId('d')).toBe('raw');
      expect(await queue.backend.removeDeduplicationKey('acme~d', 'acme~two')).toBe(0);
      expect(await queue.backend.removeDeduplicationKey('acme~d', 'acme~one')).toBe(1);
      expect(await queue.removeDeduplicationKey('acme~d')).toBe(0);
      expect(await queue.removeDeduplicationKey('d')).toBe(1);
    });
  });
});

describe('what a tenant does with its queue', () => {
  it('draining it sets the ids free, and what is tried again runs as it was signed', async () => {
    const queue = on.queue('mail');
    await add(queue, 'acme', 'first', { ttl: 60_000 }, { jobId: 'one' });
    await add(queue, 'acme2', 'theirs', { ttl: 60_000 }, { jobId: 'one' });
    await withTenant('acme', () => queue.drain());
    expect(await on.redis.keys('*:de:*')).toEqual([lane('acme2', 'de:d')]);
    expect(await add(queue, 'acme', 'second', {}, { jobId: 'two' })).toBe('two');
    let isRetry = false;
    const worker = on.worker(
      'mail',
      async (job) => {
        if (!isRetry && job.id === 'two') throw new Error('no');
        return job.data as unknown;
      },
      { autorun: false },
    );
    const [failed, again] = [finished(worker, 2), finished(worker, 3)];
    void worker.run();
    await failed;
    isRetry = true;
    await withTenant('acme', () => queue.retryJobs());
    expect((await again).at(-1)).toMatchObject({ event: 'completed', id: 'two', result: 'second' });
  });
});
