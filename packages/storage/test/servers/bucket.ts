import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { freshBucket, type FreshBucket } from '@tenantkit/testing';
import { inject } from 'vitest';
import { server } from './server.ts';

type Traits = NonNullable<Parameters<typeof freshBucket>[1]>;

/** An empty bucket on the server that the tests run on. */
export async function openBucket(traits: Traits): Promise<FreshBucket> {
  return server === 'ceph' ? freshBucket(inject('servers').s3, traits) : bucketOfS3rver(traits);
}

// It knows none of the commands by which a bucket is emptied, and takes everything with it at its end.
async function bucketOfS3rver(traits: Traits): Promise<FreshBucket> {
  if (Object.values(traits).includes(true)) throw new Error('s3rver has no versions and no locks');
  const { endpoint, region, accessKeyId, secretAccessKey } = inject('servers').s3;
  const client = {
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  } as const;
  const bucket = `tk-test-${crypto.randomUUID().slice(0, 16)}`;
  const raw = new S3Client(client);
  await raw.send(new CreateBucketCommand({ Bucket: bucket }));
  raw.destroy();
  const cleanup = (): Promise<void> => Promise.resolve();
  return { bucket, client, cleanup, [Symbol.asyncDispose]: cleanup };
}
