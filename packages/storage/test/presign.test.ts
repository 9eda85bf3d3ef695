import {
  CopyObjectCommand as RawCopyObjectCommand,
  DeleteBucketCommand as RawDeleteBucketCommand,
  GetObjectCommand as RawGetObjectCommand,
  PutObjectCommand as RawPutObjectCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl as rawGetSignedUrl } from '@aws-sdk/s3-request-presigner';
import {
  ConfigError,
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  withTenant,
} from '@tenantkit/core';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@tenantkit/storage';
import { getSignedUrl, type PresignOptions, type PresignableCommand } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';

let own: Opened;
beforeAll(async () => {
  own = await open();
  for (const tenant of ['acme', 'acme2']) {
    const object = { Bucket: own.bucket, Key: `tenants/${tenant}/one`, Body: `of ${tenant}` };
    await own.raw.send(new RawPutObjectCommand(object));
  }
});
afterAll(() => own[Symbol.asyncDispose]());

const sign = (command: PresignableCommand, options?: PresignOptions, tenant = 'acme'): Promise<string> =>
  withTenant(tenant, () => getSignedUrl(own.s3, command, options));

describe('a presigned URL', () => {
  it('reads the tenant’s own object, without a tenant and without credentials', async () => {
    for (const tenant of ['acme', 'acme2']) {
      const url = await sign(new GetObjectCommand({ Key: 'one' }), {}, tenant);
      expect(await (await fetch(url)).text()).toBe(`of ${tenant}`);
    }
  });

  it('writes, heads and deletes', async () => {
    const body = 'written by fetch';
    const put = await fetch(await sign(new PutObjectCommand({ Key: 'new' })), { method: 'PUT', body });
    expect(put.status).toBe(200);
    const head = await fetch(await sign(new HeadObjectCommand({ Key: 'new' })), { method: 'HEAD' });
    expect(head.headers.get('content-length')).toBe(String(body.length));
    const { Body } = await own.raw.send(
      new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/new' }),
    );
    expect(await Body?.transformToString()).toBe(body);
    const deleted = await fetch(await sign(new DeleteObjectCommand({ Key: 'new' })), { method: 'DELETE' });
    expect(deleted.status).toBe(204);
    expect((await fetch(await sign(new GetObjectCommand({ Key: 'new' })))).status).toBe(404);
  });

  it('carries the fields of its command', async () => {
    const command = new GetObjectCommand({
      Key: 'one',
      ResponseContentDisposition: 'attachment; filename="a.txt"',
    });
    const reply = await fetch(await sign(command));
    expect(reply.headers.get('content-disposition')).toBe('attachment; filename="a.txt"');
    const put = new PutObjectCommand({ Key: 'meta', Metadata: { a: 'b' }, ServerSideEncryption: undefined });
    expect(await sign(put)).toContain('x-amz-meta-a=b');
  });

  needs('signatures').it.each<[string, (url: URL) => void, method?: string]>([
    ['the tenant', (url) => void (url.pathname = url.pathname.replace('/acme/', '/acme2/'))],
    ['the key', (url) => void (url.pathname += 'x')],
    [
      'the path, to one that resolves elsewhere',
      (url) => void (url.pathname = url.pathname.replace('/one', '/%252e%252e/acme2/one')),
    ],
    ['the method', () => undefined, 'DELETE'],
    ['the method to PUT', () => undefined, 'PUT'],
    ['the life', (url) => url.searchParams.set('X-Amz-Expires', '604800')],
    ['the date', (url) => url.searchParams.set('X-Amz-Date', '20300101T000000Z')],
    ['a parameter', (url) => url.searchParams.set('response-content-type', 'text/html')],
    ['a sub-resource', (url) => url.searchParams.set('acl', '')],
    ['the signature', (url) => url.searchParams.set('X-Amz-Signature', 'a'.repeat(64))],
  ])('is refused by the server when somebody changes %s', async (_what, change, method = 'GET') => {
    const signed = await sign(new GetObjectCommand({ Key: 'one' }));
    expect((await fetch(signed)).status).toBe(200);
    const url = new URL(signed);
    change(url);
    const reply = await fetch(url, { method, ...(method === 'PUT' ? { body: 'x' } : {}) });
    expect(reply.status).toBe(403);
    expect(await reply.text()).not.toContain('of acme2');
  });

  it('expires', async () => {
    const past = new Date(Date.now() - 60_000);
    expect(
      (await fetch(await sign(new GetObjectCommand({ Key: 'one' }), { signingDate: past }))).status,
    ).toBe(200);
    const url = await sign(new GetObjectCommand({ Key: 'one' }), { signingDate: past, expiresIn: 30 });
    expect((await fetch(url)).status).toBe(403);
  });

  it('lives as long as the client allows, and no longer', async () => {
    const one = new GetObjectCommand({ Key: 'one' });
    const life = async (url: Promise<string>): Promise<string | null> =>
      new URL(await url).searchParams.get('X-Amz-Expires');
    expect(await life(sign(one))).toBe('900');
    expect(await life(sign(one, { expiresIn: 900 }))).toBe('900');
    await expect(sign(one, { expiresIn: 901 })).rejects.toThrow(OperationRefusedError);
    await expect(sign(one, { expiresIn: 901 })).rejects.toThrow('at most 900 seconds');
    const tomorrow = new Date(Date.now() + 86_400_000);
    await expect(sign(one, { expiresIn: 60, signingDate: tomorrow })).rejects.toThrow('longer than allowed');

    const make = (maxExpiresIn: number) =>
      new S3Client({ ...own.options, tenant: { buckets: [own.bucket], maxExpiresIn } });
    await withTenant('acme', async () => {
      expect(await life(getSignedUrl(make(60), one))).toBe('60');
      await expect(getSignedUrl(make(60), one, { expiresIn: 61 })).rejects.toThrow(OperationRefusedError);
      expect(await life(getSignedUrl(make(3600), one, { expiresIn: 3600 }))).toBe('3600');
    });
  });

  it.each<[string, object]>([
    ['unsignableHeaders', { unsignableHeaders: new Set(['host']) }],
    ['hoistableHeaders', { hoistableHeaders: new Set(['x-amz-acl']) }],
    ['signingRegion', { signingRegion: 'eu-central-1' }],
    ['signingService', { signingService: 'sts' }],
    ['expiresIn', { expiresIn: 0 }],
    ['expiresIn', { expiresIn: -1 }],
    ['expiresIn', { expiresIn: Number.NaN }],
    ['expiresIn', { expiresIn: '60' }],
    ['signingDate', { signingDate: 'now' }],
  ])('is not made with the option %s = %o', async (name, options) => {
    const signing = sign(new GetObjectCommand({ Key: 'one' }), options);
    await expect(signing).rejects.toThrow(ConfigError);
    await expect(signing).rejects.toThrow(name);
  });

  needs('signatures').it('keeps headers in the signature when asked to', async () => {
    const command = new PutObjectCommand({ Key: 'typed', ContentType: 'text/plain' });
    const url = await sign(command, { signableHeaders: new Set(['content-type']) });
    const send = (type: string): Promise<Response> =>
      fetch(url, { method: 'PUT', body: 'x', headers: { 'content-type': type } });
    expect((await send('text/html')).status).toBe(403);
    expect((await send('text/plain')).status).toBe(200);
  });
});

