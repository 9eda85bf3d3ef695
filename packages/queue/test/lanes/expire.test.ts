import { acrossTenants, withTenant } from '@tenantkit/core';
import { createIORedisClient, type Processor } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FlowProducer, type Queue, type WorkerOptions } from '@tenantkit/queue';
import { storeOf } from '../../src/backend.ts';
import { removeLinked } from '../../src/lanes/expire-linked.ts';
import { Expiry, expiring, type Ages } from '../../src/lanes/expire.ts';
import { laneKeys } from '../../src/lanes/names.ts';
import { KEY, OPERATOR, bench, finished, type Bench } from '../support.ts';

// Removal by age in the lanes of tenants that have left: no job of theirs ends any more.

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const AGE = 3_600;
const OFTEN = { stalledInterval: 50 } as const;
const KEEPS: Partial<WorkerOptions> = { removeOnComplete: { age: AGE }, removeOnFail: { age: AGE } };

/** Runs two jobs of each tenant, and lets the first of them have ended long ago. */
async function left(queue: Queue, tenants: readonly string[], state: 'completed' | 'failed'): Promise<void> {
  const run: Processor = async (job) => {
    await job.log('kept as well');
    if (state === 'failed') throw new Error('bad');
  };
  // With the interval of the next one, which would else wait for the lock of this one's sweep.
  const worker = on.worker('mail', run, OFTEN);
  const done = finished(worker, tenants.length * 2);
  for (const tenant of tenants)
    await withTenant(tenant, () =>
      queue.addBulk(['old', 'new'].map((jobId) => ({ name: 'n', data: {}, opts: { jobId } }))),
    );
  await done;
  await worker.close();
  for (const tenant of tenants) await age(tenant, state, 'old');
}

const age = (tenant: string, state: string, id: string, seconds = AGE + 1) =>
  on.redis.zadd(`bull:mail~${tenant}:${state}`, Date.now() - seconds * 1_000, `${tenant}~${id}`);
const kept = (queue: Queue, tenant: string, state: 'completed' | 'failed') =>
  withTenant(tenant, async () => (await queue.getJobs([state])).map(({ id }) => String(id)).toSorted());

describe.each(['completed', 'failed'] as const)('the age of %s jobs, of a Worker', (state) => {
  it('holds for tenants that have no jobs any more, and removes all that belongs to a job', async () => {
    const queue = on.queue('mail');
    const tenants = ['acme', 'a', 'b'];
    await left(queue, tenants, state);
    on.worker('mail', async () => undefined, { ...OFTEN, ...KEEPS });
    for (const tenant of tenants)
      await expect.poll(() => kept(queue, tenant, state), { interval: 5 }).toEqual(['new']);
    expect(await on.redis.keys('*~old*')).toEqual([]);
    expect(await on.redis.keys('bull:mail~acme:acme~new*')).toHaveLength(2);
  });

  it('leaves alone what another state has, and all of a Worker without an age', async () => {
    const queue = on.queue('mail');
    await left(queue, ['acme'], state);
    await on.redis.zadd('bull:mail~:lanes', 1, 'retired');
    const other = state === 'completed' ? 'removeOnFail' : 'removeOnComplete';
    const own = state === 'completed' ? 'removeOnComplete' : 'removeOnFail';
    on.worker('mail', async () => undefined, { ...OFTEN, [other]: { age: AGE }, [own]: { count: 5 } });
    // An empty lane goes when a sweep has seen it: so one has gone over all lanes before the next one of another ends.
    await expect.poll(() => on.redis.zscore('bull:mail~:lanes', 'retired'), { interval: 5 }).toBeNull();
    await on.redis.zadd('bull:mail~:lanes', 1, 'retired');
    await expect.poll(() => on.redis.zscore('bull:mail~:lanes', 'retired'), { interval: 5 }).toBeNull();
    expect(await kept(queue, 'acme', state)).toEqual(['new', 'old']);
  });
});

describe('a job whose own options say how long it is kept', () => {
  it.each([{ own: false }, { own: 1_000 }, { own: { age: AGE * 1_000 } }, { own: { count: 5 } }])(
    '$own: stays, as in BullMQ',
    async ({ own }) => {
      const queue = on.queue('mail', { defaultJobOptions: { removeOnComplete: own, removeOnFail: own } });
      const states = ['completed', 'failed'] as const;
      for (const state of states) {
        await left(queue, [state], state);
        // Another one says nothing, and goes.
        await on.redis.hset(`bull:mail~${state}:${state}~new`, 'opts', '{}');
        await age(state, state, 'new');
      }
      on.worker('mail', async () => undefined, { ...OFTEN, ...KEEPS });
      for (const state of states)
        await expect
          .poll(() => on.redis.zrange(`bull:mail~${state}:${state}`, 0, '-1'), { interval: 5 })
          .toEqual([`${state}~old`]);
    },
  );
});

