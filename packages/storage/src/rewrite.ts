import { refusal, refuse } from '@tenantkit/core';
import { allowed } from './allowed.ts';
import { bucketIn, chooseBucket } from './bucket.ts';
import type { Call, CallStart, Realm } from './call.ts';
import { readRecord } from './fields/read.ts';
import { missing } from './refused.ts';
import { LABEL, LABEL_HEADER, labelOf } from './subject-names.ts';
import { Writing } from './writing.ts';

/**
 * Makes the physical copy of a command's input. The input itself stays as it is: a command may be sent again, by
 * another tenant, at the same time.
 *
 * @throws OperationRefusedError for a field, key, bucket or source that cannot stay inside the tenant
 * @throws SignatureError for a token or upload id that was not sealed for this tenant, bucket and name
 */
export function rewriteInput(realm: Realm, start: CallStart, given: unknown): Call {
  const { operation, tenant, plan, home } = start;
  const fields = readRecord(operation, plan.input, given, { ignored: plan.ignored });
  const bucketName = chooseBucket(realm, operation, fields.get('Bucket'));
  const bucket = bucketIn(home, bucketName);
  const writing = new Writing(realm, start, bucket, fields);
  const input: Record<string, unknown> = { Bucket: bucket };
  const write = (name: string): void => {
    const physical = writing.write(name, fields.get(name));
    if (physical !== undefined) input[name] = physical;
  };
  for (const name of fields.keys()) {
    if (name !== 'UploadId') write(name);
  }
  for (const name of allowed(plan).required) if (!fields.has(name)) throw missing(operation, name);
  // Sealed to the key, which is read first.
  if (fields.has('UploadId')) write('UploadId');
  if (plan.target === 'listing') input['Prefix'] = writing.prefix;
  const subjects = subjectsOf(start, writing.uploadSubjects);
  const label = plan.about === 'object' ? labelOf(subjects) : undefined;
  if (label !== undefined)
    input['Metadata'] = { ...(input['Metadata'] as object | undefined), [LABEL]: label };
  return {
    operation,
    tenant,
    plan,
    home,
    bucket,
    bucketName,
    input,
    given: fields,
    key: writing.key,
    sealed: writing.sealed,
    place: writing.place,
    encoded: fields.get('EncodingType') === 'url',
    spellings: writing.spellings,
    subjects,
    pinned: label === undefined ? NOTHING : new Map([[LABEL_HEADER, label]]),
  };
}

/**
 * Whom that which is written is about.
 *
 * @throws OperationRefusedError for a part about a person whom its upload does not name: it would never be found
 */
function subjectsOf({ operation, subject, plan }: CallStart, ofUpload: readonly string[]): readonly string[] {
  if (plan.about === 'object' || plan.about === 'copy') return subject === undefined ? NOBODY : [subject];
  if (plan.about === undefined || subject === undefined || ofUpload.includes(subject)) return ofUpload;
  throw refusal('storage', operation, NOT_IN_UPLOAD);
}

const NOBODY: readonly string[] = [];
const NOTHING: Call['pinned'] = new Map();

const NOT_IN_UPLOAD = refuse(
  'the part is written in the context of a person, and its upload was not made in it',
  'Make the upload in the context of that person, and use the UploadId of CreateMultipartUpload as it was.',
);
