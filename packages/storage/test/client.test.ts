import { Readable } from 'node:stream';
import {
  GetObjectCommand as RawGetObjectCommand,
  ListObjectsV2Command as RawListObjectsV2Command,
  PutObjectCommand as RawPutObjectCommand,
  S3Client as RawS3Client,
  type S3ServiceException,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import {
  ConfigError,
  MissingTenantError,
  OperationRefusedError,
  SignatureError,
  TenantFencedError,
  acrossTenants,
  auditChannels,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type AuditEvent,
} from '@tenantkit/core';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3,
  S3Client,
  paginateListObjectsV2,
  waitUntilBucketExists,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
  type S3ClientConfig,
} from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { altered } from './attack.ts';
import { countRequests, open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';
import type { Feature } from './servers/table.ts';

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

const put = (key: string, body: string): Promise<unknown> =>
  own.s3.send(new PutObjectCommand({ Key: key, Body: body }));
const get = async (key: string): Promise<string | undefined> =>
  (await own.s3.send(new GetObjectCommand({ Key: key }))).Body?.transformToString();
const rawGet = async (key: string): Promise<string | undefined> =>
  (await own.raw.send(new RawGetObjectCommand({ Bucket: own.bucket, Key: key }))).Body?.transformToString();

describe('a command inside a tenant', () => {
  it('works on the key of that tenant, as the raw client sees it', async () => {
    for (const tenant of TENANTS) await withTenant(tenant, () => put('same/one.txt', `of ${tenant}`));
    for (const tenant of TENANTS) {
      expect(await withTenant(tenant, () => get('same/one.txt'))).toBe(`of ${tenant}`);
      expect(await rawGet(`tenants/${tenant}/same/one.txt`)).toBe(`of ${tenant}`);
    }
  });

  const names: readonly [key: string, ...features: Feature[]][] = [
    ["a b+%é'()!*~=&?#.txt", 'reservedInSources'],
    ['a%2Fb'],
    ['a..b/.../c'],
    ['folder/'],
    ['👩‍👩‍👧 ½ ﬁ'],
    ['a;b:c@d,e$f[g]{h}|i^j`k"l<m>n', 'reservedInSources'],
    ['+', 'reservedInSources'],
    [' leading and trailing '],
    [`${'é'.repeat(500)}x`, 'longNames'],
  ];
  for (const [key, ...features] of names) {
    needs(...features).it(`stores and gives back ${JSON.stringify(key)} bit for bit`, async () => {
      await withTenant('acme', async () => {
        await put(key, key);
        expect(await get(key)).toBe(key);
        await own.s3.send(
          new CopyObjectCommand({ Key: 'copy', CopySource: `${own.bucket}/${encodeURIComponent(key)}` }),
        );
        expect(await get('copy')).toBe(key);
        const { Contents = [] } = await own.s3.send(new ListObjectsV2Command({ Prefix: key }));
        expect(Contents.map(({ Key }) => Key)).toContain(key);
      });
      expect(await rawGet(`tenants/acme/${key}`)).toBe(key);
    });
  }

  it('leaves the caller’s command as it was, so that it can be sent in several tenants at once', async () => {
    const input = Object.freeze({ Bucket: own.bucket, Key: 'reused' });
    for (const tenant of TENANTS) await withTenant(tenant, () => put('reused', tenant));
    const command = new RawGetObjectCommand(input);
    const rounds = [...TENANTS, ...TENANTS, ...TENANTS];
    const bodies = await Promise.all(
      rounds.map((tenant) =>
        withTenant(tenant, async () => (await own.s3.send(command)).Body?.transformToString()),
      ),
    );
    expect(bodies).toEqual(rounds);
    expect(command.input).toBe(input);
  });

  it('gives the body as the stream that the SDK made, readable after the tenant was left', async () => {
    const { Body } = await withTenant('acme', async () => {
      await put('stream', 'x'.repeat(100_000));
      return own.s3.send(new GetObjectCommand({ Key: 'stream' }));
    });
    expect((await Body?.transformToByteArray())?.length).toBe(100_000);
  });

  it('is refused without a tenant before the first request', async () => {
    const before = own.sent();
    await expect(get('same/one.txt')).rejects.toThrow(MissingTenantError);
    await expect(own.s3.send(new ListBucketsCommand({}))).rejects.toThrow(MissingTenantError);
    expect(own.sent()).toBe(before);
    await withTenant('acme', () => put('same/one.txt', 'of acme'));
    expect(own.sent()).toBe(before + 1);
  });

  it('passes under acrossTenants with raw names, every command', async () => {
    const { Buckets = [], text } = await acrossTenants({ reason: 'test', actor: 'test' }, async () => ({
      ...(await own.s3.send(new ListBucketsCommand({}))),
      text: await get('tenants/acme/same/one.txt').catch(() => 'no bucket given'),
    }));
    expect(Buckets.map(({ Name }) => Name)).toContain(own.bucket);
    expect(text).toBe('no bucket given');
    const { Body } = await acrossTenants({ reason: 'test', actor: 'test' }, () =>
      own.s3.send(new GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/same/one.txt' })),
    );
    expect(await Body?.transformToString()).toBe('of acme');
  });

  it('is refused for a frozen tenant, before the first request', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const fenced = new S3Client({ ...own.options, tenant: { buckets: [own.bucket], fence } });
    const sent = countRequests(fenced);
    const write = (tenant: string): Promise<unknown> =>
      withTenant(tenant, () => fenced.send(new PutObjectCommand({ Key: 'fenced', Body: 'x' })));
    await write('acme');
    await fence.freeze('acme');
    await expect(write('acme')).rejects.toThrow(TenantFencedError);
    expect(sent()).toBe(1);
    await write('acme2');
    fence.close();
    fenced.destroy();
  });
});

describe('a reply', () => {
  // What each call answers is compared with what the raw client answers for the same keys in a bucket of their own.
  const seed = ['a.txt', 'a/b.txt', 'a/c d+e%.txt', 'b/x', 'é', 'z'];
  let plain: Opened;
  beforeAll(async () => {
    plain = await open();
    for (const key of seed) {
      const object = { Key: key, Body: key, Metadata: { name: 'x' }, ContentType: 'text/plain' };
      await plain.raw.send(new RawPutObjectCommand({ ...object, Bucket: plain.bucket }));
      for (const tenant of ['replies', 'replies2', 'repl'] as const) {
        await withTenant(tenant, () => own.s3.send(new PutObjectCommand(object)));
      }
    }
  });
  afterAll(() => plain[Symbol.asyncDispose]());

  const both = async (name: string, input: Record<string, unknown>) => {
    const commands = {
      PutObjectCommand,
      GetObjectCommand,
      HeadObjectCommand,
      DeleteObjectCommand,
      CopyObjectCommand,
      ListObjectsV2Command,
    };
    const Command = commands[name as keyof typeof commands] as typeof RawListObjectsV2Command;
    const on = (bucket: string) =>
      new Command(
        JSON.parse(JSON.stringify({ ...input, Bucket: bucket }).replaceAll('BUCKET', bucket)) as never,
      );
    const [ours, raws] = [
      await settle(() => withTenant('replies', () => own.s3.send(on(own.bucket)))),
      await settle(() => plain.raw.send(on(plain.bucket))),
    ];
    return { ours: await normal(ours, own.bucket), raws: await normal(raws, plain.bucket) };
  };

  it.each<[string, Record<string, unknown>]>([
    ['PutObjectCommand', { Key: 'new', Body: 'x', Metadata: { a: 'b' } }],
    ['PutObjectCommand', { Key: 'new', Body: 'x', ContentMD5: 'AAAA' }],
    ['GetObjectCommand', { Key: 'a/b.txt' }],
    ['GetObjectCommand', { Key: 'a/b.txt', Range: 'bytes=0-1' }],
    ['GetObjectCommand', { Key: 'a/b.txt', ResponseContentType: 'x/y', ResponseCacheControl: 'no-store' }],
    ['GetObjectCommand', { Key: 'none' }],
    ['GetObjectCommand', { Key: 'a/b.txt', IfMatch: '"x"' }],
    ['GetObjectCommand', { Key: 'a/b.txt', Range: 'bytes=1000-' }],
    ['HeadObjectCommand', { Key: 'a/b.txt' }],
    ['HeadObjectCommand', { Key: 'none' }],
    [
      'CopyObjectCommand',
      { Key: 'copied', CopySource: '/BUCKET/a/b.txt', MetadataDirective: 'REPLACE', Metadata: { n: '1' } },
    ],
    ['CopyObjectCommand', { Key: 'copied', CopySource: 'BUCKET/none' }],
    ['DeleteObjectCommand', { Key: 'copied' }],
    ['DeleteObjectCommand', { Key: 'new' }],
    ['DeleteObjectCommand', { Key: 'none' }],
    ['ListObjectsV2Command', {}],
    ['ListObjectsV2Command', { Prefix: 'a' }],
    ['ListObjectsV2Command', { Prefix: 'a/', Delimiter: '/' }],
    ['ListObjectsV2Command', { Delimiter: '/' }],
    ['ListObjectsV2Command', { Delimiter: '/', EncodingType: 'url' }],
    ['ListObjectsV2Command', { EncodingType: 'url', Prefix: 'a/c d' }],
    ['ListObjectsV2Command', { Delimiter: 't' }],
    ['ListObjectsV2Command', { StartAfter: 'a/b.txt' }],
    ['ListObjectsV2Command', { StartAfter: 'b', Prefix: 'b', FetchOwner: true }],
    ['ListObjectsV2Command', { Prefix: 'none' }],
    ['ListObjectsV2Command', { MaxKeys: 0 }],
    ['ListObjectsV2Command', { MaxKeys: 2, Delimiter: '/' }],
  ])('of %s %j is what the raw client answers', async (name, input) => {
    const { ours, raws } = await both(name, input);
    expect(ours).toEqual(raws);
  });

  needs('reservedInSources').it(
    'of a copy whose source is encoded is what the raw client answers',
    async () => {
      const { ours, raws } = await both('CopyObjectCommand', {
        Key: 'copied',
        CopySource: 'BUCKET/a%2Fb.txt',
      });
      expect(ours).toEqual(raws);
    },
  );

  it('of a listing in pages is what the raw client answers, page by page', async () => {
    const pages = async (client: RawS3Client, bucket: string): Promise<unknown[]> => {
      const found: unknown[] = [];
      const input = { Bucket: bucket, Delimiter: '/' };
      for await (const page of paginateListObjectsV2({ client, pageSize: 2 }, input)) {
        found.push(await normal({ value: page }, bucket));
      }
      return found;
    };
    const ours = await withTenant('replies', () => pages(own.s3, own.bucket));
    const raws = await pages(plain.raw, plain.bucket);
    expect(ours.length).toBeGreaterThan(1);
    expect(ours).toEqual(raws);
  });
});

describe('a continuation token', () => {
  const list = (input: Record<string, unknown> = {}, client = own.s3) =>
    client.send(new ListObjectsV2Command({ MaxKeys: 1, ...input }));
  let token: string;
  beforeAll(async () => {
    for (const tenant of ['acme', 'acme2']) {
      await withTenant(tenant, async () => {
        for (const key of ['page/1', 'page/2', 'page/3']) await put(key, 'x');
      });
    }
    const { NextContinuationToken } = await withTenant('acme', () => list({ Prefix: 'page/' }));
    token = NextContinuationToken ?? '';
  });

  it('goes on where the listing ended and is repeated in the reply as it was given', async () => {
    const page = await withTenant('acme', () => list({ Prefix: 'page/', ContinuationToken: token }));
    expect(page.Contents?.map(({ Key }) => Key)).toEqual(['page/2']);
    expect(page.ContinuationToken).toBe(token);
    expect(token).not.toContain('page');
  });

  it('is refused in every other place with one and the same answer, before the first request', async () => {
    const other = await open();
    const twoBuckets = new S3Client({ ...own.options, tenant: { buckets: [own.bucket, other.bucket] } });
    const restarted = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    const before = own.sent();
    const given = { Prefix: 'page/', ContinuationToken: token };
    const refusals = [
      () => withTenant('acme2', () => list(given)),
      () => withTenant('acme', () => list({ ...given, Prefix: 'page' })),
      () => withTenant('acme', () => list({ ContinuationToken: token })),
      () => withTenant('acme', () => list({ ...given, Bucket: other.bucket }, twoBuckets)),
      () => withTenant('acme', () => list({ ...given, ContinuationToken: 'never was one' })),
      () => withTenant('acme', () => list({ ...given, ContinuationToken: 'tenants/acme/page/1' })),
      () => withTenant('acme', () => list({ ...given, ContinuationToken: '' })),
      () => withTenant('acme', () => list({ ...given, ContinuationToken: altered(token) })),
      () => withTenant('acme', () => list(given, restarted)),
    ];
    const errors = await Promise.all(refusals.map((call) => call().then(String, (error: unknown) => error)));
    for (const error of errors) expect(error).toBeInstanceOf(SignatureError);
    expect(new Set(errors.map(String)).size).toBe(1);
    expect(own.sent()).toBe(before);
    for (const client of [twoBuckets, restarted]) client.destroy();
    await other[Symbol.asyncDispose]();
  });

  it('works in another process of the service when both have the same sealing key', async () => {
    const sealingKeys = [{ kid: '1', secret: 'a secret of at least thirty-two bytes' }];
    const make = () => new S3Client({ ...own.options, tenant: { buckets: [own.bucket], sealingKeys } });
    const [one, two] = [make(), make()];
    await withTenant('acme', async () => {
      const { NextContinuationToken } = await list({ Prefix: 'page/' }, one);
      const page = await list({ Prefix: 'page/', ContinuationToken: NextContinuationToken }, two);
      expect(page.Contents?.map(({ Key }) => Key)).toEqual(['page/2']);
    });
    one.destroy();
    two.destroy();
  });
});

describe('a field', () => {
  const refused = async (command: unknown, words: string | RegExp): Promise<'refused'> => {
    const before = own.sent();
    const sending = withTenant('acme', () => own.s3.send(command as GetObjectCommand));
    await expect(sending).rejects.toThrow(OperationRefusedError);
    await expect(sending).rejects.toThrow(words);
    expect(own.sent()).toBe(before);
    return 'refused';
  };

  it.each([
    ['ACL', 'public-read'],
    ['GrantRead', 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'],
    ['GrantFullControl', 'id="x"'],
    ['WebsiteRedirectLocation', '/tenants/acme2/one'],
    ['SSEKMSKeyId', 'arn:aws:kms:us-east-1:1:key/x'],
    ['SSEKMSEncryptionContext', 'e30='],
    ['Tagging', 'a=b'],
    ['ObjectLockMode', 'COMPLIANCE'],
    ['ObjectLockLegalHoldStatus', 'ON'],
    ['WriteOffsetBytes', 1],
    ['SomethingNew', 'x'],
    ['constructor', 'x'],
    ['__proto__', 'x'],
  ])('%s of a PutObject is refused before the first request', async (field, value) => {
    const input = JSON.parse(`{"Key":"one","Body":"x","${field}":${JSON.stringify(value)}}`) as {
      Key: string;
    };
    expect(await refused(new PutObjectCommand(input), field === '__proto__' ? /is refused/ : field)).toBe(
      'refused',
    );
    await withTenant('acme', () => put('one', 'x'));
  });

  it.each([
    ['MFA', 'x 1'],
    ['BypassGovernanceRetention', true],
  ])('%s of a DeleteObject is refused', async (field, value) => {
    expect(await refused(new DeleteObjectCommand({ Key: 'one', [field]: value }), field)).toBe('refused');
  });

  it('that is undefined or null is as good as absent', async () => {
    const input = { Key: 'one', Body: 'x', ACL: undefined, Tagging: null } as never;
    const { ETag } = await withTenant('acme', () => own.s3.send(new PutObjectCommand(input)));
    expect(ETag).toBeDefined();
  });

  it('ExpectedBucketOwner passes, since it can only make a request stricter', async () => {
    const before = own.sent();
    const head = new HeadObjectCommand({ Key: 'same/one.txt', ExpectedBucketOwner: '000000000000' });
    const sending = withTenant('acme', () => own.s3.send(head));
    // Ceph ignores it, AWS refuses it: either way the server has answered.
    const { $metadata } = await sending.catch((error: unknown) => error as S3ServiceException);
    expect([200, 403]).toContain($metadata.httpStatusCode);
    expect(own.sent()).toBe(before + 1);
  });

  it.each(['a b', '', '../x', 'x/..', '.', 'v\u0000', {}, 7])('VersionId %j is refused', async (version) => {
    expect(
      await refused(new GetObjectCommand({ Key: 'one', VersionId: version } as never), 'VersionId'),
    ).toBe('refused');
  });

  it('is read once: a getter cannot answer the check one way and the request another', async () => {
    let reads = 0;
    const input = {
      get Key() {
        reads += 1;
        return reads === 1 ? 'same/one.txt' : '../acme2/same/one.txt';
      },
    };
    const { Body } = await withTenant('acme', () => own.s3.send(new GetObjectCommand(input)));
    expect(await Body?.transformToString()).toBe('of acme');
    expect(reads).toBe(1);
  });
});

describe('a bucket', () => {
  const head = (Bucket: unknown, client = own.s3) =>
    withTenant('acme', () =>
      client.send(new HeadObjectCommand({ Bucket: Bucket as string, Key: 'same/one.txt' })),
    );

  it('may be left out when one is accepted, and must be named when there are more', async () => {
    expect((await head(undefined)).ContentLength).toBe('of acme'.length);
    const two = new S3Client({ ...own.options, tenant: { buckets: [own.bucket, 'another-one'] } });
    await expect(head(undefined, two)).rejects.toThrow('Bucket is missing');
    expect((await head(own.bucket, two)).ContentLength).toBe('of acme'.length);
    two.destroy();
  });

  it('that is not accepted is refused before the first request, however it is written', async () => {
    const before = own.sent();
    for (const bucket of [
      'another-one',
      '',
      `${own.bucket}/tenants/acme2`,
      `${own.bucket}?x`,
      `arn:aws:s3:::${own.bucket}`,
      'arn:aws:s3:us-east-1:123456789012:accesspoint/x',
      `http://127.0.0.1/${own.bucket}`,
      own.bucket.toUpperCase(),
      ` ${own.bucket}`,
      [own.bucket],
      { toString: () => own.bucket },
    ]) {
      await expect(head(bucket), String(bucket)).rejects.toThrow(OperationRefusedError);
    }
    expect(own.sent()).toBe(before);
  });
});

describe('a copy', () => {
  const copy = (CopySource: unknown) =>
    withTenant('acme', () =>
      own.s3.send(new CopyObjectCommand({ Key: 'stolen', CopySource: CopySource as string })),
    );

  it.each(['BUCKET/secret', '/BUCKET/secret', 'BUCKET%2Fsecret', 'BUCKET/%73ecret'])(
    'from %s is one of the tenant’s own object',
    async (source) => {
      await withTenant('acme', () => put('secret', 'own secret'));
      await withTenant('acme2', () => put('secret', 'secret of another'));
      await copy(source.replace('BUCKET', own.bucket));
      expect(await withTenant('acme', () => get('stolen'))).toBe('own secret');
    },
  );

  it.each([
    'BUCKET/../acme2/secret',
    'BUCKET%2F..%2Facme2%2Fsecret',
    'BUCKET/%2e%2e/acme2/secret',
    'BUCKET/%252e%252e/acme2/secret',
    'BUCKET/x/..%2f..%2facme2/secret',
    'BUCKET//secret',
    '//BUCKET/secret',
    'other/tenants/acme2/secret',
    'arn:aws:s3:::BUCKET/tenants/acme2/secret',
    'arn:aws:s3:us-east-1:123456789012:accesspoint/x/object/tenants/acme2/secret',
    'BUCKET/secret?versionId=x&acl',
    'BUCKET/secret?x',
    'BUCKET/',
    'BUCKET',
    '',
    undefined,
    {},
  ])('from %j is refused before the first request', async (source) => {
    const before = own.sent();
    const given = typeof source === 'string' ? source.replace('BUCKET', own.bucket) : source;
    // Also without any: it is no copy, but the raw client would send it as a PUT of nothing.
    await expect(copy(given)).rejects.toThrow(OperationRefusedError);
    expect(own.sent()).toBe(before);
  });

  it.each(['BUCKET/tenants/acme2/secret', 'BUCKET%2Ftenants%2Facme2%2Fsecret'])(
    'from %s looks inside the tenant and finds nothing',
    async (source) => {
      await expect(copy(source.replace('BUCKET', own.bucket))).rejects.toMatchObject({ name: 'NoSuchKey' });
    },
  );
});

describe('everything else that takes the client works unchanged', () => {
  it('callbacks, with the tenant of the caller and with refusals as their error', async () => {
    const called = await new Promise((resolve) => {
      withTenant('acme', () =>
        own.s3.send(new HeadObjectCommand({ Key: 'same/one.txt' }), (error, output) =>
          resolve([error, output]),
        ),
      );
    });
    expect(called).toMatchObject([null, { ContentLength: 'of acme'.length }]);
    const refused = await new Promise((resolve) => {
      own.s3.send(new HeadObjectCommand({ Key: 'same/one.txt' }), {}, (error: unknown) => resolve(error));
    });
    expect(refused).toBeInstanceOf(MissingTenantError);
  });

  it('abort signals', async () => {
    const controller = new AbortController();
    const sending = withTenant('acme', () =>
      own.s3.send(new GetObjectCommand({ Key: 'same/one.txt' }), { abortSignal: controller.signal }),
    );
    controller.abort();
    await expect(sending).rejects.toMatchObject({ name: 'AbortError' });
    expect(await withTenant('acme', () => get('same/one.txt'))).toBe('of acme');
  });

  it('the SDK’s default checksums, of texts and of streams of unknown length', async () => {
    // What AWS takes; Ceph 16 does not know all of it, so only what would leave is looked at.
    const left: { readonly path: string; readonly headers: Record<string, string> }[] = [];
    const s3 = new S3Client({
      ...own.options,
      requestChecksumCalculation: 'WHEN_SUPPORTED',
      logger: SILENT,
      tenant: { buckets: [own.bucket] },
    });
    s3.config.requestHandler.handle = (request) => {
      left.push(request);
      return Promise.reject(new Error('not sent'));
    };
    const bodies = [() => 'x', () => new Uint8Array(10), () => Readable.from(['a', 'b'])];
    for (const body of bodies) {
      for (const more of [{}, { ChecksumAlgorithm: 'SHA256' }, { ContentEncoding: 'gzip' }] as const) {
        const command = new PutObjectCommand({ Key: 'sum', Body: body(), ...more });
        await expect(withTenant('acme', () => s3.send(command))).rejects.toThrow('not sent');
      }
    }
    expect(left).toHaveLength(9);
    expect(left.some(({ headers }) => 'x-amz-trailer' in headers)).toBe(true);
    expect(new Set(left.map(({ path }) => path))).toEqual(new Set([`/${own.bucket}/tenants/acme/sum`]));
    s3.destroy();
  });

  it('Upload of lib-storage, in one part and in many', async () => {
    await withTenant('acme', async () => {
      const params = { Bucket: own.bucket, Key: 'uploaded', Body: Readable.from(['of ', 'acme']) };
      const { Key, Location } = await new Upload({ client: own.s3, params }).done();
      expect([Key, Location]).toEqual(['uploaded', expect.not.stringContaining('tenants')]);
      expect(await get('uploaded')).toBe('of acme');
      const Body = Buffer.alloc(6 * 1024 * 1024);
      const more = { ContentType: 'image/png', Metadata: { of: 'acme' }, ACL: 'private' } as const;
      const large = new Upload({ client: own.s3, params: { ...params, ...more, Key: 'large', Body } });
      expect(await large.done()).toMatchObject({
        Key: 'large',
        Location: expect.stringMatching(/[^s]\/large$/) as string,
      });
      const head = await own.s3.send(new HeadObjectCommand({ Key: 'large' }));
      expect(head).toMatchObject({
        ContentLength: Body.length,
        ContentType: 'image/png',
        Metadata: { of: 'acme' },
      });
    });
    expect(await rawGet('tenants/acme/uploaded')).toBe('of acme');
    expect((await rawGet('tenants/acme/large'))?.length).toBe(6 * 1024 * 1024);
  });

  it('the aggregated client', async () => {
    const s3 = new S3({ ...own.options, tenant: { buckets: [own.bucket] } });
    expect(s3).toBeInstanceOf(S3Client);
    expect(s3).toBeInstanceOf(RawS3Client);
    await withTenant('acme', async () => {
      const { Body } = await s3.getObject({ Bucket: own.bucket, Key: 'same/one.txt' });
      expect(await Body?.transformToString()).toBe('of acme');
      await expect(s3.listBuckets()).rejects.toThrow(OperationRefusedError);
      await s3.waitUntilObjectExists({ Bucket: own.bucket, Key: 'same/one.txt' }, 6);
      await expect(s3.waitUntilBucketExists({ Bucket: own.bucket }, 60)).rejects.toThrow(
        OperationRefusedError,
      );
    });
    await expect(s3.headObject({ Bucket: own.bucket, Key: 'x' })).rejects.toThrow(MissingTenantError);
    s3.destroy();
  });

  it('waiters, which tell a refusal at once instead of running into their timeout', async () => {
    const params = { client: own.s3, maxWaitTime: 60 };
    const input = { Bucket: own.bucket, Key: 'same/one.txt' };
    await withTenant('acme', async () => {
      expect((await waitUntilObjectExists(params, input)).state).toBe('SUCCESS');
      expect((await waitUntilObjectNotExists(params, { ...input, Key: 'none' })).state).toBe('SUCCESS');
      await expect(waitUntilObjectExists(params, { ...input, Key: '../x' })).rejects.toThrow(
        OperationRefusedError,
      );
      await expect(waitUntilBucketExists(params, input)).rejects.toThrow(OperationRefusedError);
    });
    await expect(waitUntilObjectExists(params, input)).rejects.toThrow(MissingTenantError);
  });

  it('credential providers, which run outside of any tenant', async () => {
    const tenants: unknown[] = [];
    const credentials = () => {
      tenants.push(currentTenant());
      return Promise.resolve(own.options.credentials);
    };
    const s3 = new S3Client({ ...own.options, credentials, tenant: { buckets: [own.bucket] } });
    await withTenant('acme', () => s3.send(new HeadObjectCommand({ Key: 'same/one.txt' })));
    expect(tenants).toEqual([undefined]);
    s3.destroy();
  });
});

describe('the construction', () => {
  const make = (tenant: unknown, more: object = {}) =>
    new S3Client({ ...own.options, ...more, tenant } as S3ClientConfig);

  it.each([
    [undefined, 'the option tenant is missing'],
    [{}, 'tenant.buckets'],
    [{ buckets: [] }, 'at least one bucket'],
    [{ buckets: ['UPPER'] }, 'tenant.buckets.0'],
    [{ buckets: ['arn:aws:s3:::x'] }, 'tenant.buckets.0'],
    [{ buckets: ['x--use1-az1--x-s3'] }, 'tenant.buckets.0'],
    [{ buckets: ['x-abc-s3alias'] }, 'tenant.buckets.0'],
    [{ buckets: ['ok-bucket'], places: 1 }, 'unknown option "places"'],
    [{ buckets: ['ok-bucket'], subjects: [{ field: 'author' }] }, 'tenant.subjects'],
    [{ buckets: 'ok-bucket' }, "tenant.buckets: must be a list of buckets, such as ['uploads']"],
    [{ buckets: ['ok-bucket'], names: '{tenant}' }, 'name template'],
    [{ buckets: ['ok-bucket'], names: 'tk:' }, 'such as tenants/{tenant}/ or customers/{tenant}/files/.'],
    [{ buckets: ['ok-bucket'], sealingKeys: 'x' }, 'sealingKeys: must be a list of { kid, secret }'],
    [{ buckets: ['ok-bucket'], sealingKeys: ['x'] }, 'sealingKeys.0: must be { kid, secret }'],
    [
      { buckets: ['ok-bucket'], sealingKeys: [{ kid: 'x', key: '' }] },
      'sealingKeys.0.secret: must be a text or bytes',
    ],
    [{ buckets: ['ok-bucket'], headers: ['X-Mine'] }, 'headers.0: must be in lower case'],
    [{ buckets: ['ok-bucket'], headers: ['mine'] }, 'headers.0: must begin with x-'],
    [{ buckets: ['ok-bucket'], headers: ['x-amz-mine'] }, 'headers.0: is a header to which servers'],
    [{ buckets: ['ok-bucket'], maxExpiresIn: 0 }, 'tenant.maxExpiresIn'],
    [{ buckets: ['ok-bucket'], maxExpiresIn: 604_801 }, 'tenant.maxExpiresIn'],
    [{ buckets: ['ok-bucket'], sealingKeys: [{ kid: 'a', secret: 'short' }] }, 'at least 32 bytes'],
    [{ buckets: ['ok-bucket'], sealingKeys: [] }, 'tenant.sealingKeys'],
    [{ buckets: ['ok-bucket'], fence: {} }, 'tenant.fence'],
  ])('refuses the options %j', (tenant, words) => {
    expect(() => make(tenant)).toThrow(ConfigError);
    expect(() => make(tenant)).toThrow(words);
    expect(make({ buckets: ['ok-bucket'] })).toBeInstanceOf(RawS3Client);
  });

  it.each(['bucketEndpoint', 'followRegionRedirects', 'cacheMiddleware'])('refuses %s', (option) => {
    // The SDK asks for no more than that it is truthy.
    for (const value of [true, 'true', 1, {}, () => false])
      expect(() => make({ buckets: ['ok-bucket'] }, { [option]: value })).toThrow(ConfigError);
    expect(() => make({ buckets: ['ok-bucket'] }, { [option]: true })).toThrow(`${option} is on, and it`);
    for (const value of [false, undefined])
      expect(() => make({ buckets: ['ok-bucket'] }, { [option]: value })).not.toThrow();
  });

  it('never shows a secret', () => {
    const secret = 'hunter2-hunter2';
    expect(() => make({ buckets: ['ok-bucket'], sealingKeys: [{ kid: 'a', secret }] })).not.toThrow(secret);
  });
});

describe('the audit trail', () => {
  it('has one event for each refusal, without physical names', async () => {
    const events: AuditEvent[] = [];
    const listen = (event: unknown): number => events.push(event as AuditEvent);
    auditChannels.refused.subscribe(listen);
    await withTenant('acme', () => get('../acme2/one')).catch(() => undefined);
    auditChannels.refused.unsubscribe(listen);
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ tenantid: 'acme', data: { api: { operation: 'GetObjectCommand' } } });
    expect(JSON.stringify(events)).not.toContain('tenants/');
  });
});

