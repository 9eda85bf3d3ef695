import { Readable } from 'node:stream';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import {
  GetObjectCommand,
  GetObjectAclCommand,
  PutObjectCommand,
  S3,
  S3Client,
  paginateListObjectsV2,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
} from '@tenantkit/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// What the types allow: types.test-d.ts compiles it, this runs it.

let own: Opened;
let s3: S3;

beforeAll(async () => {
  own = await open();
  s3 = new S3({ ...own.options, tenant: { buckets: [own.bucket] } });
});
afterAll(async () => {
  s3.destroy();
  await own[Symbol.asyncDispose]();
});

describe('Bucket may be left out', () => {
  it('of methods, with a promise and with a callback', () =>
    withTenant('acme', async () => {
      await s3.putObject({ Key: 'one', Body: 'mine' });
      expect(await (await s3.getObject({ Key: 'one' })).Body?.transformToString()).toBe('mine');
      const length = await new Promise((resolve, reject) => {
        s3.headObject({ Key: 'one' }, (error, output) =>
          output === undefined ? reject(error as Error) : resolve(output.ContentLength),
        );
      });
      expect(length).toBe(4);
      const stored = await own.raw.send(
        new GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/one' }),
      );
      expect(await stored.Body?.transformToString()).toBe('mine');
    }));

  it('for paginators and waiters', () =>
    withTenant('acme2', async () => {
      for (const Key of ['p/1', 'p/2', 'p/3']) await s3.putObject({ Key, Body: 'x' });
      const keys: unknown[] = [];
      for await (const { Contents = [] } of paginateListObjectsV2(
        { client: s3, pageSize: 2 },
        { Prefix: 'p/' },
      ))
        keys.push(...Contents.map(({ Key }) => Key));
      for await (const { Contents = [] } of s3.paginateListObjectsV2({ Prefix: 'p/' }, { pageSize: 2 }))
        keys.push(...Contents.map(({ Key }) => Key));
      expect(keys).toEqual(['p/1', 'p/2', 'p/3', 'p/1', 'p/2', 'p/3']);
      const wait = { client: s3, maxWaitTime: 10 };
      expect((await waitUntilObjectExists(wait, { Key: 'p/1' })).state).toBe('SUCCESS');
      expect((await waitUntilObjectNotExists(wait, { Key: 'p/4' })).state).toBe('SUCCESS');
      expect((await s3.waitUntilObjectExists({ Key: 'p/1' }, 10)).state).toBe('SUCCESS');
    }));
});

describe('a request handler that stands for the server', () => {
  it('has the whole guard in front of it', async () => {
    const sent: string[] = [];
    const client = new S3Client({
      region: 'eu-central-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      requestHandler: {
        handle: ({ method, path }: { readonly method: string; readonly path: string }) => {
          sent.push(`${method} ${path}`);
          const body = Readable.from([method === 'GET' ? '<svg/>' : '']);
          return Promise.resolve({ response: { statusCode: 200, headers: {}, body } });
        },
      },
      forcePathStyle: true,
      tenant: { buckets: ['uploads'] },
    });
    const put = (Key: string) => client.send(new PutObjectCommand({ Key, Body: '<svg/>' }));
    await expect(put('logo.svg')).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    await withTenant('acme', async () => {
      await expect(put('../acme2/logo.svg')).rejects.toMatchObject({ reason: 'key' });
      const acl = new GetObjectAclCommand({ Bucket: 'uploads', Key: 'logo.svg' });
      await expect(client.send(acl)).rejects.toBeInstanceOf(OperationRefusedError);
      expect(sent).toEqual([]);
      await put('logo.svg');
      const { Body } = await client.send(new GetObjectCommand({ Key: 'logo.svg' }));
      expect(await Body?.transformToString()).toBe('<svg/>');
    });
    expect(sent).toEqual(['PUT /uploads/tenants/acme/logo.svg', 'GET /uploads/tenants/acme/logo.svg']);
  });
});
