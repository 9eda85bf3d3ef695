import type {
  AbortMultipartUploadCommandInput,
  AbortMultipartUploadCommandOutput,
  CompletedMultipartUpload,
  CompletedPart,
  CompleteMultipartUploadCommandInput,
  CompleteMultipartUploadCommandOutput,
  CopyPartResult,
  CreateMultipartUploadCommandInput,
  CreateMultipartUploadCommandOutput,
  ListPartsCommandInput,
  ListPartsCommandOutput,
  Part,
  UploadPartCommandInput,
  UploadPartCommandOutput,
  UploadPartCopyCommandInput,
  UploadPartCopyCommandOutput,
} from '@aws-sdk/client-s3';
import {
  CHECKSUMS,
  CHECKSUM_LEAVES,
  CUSTOMER_KEY,
  IF,
  MADE,
  SAME_CHECKSUMS,
  SAME_ENCRYPTION,
  SOURCE,
  UPLOAD,
} from './shared.ts';
import { header, leaf, query, table, type Input, type InputField, type Output } from './types.ts';

const PART_NUMBER: InputField = { as: 'partNumber', query: 'partNumber', required: true };

export const createMultipartUploadInput = table({
  ...MADE,
  ChecksumAlgorithm: header('x-amz-checksum-algorithm'),
  ChecksumType: header('x-amz-checksum-type'),
} satisfies Input<CreateMultipartUploadCommandInput>);

export const uploadPartInput = table({
  ...UPLOAD,
  ...CHECKSUMS,
  ...CUSTOMER_KEY,
  PartNumber: PART_NUMBER,
  Body: { as: 'body' },
  ChecksumAlgorithm: header('x-amz-sdk-checksum-algorithm'),
  ContentLength: header('content-length'),
  ContentMD5: header('content-md5'),
} satisfies Input<UploadPartCommandInput>);

export const uploadPartCopyInput = table({
  ...UPLOAD,
  ...CUSTOMER_KEY,
  ...SOURCE,
  PartNumber: PART_NUMBER,
  CopySourceRange: header('x-amz-copy-source-range'),
} satisfies Input<UploadPartCopyCommandInput>);

export const completeMultipartUploadInput = table({
  ...UPLOAD,
  ...CHECKSUMS,
  ...CUSTOMER_KEY,
  ...IF,
  ChecksumType: header('x-amz-checksum-type'),
  MpuObjectSize: header('x-amz-mp-object-size'),
  MultipartUpload: {
    as: 'record',
    element: 'CompleteMultipartUpload',
    fields: table({
      Parts: {
        as: 'list',
        element: 'Part',
        max: 10_000,
        fields: table({
          ...CHECKSUM_LEAVES,
          ETag: leaf,
          PartNumber: leaf,
        } satisfies Input<CompletedPart>),
      },
    } satisfies Input<CompletedMultipartUpload>),
  },
} satisfies Input<CompleteMultipartUploadCommandInput>);

export const abortMultipartUploadInput = table({
  ...UPLOAD,
  IfMatchInitiatedTime: header('x-amz-if-match-initiated-time'),
} satisfies Input<AbortMultipartUploadCommandInput>);

export const listPartsInput = table({
  ...UPLOAD,
  ...CUSTOMER_KEY,
  MaxParts: query('max-parts'),
  PartNumberMarker: query('part-number-marker'),
} satisfies Input<ListPartsCommandInput>);

export const createMultipartUploadOutput = table({
  ...SAME_ENCRYPTION,
  AbortDate: 'same',
  AbortRuleId: 'same',
  Bucket: 'bucket',
  Key: 'key',
  UploadId: 'uploadId',
  SSEKMSEncryptionContext: 'same',
  RequestCharged: 'same',
  ChecksumAlgorithm: 'same',
  ChecksumType: 'same',
} satisfies Output<CreateMultipartUploadCommandOutput>);

export const uploadPartOutput = table({
  ...SAME_CHECKSUMS,
  ...SAME_ENCRYPTION,
  ETag: 'same',
  RequestCharged: 'same',
} satisfies Output<UploadPartCommandOutput>);

export const uploadPartCopyOutput = table({
  ...SAME_ENCRYPTION,
  CopySourceVersionId: 'same',
  CopyPartResult: {
    of: table({ ...SAME_CHECKSUMS, ETag: 'same', LastModified: 'same' } satisfies Output<CopyPartResult>),
  },
  RequestCharged: 'same',
} satisfies Output<UploadPartCopyCommandOutput>);

const { SSECustomerAlgorithm: _algorithm, SSECustomerKeyMD5: _md5, ...COMPLETED } = SAME_ENCRYPTION;

export const completeMultipartUploadOutput = table({
  ...SAME_CHECKSUMS,
  ...COMPLETED,
  ChecksumType: 'same',
  Location: 'location',
  Bucket: 'bucket',
  Key: 'key',
  Expiration: 'same',
  ETag: 'same',
  VersionId: 'same',
  RequestCharged: 'same',
} satisfies Output<CompleteMultipartUploadCommandOutput>);

export const abortMultipartUploadOutput = table({
  RequestCharged: 'same',
} satisfies Output<AbortMultipartUploadCommandOutput>);

export const listPartsOutput = table({
  AbortDate: 'same',
  AbortRuleId: 'same',
  Bucket: 'bucket',
  Key: 'key',
  UploadId: 'uploadId',
  PartNumberMarker: 'same',
  NextPartNumberMarker: 'same',
  MaxParts: 'same',
  IsTruncated: 'same',
  Parts: {
    each: table({
      ...SAME_CHECKSUMS,
      PartNumber: 'same',
      LastModified: 'same',
      ETag: 'same',
      Size: 'same',
    } satisfies Output<Part>),
  },
  Initiator: 'same',
  Owner: 'same',
  StorageClass: 'same',
  RequestCharged: 'same',
  ChecksumAlgorithm: 'same',
  ChecksumType: 'same',
} satisfies Output<ListPartsCommandOutput>);
