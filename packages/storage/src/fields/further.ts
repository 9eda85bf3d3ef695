import type {
  CSVInput,
  CSVOutput,
  DeleteObjectTaggingCommandInput,
  DeleteObjectTaggingCommandOutput,
  GetObjectLegalHoldCommandInput,
  GetObjectLegalHoldCommandOutput,
  GetObjectRetentionCommandInput,
  GetObjectRetentionCommandOutput,
  GetObjectTaggingCommandInput,
  GetObjectTaggingCommandOutput,
  GlacierJobParameters,
  InputSerialization,
  JSONInput,
  JSONOutput,
  OutputSerialization,
  PutObjectTaggingCommandInput,
  PutObjectTaggingCommandOutput,
  RequestProgress,
  RestoreObjectCommandInput,
  RestoreObjectCommandOutput,
  RestoreRequest,
  ScanRange,
  SelectObjectContentCommandInput,
  SelectObjectContentCommandOutput,
  Tag,
  Tagging,
} from '@aws-sdk/client-s3';
import { refuse } from '@tenantkit/core';
import { CUSTOMER_KEY, OBJECT, PAYER, VERSIONED } from './shared.ts';
import { header, leaf, table, type Input, type InputField, type Output } from './types.ts';

const text: InputField = { as: 'text' };
const record = (element: string, fields: InputField['fields'] & object): InputField => ({
  as: 'record',
  element,
  fields,
});

// --- tags, holds

const READ_OF = { ...VERSIONED, ...PAYER };

export const getObjectTaggingInput = table(READ_OF satisfies Input<GetObjectTaggingCommandInput>);
export const getObjectLegalHoldInput = table(READ_OF satisfies Input<GetObjectLegalHoldCommandInput>);
export const getObjectRetentionInput = table(READ_OF satisfies Input<GetObjectRetentionCommandInput>);

export const putObjectTaggingInput = table({
  ...VERSIONED,
  ...PAYER,
  ChecksumAlgorithm: header('x-amz-sdk-checksum-algorithm'),
  ContentMD5: header('content-md5'),
  Tagging: record(
    'Tagging',
    table({
      TagSet: {
        as: 'list',
        element: 'TagSet/Tag',
        max: 50,
        fields: table({ Key: { as: 'tagKey' }, Value: leaf } satisfies Input<Tag>),
      },
    } satisfies Input<Tagging>),
  ),
} satisfies Input<PutObjectTaggingCommandInput>);

export const deleteObjectTaggingInput = table(VERSIONED satisfies Input<DeleteObjectTaggingCommandInput>);

export const getObjectTaggingOutput = table({
  VersionId: 'same',
  TagSet: 'same',
} satisfies Output<GetObjectTaggingCommandOutput>);

export const putObjectTaggingOutput = table({
  VersionId: 'same',
} satisfies Output<PutObjectTaggingCommandOutput>);

export const deleteObjectTaggingOutput = table({
  VersionId: 'same',
} satisfies Output<DeleteObjectTaggingCommandOutput>);

export const getObjectLegalHoldOutput = table({
  LegalHold: 'same',
} satisfies Output<GetObjectLegalHoldCommandOutput>);

export const getObjectRetentionOutput = table({
  Retention: 'same',
} satisfies Output<GetObjectRetentionCommandOutput>);

// --- restoring from an archive

const ELSEWHERE = refuse(
  'it writes the results of a query into any bucket',
  'Restore the object itself, with Days and Tier.',
);

export const restoreObjectInput = table({
  ...VERSIONED,
  ...PAYER,
  ChecksumAlgorithm: header('x-amz-sdk-checksum-algorithm'),
  RestoreRequest: record(
    'RestoreRequest',
    table({
      Days: leaf,
      GlacierJobParameters: record(
        'GlacierJobParameters',
        table({ Tier: leaf } satisfies Input<GlacierJobParameters>),
      ),
      Type: ELSEWHERE,
      Tier: leaf,
      Description: leaf,
      SelectParameters: ELSEWHERE,
      OutputLocation: ELSEWHERE,
    } satisfies Input<RestoreRequest>),
  ),
} satisfies Input<RestoreObjectCommandInput>);

export const restoreObjectOutput = table({
  RequestCharged: 'same',
  RestoreOutputPath: 'withheld',
} satisfies Output<RestoreObjectCommandOutput>);

// --- queries on one object

const SELECT = 'SelectObjectContentRequest';
const within = (name: string): string => `${SELECT}/${name}`;

export const selectObjectContentInput = table({
  ...OBJECT,
  ...CUSTOMER_KEY,
  Expression: { as: 'text', element: within('Expression') },
  ExpressionType: { as: 'same', element: within('ExpressionType') },
  RequestProgress: record(
    within('RequestProgress'),
    table({ Enabled: leaf } satisfies Input<RequestProgress>),
  ),
  InputSerialization: record(
    within('InputSerialization'),
    table({
      CSV: record(
        'CSV',
        table({
          FileHeaderInfo: leaf,
          Comments: text,
          QuoteEscapeCharacter: text,
          RecordDelimiter: text,
          FieldDelimiter: text,
          QuoteCharacter: text,
          AllowQuotedRecordDelimiter: leaf,
        } satisfies Input<CSVInput>),
      ),
      CompressionType: leaf,
      JSON: record('JSON', table({ Type: leaf } satisfies Input<JSONInput>)),
      Parquet: record('Parquet', table({})),
    } satisfies Input<InputSerialization>),
  ),
  OutputSerialization: record(
    within('OutputSerialization'),
    table({
      CSV: record(
        'CSV',
        table({
          QuoteFields: leaf,
          QuoteEscapeCharacter: text,
          RecordDelimiter: text,
          FieldDelimiter: text,
          QuoteCharacter: text,
        } satisfies Input<CSVOutput>),
      ),
      JSON: record('JSON', table({ RecordDelimiter: text } satisfies Input<JSONOutput>)),
    } satisfies Input<OutputSerialization>),
  ),
  ScanRange: record(within('ScanRange'), table({ Start: leaf, End: leaf } satisfies Input<ScanRange>)),
} satisfies Input<SelectObjectContentCommandInput>);

export const selectObjectContentOutput = table({
  Payload: 'same',
} satisfies Output<SelectObjectContentCommandOutput>);
