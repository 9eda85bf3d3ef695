import assert from 'node:assert/strict';
import { Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';

const redis = new Redis({ lazyConnect: true, tenant: { hashTag: true } });
await assert.rejects(redis.get('user:1'), { code: 'TENANT_MISSING' });
await withTenant('acme', () => assert.rejects(redis.config('GET', '*'), { code: 'OPERATION_REFUSED' }));
