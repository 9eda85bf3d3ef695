import { buffer } from 'node:stream/consumers';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  GetObjectCommand as RawGetObjectCommand,
  ListObjectsV2Command as RawListObjectsV2Command,
  S3Client as RawS3Client,
} from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  storageEraser,
} from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from '../surface.ts';

const KEY = 'reports/2026.txt';

/** S3: objects. */
export async function storageSurface(server: {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
}): Promise<DemoSurface> {
  const { bucket: Bucket, endpoint, region, accessKeyId, secretAccessKey } = server;
  const config = {
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  } as const;
  const s3 = new S3Client({ ...config, tenant: { buckets: [Bucket] } });
  const raw = new RawS3Client(config);
  await raw.send(new CreateBucketCommand({ Bucket }));

  const read = async (Key: string): Promise<string | undefined> =>
    (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString();
  const list = async (Prefix: string): Promise<string[]> =>
    ((await s3.send(new ListObjectsV2Command({ Bucket, Prefix }))).Contents ?? []).map(({ Key = '' }) => Key);

  return {
    name: 'storage',
    eraser: storageEraser(s3, { bucket: Bucket }),
    async seed() {
      for (const tenant of [TENANT, NEIGHBOUR]) {
        await withTenant(tenant, async () => {
          await s3.send(new PutObjectCommand({ Bucket, Key: KEY, Body: `report of ${tenant}` }));
          await s3.send(
            new CopyObjectCommand({ Bucket, Key: 'reports/copy.txt', CopySource: `${Bucket}/${KEY}` }),
          );
        });
      }
    },
    ownRead: async () => [
      await answers(`${TENANT}: GetObject ${KEY}`, `report of ${TENANT}`, () =>
        withTenant(TENANT, () => read(KEY)),
      ),
      await answers(`${NEIGHBOUR}: GetObject ${KEY}`, `report of ${NEIGHBOUR}`, () =>
        withTenant(NEIGHBOUR, () => read(KEY)),
      ),
      await answers(`${TENANT}: ListObjectsV2`, ['reports/2026.txt', 'reports/copy.txt'], () =>
        withTenant(TENANT, () => list('')),
      ),
      await answers(`${TENANT}: fetch of a presigned URL`, `report of ${TENANT}`, async () => {
        const url = await withTenant(TENANT, () =>
          getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: KEY }), { expiresIn: 60 }),
        );
        return (await fetch(url)).text();
      }),
    ],
    otherTenant: () =>
      withTenant(NEIGHBOUR, async () => [
        await refused('GetObject ../acme/reports/2026.txt', ['OPERATION_REFUSED', 'CROSS_TENANT'], () =>
          read(`../${TENANT}/${KEY}`),
        ),
        await refused('GetObject tenants/acme/… (the physical name)', ['NoSuchKey'], () =>
          read(`tenants/${TENANT}/${KEY}`),
        ),
        await refused('CopyObject from tenants/acme/…', ['NoSuchKey', 'CROSS_TENANT'], () =>
          s3.send(
            new CopyObjectCommand({
              Bucket,
              Key: 'stolen',
              CopySource: `${Bucket}/tenants/${TENANT}/${KEY}`,
            }),
          ),
        ),
        await answers('ListObjectsV2 with the prefix tenants/acme/', [], () => list(`tenants/${TENANT}/`)),
        await refused('ListBuckets', ['OPERATION_REFUSED'], () => s3.send(new ListBucketsCommand({}))),
        await answers('the presigned URL of one’s own, path changed to acme', 403, async () => {
          const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: KEY }), { expiresIn: 60 });
          return (await fetch(url.replace(`tenants/${NEIGHBOUR}/`, `tenants/${TENANT}/`))).status;
        }),
      ]),
    noTenant: async () => [
      await refused(`GetObject ${KEY}`, ['TENANT_MISSING'], () => read(KEY)),
      await refused(`DeleteObject ${KEY}`, ['TENANT_MISSING'], () =>
        s3.send(new DeleteObjectCommand({ Bucket, Key: KEY })),
      ),
    ],
    async raw(tenant) {
      const records = new Map<string, Buffer>();
      const { Contents = [] } = await raw.send(
        new RawListObjectsV2Command({ Bucket, Prefix: `tenants/${tenant}/` }),
      );
      for (const { Key } of Contents) {
        const { Body } = await raw.send(new RawGetObjectCommand({ Bucket, Key }));
        records.set(Key ?? '', await buffer(Body as NodeJS.ReadableStream));
      }
      return records;
    },
    async close() {
      for (const tenant of [TENANT, NEIGHBOUR]) {
        await withTenant(tenant, async () => {
          for (const Key of await list('')) await s3.send(new DeleteObjectCommand({ Bucket, Key }));
        });
      }
      await raw.send(new DeleteBucketCommand({ Bucket }));
      s3.destroy();
      raw.destroy();
    },
  };
}
