import type {
  CommonPrefix,
  DeleteMarkerEntry,
  ListMultipartUploadsCommandInput,
  ListMultipartUploadsCommandOutput,
  ListObjectsCommandInput,
  ListObjectsCommandOutput,
  ListObjectsV2CommandInput,
  ListObjectsV2CommandOutput,
  ListObjectVersionsCommandInput,
  ListObjectVersionsCommandOutput,
  MultipartUpload,
  ObjectVersion,
  _Object,
} from '@aws-sdk/client-s3';
import { PAYER, PLACE } from './shared.ts';
import { header, query, table, type Input, type InputField, type Output } from './types.ts';

const marker = (name: string): InputField => ({ as: 'marker', query: name });

const LISTING = {
  ...PLACE,
  ...PAYER,
  Prefix: { as: 'prefix', query: 'prefix' } satisfies InputField,
  Delimiter: query('delimiter'),
  // Ceph takes URL as well, and the keys of its reply would be read as they are.
  EncodingType: { ...query('encoding-type'), values: ['url'] },
};
const ATTRIBUTES = { OptionalObjectAttributes: header('x-amz-optional-object-attributes') };

export const listObjectsInput = table({
  ...LISTING,
  ...ATTRIBUTES,
  Marker: marker('marker'),
  MaxKeys: query('max-keys'),
} satisfies Input<ListObjectsCommandInput>);

export const listObjectsV2Input = table({
  ...LISTING,
  ...ATTRIBUTES,
  MaxKeys: query('max-keys'),
  ContinuationToken: { as: 'token', query: 'continuation-token' },
  FetchOwner: query('fetch-owner'),
  StartAfter: marker('start-after'),
} satisfies Input<ListObjectsV2CommandInput>);

export const listObjectVersionsInput = table({
  ...LISTING,
  ...ATTRIBUTES,
  KeyMarker: marker('key-marker'),
  VersionIdMarker: { as: 'version', query: 'version-id-marker' },
  MaxKeys: query('max-keys'),
} satisfies Input<ListObjectVersionsCommandInput>);

export const listMultipartUploadsInput = table({
  ...LISTING,
  KeyMarker: marker('key-marker'),
  UploadIdMarker: { as: 'uploadIdMarker', query: 'upload-id-marker' },
  MaxUploads: query('max-uploads'),
} satisfies Input<ListMultipartUploadsCommandInput>);

const LISTED = {
  IsTruncated: 'same',
  Prefix: 'prefix',
  Delimiter: 'same',
  CommonPrefixes: { each: table({ Prefix: 'prefix' } satisfies Output<CommonPrefix>) },
  EncodingType: 'same',
  RequestCharged: 'same',
} as const;
const ENTRY = {
  Key: 'key',
  LastModified: 'same',
  ETag: 'same',
  ChecksumAlgorithm: 'same',
  ChecksumType: 'same',
  Size: 'same',
  StorageClass: 'same',
  Owner: 'same',
  RestoreStatus: 'same',
} as const;
const CONTENTS = { each: table(ENTRY satisfies Output<_Object>) };

export const listObjectsOutput = table({
  ...LISTED,
  Name: 'bucket',
  Marker: 'marker',
  NextMarker: 'marker',
  Contents: CONTENTS,
  MaxKeys: 'same',
} satisfies Output<ListObjectsCommandOutput>);

export const listObjectsV2Output = table({
  ...LISTED,
  Name: 'bucket',
  Contents: CONTENTS,
  MaxKeys: 'same',
  KeyCount: 'same',
  ContinuationToken: 'echo',
  NextContinuationToken: 'nextToken',
  StartAfter: 'marker',
} satisfies Output<ListObjectsV2CommandOutput>);

export const listObjectVersionsOutput = table({
  ...LISTED,
  Name: 'bucket',
  KeyMarker: 'marker',
  VersionIdMarker: 'same',
  NextKeyMarker: 'marker',
  NextVersionIdMarker: 'same',
  MaxKeys: 'same',
  Versions: {
    each: table({ ...ENTRY, VersionId: 'same', IsLatest: 'same' } satisfies Output<ObjectVersion>),
  },
  DeleteMarkers: {
    each: table({
      Owner: 'same',
      Key: 'key',
      VersionId: 'same',
      IsLatest: 'same',
      LastModified: 'same',
    } satisfies Output<DeleteMarkerEntry>),
  },
} satisfies Output<ListObjectVersionsCommandOutput>);

export const listMultipartUploadsOutput = table({
  ...LISTED,
  Bucket: 'bucket',
  KeyMarker: 'marker',
  UploadIdMarker: 'echo',
  NextKeyMarker: 'marker',
  NextUploadIdMarker: 'nextUploadIdMarker',
  MaxUploads: 'same',
  Uploads: {
    each: table({
      UploadId: 'uploadId',
      Key: 'key',
      Initiated: 'same',
      StorageClass: 'same',
      Owner: 'same',
      Initiator: 'same',
      ChecksumAlgorithm: 'same',
      ChecksumType: 'same',
    } satisfies Output<MultipartUpload>),
  },
} satisfies Output<ListMultipartUploadsCommandOutput>);
