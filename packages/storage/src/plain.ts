import { isDate } from 'node:util/types';
import { refusal, refuse } from '@tenantkit/core';
import { ownBytes, viewOf } from './body.ts';

// What a value may be at most. Each character is looked at several times before anything is sent, and nobody else is
// served meanwhile.
/** A header cannot be longer. */
const MAX_TEXT = 12_288;
/** What AWS takes of a query, in bytes. */
const MAX_LONG_TEXT = 262_144;
const MAX_ENTRIES = 100;

/**
 * A copy that holds no code of the caller's: a getter or a `toString` would run in the middle of the call, where
 * the client's credentials are at hand, and could answer every reading differently.
 *
 * @throws OperationRefusedError for control characters, for anything else than texts, numbers, booleans, dates, bytes,
 *   and lists and records of them, and for what is too long
 */
export function plainValue(operation: string, field: string, value: unknown, depth = 0): unknown {
  if (typeof value === 'string') {
    assertLength(operation, field, value.length, MAX_TEXT);
    if (!CONTROL.test(value)) return value;
    const rule = refuse(`${field} has a control character`, 'Remove it: it would end a header.', 'value');
    throw refusal('storage', operation, rule);
  }
  if (typeof value === 'number' || typeof value === 'boolean') return value;
  if (isDate(value)) return new Date(Date.prototype.getTime.call(value));
  const bytes = viewOf(value);
  if (bytes !== undefined) {
    assertLength(operation, field, bytes.length, MAX_TEXT, 'bytes');
    return ownBytes(bytes);
  }
  if (typeof value === 'object' && value !== null && depth === 0) {
    if ((Array.isArray(value) ? value.length : Object.keys(value).length) > MAX_ENTRIES) {
      const rule = refuse(`${field} has more than ${MAX_ENTRIES} entries`, 'Send several commands.');
      throw refusal('storage', operation, rule);
    }
    const entries = Object.entries(value).filter(([, one]) => one !== undefined && one !== null);
    const copies = entries.map(([name, one]) => [name, plainValue(operation, field, one, 1)] as const);
    return Array.isArray(value) ? copies.map(([, one]) => one) : Object.fromEntries(copies);
  }
  throw refusal(
    'storage',
    operation,
    refuse(`${field} is not a plain value`, 'Give a text, number, boolean, date or bytes.', 'value'),
  );
}

/**
 * A text inside of XML, where separators of records and fields stand: line breaks and tabs are fine.
 *
 * @throws OperationRefusedError for other control characters, for anything else than a text, and for one that is too
 *   long
 */
export function plainText(operation: string, field: string, value: unknown): string {
  if (typeof value === 'string') assertLength(operation, field, value.length, MAX_LONG_TEXT);
  if (typeof value === 'string' && !CONTROL.test(value.replace(/[\t\n\r]/g, ''))) return value;
  const rule = refuse(
    `${field} is not a text without control characters`,
    'Give a text; of control characters, only tabs and line breaks.',
    'value',
  );
  throw refusal('storage', operation, rule);
}

// oxlint-disable-next-line no-control-regex -- these are what is looked for
const CONTROL = /[\u0000-\u001f\u007f]/;

function assertLength(
  operation: string,
  field: string,
  length: number,
  max: number,
  unit = 'characters',
): void {
  if (length <= max) return;
  throw refusal('storage', operation, refuse(`${field} is too long`, `Give ${max} ${unit} at most.`));
}
