import { SignatureError, publish, refusal, refuse, ruleFor, type RefuseRule } from '@tenantkit/core';
import { VERSION_ID, formatCopySource, parseCopySource } from './copy-source.ts';
import type { InputField, InputRole } from './fields.ts';
import { inputBody } from './outgoing.ts';
import { plainValue } from './plain.ts';
import { shown, type KeyRole } from './grammar.ts';
import type { StorageNames } from './names.ts';
import type { CommandPlan } from './rules.ts';
import type { Sealer } from './seal.ts';

/** What rewriting needs to know of a client. */
export interface Realm {
  readonly names: StorageNames;
  readonly sealer: Sealer;
  readonly buckets: readonly string[];
}

/** One call of one tenant: what leaves, and what its reply is read against. */
export interface Call {
  readonly operation: string;
  readonly tenant: string;
  readonly plan: CommandPlan;
  readonly bucket: string;
  /** The copy of the input that leaves, with physical names. */
  readonly input: Readonly<Record<string, unknown>>;
  /** The physical key, apart from `input`, which middleware can change. */
  readonly key: string | undefined;
  /** The continuation token as the caller gave it. */
  readonly token: string | undefined;
  /** What a continuation token of this call is sealed to. */
  readonly place: readonly string[];
  /** Physical names of this call with their logical ones, for the text of errors. */
  readonly spellings: ReadonlyMap<string, string>;
}

/** What is known of a call before its input was read. */
export interface CallStart {
  readonly operation: string;
  readonly tenant: string;
  readonly plan: CommandPlan;
}

/**
 * Makes the physical copy of a command's input. The input itself stays as it is: a command may be sent again, by
 * another tenant, at the same time.
 *
 * @throws OperationRefusedError for a field, key, bucket or source that cannot stay inside the tenant
 * @throws SignatureError for a continuation token that was not sealed for this tenant, bucket and prefix
 */
export function rewriteInput(realm: Realm, start: CallStart, given: unknown): Call {
  const { operation, tenant, plan } = start;
  const fields = readFields(start, given);
  const bucket = chooseBucket(realm, operation, fields.get('Bucket'));
  const input: Record<string, unknown> = { Bucket: bucket };
  const spellings = new Map<string, string>();
  const encode = (field: string, value: unknown, role: KeyRole): string => {
    const physical = realm.names.encode(tenant, value, { operation, field }, role);
    spellings.set(physical, value as string);
    return physical;
  };
  const prefix = plan.target === 'bucket' ? encode('Prefix', fields.get('Prefix') ?? '', 'partial') : '';
  const place = ['list', tenant, bucket, prefix];
  const roles: Readonly<Record<InputRole, (value: unknown, field: string) => unknown>> = {
    same: (value, field) => plainValue(operation, field, value),
    body: (value) => inputBody(operation, value, fields.get('ContentLength')),
    bucket: () => bucket,
    key: (value, field) => encode(field, value, 'key'),
    prefix: () => prefix,
    startAfter: (value, field) => (value === '' ? undefined : encode(field, value, 'partial')),
    token: (value) => openToken(realm, start, value, place),
    version: (value) => checkVersion(operation, value),
    copySource: (value, field) => {
      const source = parseCopySource(value);
      if ('kind' in source) throw refusal('storage', operation, source);
      checkBucket(realm, operation, source.bucket, field);
      return formatCopySource({ ...source, key: encode(field, source.key, 'key') });
    },
  };
  for (const [field, value] of fields) {
    const row = ruleFor(plan.input, field) as InputField;
    const physical = roles[row.as](value, field);
    if (physical !== undefined) input[field] = physical;
  }
  if (plan.target === 'bucket') input['Prefix'] = prefix;
  else if (!fields.has('Key')) encode('Key', undefined, 'key');
  const token = fields.get('ContinuationToken');
  return {
    operation,
    tenant,
    plan,
    bucket,
    input,
    key: typeof input['Key'] === 'string' ? input['Key'] : undefined,
    token: typeof token === 'string' ? token : undefined,
    place,
    spellings,
  };
}

function readFields({ operation, plan }: CallStart, given: unknown): Map<string, unknown> {
  const fields = new Map<string, unknown>();
  // Every own field is read once: a getter must not answer the check one way and the request another.
  for (const [field, value] of Object.entries(Object(given) as object)) {
    if (value === undefined || value === null) continue;
    const row: InputField | RefuseRule | undefined = ruleFor(plan.input, field);
    if (row === undefined) {
      throw refusal(
        'storage',
        operation,
        refuse(
          `nobody has decided whether its field "${shown(field)}" stays inside a tenant`,
          'Leave the field out; update tenantkit if it is new in the SDK.',
        ),
      );
    }
    if ('kind' in row) throw refusal('storage', operation, { ...row, why: `${field}: ${row.why}` });
    fields.set(field, value);
  }
  return fields;
}

function chooseBucket(realm: Realm, operation: string, given: unknown): string {
  const [only, ...others] = realm.buckets;
  if (given === undefined && only !== undefined && others.length === 0) return only;
  checkBucket(realm, operation, given, 'Bucket');
  return given;
}

function checkBucket(
  realm: Realm,
  operation: string,
  bucket: unknown,
  field: string,
): asserts bucket is string {
  if (typeof bucket === 'string' && realm.buckets.includes(bucket)) return;
  const problem = bucket === undefined ? `${field} is missing` : `${field} is not an accepted bucket`;
  throw refusal(
    'storage',
    operation,
    refuse(problem, 'Name a bucket of the client option tenant.buckets, or add it there.'),
  );
}

function checkVersion(operation: string, value: unknown): string {
  if (typeof value === 'string' && VERSION_ID.test(value)) return value;
  throw refusal(
    'storage',
    operation,
    refuse('VersionId is not a version id', 'Give the VersionId of an earlier reply as it was.'),
  );
}

function openToken(realm: Realm, start: CallStart, value: unknown, place: readonly string[]): string {
  const token = realm.sealer.open(value, place);
  if (token !== undefined) return token;
  const { operation, tenant } = start;
  // One answer for every reason: a stolen token must not be told from one that never was.
  const error = new SignatureError({
    surface: 'storage',
    operation,
    what: 'the ContinuationToken',
    reason: 'mismatch',
  });
  publish('refused', { surface: 'storage', operation, message: error.message, tenant });
  throw error;
}
