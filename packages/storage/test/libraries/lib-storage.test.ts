import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { GetObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWays, type Way, type Ways } from './support.ts';

const MIB = 1024 * 1024;

let ways: Ways;
beforeAll(async () => {
  ways = await openWays();
});
afterAll(() => ways[Symbol.asyncDispose]());

/** As many MiB as asked for, each of another byte. */
function* chunks(count: number, first: number): Generator<Buffer> {
  for (let index = 0; index < count; index += 1) yield Buffer.alloc(MIB, (first + index) % 256);
}

async function digest(client: S3Client, bucket: string, Key: string): Promise<string> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
  const hash = createHash('sha256');
  for await (const chunk of Body as Readable) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** What comes of an upload. */
function upload({ client, bucket, inside }: Way, count: number, first: number): Promise<unknown> {
  return inside(async () => {
    const progress: string[] = [];
    const one = new Upload({
      client,
      partSize: 8 * MIB,
      params: {
        Bucket: bucket,
        Key: 'big/file.bin',
        Body: Readable.from(chunks(count, first)),
        ContentType: 'application/x-test',
        Metadata: { of: 'upload' },
      },
    });
    one.on('httpUploadProgress', ({ Key, Bucket, part }) =>
      progress.push(`${Key} ${Bucket === bucket} ${part}`),
    );
    const { Location, Bucket, Key, ETag } = await one.done();
    return {
      location: String(Location).replace(bucket, 'BUCKET'),
      bucket: Bucket === bucket,
      key: Key,
      etag: ETag,
      progress: progress.toSorted(),
      digest: await digest(client, bucket, 'big/file.bin'),
    };
  });
}

it('an Upload of 64 MiB from a stream, in parts', async () => {
  const { own, raw, acme, acme2 } = ways;
  const plain = await upload(raw, 64, 0);
  expect(await upload(acme, 64, 0)).toEqual(plain);
  expect(plain).toMatchObject({ key: 'big/file.bin', bucket: true });
  const other = await upload(acme2, 17, 100);
  expect(other).not.toMatchObject({ digest: (plain as { digest: string }).digest });
  // The same name, and neither has touched the other.
  expect(await acme.inside(() => digest(acme.client, acme.bucket, 'big/file.bin'))).toBe(
    (plain as { digest: string }).digest,
  );
  const { Contents = [] } = await own.raw.send(new ListObjectsV2Command({ Bucket: own.bucket }));
  expect(Contents.map(({ Key, Size }) => [Key, Size])).toEqual([
    ['tenants/acme/big/file.bin', 64 * MIB],
    ['tenants/acme2/big/file.bin', 17 * MIB],
  ]);
});

it('an Upload of one part', async () => {
  const { raw, acme } = ways;
  expect(await upload(acme, 1, 7)).toEqual(await upload(raw, 1, 7));
});
