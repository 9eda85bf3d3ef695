import { randomBytes } from 'node:crypto';
import {
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client as RawS3,
} from '@aws-sdk/client-s3';
import { Client as RawClient } from '@opensearch-project/opensearch';
import { Redis, cacheEraser } from '@tenantkit/cache';
import { createTenantRegistry, memoryTenantStore, withTenant, type TenantRegistry } from '@tenantkit/core';
import { FieldCipher, Keyring, keyringEraser, memoryKeyStore } from '@tenantkit/crypto';
import { verifyCertificate } from '@tenantkit/erasure';
import { Queue, queueEraser } from '@tenantkit/queue';
import { Client, ensureTenantMapping, searchEraser } from '@tenantkit/search';
import { S3Client, storageEraser } from '@tenantkit/storage';
import { freshBucket, freshIndex, freshRedis } from '@tenantkit/testing';
import { Redis as RawRedis } from 'ioredis';
import { afterAll, beforeAll, expect, inject, it } from 'vitest';
import { approved, erasureOf, folder, ledgerIn, rejection, signer } from './setup.ts';

// All of them own identical ids, and ids that contain each other.
const TENANTS = ['acme', 'acme2', 'a', 'a-b', 'ac'] as const;
const FIELD = { table: 'users', column: 'name', row: '1' };
const opened: (() => unknown)[] = [];

/** Every store of a service, on real servers, with one fence. */
interface Service {
  readonly fence: TenantRegistry;
  readonly redis: Redis;
  readonly s3: S3Client;
  readonly queue: Queue;
  readonly search: Client;
  readonly keyring: Keyring;
  readonly bucket: string;
  readonly index: string;
  /** Values as they were encrypted. */
  readonly secrets: ReadonlyMap<string, string>;
  /** Everything in the raw stores that names the tenant. */
  raw(tenant: string): Promise<readonly string[]>;
}

let service: Service;

beforeAll(async () => {
  const servers = inject('servers');
  const index = freshIndex(servers.opensearch);
  const [cacheServer, queueServer, bucket] = await Promise.all([
    freshRedis(servers.redis),
    freshRedis(servers.redis),
    freshBucket(servers.s3, { versioned: true }),
  ]);
  const fence = await createTenantRegistry({
    store: memoryTenantStore(),
    refreshEvery: 10,
    maxStaleness: 1_000,
  });
  const redis = new Redis(cacheServer.url, { tenant: { fence } });
  const s3 = new S3Client({ ...bucket.client, tenant: { buckets: [bucket.bucket], fence } });
  const signingKeys = [{ kid: 'k1', secret: randomBytes(32) }] as const;
  const connection = new RawRedis(queueServer.url, { maxRetriesPerRequest: null });
  const queue = new Queue('mail', { connection, tenant: { signingKeys, fence } });
  const rawSearch = new RawClient({ node: index.url });
  await rawSearch.indices.create({
    index: index.index,
    body: { settings: { number_of_replicas: 0 } },
  });
  const search = new Client({ node: index.url, tenant: { indices: [index.index], fence } });
  await ensureTenantMapping(search, index.index);
  const keyring = await Keyring.open({ master: randomBytes(32), store: memoryKeyStore() });
  const cipher = new FieldCipher(keyring);
  const secrets = new Map<string, string>();

  for (const tenant of TENANTS) {
    await withTenant(tenant, async () => {
      await redis.set('user:1', tenant);
      await s3.send(new PutObjectCommand({ Bucket: bucket.bucket, Key: 'file.txt', Body: tenant }));
      await s3.send(new PutObjectCommand({ Bucket: bucket.bucket, Key: 'file.txt', Body: tenant }));
      await queue.add('welcome', { to: tenant }, { jobId: 'job-1' });
      await search.index({ index: index.index, id: '1', body: { name: tenant }, refresh: true });
      secrets.set(tenant, await cipher.encryptAsync(tenant, FIELD));
    });
  }

  const rawRedis = [new RawRedis(cacheServer.url), new RawRedis(queueServer.url)];
  const rawS3 = new RawS3(bucket.client);
  const named = (tenant: string) => new RegExp(`(?<![A-Za-z0-9_-])${tenant}(?![A-Za-z0-9_-])`);
  service = {
    fence,
    redis,
    s3,
    queue,
    search,
    keyring,
    bucket: bucket.bucket,
    index: index.index,
    secrets,
    async raw(tenant) {
      const keys = (await Promise.all(rawRedis.map((client) => client.keys('*')))).flat();
      const objects = await rawS3.send(new ListObjectVersionsCommand({ Bucket: bucket.bucket }));
      await rawSearch.indices.refresh({ index: index.index });
      const found = await rawSearch.search({
        index: index.index,
        body: { size: 100, query: { match_all: {} } },
      });
      const hits = found.body.hits.hits.map((hit) => JSON.stringify(hit));
      const versions = [...(objects.Versions ?? []), ...(objects.DeleteMarkers ?? [])].map(
        ({ Key }) => Key ?? '',
      );
      return [...keys, ...versions, ...hits].filter((text) => named(tenant).test(text)).toSorted();
    },
  };
  opened.push(
    () => fence.close(),
    () => redis.disconnect(),
    () => queue.close(),
    () => connection.disconnect(),
    () => rawRedis.forEach((client) => client.disconnect()),
    () => s3.destroy(),
    () => rawS3.destroy(),
    () => search.close(),
    () => rawSearch.close(),
    () => Promise.all([cacheServer, queueServer, bucket, index].map((own) => own.cleanup())),
  );
});

