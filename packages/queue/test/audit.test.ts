import { once } from 'node:events';
import { inspect } from 'node:util';
import { Worker as RawWorker } from 'bullmq';
import { Redis } from 'ioredis';
import {
  StoreUnreachableError,
  createTenantRegistry,
  memoryTenantStore,
  withTenant,
  type Finding,
} from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { queueAuditor, type QueueAuditorOptions } from '@tenantkit/queue';
import { KEY, OTHER_KEY, audited, bench, finished, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

async function audit(
  options: Partial<QueueAuditorOptions> = {},
  signal = new AbortController().signal,
): Promise<Finding[]> {
  const found: Finding[] = [];
  const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [KEY], ...options });
  for await (const finding of auditor.audit(signal)) found.push(finding);
  return found.toSorted((a, b) => (a.name ?? '').localeCompare(b.name ?? ''));
}

const brief = (found: readonly Finding[]): unknown =>
  found.map(({ code, name }) => [code, name?.replace(/^bull:mail~acme:/, '')]);

describe('the auditor', () => {
  it('finds nothing in a queue that only tenantkit wrote to, in any state', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (job) => {
      await job.log('x');
      if (job.name === 'bad') throw new Error('bad');
    });
    const done = finished(worker, TENANTS.length * 2);
    for (const tenant of TENANTS) {
      await withTenant(tenant, () =>
        queue.addBulk([
          { name: 'n', data: {} },
          { name: 'bad', data: {} },
        ]),
      );
    }
    await done;
    await worker.close();
    for (const tenant of TENANTS) {
      await withTenant(tenant, () =>
        queue.addBulk([
          { name: 'n', data: {} },
          { name: 'n', data: {}, opts: { delay: 60_000 } },
          { name: 'n', data: {}, opts: { priority: 1 } },
        ]),
      );
    }
    const before = await on.redis.dbsize();
    expect(await audit()).toEqual([]);
    expect(await on.redis.dbsize()).toBe(before);
  });

  it('finds what was written past it', async () => {
    const queue = on.queue('mail');
    const raw = on.raw('mail~acme');
    for (const jobId of ['good', 'edited', 'lost', 'orphan'])
      await withTenant('acme', () => queue.add('n', {}, { jobId }));
    await withTenant('acme', () =>
      on.queue('mail', { tenant: { signingKeys: [OTHER_KEY] } }).add('n', {}, { jobId: 'old' }),
    );
    await raw.add('n', {}, { jobId: 'acme~forged' });
    await raw.add('n', {}, { jobId: 'plain' });
    await raw.upsertJobScheduler('s', { every: 60_000 });
    await on.redis.hset('bull:mail~acme:acme~edited', 'data', '{"n":1}');
    await on.redis.del('bull:mail~acme:acme~lost');
    await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~orphan');
    const found = await audit();
    expect(brief(found)).toEqual(
      expect.arrayContaining([
        ['invalid_signature', 'acme~edited'],
        ['missing_job', 'acme~lost'],
        ['orphaned_job', 'acme~orphan'],
        ['unknown_key', 'acme~old'],
        ['unsigned_job', 'acme~forged'],
        ['job_outside_tenant', 'plain'],
        ['unsigned_scheduler', 'repeat:s'],
      ]),
    );
    expect(found.some(({ name }) => name?.endsWith('acme~good'))).toBe(false);
    for (const finding of found) {
      expect(finding).toMatchObject({
        store: 'queue',
        message: expect.stringMatching(/\.$/),
        hint: expect.stringMatching(/\.$/),
      });
    }
    // With the old key in the ring, its job is sound.
    expect(brief(await audit({ signingKeys: [KEY, OTHER_KEY] }))).not.toContainEqual([
      'unknown_key',
      'acme~old',
    ]);
  });

  it('finds a genuine job in a lane that is not its tenant’s, and one in the queue of nobody', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    const hash = await on.redis.hgetall('bull:mail~acme:acme~one');
    for (const place of ['bull:mail~acme2', 'bull:mail', 'bull:mail~no tenant!']) {
      await on.redis.hset(`${place}:acme~one`, hash);
      await on.redis.lpush(`${place}:wait`, 'acme~one');
    }
    const found = await audit();
    expect(found.map(({ code, name }) => [code, name])).toEqual(
      ['bull:mail', 'bull:mail~acme2', 'bull:mail~no tenant!'].map((place) => [
        'invalid_signature',
        `${place}:acme~one`,
      ]),
    );
  });

  it('calls what a raw scheduler has made by the same name as any other raw job', async () => {
    const raw = on.raw('mail');
    await raw.upsertJobScheduler('t', { every: 60_000 });
    await raw.add('n', {}, { jobId: 'plain' });
    const worker = new RawWorker('mail', async () => undefined, { connection: on.redis });
    await Promise.all([once(worker, 'completed'), once(worker, 'drained')]);
    await worker.close();
    const codes = (await audit()).map(({ code, name }) => `${code} ${name?.replace(/\d{10,}/, '…')}`);
    expect(new Set(codes)).toEqual(
      new Set([
        'job_outside_tenant bull:mail:plain',
        'job_outside_tenant bull:mail:repeat:t:…',
        'unsigned_scheduler bull:mail:repeat:t',
      ]),
    );
    // In a lane it is one that somebody has written there.
    await on.raw('mail~acme').upsertJobScheduler('s', { every: 60_000 });
    const inLane = (await audit()).filter(({ name }) => name?.includes('acme'));
    expect(inLane.map(({ code }) => code).toSorted()).toEqual(['unsigned_job', 'unsigned_scheduler']);
  });

  it('does not take a job for missing that ends while it looks', async () => {
    const queue = on.queue('mail');
    for (const jobId of ['ends', 'stays', 'lost'])
      await withTenant('acme', () => queue.add('n', {}, { jobId }));
    await on.redis.del('bull:mail~acme:acme~lost');
    /** A Redis behind which a job is removed as soon as its state was read. */
    class Meanwhile extends Redis {
      override async lrange(...args: Parameters<Redis['lrange']>): Promise<string[]> {
        // One that is added when the keys were walked over already.
        if (String(args[0]) === 'bull:mail~acme:wait')
          await withTenant('acme', () => queue.add('n', {}, { jobId: 'new' }));
        const ids = await super.lrange(...args);
        if (ids.includes('acme~ends')) await withTenant('acme', () => queue.remove('ends'));
        return ids;
      }
    }
    const busy = new Meanwhile(on.url);
    try {
      const found: unknown[] = [];
      const auditor = queueAuditor(busy, { queues: ['mail'], signingKeys: [KEY] });
      for await (const { code, name } of auditor.audit()) found.push([code, name]);
      expect(await on.redis.exists('bull:mail~acme:acme~ends')).toBe(0);
      expect(await on.redis.exists('bull:mail~acme:acme~new')).toBe(1);
      expect(found).toEqual([['missing_job', 'bull:mail~acme:acme~lost']]);
    } finally {
      busy.disconnect();
    }
  });

  it('says of a job that has ended that it holds no key up, and of one that is to run that it does', async () => {
    const old = on.queue('mail', { tenant: { signingKeys: [OTHER_KEY] } });
    const ring = { tenant: { signingKeys: [KEY, OTHER_KEY] } };
    const worker = on.worker(
      'mail',
      async ({ name }) => {
        if (name === 'bad') throw new Error('bad');
      },
      ring,
    );
    const done = finished(worker, 2);
    await withTenant('acme', async () => {
      await old.add('n', {}, { jobId: 'done' });
      await old.add('bad', {}, { jobId: 'failed' });
      await old.add('n', {}, { jobId: 'later', delay: 60_000 });
    });
    await done;
    expect(brief(await audit())).toEqual([
      ['ended_unknown_key', 'acme~done'],
      ['ended_unknown_key', 'acme~failed'],
      ['unknown_key', 'acme~later'],
    ]);
    // Somebody who has written a job that is to run into the finished ones as well.
    await on.redis.zadd('bull:mail~acme:completed', Date.now(), 'acme~later');
    expect(brief(await audit())).toContainEqual(['unknown_key', 'acme~later']);
    expect(brief(await audit({ signingKeys: [KEY, OTHER_KEY] }))).toEqual([]);
    // And one that no state names, of which nobody can tell whether it has ended.
    await on.redis.zrem('bull:mail~acme:completed', 'acme~later', 'acme~done');
    expect(brief(await audit())).toContainEqual(['unknown_key', 'acme~done']);
  });

  it('is followed by queue.remove in the tenant, as its hints say', async () => {
    const queue = on.queue('mail');
    for (const jobId of ['lost', 'orphan', 'good'])
      await withTenant('acme', () => queue.add('n', {}, { jobId }));
    await on.raw('mail~acme').add('n', {}, { jobId: 'acme~forged' });
    await on.redis.del('bull:mail~acme:acme~lost');
    await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~orphan');
    const found = await audit();
    expect(brief(found)).toEqual([
      ['unsigned_job', 'acme~forged'],
      ['missing_job', 'acme~lost'],
      ['orphaned_job', 'acme~orphan'],
    ]);
    for (const { hint } of found) expect(hint).toContain('queue.remove(id)');
    await withTenant('acme', async () => {
      for (const id of ['forged', 'lost', 'orphan']) await queue.remove(id);
    });
    expect(await audit()).toEqual([]);
    expect(await withTenant('acme', () => queue.getWaitingCount())).toBe(1);
  });

  it('finds jobs of erased tenants', async () => {
    const queue = on.queue('mail');
    for (const tenant of ['acme', 'acme2'])
      await withTenant(tenant, () => queue.add('n', {}, { jobId: 'one' }));
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      expect(await audit({ fence })).toEqual([]);
      await fence.markErased('acme');
      expect(brief(await audit({ fence }))).toEqual([['erased_tenant_job', 'acme~one']]);
    } finally {
      fence.close();
    }
  });

  it('stops when it is told to', async () => {
    await withTenant('acme', () => on.queue('mail').add('n', {}));
    const reason = new Error('stop');
    await expect(audit({}, AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  it('keeps its own copy of the keys', async () => {
    await withTenant('acme', () => on.queue('mail').add('n', {}));
    const secret = Buffer.from(String(KEY.secret));
    const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [{ kid: KEY.kid, secret }] });
    secret.fill(0);
    for await (const finding of auditor.audit(new AbortController().signal)) expect(finding).toBeUndefined();
  });

  it('states that it looks at all tenants, once per audit', async () => {
    for (const tenant of TENANTS) await withTenant(tenant, () => on.queue('mail').add('n', {}));
    using bypasses = audited('bypass');
    await audit();
    expect(bypasses.events.map(({ data }) => data.actor.user.name)).toEqual(['tenantkit/queueAuditor.audit']);
  });

  it('says when the server cannot be reached', async () => {
    const away = new Redis({
      host: '127.0.0.1',
      port: 1,
      username: 'someone',
      password: 'a password',
      maxRetriesPerRequest: null,
      retryStrategy: () => 10,
    });
    away.on('error', () => undefined);
    const auditor = queueAuditor(away, { queues: ['mail'], signingKeys: [KEY], timeout: 100 });
    const findings = auditor.audit(new AbortController().signal)[Symbol.asyncIterator]();
    const error: unknown = await findings.next().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(StoreUnreachableError);
    expect(error).toMatchObject({ target: 'redis://127.0.0.1:1' });
    expect(inspect(error)).not.toMatch(/someone|a password/);
    away.disconnect();
  });

  it('needs keys', () => {
    expect(() => queueAuditor(on.redis, { queues: ['mail'] } as never)).toThrow(/signingKeys/);
    expect(() => queueAuditor(on.queue('mail'), { signingKeys: [KEY] })).not.toThrow();
  });
});