describe('no presigned URL is made', () => {
  const refused = async (command: unknown, words: string | RegExp = /refused/): Promise<'refused'> => {
    const signing = sign(command as GetObjectCommand);
    await expect(signing).rejects.toThrow(OperationRefusedError);
    await expect(signing).rejects.toThrow(words);
    return 'refused';
  };

  it('outside of a tenant', async () => {
    const one = new GetObjectCommand({ Key: 'one' });
    await expect(getSignedUrl(own.s3, one)).rejects.toThrow(MissingTenantError);
    await expect(sign(one)).resolves.toContain('/tenants/acme/one?');
  });

  it('of a command that cannot be checked or is refused', async () => {
    expect(await refused(new ListObjectsV2Command({}), 'physical keys')).toBe('refused');
    expect(
      await refused(new CopyObjectCommand({ Key: 'x', CopySource: `${own.bucket}/one` }), 'presigned copy'),
    ).toBe('refused');
    expect(await refused(new RawDeleteBucketCommand({ Bucket: own.bucket }), 'deletes the bucket')).toBe(
      'refused',
    );
  });

  it('of a copy, by whatever name its class goes, and nothing is sent for it', async () => {
    const input = { Key: 'x', CopySource: `${own.bucket}/one` };
    class Mine extends CopyObjectCommand {}
    class Minified extends RawCopyObjectCommand {}
    Object.defineProperty(Minified, 'name', { value: 'a' });
    const before = own.sent();
    for (const Class of [CopyObjectCommand, RawCopyObjectCommand, Mine, Minified]) {
      const copy = new Class(input as never) as never;
      const signing = withTenant({ tenant: 'acme', subject: 'p1' }, () => getSignedUrl(own.s3, copy));
      await expect(signing).rejects.toThrow(OperationRefusedError);
      await expect(signing).rejects.toThrow('presigned copy');
    }
    expect(own.sent()).toBe(before);
    await withTenant({ tenant: 'acme', subject: 'p1' }, () =>
      getSignedUrl(own.s3, new PutObjectCommand({ Key: 'x' })),
    );
    expect(own.sent()).toBe(before + 1);
  });

  it('of a key, bucket or field that is refused', async () => {
    expect(await refused(new GetObjectCommand({ Key: '../acme2/one' }))).toBe('refused');
    expect(await refused(new GetObjectCommand({ Key: 'a/%2e%2e/x' }))).toBe('refused');
    expect(
      await refused(new GetObjectCommand({ Bucket: 'another-one', Key: 'one' }), 'not an accepted bucket'),
    ).toBe('refused');
    expect(await refused(new PutObjectCommand({ Key: 'one', ACL: 'public-read' }), 'ACL')).toBe('refused');
    expect(await refused(new PutObjectCommand({ Key: 'one', Tagging: 'a=b' }), 'Tagging')).toBe('refused');
  });

  it('by a middleware that changes the request', async () => {
    for (const change of [
      (request: { path: string }) => void (request.path = `/${own.bucket}/tenants/acme2/one`),
      (request: { headers: Record<string, string> }) => void (request.headers['x-amz-acl'] = 'public-read'),
      (request: { headers: Record<string, string> }) =>
        void (request.headers['x-amz-copy-source'] = `/${own.bucket}/tenants/acme2/one`),
      (request: { method: string }) => void (request.method = 'DELETE'),
    ]) {
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      s3.middlewareStack.add(
        (next) => (args) => {
          change(args.request as never);
          return next(args);
        },
        { step: 'build', priority: 'low' },
      );
      const signing = withTenant('acme', () => getSignedUrl(s3, new PutObjectCommand({ Key: 'one' })));
      await expect(signing).rejects.toThrow(/was stopped|do not allow/);
    }
  });

  it('with the raw client', async () => {
    const one = new GetObjectCommand({ Key: 'one' });
    await expect(withTenant('acme', () => getSignedUrl(own.raw as never, one))).rejects.toThrow(ConfigError);
  });
});

