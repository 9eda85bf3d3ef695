import { setTimeout as delay } from 'node:timers/promises';
import { PutObjectCommand, S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { S3Client, paginateListObjectsV2, storageAuditor, storageEraser } from '@tenantkit/storage';
import { freshBucket } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';
import pMap from 'p-map';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { setting } from './storage/setting.ts';

// How much memory it takes to go through very many keys. `node --expose-gc` gives exact figures.
const KEYS = 100_000;
const WRITING = 64;
const MIB = 1024 * 1024;

await using servers = await startServers({ s3: true });
const own = await freshBucket(servers.s3);
const { bucket } = own;
const raw = new RawS3Client(own.client);
const s3 = new S3Client({ ...own.client, tenant: { buckets: [bucket] } });
const eraser = storageEraser(s3, { bucket });
const scope = { tenant: 'acme' };

const works: Readonly<Record<string, () => Promise<number>>> = {
  'listing of 1,000 keys': () => listed('few'),
  [`listing of ${KEYS} keys`]: () => listed(scope.tenant),
  'plan of 1,000 keys': () => planned({ tenant: 'few' }),
  [`plan of ${KEYS} keys`]: () => planned(scope),
  [`audit of ${KEYS} keys`]: audited,
  [`erasure of ${KEYS} keys`]: async () => sum((await eraser.erase(scope)).erased),
};

try {
  await fill('few', 1_000);
  await fill('acme', KEYS);
  const table = [];
  for (const [name, work] of Object.entries(works)) {
    const { most, seconds, count } = await watched(work);
    table.push({
      work: name,
      keys: `${count}`,
      seconds: seconds.toFixed(1),
      'most of heap above before, MiB': (most / MIB).toFixed(1),
    });
  }
  const figures = `${await setting()}.\n\n${markdown(table)}`;
  console.log(figures);
  if (isWritten) await writeFigures('storage-list', figures);
} finally {
  s3.destroy();
  raw.destroy();
  await own.cleanup();
}

/** What a caller does: page after page, none of which it keeps. */
async function listed(tenant: string): Promise<number> {
  return withTenant(tenant, async () => {
    let count = 0;
    for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, { Bucket: bucket })) {
      if (Contents.some(({ Key = '/' }) => Key.includes('/')))
        throw new Error('a key is not as it was given');
      count += Contents.length;
    }
    return count;
  });
}

async function planned(of: { readonly tenant: string }): Promise<number> {
  return sum((await eraser.plan(of)).items);
}

async function audited(): Promise<number> {
  let count = 0;
  const tenants = (): boolean => {
    count += 1;
    return true;
  };
  for await (const { severity, message } of storageAuditor(s3, {
    bucket,
    tenants,
    objectAcls: false,
  }).audit())
    if (severity !== 'info') throw new Error(message);
  if (count !== 2) throw new Error(`${count} tenants were asked for`);
  return KEYS + 1_000;
}

function sum(items: readonly { readonly count: number }[]): number {
  return items.reduce((total, { count }) => total + count, 0);
}

/** Runs work, and looks again and again how much more of the heap is in use than before. */
async function watched(
  work: () => Promise<number>,
): Promise<{ readonly most: number; readonly seconds: number; readonly count: number }> {
  const used = (): number => {
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  let most = 0;
  const state = { running: true };
  const watching = (async () => {
    while (state.running) {
      most = Math.max(most, used() - before);
      await delay(50);
    }
  })();
  const start = performance.now();
  const count = await work();
  const seconds = (performance.now() - start) / 1_000;
  state.running = false;
  await watching;
  return { most, seconds, count };
}

async function fill(tenant: string, keys: number): Promise<void> {
  const put = (n: number): Promise<unknown> =>
    raw.send(new PutObjectCommand({ Bucket: bucket, Key: `tenants/${tenant}/${n}`, Body: 'x' }));
  await pMap(
    Array.from({ length: keys }, (_, n) => n),
    put,
    { concurrency: WRITING },
  );
}
