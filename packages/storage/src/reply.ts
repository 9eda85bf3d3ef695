import { breach, isTenantkitError, ruleFor } from '@tenantkit/core';
import { encodePath } from './copy-source.ts';
import type { OutputField, OutputFields } from './fields/index.ts';
import { OWN_METADATA } from './subject-names.ts';
import { sealUploadId } from './upload-id.ts';
import type { Call, Realm } from './call.ts';

/**
 * Makes a reply logical. Fields that the table does not know are withheld.
 *
 * @throws IsolationBreachError when the reply names something outside the tenant
 */
export function rewriteOutput(realm: Realm, call: Call, output: unknown): unknown {
  if (typeof output !== 'object' || output === null) return output;
  const { $metadata, ...reply } = output as Record<string, unknown>;
  // Ceph encodes the keys of uploads and does not say so.
  const encoded = call.encoded || reply['EncodingType'] === 'url';
  return { $metadata, ...rewriteRecord({ realm, call, encoded }, call.plan.output, reply) };
}

/**
 * Makes an error of the server logical, in place where that can be: an instance of its class, with its stack.
 *
 * @returns the error, or an IsolationBreachError when it names a key outside the tenant
 */
export function rewriteError(realm: Realm, call: Call, error: unknown): unknown {
  if (!(error instanceof Error) || isTenantkitError(error)) return error;
  const speak = speaker(realm, call);
  // A key may have the name of a bucket in it.
  const speakKey = speaker(realm, call, NO_BUCKETS);
  const own = Object.getOwnPropertyDescriptors(error) as Record<string, PropertyDescriptor>;
  // An accessor in newer engines, which reads nothing on another object.
  own['stack'] = { value: error.stack, writable: true, configurable: true };
  const logical: Record<string, string> = {};
  for (const [name, { value }] of Object.entries(own)) {
    if (typeof value !== 'string') continue;
    // The client's own requests have keys that are in no tenant.
    if (name === 'Key' && value !== call.key && realm.names.tenantOf(value) !== call.tenant) {
      return breach('storage', call.operation, 'an error named a key outside the tenant', call.tenant);
    }
    // A reply that could not be read is kept there as text, keys and all.
    const text = name === '$responseBodyText' ? '' : name === 'Key' ? speakKey(value) : speak(value);
    if (text !== value) logical[name] = text;
  }
  const response = own['$response']?.value as object | undefined;
  if (response !== undefined && 'body' in response && typeof response.body === 'string') response.body = '';
  const changed = Object.keys(logical);
  if (changed.every((name) => own[name]?.configurable === true)) {
    for (const name of changed) Object.defineProperty(error, name, { value: logical[name] });
    return error;
  }
  // The SDK lets nobody change that text: a copy of the error, of the same class and with the same stack.
  const copy = Object.setPrototypeOf(new Error(), Object.getPrototypeOf(error) as object) as Error;
  for (const name of changed) own[name] = { ...own[name], value: logical[name] };
  return Object.defineProperties(copy, own);
}

const NO_BUCKETS: ReturnType<typeof otherBuckets> = { names: new Map(), pattern: '' };

/** What a reply is read with. */
interface Reading {
  readonly realm: Realm;
  readonly call: Call;
  /** Whether names are percent-encoded. */
  readonly encoded: boolean;
}

function rewriteRecord(reading: Reading, fields: OutputFields, record: object): Record<string, unknown> {
  const logical: Record<string, unknown> = {};
  for (const name of Object.keys(record)) {
    const field = ruleFor(fields, name);
    if (field === undefined || field === 'withheld') continue;
    const value = (record as Siblings)[name];
    // Nearly all of a listing.
    const isSame = value === undefined || field === 'same';
    logical[name] = isSame
      ? value
      : rewriteValue(reading, field, value, { name, record: record as Siblings });
  }
  return logical;
}

type Siblings = Readonly<Record<string, unknown>>;
type Where = { readonly name: string; readonly record: Siblings };

function rewriteValue(reading: Reading, field: OutputField, value: unknown, where: Where): unknown {
  if (typeof field === 'string') return READERS[field](reading, value, where);
  const record = (fields: OutputFields, one: unknown): Record<string, unknown> =>
    rewriteRecord(reading, fields, Object(one) as object);
  if ('of' in field) return record(field.of, value);
  return Array.isArray(value) ? value.map((one) => record(field.each, one)) : [];
}

type Reader = (reading: Reading, value: unknown, where: Where) => unknown;

const same: Reader = (_reading, value) => value;

const logicalKey: Reader = ({ realm: { names }, call: { tenant, operation }, encoded }, value) =>
  names.decode(tenant, value, operation, encoded);

// An empty one names nothing: some servers repeat the parameter that was not given.
const unlessEmpty =
  (read: Reader): Reader =>
  (reading, value, where) =>
    value === '' ? '' : read(reading, value, where);