describe('the raw presigner, given the guarded client', () => {
  it('makes a URL inside the tenant, of at most the same life, and of allowed commands only', async () => {
    const inside = (command: unknown, options?: { expiresIn: number }): Promise<string> =>
      withTenant('acme', () => rawGetSignedUrl(own.s3, command as RawGetObjectCommand, options));
    const url = await inside(new RawGetObjectCommand({ Bucket: own.bucket, Key: 'one' }));
    expect(await (await fetch(url)).text()).toBe('of acme');
    await expect(inside(new GetObjectCommand({ Key: 'one' }), { expiresIn: 901 })).rejects.toThrow(
      'longer than allowed',
    );
    await expect(inside(new ListObjectsV2Command({}))).rejects.toThrow(OperationRefusedError);
    await expect(inside(new RawDeleteBucketCommand({ Bucket: own.bucket }))).rejects.toThrow(
      OperationRefusedError,
    );
    await expect(rawGetSignedUrl(own.s3, new GetObjectCommand({ Key: 'one' }))).rejects.toThrow(
      MissingTenantError,
    );
  });

  it('signs raw names under acrossTenants', async () => {
    const command = new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' });
    const url = await acrossTenants({ reason: 'test', actor: 'test' }, () =>
      rawGetSignedUrl(own.s3, command),
    );
    expect(await (await fetch(url)).text()).toBe('of acme2');
  });
});

describe('the endpoint', () => {
  const credentials = { accessKeyId: 'a', secretAccessKey: 'b' };
  it.each<[object, string]>([
    [{ region: 'us-east-1' }, 'https://uploads.s3.us-east-1.amazonaws.com/tenants/acme/one'],
    [
      { region: 'eu-central-1', forcePathStyle: true },
      'https://s3.eu-central-1.amazonaws.com/uploads/tenants/acme/one',
    ],
    [
      { region: 'eu-central-1', useDualstackEndpoint: true },
      'https://uploads.s3.dualstack.eu-central-1.amazonaws.com/tenants/acme/one',
    ],
    [
      { region: 'us-east-1', useFipsEndpoint: true },
      'https://uploads.s3-fips.us-east-1.amazonaws.com/tenants/acme/one',
    ],
    [
      { region: 'us-east-1', useAccelerateEndpoint: true },
      'https://uploads.s3-accelerate.amazonaws.com/tenants/acme/one',
    ],
    [{ region: 'cn-north-1' }, 'https://uploads.s3.cn-north-1.amazonaws.com.cn/tenants/acme/one'],
    [
      { region: 'auto', endpoint: 'https://abc.r2.cloudflarestorage.com' },
      'https://uploads.abc.r2.cloudflarestorage.com/tenants/acme/one',
    ],
    [
      { region: 'x', endpoint: 'https://h.example/base', forcePathStyle: true },
      'https://h.example/base/uploads/tenants/acme/one',
    ],
    [
      { region: 'x', endpoint: 'http://[::1]:9000', forcePathStyle: true },
      'http://[::1]:9000/uploads/tenants/acme/one',
    ],
    [
      { region: 'x', endpoint: 'https://h.example:443', forcePathStyle: true },
      'https://h.example/uploads/tenants/acme/one',
    ],
  ])('of %j is taken in every style', async (configuration, expected) => {
    const s3 = new S3Client({
      ...configuration,
      credentials,
      tenant: { buckets: ['uploads'] },
    });
    const url = await withTenant('acme', () => getSignedUrl(s3, new GetObjectCommand({ Key: 'one' })));
    expect(url.split('?')[0]).toBe(expected);
  });
});
