import { CrossTenantError, publish } from '@tenantkit/core';
import type { Call } from './call.ts';

/** A request, or a form for one, that would leave the tenant, with its audit event. */
export function astray(
  { operation, tenant }: Call,
  why: string,
  kind: 'form' | 'request' = 'request',
): CrossTenantError {
  const what = `the ${kind} was stopped: ${why}`;
  const error = new CrossTenantError({ surface: 'storage', operation, what });
  publish('refused', { surface: 'storage', operation, message: error.message, tenant });
  return error;
}