// The SDK warns about what these tests do on purpose.
const nothing = (): void => undefined;
const SILENT = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

type Settled = { readonly value: unknown } | { readonly error: unknown };

function settle(call: () => Promise<unknown>): Promise<Settled> {
  return call().then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** A reply or error without what differs between two requests: ids, times, tokens and the bucket. */
async function normal(settled: Settled, bucket: string): Promise<unknown> {
  const volatile = new Set([
    '$metadata',
    'RequestId',
    'HostId',
    'LastModified',
    'NextContinuationToken',
    'ContinuationToken',
  ]);
  const simplify = async (value: unknown): Promise<unknown> => {
    if (typeof value === 'string') return value.replaceAll(bucket, 'BUCKET');
    if (typeof value !== 'object' || value === null || value instanceof Date) return value;
    if (Array.isArray(value)) return Promise.all(value.map(simplify));
    if ('transformToString' in value)
      return (value as { transformToString: () => Promise<string> }).transformToString();
    const entries = Object.entries(value).map(async ([name, part]) => {
      if (!volatile.has(name)) return [name, await simplify(part)] as const;
      const status = name === '$metadata' ? (part as { httpStatusCode: number }).httpStatusCode : typeof part;
      return [name, status] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  };
  if ('value' in settled) return simplify(settled.value);
  const error = settled.error as Error;
  return {
    type: error.constructor.name,
    name: error.name,
    message: error.message,
    fields: await simplify(Object.fromEntries(Object.entries(error))),
  };
}
