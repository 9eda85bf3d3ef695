import type {
  CommonPrefix,
  CopyObjectCommandInput,
  CopyObjectCommandOutput,
  CopyObjectResult,
  DeleteObjectCommandInput,
  DeleteObjectCommandOutput,
  GetObjectCommandInput,
  GetObjectCommandOutput,
  HeadObjectCommandInput,
  HeadObjectCommandOutput,
  ListObjectsV2CommandInput,
  ListObjectsV2CommandOutput,
  PutObjectCommandInput,
  PutObjectCommandOutput,
  _Object,
} from '@aws-sdk/client-s3';
import { refuse, type RefuseRule } from '@tenantkit/core';

/** What a field of a request holds. `same` names nothing and leaves as it is. */
export type InputRole =
  | 'bucket'
  | 'key'
  | 'prefix'
  | 'startAfter'
  | 'token'
  | 'copySource'
  | 'version'
  | 'body'
  | 'same';

/** One field of a request: what it holds and how it travels, which is also what the last check lets through. */
export interface InputField {
  readonly as: InputRole;
  /** The header it becomes, in lower case; with `*` at the end, a family of headers. */
  readonly header?: string;
  /** The query parameter it becomes. */
  readonly query?: string;
}

/** What a field of a reply holds: `same` passes, the others are made logical. */
export type OutputField =
  | 'same'
  | 'key'
  | 'prefix'
  | 'startAfter'
  | 'token'
  | 'nextToken'
  | { readonly each: Readonly<Record<string, OutputField>> }
  | { readonly of: Readonly<Record<string, OutputField>> };

/** The fields of one command's request. A field without a row is refused. */
export type InputFields = Readonly<Record<string, InputField | RefuseRule>>;

/** The fields of one command's reply. A field without a row is withheld. */
export type OutputFields = Readonly<Record<string, OutputField>>;

// A lookup table must answer nothing for `constructor` or `__proto__`.
const table = <T extends object>(rows: T): T =>
  Object.freeze(Object.assign(Object.create(null) as object, rows));

/** A decision about every field of a request. */
export type Input<T> = Record<keyof T, InputField | RefuseRule>;
/** A decision about every field of a reply. */
export type Output<T> = Record<Exclude<keyof T, '$metadata'>, OutputField>;

const header = (name: string): InputField => ({ as: 'same', header: name });
const query = (name: string): InputField => ({ as: 'same', query: name });
const BUCKET: InputField = { as: 'bucket' };
const KEY: InputField = { as: 'key' };
const VERSION: InputField = { as: 'version', query: 'versionId' };

const ACL = refuse(
  'an ACL or grant opens the object to accounts outside the tenant',
  'Hand out a presigned URL, or set access in the bucket policy.',
);
const KMS = refuse(
  'it names a KMS key, and keys are shared by all who may use the account',
  "Leave it out: the bucket's default key is used.",
);
const LOCK = refuse(
  'a lock would keep the object from being erased with its tenant',
  "Set it through acrossTenants({ reason, actor }, () => …): retention is the operator's decision.",
);
const TAGGING = refuse(
  'tags drive lifecycle rules and policies, which are shared by all tenants',
  'Refused today; keep the values in Metadata.',
);
const REDIRECT = refuse(
  'a website redirect can lead to another tenant or another site',
  'Answer the redirect in your service.',
);

