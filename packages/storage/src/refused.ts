import { refusal, type OperationRefusedError, type RefuseRule } from '@tenantkit/core';

/** A refusal with the error of a function of the service behind it, for its log: not for whoever has called. */
export function refusedBecause(operation: string, rule: RefuseRule, cause: unknown): OperationRefusedError {
  const error = refusal('storage', operation, rule);
  return Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true });
}
