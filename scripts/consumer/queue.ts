import assert from 'node:assert/strict';
import { Queue } from '@tenantkit/queue';

const secret = 'a secret of at least thirty-two bytes, for this program only';
const connection = { host: '127.0.0.1', port: 1, lazyConnect: true, retryStrategy: (): null => null };
const queue = new Queue('mail', { connection, tenant: { signingKeys: [{ kid: 'one', secret }] } });
queue.on('error', () => undefined);
await assert.rejects(queue.add('welcome', { to: 'ada' }), { code: 'TENANT_MISSING' });
process.exit(0);
