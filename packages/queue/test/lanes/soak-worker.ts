import { setTimeout as wait } from 'node:timers/promises';
import { currentTenant } from '@tenantkit/core';
import { Worker } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import { KEY } from '../keys.ts';

// A process of workers, to be killed at any moment. What has run it writes to Redis, where the test reads it.
const [url = '', prefix = ''] = process.argv.slice(2);
const redis = new Redis(url, { maxRetriesPerRequest: null });

interface Data {
  readonly tenant: string;
  readonly fails: boolean;
}

const worker = new Worker<Data>(
  'soak',
  async (job) => {
    if (currentTenant()?.tenant !== job.data.tenant)
      await redis.hincrby(`${prefix}:wrong`, job.data.tenant, 1);
    // As long as a small job takes: so that a kill meets some of them.
    await wait(Math.random() * 4);
    if (job.data.fails && job.attemptsMade === 0) throw new Error('once more');
    await redis.hincrby(`${prefix}:done`, `${currentTenant()?.tenant} ${job.id}`, 1);
  },
  {
    connection: redis,
    prefix,
    concurrency: 5,
    lockDuration: 3_000,
    stalledInterval: 1_000,
    maxStalledCount: 1_000,
    tenant: { signingKeys: [KEY] },
  },
);
worker.on('error', ({ message }) => void redis.rpush(`${prefix}:errors`, message));
await worker.waitUntilReady();
process.stdout.write('ready\n');
