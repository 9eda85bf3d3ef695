import { refusal, refuse, type OperationRefusedError, type RefuseRule } from '@tenantkit/core';

/** A refusal with the error of a function of the service behind it, for its log: not for whoever has called. */
export function refusedBecause(operation: string, rule: RefuseRule, cause: unknown): OperationRefusedError {
  const error = refusal('storage', operation, rule);
  return Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true });
}

/** The error for a field that must be there, as `Key` or `Delete.Objects[1].Key`. */
export function missing(operation: string, field: string): OperationRefusedError {
  const instead =
    field === 'UploadId'
      ? 'Give it as an earlier reply has named it.'
      : `Give ${field}${field.endsWith('Key') ? ' as a text' : ''}.`;
  return refusal('storage', operation, refuse(`${field} is missing`, instead));
}