afterAll(async () => {
  for (const close of opened) await close();
});

async function reads(tenant: string): Promise<unknown> {
  const { redis, s3, queue, search, keyring, bucket, index, secrets } = service;
  const cipher = new FieldCipher(keyring);
  return withTenant(tenant, async () => ({
    cache: await redis.get('user:1'),
    storage: await (
      await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'file.txt' }))
    ).Body?.transformToString(),
    queue: (await queue.getJob('job-1'))?.data as unknown,
    search: ((await search.get({ index, id: '1' })).body as { _source: { name: string } })._source.name,
    crypto: await cipher.decryptAsync(secrets.get(tenant) ?? '', FIELD),
  }));
}

it('one tenant is erased from Redis, S3, BullMQ, OpenSearch and the keyring, and no other', async () => {
  const { fence, redis, s3, queue, search, keyring, bucket, index } = service;
  const own = (tenant: string) => ({
    cache: tenant,
    storage: tenant,
    queue: { to: tenant },
    search: tenant,
    crypto: tenant,
  });
  for (const tenant of TENANTS) expect(await reads(tenant)).toEqual(own(tenant));
  const others = TENANTS.filter((tenant) => tenant !== 'acme');
  const before = await Promise.all(others.map((tenant) => service.raw(tenant)));
  expect((await service.raw('acme')).length).toBeGreaterThanOrEqual(5);

  const erasure = erasureOf(
    [
      cacheEraser(redis),
      storageEraser(s3, { bucket }),
      queueEraser(queue),
      searchEraser(search),
      keyringEraser(keyring),
    ],
    { fence, ledger: ledgerIn(folder()) },
  );
  const id = await approved(erasure, 'acme');
  const { state, stores } = await erasure.run(id);
  // Deleted documents stay in OpenSearch's segments until they are merged, and the certificate has to say so.
  const keeping = stores.filter(({ kept }) => kept.length > 0).map(({ store }) => store);
  expect([state, keeping]).toEqual(
    state === 'completed' ? ['completed', []] : ['completed_with_retention', ['search']],
  );

  expect(await service.raw('acme')).toEqual([]);
  expect(await Promise.all(others.map((tenant) => service.raw(tenant)))).toEqual(before);
  for (const tenant of others) expect(await reads(tenant)).toEqual(own(tenant));
  expect(await rejection(withTenant('acme', () => redis.get('user:1')))).toMatchObject({
    code: 'TENANT_FENCED',
    state: 'erased',
  });
  expect(await keyring.status('acme')).toMatchObject({ state: 'shredded' });

  const { certificate } = await verifyCertificate(await erasure.certificate(id), {
    keys: [signer.publicKey],
  });
  expect(certificate.fence).toMatchObject({ mode: 'tenant', maxStaleness: 1_000 });
  const summary = certificate.stores.map(({ store, stage, before: counted, erased, remaining }) => ({
    store: store.replace(bucket, '').replace(index, ''),
    stage,
    counted: counted.some(({ count }) => count > 0),
    erased: erased.some(({ count }) => count > 0),
    remaining: remaining.reduce((sum, { count }) => sum + count, 0),
  }));
  expect(summary).toEqual(
    ['cache', 'storage:', 'queue', 'search', 'crypto'].map((store) => ({
      store,
      stage: store === 'crypto' ? 'shred' : 'purge',
      counted: true,
      erased: true,
      remaining: 0,
    })),
  );
});

it('a person is refused by the stores that cannot tell people apart', async () => {
  const { redis, search, keyring } = service;
  const erasure = erasureOf([cacheEraser(redis), searchEraser(search), keyringEraser(keyring)]);
  const { id } = await erasure.request({ tenant: 'acme2', subject: 'p1', reason: 'x', requestedBy: 'x' });
  const error = await rejection(erasure.plan(id));
  expect(error).toMatchObject({ code: 'ERASURE_SUBJECT_UNSUPPORTED' });
  expect((error as { stores: { store: string }[] }).stores.map(({ store }) => store)).toEqual([
    'cache',
    'crypto',
  ]);
});
