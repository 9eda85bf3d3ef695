import {
  GetBucketAclCommand,
  GetBucketCorsCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketPolicyStatusCommand,
  GetBucketReplicationCommand,
  GetBucketWebsiteCommand,
  GetPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import { judgeGrants, type AclJudging } from './audit-acl.ts';
import { eventTargets } from './beyond.ts';
import type { Found } from './audit-findings.ts';
import { judgePolicy } from './audit-policy.ts';
import type { Remote } from './remote.ts';
import { settingOf, type Setting } from './settings.ts';

/** What was found in the settings of a bucket. */
export interface BucketAudit {
  readonly found: readonly Found[];
  /** How ACLs of its objects are judged; `undefined` where they have no effect. */
  readonly acls: AclJudging | undefined;
}

/** Looks at the settings of a bucket. */
export async function auditBucket(remote: Remote, principals: ReadonlySet<string>): Promise<BucketAudit> {
  const { bucket, names } = remote;
  const target = { Bucket: bucket };
  const found: Found[] = [];
  const read = <Output>(what: string, setting: Setting<Output>): Partial<Output> => {
    if (setting.state === 'unseen')
      found.push({ code: 'not_examined', name: bucket, more: `${what}: ${setting.why}.` });
    return setting.state === 'set' ? setting.value : {};
  };

  const { OwnershipControls } = read(
    'Who owns objects (ownership controls)',
    await settingOf(remote, new GetBucketOwnershipControlsCommand(target), 'OwnershipControls'),
  );
  const enforced = OwnershipControls?.Rules?.some(
    ({ ObjectOwnership }) => ObjectOwnership === 'BucketOwnerEnforced',
  );
  const { PublicAccessBlockConfiguration } = read(
    'The block of public access',
    // The second is what Ceph calls it.
    await settingOf(
      remote,
      new GetPublicAccessBlockCommand(target),
      'PublicAccessBlockConfiguration',
      'BlockPublicAccessBlockConfiguration',
    ),
  );
  const acl = read(
    'The ACL of the bucket',
    await settingOf(remote, new GetBucketAclCommand(target), 'AccessControlPolicy'),
  );
  const acls: AclJudging = {
    remote,
    owner: acl.Owner?.ID,
    principals,
    ignoresPublic: PublicAccessBlockConfiguration?.IgnorePublicAcls === true,
  };
  if (enforced !== true) {
    const grants = judgeGrants(acl.Grants, acls);
    if (grants.has('public')) found.push({ code: 'public_acl', name: bucket });
    if (grants.has('foreign')) found.push({ code: 'foreign_grant', name: bucket });
  }

  const { Policy } = read('The policy', await settingOf(remote, new GetBucketPolicyCommand(target)));
  const policy = Policy === undefined ? [] : judgePolicy(Policy, { bucket, names, principals });
  found.push(...policy);
  const { PolicyStatus } = read(
    'Whether the policy is public',
    await settingOf(remote, new GetBucketPolicyStatusCommand(target), 'PolicyStatus'),
  );
  if (PolicyStatus?.IsPublic === true && !found.some(({ code }) => code.startsWith('public_')))
    found.push({ code: 'called_public', name: bucket });

  const website = await settingOf(remote, new GetBucketWebsiteCommand(target), 'WebsiteConfiguration');
  read('Whether it is a website', website);
  if (website.state === 'set') found.push({ code: 'website', name: bucket });

  const { CORSRules = [] } = read(
    'The rules for web pages (CORS)',
    await settingOf(remote, new GetBucketCorsCommand(target), 'CORSConfiguration'),
  );
  if (CORSRules.some(({ AllowedOrigins = [] }) => AllowedOrigins.includes('*')))
    found.push({ code: 'cors_any_origin', name: bucket });

  const { ReplicationConfiguration } = read(
    'The replication',
    await settingOf(remote, new GetBucketReplicationCommand(target), 'ReplicationConfiguration'),
  );
  for (const { Status, Destination } of ReplicationConfiguration?.Rules ?? []) {
    const { Account, Bucket = bucket } = Destination ?? {};
    if (Status === 'Disabled') continue;
    const isForeign = Account !== undefined && !principals.has(Account);
    found.push({ code: isForeign ? 'replicated_to_account' : 'replicated', name: Bucket });
  }

  const events = read(
    'Where events are sent',
    await settingOf(
      remote,
      new GetBucketNotificationConfigurationCommand(target),
      'NotificationConfiguration',
    ),
  );
  for (const name of eventTargets(events))
    if (!principals.has(name)) found.push({ code: 'events_sent', name });
  return { found, acls: enforced === true ? undefined : acls };
}
