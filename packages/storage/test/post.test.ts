import {
  DeleteObjectCommand as RawDeleteObjectCommand,
  GetObjectAclCommand,
  HeadObjectCommand as RawHeadObjectCommand,
  ListObjectsV2Command as RawListObjectsV2Command,
  PutObjectCommand as RawPutObjectCommand,
} from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import {
  createPresignedPost,
  type PresignedPost,
  type PresignedPostOptions,
} from '@tenantkit/storage/presign';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { add, drop, repolicy, send, set, type Sending } from './forms.ts';
import { open, type Opened } from './open.ts';

// What the server makes of a form, and of one that somebody has changed.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const tenant of TENANTS) await seed(`tenants/${tenant}/one`, `of ${tenant}`);
});

const TENANTS = ['acme', 'acme2'] as const;
const FORM: PresignedPostOptions = {
  Key: 'one',
  Fields: { 'Content-Type': 'text/plain' },
  Conditions: [['content-length-range', 2, 8]],
};

/** Values that would do something; of the other fields any would. */
const ADDED: Record<string, string> = {
  acl: 'public-read',
  'x-amz-acl': 'public-read',
  'x-amz-copy-source': '/uploads/tenants/acme2/one',
  'x-amz-storage-class': 'STANDARD',
};

const seed = (Key: string, Body: string): Promise<unknown> =>
  own.raw.send(new RawPutObjectCommand({ Bucket: own.bucket, Key, Body }));
const make = (options: Partial<PresignedPostOptions> = {}, tenant = 'acme'): Promise<PresignedPost> =>
  withTenant(tenant, () => createPresignedPost(own.s3, { ...FORM, ...options }));

/** Every object of the bucket, with what it holds. */
async function objects(): Promise<Record<string, string>> {
  const { Contents = [] } = await own.raw.send(new RawListObjectsV2Command({ Bucket: own.bucket }));
  const found: Record<string, string> = {};
  for (const { Key = '' } of Contents) {
    const { ETag } = await own.raw.send(new RawHeadObjectCommand({ Bucket: own.bucket, Key }));
    found[Key] = ETag ?? '';
  }
  return found;
}