/** Fields that several commands share. `ExpectedBucketOwner` can only make a request stricter. */
const PLACE = { Bucket: BUCKET, ExpectedBucketOwner: header('x-amz-expected-bucket-owner') };
const CUSTOMER_KEY = {
  SSECustomerAlgorithm: header('x-amz-server-side-encryption-customer-algorithm'),
  SSECustomerKey: header('x-amz-server-side-encryption-customer-key'),
  SSECustomerKeyMD5: header('x-amz-server-side-encryption-customer-key-md5'),
};
const READ = {
  ...PLACE,
  ...CUSTOMER_KEY,
  Key: KEY,
  VersionId: VERSION,
  IfMatch: header('if-match'),
  IfModifiedSince: header('if-modified-since'),
  IfNoneMatch: header('if-none-match'),
  IfUnmodifiedSince: header('if-unmodified-since'),
  Range: header('range'),
  ResponseCacheControl: query('response-cache-control'),
  ResponseContentDisposition: query('response-content-disposition'),
  ResponseContentEncoding: query('response-content-encoding'),
  ResponseContentLanguage: query('response-content-language'),
  ResponseContentType: query('response-content-type'),
  ResponseExpires: query('response-expires'),
  RequestPayer: header('x-amz-request-payer'),
  PartNumber: query('partNumber'),
  ChecksumMode: header('x-amz-checksum-mode'),
};
const WRITE = {
  ...PLACE,
  ...CUSTOMER_KEY,
  Key: KEY,
  ACL,
  GrantFullControl: ACL,
  GrantRead: ACL,
  GrantReadACP: ACL,
  GrantWriteACP: ACL,
  CacheControl: header('cache-control'),
  ContentDisposition: header('content-disposition'),
  ContentEncoding: header('content-encoding'),
  ContentLanguage: header('content-language'),
  ContentType: header('content-type'),
  Expires: header('expires'),
  IfMatch: header('if-match'),
  IfNoneMatch: header('if-none-match'),
  Metadata: header('x-amz-meta-*'),
  ServerSideEncryption: header('x-amz-server-side-encryption'),
  StorageClass: header('x-amz-storage-class'),
  WebsiteRedirectLocation: REDIRECT,
  SSEKMSKeyId: KMS,
  SSEKMSEncryptionContext: KMS,
  BucketKeyEnabled: header('x-amz-server-side-encryption-bucket-key-enabled'),
  RequestPayer: header('x-amz-request-payer'),
  Tagging: TAGGING,
  ObjectLockMode: LOCK,
  ObjectLockRetainUntilDate: LOCK,
  ObjectLockLegalHoldStatus: LOCK,
  ObjectLockEventHold: LOCK,
  ObjectLockEventHoldDurationDays: LOCK,
  ObjectLockEventHoldDurationYears: LOCK,
};
const CHECKSUMS = {
  ChecksumCRC32: header('x-amz-checksum-crc32'),
  ChecksumCRC32C: header('x-amz-checksum-crc32c'),
  ChecksumCRC64NVME: header('x-amz-checksum-crc64nvme'),
  ChecksumSHA1: header('x-amz-checksum-sha1'),
  ChecksumSHA256: header('x-amz-checksum-sha256'),
  ChecksumSHA512: header('x-amz-checksum-sha512'),
  ChecksumMD5: header('x-amz-checksum-md5'),
  ChecksumXXHASH64: header('x-amz-checksum-xxhash64'),
  ChecksumXXHASH3: header('x-amz-checksum-xxhash3'),
  ChecksumXXHASH128: header('x-amz-checksum-xxhash128'),
};

export const putObjectInput = table({
  ...WRITE,
  ...CHECKSUMS,
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
  ...PLACE,
  Key: KEY,
  VersionId: VERSION,
  RequestPayer: header('x-amz-request-payer'),
  IfMatch: header('if-match'),
  IfMatchLastModifiedTime: header('x-amz-if-match-last-modified-time'),
  IfMatchSize: header('x-amz-if-match-size'),
  MFA: refuse('MFA delete belongs to the owner of the bucket', 'Delete without it.'),
  BypassGovernanceRetention: LOCK,
} satisfies Input<DeleteObjectCommandInput>);

