import { HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { Opened } from './open.ts';

/** All physical keys of a bucket. */
export async function keysOf({ raw, bucket }: Pick<Opened, 'raw' | 'bucket'>): Promise<string[]> {
  const { Contents = [] } = await raw.send(new ListObjectsV2Command({ Bucket: bucket }));
  return Contents.map(({ Key = '' }) => Key).sort();
}

/** Whom an object says it is about. */
export async function labelOf(
  { raw, bucket }: Pick<Opened, 'raw' | 'bucket'>,
  Key: string,
): Promise<string | undefined> {
  const { Metadata } = await raw.send(new HeadObjectCommand({ Bucket: bucket, Key }));
  return Metadata?.['tk-subject'];
}