describe('a presigned form', () => {
  it('writes the tenant’s own object, without a tenant and without credentials, as often as it is sent', async () => {
    for (const tenant of TENANTS) {
      const before = await objects();
      const form = await make({}, tenant);
      const key = `tenants/${tenant}/one`;
      expect(form.fields['key']).toBe(key);
      expect((await send(form)).status).toBe(204);
      const { ContentType, ContentLength } = await own.raw.send(
        new RawHeadObjectCommand({ Bucket: own.bucket, Key: key }),
      );
      expect([ContentType, ContentLength]).toEqual(['text/plain', 6]);
      expect((await send(form, () => ({ file: 'again' }))).status).toBe(204);
      const after = await objects();
      expect(after[key]).not.toBe(before[key]);
      expect({ ...after, [key]: '' }).toEqual({ ...before, [key]: '' });
    }
  });

  it.each([
    'a b/ü+%.txt',
    'with "quotes" and $ and {}',
    '$key',
    '{filename}',
    'folder/',
    'e\u0301'.normalize('NFC'),
  ])('writes the key %j as it is', async (Key) => {
    const before = await objects();
    expect((await send(await make({ Key }))).status).toBe(204);
    expect(Object.keys(await objects()).sort()).toEqual(
      [...Object.keys(before), `tenants/acme/${Key}`].sort(),
    );
    await own.raw.send(new RawDeleteObjectCommand({ Bucket: own.bucket, Key: `tenants/acme/${Key}` }));
  });

  it('answers 201 with the physical key, and takes the fields that are listed', async () => {
    const form = await make({
      Fields: {
        acl: 'private',
        'Cache-Control': 'no-store',
        'Content-Disposition': 'attachment; filename="a.txt"',
        'Content-Encoding': 'identity',
        Expires: 'Wed, 21 Oct 2026 07:28:00 GMT',
        'Content-Type': 'text/plain',
        success_action_status: '201',
        'x-amz-meta-from': 'form',
        'x-amz-storage-class': 'STANDARD',
        'x-amz-server-side-encryption': 'AES256',
        'x-amz-checksum-sha256': 'ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=',
      },
    });
    const { status, text } = await send(form, () => ({ file: 'abc' }));
    expect([status, text]).toEqual([201, expect.stringContaining('<Key>tenants/acme/one</Key>')]);
    const head = await own.raw.send(
      new RawHeadObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/one' }),
    );
    expect(head.Metadata).toEqual({ from: 'form' });
    // Ceph passes over the other headers of a form, and does not compare a checksum; AWS does both.
    expect(head.ContentType).toBe('text/plain');
  });

  it('takes what a condition leaves open, and nothing else', async () => {
    const form = await make({
      Fields: {},
      Conditions: [
        ['content-length-range', 0, 100],
        ['starts-with', '$Content-Type', 'image/'],
        ['starts-with', '$x-amz-meta-title', ''],
        { bucket: own.bucket },
        ['eq', '$key', 'one'],
      ],
    });
    const withFields = (...more: [string, string][]) =>
      send(form, ({ fields }) => ({ fields: [...fields, ...more] }));
    const png: [string, string] = ['Content-Type', 'image/png'];
    const title: [string, string] = ['x-amz-meta-title', 'anything'];
    expect((await withFields(png, title)).status).toBe(204);
    expect((await withFields(['Content-Type', 'text/html'], title)).status).toBe(403);
    expect((await withFields(title)).status).toBe(403);
    expect((await withFields(png, title, ['x-amz-meta-more', 'x'])).status).toBe(403);
  });

  it.each<[string, number, (sending: Sending) => Partial<Sending>]>([
    ['the key to one of another tenant', 403, set('key', 'tenants/acme2/one')],
    ['the key to another of the tenant', 403, set('key', 'tenants/acme/two')],
    ['the key to one that resolves elsewhere', 403, set('key', 'tenants/acme/../acme2/one')],
    ['the key to one with an encoded ..', 403, set('key', 'tenants/acme/%2e%2e/acme2/one')],
    ['the case of the key', 403, set('key', 'tenants/ACME/one')],
    [
      'the key to the file’s name',
      403,
      (s) => ({ ...set('key', '${filename}')(s), name: 'tenants/acme2/one' }),
    ],
    ['the key, by a second one behind it', 403, add('key', 'tenants/acme2/one')],
    ['the key, by one of another case behind it', 403, add('Key', 'tenants/acme2/one')],
    ['nothing but the key, which is missing', 400, drop('key')],
    ['the policy’s key', 403, (s) => ({ ...repolicy((policy) => policy.conditions.push({ key: 'x' }))(s) })],
    ['the policy to an empty one', 403, repolicy((policy) => void (policy.conditions = []))],
    ['the expiration', 403, repolicy((policy) => void (policy.expiration = '2099-01-01T00:00:00Z'))],
    ['the signature', 403, set('X-Amz-Signature', 'a'.repeat(64))],
    ['the signature’s date', 403, set('X-Amz-Date', '20990101T000000Z')],
    ['the signature’s credential', 403, set('X-Amz-Credential', 'AK/20261121/us-east-1/s3/aws4_request')],
    ['the type', 403, set('Content-Type', 'text/html')],
    ['the type by leaving it out', 403, drop('Content-Type')],
    ['the length to a greater one', 400, () => ({ file: 'more than 8' })],
    ['the length to a lesser one', 400, () => ({ file: 'x' })],
    ...[
      'acl',
      'x-amz-acl',
      'x-amz-grant-read',
      'x-amz-copy-source',
      'x-amz-meta-a',
      'x-amz-tagging',
      'tagging',
    ]
      .concat(
        'x-amz-website-redirect-location',
        'success_action_redirect',
        'redirect',
        'success_action_status',
      )
      .concat('x-amz-storage-class', 'x-amz-object-lock-mode', 'Cache-Control', 'versionId', 'uploadId')
      .map((name): [string, number, (sending: Sending) => Partial<Sending>] => [
        `the field ${name}, by adding it`,
        403,
        add(name, ADDED[name] ?? 'x'),
      ]),
  ])('is refused by the server when somebody changes %s', async (_what, status, change) => {
    const before = await objects();
    const form = await make();
    expect((await send(form, change)).status).toBe(status);
    expect(await objects()).toEqual(before);
    expect((await send(form)).status).toBe(204);
  });

  it('is refused in another bucket', async () => {
    await using other = await open();
    const form = await make();
    const url = form.url.replace(own.bucket, other.bucket);
    const elsewhere = (sending: Sending): Partial<Sending> => ({
      ...set('bucket', other.bucket)(sending),
      url,
    });
    expect((await send(form, () => ({ url }))).status).toBe(403);
    expect((await send(form, elsewhere)).status).toBe(403);
    expect((await send(form)).status).toBe(204);
  });

  it('is refused when it has expired', async () => {
    const form = await make({ Expires: 1 });
    // The server reads whole seconds: it must be behind the one of the expiration.
    await expect.poll(async () => (await send(form)).status, { timeout: 10_000, interval: 300 }).toBe(403);
    expect((await send(await make({ Expires: 60 }))).status).toBe(204);
  });

  it.each<[string, string, Record<string, string>, string?]>([
    ['a path', '/tenants/acme2/one', {}],
    ['a path with ..', '/tenants/acme/..%2facme2/one', {}],
    ['a parameter key', '?key=tenants/acme2/one', {}],
    ['a parameter of an ACL', '?x-amz-acl=public-read', {}],
    ['the sub-resource acl', '?acl', {}],
    ['the sub-resource delete', '?delete', {}],
    ['the sub-resource uploads', '?uploads', {}],
    ['a header of an ACL', '', { 'x-amz-acl': 'public-read' }],
    [
      'a header of a grant',
      '',
      { 'x-amz-grant-read': 'uri="http://acs.amazonaws.com/groups/global/AllUsers"' },
    ],
    ['a header of a source', '', { 'x-amz-copy-source': 'BUCKET/tenants/acme2/one' }],
    ['a header of metadata', '', { 'x-amz-meta-tk-a': 'b' }],
    ['a header of a method', '', { 'x-http-method-override': 'DELETE' }],
    ['a header of a website', '', { 'x-amz-website-redirect-location': '/tenants/acme2/one' }],
    // Ceph takes the bucket from the address alone.
    ['another bucket in the field of that name', '', {}, 'bucket'],
    ['a field that the signature passes over', '', {}, 'x-ignore-this'],
  ])('with %s does what it does without it, or nothing', async (_what, end, headers, field = 'x-ignore') => {
    const before = await objects();
    const form = await make();
    const named = Object.entries(headers).map(([name, value]) => [name, value.replace('BUCKET', own.bucket)]);
    const { status } = await send(form, ({ url, fields }) => ({
      url: url + end,
      fields: [...fields.filter(([name]) => name !== field), [field, 'another']],
      headers: Object.fromEntries(named) as Record<string, string>,
    }));
    const after = await objects();
    const at = { Bucket: own.bucket, Key: 'tenants/acme/one' };
    const { Grants } = await own.raw.send(new GetObjectAclCommand(at));
    const head = await own.raw.send(new RawHeadObjectCommand(at));
    expect([Grants?.length, head.Metadata, head.WebsiteRedirectLocation]).toEqual([1, {}, undefined]);
    // Either refused, or the very object that the form names, with what was posted.
    const posted = '"c0e34cbf057062549f3a31a4418c9958"';
    expect([200, 204, 403, 405]).toContain(status);
    expect({ ...after, [at.Key]: '' }).toEqual({ ...before, [at.Key]: '' });
    expect(after[at.Key]).toBe(status < 300 ? posted : before[at.Key]);
  });
});
