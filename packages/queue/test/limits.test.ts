import {
  ConfigError,
  InvalidTenantError,
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { TenantLimits } from '@tenantkit/queue';
import { KEY, OPERATOR, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const operator = <T>(fn: () => T): T => acrossTenants(OPERATOR, fn);
const jobs = (count: number) => Array.from({ length: count }, () => ({ name: 'n', data: {} }));

describe('limits of a tenant', () => {
  it('are set, read and lifted by an operator, before its first job too', async () => {
    const queue = on.queue('mail');
    const limits = { concurrency: 2, rate: { max: 10, duration: 1_000 }, weight: 3 };
    await operator(async () => {
      expect(await queue.getTenantLimits('acme')).toEqual({});
      await queue.setTenantLimits('acme', limits);
      expect(await queue.getTenantLimits('acme')).toEqual(limits);
      expect(await queue.getTenantLimits('acme2')).toEqual({});
      expect(await queue.getTenants()).toEqual(['acme']);
    });
    expect(await on.redis.hgetall('bull:mail~acme:meta')).toMatchObject({
      concurrency: '2',
      max: '10',
      duration: '1000',
      weight: '3',
    });
    await withTenant('acme', async () => {
      expect(await queue.getGlobalConcurrency()).toBe(2);
      expect(await queue.getGlobalRateLimit()).toEqual({ max: 10, duration: 1_000 });
      expect(await queue.getMeta()).toMatchObject({ concurrency: 2, max: 10, duration: 1_000 });
    });
    await operator(async () => {
      await queue.setTenantLimits('acme', { weight: 2 });
      expect(await queue.getTenantLimits('acme')).toEqual({ weight: 2 });
      await queue.setTenantLimits('acme', {});
      expect(await queue.getTenantLimits('acme')).toEqual({});
    });
    expect(Object.keys(await on.redis.hgetall('bull:mail~acme:meta'))).toEqual(['opts.maxLenEvents']);
  });

  it('are not the tenant’s to set or lift', async () => {
    const queue = on.queue('mail');
    const limits = { concurrency: 1, rate: { max: 1, duration: 3_600_000 } };
    await operator(() => queue.setTenantLimits('acme', limits));
    await withTenant('acme', () => queue.addBulk(jobs(2)));
    const tries: readonly (() => Promise<unknown>)[] = [
      () => queue.setTenantLimits('acme', {}),
      () => queue.getTenantLimits('acme2'),
      () => queue.getTenants(),
      () => queue.setGlobalConcurrency(100),
      () => queue.removeGlobalConcurrency(),
      () => queue.setGlobalRateLimit(100, 1),
      () => queue.removeGlobalRateLimit(),
      // Either would take the place of what the limit has counted.
      () => queue.rateLimit(1),
      () => queue.removeRateLimitKey(),
      () => queue.backend.setRateLimit(1),
      () => queue.backend.removeRateLimitKey(),
      () => queue.backend.setQueueMeta({ concurrency: 100 }),
      () => queue.backend.removeQueueMetaFields(['max', 'duration']),
      () => queue.obliterate({ force: true }),
    ];
    for (const call of tries) {
      await expect(withTenant('acme', call)).rejects.toThrow(OperationRefusedError);
      // Nor inside acrossTenants, once he is in the tenant.
      await expect(operator(() => withTenant('acme', call))).rejects.toThrow(OperationRefusedError);
    }
    await expect(queue.setTenantLimits('acme', {})).rejects.toThrow(MissingTenantError);
    expect(await operator(() => queue.getTenantLimits('acme'))).toEqual(limits);
  });

  it('stay when the tenant removes its queue', async () => {
    const queue = on.queue('mail');
    const limits = { concurrency: 1, rate: { max: 1, duration: 3_600_000 }, weight: 2 };
    await operator(() => queue.setTenantLimits('acme', limits));
    await withTenant('acme', async () => {
      await queue.addBulk(jobs(20));
      await queue.obliterate({ count: 7 });
      expect(await queue.getJobs()).toEqual([]);
    });
    expect(await operator(() => queue.getTenantLimits('acme'))).toEqual(limits);
    expect((await on.redis.keys('bull:mail~acme:*')).toSorted()).toEqual(['bull:mail~acme:meta']);
    expect(await on.redis.hget('bull:mail~acme:meta', 'opts.maxLenEvents')).toBe('1000');
  });

  const BAD: Readonly<Record<string, unknown>> = {
    'no concurrency': { concurrency: 0 },
    'half a job': { concurrency: 1.5 },
    'no number': { concurrency: '2' },
    infinite: { concurrency: Infinity },
    'a rate without a time': { rate: { max: 1 } },
    'a rate of nothing': { rate: { max: 0, duration: 1 } },
    'a rate in no time': { rate: { max: 1, duration: 0 } },
    'no weight': { weight: 0 },
    'too much weight': { weight: 1_001 },
    unknown: { priority: 1 },
    'no object': null,
  };

  it.each(Object.entries(BAD))('%s: refused, and nothing is changed', async (_name, limits) => {
    const queue = on.queue('mail');
    await operator(async () => {
      await queue.setTenantLimits('acme', { concurrency: 3 });
      await expect(queue.setTenantLimits('acme', limits as TenantLimits)).rejects.toThrow(ConfigError);
      await expect(queue.setTenantLimits('acme:x', {})).rejects.toThrow(InvalidTenantError);
      expect(await queue.getTenantLimits('acme')).toEqual({ concurrency: 3 });
    });
  });

  it('that somebody has made unreadable are said to be so', async () => {
    const queue = on.queue('mail');
    await on.redis.hset('bull:mail~acme:meta', 'concurrency', 'x');
    await operator(async () => {
      await expect(queue.getTenantLimits('acme')).rejects.toThrow(ConfigError);
      await queue.setTenantLimits('acme', { concurrency: 1 });
      expect(await queue.getTenantLimits('acme')).toEqual({ concurrency: 1 });
    });
  });

  it('are not written for a tenant that is being erased', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using fenced = await bench(fence);
    const queue = fenced.queue('mail');
    await fence.freeze('acme');
    await expect(operator(() => queue.setTenantLimits('acme', { weight: 2 }))).rejects.toMatchObject({
      code: 'TENANT_FENCED',
    });
    await operator(() => queue.setTenantLimits('acme2', { weight: 2 }));
    expect(await fenced.redis.keys('bull:mail~acme*:meta')).toEqual(['bull:mail~acme2:meta']);
    fence.close();
  });
});

describe('a worker keeps to them', () => {
  it('concurrency: so many at once and no more, of this tenant alone', async () => {
    const queue = on.queue('mail');
    await operator(() => queue.setTenantLimits('acme', { concurrency: 2 }));
    const running = new Map<string, number>();
    const most = new Map<string, number>();
    const worker = on.worker(
      'mail',
      async () => {
        const tenant = currentTenant()?.tenant ?? '';
        const now = (running.get(tenant) ?? 0) + 1;
        running.set(tenant, now);
        most.set(tenant, Math.max(now, most.get(tenant) ?? 0));
        // A few turns of the server, so that others begin meanwhile.
        for (let turn = 0; turn < 5; turn += 1) await on.redis.ping();
        running.set(tenant, (running.get(tenant) ?? 0) - 1);
      },
      { concurrency: 10, autorun: false },
    );
    const done = finished(worker, 60);
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => queue.addBulk(jobs(30)));
    void worker.run();
    await done;
    expect(most.get('acme')).toBe(2);
    expect(most.get('acme2')).toBeGreaterThan(2);
  });

  it('rate: so many in a time, while another tenant’s run; raised, the rest run', async () => {
    const queue = on.queue('mail');
    await operator(() => queue.setTenantLimits('acme', { rate: { max: 3, duration: 3_600_000 } }));
    const worker = on.worker('mail', async () => currentTenant()?.tenant, { concurrency: 4 });
    const first = finished(worker, 13);
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => queue.addBulk(jobs(10)));
    const ran = (await first).map(({ result }) => result);
    expect(ran.filter((tenant) => tenant === 'acme')).toHaveLength(3);
    expect(await withTenant('acme', () => queue.getRateLimitTtl())).toBeGreaterThan(0);
    const rest = finished(worker, 7);
    await operator(() => queue.setTenantLimits('acme', {}));
    expect((await rest).map(({ result }) => result)).toEqual(Array.from({ length: 7 }, () => 'acme'));
  });

  it('weight: three turns for one', async () => {
    const queue = on.queue('mail');
    await operator(() => queue.setTenantLimits('acme', { weight: 3 }));
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => queue.addBulk(jobs(200)));
    const order: string[] = [];
    const enough = Promise.withResolvers<void>();
    on.worker(
      'mail',
      async () => {
        order.push(currentTenant()?.tenant ?? '');
        // As long as a turn lasts at most: short jobs of one tenant follow each other.
        await new Promise((resolve) => setTimeout(resolve, 6));
        if (order.length >= 120) enough.resolve();
      },
      { concurrency: 6 },
    );
    await enough.promise;
    const heavy = order.slice(0, 120).filter((tenant) => tenant === 'acme').length;
    expect(heavy / (120 - heavy)).toBeGreaterThan(2);
    expect(heavy / (120 - heavy)).toBeLessThan(4.5);
  });
});

