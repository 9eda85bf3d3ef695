import type { SigningKey } from '@tenantkit/queue';

// Beside support.ts: a process that is started by a test has no test runner to import.
export const KEY: SigningKey = { kid: 'k1', secret: 'a secret of the tests, 32 bytes or more' };
export const OTHER_KEY: SigningKey = { kid: 'k2', secret: 'another secret of the tests, long enough' };
