import * as raw from '@aws-sdk/client-s3';
import { ConfigError, OperationRefusedError, isVerified, withTenant } from '@tenantkit/core';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  CreateMultipartUploadCommand,
  storageEraser,
} from '@tenantkit/storage';
import { getSignedUrl, type PresignableCommand } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putRetained, run } from './erase-support.ts';
import { open, type Opened } from './open.ts';

// Headers that nobody has signed: what Ceph makes of them, and that a URL can be signed so that they must not come.

let own: Opened;
const p1 = { tenant: 'acme', subject: 'p1' };
const UNTIL = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z$/, 'Z');
/** Of versions that the tests have locked. */
const locked: { readonly Key: string; readonly VersionId: string | undefined }[] = [];

beforeAll(async () => {
  own = await open({ traits: { objectLock: true } });
  for (const tenant of ['acme', 'acme2'])
    await withTenant(tenant, () =>
      own.s3.send(new PutObjectCommand({ Key: 'secret', Body: `of ${tenant}`, Metadata: { of: tenant } })),
    );
});
afterAll(async () => {
  // Test buckets are emptied past governance; what a legal hold keeps is freed first.
  for (const at of locked)
    await own.raw.send(
      new raw.PutObjectLegalHoldCommand({ Bucket: own.bucket, ...at, LegalHold: { Status: 'OFF' } }),
    );
  await own[Symbol.asyncDispose]();
});

const sign = (command: PresignableCommand, server?: 'aws' | 'ceph') =>
  withTenant(p1, () => getSignedUrl(own.s3, command, server === undefined ? {} : { tenant: { server } }));

const send = async (url: string, method: string, headers: Record<string, string> = {}, body?: string) => {
  const there = Object.entries(headers).map(([name, value]) => [name, value.replace('BUCKET', own.bucket)]);
  return (await fetch(url, { method, headers: Object.fromEntries(there) as never, body: body ?? null }))
    .status;
};

const head = async (Key: string) => {
  const at = { Bucket: own.bucket, Key: `tenants/acme/${Key}` };
  const found = await own.raw.send(new raw.HeadObjectCommand(at));
  if (found.ObjectLockLegalHoldStatus === 'ON') locked.push({ Key: at.Key, VersionId: found.VersionId });
  const { Grants = [] } = await own.raw.send(new raw.GetObjectAclCommand(at));
  return { ...found, grants: Grants.length };
};

const COPY = { 'x-amz-copy-source': '/BUCKET/tenants/acme2/secret' };

