import { ConfigError } from '@tenantkit/core';

const CONTROL = /^tk-control-[0-9a-f]{32}$/;

/** Whether `tenant` is a throw-away tenant of a positive control. */
export function isControl(tenant: string): boolean {
  return CONTROL.test(tenant);
}

/** Throws unless `tenant` is a throw-away one: a customer's tombstone must outlive every mistake of a caller. */
export function assertControl(tenant: string): void {
  if (isControl(tenant)) return;
  throw new ConfigError({
    surface: 'crypto',
    operation: 'removeControl',
    problem: 'only the throw-away tenant of a positive control can be removed without a tombstone',
    hint: 'Use keyring.shred(tenant): its tombstone keeps the tenant from being given new keys.',
  });
}
