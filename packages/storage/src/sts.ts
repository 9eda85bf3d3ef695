import { AssumeRoleCommand, STSClient, STSServiceException } from '@aws-sdk/client-sts';
import { ConfigError, ID_MAX_LENGTH, StoreUnreachableError } from '@tenantkit/core';
import { z } from 'zod';
import type { PolicyServer } from './backstop-actions.ts';
import { TENANT_TAG, storageBackstop, type PolicyDocument, type StoragePolicyOptions } from './backstop.ts';
import type { TenantCredentialProvider } from './credentials.ts';
import { readIdentity } from './identity.ts';
import { parseArgument } from './options.ts';
import { roleArn } from './trust.ts';

/** Which role is assumed for a tenant, and what its sessions may do. */
export interface AssumeTenantRoleOptions extends Pick<StoragePolicyOptions, 'names' | 'server'> {
  /** With credentials that may assume the role, and do nothing else. */
  readonly client: STSClient;
  readonly roleArn: string;
  /** The client's `tenant.buckets`; with `tenant.place`, a function that names those which a tenant works in. */
  readonly buckets: readonly string[] | ((tenant: string) => readonly string[]);
  /**
   * How long a session lives, in seconds: 900 to 43 200, default 3600, and no more than the role allows. A presigned
   * URL lives no longer than the session that signs it.
   */
  readonly durationSeconds?: number | undefined;
  /** Also tags each session with `tenant_id`, for `storagePrincipalPolicy`; the role's trust has to allow `sts:TagSession`. */
  readonly sessionTags?: boolean | undefined;
  /** How a session is called in the server's logs: 2 to 64 of `A-Z a-z 0-9 _ + = , . @ -`, by default the tenant's id. */
  readonly sessionName?: ((tenant: string) => string) | undefined;
  /** How long STS may take to answer, in milliseconds, default 10 000. */
  readonly timeout?: number | undefined;
}

const DURATION = 3600;
const TIMEOUT = 10_000;

const optionsSchema: z.ZodType<AssumeTenantRoleOptions> = z.strictObject({
  client: z.custom<STSClient>(
    (given) => typeof (given as STSClient | null)?.send === 'function',
    'must be an STSClient',
  ),
  roleArn,
  buckets: z.union(
    [z.array(z.string()).min(1), z.custom<(tenant: string) => readonly string[]>(isFunction)],
    {
      error: 'must be names of buckets, or a function that answers them',
    },
  ),
  names: z.string().optional(),
  server: z.enum(['aws', 'ceph']).optional(),
  durationSeconds: z.int().min(900).max(43_200).optional(),
  sessionTags: z.boolean().optional(),
  sessionName: z.custom<(tenant: string) => string>(isFunction, 'must be a function').optional(),
  timeout: z.int().positive().optional(),
});

/**
 * Gives each tenant a session of a role, which the server confines to that tenant: the `Policy` of the session is that
 * of `storageBackstop`, whatever the role itself may do. For the client's option `tenant.credentials`.
 *
 * @returns a function that rejects with ConfigError when STS refuses, and with StoreUnreachableError when it cannot be
 * reached or does not answer in time
 * @throws ConfigError for an option that is not accepted, or buckets whose session policy would be too long
 *
 * @example
 * ```ts
 * import { STSClient } from '@aws-sdk/client-sts';
 * import { S3Client } from '@tenantkit/storage';
 * import { assumeTenantRole } from '@tenantkit/storage/sts';
 * const credentials = assumeTenantRole({
 *   client: new STSClient({ region: 'eu-central-1' }),
 *   roleArn: 'arn:aws:iam::123456789012:role/tenants',
 *   buckets: ['uploads'],
 * });
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'], credentials } });
 * ```
 */
export function assumeTenantRole(options: AssumeTenantRoleOptions): TenantCredentialProvider {
  const {
    client,
    roleArn,
    buckets,
    names,
    server,
    durationSeconds = DURATION,
    sessionTags = false,
    sessionName = defaultName,
    timeout = TIMEOUT,
  } = parseArgument('assumeTenantRole', optionsSchema, options);
  const policyOf = (tenant: string): PolicyDocument =>
    storageBackstop(tenant, {
      bucket: typeof buckets === 'function' ? buckets(tenant) : buckets,
      names,
      server,
    }).sessionPolicy;
  // What is wrong with them for the longest tenant is found out now, and not when that one comes.
  if (typeof buckets !== 'function') policyOf('x'.repeat(ID_MAX_LENGTH));
  return async (tenant) => {
    // First: it refuses what is no tenant.
    const policy = policyOf(tenant);
    const command = new AssumeRoleCommand({
      RoleArn: roleArn,
      RoleSessionName: sessionName(tenant),
      DurationSeconds: durationSeconds,
      Policy: JSON.stringify(policy),
      ...(sessionTags ? { Tags: [{ Key: TENANT_TAG, Value: tenant }] } : {}),
    });
    const abortSignal = AbortSignal.timeout(timeout);
    const { Credentials } = await client.send(command, { abortSignal }).catch((cause: unknown) => {
      throw failure(cause, server);
    });
    return readIdentity({
      accessKeyId: Credentials?.AccessKeyId,
      secretAccessKey: Credentials?.SecretAccessKey,
      sessionToken: Credentials?.SessionToken,
      expiration: Credentials?.Expiration,
    });
  };
}

// One character is too short for STS, and no id has this one.
function defaultName(tenant: string): string {
  return tenant.length === 1 ? `${tenant}=` : tenant;
}

function failure(cause: unknown, server: PolicyServer | undefined): unknown {
  const where = { surface: 'storage', operation: 'assumeTenantRole' } as const;
  if (isUnreachable(cause)) return new StoreUnreachableError({ ...where, target: 'STS', cause });
  if (!(cause instanceof STSServiceException)) return cause;
  return new ConfigError({
    ...where,
    problem: 'STS does not give credentials of the role for this tenant, as the cause says',
    hint: HINTS[cause.name] ?? (server === 'ceph' ? ANY_HINT : `${ANY_HINT} ${CEPH_HINT}`),
    cause,
  });
}

// Of the network, which have a code; of the signal; and of a server that is in trouble itself.
function isUnreachable(cause: unknown): boolean {
  if (cause instanceof STSServiceException) return cause.$fault === 'server' || /throttl/i.test(cause.name);
  return cause instanceof Error && ('code' in cause || /^(?:Abort|Timeout)Error$/.test(cause.name));
}

const ANY_HINT = 'Look at who may assume the role, for how long, and at the session policy.';
// Ceph says of a policy that it does not take, and of everything else, no more than 400.
const CEPH_HINT = "If the server is Ceph, say so: server: 'ceph'.";
const HINTS: Readonly<Record<string, string>> = {
  PackedPolicyTooLargeException: 'Name fewer buckets, or leave sessionTags out.',
  MalformedPolicyDocumentException: CEPH_HINT,
};

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}
