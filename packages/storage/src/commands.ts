import * as sdk from '@aws-sdk/client-s3';

/** A command's input with `Bucket` as it is for a client of exactly one bucket: it may be left out. */
export type WithoutBucket<Input> = Omit<Input, 'Bucket'> & { readonly Bucket?: string | undefined };

/** The SDK's own class, for which the type of its input was widened. */
type Relaxed<Command extends abstract new (...args: never[]) => unknown, Input> = Pick<
  Command,
  keyof Command
> &
  (new (input: WithoutBucket<Input>) => InstanceType<Command>);

/** The SDK's `CopyObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const CopyObjectCommand: Relaxed<typeof sdk.CopyObjectCommand, sdk.CopyObjectCommandInput> =
  sdk.CopyObjectCommand as never;
export type CopyObjectCommand = sdk.CopyObjectCommand;

/** The SDK's `DeleteObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const DeleteObjectCommand: Relaxed<typeof sdk.DeleteObjectCommand, sdk.DeleteObjectCommandInput> =
  sdk.DeleteObjectCommand as never;
export type DeleteObjectCommand = sdk.DeleteObjectCommand;

/** The SDK's `GetObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const GetObjectCommand: Relaxed<typeof sdk.GetObjectCommand, sdk.GetObjectCommandInput> =
  sdk.GetObjectCommand as never;
export type GetObjectCommand = sdk.GetObjectCommand;

/** The SDK's `HeadObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const HeadObjectCommand: Relaxed<typeof sdk.HeadObjectCommand, sdk.HeadObjectCommandInput> =
  sdk.HeadObjectCommand as never;
export type HeadObjectCommand = sdk.HeadObjectCommand;

/** The SDK's `ListObjectsV2Command`; with exactly one accepted bucket, `Bucket` may be left out. */
export const ListObjectsV2Command: Relaxed<typeof sdk.ListObjectsV2Command, sdk.ListObjectsV2CommandInput> =
  sdk.ListObjectsV2Command as never;
export type ListObjectsV2Command = sdk.ListObjectsV2Command;

/** The SDK's `PutObjectCommand`; with exactly one accepted bucket, `Bucket` may be left out. */
export const PutObjectCommand: Relaxed<typeof sdk.PutObjectCommand, sdk.PutObjectCommandInput> =
  sdk.PutObjectCommand as never;
export type PutObjectCommand = sdk.PutObjectCommand;
