import assert from 'node:assert/strict';
import { Queue, Worker } from '@tenantkit/queue';

const secret = 'a secret of at least thirty-two bytes, for this program only';
const connection = { host: '127.0.0.1', port: 1, lazyConnect: true, retryStrategy: (): null => null };
const tenant = { signingKeys: [{ kid: 'one', secret }] };
const queue = new Queue('mail', { connection, tenant });
queue.on('error', () => undefined);
await assert.rejects(queue.add('welcome', { to: 'ada' }), { code: 'TENANT_MISSING' });

// A processor in a file: its process is started with a file of the package, which must be among what is published.
const file = new URL('./queue-processor.ts', import.meta.url);
const worker = new Worker('mail', file, { connection, tenant, autorun: false });
worker.on('error', () => undefined);
const pool = Reflect.get(worker, 'childPool') as unknown as {
  retain(file: string): Promise<{ readonly exitCode: number | null }>;
  clean(): Promise<void>;
};
assert.equal((await pool.retain(file.href)).exitCode, null);
await pool.clean();
process.exit(0);
