import type * as Sdk from '@aws-sdk/client-s3';
import { defineRules, refuse, rewrite, type RefuseRule, type RewriteRule, type Rules } from '@tenantkit/core';
import * as fields from './fields/index.ts';
import type { InputFields, OutputFields } from './fields/index.ts';

/** Every command that the SDK exports: an upgrade that adds one does not compile until it has a row. */
export type CommandName = Exclude<Extract<keyof typeof Sdk, `${string}Command`>, '$Command'>;

/** How a command is kept inside its tenant, before it leaves, when it leaves and when it comes back. */
export interface CommandPlan {
  /** The one HTTP method that may leave. */
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /**
   * What the path names: an object of the tenant, or the bucket: of a listing, confined by its prefix, or of a batch,
   * whose keys are in its body.
   */
  readonly target: 'object' | 'listing' | 'batch';
  readonly input: InputFields;
  /** Fields that are left out: `Upload` of @aws-sdk/lib-storage gives each command those of a PutObject. */
  readonly ignored?: InputFields;
  readonly output: OutputFields;
  /** Query parameters with a fixed value; `must` are those without which the server would do something else. */
  readonly fixed: {
    readonly must: Readonly<Record<string, string>>;
    readonly may: Readonly<Record<string, string>>;
  };
  /**
   * What it writes, where that is about the person in whose context it is sent: an object, a copy of one, or a part of
   * an upload. What ends an upload or changes the tags of an object writes none.
   */
  readonly about?: 'object' | 'copy' | 'part' | 'partCopy' | undefined;
  /** Whether a presigned URL may be made of it. */
  readonly presign: 'allowed' | RefuseRule;
}

const OPERATOR = 'Do it from operator code: acrossTenants({ reason, actor }, () => client.send(command)).';

