import { createHash } from 'node:crypto';
import { HeadObjectCommand as RawHeadObjectCommand } from '@aws-sdk/client-s3';
import { ConfigError, OperationRefusedError, acrossTenants, withTenant } from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@tenantkit/storage';
import { getSignedUrl, type PresignOptions, type SignedPart } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// Uploads whose URL says what is uploaded.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

const BODY = 'abc';
const digest = (name: string): string => createHash(name).update(BODY).digest('base64');
const FIELDS = {
  IfNoneMatch: '*',
  ContentLength: BODY.length,
  ContentType: 'text/plain',
  ContentMD5: digest('md5'),
  ChecksumSHA256: digest('sha256'),
} as const;
type Fields = Partial<typeof FIELDS>;

let count = 0;
const fresh = (): string => `upload-${(count += 1)}`;
const sign = (
  fields: object,
  parts?: readonly SignedPart[],
  Key = fresh(),
  client = own.s3,
): Promise<string> => {
  const options: PresignOptions = parts === undefined ? {} : { tenant: { sign: parts } };
  return withTenant('acme', () => getSignedUrl(client, new PutObjectCommand({ Key, ...fields }), options));
};
const put = async (url: string, headers: Record<string, string>, body: string = BODY): Promise<number> =>
  (await fetch(url, { method: 'PUT', body, headers })).status;
const signedHeaders = (url: string): string[] =>
  (new URL(url).searchParams.get('X-Amz-SignedHeaders') ?? '').split(';');

describe('an upload that is signed with', () => {
  it.each<[SignedPart, Fields, Record<string, string>, string]>([
    ['if-none-match', { IfNoneMatch: '*' }, { 'if-none-match': '*' }, '"another"'],
    ['content-type', { ContentType: FIELDS.ContentType }, { 'content-type': 'text/plain' }, 'text/html'],
    [
      'content-md5',
      { ContentMD5: FIELDS.ContentMD5 },
      { 'content-md5': FIELDS.ContentMD5 },
      'AAAAAAAAAAAAAAAAAAAAAA==',
    ],
    [
      'checksum',
      { ChecksumSHA256: FIELDS.ChecksumSHA256 },
      { 'x-amz-checksum-sha256': FIELDS.ChecksumSHA256 },
      '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
    ],
  ])('its %s is refused with another, and without', async (part, fields, headers, other) => {
    const [name = ''] = Object.keys(headers);
    const url = await sign(fields, [part]);
    expect(signedHeaders(url)).toContain(name);
    expect(new URL(url).searchParams.has(name)).toBe(false);
    expect(await put(url, {})).toBe(403);
    expect(await put(url, { [name]: other })).toBe(403);
    expect(await put(url, headers)).toBe(200);
  });

  it('its length is refused with another', async () => {
    const url = await sign({ ContentLength: 3 }, ['content-length']);
    expect(await put(url, {}, 'ab')).toBe(403);
    expect(await put(url, {}, 'abcd')).toBe(403);
    expect(await put(url, {}, '')).toBe(403);
    expect(await put(url, {}, 'xyz')).toBe(200);
  });

  it('if-none-match is not done a second time', async () => {
    const url = await sign({ IfNoneMatch: '*' }, ['if-none-match']);
    expect(await put(url, { 'if-none-match': '*' })).toBe(200);
    expect(await put(url, { 'if-none-match': '*' }, 'again')).toBe(412);
    const again = await sign({});
    expect([await put(again, {}), await put(again, {}, 'again')]).toEqual([200, 200]);
  });

  it('its MD5 takes no other body', async () => {
    const url = await sign({ ContentMD5: FIELDS.ContentMD5 }, ['content-md5']);
    expect(await put(url, { 'content-md5': FIELDS.ContentMD5 }, 'abd')).toBe(400);
    expect(await put(url, { 'content-md5': FIELDS.ContentMD5 })).toBe(200);
    // Ceph 16 knows no other checksum: the header must be sent as signed, and its body is not compared. AWS does.
    const sha256 = await sign({ ChecksumSHA256: FIELDS.ChecksumSHA256 }, ['checksum']);
    expect(await put(sha256, { 'x-amz-checksum-sha256': FIELDS.ChecksumSHA256 }, 'abd')).toBe(200);
  });

  it('all of it is stored as it was signed', async () => {
    const Key = fresh();
    const url = await sign(
      FIELDS,
      ['if-none-match', 'content-length', 'content-type', 'content-md5', 'checksum'],
      Key,
    );
    const headers = {
      'if-none-match': '*',
      'content-type': 'text/plain',
      'content-md5': FIELDS.ContentMD5,
      'x-amz-checksum-sha256': FIELDS.ChecksumSHA256,
    };
    for (const name of Object.keys(headers)) {
      const { [name as 'content-md5']: _gone, ...rest } = headers;
      expect(await put(url, rest), `without ${name}`).toBe(403);
    }
    expect(await put(url, headers)).toBe(200);
    const head = await own.raw.send(
      new RawHeadObjectCommand({ Bucket: own.bucket, Key: `tenants/acme/${Key}` }),
    );
    expect([head.ContentType, head.ContentLength]).toEqual(['text/plain', 3]);
  });

  it('nothing said is signed as the raw presigner signs it', async () => {
    const url = await sign(FIELDS);
    expect(signedHeaders(url)).toEqual(['content-length', 'content-md5', 'host', 'if-none-match']);
    expect(new URL(url).searchParams.get('x-amz-checksum-sha256')).toBe(FIELDS.ChecksumSHA256);
  });

  it('and with headers that were named besides', async () => {
    const command = new PutObjectCommand({
      Key: fresh(),
      ContentType: 'text/plain',
      CacheControl: 'no-store',
      Metadata: { a: 'b' },
    });
    const signableHeaders = new Set(['cache-control']);
    const unhoistableHeaders = new Set(['x-amz-meta-a']);
    const options = { signableHeaders, unhoistableHeaders, tenant: { sign: ['content-type'] } } as const;
    const url = await withTenant('acme', () => getSignedUrl(own.s3, command, options));
    expect(signedHeaders(url)).toEqual(['cache-control', 'content-type', 'host', 'x-amz-meta-a']);
    // The sets are the caller's: they stay as they were.
    expect([[...signableHeaders], [...unhoistableHeaders]]).toEqual([['cache-control'], ['x-amz-meta-a']]);
  });

  it('the same under acrossTenants', async () => {
    const command = new PutObjectCommand({ Bucket: own.bucket, Key: 'loose', ContentType: 'text/plain' });
    const url = await acrossTenants({ reason: 'test', actor: 'test' }, () =>
      getSignedUrl(own.s3, command, { tenant: { sign: ['content-type'] } }),
    );
    expect(await put(url, { 'content-type': 'text/html' })).toBe(403);
    expect(await put(url, { 'content-type': 'text/plain' })).toBe(200);
  });
});

