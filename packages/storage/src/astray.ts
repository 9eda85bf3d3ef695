import { CrossTenantError, publish } from '@tenantkit/core';
import type { Call } from './call.ts';

/** A request that would leave the tenant, with its audit event. */
export function astray({ operation, tenant }: Call, why: string): CrossTenantError {
  const what = `the request was stopped: ${why}`;
  const error = new CrossTenantError({ surface: 'storage', operation, what });
  publish('refused', { surface: 'storage', operation, message: error.message, tenant });
  return error;
}
