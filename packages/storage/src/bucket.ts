import { refusal, refuse } from '@tenantkit/core';
import type { Realm } from './call.ts';
import type { Home } from './place.ts';

/**
 * The bucket of a command: the given one, or the only one that there is.
 *
 * @throws OperationRefusedError when it is missing or not an accepted one
 */
export function chooseBucket(realm: Realm, operation: string, given: unknown): string {
  const [only, ...others] = realm.buckets;
  if (given === undefined && only !== undefined && others.length === 0) return only;
  checkBucket(realm, operation, given, 'Bucket');
  return given;
}

/** The bucket of a place that stands for an accepted one. */
export function bucketIn({ buckets }: Home, accepted: string): string {
  const bucket = buckets.get(accepted);
  if (bucket === undefined) throw new TypeError('A place names each accepted bucket');
  return bucket;
}

/**
 * An accepted bucket.
 *
 * @throws OperationRefusedError for any other
 */
export function checkBucket(
  realm: Realm,
  operation: string,
  bucket: unknown,
  field: string,
): asserts bucket is string {
  if ((realm.buckets as readonly unknown[]).includes(bucket)) return;
  const problem = bucket === undefined ? `${field} is missing` : `${field} is not an accepted bucket`;
  throw refusal(
    'storage',
    operation,
    refuse(problem, 'Name a bucket of the client option tenant.buckets, or add it there.'),
  );
}
