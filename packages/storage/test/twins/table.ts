import * as listings from './listings.ts';
import * as multipart from './multipart.ts';
import * as objects from './objects.ts';
import type { Cases } from './objects.ts';
import type { Allowed } from './side.ts';
import * as tags from './tags.ts';

/** What is tried of each command that a tenant may send: one that has no row here does not compile. */
export const TWINS = {
  AbortMultipartUploadCommand: multipart.abortMultipartUpload,
  CompleteMultipartUploadCommand: multipart.completeMultipartUpload,
  CopyObjectCommand: objects.copyObject,
  CreateMultipartUploadCommand: multipart.createMultipartUpload,
  DeleteObjectCommand: objects.deleteObject,
  DeleteObjectTaggingCommand: tags.deleteObjectTagging,
  DeleteObjectsCommand: objects.deleteObjects,
  GetObjectAttributesCommand: objects.getObjectAttributes,
  GetObjectCommand: objects.getObject,
  GetObjectLegalHoldCommand: objects.getObjectLegalHold,
  GetObjectRetentionCommand: objects.getObjectRetention,
  GetObjectTaggingCommand: tags.getObjectTagging,
  HeadObjectCommand: objects.headObject,
  ListMultipartUploadsCommand: multipart.listMultipartUploads,
  ListObjectVersionsCommand: listings.listObjectVersions,
  ListObjectsCommand: listings.listObjects,
  ListObjectsV2Command: listings.listObjectsV2,
  ListPartsCommand: multipart.listParts,
  PutObjectCommand: objects.putObject,
  PutObjectTaggingCommand: tags.putObjectTagging,
  RestoreObjectCommand: objects.restoreObject,
  SelectObjectContentCommand: objects.selectObjectContent,
  UploadPartCommand: multipart.uploadPart,
  UploadPartCopyCommand: multipart.uploadPartCopy,
} satisfies Readonly<Record<Allowed, Cases>>;
