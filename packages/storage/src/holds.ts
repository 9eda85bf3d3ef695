import { acrossTenants, assertId, auditSignal, currentScope } from '@tenantkit/core';
import pMap, { pMapSkip } from 'p-map';
import { z } from 'zod';
import type { S3Client } from './client.ts';
import { pagesOf, traitsOf } from './listing.ts';
import { lockOf, type Lock } from './locks.ts';
import { parseArgument } from './options.ts';
import { Remote, acceptedBucket, type RemoteOptions } from './remote.ts';
import { scoped } from './scoped.ts';
import { spotsOf } from './spots.ts';

/** Whose holds are listed, and where. */
export interface StorageHoldsOptions extends RemoteOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  readonly tenant: string;
  /** Ends it with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** One version that cannot be deleted now. */
export interface StorageHold extends Lock {
  readonly bucket: string;
  /** The physical key, since it is an operator who asks. It may hold personal data. */
  readonly key: string;
  readonly versionId: string;
}

const optionsSchema: z.ZodType<StorageHoldsOptions> = z.strictObject({
  bucket: z.string(),
  tenant: z.string(),
  timeout: z.int().positive().optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

/** How many versions are asked for at once. */
const PARALLEL = 16;

/**
 * Names every version of a tenant that a legal hold or a retention period keeps, with its date. Plans and certificates
 * count them by reason and date only: keys may hold personal data, which a ledger must not keep.
 *
 * @param client - an S3Client of this package; its credentials need to list versions and to read locks
 * @throws ConfigError when the bucket is not an accepted one of the client, or locks may not be read
 *
 * @example
 * ```ts
 * import { S3Client, storageHolds } from '@tenantkit/storage';
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * for await (const { key, versionId, legalHold, retention } of storageHolds(s3, { bucket: 'uploads', tenant: 'acme' })) {
 *   console.log(key, versionId, legalHold ? 'legal hold' : retention?.until);
 * }
 * ```
 */
export function storageHolds(client: S3Client, options: StorageHoldsOptions): AsyncIterable<StorageHold> {
  const { bucket, tenant, timeout, signal: given } = parseArgument('storageHolds', optionsSchema, options);
  assertId(tenant, 'tenant');
  acceptedBucket(client, bucket, 'storageHolds');
  return {
    async *[Symbol.asyncIterator]() {
      const signal = auditSignal('storage', 'storageHolds', given);
      const remote = new Remote(client, bucket, { operation: 'holds', timeout, signal });
      const bypass = { reason: `holds of a tenant in ${bucket}`, actor: 'tenantkit/storageHolds' };
      const scope = acrossTenants(bypass, currentScope);
      yield* scoped(scope, holdsOf(remote, tenant));
    },
  };
}

async function* holdsOf(remote: Remote, tenant: string): AsyncGenerator<StorageHold, void, undefined> {
  const { bucket } = remote;
  const { versioned, locked } = await traitsOf(remote);
  // Locks need versions, and a bucket that never had any holds nothing.
  if (!locked) return;
  for (const { prefix } of spotsOf([remote], tenant)) {
    for await (const page of pagesOf(remote, { prefix, versioned })) {
      const versions = page.filter(({ kind }) => kind === 'versions');
      yield* await pMap(
        versions,
        async (entry) => {
          const lock = await lockOf(remote, entry);
          if (lock === undefined) return pMapSkip;
          return { bucket, key: entry.key, versionId: entry.versionId ?? 'null', ...lock };
        },
        { concurrency: PARALLEL },
      );
    }
  }
}
