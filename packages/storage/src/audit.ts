import { GetBucketVersioningCommand } from '@aws-sdk/client-s3';
import {
  ConfigError,
  acrossTenants,
  auditSignal,
  currentScope,
  tenantId,
  type Auditor,
} from '@tenantkit/core';
import { z } from 'zod';
import { ObjectAcls } from './audit-acl.ts';
import { auditBucket } from './audit-bucket.ts';
import { findingOf, type Found } from './audit-findings.ts';
import { Names, type IsTenant } from './audit-names.ts';
import type { S3Client } from './client.ts';
import type { Engine } from './engine.ts';
import { pagesOf, uploadsOf } from './listing.ts';
import { parseArgument } from './options.ts';
import { Remote, acceptedBucket, type RemoteOptions } from './remote.ts';
import { scoped } from './scoped.ts';
import { UNSEEN, answerOf, settingOf } from './settings.ts';

/** What is audited, and under which name. */
export interface StorageAuditorOptions extends RemoteOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  /** The name in findings, default `storage:<bucket>`. */
  readonly store?: string | undefined;
  /**
   * Which tenants there are: a list, or what tells whether there is one. Without it every well-formed id passes, since
   * a fence knows only of those that are frozen or erased.
   */
  readonly tenants?: readonly string[] | IsTenant | undefined;
  /** What keys begin with that something else keeps in the same bucket and looks after itself: `logs/`. */
  readonly known?: readonly string[] | undefined;
  /** Who may work for all tenants: ARNs or accounts in policies, canonical ids in ACLs. */
  readonly principals?: readonly string[] | undefined;
  /** After how many days an unfinished upload is reported, default 7. */
  readonly uploadDays?: number | undefined;
  /**
   * Of how many objects and versions the ACL is asked for, one request each: by default all, unless the bucket gives no
   * effect to ACLs (`BucketOwnerEnforced`); `false` is none.
   */
  readonly objectAcls?: boolean | number | undefined;
}

const optionsSchema: z.ZodType<StorageAuditorOptions> = z.strictObject({
  bucket: z.string(),
  store: z.string().min(1).optional(),
  timeout: z.int().positive().optional(),
  tenants: z
    .union([z.array(tenantId), z.custom<IsTenant>((value) => typeof value === 'function')])
    .optional(),
  known: z.array(z.string().min(1)).optional(),
  principals: z.array(z.string().min(1)).optional(),
  uploadDays: z.int().nonnegative().optional(),
  objectAcls: z.union([z.boolean(), z.int().nonnegative()]).optional(),
});

const UPLOAD_DAYS = 7;
const DAY = 24 * 60 * 60_000;

/**
 * Looks through a bucket for what breaks isolation, or may: its policy, ACL and other settings; objects, earlier
 * versions, delete markers and unfinished uploads that lie outside of every tenant's prefix, belong to tenants that are
 * unknown or erased, or have keys that no tenant can address; ACLs of objects. Reads only. What the server does not
 * know, or does not show to the credentials, is a finding of its own (`not_examined`).
 *
 * @param client - an S3Client of this package; with a `fence` in its options, objects of erased tenants are found. Its
 *   credentials need to list versions and uploads, and to read the settings of the bucket and ACLs
 * @throws ConfigError when the bucket is not an accepted one of the client
 *
 * @example
 * ```ts
 * import { S3Client, storageAuditor } from '@tenantkit/storage';
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * for await (const finding of storageAuditor(s3, { bucket: 'uploads' }).audit(AbortSignal.timeout(60_000))) {
 *   console.log(finding.severity, finding.name, finding.message);
 * }
 * ```
 */
export function storageAuditor(client: S3Client, options: StorageAuditorOptions): Auditor {
  const parsed = parseArgument('storageAuditor', optionsSchema, options);
  const { bucket, store = `storage:${bucket}`, timeout } = parsed;
  const engine = acceptedBucket(client, bucket, 'storageAuditor');
  return {
    store,
    async *audit(given) {
      const signal = auditSignal('storage', 'storageAuditor.audit', given);
      const remote = new Remote(client, bucket, { operation: 'audit', timeout, signal });
      // Entered, and published, once.
      const bypass = { reason: `audit of ${store}`, actor: 'tenantkit/storageAuditor' };
      const scope = acrossTenants(bypass, currentScope);
      for await (const found of scoped(scope, look(remote, engine, parsed))) yield findingOf(store, found);
    },
  };
}

async function* look(
  remote: Remote,
  engine: Engine,
  {
    tenants,
    known = [],
    principals = [],
    uploadDays = UPLOAD_DAYS,
    objectAcls = true,
  }: StorageAuditorOptions,
): AsyncGenerator<Found, void, undefined> {
  if (engine.hasPlaces) yield unseen(remote, ELSEWHERE);
  const { found, acls } = await auditBucket(remote, new Set(principals));
  yield* found;

  const isTenant = typeof tenants === 'function' ? tenants : tenants && setOf(tenants);
  const uploadsSince = new Date(Date.now() - uploadDays * DAY);
  const names = new Names({ engine, known, isTenant, uploadsSince });
  const limit = typeof objectAcls === 'number' ? objectAcls : objectAcls ? Infinity : 0;
  const objects = acls && new ObjectAcls(acls, limit);
  const versioning = await settingOf(
    remote,
    new GetBucketVersioningCommand({ Bucket: remote.bucket }),
    'VersioningConfiguration',
  );
  if (versioning.state === 'unseen') yield unseen(remote, `Earlier versions: ${versioning.why}.`);
  const versioned = versioning.state === 'set' && versioning.value.Status !== undefined;
  const gaps: Found[] = [];
  for await (const page of asFar(pagesOf(remote, { prefix: '', versioned }), (why) => {
    gaps.push(unseen(remote, `Further objects: ${why}`));
  })) {
    yield* await names.page(page);
    if (objects !== undefined) yield* await objects.page(page);
  }
  try {
    for await (const page of asFar(uploadsOf(remote, ''), (why) => {
      gaps.push(unseen(remote, `Further unfinished uploads: ${why}`));
    }))
      yield* await names.uploads(page);
  } catch (error) {
    const { status = 0, name } = answerOf(error instanceof ConfigError ? error.cause : error);
    if (!UNSEEN.has(status)) throw error;
    yield unseen(remote, `Unfinished uploads: ${name}, status ${status}.`);
  }
  yield* gaps;
  yield* names.counts();
  if (objects !== undefined) yield* objects.rest();
}

// Who they are nobody can list: tenant.place answers for one that is asked for.
const ELSEWHERE =
  'Buckets and servers of tenants that tenant.place names: this bucket of the pool alone was looked at. Audit each of them with a client of its own (its endpoint and credentials, its bucket in tenant.buckets, no place).';

/** Pages as far as the server gets with its list; where it goes in circles, that is told. */
async function* asFar<T>(
  pages: AsyncIterable<T>,
  onEnd: (why: string) => void,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* pages;
  } catch (error) {
    if (!(error instanceof ConfigError) || error.cause !== undefined) throw error;
    onEnd(error.message);
  }
}

function unseen({ bucket }: Remote, more: string): Found {
  return { code: 'not_examined', name: bucket, more };
}

function setOf(tenants: readonly string[]): IsTenant {
  const set = new Set(tenants);
  return (tenant) => set.has(tenant);
}
