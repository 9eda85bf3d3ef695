import {
  TenantSwitchError,
  assertId,
  currentTenant,
  publish,
  refusal,
  type RefuseRule,
  type TenantContext,
} from '@tenantkit/core';

/**
 * Who is at work on a named tenant: an operator outside of any tenant, or that tenant itself. The id is checked
 * before it becomes part of a path.
 *
 * @throws {@link InvalidTenantError}
 * @throws {@link TenantSwitchError} inside of another tenant
 */
export function operatorOf(operation: string, tenant: string): TenantContext {
  assertId(tenant);
  const context = currentTenant();
  if (context !== undefined && context.tenant !== tenant) {
    const error = new TenantSwitchError({ surface: 'crypto', operation });
    publish('refused', { surface: 'crypto', operation, message: error.message, tenant: context.tenant });
    throw error;
  }
  return context ?? { tenant };
}

/** @throws {@link OperationRefusedError} inside of any tenant */
export function outsideOnly(operation: string, why: RefuseRule): void {
  if (currentTenant() !== undefined) throw refusal('crypto', operation, why);
}
