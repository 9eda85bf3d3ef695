import { acrossTenants, withTenant } from '@tenantkit/core';
import { startRedisNode, type RedisNode } from '@tenantkit/testing/servers';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FlowProducer, Queue, QueueEvents, Worker } from '@tenantkit/queue';
import { KEY } from './keys.ts';
import { OPERATOR } from './support.ts';

const tenant = { signingKeys: [KEY] };
/** For how long a worker sleeps that nobody wakes, in seconds. */
const ASLEEP = 600;
/** A closed port: nobody is the master. */
const NOBODY = 1;

// A server of one's own: it is made a replica, and its scripts are flushed.
let server: RedisNode & { stop(): Promise<void> };
let redis: Redis;
let opened: { close(force?: boolean): Promise<void> }[] = [];
beforeAll(async () => {
  server = await startRedisNode();
  redis = new Redis(server.url, { maxRetriesPerRequest: null });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await redis.flushall();
  await redis.script('FLUSH');
});
afterEach(async () => {
  for (const made of opened.splice(0)) await made.close(true);
});

/** Adds a job to a queue. Of the scripts of workers its server knows none then. */
async function withJob(): Promise<void> {
  const queue = new Queue('mail', { connection: redis, tenant });
  opened.push(queue);
  await withTenant('acme', () => queue.add('welcome', {}, { jobId: 'w-1' }));
}

/** Runs a worker, and collects what it tells. */
function running(
  connection: Redis | { readonly url: string },
  drainDelay = 0.1,
): {
  readonly errors: Error[];
  readonly failed: Promise<Error>;
  readonly done: Promise<string | undefined>;
  readonly drained: Promise<void>;
  close(): Promise<void>;
} {
  const made = new Worker('mail', (job) => Promise.resolve(job.id), { connection, tenant, drainDelay });
  opened.push(made);
  const errors: Error[] = [];
  const failed = Promise.withResolvers<Error>();
  const done = Promise.withResolvers<string | undefined>();
  const drained = Promise.withResolvers<void>();
  made.on('error', (error) => {
    errors.push(error);
    failed.resolve(error);
  });
  made.on('completed', ({ id }) => done.resolve(id));
  made.on('drained', drained.resolve);
  return {
    errors,
    failed: failed.promise,
    done: done.promise,
    drained: drained.promise,
    close: () => made.close(),
  };
}

/** What says something else than why the server refused. */
function others(errors: readonly Error[], reason: string): readonly string[] {
  return errors.map(({ message }) => message).filter((message) => !message.startsWith(reason));
}

describe('a worker that starts while its server takes no writes', () => {
  it('says why, and works once the server is the master', async () => {
    await withJob();
    await redis.replicaof('127.0.0.1', NOBODY);
    const { errors, failed, done } = running({ url: server.url });
    await failed;
    await redis.replicaof('NO', 'ONE');

    expect(await done).toBe('w-1');
    expect(others(errors, 'READONLY ')).toEqual([]);
  });

  it('says why, and works once there is memory', async () => {
    await withJob();
    await redis.config('SET', 'maxmemory', '1mb');
    const { errors, failed, done } = running({ url: server.url });
    await failed;
    await redis.config('SET', 'maxmemory', '0');

    expect(await done).toBe('w-1');
    expect(others(errors, 'OOM ')).toEqual([]);
  });

  it('says why, and works once it is allowed to', async () => {
    await withJob();
    await redis.acl('SETUSER', 'worker', 'on', '>secret', '~*', '&*', '+@all', '-incr');
    const { errors, failed, done } = running({
      url: server.url.replace('redis://', 'redis://worker:secret@'),
    });
    await failed;
    await redis.acl('SETUSER', 'worker', '+incr');

    expect(await done).toBe('w-1');
    expect(errors.filter(({ name }) => name !== 'ReplyError')).toEqual([]);
  });

  it('asks once a second meanwhile, and needs nobody to wake it', async () => {
    await withJob();
    await redis.config('SET', 'maxmemory', '1mb');
    const { errors, failed, done } = running({ url: server.url }, ASLEEP);
    await failed;
    const first = performance.now();
    // Those of one sweep, and of three looks.
    await expect.poll(() => errors.length, { timeout: 10_000 }).toBe(4);
    expect(performance.now() - first).toBeGreaterThan(1_900);
    await redis.config('SET', 'maxmemory', '0');

    expect(await done).toBe('w-1');
  });

  it('works on a connection whose server has forgotten its scripts', async () => {
    const first = running(redis);
    await first.drained;
    await first.close();
    await redis.script('FLUSH');
    await withJob();
    const { errors, done } = running(redis);

    expect(await done).toBe('w-1');
    expect(errors).toEqual([]);
  });

  it('works on a connection whose server has forgotten a script that was used for several jobs', async () => {
    const queue = new Queue('mail', { connection: redis, tenant });
    opened.push(queue);
    await withTenant('acme', () => queue.addBulk([{ name: 'welcome', data: {}, opts: { jobId: 'w-1' } }]));
    await redis.script('FLUSH');
    const { errors, done } = running(redis);

    expect(await done).toBe('w-1');
    expect(errors).toEqual([]);
  });
});