describe('a URL of a PUT', () => {
  let count = 0;

  it.each<[string, Record<string, string>, object]>([
    ['opens the object', { 'x-amz-acl': 'public-read' }, { grants: 2 }],
    ['copies an object of another tenant', COPY, { Metadata: { of: 'acme2' } }],
    [
      'copies it, spelled with underscores',
      { x_amz_copy_source: '/BUCKET/tenants/acme2/secret' },
      { Metadata: { of: 'acme2' } },
    ],
    [
      'copies a private object of the tenant and opens it',
      { 'x-amz-copy-source': '/BUCKET/tenants/acme/secret', 'x-amz-acl': 'public-read' },
      { Metadata: { of: 'acme' }, grants: 2 },
    ],
    [
      'copies it with the label of another person',
      { ...COPY, 'x-amz-metadata-directive': 'REPLACE', 'x-amz-meta-tk-subject': 'p2' },
      { Metadata: { 'tk-subject': 'p2' } },
    ],
    ['names a further person', { 'x-amz-meta-tk-subject': 'p2' }, { Metadata: { 'tk-subject': 'p2,p1' } }],
    ['names one with underscores', { x_amz_meta_tk_subject: 'p2' }, { Metadata: { 'tk-subject': 'p2,p1' } }],
    [
      'retains the object',
      { 'x-amz-object-lock-mode': 'GOVERNANCE', 'x-amz-object-lock-retain-until-date': UNTIL },
      { ObjectLockMode: 'GOVERNANCE' },
    ],
    ['holds the object', { 'x-amz-object-lock-legal-hold': 'ON' }, { ObjectLockLegalHoldStatus: 'ON' }],
    ['tags the object', { 'x-amz-tagging': 'a=b' }, { TagCount: 1 }],
    [
      'redirects whoever reads it',
      { 'x-amz-website-redirect-location': '/x' },
      { WebsiteRedirectLocation: '/x' },
    ],
  ])('%s, and not with server: ceph', async (_, headers, effect) => {
    count += 1;
    const Key = `put-${count}`;
    const body = Object.keys(headers).some((name) => /copy.source/.test(name)) ? undefined : 'x';
    const open = await sign(new PutObjectCommand({ Key }));
    expect(await send(open, 'PUT', headers, body)).toBe(200);
    expect(await head(Key)).toMatchObject(effect);

    const closed = await sign(new PutObjectCommand({ Key: `${Key} (closed)*` }), 'ceph');
    expect(await send(closed, 'PUT', headers, body)).toBe(403);
    expect(await send(closed, 'PUT', {}, 'x')).toBe(200);
    expect(await head(`${Key} (closed)*`)).toMatchObject({ Metadata: { 'tk-subject': 'p1' }, grants: 1 });
  });

  it.each([
    'x-amz-copy-source-range',
    'x-amz-grant-full-control',
    'x-amz-grant-read',
    'x-amz-grant-read-acp',
    'x-amz-grant-write',
    'x-amz-grant-write-acp',
    'x-amz-metadata-directive',
    'x-amz-object-lock-mode',
    'x-amz-object-lock-retain-until-date',
    'x-amz-storage-class',
    'x-amz-tagging-directive',
  ])('takes no %s either', async (name) => {
    const answer = async (server: 'aws' | 'ceph') => {
      const url = await sign(new PutObjectCommand({ Key: 'single' }), server);
      const response = await fetch(url, { method: 'PUT', headers: { [name]: 'x' }, body: 'x' });
      return (await response.text()).includes('AccessDenied');
    };
    expect(await answer('ceph')).toBe(true);
    // The control: whatever this server makes of it, its signature is good.
    expect(await answer('aws')).toBe(false);
  });

  it('takes other metadata all the same, which is said', async () => {
    const url = await sign(new PutObjectCommand({ Key: 'meta' }), 'ceph');
    expect(await send(url, 'PUT', { 'x-amz-meta-a': 'b' }, 'x')).toBe(200);
    expect(await head('meta')).toMatchObject({ Metadata: { a: 'b' } });
  });

  it('keeps what is signed besides, and the command’s own fields', async () => {
    const command = new PutObjectCommand({
      Key: 'type',
      ContentType: 'text/plain',
      StorageClass: 'STANDARD',
    });
    const url = await withTenant(p1, () =>
      getSignedUrl(own.s3, command, { tenant: { server: 'ceph', sign: ['content-type'] } }),
    );
    expect(await send(url, 'PUT', { 'content-type': 'text/html' }, 'x')).toBe(403);
    expect(await send(url, 'PUT', { 'content-type': 'text/plain', ...COPY })).toBe(403);
    expect(await send(url, 'PUT', { 'content-type': 'text/plain' }, 'x')).toBe(200);
    expect(await head('type')).toMatchObject({ ContentType: 'text/plain' });
  });

  it('covers the host alone without server: ceph', async () => {
    const url = await sign(new PutObjectCommand({ Key: 'x' }));
    const without = await sign(new PutObjectCommand({ Key: 'x' }), 'aws');
    for (const same of [url, without])
      expect(new URL(same).searchParams.get('X-Amz-SignedHeaders')).toBe('host');
  });
});

it('a URL of a part copies no part', async () => {
  const { UploadId } = await withTenant(p1, () =>
    own.s3.send(new CreateMultipartUploadCommand({ Key: 'parts' })),
  );
  const part = new UploadPartCommand({ Key: 'parts', UploadId, PartNumber: 1 });
  expect(await send(await sign(part), 'PUT', COPY)).toBe(200);
  const closed = await sign(part, 'ceph');
  expect(await send(closed, 'PUT', COPY)).toBe(403);
  expect(await send(closed, 'PUT', {}, 'x')).toBe(200);
});

