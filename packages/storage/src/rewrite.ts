import { allowed } from './allowed.ts';
import { bucketIn, chooseBucket } from './bucket.ts';
import type { Call, CallStart, Realm } from './call.ts';
import { readRecord } from './fields/read.ts';
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
  // Sealed to the key, which is read first.
  if (fields.has('UploadId')) write('UploadId');
  // The error for what is missing is that of its kind.
  for (const name of allowed(plan).required) if (!fields.has(name)) writing.write(name, undefined);
  if (plan.target === 'listing') input['Prefix'] = writing.prefix;
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
    place: ['list', tenant, bucket, writing.prefix],
    encoded: fields.get('EncodingType') === 'url',
    spellings: writing.spellings,
  };
}