const sealUpload = ({ realm, call, encoded }: Reading, id: unknown, key: unknown): string => {
  const physical = encoded ? decodePath(String(key)) : String(key);
  // Of a listing nobody knows whom its uploads are about.
  const subjects = call.plan.target === 'object' ? call.subjects : [];
  return sealUploadId(realm.sealer, String(id), { ...call, key: physical, subjects });
};

/** How each kind of field is read. */
const READERS: Readonly<Record<Extract<OutputField, string>, Reader>> = {
  same,
  withheld: () => undefined,
  bucket({ call }, value) {
    if (value === call.bucket) return call.bucketName;
    throw breach('storage', call.operation, 'a reply named another bucket', call.tenant);
  },
  key: logicalKey,
  prefix: logicalKey,
  marker: unlessEmpty(logicalKey),
  echo: unlessEmpty(({ call }, _value, { name }) => call.given.get(name)),
  nextToken: ({ realm: { sealer }, call: { place } }, value) => sealer.seal(String(value), place),
  uploadId(reading, value, { record }) {
    const { call } = reading;
    const asked = call.sealed.get('uploadId');
    if (asked === undefined) return sealUpload(reading, value, record['Key']);
    // Of the parts of one upload: as the caller knows it, also when it was sealed with an earlier key.
    if (value === asked) return call.given.get('UploadId');
    throw breach('storage', call.operation, 'a reply named another upload', call.tenant);
  },
  nextUploadIdMarker: unlessEmpty((reading, value, { record }) =>
    sealUpload(reading, value, record['NextKeyMarker']),
  ),
  location({ realm, call }, value) {
    const text = String(value);
    const { key = '' } = call;
    for (const spelling of [encodePath(key), key]) {
      if (!text.endsWith(`/${spelling}`)) continue;
      const prefix = realm.names.prefix(call.tenant).length;
      const logical = spelling === key ? key.slice(prefix) : encodePath(key.slice(prefix));
      return `${named(call, text.slice(0, text.length - spelling.length))}${logical}`;
    }
    throw breach('storage', call.operation, 'a reply named the location of another key', call.tenant);
  },
  metadata: (_reading, value) =>
    Object.fromEntries(Object.entries(Object(value) as object).filter(([name]) => !OWN_METADATA.test(name))),
  text({ realm, call }, value, { record }) {
    // Of the one entry that it is about.
    const key = String(record['Key']);
    const logical = realm.names.decode(call.tenant, key, call.operation);
    return speaker(realm, call, otherBuckets(call), [[key, logical]])(String(value));
  },
};

// Servers write a blank as + or %20, and a plus as %2B.
function decodePath(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

// In free text a name can stand anywhere; what is replaced are the very names that this call has sent, longest
// first and in one pass, so that a logical key which looks like a physical one is not cut a second time. Of a batch
// only those that stand there: a pattern of a thousand keys takes seconds, in which nobody is served.
function speaker(
  { names }: Realm,
  { tenant, ...call }: Call,
  buckets = otherBuckets(call),
  sent: Iterable<readonly [string, string]> = call.spellings,
): (text: string) => string {
  const known = [[names.prefix(tenant), ''] as const, ...sent];
  return (text) => {
    const spellings = new Map<string, string>();
    const add = (physical: string, logical: string): void => {
      if (text.includes(physical)) spellings.set(physical, logical);
    };
    const isEncoded = text.includes('%');
    for (const [physical, logical] of known) {
      add(physical, logical);
      if (isEncoded) add(encodePath(physical), encodePath(logical));
    }
    const found = [...spellings.keys()].sort((one, other) => other.length - one.length);
    const patterns = found.map((name) => name.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
    if (buckets.pattern !== '') patterns.push(buckets.pattern);
    if (patterns.length === 0) return text;
    const pattern = new RegExp(patterns.join('|'), 'g');
    return text.replace(pattern, (name) => spellings.get(name) ?? buckets.names.get(name) ?? '');
  };
}

/** The beginning of an address, which names no key. */
function named(call: Call, text: string): string {
  const { names, pattern } = otherBuckets(call);
  return pattern === '' ? text : text.replace(new RegExp(pattern, 'g'), (name) => names.get(name) ?? '');
}

/** The buckets of a tenant's place that the caller knows by other names, as whole words: a name may be part of any. */
function otherBuckets({ home }: Pick<Call, 'home'>): {
  readonly names: ReadonlyMap<string, string>;
  readonly pattern: string;
} {
  const others = [...home.buckets].filter(([accepted, bucket]) => accepted !== bucket);
  const words = others.map(([, bucket]) => bucket.replaceAll('.', String.raw`\.`));
  return {
    names: new Map(others.map(([accepted, bucket]) => [bucket, accepted])),
    pattern: others.length === 0 ? '' : String.raw`(?<![a-z0-9.-])(?:${words.join('|')})(?![a-z0-9-])`,
  };
}
