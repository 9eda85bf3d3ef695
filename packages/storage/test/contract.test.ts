import {
  ListObjectVersionsCommand,
  ListObjectsV2Command as RawList,
  PutObjectCommand as RawPut,
} from '@aws-sdk/client-s3';
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
import { lacking, needs } from './servers/capabilities.ts';

// Both walk over versions.
const KEPT = {
  eraser: ({ s3, bucket }: Opened) => storageEraser(s3, { bucket }),
  auditor: ({ s3, bucket }: Opened) => storageAuditor(s3, { bucket }),
};

function contract(versioned: boolean): void {
  adapterContract<Opened>({
    store: versioned ? 'storage, versioned bucket' : 'storage',
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
    ...(lacking(['versions']) === undefined ? KEPT : {}),
    plant: ({ raw, bucket }) => raw.send(new RawPut({ Bucket: bucket, Key: 'loose.txt', Body: 'x' })),
  });
}

contract(false);
needs('versions').describe('where a bucket has versions', () => contract(true));

/** Every version of every object with the MD5 of its content, seen with the raw client. */
async function dump(raw: Opened['raw'], bucket: string): Promise<Record<string, string>> {
  if (lacking(['versions']) !== undefined) {
    const { Contents = [] } = await raw.send(new RawList({ Bucket: bucket }));
    return Object.fromEntries(Contents.map(({ Key = '', ETag = '' }) => [Key, ETag]));
  }
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