describe('the default of a worker', () => {
  const tenant = (limits: TenantLimits) => ({ signingKeys: [KEY], ...limits });
  const meta = (of: string) =>
    on.redis.hmget(`bull:mail~${of}:meta`, 'concurrency', 'max', 'duration', 'weight');

  it('holds for each tenant without limits of its own, in all workers together', async () => {
    const queue = on.queue('mail');
    await operator(() => queue.setTenantLimits('free', { concurrency: 8 }));
    const running = new Map<string, number>();
    const most = new Map<string, number>();
    const work = async (): Promise<void> => {
      const { tenant: of = '' } = currentTenant() ?? {};
      const now = (running.get(of) ?? 0) + 1;
      running.set(of, now);
      most.set(of, Math.max(now, most.get(of) ?? 0));
      for (let turn = 0; turn < 5; turn += 1) await on.redis.ping();
      running.set(of, (running.get(of) ?? 0) - 1);
    };
    const options = { concurrency: 10, autorun: false, tenant: tenant({ concurrency: 2 }) };
    const workers = [on.worker('mail', work, options), on.worker('mail', work, options)];
    let left = 90;
    const done = Promise.withResolvers<void>();
    for (const worker of workers) {
      worker.on('completed', () => {
        left -= 1;
        if (left === 0) done.resolve();
      });
    }
    for (const of of ['acme', 'acme2', 'free']) await withTenant(of, () => queue.addBulk(jobs(30)));
    for (const worker of workers) void worker.run();
    await done.promise;
    expect(most.get('acme')).toBe(2);
    expect(most.get('acme2')).toBe(2);
    expect(most.get('free')).toBeGreaterThan(2);
    // A tenant sees what holds for it; what is its own is said to be so.
    expect(await withTenant('acme', () => queue.getGlobalConcurrency())).toBe(2);
    expect(await operator(() => queue.getTenantLimits('acme'))).toEqual({});
    expect(await operator(() => queue.getTenantLimits('free'))).toEqual({ concurrency: 8 });
  });

  it('limits a rate, and gives way to limits of its own and back', async () => {
    const queue = on.queue('mail');
    const slow = tenant({ rate: { max: 2, duration: 3_600_000 }, weight: 5 });
    const worker = on.worker('mail', async () => currentTenant()?.tenant, { tenant: slow });
    const first = finished(worker, 4);
    for (const of of ['acme', 'acme2']) await withTenant(of, () => queue.addBulk(jobs(5)));
    expect((await first).map(({ result }) => String(result)).toSorted()).toEqual([
      'acme',
      'acme',
      'acme2',
      'acme2',
    ]);
    expect(await meta('acme')).toEqual([null, '2', '3600000', '5']);
    const rest = finished(worker, 3);
    // Of its own is all of it: no rate.
    await operator(() => queue.setTenantLimits('acme', { weight: 1 }));
    expect((await rest).map(({ result }) => result)).toEqual(['acme', 'acme', 'acme']);
    expect(await meta('acme')).toEqual([null, null, null, '1']);
    await operator(() => queue.setTenantLimits('acme', {}));
    await withTenant('acme', () => queue.add('n', {}));
    await expect.poll(() => meta('acme')).toEqual([null, '2', '3600000', '5']);
    expect(await withTenant('acme2', () => queue.getWaitingCount())).toBe(3);
  });

  it('is taken back by workers that have none, and not from what was set before there were defaults', async () => {
    const queue = on.queue('mail');
    await on.redis.hset('bull:mail~old:meta', 'concurrency', '7');
    const one = on.worker('mail', async () => undefined, { tenant: tenant({ concurrency: 1, weight: 2 }) });
    const done = finished(one, 2);
    for (const of of ['acme', 'old']) await withTenant(of, () => queue.addBulk(jobs(1)));
    await done;
    await one.close();
    expect(await meta('acme')).toEqual(['1', null, null, '2']);
    const two = on.worker('mail', async () => undefined);
    const more = finished(two, 2);
    for (const of of ['acme', 'old']) await withTenant(of, () => queue.addBulk(jobs(1)));
    await more;
    expect(await meta('acme')).toEqual([null, null, null, null]);
    expect(await meta('old')).toEqual(['7', null, null, null]);
    expect(await operator(() => queue.getTenantLimits('old'))).toEqual({ concurrency: 7 });
  });

  it('stays a default when the tenant removes its queue', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => undefined, { tenant: tenant({ concurrency: 1 }) });
    const done = finished(worker, 1);
    await withTenant('acme', () => queue.add('n', {}));
    await done;
    await withTenant('acme', () => queue.obliterate());
    expect(await operator(() => queue.getTenantLimits('acme'))).toEqual({});
    expect(await meta('acme')).toEqual(['1', null, null, null]);
  });

  it.each([{ concurrency: 0 }, { concurrency: '2' }, { rate: { max: 1 } }, { rate: 5 }, { weight: 1_001 }])(
    '%j is refused',
    (limits) => {
      expect(() =>
        on.worker('mail', async () => undefined, { tenant: tenant(limits as TenantLimits) }),
      ).toThrow(ConfigError);
    },
  );

  it('is a worker’s: a Queue hands out no turns', () => {
    expect(() => on.queue('mail', { tenant: tenant({ concurrency: 2 }) })).toThrow(/tenant.*concurrency/);
  });
});
