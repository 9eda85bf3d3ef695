import { Redis } from 'ioredis';
import {
  ConfigError,
  OperationRefusedError,
  StoreUnreachableError,
  isVerified,
  withTenant,
  type EraseRun,
} from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { queueEraser } from '@tenantkit/queue';
import { KEY, audited, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

interface TestRun extends EraseRun {
  readonly saved: string[];
  readonly told: number[];
}

function run(signal: AbortSignal = new AbortController().signal, from?: string): TestRun {
  const saved: string[] = [];
  const told: number[] = [];
  return {
    signal,
    saved,
    told,
    checkpoint: {
      load: async () => saved.at(-1) ?? from,
      save: async (state) => void saved.push(state),
    },
    progress: ({ done }) => void told.push(done),
  };
}

/** Everything in the database, and in each key every entry, that is not of the tenant: as it is stored. */
async function others(tenant: string): Promise<Record<string, unknown>> {
  const all: Record<string, unknown> = {};
  const foreign = (entry: unknown): boolean => entry !== tenant;
  const own = `bull:mail~${tenant}:`;
  for (const key of (await on.redis.keys('*')).toSorted().filter((name) => !name.startsWith(own))) {
    const type = await on.redis.type(key);
    // Of the queue, and no tenant's.
    if (/^bull:mail(?:~:(?:wake|vt|sweep)|:meta)$/.test(key)) continue;
    if (type === 'hash') all[key] = await on.redis.hgetall(key);
    else if (type === 'list') all[key] = (await on.redis.lrange(key, 0, -1)).filter(foreign);
    else if (type === 'zset') all[key] = (await on.redis.zrange(key, 0, '-1')).filter(foreign);
    else if (type === 'set') all[key] = (await on.redis.smembers(key)).filter(foreign).toSorted();
    else if (type === 'stream') all[key] = (await on.redis.xrange(key, '-', '+')).filter(foreign);
    else all[key] = await on.redis.get(key);
    if (Array.isArray(all[key]) && all[key].length === 0) delete all[key];
  }
  return all;
}

/** Jobs in every state, with logs, results and progress, for each of the tenants. */
async function fill(tenants: readonly string[]): Promise<void> {
  const queue = on.queue('mail');
  const worker = on.worker('mail', async (job) => {
    await job.log(`log of ${job.id}`);
    await job.updateProgress({ of: job.id });
    if (job.name === 'bad') throw new Error('bad');
    return { of: job.id };
  });
  const done = finished(worker, tenants.length * 2);
  for (const tenant of tenants) {
    await withTenant(tenant, () =>
      queue.addBulk([
        { name: 'good', data: {}, opts: { jobId: 'completed' } },
        { name: 'bad', data: {}, opts: { jobId: 'failed' } },
      ]),
    );
  }
  await done;
  await worker.close();
  for (const tenant of tenants) {
    await withTenant(tenant, async () => {
      await queue.add('n', { tenant }, { jobId: 'waiting' });
      await queue.add('n', { tenant }, { jobId: 'lifo', lifo: true });
      await queue.add('n', { tenant }, { jobId: 'delayed', delay: 60_000 });
      await queue.add('n', { tenant }, { jobId: 'prioritized', priority: 3 });
    });
    const id = (name: string): string => `${tenant}~${name}`;
    const lane = `bull:mail~${tenant}`;
    // What is refused today, or comes of a crash, as BullMQ would have stored it.
    await on.redis
      .multi()
      .hset(`${lane}:${id('parent')}`, 'name', 'parent')
      .zadd(`${lane}:waiting-children`, 1, id('parent'))
      .sadd(`${lane}:${id('parent')}:dependencies`, `${lane}:${id('waiting')}`)
      .hset(`${lane}:${id('parent')}:processed`, `${lane}:${id('completed')}`, '1')
      .hset(`${lane}:${id('parent')}:failed`, `${lane}:${id('failed')}`, 'x')
      .zadd(`${lane}:${id('parent')}:unsuccessful`, 1, `${lane}:${id('failed')}`)
      .rpush(`${lane}:paused`, id('paused'))
      .hset(`${lane}:${id('paused')}`, 'name', 'paused')
      .rpush(`${lane}:active`, id('stalled'))
      .sadd(`${lane}:stalled`, id('stalled'))
      .hset(`${lane}:${id('stalled')}`, 'name', 'stalled')
      .hset(`${lane}:${id('orphan')}`, 'name', 'orphan')
      .set(`${lane}:${id('orphan')}:newer`, 'a sub-key of a newer BullMQ')
      .rpush(`${lane}:wait`, id('dangling'))
      .set(`${lane}:de:d`, id('waiting'))
      .hset(`${lane}:dn:d`, 'name', 'next')
      .zadd(`${lane}:repeat`, 1, 'scheduler')
      .hset(`${lane}:repeat:scheduler`, 'name', 'template')
      .hset(`${lane}:repeat:scheduler:1`, 'name', 'iteration')
      .zadd(`${lane}:delayed`, 9e15, 'repeat:scheduler:1')
      .exec();
  }
}

describe('erasing a tenant', () => {
  it('takes everything of it, in every state, and leaves the others byte for byte', async () => {
    const [victim, neighbour] = TENANTS;
    await fill(TENANTS);
    const before = await others(victim);
    expect(Object.keys(before).length).toBeGreaterThan(60);
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    const { items } = await eraser.plan({ tenant: victim });
    const planned = Object.fromEntries(items.map(({ kind, count }) => [kind, count]));
    expect(planned).toEqual({ jobs: 12, keys: expect.any(Number), events: expect.any(Number) });
    expect(planned['keys']).toBeGreaterThan(11);
    expect(planned['events']).toBeGreaterThan(15);
    expect(await others(victim)).toEqual(before);

    const watched = run();
    const outcome = await eraser.erase({ tenant: victim }, watched);
    expect(outcome).toEqual({ store: 'queue', erased: expect.any(Array), kept: [] });
    expect(watched.told.at(-1)).toBeGreaterThanOrEqual(11);
    expect(await others(victim)).toEqual(before);
    // With a filter that filters nothing: what is left is what the others have.
    expect(await others('nobody')).toEqual(before);
    expect((await eraser.plan({ tenant: victim })).items.every(({ count }) => count === 0)).toBe(true);

    const verification = await eraser.verify({ tenant: victim });
    expect(isVerified(verification)).toBe(true);
    expect(verification.control).toMatchObject({ planted: 1, found: 1 });
    expect(isVerified(await eraser.verify({ tenant: neighbour }))).toBe(false);
    expect(await others('nobody')).toEqual(before);
  });

  it('is the same for jobs that are many', async () => {
    const queue = on.queue('mail');
    const many = 1_300;
    for (const tenant of ['acme', 'acme2']) {
      await withTenant(tenant, () =>
        queue.addBulk(
          Array.from({ length: many }, (_, n) => ({
            name: 'n',
            data: { n },
            opts: { jobId: `j${n}`, ...(n % 2 === 0 ? {} : { delay: 60_000 }) },
          })),
        ),
      );
    }
    const theirs = await on.redis.lrange('bull:mail~acme2:wait', 0, -1);
    const { erased } = await queueEraser(on.redis, { queues: ['mail'] }).erase({ tenant: 'acme' }, run());
    expect(erased[0]).toEqual({ kind: 'jobs', count: many });
    expect(await on.redis.lrange('bull:mail~acme2:wait', 0, -1)).toEqual(theirs);
    expect(await on.redis.zcard('bull:mail~acme2:delayed')).toBe(many / 2);
    expect(await on.redis.keys('bull:mail~acme:*')).toEqual([]);
  });

  it('waits for a job that a worker is processing, and reports one that takes too long', async () => {
    const queue = on.queue('mail');
    let finish = (): void => undefined;
    const started = new Promise<void>((resolve) => {
      on.worker('mail', () => {
        resolve();
        return new Promise<void>((end) => (finish = end));
      });
    });
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'slow' }));
    await started;
    const scope = { tenant: 'acme' };
    const impatient = queueEraser(on.redis, { queues: ['mail'], activeTimeout: 0 });
    expect((await impatient.erase(scope, run())).kept).toMatchObject([
      { kind: 'jobs', count: 1, why: expect.stringContaining('processing') },
    ]);
    expect(isVerified(await impatient.verify(scope))).toBe(false);
    expect(await on.redis.exists('bull:mail~acme:acme~slow')).toBe(1);

    const patient = queueEraser(on.redis, { queues: ['mail'], activeTimeout: 20_000 });
    const looked = run();
    const erasing = patient.erase(scope, looked);
    await expect.poll(() => looked.told.length).toBeGreaterThan(0);
    finish();
    expect((await erasing).kept).toEqual([]);
    expect(isVerified(await patient.verify(scope))).toBe(true);
  });

  it('takes what comes while it runs', async () => {
    const queue = on.queue('mail');
    await withTenant('acme', () => queue.add('n', {}, { jobId: 'one' }));
    const watched = run();
    let added = 0;
    const meddling: EraseRun = {
      ...watched,
      progress() {
        if ((added += 1) <= 3) void withTenant('acme', () => queue.add('n', {}, { jobId: `late-${added}` }));
      },
      checkpoint: {
        load: async () => undefined,
        // The add above is on its way before the pass that follows.
        save: async () => void (await on.redis.ping()),
      },
    };
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    await eraser.erase({ tenant: 'acme' }, meddling);
    await eraser.erase({ tenant: 'acme' }, run());
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('stops when it is told to, and counts on from where it was', async () => {
    await fill(['acme']);
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    const reason = new Error('stop');
    const controller = new AbortController();
    const first = run(controller.signal);
    const stopping: EraseRun = { ...first, progress: () => controller.abort(reason) };
    await expect(eraser.erase({ tenant: 'acme' }, stopping)).rejects.toBe(reason);
    const state = first.saved.at(-1);
    expect(state).toBeDefined();
    const outcome = await eraser.erase({ tenant: 'acme' }, run(undefined, state));
    expect(outcome.erased.find(({ kind }) => kind === 'jobs')?.count).toBeGreaterThanOrEqual(11);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('covers several queues and a Queue’s own prefix', async () => {
    const mail = on.queue('mail', { prefix: '{app}:q[1]*' });
    const reports = on.queue('reports', { prefix: '{app}:q[1]*' });
    for (const queue of [mail, reports]) {
      for (const tenant of ['acme', 'acme2'])
        await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    }
    const eraser = queueEraser(mail, { queues: ['mail', 'reports'], store: 'queue:app' });
    expect(eraser.store).toBe('queue:app');
    await eraser.erase({ tenant: 'acme' }, run());
    const verification = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(verification)).toBe(true);
    expect(verification.control.planted).toBe(2);
    expect((await on.redis.keys('*~one')).toSorted()).toEqual([
      '{app}:q[1]*:mail~acme2:acme2~one',
      '{app}:q[1]*:reports~acme2:acme2~one',
    ]);
    expect((await on.redis.keys('*~acme:*')).toSorted()).toEqual([]);
  });

  it('takes the names of the Queue that it is given', async () => {
    const queue = on.queue('mail', { tenant: { signingKeys: [KEY], names: 't.{tenant}.' } });
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    expect(await on.redis.exists('bull:mail~acme:t.acme.one')).toBe(1);
    const eraser = queueEraser(queue);
    expect((await eraser.erase({ tenant: 'acme' }, run())).erased[0]).toEqual({ kind: 'jobs', count: 1 });
    expect(await on.redis.keys('bull:mail~acme:*')).toEqual([]);
    expect(await on.redis.lrange('bull:mail~acme2:wait', 0, -1)).toEqual(['t.acme2.one']);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    // Without the Queue the template has to be told.
    const told = queueEraser(on.redis, { queues: ['mail'], names: 't.{tenant}.' });
    expect((await told.plan({ tenant: 'acme2' })).items[0]).toEqual({ kind: 'jobs', count: 1 });
  });

  it('takes the events of its lane, and not those in which another tenant has written its name', async () => {
    const queue = on.queue('mail');
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    const named = async (): Promise<string> =>
      (await withTenant('acme2', () => queue.add('acme~x', {}))).id ?? '';
    const id = await named();
    expect((await eraser.plan({ tenant: 'acme' })).items).toEqual(
      ['jobs', 'keys', 'events'].map((kind) => ({ kind, count: 0 })),
    );
    await withTenant('acme', () => queue.add('acme~x', {}));
    // One more in every pass would keep an erasure from ever ending.
    const busy: EraseRun = { ...run(), progress: () => void named() };
    await eraser.erase({ tenant: 'acme' }, busy);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(await on.redis.exists('bull:mail~acme:events')).toBe(0);
    const left = JSON.stringify(await on.redis.xrange('bull:mail~acme2:events', '-', '+'));
    expect(left).toContain(`"added","jobId","acme2~${id}","name","acme~x"`);
  });

  it('looks at nothing but the tenant’s lane, unless a count has met what no state of it leads to', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => queue.add('n', {}));
    // Of this client alone: what the server counts is everybody's.
    let scans = 0;
    const redis = new Redis(on.url);
    const send = redis.sendCommand.bind(redis);
    redis.sendCommand = (command, ...rest) => {
      if (command.name === 'scan') scans += 1;
      return send(command, ...rest);
    };
    const scope = { tenant: 'acme' };
    const eraser = queueEraser(redis, { queues: ['mail'] });
    await eraser.erase(scope, run());
    expect(scans).toBe(0);
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    expect(scans).toBeGreaterThan(0);
    // A hash that no state names, as after an eviction. Whoever has not counted does not see it; the recount does.
    await on.redis.hset('bull:mail~acme:acme~lost', 'data', '{}');
    await queueEraser(on.redis, { queues: ['mail'] }).erase(scope, run());
    expect((await eraser.verify(scope)).remaining[0]).toEqual({ kind: 'jobs', count: 1 });
    await eraser.erase(scope, run());
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    // And so does a run that is repeated, in whichever process.
    await on.redis.hset('bull:mail~acme:acme~lost', 'data', '{}');
    const state = JSON.stringify({ jobs: 1, keys: 0, events: 0 });
    await queueEraser(on.redis, { queues: ['mail'] }).erase(scope, run(undefined, state));
    expect(isVerified(await eraser.verify(scope))).toBe(true);
    redis.disconnect();
  });

  it('ends although the tenant goes on adding, and says what is left', async () => {
    const queue = on.queue('mail');
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    const add = (): Promise<unknown> => withTenant('acme', () => queue.add('n', {}));
    await add();
    // As many as the passes that there may be, and one more that nobody removes.
    const outcome = await eraser.erase(
      { tenant: 'acme' },
      { ...run(), checkpoint: { load: async () => undefined, save: async () => void (await add()) } },
    );
    expect(outcome.erased[0]?.count).toBeGreaterThanOrEqual(100);
    expect((await eraser.verify({ tenant: 'acme' })).remaining[0]).toEqual({ kind: 'jobs', count: 1 });
  });

  it('takes an id that only the set of stalled jobs still holds', async () => {
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    for (const tenant of ['acme', 'acme2'])
      await on.redis.sadd(`bull:mail~${tenant}:stalled`, `${tenant}~ada@example.com`);
    expect((await eraser.plan({ tenant: 'acme' })).items[0]).toEqual({ kind: 'jobs', count: 1 });
    await eraser.erase({ tenant: 'acme' }, run());
    expect(await on.redis.exists('bull:mail~acme:stalled')).toBe(0);
    expect(await on.redis.smembers('bull:mail~acme2:stalled')).toEqual(['acme2~ada@example.com']);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
  });

  it('removes the control of a recount that was killed, and none that may still run', async () => {
    const [dead = '', alive = ''] = ['0'.repeat(32), '1'.repeat(32)].map((hex) => `tk-control-${hex}`);
    const hours = Date.now() - 7_200_000;
    for (const [tenant, since] of [
      [dead, hours],
      [alive, Date.now()],
      ['acme2', hours],
      ['tk-control-of-a-tenant', hours],
    ] as const) {
      await on.redis.zadd('bull:mail~:lanes', since, tenant);
      await on.raw(`mail~${tenant}`).add('n', {}, { jobId: `${tenant}~control`, delay: 60_000 });
    }
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect((await on.redis.keys('*~control')).toSorted()).toEqual(
      ['acme2', alive, 'tk-control-of-a-tenant']
        .map((tenant) => `bull:mail~${tenant}:${tenant}~control`)
        .toSorted(),
    );
    expect(await on.redis.keys(`*${dead}*`)).toEqual([]);
    expect(await on.redis.zscore('bull:mail~:lanes', dead)).toBeNull();
  });

  it('says when the server cannot be reached', async () => {
    const away = new Redis({
      host: '127.0.0.1',
      port: 1,
      maxRetriesPerRequest: null,
      retryStrategy: () => 10,
    });
    away.on('error', () => undefined);
    const eraser = queueEraser(away, { queues: ['mail'], timeout: 100 });
    const scope = { tenant: 'acme' };
    for (const call of [
      () => eraser.plan(scope),
      () => eraser.erase(scope, run()),
      () => eraser.verify(scope),
    ]) {
      await expect((call as () => Promise<unknown>)()).rejects.toThrow(StoreUnreachableError);
    }
    away.disconnect();
  });

  it('states that it looks at all tenants, once per call', async () => {
    using bypasses = audited('bypass');
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    await eraser.plan({ tenant: 'acme' });
    await eraser.erase({ tenant: 'acme' }, run());
    await eraser.verify({ tenant: 'acme' });
    expect(bypasses.events.map(({ data }) => data.actor.user.name)).toEqual(
      ['plan', 'erase', 'verify'].map((call) => `tenantkit/queueEraser.${call}`),
    );
  });

  it('says that it cannot erase a person, and what it needs', async () => {
    const eraser = queueEraser(on.redis, { queues: ['mail'] });
    expect(eraser.subjects).toEqual({ unsupported: expect.stringContaining('person') });
    const scope = { tenant: 'acme', subject: 'p1' };
    await expect(eraser.plan(scope)).rejects.toThrow(OperationRefusedError);
    await expect(eraser.erase(scope, run())).rejects.toThrow(OperationRefusedError);
    await expect(eraser.verify(scope)).rejects.toThrow(OperationRefusedError);
    await expect(eraser.plan({ tenant: 'not:an:id' })).rejects.toMatchObject({ code: 'TENANT_INVALID' });
    expect(() => queueEraser(on.redis)).toThrow(ConfigError);
    expect(() => queueEraser(on.redis, { queues: [] })).toThrow(ConfigError);
    expect(() => queueEraser(on.redis, { queues: ['mail'], more: 1 } as never)).toThrow(ConfigError);
    expect(() => queueEraser({} as never, { queues: ['mail'] })).toThrow(ConfigError);
  });
});
