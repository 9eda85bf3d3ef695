import type * as Sdk from '@aws-sdk/client-s3';
import { defineRules, refuse, rewrite, type RefuseRule, type Rules } from '@tenantkit/core';
import {
  copyObjectInput,
  copyObjectOutput,
  deleteObjectInput,
  deleteObjectOutput,
  getObjectInput,
  getObjectOutput,
  headObjectInput,
  headObjectOutput,
  listObjectsV2Input,
  listObjectsV2Output,
  putObjectInput,
  putObjectOutput,
  type InputFields,
  type OutputFields,
} from './fields.ts';

/** Every command that the SDK exports: an upgrade that adds one does not compile until it has a row. */
export type CommandName = Exclude<Extract<keyof typeof Sdk, `${string}Command`>, '$Command'>;

/** How a command is kept inside its tenant, before it leaves, when it leaves and when it comes back. */
export interface CommandPlan {
  /** The one HTTP method that may leave. */
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'DELETE';
  /** What the path names: an object of the tenant, or the bucket (a listing, confined by its prefix). */
  readonly target: 'object' | 'bucket';
  readonly input: InputFields;
  readonly output: OutputFields;
  /** Query parameters with a fixed value; `must` are those without which the server would do something else. */
  readonly fixed: {
    readonly must: Readonly<Record<string, string>>;
    readonly may: Readonly<Record<string, string>>;
  };
  /** Whether a presigned URL may be made of it. */
  readonly presign: 'allowed' | RefuseRule;
}

const OPERATOR = 'Do it from operator code: acrossTenants({ reason, actor }, () => client.send(command)).';

const BUCKET_READ = refuse('it shows how a bucket is set up, and all tenants share the bucket', OPERATOR);
const BUCKET_WRITE = refuse(
  'it changes a bucket or its settings, and all tenants share the bucket',
  OPERATOR,
);
const MULTIPART = refuse(
  'upload ids are not sealed to their tenant yet',
  'Refused today; upload objects of up to 5 GiB with PutObjectCommand.',
);
const NEWER = refuse(
  'a server that does not know it takes it for a plain PUT and overwrites the object',
  'Use CopyObjectCommand and DeleteObjectCommand, or keep the values in Metadata.',
);
const ANNOTATION = refuse(
  'a server that does not know it answers with something else',
  'Keep the values in Metadata.',
);
const ACL = refuse('an ACL opens objects to accounts outside the tenant', 'Hand out a presigned URL.');
const TAGGING = refuse(
  'tags drive lifecycle rules and policies, which are shared by all tenants',
  'Refused today; keep the values in Metadata.',
);
const LOCK = refuse(
  'locks and holds are set by the operator, since they keep data from being erased',
  OPERATOR,
);

const NO_PRESIGN_LIST = refuse(
  'the reply to a presigned listing cannot be checked and would carry physical keys',
  'List in your service and hand out the result.',
);
const NO_PRESIGN_COPY = refuse(
  'a presigned copy leaves the check of its source to the server',
  'Copy in your service.',
);

