/** Whose policies: not every server knows every action, and some refuse a policy that names another. */
export type PolicyServer = 'aws' | 'ceph';

/** What the commands of the rules table need on objects. `VersionId` needs the rights on versions. */
const OBJECT = [
  's3:GetObject',
  's3:GetObjectVersion',
  's3:PutObject',
  's3:DeleteObject',
  's3:DeleteObjectVersion',
  's3:AbortMultipartUpload',
  's3:ListMultipartUploadParts',
  's3:GetObjectTagging',
  's3:GetObjectVersionTagging',
  's3:PutObjectTagging',
  's3:PutObjectVersionTagging',
  's3:DeleteObjectTagging',
  's3:DeleteObjectVersionTagging',
  's3:GetObjectLegalHold',
  's3:GetObjectRetention',
  's3:RestoreObject',
] as const;

/** Ceph RGW 16 refuses every policy that names these. */
const ATTRIBUTES = ['s3:GetObjectAttributes', 's3:GetObjectVersionAttributes'] as const;

/**
 * On the bucket, under the tenant's prefix. Listing uploads is not among them: neither AWS nor Ceph tells a policy the
 * prefix of that request, so it would be allowed for all tenants or, as it is, for none.
 */
export const LISTING_ACTIONS = ['s3:ListBucket', 's3:ListBucketVersions'] as const;

/** What a server is told about objects of a tenant. */
export const OBJECT_ACTIONS: Readonly<Record<PolicyServer, readonly string[]>> = {
  aws: [...OBJECT, ...ATTRIBUTES],
  ceph: OBJECT,
};

/** What a tenant must not do, by name: how the bucket is set up, locks and ACLs. */
export const OTHER_ACTIONS = [
  's3:*Acl',
  's3:*Policy*',
  's3:BypassGovernanceRetention',
  's3:CreateBucket',
  's3:DeleteBucket*',
  's3:GetBucket*',
  's3:GetLifecycleConfiguration',
  's3:GetReplicationConfiguration',
  's3:ListBucketMultipartUploads',
  's3:PutBucket*',
  's3:PutLifecycleConfiguration',
  's3:PutObjectLegalHold',
  's3:PutObjectRetention',
  's3:PutReplicationConfiguration',
] as const;

/**
 * What headers may say that could open an object to others. AWS wants the right to ACLs for them, which no tenant has.
 * Ceph takes them from whoever may write, also unsigned beside a presigned URL, but lets a policy see them: empty when
 * they are not there.
 */
export const ACL_HEADERS: Readonly<Record<string, readonly string[]>> = {
  's3:x-amz-acl': ['', 'private', 'bucket-owner-full-control'],
  's3:x-amz-grant-read': [''],
  's3:x-amz-grant-write': [''],
  's3:x-amz-grant-read-acp': [''],
  's3:x-amz-grant-write-acp': [''],
  's3:x-amz-grant-full-control': [''],
};
