import { request } from 'node:http';
import { CreateRoleCommand, DeleteRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import * as sdk from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { FreshBucket } from '@tenantkit/testing';
import type { Feature } from './table.ts';

/** What a probe works with: the raw client, and a bucket of its own with the object `a` in it. */
export interface Probed {
  readonly raw: sdk.S3Client;
  /** The same, at the gateway that `SelectObjectContent` is sent to. */
  readonly queries: sdk.S3Client;
  readonly Bucket: string;
  readonly client: FreshBucket['client'];
}

const Key = 'a';

/** Asks the server itself whether it has a feature. */
export const PROBES: Readonly<Record<Feature, (probed: Probed) => Promise<boolean>>> = {
  versions: ({ raw, Bucket }) => works(raw, new sdk.ListObjectVersionsCommand({ Bucket })),
  locks: async ({ raw, Bucket }) => {
    const bucket = `${Bucket.slice(0, 40)}-locked`;
    await raw.send(new sdk.CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }));
    const locked = await works(raw, new sdk.GetObjectLockConfigurationCommand({ Bucket: bucket }));
    await raw.send(new sdk.DeleteBucketCommand({ Bucket: bucket }));
    return locked;
  },
  policies: async ({ raw, Bucket }) => {
    const Resource = `arn:aws:s3:::${Bucket}/a`;
    const deny = { Effect: 'Deny', Principal: '*', Action: 's3:GetObject', Resource };
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [deny] });
    if (!(await works(raw, new sdk.PutBucketPolicyCommand({ Bucket, Policy })))) return false;
    const denied = !(await works(raw, new sdk.GetObjectCommand({ Bucket, Key })));
    await raw.send(new sdk.DeleteBucketPolicyCommand({ Bucket }));
    return denied;
  },
  sts: async ({ client, Bucket }) => {
    const iam = new IAMClient({ ...client, maxAttempts: 1 });
    const sts = new STSClient({ ...client, maxAttempts: 1 });
    const RoleName = `${Bucket}-probe`;
    const trust = { Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['sts:AssumeRole'] };
    const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [trust] });
    try {
      const role = new CreateRoleCommand({ RoleName, Path: '/', AssumeRolePolicyDocument });
      const { Role } = await iam.send(role);
      const assume = new AssumeRoleCommand({ RoleArn: Role?.Arn, RoleSessionName: 'probe' });
      const { Credentials } = await sts.send(assume);
      await iam.send(new DeleteRoleCommand({ RoleName }));
      return Credentials?.SessionToken !== undefined;
    } catch {
      return false;
    } finally {
      iam.destroy();
      sts.destroy();
    }
  },
  signatures: async ({ raw, Bucket, client }) => {
    const credentials = { ...client.credentials, secretAccessKey: 'not the secret' };
    const forger = new sdk.S3Client({ ...client, credentials });
    const forged = await works(forger, new sdk.GetObjectCommand({ Bucket, Key }));
    forger.destroy();
    return !forged && works(raw, new sdk.GetObjectCommand({ Bucket, Key }));
  },
  signedHeaders: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'copied', Body: 'other' }));
    const url = await getSignedUrl(raw, new sdk.PutObjectCommand({ Bucket, Key: 'target' }));
    await fetch(url, { method: 'PUT', headers: { 'x-amz-copy-source': `${Bucket}/copied` } });
    return (await read(raw, Bucket, 'target')) !== 'other';
  },
  conditionalReads: async ({ raw, Bucket }) =>
    !(await works(raw, new sdk.GetObjectCommand({ Bucket, Key, IfMatch: '"another"' }))),
  conditionalWrites: async ({ raw, Bucket }) =>
    !(await works(raw, new sdk.PutObjectCommand({ Bucket, Key, Body: 'x', IfNoneMatch: '*' }))),
  bucketOwners: async ({ raw, Bucket }) =>
    !(await works(raw, new sdk.GetObjectCommand({ Bucket, Key, ExpectedBucketOwner: '000000000000' }))),
  lengths: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'cut', Body: 'before' }));
    await putCut(await getSignedUrl(raw, new sdk.PutObjectCommand({ Bucket, Key: 'cut' })));
    return (await read(raw, Bucket, 'cut')) === 'before';
  },
  uploadLists: ({ raw, Bucket }) => works(raw, new sdk.ListMultipartUploadsCommand({ Bucket })),
  uploadIds: async ({ raw, Bucket }) => {
    const part = { Bucket, Key, UploadId: 'nobody-has-begun-it', PartNumber: 1, Body: 'x' };
    return !(await works(raw, new sdk.UploadPartCommand(part)));
  },
  partChecks: async ({ raw, Bucket }) => {
    const { UploadId } = await raw.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
    const MultipartUpload = { Parts: [{ ETag: '"none"', PartNumber: 1 }] };
    const complete = new sdk.CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload });
    const patience = { abortSignal: AbortSignal.timeout(2_000) };
    const error: unknown = await raw.send(complete, patience).catch((problem: unknown) => problem);
    return (error as Error).name === 'InvalidPart';
  },
  aborts: async ({ raw, Bucket }) => {
    const { UploadId } = await raw.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
    return works(raw, new sdk.AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
  },
  partCopies: async ({ raw, Bucket }) => {
    const { UploadId } = await raw.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }));
    const part = { Bucket, Key, UploadId, PartNumber: 1, CopySource: `${Bucket}/${Key}` };
    return works(raw, new sdk.UploadPartCopyCommand(part));
  },
  tagsOnWrite: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'tagged', Body: 'x', Tagging: 'k=v' }));
    const { TagSet } = await raw.send(new sdk.GetObjectTaggingCommand({ Bucket, Key: 'tagged' }));
    return TagSet?.length === 1;
  },
  tagRemoval: ({ raw, Bucket }) => works(raw, new sdk.DeleteObjectTaggingCommand({ Bucket, Key })),
  attributes: ({ raw, Bucket }) =>
    works(raw, new sdk.GetObjectAttributesCommand({ Bucket, Key, ObjectAttributes: ['ETag'] })),
  restores: ({ raw, Bucket }) =>
    knows(raw, new sdk.RestoreObjectCommand({ Bucket, Key, RestoreRequest: { Days: 1 } })),
  select: ({ queries, Bucket }) =>
    knows(
      queries,
      new sdk.SelectObjectContentCommand({
        Bucket,
        Key,
        Expression: 'SELECT * FROM S3Object',
        ExpressionType: 'SQL',
        InputSerialization: { CSV: {} },
        OutputSerialization: { CSV: {} },
      }),
    ),
  batchNames: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: ' blank', Body: 'x' }));
    await raw.send(new sdk.DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: ' blank' }] } }));
    return (await read(raw, Bucket, ' blank')) === undefined;
  },
  order: async ({ raw, Bucket }) => {
    const keys = ['order/a', 'order/a!b', 'order/a/b'];
    for (const one of keys) await raw.send(new sdk.PutObjectCommand({ Bucket, Key: one, Body: 'x' }));
    const found: unknown[] = [];
    const pages = sdk.paginateListObjectsV2({ client: raw, pageSize: 1 }, { Bucket, Prefix: 'order/' });
    for await (const { Contents = [] } of pages) found.push(...Contents.map((one) => one.Key));
    return found.join() === keys.join();
  },
  folders: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'folders/in/folders', Body: 'x' }));
    const { CommonPrefixes } = await raw.send(new sdk.ListObjectsV2Command({ Bucket, Delimiter: '/' }));
    return CommonPrefixes?.[0]?.Prefix === 'folders/';
  },
  encodedLists: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'é', Body: 'x' }));
    const list = { Bucket, Prefix: 'é', EncodingType: 'url' } as const;
    const { Contents = [] } = await raw.send(new sdk.ListObjectsV2Command(list));
    return Contents[0]?.Key === '%C3%A9';
  },
  reservedInSources: async ({ raw, Bucket }) => {
    await raw.send(new sdk.PutObjectCommand({ Bucket, Key: 'a+b', Body: 'x' }));
    const copy = { Bucket, Key: 'copy', CopySource: `${Bucket}/a%2Bb` };
    return works(raw, new sdk.CopyObjectCommand(copy));
  },
  longNames: ({ raw, Bucket }) =>
    works(raw, new sdk.PutObjectCommand({ Bucket, Key: 'x'.repeat(256), Body: 'x' })),
};

