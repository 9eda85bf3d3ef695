/** What a verification plants under, and removes; see `controlTenant` of core. */
const CONTROL = /^tk-control-[0-9a-f]{32}$/;

/** Whether a tenant is one that only verifications have. */
export function isControl(tenant: string): boolean {
  return CONTROL.test(tenant);
}
