import { z } from 'zod';
import type { PolicyServer } from './backstop-actions.ts';
import type { PolicyDocument, PolicyStatement } from './backstop.ts';
import { parseArgument } from './options.ts';

/** Who may assume the role of the tenants. */
export interface StorageTrustOptions {
  /** The role that the policy is for. */
  readonly roleArn: string;
  /** ARNs of what the service runs as, whose credentials the `STSClient` has. */
  readonly principals: readonly string[];
  /** `'aws'`, the default, or `'ceph'`. */
  readonly server?: PolicyServer | undefined;
  /** As in `assumeTenantRole`; on AWS. */
  readonly sessionTags?: boolean | undefined;
}

// The name at its end is what Ceph compares: with a slash behind it, the denial would be of nobody.
const ROLE = /^arn:[^:\s]+:iam::[^:\s]*:role\/(?:(?!\.{1,2}\/)[^\s/*?]+\/)*(?!\.{1,2}$)[\w+=,.@:-]{1,64}$/;

/** The ARN of a role. */
export const roleArn: z.ZodType<string> = z.string().regex(ROLE, 'must be the ARN of a role');

const schema: z.ZodType<StorageTrustOptions> = z
  .strictObject({
    roleArn,
    principals: z.array(z.string().startsWith('arn:')).min(1),
    server: z.enum(['aws', 'ceph']).optional(),
    sessionTags: z.boolean().optional(),
  })
  .refine((given) => !given.principals.includes(given.roleArn), {
    path: ['principals'],
    message: 'must not hold the role itself: its sessions would assume it again, without a session policy',
  })
  .refine(({ server, sessionTags }) => server !== 'ceph' || sessionTags !== true, {
    path: ['sessionTags'],
    message: 'is for AWS: it is not known what Ceph does with session tags in a trust policy',
  });

/**
 * Makes the trust policy of the role that `assumeTenantRole` takes: the service may assume it, its sessions may not.
 *
 * Ceph counts a session as the user who has opened it, and looks only at the role's trust when that session assumes the
 * role again: without a session policy it would reach every tenant. So the policy denies the role itself there. On AWS
 * the session policy has no right to AssumeRole.
 *
 * @throws ConfigError
 *
 * @example
 * ```ts
 * import { storageTrustPolicy } from '@tenantkit/storage';
 * const trust = storageTrustPolicy({
 *   roleArn: 'arn:aws:iam:::role/tenants',
 *   principals: ['arn:aws:iam:::user/service'],
 *   server: 'ceph',
 * });
 * console.log(JSON.stringify(trust, null, 2));
 * ```
 */
export function storageTrustPolicy(options: StorageTrustOptions): PolicyDocument {
  const {
    roleArn: arn,
    principals,
    server,
    sessionTags,
  } = parseArgument('storageTrustPolicy', schema, options);
  const Action = sessionTags === true ? ['sts:AssumeRole', 'sts:TagSession'] : ['sts:AssumeRole'];
  const service: PolicyStatement = {
    Sid: 'Service',
    Effect: 'Allow',
    Principal: { AWS: principals },
    Action,
  };
  const sessions: PolicyStatement = {
    Sid: 'NoSessions',
    Effect: 'Deny',
    Principal: { AWS: [nameOf(arn)] },
    Action,
  };
  return { Version: '2012-10-17', Statement: server === 'ceph' ? [service, sessions] : [service] };
}

// Ceph compares the name of the role alone: with the path in it, the denial would be of nobody.
function nameOf(arn: string): string {
  return arn.replace(/:role\/.*\//, ':role/');
}