type Sent = Parameters<sdk.S3Client['send']>[0];

/** Whether a command is answered with what was asked for. */
async function works(raw: sdk.S3Client, command: object): Promise<boolean> {
  return raw.send(command as Sent).then(
    () => true,
    () => false,
  );
}

/** Whether a server knows the command, whatever it thinks of this one. */
async function knows(raw: sdk.S3Client, command: object): Promise<boolean> {
  const error: unknown = await raw.send(command as Sent).catch((problem: unknown) => problem);
  return !(error instanceof Error && /NotImplemented|MethodNotAllowed/.test(error.name));
}

/** The text of an object; `undefined` when it cannot be read to its end. */
function read(raw: sdk.S3Client, Bucket: string, name: string): Promise<string | undefined> {
  return raw
    .send(new sdk.GetObjectCommand({ Bucket, Key: name }))
    .then(({ Body }) => Body?.transformToString())
    .catch(() => undefined);
}

/** Begins a body of 10 bytes and ends the connection after 4. Resolves when the server has nothing more to do. */
function putCut(url: string): Promise<void> {
  return new Promise((resolve) => {
    const cut = request(url, { method: 'PUT', headers: { 'content-length': 10 } });
    cut.once('error', () => resolve());
    cut.once('response', () => resolve());
    cut.write('four', () => cut.destroy());
  });
}
