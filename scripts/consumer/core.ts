import assert from 'node:assert/strict';
import { MissingTenantError, requireTenant, withTenant } from '@tenantkit/core';

assert.equal(
  withTenant('acme', () => requireTenant().tenant),
  'acme',
);
assert.throws(() => requireTenant(), MissingTenantError);