/** One row per command of the SDK. */
export const rules = defineRules({
  // --- inside the tenant
  PutObjectCommand: rewrite<CommandPlan>({
    method: 'PUT',
    target: 'object',
    input: putObjectInput,
    output: putObjectOutput,
    fixed: { must: {}, may: { 'x-id': 'PutObject' } },
    presign: 'allowed',
  }),
  GetObjectCommand: rewrite<CommandPlan>({
    method: 'GET',
    target: 'object',
    input: getObjectInput,
    output: getObjectOutput,
    fixed: { must: {}, may: { 'x-id': 'GetObject' } },
    presign: 'allowed',
  }),
  HeadObjectCommand: rewrite<CommandPlan>({
    method: 'HEAD',
    target: 'object',
    input: headObjectInput,
    output: headObjectOutput,
    fixed: { must: {}, may: { 'x-id': 'HeadObject' } },
    presign: 'allowed',
  }),
  DeleteObjectCommand: rewrite<CommandPlan>({
    method: 'DELETE',
    target: 'object',
    input: deleteObjectInput,
    output: deleteObjectOutput,
    fixed: { must: {}, may: { 'x-id': 'DeleteObject' } },
    presign: 'allowed',
  }),
  CopyObjectCommand: rewrite<CommandPlan>({
    method: 'PUT',
    target: 'object',
    input: copyObjectInput,
    output: copyObjectOutput,
    fixed: { must: {}, may: { 'x-id': 'CopyObject' } },
    presign: NO_PRESIGN_COPY,
  }),
  ListObjectsV2Command: rewrite<CommandPlan>({
    method: 'GET',
    target: 'bucket',
    input: listObjectsV2Input,
    output: listObjectsV2Output,
    fixed: { must: { 'list-type': '2' }, may: { 'x-id': 'ListObjectsV2' } },
    presign: NO_PRESIGN_LIST,
  }),

  // --- refused
  AbortMultipartUploadCommand: MULTIPART,
  CompleteMultipartUploadCommand: MULTIPART,
  CreateBucketCommand: BUCKET_WRITE,
  CreateBucketMetadataConfigurationCommand: BUCKET_WRITE,
  CreateBucketMetadataTableConfigurationCommand: BUCKET_WRITE,
  CreateMultipartUploadCommand: MULTIPART,
  CreateSessionCommand: refuse(
    'it makes credentials for a whole directory bucket',
    'Use a general purpose bucket.',
  ),
  DeleteBucketAnalyticsConfigurationCommand: BUCKET_WRITE,
  DeleteBucketCommand: refuse('it deletes the bucket of all tenants', OPERATOR),
  DeleteBucketCorsCommand: BUCKET_WRITE,
  DeleteBucketEncryptionCommand: BUCKET_WRITE,
  DeleteBucketIntelligentTieringConfigurationCommand: BUCKET_WRITE,
  DeleteBucketInventoryConfigurationCommand: BUCKET_WRITE,
  DeleteBucketLifecycleCommand: BUCKET_WRITE,
  DeleteBucketMetadataConfigurationCommand: BUCKET_WRITE,
  DeleteBucketMetadataTableConfigurationCommand: BUCKET_WRITE,
  DeleteBucketMetricsConfigurationCommand: BUCKET_WRITE,
  DeleteBucketOwnershipControlsCommand: BUCKET_WRITE,
  DeleteBucketPolicyCommand: BUCKET_WRITE,
  DeleteBucketReplicationCommand: BUCKET_WRITE,
  DeleteBucketTaggingCommand: BUCKET_WRITE,
  DeleteBucketWebsiteCommand: BUCKET_WRITE,
  DeleteObjectAnnotationCommand: refuse(
    'a server that does not know it deletes something else instead',
    'Keep the values in Metadata.',
  ),
  DeleteObjectTaggingCommand: TAGGING,
  DeleteObjectsCommand: refuse(
    'one request names many objects, and its reply is not checked yet',
    'Refused today; send a DeleteObjectCommand per key.',
  ),
  DeletePublicAccessBlockCommand: BUCKET_WRITE,
  GetBucketAbacCommand: BUCKET_READ,
  GetBucketAccelerateConfigurationCommand: BUCKET_READ,
  GetBucketAclCommand: BUCKET_READ,
  GetBucketAnalyticsConfigurationCommand: BUCKET_READ,
  GetBucketCorsCommand: BUCKET_READ,
  GetBucketEncryptionCommand: BUCKET_READ,
  GetBucketIntelligentTieringConfigurationCommand: BUCKET_READ,
  GetBucketInventoryConfigurationCommand: BUCKET_READ,
  GetBucketLifecycleConfigurationCommand: BUCKET_READ,
  GetBucketLocationCommand: BUCKET_READ,
  GetBucketLoggingCommand: BUCKET_READ,
  GetBucketMetadataConfigurationCommand: BUCKET_READ,
  GetBucketMetadataTableConfigurationCommand: BUCKET_READ,
  GetBucketMetricsConfigurationCommand: BUCKET_READ,
  GetBucketNotificationConfigurationCommand: BUCKET_READ,
  GetBucketOwnershipControlsCommand: BUCKET_READ,
  GetBucketPolicyCommand: BUCKET_READ,
  GetBucketPolicyStatusCommand: BUCKET_READ,
  GetBucketReplicationCommand: BUCKET_READ,
  GetBucketRequestPaymentCommand: BUCKET_READ,
  GetBucketTaggingCommand: BUCKET_READ,
  GetBucketVersioningCommand: BUCKET_READ,
  GetBucketWebsiteCommand: BUCKET_READ,
  GetObjectAclCommand: ACL,
  GetObjectAnnotationCommand: ANNOTATION,
  GetObjectAttributesCommand: refuse(
    'a server that does not know it answers with the body of the object',
    'Use HeadObjectCommand.',
  ),
  GetObjectLegalHoldCommand: LOCK,
  GetObjectLockConfigurationCommand: BUCKET_READ,
  GetObjectRetentionCommand: LOCK,
  GetObjectTaggingCommand: TAGGING,
  GetObjectTorrentCommand: refuse(
    'a torrent is served to anybody and names the physical key',
    'Hand out a presigned URL.',
  ),
  GetPublicAccessBlockCommand: BUCKET_READ,
  HeadBucketCommand: BUCKET_READ,
  ListBucketAnalyticsConfigurationsCommand: BUCKET_READ,
  ListBucketIntelligentTieringConfigurationsCommand: BUCKET_READ,
  ListBucketInventoryConfigurationsCommand: BUCKET_READ,
  ListBucketMetricsConfigurationsCommand: BUCKET_READ,
  ListBucketsCommand: refuse('it lists the buckets of the account', OPERATOR),
  ListDirectoryBucketsCommand: refuse('it lists the buckets of the account', OPERATOR),
  ListMultipartUploadsCommand: refuse(
    'it lists the uploads of every tenant, and upload ids are not sealed yet',
    'Refused today; upload objects with PutObjectCommand.',
  ),
  ListObjectAnnotationsCommand: ANNOTATION,
  ListObjectVersionsCommand: refuse(
    'its markers are physical keys',
    'Refused today; name a version with VersionId.',
  ),
  ListObjectsCommand: refuse('its markers are physical keys', 'Use ListObjectsV2Command.'),
  ListPartsCommand: MULTIPART,
  PutBucketAbacCommand: BUCKET_WRITE,
  PutBucketAccelerateConfigurationCommand: BUCKET_WRITE,
  PutBucketAclCommand: refuse('it decides who may enter the bucket of all tenants', OPERATOR),
  PutBucketAnalyticsConfigurationCommand: BUCKET_WRITE,
  PutBucketCorsCommand: BUCKET_WRITE,
  PutBucketEncryptionCommand: BUCKET_WRITE,
  PutBucketIntelligentTieringConfigurationCommand: BUCKET_WRITE,
  PutBucketInventoryConfigurationCommand: refuse('an inventory lists the objects of every tenant', OPERATOR),
  PutBucketLifecycleConfigurationCommand: refuse('its rules expire the objects of every tenant', OPERATOR),
  PutBucketLoggingCommand: refuse('its log names the keys of every tenant', OPERATOR),
  PutBucketMetricsConfigurationCommand: BUCKET_WRITE,
  PutBucketNotificationConfigurationCommand: refuse('its events name the keys of every tenant', OPERATOR),
  PutBucketOwnershipControlsCommand: BUCKET_WRITE,
  PutBucketPolicyCommand: refuse('it decides who may enter the bucket of all tenants', OPERATOR),
  PutBucketReplicationCommand: refuse('its rules copy the objects of every tenant elsewhere', OPERATOR),
  PutBucketRequestPaymentCommand: BUCKET_WRITE,
  PutBucketTaggingCommand: BUCKET_WRITE,
  PutBucketVersioningCommand: BUCKET_WRITE,
  PutBucketWebsiteCommand: BUCKET_WRITE,
  PutObjectAclCommand: ACL,
  PutObjectAnnotationCommand: NEWER,
  PutObjectLegalHoldCommand: LOCK,
  PutObjectLockConfigurationCommand: BUCKET_WRITE,
  PutObjectRetentionCommand: LOCK,
  PutObjectTaggingCommand: TAGGING,
  PutPublicAccessBlockCommand: BUCKET_WRITE,
  RenameObjectCommand: NEWER,
  RestoreObjectCommand: refuse(
    'it can write its output into any bucket',
    'Refused today; restore through acrossTenants({ reason, actor }, () => …).',
  ),
  SelectObjectContentCommand: refuse(
    'its event stream is not checked yet',
    'Refused today; read the object with GetObjectCommand.',
  ),
  UpdateBucketMetadataAnnotationTableConfigurationCommand: BUCKET_WRITE,
  UpdateBucketMetadataInventoryTableConfigurationCommand: BUCKET_WRITE,
  UpdateBucketMetadataJournalTableConfigurationCommand: BUCKET_WRITE,
  UpdateObjectEncryptionCommand: NEWER,
  UploadPartCommand: MULTIPART,
  UploadPartCopyCommand: MULTIPART,
  WriteGetObjectResponseCommand: refuse(
    'it answers a request of S3 Object Lambda, which belongs to no tenant',
    OPERATOR,
  ),
} satisfies Rules<CommandName, CommandPlan>);