const BUCKET_READ = refuse('it shows how a bucket is set up, and all tenants share the bucket', OPERATOR);
const BUCKET_WRITE = refuse(
  'it changes a bucket or its settings, and all tenants share the bucket',
  OPERATOR,
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
const NO_PRESIGN_BODY = refuse(
  'a presigned URL signs no body, and this one decides what is done',
  'Send the command in your service.',
);
const NO_PRESIGN_UPLOAD = refuse(
  'its reply carries the physical key and an upload id that is not sealed',
  'Create, list and complete the upload in your service, and presign UploadPartCommand.',
);

const NO_PRESIGN_ASPECT = refuse(
  'a server that does not know this aspect of an object answers with the object, or deletes it',
  'Ask in your service and hand out the result.',
);

type Way = Pick<CommandPlan, 'about' | 'ignored' | 'method' | 'target' | 'presign'> & {
  readonly must?: Readonly<Record<string, string>>;
  readonly may?: Readonly<Record<string, string>>;
};

/** A row that is rewritten; `way` says how its request travels. */
const inside = (
  input: InputFields,
  output: OutputFields,
  { must = {}, may = {}, ...way }: Way,
): RewriteRule<CommandPlan> => rewrite<CommandPlan>({ ...way, input, output, fixed: { must, may } });

const GET = { method: 'GET', target: 'object', presign: 'allowed' } as const;
const PUT = { method: 'PUT', target: 'object', presign: 'allowed' } as const;
const POST = { method: 'POST', target: 'object' } as const;
const DELETE = { method: 'DELETE', target: 'object', presign: 'allowed' } as const;
const PARTLY = { ignored: fields.putObjectInput } as const;
const LIST = { method: 'GET', target: 'listing', presign: NO_PRESIGN_LIST } as const;
const id = (operation: string): { readonly may: Way['may'] & object } => ({ may: { 'x-id': operation } });

/** One row per command of the SDK. */
export const rules = defineRules({
  // --- inside the tenant: objects
  PutObjectCommand: inside(fields.putObjectInput, fields.putObjectOutput, {
    ...PUT,
    ...id('PutObject'),
    about: 'object',
  }),
  GetObjectCommand: inside(fields.getObjectInput, fields.getObjectOutput, { ...GET, ...id('GetObject') }),
  HeadObjectCommand: inside(fields.headObjectInput, fields.headObjectOutput, {
    ...GET,
    method: 'HEAD',
  }),
  DeleteObjectCommand: inside(fields.deleteObjectInput, fields.deleteObjectOutput, {
    ...DELETE,
    ...id('DeleteObject'),
  }),
  DeleteObjectsCommand: inside(fields.deleteObjectsInput, fields.deleteObjectsOutput, {
    method: 'POST',
    target: 'batch',
    must: { delete: '' },
    presign: NO_PRESIGN_BODY,
  }),
  CopyObjectCommand: inside(fields.copyObjectInput, fields.copyObjectOutput, {
    ...PUT,
    ...id('CopyObject'),
    about: 'copy',
    presign: NO_PRESIGN_COPY,
  }),
  GetObjectAttributesCommand: inside(fields.getObjectAttributesInput, fields.getObjectAttributesOutput, {
    ...GET,
    must: { attributes: '' },
    presign: NO_PRESIGN_ASPECT,
  }),
  GetObjectTaggingCommand: inside(fields.getObjectTaggingInput, fields.getObjectTaggingOutput, {
    ...GET,
    must: { tagging: '' },
    presign: NO_PRESIGN_ASPECT,
  }),
  PutObjectTaggingCommand: inside(fields.putObjectTaggingInput, fields.putObjectTaggingOutput, {
    ...PUT,
    ...PARTLY,
    must: { tagging: '' },
    presign: NO_PRESIGN_BODY,
  }),
  DeleteObjectTaggingCommand: inside(fields.deleteObjectTaggingInput, fields.deleteObjectTaggingOutput, {
    ...DELETE,
    must: { tagging: '' },
    presign: NO_PRESIGN_ASPECT,
  }),
  GetObjectLegalHoldCommand: inside(fields.getObjectLegalHoldInput, fields.getObjectLegalHoldOutput, {
    ...GET,
    must: { 'legal-hold': '' },
    presign: NO_PRESIGN_ASPECT,
  }),
  GetObjectRetentionCommand: inside(fields.getObjectRetentionInput, fields.getObjectRetentionOutput, {
    ...GET,
    must: { retention: '' },
    presign: NO_PRESIGN_ASPECT,
  }),
  RestoreObjectCommand: inside(fields.restoreObjectInput, fields.restoreObjectOutput, {
    ...POST,
    must: { restore: '' },
    presign: NO_PRESIGN_BODY,
  }),
  SelectObjectContentCommand: inside(fields.selectObjectContentInput, fields.selectObjectContentOutput, {
    ...POST,
    must: { select: '', 'select-type': '2' },
    presign: NO_PRESIGN_BODY,
  }),

  // --- inside the tenant: multipart uploads
  CreateMultipartUploadCommand: inside(
    fields.createMultipartUploadInput,
    fields.createMultipartUploadOutput,
    { ...POST, ...PARTLY, must: { uploads: '' }, about: 'object', presign: NO_PRESIGN_UPLOAD },
  ),
  UploadPartCommand: inside(fields.uploadPartInput, fields.uploadPartOutput, {
    ...PUT,
    ...PARTLY,
    ...id('UploadPart'),
    about: 'part',
  }),
  UploadPartCopyCommand: inside(fields.uploadPartCopyInput, fields.uploadPartCopyOutput, {
    ...PUT,
    ...id('UploadPartCopy'),
    about: 'partCopy',
    presign: NO_PRESIGN_COPY,
  }),
  CompleteMultipartUploadCommand: inside(
    fields.completeMultipartUploadInput,
    fields.completeMultipartUploadOutput,
    { ...POST, ...PARTLY, presign: NO_PRESIGN_UPLOAD },
  ),
  AbortMultipartUploadCommand: inside(fields.abortMultipartUploadInput, fields.abortMultipartUploadOutput, {
    ...DELETE,
    ...id('AbortMultipartUpload'),
  }),
  ListPartsCommand: inside(fields.listPartsInput, fields.listPartsOutput, {
    ...GET,
    ...id('ListParts'),
    presign: NO_PRESIGN_UPLOAD,
  }),

  // --- inside the tenant: listings
  ListObjectsCommand: inside(fields.listObjectsInput, fields.listObjectsOutput, LIST),
  ListObjectsV2Command: inside(fields.listObjectsV2Input, fields.listObjectsV2Output, {
    ...LIST,
    must: { 'list-type': '2' },
  }),
  ListObjectVersionsCommand: inside(fields.listObjectVersionsInput, fields.listObjectVersionsOutput, {
    ...LIST,
    must: { versions: '' },
  }),
  ListMultipartUploadsCommand: inside(fields.listMultipartUploadsInput, fields.listMultipartUploadsOutput, {
    ...LIST,
    must: { uploads: '' },
  }),

  // --- refused
  CreateBucketCommand: BUCKET_WRITE,
  CreateBucketMetadataConfigurationCommand: BUCKET_WRITE,
  CreateBucketMetadataTableConfigurationCommand: BUCKET_WRITE,
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
  GetObjectLockConfigurationCommand: BUCKET_READ,
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
  ListObjectAnnotationsCommand: ANNOTATION,
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
  PutPublicAccessBlockCommand: BUCKET_WRITE,
  RenameObjectCommand: NEWER,
  UpdateBucketMetadataAnnotationTableConfigurationCommand: BUCKET_WRITE,
  UpdateBucketMetadataInventoryTableConfigurationCommand: BUCKET_WRITE,
  UpdateBucketMetadataJournalTableConfigurationCommand: BUCKET_WRITE,
  UpdateObjectEncryptionCommand: NEWER,
  WriteGetObjectResponseCommand: refuse(
    'it answers a request of S3 Object Lambda, which belongs to no tenant',
    OPERATOR,
  ),
} satisfies Rules<CommandName, CommandPlan>);
