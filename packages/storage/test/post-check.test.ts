import {
  createPresignedPost as rawCreatePresignedPost,
  type PresignedPost as RawPresignedPost,
  type PresignedPostOptions as RawPresignedPostOptions,
} from '@aws-sdk/s3-presigned-post';
import {
  CrossTenantError,
  OperationRefusedError,
  acrossTenants,
  currentTenant,
  withTenant,
} from '@tenantkit/core';
import { S3Client } from '@tenantkit/storage';
import {
  createPresignedPost,
  type PostCondition,
  type PresignedPost,
  type PresignedPostOptions,
} from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { send } from './forms.ts';
import { open, type Opened } from './open.ts';

// What signs a form, what it is given, and what it may answer.

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
const make = (options: object = {}, client: S3Client = own.s3): Promise<PresignedPost> =>
  withTenant('acme', () => createPresignedPost(client, { ...FORM, ...options }));

describe('the provider of the credentials', () => {
  it('is asked outside of any tenant', async () => {
    const asked: unknown[] = [];
    const credentials = () => {
      asked.push(currentTenant());
      return Promise.resolve(own.options.credentials);
    };
    const s3 = new S3Client({ ...own.options, credentials, tenant: { buckets: [own.bucket] } });
    expect((await send(await make({}, s3))).status).toBe(204);
    expect(asked).toEqual([undefined]);
  });
});

describe('what is read of the caller', () => {
  it('is read once', async () => {
    let asked = 0;
    const Fields = {
      get 'Content-Type'() {
        asked += 1;
        return asked === 1 ? 'text/plain' : { toString: () => 'text/html' };
      },
    };
    const condition = ['content-length-range', 0, 9];
    const Conditions = [Object.assign(condition, { toJSON: () => ['starts-with', '$key', ''] })] as unknown;
    const { fields } = await make({ Fields, Conditions });
    expect([asked, fields['Content-Type']]).toEqual([1, 'text/plain']);
    expect(Buffer.from(fields['Policy'] ?? '', 'base64').toString()).not.toContain('starts-with');
  });
});

describe('a client whose own code signs something else', () => {
  it.each<[string, (policy: { expiration: string; conditions: PostCondition[] }) => void]>([
    ['for any key', (policy) => void policy.conditions.push(['starts-with', '$key', ''])],
    ['without its key', (policy) => void policy.conditions.pop()],
    ['for longer', (policy) => void (policy.expiration = '2099-01-01T00:00:00Z')],
  ])('%s gets no form', async (_what, change) => {
    const base64Encoder = (given: Uint8Array | string): string => {
      const policy = JSON.parse(Buffer.from(given).toString()) as {
        expiration: string;
        conditions: PostCondition[];
      };
      if (changing) change(policy);
      return Buffer.from(JSON.stringify(policy)).toString('base64');
    };
    let changing = true;
    const s3 = new S3Client({ ...own.options, base64Encoder, tenant: { buckets: [own.bucket] } });
    await expect(make({}, s3)).rejects.toThrow(CrossTenantError);
    changing = false;
    expect((await send(await make({}, s3))).status).toBe(204);
  });
});

describe('the raw library, given the guarded client', () => {
  const raw = () => rawCreatePresignedPost(own.s3, { Bucket: own.bucket, Key: 'tenants/acme2/one' });

  it('is refused the credentials', async () => {
    await expect(withTenant('acme', raw)).rejects.toThrow('could sign a request to any key');
    await expect(raw()).rejects.toThrow(OperationRefusedError);
  });

  it('signs raw names under acrossTenants, as ours does', async () => {
    const lifted = <T>(run: () => Promise<T>): Promise<T> =>
      acrossTenants({ reason: 'test', actor: 'test' }, run);
    expect((await send(await lifted(raw))).status).toBe(204);
    const form = await lifted(() =>
      createPresignedPost(own.s3, { Bucket: own.bucket, Key: 'tenants/acme2/one' }),
    );
    expect(form.fields['key']).toBe('tenants/acme2/one');
    expect((await send(form)).status).toBe(204);
  });
});

it('takes the options and gives the result of the raw library, by their types too', async () => {
  const options: RawPresignedPostOptions = {
    Bucket: own.bucket,
    Key: 'one',
    Fields: { acl: 'private' },
    Conditions: [
      { bucket: own.bucket },
      ['eq', '$key', 'one'],
      ['starts-with', '$Content-Type', 'text/'],
      ['content-length-range', 0, 100],
    ],
    Expires: 60,
  };
  const form: RawPresignedPost = await withTenant('acme', () => createPresignedPost(own.s3, options));
  const raw = await rawCreatePresignedPost(own.raw, options);
  expect(form.url).toBe(raw.url);
  expect(Object.keys(form.fields)).toEqual(Object.keys(raw.fields));
});
