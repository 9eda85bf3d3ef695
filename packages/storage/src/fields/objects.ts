import type {
  Checksum,
  CopyObjectCommandInput,
  CopyObjectCommandOutput,
  CopyObjectResult,
  Delete,
  DeletedObject,
  DeleteObjectCommandInput,
  DeleteObjectCommandOutput,
  DeleteObjectsCommandInput,
  DeleteObjectsCommandOutput,
  GetObjectAttributesCommandInput,
  GetObjectAttributesCommandOutput,
  GetObjectAttributesParts,
  GetObjectCommandInput,
  GetObjectCommandOutput,
  HeadObjectCommandInput,
  HeadObjectCommandOutput,
  ObjectIdentifier,
  ObjectPart,
  PutObjectCommandInput,
  PutObjectCommandOutput,
  _Error,
} from '@aws-sdk/client-s3';
import { refuse } from '@tenantkit/core';
import {
  BYPASS,
  CHECKSUMS,
  CUSTOMER_KEY,
  IF,
  KEY,
  MADE,
  MFA,
  PAYER,
  PLACE,
  READ,
  SAME_CHECKSUMS,
  SAME_ENCRYPTION,
  SOURCE,
  VERSIONED,
} from './shared.ts';
import { header, leaf, table, type Input, type Output } from './types.ts';

export const putObjectInput = table({
  ...MADE,
  ...CHECKSUMS,
  ...IF,
  Body: { as: 'body' },
  ChecksumAlgorithm: header('x-amz-sdk-checksum-algorithm'),
  ContentLength: header('content-length'),
  ContentMD5: header('content-md5'),
  WriteOffsetBytes: refuse(
    'it appends to an object in a directory bucket',
    'Write the whole object; directory buckets are refused.',
  ),
} satisfies Input<PutObjectCommandInput>);

export const getObjectInput = table(READ satisfies Input<GetObjectCommandInput>);

export const headObjectInput = table(READ satisfies Input<HeadObjectCommandInput>);

export const deleteObjectInput = table({
  ...VERSIONED,
  ...PAYER,
  IfMatch: header('if-match'),
  IfMatchLastModifiedTime: header('x-amz-if-match-last-modified-time'),
  IfMatchSize: header('x-amz-if-match-size'),
  MFA,
  BypassGovernanceRetention: BYPASS,
} satisfies Input<DeleteObjectCommandInput>);

export const deleteObjectsInput = table({
  ...PLACE,
  ...PAYER,
  ChecksumAlgorithm: header('x-amz-sdk-checksum-algorithm'),
  MFA,
  BypassGovernanceRetention: BYPASS,
  Delete: {
    as: 'record',
    element: 'Delete',
    required: true,
    fields: table({
      Quiet: leaf,
      Objects: {
        as: 'list',
        element: 'Object',
        required: true,
        max: 1_000,
        fields: table({
          Key: KEY,
          VersionId: { as: 'version' },
          ETag: leaf,
          LastModifiedTime: leaf,
          Size: leaf,
        } satisfies Input<ObjectIdentifier>),
      },
    } satisfies Input<Delete>),
  },
} satisfies Input<DeleteObjectsCommandInput>);

// Ceph compares without case: whom a copy is about must not hang on how that is written.
const DIRECTIVES = ['COPY', 'REPLACE'];

export const copyObjectInput = table({
  ...MADE,
  ...IF,
  ...SOURCE,
  ChecksumAlgorithm: header('x-amz-checksum-algorithm'),
  MetadataDirective: { ...header('x-amz-metadata-directive'), values: DIRECTIVES },
  TaggingDirective: { ...header('x-amz-tagging-directive'), values: DIRECTIVES },
  AnnotationDirective: refuse('annotations are refused', 'Keep the values in Metadata.'),
} satisfies Input<CopyObjectCommandInput>);

export const getObjectAttributesInput = table({
  ...VERSIONED,
  ...CUSTOMER_KEY,
  ...PAYER,
  MaxParts: header('x-amz-max-parts'),
  PartNumberMarker: header('x-amz-part-number-marker'),
  ObjectAttributes: header('x-amz-object-attributes'),
} satisfies Input<GetObjectAttributesCommandInput>);

