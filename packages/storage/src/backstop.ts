import { assertId } from '@tenantkit/core';
import { z } from 'zod';
import { DEFAULT_NAMES, storageNames } from './names.ts';
import { parseArgument } from './options.ts';

/** One statement of a policy. */
export interface PolicyStatement {
  readonly Sid: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal?: { readonly AWS: readonly string[] };
  readonly Action?: readonly string[];
  readonly NotAction?: readonly string[];
  readonly Resource?: readonly string[];
  readonly NotResource?: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

/** A policy in the language of IAM: `JSON.stringify` it for the API. */
export interface PolicyDocument {
  readonly Version: '2012-10-17';
  readonly Statement: readonly PolicyStatement[];
}

/** For which bucket and principal the policies are. */
export interface StorageBackstopOptions {
  readonly bucket: string;
  /** The same template as in the client's option `tenant.names`. */
  readonly names?: string | undefined;
  /** ARNs that work for this tenant only, for the bucket policy; without any, none is made. */
  readonly principals?: readonly string[] | undefined;
}

/** What the server can enforce without our code. */
export interface StorageBackstop {
  /**
   * The `Policy` of an STS AssumeRole: whatever the role may do, the session may only do this. Every tenant's
   * calls with credentials of their own is the strongest lock there is.
   */
  readonly sessionPolicy: PolicyDocument;
  /** Statements for the bucket's policy that keep the given principals inside the tenant. */
  readonly bucketPolicy?: PolicyDocument;
}

const optionsSchema: z.ZodType<StorageBackstopOptions> = z.strictObject({
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the plain name of a bucket'),
  names: z.string().optional(),
  principals: z.array(z.string().startsWith('arn:')).min(1).optional(),
});

/** What the commands of the rules table need. `VersionId` needs the rights on versions. */
const OBJECT_ACTIONS = [
  's3:GetObject',
  's3:GetObjectVersion',
  's3:PutObject',
  's3:DeleteObject',
  's3:DeleteObjectVersion',
] as const;

/** What a tenant must not do, by name: how the bucket is set up, locks, ACLs, tags and the other listings. */
const OTHER_ACTIONS = [
  's3:*Acl',
  's3:*LegalHold',
  's3:*Policy*',
  's3:*Retention',
  's3:CreateBucket',
  's3:DeleteBucket*',
  's3:DeleteObjectTagging',
  's3:GetBucket*',
  's3:GetLifecycleConfiguration',
  's3:GetObjectTagging',
  's3:GetReplicationConfiguration',
  's3:ListBucketMultipartUploads',
  's3:ListBucketVersions',
  's3:PutBucket*',
  's3:PutLifecycleConfiguration',
  's3:PutObjectTagging',
  's3:PutReplicationConfiguration',
  's3:RestoreObject',
] as const;

/**
 * Makes the server-side policies that enforce a tenant's boundary without this package.
 *
 * @param tenant - the tenant's id
 * @throws InvalidTenantError, ConfigError
 *
 * @example
 * ```ts
 * import { storageBackstop } from '@tenantkit/storage';
 * const { sessionPolicy } = storageBackstop('acme', { bucket: 'uploads' });
 * const session = await sts.send(
 *   new AssumeRoleCommand({ RoleArn, RoleSessionName: 'acme', Policy: JSON.stringify(sessionPolicy) }),
 * );
 * ```
 */
export function storageBackstop(tenant: string, options: StorageBackstopOptions): StorageBackstop {
  assertId(tenant);
  const {
    bucket,
    names = DEFAULT_NAMES,
    principals,
  } = parseArgument('storageBackstop', optionsSchema, options);
  const prefix = storageNames(names).prefix(tenant);
  const arn = `arn:aws:s3:::${bucket}`;
  const own = `${arn}/${prefix}*`;
  // `tenants/acme/*` matches `tenants/acme/` too; without the slash it would match acme2.
  const listing = { 's3:prefix': [`${prefix}*`] };

  const allow = (Principal?: PolicyStatement['Principal']): PolicyStatement[] => {
    const who = Principal === undefined ? {} : { Principal };
    return [
      { Sid: 'OwnObjects', Effect: 'Allow', ...who, Action: OBJECT_ACTIONS, Resource: [own] },
      {
        Sid: 'OwnListing',
        Effect: 'Allow',
        ...who,
        Action: ['s3:ListBucket'],
        Resource: [arn],
        Condition: { StringLike: listing },
      },
    ];
  };
  const sessionPolicy: PolicyDocument = { Version: '2012-10-17', Statement: allow() };
  if (principals === undefined) return { sessionPolicy };

  const Principal = { AWS: principals };
  const deny: PolicyStatement[] = [
    {
      Sid: 'NothingElse',
      Effect: 'Deny',
      Principal,
      NotAction: [...OBJECT_ACTIONS, 's3:ListBucket'],
      Resource: [arn, `${arn}/*`],
    },
    {
      // Ceph passes over a statement with NotAction: what is known is named as well.
      Sid: 'NothingElseByName',
      Effect: 'Deny',
      Principal,
      Action: OTHER_ACTIONS,
      Resource: [arn, `${arn}/*`],
    },
    { Sid: 'NoOtherObjects', Effect: 'Deny', Principal, Action: OBJECT_ACTIONS, NotResource: [own] },
    {
      Sid: 'NoOtherListing',
      Effect: 'Deny',
      Principal,
      Action: ['s3:ListBucket'],
      Resource: [arn],
      Condition: { StringNotLike: listing },
    },
    {
      // AWS takes a missing prefix for one that is not like the tenant's, Ceph does not.
      Sid: 'NoListingOfAll',
      Effect: 'Deny',
      Principal,
      Action: ['s3:ListBucket'],
      Resource: [arn],
      Condition: { Null: { 's3:prefix': ['true'] } },
    },
  ];
  return {
    sessionPolicy,
    bucketPolicy: { Version: '2012-10-17', Statement: [...allow(Principal), ...deny] },
  };
}
