import type { TenantNames } from './names.ts';

/** For whom a command of ioredis's own work is sent: nobody; it names nothing, and may be sent at any time. */
export const OWN: unique symbol = Symbol('tenantkit.cache.own');

/** For whom a command with raw names is sent that was made inside acrossTenants. */
export const RAW: unique symbol = Symbol('tenantkit.cache.raw');

/** MULTI and EXEC of one pipeline: in any other place they would open a transaction that nobody closes. */
export const BRACKET: unique symbol = Symbol('tenantkit.cache.bracket');

/** For whom a command was admitted. */
export type Mark = TenantNames | typeof OWN | typeof RAW | typeof BRACKET;

/** Whether it stands between MULTI and EXEC, or is one of them: it is sent with all of them, or not at all. */
export function isPart({ inTransaction, mark }: { inTransaction: boolean; mark: Mark }): boolean {
  return inTransaction || mark === BRACKET;
}
