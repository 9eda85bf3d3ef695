import * as sdk from '@aws-sdk/client-s3';

/** A command's input with `Bucket` as it is for a client of exactly one bucket: it may be left out. */
export type WithoutBucket<Input> = Omit<Input, 'Bucket'> & { readonly Bucket?: string | undefined };

/** The SDK's own class, for which the type of its input was widened: it stands wherever the SDK's class is asked for. */
type Relaxed<Command extends abstract new (...args: never[]) => unknown, Input> = Command &
  (new (input: WithoutBucket<Input>) => InstanceType<Command>);

/** The SDK's `AbortMultipartUploadCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const AbortMultipartUploadCommand: Relaxed<
  typeof sdk.AbortMultipartUploadCommand,
  sdk.AbortMultipartUploadCommandInput
> = sdk.AbortMultipartUploadCommand as never;
export type AbortMultipartUploadCommand = sdk.AbortMultipartUploadCommand;

/** The SDK's `CompleteMultipartUploadCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const CompleteMultipartUploadCommand: Relaxed<
  typeof sdk.CompleteMultipartUploadCommand,
  sdk.CompleteMultipartUploadCommandInput
> = sdk.CompleteMultipartUploadCommand as never;
export type CompleteMultipartUploadCommand = sdk.CompleteMultipartUploadCommand;

/** The SDK's `CopyObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const CopyObjectCommand: Relaxed<typeof sdk.CopyObjectCommand, sdk.CopyObjectCommandInput> =
  sdk.CopyObjectCommand as never;
export type CopyObjectCommand = sdk.CopyObjectCommand;

/** The SDK's `CreateMultipartUploadCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const CreateMultipartUploadCommand: Relaxed<
  typeof sdk.CreateMultipartUploadCommand,
  sdk.CreateMultipartUploadCommandInput
> = sdk.CreateMultipartUploadCommand as never;
export type CreateMultipartUploadCommand = sdk.CreateMultipartUploadCommand;

/** The SDK's `DeleteObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const DeleteObjectCommand: Relaxed<typeof sdk.DeleteObjectCommand, sdk.DeleteObjectCommandInput> =
  sdk.DeleteObjectCommand as never;
export type DeleteObjectCommand = sdk.DeleteObjectCommand;

/** The SDK's `DeleteObjectTaggingCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const DeleteObjectTaggingCommand: Relaxed<
  typeof sdk.DeleteObjectTaggingCommand,
  sdk.DeleteObjectTaggingCommandInput
> = sdk.DeleteObjectTaggingCommand as never;
export type DeleteObjectTaggingCommand = sdk.DeleteObjectTaggingCommand;

/** The SDK's `DeleteObjectsCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const DeleteObjectsCommand: Relaxed<typeof sdk.DeleteObjectsCommand, sdk.DeleteObjectsCommandInput> =
  sdk.DeleteObjectsCommand as never;
export type DeleteObjectsCommand = sdk.DeleteObjectsCommand;

/** The SDK's `GetObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectCommand: Relaxed<typeof sdk.GetObjectCommand, sdk.GetObjectCommandInput> =
  sdk.GetObjectCommand as never;
export type GetObjectCommand = sdk.GetObjectCommand;

/** The SDK's `GetObjectAttributesCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectAttributesCommand: Relaxed<
  typeof sdk.GetObjectAttributesCommand,
  sdk.GetObjectAttributesCommandInput
> = sdk.GetObjectAttributesCommand as never;
export type GetObjectAttributesCommand = sdk.GetObjectAttributesCommand;

/** The SDK's `GetObjectLegalHoldCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectLegalHoldCommand: Relaxed<
  typeof sdk.GetObjectLegalHoldCommand,
  sdk.GetObjectLegalHoldCommandInput
> = sdk.GetObjectLegalHoldCommand as never;
export type GetObjectLegalHoldCommand = sdk.GetObjectLegalHoldCommand;

/** The SDK's `GetObjectRetentionCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectRetentionCommand: Relaxed<
  typeof sdk.GetObjectRetentionCommand,
  sdk.GetObjectRetentionCommandInput
> = sdk.GetObjectRetentionCommand as never;
export type GetObjectRetentionCommand = sdk.GetObjectRetentionCommand;

/** The SDK's `GetObjectTaggingCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectTaggingCommand: Relaxed<
  typeof sdk.GetObjectTaggingCommand,
  sdk.GetObjectTaggingCommandInput
> = sdk.GetObjectTaggingCommand as never;
export type GetObjectTaggingCommand = sdk.GetObjectTaggingCommand;

/** The SDK's `HeadObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const HeadObjectCommand: Relaxed<typeof sdk.HeadObjectCommand, sdk.HeadObjectCommandInput> =
  sdk.HeadObjectCommand as never;
export type HeadObjectCommand = sdk.HeadObjectCommand;

/** The SDK's `ListMultipartUploadsCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListMultipartUploadsCommand: Relaxed<
  typeof sdk.ListMultipartUploadsCommand,
  sdk.ListMultipartUploadsCommandInput
> = sdk.ListMultipartUploadsCommand as never;
export type ListMultipartUploadsCommand = sdk.ListMultipartUploadsCommand;

/** The SDK's `ListObjectVersionsCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListObjectVersionsCommand: Relaxed<
  typeof sdk.ListObjectVersionsCommand,
  sdk.ListObjectVersionsCommandInput
> = sdk.ListObjectVersionsCommand as never;
export type ListObjectVersionsCommand = sdk.ListObjectVersionsCommand;

/** The SDK's `ListObjectsCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListObjectsCommand: Relaxed<typeof sdk.ListObjectsCommand, sdk.ListObjectsCommandInput> =
  sdk.ListObjectsCommand as never;
export type ListObjectsCommand = sdk.ListObjectsCommand;

/** The SDK's `ListObjectsV2Command`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListObjectsV2Command: Relaxed<typeof sdk.ListObjectsV2Command, sdk.ListObjectsV2CommandInput> =
  sdk.ListObjectsV2Command as never;
export type ListObjectsV2Command = sdk.ListObjectsV2Command;

/** The SDK's `ListPartsCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListPartsCommand: Relaxed<typeof sdk.ListPartsCommand, sdk.ListPartsCommandInput> =
  sdk.ListPartsCommand as never;
export type ListPartsCommand = sdk.ListPartsCommand;

/** The SDK's `PutObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const PutObjectCommand: Relaxed<typeof sdk.PutObjectCommand, sdk.PutObjectCommandInput> =
  sdk.PutObjectCommand as never;
export type PutObjectCommand = sdk.PutObjectCommand;

/** The SDK's `PutObjectTaggingCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const PutObjectTaggingCommand: Relaxed<
  typeof sdk.PutObjectTaggingCommand,
  sdk.PutObjectTaggingCommandInput
> = sdk.PutObjectTaggingCommand as never;
export type PutObjectTaggingCommand = sdk.PutObjectTaggingCommand;

/** The SDK's `RestoreObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const RestoreObjectCommand: Relaxed<typeof sdk.RestoreObjectCommand, sdk.RestoreObjectCommandInput> =
  sdk.RestoreObjectCommand as never;
export type RestoreObjectCommand = sdk.RestoreObjectCommand;

/** The SDK's `SelectObjectContentCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const SelectObjectContentCommand: Relaxed<
  typeof sdk.SelectObjectContentCommand,
  sdk.SelectObjectContentCommandInput
> = sdk.SelectObjectContentCommand as never;
export type SelectObjectContentCommand = sdk.SelectObjectContentCommand;

/** The SDK's `UploadPartCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const UploadPartCommand: Relaxed<typeof sdk.UploadPartCommand, sdk.UploadPartCommandInput> =
  sdk.UploadPartCommand as never;
export type UploadPartCommand = sdk.UploadPartCommand;

/** The SDK's `UploadPartCopyCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const UploadPartCopyCommand: Relaxed<
  typeof sdk.UploadPartCopyCommand,
  sdk.UploadPartCopyCommandInput
> = sdk.UploadPartCopyCommand as never;
export type UploadPartCopyCommand = sdk.UploadPartCopyCommand;
