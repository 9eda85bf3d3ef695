import assert from 'node:assert/strict';
import { withTenant } from '@tenantkit/core';
import { Client } from '@tenantkit/search';

const client = new Client({ node: 'http://127.0.0.1:1', tenant: { indices: ['orders'] } });
await assert.rejects(client.search({ index: 'orders' }), { code: 'TENANT_MISSING' });
await withTenant('acme', () =>
  assert.rejects(client.search({ index: '_all' }), { code: 'OPERATION_REFUSED' }),
);