describe('no URL is made', () => {
  it.each<[SignedPart, string]>([
    ['if-none-match', 'IfNoneMatch'],
    ['content-length', 'ContentLength'],
    ['content-type', 'ContentType'],
    ['content-md5', 'ContentMD5'],
    ['checksum', 'ChecksumSHA256'],
  ])('with a signed %s that the command does not have', async (part, field) => {
    await expect(sign({}, [part])).rejects.toThrow(OperationRefusedError);
    await expect(sign({}, [part])).rejects.toThrow(field);
    await expect(sign({ Body: BODY }, [part])).rejects.toThrow(field);
    await expect(sign(FIELDS, [part])).resolves.toContain('X-Amz-Signature');
    const read = withTenant('acme', () =>
      getSignedUrl(own.s3, new GetObjectCommand({ Key: 'one' }), { tenant: { sign: [part] } }),
    );
    await expect(read).rejects.toThrow(OperationRefusedError);
  });

  it('when a middleware takes the header away', async () => {
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    let taking = true;
    s3.middlewareStack.add(
      (next) => (args) => {
        if (taking) delete (args.request as { headers: Record<string, string> }).headers['if-none-match'];
        return next(args);
      },
      { step: 'build', priority: 'low' },
    );
    await expect(sign(FIELDS, ['if-none-match'], 'x', s3)).rejects.toThrow('taken away');
    taking = false;
    await expect(sign(FIELDS, ['if-none-match'], 'x', s3)).resolves.toContain('if-none-match');
    s3.destroy();
  });

  it.each([{ sign: ['host'] }, { sign: ['x-amz-acl'] }, { sign: 'content-type' }, { signed: [] }])(
    'with the option %o',
    async (tenant) => {
      const signing = withTenant('acme', () =>
        getSignedUrl(own.s3, new PutObjectCommand({ Key: 'x', ...FIELDS }), { tenant } as never),
      );
      await expect(signing).rejects.toThrow(ConfigError);
    },
  );
});