it('a tenant whose last job was removed by age is no longer looked at', async () => {
  const queue = on.queue('mail');
  await left(queue, ['acme', 'a'], 'completed');
  await age('acme', 'completed', 'new');
  for (const tenant of ['acme', 'a']) await on.redis.zadd('bull:mail~:lanes', 1, tenant);
  on.worker('mail', async () => undefined, { ...OFTEN, ...KEEPS });
  await expect.poll(() => on.redis.zrange('bull:mail~:lanes', 0, '-1'), { interval: 5 }).toEqual(['a']);
});

describe('a failed child that is removed by age', () => {
  const flows = async (): Promise<Queue> => {
    const producer = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
    for (const tenant of ['acme', 'victim'])
      await withTenant(tenant, () =>
        producer.add({
          name: 'report',
          queueName: 'reports',
          opts: { jobId: 'parent' },
          children: [{ name: 'n', queueName: 'mail', opts: { jobId: 'child' } }],
        }),
      );
    await producer.close();
    const fails: Processor = async () => {
      throw new Error('bad');
    };
    const worker = on.worker('mail', fails, OFTEN);
    await finished(worker, 2);
    await worker.close();
    return on.queue('reports');
  };
  const stateOf = (reports: Queue, tenant: string) =>
    withTenant(tenant, async () => (await reports.getJob('parent'))?.getState());

  it('frees its parent, and only the one that it has in its header', async () => {
    const reports = await flows();
    // What somebody has written who can: the parent of another tenant, which its removal would free.
    await on.redis.hset('bull:mail~acme:acme~child', 'parentKey', 'bull:reports~victim:victim~parent');
    await on.redis.srem('bull:reports~victim:victim~parent:dependencies', 'bull:mail~victim:victim~child');
    await on.redis.sadd('bull:reports~victim:victim~parent:dependencies', 'bull:mail~acme:acme~child');
    await age('acme', 'failed', 'child');
    await age('victim', 'failed', 'child', 1);
    on.worker('mail', async () => undefined, { ...OFTEN, ...KEEPS });
    await expect.poll(() => on.redis.exists('bull:mail~acme:acme~child'), { interval: 5 }).toBe(0);
    expect(await stateOf(reports, 'victim')).toBe('waiting-children');
    expect(await stateOf(reports, 'acme')).toBe('waiting-children');
  });

  it('frees it, and its lane hears of it', async () => {
    const reports = await flows();
    await age('acme', 'failed', 'child');
    // Both tenants were noted when their flows were added.
    await on.redis.del('bull:reports~:ready');
    on.worker('mail', async () => undefined, { ...OFTEN, ...KEEPS });
    await expect.poll(() => stateOf(reports, 'acme'), { interval: 5 }).toBe('waiting');
    await expect.poll(() => on.redis.zscore('bull:reports~:ready', 'acme'), { interval: 5 }).not.toBeNull();
    expect(await stateOf(reports, 'victim')).toBe('waiting-children');
    await acrossTenants(OPERATOR, () => on.queue('mail').remove('acme~child'));
  });
});

