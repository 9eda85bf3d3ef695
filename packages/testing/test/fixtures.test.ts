import { Redis } from 'ioredis';
import pg from 'pg';
import {
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListBucketsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { describe, expect, inject, it } from 'vitest';
import { freshBucket, freshIndex, freshRedis, freshSchema } from '@tenantkit/testing';
import { startServersOn } from '../src/servers/start.ts';
import { startChild } from './child.ts';
import { ownPrograms } from './machine.ts';

const servers = inject('servers');

/** So many has a Redis that was started here. */
const DATABASES = 256;

describe('freshRedis', () => {
  it('gives every caller an empty database of its own, and takes it back empty', async () => {
    const owned = await Promise.all(Array.from({ length: 8 }, () => freshRedis(servers.redis)));
    expect(new Set(owned.map(({ db }) => db)).size).toBe(8);
    for (const { url, db } of owned) {
      const redis = new Redis(url);
      expect(await redis.dbsize()).toBe(0);
      await redis.set('mine', db);
      redis.disconnect();
    }
    for (const { url, db } of owned) {
      const redis = new Redis(url);
      expect(await redis.get('mine')).toBe(String(db));
      redis.disconnect();
    }
    await Promise.all(owned.map(({ cleanup }) => cleanup()));
    for (const { url } of owned) {
      const redis = new Redis(url);
      expect(await redis.get('mine')).toBeNull();
      redis.disconnect();
    }
  });

  it('never takes a database that holds data of somebody else, and reuses what a dead run left', async () => {
    await using own = await startServersOn(ownPrograms(), { redis: true, quiet: true });
    const registry = new Redis(own.redis.url);
    // All but one hold data; of these, one was left by a run that died and whose claim is void by now.
    const [free, left] = [7, 9];
    for (let db = 1; db < DATABASES; db += 1) {
      if (db !== free) await registry.multi().select(db).set('theirs', db).select(0).exec();
    }
    await registry.sadd('tk!testing:unclean', left);
    await using one = await freshRedis(own.redis);
    await using two = await freshRedis(own.redis);
    expect(new Set([one.db, two.db])).toEqual(new Set([free, left]));
    await expect(freshRedis(own.redis)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await registry.select(8);
    expect(await registry.get('theirs')).toBe('8');
    registry.disconnect();
  });

  it('takes back at once what a process has that was killed, and nothing of one that is there', async () => {
    await using own = await startServersOn(ownPrograms(), { redis: true, quiet: true });
    const registry = new Redis(own.redis.url);
    const [first, second, foreign, old] = [7, 9, 11, 13];
    for (let db = 1; db < DATABASES; db += 1) {
      if (![first, second, foreign, old].includes(db))
        await registry.multi().select(db).set('theirs', db).select(0).exec();
    }
    // Of another machine: its processes cannot be seen from here.
    const elsewhere = JSON.stringify({ token: 'x', pid: 1, identity: 'y', machine: 'z' });
    await registry.set(`tk!testing:claim:${foreign}`, elsewhere);
    await registry.set(`tk!testing:claim:${old}`, 'a token alone');
    using child = startChild('claim', [own.redis.url, '2']);
    expect(new Set((await child.says)['taken']?.split(' '))).toEqual(
      new Set([String(first), String(second)]),
    );
    await expect(freshRedis(own.redis)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });

    child.process.kill('SIGKILL');
    await child.ended;
    await using one = await freshRedis(own.redis);
    await using two = await freshRedis(own.redis);
    expect(new Set([one.db, two.db])).toEqual(new Set([first, second]));
    for (const { url } of [one, two]) {
      const redis = new Redis(url);
      expect(await redis.dbsize()).toBe(0);
      redis.disconnect();
    }
    await expect(freshRedis(own.redis)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });

    // What has gone over to somebody else is not emptied, nor given back.
    await registry.set(`tk!testing:claim:${one.db}`, elsewhere);
    await registry.multi().select(one.db).set('theirs', 'x').select(0).exec();
    await one.cleanup();
    expect(await registry.get(`tk!testing:claim:${one.db}`)).toBe(elsewhere);
    await registry.select(one.db);
    expect(await registry.get('theirs')).toBe('x');
    registry.disconnect();
  });
});

describe('freshBucket', () => {
  it.each([{}, { versioned: true }, { objectLock: true }])(
    'makes a bucket and removes it with all in it: %o',
    async (options) => {
      const { bucket, client, cleanup } = await freshBucket(servers.s3, options);
      const s3 = new S3Client(client);
      const Bucket = bucket;
      for (const Key of ['a', 'a', 'b/c', ' ', 'ü', 'a&b'])
        await s3.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }));
      await s3.send(new DeleteObjectCommand({ Bucket, Key: 'a' }));
      await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'unfinished' }));
      if ('objectLock' in options) {
        const ObjectLockRetainUntilDate = new Date(Date.now() + 3_600_000);
        const locked = { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate } as const;
        await s3.send(new PutObjectCommand({ Bucket, Key: 'locked', Body: 'x', ...locked }));
      }
      const names = async (): Promise<unknown[]> =>
        ((await s3.send(new ListBucketsCommand({}))).Buckets ?? []).map(({ Name }) => Name);
      expect(await names()).toContain(bucket);
      await cleanup();
      await cleanup();
      expect(await names()).not.toContain(bucket);
      s3.destroy();
    },
  );
});

describe('freshIndex', () => {
  it('names indices that nobody else has, and removes all that begin with the name', async () => {
    const { url, index, cleanup } = freshIndex(servers.opensearch);
    const { index: other, cleanup: cleanupOther } = freshIndex(servers.opensearch);
    expect(other).not.toBe(index);
    for (const name of [index, `${index}-2`, other])
      expect((await fetch(`${url}/${name}`, { method: 'PUT' })).status).toBe(200);
    await cleanup();
    const exists = async (name: string): Promise<number> =>
      (await fetch(`${url}/${name}`, { method: 'HEAD' })).status;
    expect([await exists(index), await exists(`${index}-2`), await exists(other)]).toEqual([404, 404, 200]);
    await cleanupOther();
  });
});

describe('freshSchema', () => {
  it('makes a schema that unqualified names are looked up in, and drops it', async () => {
    const { url, schema, cleanup } = await freshSchema(servers.postgres);
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query('CREATE TABLE notes (id int)');
    const where = async (): Promise<unknown> =>
      (await client.query('SELECT schemaname FROM pg_tables WHERE schemaname = $1', [schema])).rows;
    expect(await where()).toEqual([{ schemaname: schema }]);
    await cleanup();
    expect(await where()).toEqual([]);
    await client.end();
  });
});
