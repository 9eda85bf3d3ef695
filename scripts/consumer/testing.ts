import assert from 'node:assert/strict';
import { TENANTS } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';

assert.ok(TENANTS.length > 1);
await using servers = await startServers({ quiet: true });
assert.deepEqual(servers.env(), {});
