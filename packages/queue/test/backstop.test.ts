import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { ConfigError, acrossTenants, isVerified, withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QueueEvents, QueueEventsProducer, queueAuditor, queueBackstop, queueEraser } from '@tenantkit/queue';
import { KEY, OPERATOR, bench, finished, type Bench } from './support.ts';

const user = `tk-test-${randomBytes(8).toString('hex')}`;
const password = randomBytes(24).toString('hex');

let on: Bench;
let limited: Redis;
beforeAll(async () => {
  on = await bench();
  const { rules } = queueBackstop({ user, queues: ['mail'] });
  await on.redis.call('ACL', 'SETUSER', ...rules, `>${password}`, 'on');
  limited = new Redis(on.url, { username: user, password, maxRetriesPerRequest: null });
});
afterAll(async () => {
  limited.disconnect();
  await on.redis.call('ACL', 'DELUSER', user);
  await on[Symbol.asyncDispose]();
});

const closing = <T extends { close(): Promise<void> }>(made: T): AsyncDisposable & { readonly made: T } => ({
  made,
  [Symbol.asyncDispose]: () => made.close(),
});

describe('the Redis user of a queue', () => {
  it('can do all that queues and workers do', async () => {
    const queue = on.queue('mail', { connection: limited });
    const errors: unknown[] = [];
    queue.on('error', (error) => void errors.push(error));
    const worker = on.worker(
      'mail',
      async (job) => {
        await job.log('x');
        await job.updateProgress(1);
        await job.extendLock(job.token ?? '', 5_000);
        if (job.name === 'bad' || job.attemptsMade === 0) throw new Error('bad');
        return 'done';
      },
      {
        connection: limited,
        stalledInterval: 50,
        lockRenewTime: 20,
        metrics: { maxDataPoints: 10 },
        limiter: { max: 1_000, duration: 1_000 },
        removeOnComplete: { age: 1 },
      },
    );
    worker.on('error', (error) => void errors.push(error));
    const done = finished(worker, 4);
    await withTenant('acme', () =>
      queue.addBulk([
        { name: 'n', data: {}, opts: { jobId: 'one', attempts: 2, backoff: 5 } },
        { name: 'n', data: {}, opts: { attempts: 2, delay: 5 } },
        { name: 'n', data: {}, opts: { attempts: 2, backoff: 1, priority: 1, lifo: true } },
        { name: 'bad', data: {}, opts: { removeOnFail: true } },
      ]),
    );
    expect((await done).map(({ event }) => event).toSorted()).toEqual([
      'completed',
      'completed',
      'completed',
      'failed',
    ]);
    await withTenant('acme', async () => {
      expect((await queue.getJob('one'))?.returnvalue).toBe('done');
      expect(await queue.getJobState('one')).toBe('completed');
      expect(await queue.getJobLogs('one')).toMatchObject({ count: 2 });
    });
    await worker.close();
    await queue.close();
    expect(errors).toEqual([]);
  });

  it('can do all that eraser and auditor do, for a tenant and for a person', async () => {
    const queue = on.queue('mail', { connection: limited });
    for (const subject of ['ada', 'bob'])
      await withTenant({ tenant: 'acme', subject }, async () => {
        await queue.add('n', {}, { jobId: subject, deduplication: { id: subject } });
        await queue.upsertJobScheduler(subject, { every: 60_000 });
      });
    // Found by a walk over all keys alone.
    await on.redis.lrem('bull:mail~acme:wait', 0, 'acme~bob');
    const eraser = queueEraser(queue);
    for (const scope of [{ tenant: 'acme', subject: 'ada' }, { tenant: 'acme' }]) {
      expect((await eraser.plan(scope)).items[0]?.count).toBeGreaterThan(0);
      await eraser.erase(scope);
      expect(isVerified(await eraser.verify(scope))).toBe(true);
    }
    for await (const finding of queueAuditor(queue).audit()) expect(finding).toBeUndefined();
  });

  it('can do all that events need', async () => {
    const connection = limited;
    const tenant = { signingKeys: [KEY] };
    const queue = on.queue('mail', { connection });
    await using events = closing(new QueueEvents('mail', { connection, tenant, blockingTimeout: 60_000 }));
    await using producer = closing(new QueueEventsProducer('mail', { connection, tenant }));
    const errors: unknown[] = [];
    events.made.on('error', (error) => void errors.push(error));
    on.worker('mail', async () => 'done', { connection });
    await acrossTenants(OPERATOR, async () => {
      events.made.on('added', () => undefined);
      await events.made.waitUntilReady();
    });
    for (const id of ['acme', 'globex'])
      await withTenant(id, async () => {
        const job = await queue.add('n', {});
        expect(await job.waitUntilFinished(events.made, 10_000)).toBe('done');
        await producer.made.publishEvent({ eventName: 'own' });
      });
    expect(errors).toEqual([]);
  });

  it('can do nothing beside', async () => {
    await on.redis.hset('bull:other:acme~one', 'data', 'secret');
    const refused: [string, ...string[]][] = [
      ['HGETALL', 'bull:other:acme~one'],
      ['SET', 'other', '1'],
      ['DEL', 'bull:other:acme~one'],
      ['EVAL', "return redis.call('HGETALL', 'bull:other:acme~one')", '0'],
      ['KEYS', '*'],
      ['FLUSHDB'],
      ['FLUSHALL'],
      ['CONFIG', 'GET', '*'],
      ['ACL', 'WHOAMI'],
      ['MONITOR'],
      ['SUBSCRIBE', 'x'],
      ['FUNCTION', 'LIST'],
      ['CLIENT', 'LIST'],
      ['CLIENT', 'KILL', 'ID', '1'],
      ['SCRIPT', 'FLUSH'],
      ['DUMP', 'bull:mail:acme~one'],
      ['OBJECT', 'ENCODING', 'bull:mail:acme~one'],
      ['COPY', 'bull:mail:meta', 'bull:other:meta'],
    ];
    for (const [command, ...args] of refused) {
      await expect(limited.call(command, ...args), command).rejects.toThrow(
        /NOPERM|user executing the script can't access/,
      );
    }
    expect(await limited.hgetall('bull:mail:meta')).not.toEqual({});
    expect(await on.redis.hget('bull:other:acme~one', 'data')).toBe('secret');
  });

  it('cannot keep a connection from RESET, which is why `default` has to be switched off', async () => {
    const connection = new Redis(on.url, { username: user, password });
    await expect(connection.call('CONFIG', 'GET', 'databases')).rejects.toThrow(/NOPERM/);
    expect(await connection.call('RESET')).toBe('RESET');
    expect(queueBackstop({ user }).notEnforced.join()).toContain('RESET');
    connection.disconnect();
  });

  it('is honest about what the server cannot do', () => {
    const { notEnforced, rules } = queueBackstop({ user: 'u' });
    expect(notEnforced.join()).toContain('one tenant from another');
    expect(rules).toContain('~bull:*');
    expect(rules.slice(0, 2)).toEqual(['u', 'reset']);
  });

  it('refuses names that would be patterns', () => {
    for (const bad of [
      { user: 'u v' },
      { user: '' },
      { user: 'u', prefix: 'b*' },
      { user: 'u', queues: ['a?'] },
      { user: 'u', queues: ['~x'] },
      { user: 'u', queues: [] },
      { user: 'u', more: 1 },
    ]) {
      expect(() => queueBackstop(bad as never), JSON.stringify(bad)).toThrow(ConfigError);
    }
  });
});
