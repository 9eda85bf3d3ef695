export * from '@aws-sdk/client-s3';
// Names that are also the SDK's replace its own.
export { S3Client, type S3ClientConfig } from './client.ts';
export {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectTaggingCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  GetObjectAttributesCommand,
  GetObjectLegalHoldCommand,
  GetObjectRetentionCommand,
  GetObjectTaggingCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  PutObjectTaggingCommand,
  RestoreObjectCommand,
  SelectObjectContentCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type WithoutBucket,
} from './commands.ts';
export { paginateListObjectsV2, paginateListParts } from './paginators.ts';
export { S3 } from './s3.ts';
export {
  waitForBucketExists,
  waitForBucketNotExists,
  waitForObjectExists,
  waitForObjectNotExists,
  waitUntilBucketExists,
  waitUntilBucketNotExists,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
} from './waiters.ts';

export { storageAuditor, type StorageAuditorOptions } from './audit.ts';
export {
  storageBackstop,
  storagePrincipalPolicy,
  type PolicyDocument,
  type PolicyStatement,
  type StorageBackstop,
  type StorageBackstopOptions,
  type StoragePolicyOptions,
} from './backstop.ts';
export type { PolicyServer } from './backstop-actions.ts';
export { BodyLengthError } from './body.ts';
export type { TenantCredentialProvider } from './credentials.ts';
export { storageEraser, type StorageEraserOptions } from './erase.ts';
export { storageHolds, type StorageHold, type StorageHoldsOptions } from './holds.ts';
export type { TenantIdentity } from './identity.ts';
export type { KeyRole } from './grammar.ts';
export { storageNames, type KeyPlace, type StorageNames } from './names.ts';
export type { StorageTenantOptions } from './options.ts';
export type { PlacedBuckets, SiloPlacement, StoragePlacement } from './place.ts';
export type { SealingKey } from './seal.ts';
export { storageTrustPolicy, type StorageTrustOptions } from './trust.ts';
