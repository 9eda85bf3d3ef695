import { TenantSwitchError, publish, requireScope, type Scope } from '@tenantkit/core';

/** The error for what is called outside of any scope. */
export function missing(operation: string): Error {
  try {
    requireScope({ surface: 'cache', operation });
  } catch (error) {
    return error as Error;
  }
  throw new TypeError(`${operation}: there is a scope`);
}

/** The error for what is used in another scope than it was made in; whoever listens hears of it. */
export function switched(operation: string, scope: Scope): TenantSwitchError {
  const error = new TenantSwitchError({
    surface: 'cache',
    operation,
    what: 'Something that was made in one tenant was used in another.',
  });
  publish('refused', {
    surface: 'cache',
    operation,
    message: error.message,
    tenant: scope.tenant?.tenant,
    actor: scope.tenant?.actor ?? scope.bypass?.actor,
  });
  return error;
}
