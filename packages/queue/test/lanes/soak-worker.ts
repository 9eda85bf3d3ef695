import { currentTenant } from '@tenantkit/core';
import { Worker, type WorkerOptions } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import { KEY } from '../keys.ts';
import { soakFence } from './soak-fence.ts';
import { PREFIX, runOnce, type SoakData } from './soak-run.ts';

// A process of workers, to be killed at any moment.
const [url = ''] = process.argv.slice(2);
const redis = new Redis(url, { maxRetriesPerRequest: null });
const fence = await soakFence(redis, PREFIX);

const options: WorkerOptions = {
  connection: redis,
  prefix: PREFIX,
  concurrency: 5,
  lockDuration: 3_000,
  stalledInterval: 1_000,
  maxStalledCount: 1_000,
  tenant: { signingKeys: [KEY], fence },
};
const workers = [
  new Worker<SoakData>('soak', (job) => runOnce(redis, currentTenant()?.tenant, job), options),
  new Worker('boxed', new URL('soak-box.ts', import.meta.url), {
    ...options,
    concurrency: 2,
    useWorkerThreads: true,
  }),
];
for (const worker of workers) {
  worker.on('error', ({ message }) => void redis.rpush(`${PREFIX}:errors`, message));
  await worker.waitUntilReady();
}
process.stdout.write('ready\n');