describe('a failed child', () => {
  const ids = ['retried', 'young', 'moved', 'old'];
  /** Failed children whose parents are in another queue. */
  const children = async (...tenants: string[]): Promise<Queue> => {
    const producer = new FlowProducer({ connection: on.redis, tenant: { signingKeys: [KEY] } });
    for (const tenant of tenants)
      for (const jobId of ids)
        await withTenant(tenant, () =>
          producer.add({
            name: 'report',
            queueName: 'reports',
            opts: { jobId },
            children: [{ name: 'n', queueName: 'mail', opts: { jobId } }],
          }),
        );
    await producer.close();
    const fails: Processor = async () => {
      throw new Error('bad');
    };
    const worker = on.worker('mail', fails, OFTEN);
    await finished(worker, tenants.length * ids.length);
    await worker.close();
    return on.queue('mail');
  };

  it('that has become another since it was found is not removed', async () => {
    const mail = await children('acme');
    const store = storeOf(mail.backend);
    const lane = store.lane('acme');
    const remove = (before: number): Promise<number> =>
      removeLinked(
        store,
        lane,
        ids.map((id) => `acme~${id}`),
        before,
        (error) => expect(error).toBeUndefined(),
      );
    for (const id of ids) if (id !== 'young') await age('acme', 'failed', id);
    await withTenant('acme', async () => (await mail.getJob('retried'))?.retry());
    const parentKey = 'bull:reports~acme:acme~moved';
    const before = Date.now() - AGE * 1_000;
    await on.redis.hset('bull:mail~acme:acme~moved', 'parentKey', 'x');
    expect(await lane.removeExpired('acme~moved', { before, parentKey, isVerified: true })).toEqual([0, '']);
    await on.redis.hset('bull:mail~acme:acme~moved', 'parentKey', parentKey);
    expect(await remove(before)).toBe(2);
    expect(await withTenant('acme', () => mail.getJobCountByTypes('wait'))).toBe(1);
    expect(await on.redis.keys('bull:mail~acme:acme~*')).toEqual(
      expect.arrayContaining(['bull:mail~acme:acme~retried', 'bull:mail~acme:acme~young']),
    );
    expect(await on.redis.exists('bull:mail~acme:acme~old', 'bull:mail~acme:acme~moved')).toBe(0);
    const reports = on.queue('reports');
    const stateOf = (id: string) => withTenant('acme', async () => (await reports.getJob(id))?.getState());
    expect([await stateOf('retried'), await stateOf('young'), await stateOf('old')]).toEqual([
      'waiting-children',
      'waiting-children',
      'waiting',
    ]);
  });

  it('that becomes another thing between two commands is reported, and keeps no other lane', async () => {
    const mail = await children('a', 'acme');
    for (const tenant of ['a', 'acme']) for (const id of ids) await age(tenant, 'failed', id);
    const client = createIORedisClient(on.redis.duplicate());
    const send = client.runCommand.bind(client);
    client.runCommand = async (...call) => {
      const reply: unknown = await send(...call);
      if (call[0].startsWith('tenantkit:lanes:expire:')) {
        await on.redis.del('bull:mail~a:a~old');
        await on.redis.set('bull:mail~a:a~old', 'x');
      }
      return reply;
    };
    const errors: unknown[] = [];
    const expire = expiring(storeOf(mail.backend), client, KEEPS, 100, new Map(), (error) =>
      errors.push(error),
    );
    await expire?.(['a', 'acme']);
    expect(await on.redis.zcard('bull:mail~acme:failed')).toBe(0);
    expect(errors.map(String)).toEqual([expect.stringContaining('WRONGTYPE')]);
    await client.quit();
  });

  it('with keys of another type goes, is reported, and stops nothing', async () => {
    const mail = await children('a', 'acme', 'b');
    const errors: unknown[] = [];
    for (const tenant of ['a', 'acme', 'b']) for (const id of ids) await age(tenant, 'failed', id);
    await on.redis.rpush('bull:mail~acme:acme~old:lock', 'x');
    await on.redis.del('bull:reports~acme:acme~young:dependencies');
    await on.redis.set('bull:reports~acme:acme~young:dependencies', 'x');
    await on.redis.del('bull:mail~acme:acme~moved');
    await on.redis.set('bull:mail~acme:acme~moved', 'x');
    await on.redis.del('bull:mail~acme:acme~retried');
    await on
      .worker('mail', async () => undefined, { ...OFTEN, ...KEEPS })
      .on('error', (error) => errors.push(error))
      .waitUntilReady();
    for (const tenant of ['a', 'b', 'acme']) {
      await expect.poll(() => kept(mail, tenant, 'failed'), { interval: 5 }).toEqual([]);
      expect(await on.redis.zcard(`bull:mail~${tenant}:failed`)).toBe(0);
    }
    expect(await on.redis.keys('bull:mail~*~*:*~*')).toEqual([]);
    expect(errors).toHaveLength(2);
    for (const error of errors)
      expect(error).toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining('WRONGTYPE') as string,
      });
  });
});

