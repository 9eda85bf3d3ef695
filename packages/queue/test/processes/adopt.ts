import { acrossTenants } from '@tenantkit/core';
import { Queue, adoptJobs } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import { KEY } from '../keys.ts';

// An adoption, to be killed at any moment. A job says itself whose it is.
const [url = ''] = process.argv.slice(2);
const redis = new Redis(url, { maxRetriesPerRequest: null });
const queue = new Queue('mail', { connection: redis, tenant: { signingKeys: [KEY] } });
process.stdout.write('ready\n');
const { adopted } = await acrossTenants({ reason: 'a test', actor: 'vitest' }, () =>
  adoptJobs(queue, { tenantOf: ({ data }) => (data as { tenant: string }).tenant }),
);
process.stdout.write(`${JSON.stringify(adopted)}\n`);
await queue.close();
redis.disconnect();