it('a worker of one tenant whose server stops taking writes asks a few times a second, and goes on', async () => {
  const queue = new Queue('mail', { connection: redis, tenant });
  opened.push(queue);
  const jobs = Array.from({ length: 5_000 }, () => ({ name: 'welcome', data: {} }));
  await withTenant('acme', () => queue.addBulk(jobs));
  const { errors, failed, done } = running({ url: server.url });
  await done;
  await redis.replicaof('127.0.0.1', NOBODY);
  await failed;
  const first = performance.now();
  try {
    // At first those of the job that ran, and of the next one; then a few each second. Else they are 15 in a moment.
    await expect.poll(() => errors.length, { timeout: 25_000 }).toBeGreaterThan(15);
    expect(performance.now() - first).toBeGreaterThan(900);
  } finally {
    await redis.replicaof('NO', 'ONE');
  }
  const before = await redis.zcard('bull:mail~acme:completed');
  await expect
    .poll(() => redis.zcard('bull:mail~acme:completed'), { timeout: 10_000 })
    .toBeGreaterThan(before);
}, 40_000);

describe('what is sent as one transaction', () => {
  /** Each of them once, on jobs that are there for it. */
  async function calls(): Promise<() => Promise<Record<string, string>>> {
    const queue = new Queue('mail', { connection: { url: server.url }, tenant });
    const flows = new FlowProducer({ connection: { url: server.url }, tenant });
    const other = new Queue('others', { connection: { url: server.url }, tenant });
    opened.push(queue, flows, other);
    const failing = new Worker('mail', () => Promise.reject(new Error('bad')), { connection: redis, tenant });
    const ended = Promise.withResolvers<void>();
    let left = 2;
    failing.on('failed', () => --left === 0 && ended.resolve());
    const [one] = await withTenant('acme', () =>
      queue.addBulk(['one', 'two'].map((jobId) => ({ name: 'n', data: {}, opts: { jobId } }))),
    );
    await ended.promise;
    await failing.close();
    const parent = await withTenant('acme', () =>
      flows.add({ name: 'p', queueName: 'mail', children: [{ name: 'c', queueName: 'mail' }] }),
    );
    const { id = '', queueQualifiedName } = parent.job;
    const all: Record<string, () => Promise<unknown>> = {
      'flows.add': () =>
        flows.add({ name: 'p', queueName: 'mail', children: [{ name: 'c', queueName: 'mail' }] }),
      add: () => queue.add('child', {}, { parent: { id, queue: queueQualifiedName } }),
      retry: async () => one?.retry(),
      retryJobs: () => queue.retryJobs(),
      obliterate: async () => {
        await other.pause();
        await other.obliterate();
      },
    };
    return async () => {
      const answers: Record<string, string> = {};
      for (const [name, call] of Object.entries(all))
        answers[name] = await withTenant('acme', call).then(
          () => 'ok',
          ({ message }: Error) => message.split(' ')[0] ?? '',
        );
      return answers;
    };
  }
  const OK = { 'flows.add': 'ok', add: 'ok', retry: 'ok', retryJobs: 'ok', obliterate: 'ok' };

  it('goes on when the server has memory again', async () => {
    const run = await calls();
    await redis.script('FLUSH');
    // Of two scripts of a retry the server knows one: half of it would be done.
    const scripts = Object.entries(
      Reflect.get(redis, 'scriptsSet') as Record<string, { readonly lua: string }>,
    );
    const [, reprocess] = scripts.find(([name]) => name.startsWith('reprocessJob:')) ?? [];
    await redis.script('LOAD', reprocess?.lua ?? '');
    await redis.config('SET', 'maxmemory', '1mb');
    expect(Object.values(await run())).toContain('OOM');
    await redis.config('SET', 'maxmemory', '0');
    expect(await run()).toEqual(OK);
  });

  it('goes on at once when the server has forgotten its scripts', async () => {
    const run = await calls();
    await redis.script('FLUSH');
    expect(await run()).toEqual(OK);
  });
});

it('an operator who begins to listen while the server refuses hears all once it does not', async () => {
  await redis.acl('SETUSER', 'listener', 'on', '>secret', '~*', '&*', '+@all', '-eval', '-evalsha');
  const url = server.url.replace('redis://', 'redis://listener:secret@');
  const events = new QueueEvents('mail', { connection: { url }, tenant, blockingTimeout: 50 });
  opened.push(events);
  const failed = Promise.withResolvers<Error>();
  const heard = Promise.withResolvers<string>();
  events.on('error', failed.resolve);
  acrossTenants(OPERATOR, () => events.on('added', ({ jobId }) => heard.resolve(jobId)));
  expect((await failed.promise).message).toMatch(/^NOPERM /);
  await redis.acl('SETUSER', 'listener', '+eval', '+evalsha');
  const queue = new Queue('mail', { connection: redis, tenant });
  opened.push(queue);
  const adding = setInterval(() => void withTenant('acme', () => queue.add('n', {})).catch(heard.reject), 50);
  expect(await heard.promise).toMatch(/^[0-9a-f-]{36}$/);
  clearInterval(adding);
});