describe('one sweep', () => {
  const NOW: Ages = { completed: 0, failed: 0 };
  const keys = laneKeys('bull', 'mail');
  const fill = async (tenant: string, state: string, jobs: number): Promise<void> => {
    const members = Array.from({ length: jobs }, (_, at) => [at, `j-${at}`]).flat();
    await on.redis.zadd(`bull:mail~${tenant}:${state}`, ...members);
    await on.redis.hset(`bull:mail~${tenant}:j-0`, 'name', 'n');
  };
  const sizes = (...tenants: string[]) =>
    Promise.all(tenants.map((tenant) => on.redis.zcard(`bull:mail~${tenant}:completed`)));
  const expiry = (most: number, unlinked: string[] = [], kept = new Map<string, string>()) =>
    new Expiry({
      client: createIORedisClient(on.redis),
      keys,
      ages: NOW,
      most,
      kept,
      unlink: async (tenant, ids) => {
        unlinked.push(...ids.map((id) => `${tenant} ${id}`));
        return 0;
      },
    });

  it('goes over many jobs in scripts of a few, and stops at its bound', async () => {
    await fill('a', 'completed', 1_200);
    await fill('b', 'completed', 700);
    await expiry(1_500).expire(['nobody', 'a', 'b']);
    expect(await sizes('a', 'b')).toEqual([0, 400]);
    await expiry(1_500).expire(['nobody', 'a', 'b']);
    expect(await sizes('a', 'b')).toEqual([0, 0]);
    expect(await on.redis.keys('bull:mail~*')).toEqual([]);
  });

  it('goes on behind a lane in which everything has a parent, and one with a key of another type', async () => {
    await fill('linked', 'failed', 500);
    for (let at = 0; at < 500; at += 1) await on.redis.hset(`bull:mail~linked:j-${at}`, 'parentKey', 'x');
    await on.redis.set('bull:mail~odd:completed', 'x');
    await fill('b', 'completed', 3);
    const unlinked: string[] = [];
    await expiry(1_500, unlinked).expire(['odd', 'linked', 'b']);
    expect(await sizes('b')).toEqual([0]);
    expect(unlinked).toHaveLength(500);
    expect(unlinked[0]).toBe('linked j-0');
  });

  it('goes on in a lane in which everything has a parent, and is removed', async () => {
    await fill('linked', 'failed', 1_200);
    for (let at = 0; at < 1_200; at += 1) await on.redis.hset(`bull:mail~linked:j-${at}`, 'parentKey', 'x');
    const sweep = new Expiry({
      client: createIORedisClient(on.redis),
      keys,
      ages: NOW,
      most: 5_000,
      kept: new Map(),
      unlink: (tenant, ids) => on.redis.zrem(`bull:mail~${tenant}:failed`, ...ids),
    });
    await sweep.expire(['linked']);
    expect(await on.redis.zcard('bull:mail~linked:failed')).toBe(0);
  });

  it('goes on behind what stays, and does not look at it again', async () => {
    await fill('a', 'completed', 1_200);
    const stay = on.redis.pipeline();
    for (let at = 0; at < 1_100; at += 1)
      stay.hset(`bull:mail~a:j-${at}`, 'opts', '{"removeOnComplete":false}');
    await stay.exec();
    await fill('b', 'completed', 3);
    const kept = new Map<string, string>();
    await expiry(1_000, [], kept).expire(['a', 'b']);
    expect(await sizes('a', 'b')).toEqual([1_200, 3]);
    await expiry(300, [], kept).expire(['a', 'b']);
    expect(await sizes('a', 'b')).toEqual([1_100, 0]);
  });

  it('looks at each of those that have ended at once', async () => {
    await on.redis.zadd(
      'bull:mail~a:completed',
      ...Array.from({ length: 800 }, (_, at) => [Number(at > 0), `j-${at}`]).flat(),
    );
    await on.redis.hset('bull:mail~a:j-0', 'opts', '{"removeOnComplete":false}');
    await on.redis.hset('bull:mail~a:j-1', 'opts', '{"removeOnComplete":5}');
    await expiry(5_000).expire(['a']);
    expect(await on.redis.zrange('bull:mail~a:completed', 0, '-1')).toEqual(['j-0', 'j-1']);
  });

  it('leaves alone what it cannot read', async () => {
    await fill('a', 'completed', 1);
    await on.redis.hset('bull:mail~a:j-0', 'opts', '{"removeOnComplete":');
    await expiry(5_000).expire(['a']);
    expect(await sizes('a')).toEqual([1]);
  });

  it('refuses a reply of another shape', async () => {
    const client = createIORedisClient(on.redis.duplicate());
    const broken = new Expiry({
      client,
      keys,
      ages: NOW,
      most: 1,
      kept: new Map(),
      unlink: async () => 0,
    });
    await broken.expire([]);
    client.defineCommand('tenantkit:lanes:expire:1', {
      numberOfKeys: 1,
      lua: "return { 'x', 0, 0, {}, {} }",
    });
    await expect(broken.expire(['a'])).rejects.toMatchObject({ code: 'ISOLATION_BREACH' });
    await client.quit();
  });
});