const HEAD = {
  ...SAME_CHECKSUMS,
  ...SAME_ENCRYPTION,
  ChecksumType: 'same',
  DeleteMarker: 'same',
  AcceptRanges: 'same',
  Expiration: 'same',
  Restore: 'same',
  LastModified: 'same',
  ContentLength: 'same',
  ETag: 'same',
  MissingMeta: 'same',
  VersionId: 'same',
  CacheControl: 'same',
  ContentDisposition: 'same',
  ContentEncoding: 'same',
  ContentLanguage: 'same',
  ContentRange: 'same',
  ContentType: 'same',
  Expires: 'same',
  ExpiresString: 'same',
  WebsiteRedirectLocation: 'same',
  Metadata: 'metadata',
  StorageClass: 'same',
  RequestCharged: 'same',
  ReplicationStatus: 'same',
  PartsCount: 'same',
  TagCount: 'same',
  ObjectLockMode: 'same',
  ObjectLockRetainUntilDate: 'same',
  ObjectLockLegalHoldStatus: 'same',
  ObjectLockEventHold: 'same',
  ObjectLockEventHoldDurationDays: 'same',
  ObjectLockEventHoldDurationYears: 'same',
} as const;

export const putObjectOutput = table({
  ...SAME_CHECKSUMS,
  ...SAME_ENCRYPTION,
  ChecksumType: 'same',
  Expiration: 'same',
  ETag: 'same',
  VersionId: 'same',
  SSEKMSEncryptionContext: 'same',
  Size: 'same',
  RequestCharged: 'same',
} satisfies Output<PutObjectCommandOutput>);

export const getObjectOutput = table({
  ...HEAD,
  Body: 'same',
} satisfies Output<GetObjectCommandOutput>);

export const headObjectOutput = table({
  ...HEAD,
  ArchiveStatus: 'same',
} satisfies Output<HeadObjectCommandOutput>);

export const deleteObjectOutput = table({
  DeleteMarker: 'same',
  VersionId: 'same',
  RequestCharged: 'same',
} satisfies Output<DeleteObjectCommandOutput>);

export const deleteObjectsOutput = table({
  Deleted: {
    each: table({
      Key: 'key',
      VersionId: 'same',
      DeleteMarker: 'same',
      DeleteMarkerVersionId: 'same',
    } satisfies Output<DeletedObject>),
  },
  RequestCharged: 'same',
  Errors: {
    each: table({
      Key: 'key',
      VersionId: 'same',
      Code: 'same',
      Message: 'text',
    } satisfies Output<_Error>),
  },
} satisfies Output<DeleteObjectsCommandOutput>);

export const copyObjectOutput = table({
  ...SAME_ENCRYPTION,
  CopyObjectResult: {
    of: table({
      ...SAME_CHECKSUMS,
      ChecksumType: 'same',
      ETag: 'same',
      LastModified: 'same',
    } satisfies Output<CopyObjectResult>),
  },
  Expiration: 'same',
  CopySourceVersionId: 'same',
  VersionId: 'same',
  SSEKMSEncryptionContext: 'same',
  RequestCharged: 'same',
} satisfies Output<CopyObjectCommandOutput>);

export const getObjectAttributesOutput = table({
  DeleteMarker: 'same',
  LastModified: 'same',
  VersionId: 'same',
  RequestCharged: 'same',
  ETag: 'same',
  Checksum: { of: table({ ...SAME_CHECKSUMS, ChecksumType: 'same' } satisfies Output<Checksum>) },
  ObjectParts: {
    of: table({
      TotalPartsCount: 'same',
      PartNumberMarker: 'same',
      NextPartNumberMarker: 'same',
      MaxParts: 'same',
      IsTruncated: 'same',
      Parts: {
        each: table({ ...SAME_CHECKSUMS, PartNumber: 'same', Size: 'same' } satisfies Output<ObjectPart>),
      },
    } satisfies Output<GetObjectAttributesParts>),
  },
  StorageClass: 'same',
  ObjectSize: 'same',
} satisfies Output<GetObjectAttributesCommandOutput>);