export const copyObjectInput = table({
  ...WRITE,
  CopySource: { as: 'copySource', header: 'x-amz-copy-source' },
  ChecksumAlgorithm: header('x-amz-checksum-algorithm'),
  CopySourceIfMatch: header('x-amz-copy-source-if-match'),
  CopySourceIfModifiedSince: header('x-amz-copy-source-if-modified-since'),
  CopySourceIfNoneMatch: header('x-amz-copy-source-if-none-match'),
  CopySourceIfUnmodifiedSince: header('x-amz-copy-source-if-unmodified-since'),
  MetadataDirective: header('x-amz-metadata-directive'),
  TaggingDirective: TAGGING,
  AnnotationDirective: refuse('annotations are refused', 'Refused today; keep the values in Metadata.'),
  CopySourceSSECustomerAlgorithm: header('x-amz-copy-source-server-side-encryption-customer-algorithm'),
  CopySourceSSECustomerKey: header('x-amz-copy-source-server-side-encryption-customer-key'),
  CopySourceSSECustomerKeyMD5: header('x-amz-copy-source-server-side-encryption-customer-key-md5'),
  ExpectedSourceBucketOwner: header('x-amz-source-expected-bucket-owner'),
} satisfies Input<CopyObjectCommandInput>);

export const listObjectsV2Input = table({
  ...PLACE,
  Delimiter: query('delimiter'),
  EncodingType: query('encoding-type'),
  MaxKeys: query('max-keys'),
  Prefix: { as: 'prefix', query: 'prefix' },
  ContinuationToken: { as: 'token', query: 'continuation-token' },
  FetchOwner: query('fetch-owner'),
  StartAfter: { as: 'startAfter', query: 'start-after' },
  RequestPayer: header('x-amz-request-payer'),
  OptionalObjectAttributes: header('x-amz-optional-object-attributes'),
} satisfies Input<ListObjectsV2CommandInput>);

const SAME_CHECKSUMS = {
  ChecksumCRC32: 'same',
  ChecksumCRC32C: 'same',
  ChecksumCRC64NVME: 'same',
  ChecksumSHA1: 'same',
  ChecksumSHA256: 'same',
  ChecksumSHA512: 'same',
  ChecksumMD5: 'same',
  ChecksumXXHASH64: 'same',
  ChecksumXXHASH3: 'same',
  ChecksumXXHASH128: 'same',
  ChecksumType: 'same',
} as const;
const SAME_ENCRYPTION = {
  ServerSideEncryption: 'same',
  SSECustomerAlgorithm: 'same',
  SSECustomerKeyMD5: 'same',
  SSEKMSKeyId: 'same',
  BucketKeyEnabled: 'same',
} as const;
const HEAD = {
  ...SAME_CHECKSUMS,
  ...SAME_ENCRYPTION,
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
  Metadata: 'same',
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

export const copyObjectOutput = table({
  ...SAME_ENCRYPTION,
  CopyObjectResult: {
    of: { ...SAME_CHECKSUMS, ETag: 'same', LastModified: 'same' } satisfies Output<CopyObjectResult>,
  },
  Expiration: 'same',
  CopySourceVersionId: 'same',
  VersionId: 'same',
  SSEKMSEncryptionContext: 'same',
  RequestCharged: 'same',
} satisfies Output<CopyObjectCommandOutput>);

export const listObjectsV2Output = table({
  IsTruncated: 'same',
  Contents: {
    each: {
      Key: 'key',
      LastModified: 'same',
      ETag: 'same',
      ChecksumAlgorithm: 'same',
      ChecksumType: 'same',
      Size: 'same',
      StorageClass: 'same',
      Owner: 'same',
      RestoreStatus: 'same',
    } satisfies Output<_Object>,
  },
  Name: 'same',
  Prefix: 'prefix',
  Delimiter: 'same',
  MaxKeys: 'same',
  CommonPrefixes: { each: { Prefix: 'prefix' } satisfies Output<CommonPrefix> },
  EncodingType: 'same',
  KeyCount: 'same',
  ContinuationToken: 'token',
  NextContinuationToken: 'nextToken',
  StartAfter: 'startAfter',
  RequestCharged: 'same',
} satisfies Output<ListObjectsV2CommandOutput>);
