import { refusal, refuse, ruleFor, type RefuseRule } from '@tenantkit/core';
import { shown } from '../grammar.ts';
import type { InputField, InputFields } from './types.ts';

// Several times what any command has; a million that are undefined would keep everybody waiting.
const MAX_FIELDS = 200;

/**
 * Reads the fields of a structure, each of them once: a getter must not answer the check one way and the request
 * another.
 *
 * @param path - where the structure stands, for errors: `Delete.`
 * @param ignored - further fields, which are left out
 * @throws OperationRefusedError for a field that is refused, or that has no row, and for too many fields
 */
export function readRecord(
  operation: string,
  rows: InputFields,
  given: unknown,
  { path = '', ignored }: { path?: string; ignored?: InputFields | undefined } = {},
): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  const record = Object(given) as Readonly<Record<string, unknown>>;
  const names = Object.keys(record);
  if (names.length > MAX_FIELDS) {
    const why = `${path === '' ? 'it' : path.slice(0, -1)} has more than ${MAX_FIELDS} fields`;
    throw refusal('storage', operation, refuse(why, 'Leave out those that are undefined.'));
  }
  for (const field of names) {
    const value = record[field];
    if (value === undefined || value === null) continue;
    const row: InputField | RefuseRule | undefined = ruleFor(rows, field);
    if (row === undefined && ignored !== undefined && ruleFor(ignored, field) !== undefined) continue;
    if (row === undefined) {
      throw refusal(
        'storage',
        operation,
        refuse(
          `nobody has decided whether its field "${path}${shown(field)}" stays inside a tenant`,
          'Leave the field out; update tenantkit if it is new in the SDK.',
        ),
      );
    }
    if ('kind' in row) throw refusal('storage', operation, { ...row, why: `${path}${field}: ${row.why}` });
    fields.set(field, value);
  }
  return fields;
}
