import { breach, refusal, refuse, ruleFor } from '@tenantkit/core';
import { encodePath } from './copy-source.ts';
import type { OutputField, OutputFields } from './fields/index.ts';
import { named, otherBuckets, speaker } from './speaking.ts';
import { OWN_METADATA } from './subject-names.ts';
import { sealUploadId } from './upload-id.ts';
import type { Call, Realm } from './call.ts';

export { rewriteError } from './reply-error.ts';

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
  if (!Array.isArray(value)) return [];
  if (value.length > MAX_ENTRIES) throw refusal('storage', reading.call.operation, TOO_MANY);
  return value.map((one) => record(field.each, one));
}

/** How many entries a list may have: S3 has 1,000, other servers up to this. The upload id of each is sealed. */
export const MAX_ENTRIES = 10_000;

const TOO_MANY = refuse(
  `the server’s reply has a list of more than ${MAX_ENTRIES} entries`,
  'Look what answers there: no S3 lists that many at once. Whether the command has taken effect is not known.',
);

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
