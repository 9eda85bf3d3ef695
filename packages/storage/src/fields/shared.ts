import { refuse } from '@tenantkit/core';
import { header, query, type InputField } from './types.ts';

const BUCKET: InputField = { as: 'bucket' };
export const KEY: InputField = { as: 'key', required: true };
const VERSION: InputField = { as: 'version', query: 'versionId' };
const UPLOAD_ID: InputField = { as: 'uploadId', query: 'uploadId', required: true };
const COPY_SOURCE: InputField = { as: 'copySource', header: 'x-amz-copy-source', required: true };

/** Neither lets anybody in who has no key of the account: the default, and what a shared bucket wants of writers. */
const PRIVATE = ['private', 'bucket-owner-full-control'];

const GRANT = refuse(
  'a grant opens the object to accounts outside the tenant',
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
export const BYPASS = refuse(
  'retention is set by the operator, and not for a tenant to pass by',
  'Delete it through acrossTenants({ reason, actor }, () => …), or wait until the retention ends.',
);
export const MFA = refuse('MFA delete belongs to the owner of the bucket', 'Delete without it.');
const REDIRECT = refuse(
  'a website redirect can lead to another tenant or another site',
  'Answer the redirect in your service.',
);

/** Fields that several commands share. `ExpectedBucketOwner` can only make a request stricter. */
const OWNER = { ExpectedBucketOwner: header('x-amz-expected-bucket-owner') };
export const PAYER = { RequestPayer: header('x-amz-request-payer') };
export const PLACE = { Bucket: BUCKET, ...OWNER };
export const OBJECT = { ...PLACE, Key: KEY };
export const VERSIONED = { ...OBJECT, VersionId: VERSION };
export const UPLOAD = { ...OBJECT, ...PAYER, UploadId: UPLOAD_ID };

export const CUSTOMER_KEY = {
  SSECustomerAlgorithm: header('x-amz-server-side-encryption-customer-algorithm'),
  SSECustomerKey: header('x-amz-server-side-encryption-customer-key'),
  SSECustomerKeyMD5: header('x-amz-server-side-encryption-customer-key-md5'),
};
export const SOURCE = {
  CopySource: COPY_SOURCE,
  CopySourceIfMatch: header('x-amz-copy-source-if-match'),
  CopySourceIfModifiedSince: header('x-amz-copy-source-if-modified-since'),
  CopySourceIfNoneMatch: header('x-amz-copy-source-if-none-match'),
  CopySourceIfUnmodifiedSince: header('x-amz-copy-source-if-unmodified-since'),
  CopySourceSSECustomerAlgorithm: header('x-amz-copy-source-server-side-encryption-customer-algorithm'),
  CopySourceSSECustomerKey: header('x-amz-copy-source-server-side-encryption-customer-key'),
  CopySourceSSECustomerKeyMD5: header('x-amz-copy-source-server-side-encryption-customer-key-md5'),
  ExpectedSourceBucketOwner: header('x-amz-source-expected-bucket-owner'),
};
export const READ = {
  ...VERSIONED,
  ...CUSTOMER_KEY,
  ...PAYER,
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
  PartNumber: { as: 'partNumber', query: 'partNumber' } satisfies InputField,
  ChecksumMode: header('x-amz-checksum-mode'),
};
/** What an object is given when it is made. */
export const MADE = {
  ...OBJECT,
  ...CUSTOMER_KEY,
  ...PAYER,
  ACL: { as: 'same', header: 'x-amz-acl', values: PRIVATE } satisfies InputField,
  GrantFullControl: GRANT,
  GrantRead: GRANT,
  GrantReadACP: GRANT,
  GrantWriteACP: GRANT,
  CacheControl: header('cache-control'),
  ContentDisposition: header('content-disposition'),
  ContentEncoding: header('content-encoding'),
  ContentLanguage: header('content-language'),
  ContentType: header('content-type'),
  Expires: header('expires'),
  Metadata: { as: 'metadata', header: 'x-amz-meta-*' } satisfies InputField,
  ServerSideEncryption: header('x-amz-server-side-encryption'),
  StorageClass: header('x-amz-storage-class'),
  WebsiteRedirectLocation: REDIRECT,
  SSEKMSKeyId: KMS,
  SSEKMSEncryptionContext: KMS,
  BucketKeyEnabled: header('x-amz-server-side-encryption-bucket-key-enabled'),
  Tagging: { as: 'tags', header: 'x-amz-tagging' } satisfies InputField,
  ObjectLockMode: LOCK,
  ObjectLockRetainUntilDate: LOCK,
  ObjectLockLegalHoldStatus: LOCK,
  ObjectLockEventHold: LOCK,
  ObjectLockEventHoldDurationDays: LOCK,
  ObjectLockEventHoldDurationYears: LOCK,
};
export const IF = { IfMatch: header('if-match'), IfNoneMatch: header('if-none-match') };

const ALGORITHMS = [
  'CRC32',
  'CRC32C',
  'CRC64NVME',
  'SHA1',
  'SHA256',
  'SHA512',
  'MD5',
  'XXHASH64',
  'XXHASH3',
  'XXHASH128',
] as const;
type Checksums<T> = Record<`Checksum${(typeof ALGORITHMS)[number]}`, T>;
const checksums = <T>(of: (algorithm: string) => T): Checksums<T> =>
  Object.fromEntries(ALGORITHMS.map((name) => [`Checksum${name}`, of(name.toLowerCase())])) as Checksums<T>;

/** A checksum per algorithm, as headers. */
export const CHECKSUMS = checksums((algorithm) => header(`x-amz-checksum-${algorithm}`));
/** The same inside of XML. */
export const CHECKSUM_LEAVES = checksums((): InputField => ({ as: 'same' }));
/** The same in a reply. */
export const SAME_CHECKSUMS = checksums(() => 'same' as const);

export const SAME_ENCRYPTION = {
  ServerSideEncryption: 'same',
  SSECustomerAlgorithm: 'same',
  SSECustomerKeyMD5: 'same',
  SSEKMSKeyId: 'same',
  BucketKeyEnabled: 'same',
} as const;
