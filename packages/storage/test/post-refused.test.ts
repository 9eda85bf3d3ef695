import {
  ConfigError,
  MissingTenantError,
  OperationRefusedError,
  TenantFencedError,
  createTenantRegistry,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { S3Client } from '@tenantkit/storage';
import {
  createPresignedPost,
  type PresignedPost,
  type PresignedPostOptions,
} from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { send } from './forms.ts';
import { open, type Opened } from './open.ts';

// Forms that are not made at all.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

const FORM = {
  Key: 'one',
  Fields: { 'Content-Type': 'text/plain' },
  Conditions: [['content-length-range', 0, 100]],
} as const satisfies PresignedPostOptions;
const make = (options: object = {}, client: S3Client = own.s3, tenant = 'acme'): Promise<PresignedPost> =>
  withTenant(tenant, () => createPresignedPost(client, { ...FORM, ...options }));
const withField = (name: string, value: unknown): object => ({ Fields: { ...FORM.Fields, [name]: value } });
const withCondition = (condition: unknown): object => ({ Conditions: [...FORM.Conditions, condition] });

describe('no form is made', () => {
  const refused = async (options: object, words: string | RegExp): Promise<'refused'> => {
    const making = make(options);
    await expect(making).rejects.toThrow(OperationRefusedError);
    await expect(making).rejects.toThrow(words);
    await expect(make()).resolves.toHaveProperty('fields.key', 'tenants/acme/one');
    return 'refused';
  };

  it.each<[unknown, string]>([
    [undefined, 'Key is missing'],
    ['', 'empty'],
    ['../acme2/one', '".."'],
    ['a/%2e%2e/acme2', 'decodes or folds'],
    ['/one', 'leading slash'],
    ['a\\b', 'backslash'],
    ['a\u0001', 'control'],
    ['${filename}', 'variable'],
    ['up/${filename}', 'variable'],
    ['${filename}/one', 'variable'],
    ['up/${FileName}.png', 'variable'],
    ['up/${anything', 'variable'],
    [{ toString: () => 'one' }, 'not a text'],
  ])('of the key %o', async (Key, words) => {
    expect(await refused({ Key }, words)).toBe('refused');
  });

  it.each<[string, unknown, string]>([
    ['key', 'tenants/acme2/one', 'the option Key'],
    ['KEY', 'one', 'the option Key'],
    ['bucket', 'x', 'the option Bucket'],
    ['file', 'x', 'adds the file'],
    ['acl', 'public-read', 'not accepted'],
    ['acl', 'authenticated-read', 'not accepted'],
    ['ACL', 'private ', 'not accepted'],
    ['x-amz-acl', 'private', 'a grant opens'],
    ['x-amz-grant-read', 'id=1', 'a grant opens'],
    ['tagging', '<Tagging/>', 'tags as XML'],
    ['x-amz-tagging', 'a=b', 'tags as XML'],
    ['x-amz-website-redirect-location', '/x', 'a website redirect can lead'],
    ['x-amz-server-side-encryption', 'aws:kms', 'not accepted'],
    ['x-amz-server-side-encryption-aws-kms-key-id', 'k', 'KMS key'],
    ['x-amz-server-side-encryption-context', 'e30=', 'KMS key'],
    ['x-amz-object-lock-mode', 'COMPLIANCE', 'keep the object from being erased'],
    ['x-amz-object-lock-legal-hold', 'ON', 'keep the object from being erased'],
    ['success_action_redirect', 'https://example.com', 'bucket and physical key'],
    ['redirect', 'https://example.com', 'bucket and physical key'],
    ['success_action_status', '301', 'not accepted'],
    ['x-amz-meta-tk-subject', 'ann', 'belong to tenantkit'],
    ['x-amz-meta-tk_subject', 'ann', 'belong to tenantkit'],
    ['X-Amz-Meta-TK-subject', 'ann', 'belong to tenantkit'],
    ['x-amz-meta-', 'x', 'nobody has decided'],
    ['x-amz-copy-source', '/uploads/tenants/acme2/one', 'nobody has decided'],
    ['policy', 'e30=', 'the signature sets it'],
    ['Policy', 'e30=', 'the signature sets it'],
    ['X-Amz-Signature', 'a'.repeat(64), 'the signature sets it'],
    ['x-amz-credential', 'x', 'the signature sets it'],
    ['x-amz-date', 'x', 'the signature sets it'],
    ['X-Amz-Algorithm', 'x', 'the signature sets it'],
    ['x-amz-security-token', 'x', 'the signature sets it'],
    ['AWSAccessKeyId', 'x', 'the signature sets it'],
    ['x-ignore-this', 'x', 'nobody has decided'],
    ['content-type', 'text/html', 'given twice'],
    ['constructor', 'x', 'nobody has decided'],
    ['Cache-Control', 'a\r\nb', 'control character'],
    ['x-amz-meta-name', '${filename}', 'variable'],
    ['x-amz-meta-name', { toString: () => 'x' }, 'not a text'],
  ])('with the field %s: %o', async (name, value, words) => {
    expect(await refused(withField(name, value), words)).toBe('refused');
  });

  it.each<[unknown, string]>([
    [['starts-with', '$key', ''], 'leaves key open'],
    [['starts-with', '$Key', 'tenants/acme/'], 'leaves Key open'],
    [['eq', '$key', 'two'], 'names another key'],
    [['eq', '$KEY', 'tenants/acme2/one'], 'names another key'],
    [{ key: 'tenants/acme/one' }, 'names another key'],
    [{ bucket: 'another' }, 'names another bucket'],
    [['starts-with', '$bucket', ''], 'leaves bucket open'],
    [['starts-with', '$acl', ''], 'leaves acl open'],
    [['starts-with', '$acl', 'private'], 'leaves acl open'],
    [{ acl: 'public-read' }, 'not accepted'],
    [{ acl: 'private', tagging: 'x' }, 'tags as XML'],
    [['eq', '$x-amz-meta-tk-a', 'b'], 'belong to tenantkit'],
    [['starts-with', '$x-amz-meta-tk-', ''], 'belong to tenantkit'],
    [['starts-with', '$x-amz-meta-', ''], 'nobody has decided'],
    [['starts-with', '$x-amz-copy-source', ''], 'nobody has decided'],
    [['starts-with', '$success_action_redirect', ''], 'bucket and physical key'],
    [['starts-with', '$x-amz-security-token', ''], 'the signature sets it'],
    [['starts-with', '$Content-Type', ''], 'any type'],
    [['starts-with', '$Content-Type', '${x}'], 'variable'],
    [['starts-with', 'Content-Type', 'a'], 'a condition that is none'],
    [['matches', '$Content-Type', 'a'], 'a condition that is none'],
    [['eq', '$Content-Type', 'a', 'b'], 'a condition that is none'],
    [['eq', '$Content-Type'], 'not a text'],
    [['content-length-range', '0', '9'], 'no two numbers'],
    [['content-length-range', -1, 9], 'no two numbers'],
    [['content-length-range', 9, 1], 'no two numbers'],
    [['content-length-range', 0, 5 * 1024 ** 3 + 1], 'no two numbers'],
    [['content-length-range', 0, Infinity], 'no two numbers'],
    [['content-length-range', 0], 'no two numbers'],
    ['content-length-range', 'a condition that is none'],
    [null, 'a condition that is none'],
  ])('with the condition %o', async (condition, words) => {
    expect(await refused(withCondition(condition), words)).toBe('refused');
  });

  it('without a length or a type, unless that is said', async () => {
    await refused({ Conditions: [] }, 'any length');
    await refused({ Conditions: undefined }, 'any length');
    await refused({ Fields: {} }, 'any type');
    await refused({ Fields: { 'Content-Type': '' } }, 'not accepted');
    const open = { Fields: {}, Conditions: [], tenant: { anyLength: true, anyType: true } };
    expect(await send(await make(open), () => ({ file: 'x'.repeat(200) }))).toHaveProperty('status', 204);
    await refused({ Conditions: [], tenant: { anyType: true } }, 'any length');
    await refused({ Fields: {}, tenant: { anyLength: true } }, 'any type');
  });

  it('that lives longer than the client allows', async () => {
    await refused({ Expires: 901 }, 'at most 900 seconds');
    const life = async (options: object, maxExpiresIn: number): Promise<number> => {
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket], maxExpiresIn } });
      const { fields } = await make(options, s3);
      const policy = JSON.parse(Buffer.from(fields['Policy'] ?? '', 'base64').toString()) as {
        expiration: string;
      };
      return Math.ceil((Date.parse(policy.expiration) - Date.now()) / 1000);
    };
    const near = (seconds: number): number[] => [seconds - 2, seconds - 1, seconds];
    expect(near(60)).toContain(await life({}, 60));
    expect(near(3600)).toContain(await life({}, 7200));
    expect(near(7200)).toContain(await life({ Expires: 7200 }, 7200));
    // The clock's correction, which anybody may set, does not count.
    own.s3.config.systemClockOffset = 86_400_000;
    const { fields } = await make();
    expect(fields['X-Amz-Date']?.slice(0, 8)).toBe(new Date().toISOString().slice(0, 10).replaceAll('-', ''));
    own.s3.config.systemClockOffset = 0;
  });

  it.each<[string, object]>([
    ['Expires', { Expires: 0 }],
    ['Expires', { Expires: 1.5 }],
    ['Expires', { Expires: '60' }],
    ['Fields', { Fields: 'x' }],
    ['Conditions', { Conditions: { 0: ['eq'] } }],
    ['anyKey', { tenant: { anyKey: true } }],
    ['Body', { Body: 'x' }],
  ])('with the option %s in %o', async (name, options) => {
    await expect(make(options)).rejects.toThrow(ConfigError);
    await expect(make(options)).rejects.toThrow(name);
  });

  it('in a bucket that is not accepted, outside of a tenant, or with a raw client', async () => {
    await refused({ Bucket: 'another-one' }, 'not an accepted bucket');
    await refused({ Bucket: 'arn:aws:s3:::uploads' }, 'not an accepted bucket');
    await expect(createPresignedPost(own.s3, FORM)).rejects.toThrow(MissingTenantError);
    await expect(withTenant('acme', () => createPresignedPost(own.raw as never, FORM))).rejects.toThrow(
      ConfigError,
    );
  });

  it('for a tenant that is frozen', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket], fence } });
    await expect(make({}, s3)).resolves.toHaveProperty('fields.key', 'tenants/acme/one');
    await fence.freeze('acme');
    await expect(make({}, s3)).rejects.toThrow(TenantFencedError);
    await expect(make({}, s3, 'acme2')).resolves.toHaveProperty('fields.key', 'tenants/acme2/one');
    fence.close();
  });
});
