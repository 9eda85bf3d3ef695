import { withTenant } from '@tenantkit/core';
import { startRedisNode, type RedisNode } from '@tenantkit/testing/servers';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Queue, Worker } from '@tenantkit/queue';
import { KEY } from './keys.ts';

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

  it('does not ask without end meanwhile, and is woken', async () => {
    await withJob();
    await redis.config('SET', 'maxmemory', '1mb');
    const { errors, done } = running({ url: server.url }, ASLEEP);
    await expect.poll(async () => String(await redis.client('LIST'))).toContain('cmd=bzpopmin');
    await redis.config('SET', 'maxmemory', '0');
    await withJob();

    expect(await done).toBe('w-1');
    // By itself, and as the note of the first job told it to.
    expect(errors.length).toBeLessThan(10);
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
});
