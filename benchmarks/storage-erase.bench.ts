import {
  DeleteObjectsCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client as RawS3Client,
  type ListObjectVersionsCommandOutput,
  type ObjectVersion,
} from '@aws-sdk/client-s3';
import { S3Client, storageEraser } from '@tenantkit/storage';
import { freshBucket } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';
import pMap from 'p-map';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { median } from './statistics.ts';
import { setting } from './storage/setting.ts';

// Half of what is erased goes in each of two rounds, with the bare loop in turn: 20,000 versions each.
const VERSIONS = 10_000;
const OF_EACH_KEY = 4;
const ROUNDS = 2;
/** The eraser's own; see packages/storage/src/purge.ts. */
const PARALLEL = 8;
const WRITING = 32;

/** The target: at least so much of what a bare loop reaches. */
const TARGET = 0.9;

await using servers = await startServers({ s3: true });
const own = await freshBucket(servers.s3, { versioned: true });
const { bucket: Bucket } = own;
const raw = new RawS3Client(own.client);
const s3 = new S3Client({ ...own.client, tenant: { buckets: [Bucket] } });

const ways = {
  'DeleteObjects in a loop': bareLoop,
  storageEraser: async (tenant: string): Promise<number> => {
    const { erased } = await storageEraser(s3, { bucket: Bucket }).erase({ tenant });
    return erased.find(({ kind }) => kind === 'versions')?.count ?? 0;
  },
} as const;
type Way = keyof typeof ways;

try {
  const rates: Record<Way, number[]> = { 'DeleteObjects in a loop': [], storageEraser: [] };
  const order: readonly Way[] = ['DeleteObjects in a loop', 'storageEraser'];
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const way of round % 2 === 0 ? order : order.toReversed()) {
      const tenant = `acme${round}`;
      await fill(tenant);
      const start = performance.now();
      const count = await ways[way](tenant);
      rates[way].push(count / ((performance.now() - start) / 1_000));
      if (count !== VERSIONS) throw new Error(`${way}: ${count} versions were erased`);
      if ((await list(tenant).next()).value?.length !== 0) throw new Error(`${way}: versions are left`);
    }
  }
  const bare = median(rates['DeleteObjects in a loop']);
  const table = order.map((way) => ({
    erase: way,
    'versions/s': median(rates[way]).toFixed(0),
    'each run': rates[way].map((rate) => rate.toFixed(0)).join(', '),
    'of the loop': (median(rates[way]) / bare).toFixed(2),
  }));
  const intro = `${VERSIONS * ROUNDS} versions of ${(VERSIONS * ROUNDS) / OF_EACH_KEY} keys, ${PARALLEL} batches of 1,000 at once; at least ${TARGET} is wanted.`;
  const figures = `${await setting()}. ${intro}\n\n${markdown(table)}`;
  console.log(figures);
  if (isWritten) await writeFigures('storage-erase', figures);
} finally {
  s3.destroy();
  raw.destroy();
  await own.cleanup();
}

async function fill(tenant: string): Promise<void> {
  const numbers = Array.from({ length: VERSIONS }, (_, n) => n % (VERSIONS / OF_EACH_KEY));
  const put = (n: number): Promise<unknown> =>
    raw.send(new PutObjectCommand({ Bucket, Key: `tenants/${tenant}/${n}`, Body: 'x'.repeat(1_024) }));
  await pMap(numbers, put, { concurrency: WRITING });
}

/** What somebody writes who knows the bucket: no uploads, no locks, no errors, and no second look. */
async function bareLoop(tenant: string): Promise<number> {
  let count = 0;
  await pMap(
    list(tenant),
    async (page) => {
      const Objects = page.map(({ Key, VersionId }) => ({ Key, VersionId }));
      if (Objects.length > 0)
        await raw.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }));
      count += Objects.length;
    },
    { concurrency: PARALLEL },
  );
  return count;
}

async function* list(tenant: string): AsyncGenerator<readonly ObjectVersion[], void, undefined> {
  let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const page: ListObjectVersionsCommandOutput = await raw.send(
      new ListObjectVersionsCommand({ Bucket, Prefix: `tenants/${tenant}/`, ...marker }),
    );
    yield page.Versions ?? [];
    const { NextKeyMarker = '', NextVersionIdMarker = '' } = page;
    marker =
      page.IsTruncated === true
        ? { KeyMarker: NextKeyMarker, VersionIdMarker: NextVersionIdMarker }
        : undefined;
  }
}
