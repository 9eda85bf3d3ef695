import { breach, isTenantkitError, ruleFor } from '@tenantkit/core';
import { encodePath } from './copy-source.ts';
import type { OutputField, OutputFields } from './fields.ts';
import type { Call, Realm } from './rewrite.ts';

/**
 * Makes a reply logical. Fields that the table does not know are withheld.
 *
 * @throws IsolationBreachError when the reply names something outside the tenant
 */
export function rewriteOutput(realm: Realm, call: Call, output: unknown): unknown {
  if (typeof output !== 'object' || output === null) return output;
  const encoded = 'EncodingType' in output && output.EncodingType === 'url';
  const { $metadata, ...reply } = output as Record<string, unknown>;
  return { $metadata, ...rewriteRecord(realm, call, call.plan.output, reply, encoded) };
}

/**
 * Makes an error of the server logical, in place, so that it stays an instance of its class with its stack.
 *
 * @returns the same error, or an IsolationBreachError when it names a key outside the tenant
 */
export function rewriteError(realm: Realm, call: Call, error: unknown): unknown {
  if (!(error instanceof Error) || isTenantkitError(error)) return error;
  const holder = error as Error & Record<string, unknown>;
  const speak = speaker(realm, call);
  for (const name of Object.getOwnPropertyNames(holder)) {
    const value = holder[name];
    if (typeof value !== 'string') continue;
    if (name === 'Key' && realm.names.tenantOf(value) !== call.tenant) {
      return breach('storage', call.operation, 'an error named a key outside the tenant', call.tenant);
    }
    const logical = name === '$responseBodyText' ? '' : speak(value);
    if (logical !== value) Object.defineProperty(holder, name, { value: logical });
  }
  const response = holder['$response'];
  // A reply that could not be read is kept here as text, keys and all.
  if (typeof response === 'object' && response !== null && 'body' in response) {
    if (typeof response.body === 'string') response.body = '';
  }
  return error;
}

function rewriteRecord(
  realm: Realm,
  call: Call,
  fields: OutputFields,
  record: object,
  encoded: boolean,
): Record<string, unknown> {
  const logical: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(record)) {
    const field = ruleFor(fields, name);
    if (field !== undefined) {
      logical[name] = value === undefined ? value : rewriteValue(realm, call, field, value, encoded);
    }
  }
  return logical;
}

function rewriteValue(
  realm: Realm,
  call: Call,
  field: OutputField,
  value: unknown,
  encoded: boolean,
): unknown {
  if (typeof field === 'string') return READERS[field](realm, call, value, encoded);
  const record = (fields: OutputFields, one: unknown): Record<string, unknown> =>
    rewriteRecord(realm, call, fields, Object(one) as object, encoded);
  if ('of' in field) return record(field.of, value);
  return Array.isArray(value) ? value.map((one) => record(field.each, one)) : [];
}

type Reader = (realm: Realm, call: Call, value: unknown, encoded: boolean) => unknown;

const logicalKey: Reader = ({ names }, { tenant, operation }, value, encoded) =>
  names.decode(tenant, value, operation, encoded);

/** How each kind of field is read. */
const READERS: Readonly<Record<Extract<OutputField, string>, Reader>> = {
  same: (_realm, _call, value) => value,
  key: logicalKey,
  prefix: logicalKey,
  // An empty one names nothing: some servers repeat the parameter that was not given.
  startAfter: (realm, call, value, encoded) => (value === '' ? '' : logicalKey(realm, call, value, encoded)),
  token: (_realm, call) => call.token,
  nextToken: ({ sealer }, { place }, value) => sealer.seal(String(value), place),
};

// In free text a name can stand anywhere; what is replaced are the very names that this call has sent, longest
// first and in one pass, so that a logical key which looks like a physical one is not cut a second time.
function speaker(realm: Realm, call: Call): (text: string) => string {
  const prefix = realm.names.prefix(call.tenant);
  const spellings = new Map<string, string>();
  for (const [physical, logical] of [[prefix, ''] as const, ...call.spellings]) {
    spellings.set(physical, logical).set(encodePath(physical), encodePath(logical));
  }
  const names = [...spellings.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(
    names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')).join('|'),
    'g',
  );
  return (text) => text.replace(pattern, (name) => spellings.get(name) ?? '');
}
