import { ListObjectVersionsCommand, PutObjectCommand as RawPut } from '@aws-sdk/client-s3';
import {
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  storageAuditor,
  storageEraser,
} from '@tenantkit/storage';
import { adapterContract } from '@tenantkit/testing';
import { describe, it } from 'vitest';
import { open, type Opened } from './open.ts';

for (const [store, versioned] of [
  ['storage', false],
  ['storage, versioned bucket', true],
] as const) {
  adapterContract<Opened>({
    store,
    // Every case has a bucket of its own, so they can run beside each other.
    runner: { describe, it: it.concurrent },
    open: () => open({ traits: { versioned } }),
    write: ({ s3 }, id, value) => s3.send(new PutObjectCommand({ Key: id, Body: value })),
    read: ({ s3 }, id) =>
      s3.send(new GetObjectCommand({ Key: id })).then(
        ({ Body }) => Body?.transformToString(),
        (error: unknown) => {
          if (error instanceof Error && error.name === 'NoSuchKey') return undefined;
          throw error;
        },
      ),
    list: async ({ s3 }) => {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({}));
      return Contents.map(({ Key = '' }) => Key);
    },
    remove: ({ s3 }, id) => s3.send(new DeleteObjectCommand({ Key: id })),
    refused: [
      {
        operation: 'DeleteBucket',
        call: ({ s3, bucket }) => s3.send(new DeleteBucketCommand({ Bucket: bucket })),
      },
      { operation: 'ListBuckets', call: ({ s3 }) => s3.send(new ListBucketsCommand({})) },
      {
        operation: 'a batch that names a bucket of somebody else',
        call: ({ s3 }) =>
          s3.send(new DeleteObjectsCommand({ Bucket: 'other', Delete: { Objects: [{ Key: 'one' }] } })),
      },
      {
        operation: 'a field that no rule knows',
        call: ({ s3 }) => s3.send(new GetObjectCommand({ Key: 'one', Mode: 'x' } as never)),
      },
    ],
    dump: ({ raw, bucket }) => dump(raw, bucket),
    sent: ({ sent }) => sent(),
    eraser: ({ s3, bucket }) => storageEraser(s3, { bucket }),
    auditor: ({ s3, bucket }) => storageAuditor(s3, { bucket }),
    plant: ({ raw, bucket }) => raw.send(new RawPut({ Bucket: bucket, Key: 'loose.txt', Body: 'x' })),
  });
}

/** Every version of every object with the MD5 of its content, seen with the raw client. */
async function dump(raw: Opened['raw'], bucket: string): Promise<Record<string, string>> {
  const { Versions = [], DeleteMarkers = [] } = await raw.send(
    new ListObjectVersionsCommand({ Bucket: bucket }),
  );
  return Object.fromEntries([
    ...Versions.map(({ Key = '', VersionId = '', ETag = '' }) => [nameOf(Key, VersionId), ETag] as const),
    ...DeleteMarkers.map(({ Key = '', VersionId = '' }) => [nameOf(Key, VersionId), 'deleted'] as const),
  ]);
}

function nameOf(key: string, version: string): string {
  return version === 'null' ? key : `${key} ${version}`;
}