it('a URL of a DELETE passes by no retention', async () => {
  const retained = () => putRetained(own, 'tenants/acme/kept');
  const bypass = { 'x-amz-bypass-governance-retention': 'true' };
  const first = await sign(new DeleteObjectCommand({ Key: 'kept', VersionId: await retained() }));
  expect(await send(first, 'DELETE')).toBe(403);
  expect(await send(first, 'DELETE', bypass)).toBe(204);
  const VersionId = await retained();
  const second = await sign(new DeleteObjectCommand({ Key: 'kept', VersionId }), 'ceph');
  expect(await send(second, 'DELETE', bypass)).toBe(403);
  const other = await sign(new DeleteObjectCommand({ Key: 'not there' }), 'ceph');
  expect(await send(other, 'DELETE')).toBe(204);
});

it('a URL of a GET is the same for every server', async () => {
  const url = await sign(new GetObjectCommand({ Key: 'secret' }), 'ceph');
  expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')).toBe('host');
  expect(await send(url, 'GET')).toBe(200);
});

it('a person is erased from what was uploaded with closed URLs to keys of a pattern', async () => {
  await using mine = await open({ tenant: { subjects: ['users/{subject}/**'] } });
  const letter = new PutObjectCommand({ Key: 'users/p1/letter', Body: 'of p1' });
  await withTenant(p1, () => mine.s3.send(letter));
  const relabel = {
    'x-amz-copy-source': `/${mine.bucket}/tenants/acme/users/p1/letter`,
    'x-amz-metadata-directive': 'REPLACE',
    'x-amz-meta-tk-subject': 'p2',
  };
  const left = async (server: 'aws' | 'ceph') => {
    const command = new PutObjectCommand({ Key: `users/p1/${server}` });
    const url = await withTenant({ tenant: 'acme', subject: 'p2' }, () =>
      getSignedUrl(mine.s3, command, { tenant: { server } }),
    );
    const status = (await fetch(url, { method: 'PUT', headers: relabel })).status;
    const eraser = storageEraser(mine.s3, { bucket: mine.bucket });
    await eraser.erase(p1, run());
    expect(isVerified(await eraser.verify(p1))).toBe(true);
    const { Contents = [] } = await mine.raw.send(
      new raw.ListObjectsV2Command({ Bucket: mine.bucket, Prefix: 'tenants/acme/users/p1/' }),
    );
    return { status, keys: Contents.map(({ Key }) => Key) };
  };
  expect(await left('ceph')).toEqual({ status: 403, keys: [] });
  await withTenant(p1, () => mine.s3.send(letter));
  // What the documentation says of URLs that are not closed: the label is what the object itself says.
  expect(await left('aws')).toEqual({ status: 200, keys: ['tenants/acme/users/p1/aws'] });
});

describe('the option', () => {
  it('is refused with another server', async () => {
    const signed = withTenant(p1, () =>
      getSignedUrl(own.s3, new GetObjectCommand({ Key: 'x' }), { tenant: { server: 'minio' as never } }),
    );
    await expect(signed).rejects.toThrow(ConfigError);
  });

  it('is refused for a signer that signs in another way', async () => {
    const s3 = new S3Client({
      ...own.options,
      signer: {
        sign: () => Promise.reject(new Error('not asked')),
        presign: (request: object) =>
          Promise.resolve({ ...request, query: { 'X-Amz-SignedHeaders': 'host', 'X-Amz-Signature': 'x' } }),
      } as never,
      tenant: { buckets: [own.bucket] },
    });
    // Without a person: of one, a marker would be sent first.
    const signed = (server: 'aws' | 'ceph') =>
      withTenant('acme', () => getSignedUrl(s3, new PutObjectCommand({ Key: 'x' }), { tenant: { server } }));
    expect(await signed('aws')).toContain('X-Amz-Signature=x');
    await expect(signed('ceph')).rejects.toThrow(OperationRefusedError);
    s3.destroy();
  });
});
