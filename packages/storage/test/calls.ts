import { storageNames } from '../src/names.ts';
import { rewriteInput } from '../src/rewrite.ts';
import { rules, type CommandName } from '../src/rules.ts';
import { createSealer } from '../src/seal.ts';
import { sealUploadId, type UploadName } from '../src/upload-id.ts';
import type { Call, CallStart, Realm } from '../src/call.ts';
import type { Home } from '../src/place.ts';

// Calls that no client makes: what is rewritten, read and checked without any server.

/** Of a client of two buckets, whose tenants may write tags of one key. */
export const REALM: Realm = {
  // Made when it is asked for, as all that a test uses should be: what is made before any test is mutated for all of them.
  get names() {
    return storageNames();
  },
  sealer: createSealer([{ kid: 'k', secret: 'x'.repeat(32) }]),
  buckets: ['uploads', 'media.eu'],
  tags: new Set(['team', 'a b']),
};

/** A tenant that has one of the buckets for its own, under another name. */
export const HOME: Home = {
  id: 'bridge',
  silo: undefined,
  buckets: new Map([
    ['uploads', 'acme.up'],
    ['media.eu', 'media.eu'],
  ]),
  physical: ['acme.up', 'media.eu'],
};

/** A call before its input is read. */
export function startOf(operation: CommandName, tenant = 'acme'): CallStart {
  const rule = rules[operation];
  if (rule.kind !== 'rewrite') throw new TypeError(`${operation} is refused`);
  return { operation, tenant, subject: undefined, home: HOME, plan: rule.rewrite };
}

/** A call of `acme` in the bucket `uploads`, as it leaves. */
export function callOf(operation: CommandName, given: object, realm: Realm = REALM): Call {
  return rewriteInput(realm, startOf(operation), { Bucket: 'uploads', ...given });
}

/** A continuation token of a listing, as an earlier reply gave it. */
export function tokenOf(text: string, prefix = 'tenants/acme/', bucket = 'acme.up', tenant = 'acme'): string {
  return REALM.sealer.seal(text, ['list', tenant, bucket, prefix, 'bridge']);
}

export const KEY = { Key: 'a/one' };
/** Where that is. */
export const THERE = { Bucket: 'acme.up', Key: 'tenants/acme/a/one' };

/** The id of an upload of that key, as an earlier reply gave it. */
export function uploadOf(
  more: Partial<UploadName> & { readonly subjects?: readonly string[] } = {},
  id = 'u1',
): string {
  return sealUploadId(REALM.sealer, id, {
    tenant: 'acme',
    home: HOME,
    bucket: THERE.Bucket,
    key: THERE.Key,
    subjects: [],
    ...more,
  });
}

/** Of which this is a part. */
export const PART = { ...KEY, UploadId: uploadOf(), PartNumber: 1 };
/** A query of that object. */
export const QUERY = {
  ...KEY,
  Expression: 'select *\nfrom s3object',
  InputSerialization: { CSV: { RecordDelimiter: '\r\n', Comments: '#' } },
};
