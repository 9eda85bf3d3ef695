import { ConfigError, assertId } from '@tenantkit/core';
import { z } from 'zod';
import {
  ACL_HEADERS,
  LISTING_ACTIONS,
  OBJECT_ACTIONS,
  OTHER_ACTIONS,
  type PolicyServer,
} from './backstop-actions.ts';
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

/** For which buckets and which server the policies are. */
export interface StoragePolicyOptions {
  /** One bucket, or all that the client's tenants work in. */
  readonly bucket: string | readonly string[];
  /** The same template as in the client's option `tenant.names`. */
  readonly names?: string | undefined;
  /**
   * Whose policies: `'aws'`, the default, or `'ceph'`, which refuses policies with actions that it does not know, and
   * has to be told to refuse ACLs.
   */
  readonly server?: PolicyServer | undefined;
}

/** For which buckets, server and principals the policies are. */
export interface StorageBackstopOptions extends StoragePolicyOptions {
  /** ARNs that work for this tenant only, for the bucket policy of one bucket; without any, none is made. */
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

/** A session policy has at most so many characters. Source: AWS STS API reference, AssumeRole, `Policy`. */
const MAX_SESSION_POLICY = 2048;

/** The tag of a principal, or of a session, that holds its tenant: see {@link storagePrincipalPolicy}. */
export const TENANT_TAG = 'tenant_id';

const bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the plain name of a bucket');
const shared = {
  bucket: z.union([bucket, z.array(bucket).min(1)], {
    error: ({ code }) =>
      code === 'invalid_union' ? 'must be the plain name of a bucket, or several' : undefined,
  }),
  names: z.string().optional(),
  server: z.enum(['aws', 'ceph']).optional(),
};
const policySchema: z.ZodType<StoragePolicyOptions> = z.strictObject(shared);
const backstopSchema: z.ZodType<StorageBackstopOptions> = z
  .strictObject({ ...shared, principals: z.array(z.string().startsWith('arn:')).min(1).optional() })
  .refine(({ bucket: given, principals }) => principals === undefined || bucketsOf(given).length === 1, {
    path: ['principals'],
    message: 'each bucket has a policy of its own: name one bucket at a time',
  });

/**
 * Makes the server-side policies that enforce a tenant's boundary without this package.
 *
 * @param tenant - the tenant's id
 * @throws InvalidTenantError, ConfigError, also when the session policy would be longer than STS takes
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
  const { principals, ...rest } = parseArgument('storageBackstop', backstopSchema, options);
  const own = ownOf(tenant, rest);
  const sessionPolicy: PolicyDocument = { Version: '2012-10-17', Statement: allow(own) };
  if (JSON.stringify(sessionPolicy).length > MAX_SESSION_POLICY) {
    throw new ConfigError({
      surface: 'storage',
      operation: 'storageBackstop',
      problem: `the session policy of these buckets is longer than ${MAX_SESSION_POLICY} characters`,
      hint: 'Name fewer buckets, or give the role the policy of storagePrincipalPolicy, which may be longer.',
    });
  }
  if (principals === undefined) return { sessionPolicy };
  const Principal = { AWS: principals };
  const statements = [...allow(own), ...deny(own)].map((statement) => ({ ...statement, Principal }));
  return { sessionPolicy, bucketPolicy: { Version: '2012-10-17', Statement: statements } };
}

/**
 * Makes one policy for all tenants, for the role that their sessions are of: each session is confined to the tenant
 * in its tag `tenant_id`, and one without the tag may do nothing. `assumeTenantRole({ …, sessionTags: true })` sets it.
 * Whoever else may tag sessions or users of this role chooses their tenant.
 *
 * @throws ConfigError
 *
 * @example
 * ```ts
 * import { storagePrincipalPolicy } from '@tenantkit/storage';
 * console.log(JSON.stringify(storagePrincipalPolicy({ bucket: ['uploads', 'exports'] }), null, 2));
 * ```
 */
export function storagePrincipalPolicy(options: StoragePolicyOptions): PolicyDocument {
  const parsed = parseArgument('storagePrincipalPolicy', policySchema, options);
  return { Version: '2012-10-17', Statement: allow(ownOf(`\${aws:PrincipalTag/${TENANT_TAG}}`, parsed)) };
}

/** What belongs to a tenant, or to the variable that stands for one. */
interface Own {
  readonly buckets: readonly string[];
  readonly objects: readonly string[];
  readonly markers: readonly string[];
  readonly prefix: string;
  readonly server: PolicyServer;
}

function ownOf(tenant: string, { bucket: given, names, server = 'aws' }: StoragePolicyOptions): Own {
  // Of the template, since a variable is no tenant.
  const { template } = storageNames(names ?? DEFAULT_NAMES);
  const prefix = template.replace('{tenant}', () => tenant);
  const buckets = bucketsOf(given).map((name) => `arn:aws:s3:::${name}`);
  return {
    buckets,
    // `tenants/acme/*` matches `tenants/acme/` too; without the slash it would match acme2.
    objects: buckets.map((arn) => `${arn}/${prefix}*`),
    markers: buckets.map((arn) => `${arn}/tk!subjects/${tenant}/*`),
    prefix: `${prefix}*`,
    server,
  };
}

function allow({ buckets, objects, markers, prefix, server }: Own): PolicyStatement[] {
  const Condition = server === 'ceph' ? { Condition: { StringEqualsIfExists: ACL_HEADERS } } : {};
  return [
    { Sid: 'OwnObjects', Effect: 'Allow', Action: OBJECT_ACTIONS[server], Resource: objects, ...Condition },
    {
      Sid: 'OwnListing',
      Effect: 'Allow',
      Action: LISTING_ACTIONS,
      Resource: buckets,
      Condition: { StringLike: { 's3:prefix': [prefix] } },
    },
    { Sid: 'OwnMarkers', Effect: 'Allow', Action: ['s3:PutObject'], Resource: markers },
  ];
}

function deny({ buckets, objects, markers, prefix, server }: Own): PolicyStatement[] {
  const everything = [...buckets, ...buckets.map((arn) => `${arn}/*`)];
  const actions = OBJECT_ACTIONS[server];
  const Effect = 'Deny';
  const headers = Object.keys(server === 'ceph' ? ACL_HEADERS : {});
  const acls = headers.map((header): PolicyStatement => ({
    Sid: `No${header.replace(/[^a-z]/g, '')}`,
    Effect,
    Action: ['s3:PutObject'],
    Resource: objects,
    Condition: { StringLike: { [header]: ['?*'] } },
  }));
  return [
    { Sid: 'NothingElse', Effect, NotAction: [...actions, ...LISTING_ACTIONS], Resource: everything },
    // Ceph passes over a statement with NotAction: what is known is named as well.
    { Sid: 'NothingElseByName', Effect, Action: OTHER_ACTIONS, Resource: everything },
    {
      Sid: 'NoOtherObjects',
      Effect,
      Action: actions.filter((action) => action !== 's3:PutObject'),
      NotResource: objects,
    },
    { Sid: 'NoOtherWriting', Effect, Action: ['s3:PutObject'], NotResource: [...objects, ...markers] },
    {
      Sid: 'NoOtherListing',
      Effect,
      Action: LISTING_ACTIONS,
      Resource: buckets,
      Condition: { StringNotLike: { 's3:prefix': [prefix] } },
    },
    {
      // AWS takes a missing prefix for one that is not like the tenant's, Ceph does not.
      Sid: 'NoListingOfAll',
      Effect,
      Action: LISTING_ACTIONS,
      Resource: buckets,
      Condition: { Null: { 's3:prefix': ['true'] } },
    },
    ...acls,
  ];
}

function bucketsOf(given: string | readonly string[]): readonly string[] {
  return typeof given === 'string' ? [given] : given;
}
