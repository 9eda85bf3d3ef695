import * as raw from '@aws-sdk/client-s3';
import {
  CrossTenantError,
  InvalidTenantError,
  OperationRefusedError,
  acrossTenants,
  withTenant,
  withoutSubject,
} from '@tenantkit/core';
import {
  CopyObjectCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import { describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';
import { keysOf, labelOf } from './subjects-support.ts';

const about = <T>(subject: string, fn: () => Promise<T>, tenant = 'acme'): Promise<T> =>
  withTenant({ tenant, subject }, fn);
const put = ({ s3 }: Opened, Key: string, Metadata?: Record<string, string>) =>
  s3.send(new PutObjectCommand({ Key, Body: 'x', ...(Metadata && { Metadata }) }));
const copy = ({ s3, bucket }: Opened, from: string, Key: string, more: object = {}) =>
  s3.send(new CopyObjectCommand({ Key, CopySource: `${bucket}/${encodeURIComponent(from)}`, ...more }));

describe('an object that is written in the context of a person', () => {
  it('is noted for its tenant, person and key before it is there, and says whom it is about', async () => {
    await using own = await open();
    for (const tenant of TENANTS) {
      await about('p1', () => put(own, 'a/b.txt', { color: 'red' }), tenant);
    }
    await withTenant('acme', () => put(own, 'of-nobody'));
    await about('p1', () => withoutSubject(() => put(own, 'without')));
    expect(await keysOf(own)).toEqual(
      [
        ...TENANTS.flatMap((tenant) => [`tenants/${tenant}/a/b.txt`, `tk!subjects/${tenant}/p1/k/a/b.txt`]),
        'tenants/acme/of-nobody',
        'tenants/acme/without',
      ].toSorted((a, b) => (a < b ? -1 : 1)),
    );
    expect(await labelOf(own, 'tenants/acme/a/b.txt')).toBe('p1');
    expect(await labelOf(own, 'tenants/acme/of-nobody')).toBeUndefined();
  });

  it('does not show it to callers', async () => {
    await using own = await open();
    await about('p1', async () => {
      await put(own, 'a', { color: 'red' });
      await put(own, 'b');
      const head = await own.s3.send(new HeadObjectCommand({ Key: 'a' }));
      const got = await own.s3.send(new GetObjectCommand({ Key: 'a' }));
      expect([head.Metadata, got.Metadata]).toEqual([{ color: 'red' }, { color: 'red' }]);
      expect((await own.s3.send(new HeadObjectCommand({ Key: 'b' }))).Metadata).toEqual({});
      await got.Body?.transformToString();
    });
  });

  it('sends one request more, and none outside of a person', async () => {
    await using own = await open();
    await withTenant('acme', () => put(own, 'a'));
    expect(own.sent()).toBe(1);
    await about('p1', () => put(own, 'a'));
    expect(own.sent()).toBe(3);
    await about('p1', () => own.s3.send(new HeadObjectCommand({ Key: 'a' })));
    await about('p1', () => own.s3.send(new DeleteObjectCommand({ Key: 'a' })));
    expect(own.sent()).toBe(5);
    await acrossTenants({ reason: 'test', actor: 'test' }, () =>
      own.s3.send(new raw.PutObjectCommand({ Bucket: own.bucket, Key: 'x', Body: 'x' })),
    );
    expect(own.sent()).toBe(6);
    expect(await keysOf(own)).toEqual(['tk!subjects/acme/p1/k/a', 'x']);
  });

  it('takes no person from a caller', async () => {
    await using own = await open();
    for (const name of ['tk-subject', 'TK-Subject', 'tk_subject', 'tk-other']) {
      await expect(about('p1', () => put(own, 'a', { [name]: 'p2' }))).rejects.toThrow(OperationRefusedError);
    }
    for (const subject of ['p1,p2', 'a/b', '', 'p 1', '*']) {
      expect(() => about(subject, () => put(own, 'a'))).toThrow(InvalidTenantError);
    }
    expect(own.sent()).toBe(0);
  });

  needs('longNames').it('keeps a long key in the marker itself', async () => {
    await using own = await open();
    const edge = 'k'.repeat(1024 - 'tk!subjects/acme/p1/k/'.length);
    const long = 'é'.repeat(505);
    await about('p1', () => put(own, edge));
    await about('p1', () => put(own, `${edge}k`));
    await about('p1', () => put(own, long));
    const markers = (await keysOf(own)).filter((key) => key.startsWith('tk!'));
    expect(markers).toHaveLength(3);
    expect(markers.filter((key) => key.startsWith('tk!subjects/acme/p1/h/'))).toHaveLength(2);
    expect(markers).toContain(`tk!subjects/acme/p1/k/${edge}`);
    const bodies = await Promise.all(
      markers.map(async (Key) => {
        const { Body } = await own.raw.send(new raw.GetObjectCommand({ Bucket: own.bucket, Key }));
        return Body?.transformToString();
      }),
    );
    expect(new Set(bodies)).toEqual(new Set(['', `${edge}k`, long]));
  });

  it('is not written when it could not be noted, and noted when it could not be written', async () => {
    await using own = await open();
    for (const [part, left] of [
      ['tk!subjects', []],
      ['tenants/', ['tk!subjects/acme/p1/k/a']],
    ] as const) {
      const s3 = new S3Client({ ...own.options, maxAttempts: 1, tenant: { buckets: [own.bucket] } });
      const { requestHandler } = s3.config;
      const handle = requestHandler.handle.bind(requestHandler);
      requestHandler.handle = (...args: Parameters<typeof handle>) =>
        decodeURIComponent(args[0].path).includes(part) ? Promise.reject(new Error('cut')) : handle(...args);
      await expect(about('p1', () => put({ ...own, s3 }, 'a'))).rejects.toThrow('cut');
      expect(await keysOf(own)).toEqual(left);
      s3.destroy();
    }
  });

  it('is stopped where a middleware changes what was noted', async () => {
    await using own = await open();
    const attacks: Readonly<Record<string, (request: Request) => void>> = {
      'another person': ({ headers }) => (headers['x-amz-meta-tk-subject'] = 'p2'),
      'no person': ({ headers }) => delete headers['x-amz-meta-tk-subject'],
      'a second spelling': ({ headers }) => (headers['x-amz-meta-tk_subject'] = 'p2'),
      'another key': (request) => (request.path = request.path.replace(/a$/, 'b')),
    };
    for (const [what, attack] of Object.entries(attacks)) {
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      change(s3, ({ path }) => path.includes('tenants'), attack);
      const error: unknown = await about('p1', () => put({ ...own, s3 }, 'a')).catch((one: unknown) => one);
      expect(error, what).toBeInstanceOf(what === 'a second spelling' ? Error : CrossTenantError);
      s3.destroy();
    }
    const markers: Readonly<Record<string, (request: Request) => void>> = {
      'another key': (request) => (request.path = request.path.replace(/a$/, 'b')),
      'another person': (request) => (request.path = request.path.replace('p1', 'p2')),
      'the object’s key': (request) => (request.path = `/${own.bucket}/tenants/acme/a`),
      'another body': (request) => (request.body = 'b'),
    };
    for (const [what, attack] of Object.entries(markers)) {
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      change(s3, ({ path }) => !path.includes('tenants'), attack);
      await expect(
        about('p1', () => put({ ...own, s3 }, 'a')),
        what,
      ).rejects.toThrow(CrossTenantError);
      s3.destroy();
    }
    expect(await keysOf(own)).toEqual(['tk!subjects/acme/p1/k/a']);
    // Without a person either: it would be taken for the label.
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    change(
      s3,
      () => true,
      ({ headers }) => (headers['x-amz-meta-tk-subject'] = 'p2'),
    );
    await expect(withTenant('acme', () => put({ ...own, s3 }, 'c'))).rejects.toThrow(CrossTenantError);
    s3.destroy();
  });

  it('names the logical key where the marker fails', async () => {
    await using own = await open();
    const bucket = `${own.bucket}-gone`;
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [bucket] } });
    const error: unknown = await about('p1', () => put({ ...own, s3 }, 'a')).catch((one: unknown) => one);
    expect(error).toMatchObject({ name: 'NoSuchBucket' });
    expect(JSON.stringify([error, String(error)])).not.toContain('tk!');
    s3.destroy();
  });
});

describe('a copy', () => {
  it.each(['replace', 'Replace', 'copy', ' REPLACE', 'REPLACE ', '', 'REPLACE,COPY'])(
    'with the directive %j, which a server may take for another, is refused before anything is sent',
    async (directive) => {
      await using own = await open();
      await about('p1', () => put(own, 'a'));
      const before = own.sent();
      for (const field of ['MetadataDirective', 'TaggingDirective']) {
        const refused = withTenant('acme', () => copy(own, 'a', 'b', { [field]: directive }));
        await expect(refused).rejects.toThrow(`${field} is none of COPY, REPLACE`);
      }
      expect(own.sent()).toBe(before);
      // Nor can middleware write it so.
      for (const name of ['x-amz-metadata-directive', 'x-amz-tagging-directive']) {
        const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
        change(
          s3,
          ({ method }) => method === 'PUT',
          ({ headers }) => (headers[name] = directive),
        );
        await expect(withTenant('acme', () => copy({ ...own, s3 }, 'a', 'b'))).rejects.toThrow(
          /rules do not allow|was taken away or changed/,
        );
        s3.destroy();
      }
      await withTenant('acme', () => copy(own, 'a', 'b', { MetadataDirective: 'COPY' }));
      await withTenant('acme', () =>
        copy(own, 'b', 'c', { MetadataDirective: 'REPLACE', TaggingDirective: 'COPY' }),
      );
      await withTenant('acme', () => copy(own, 'c', 'd'));
      expect(await labelOf(own, 'tenants/acme/d')).toBe('p1');
    },
  );

  it('is about whom its source is about, and about the person in whose context it is made', async () => {
    await using own = await open();
    await about('p1', () => put(own, 'a', { color: 'red' }));
    await withTenant('acme', () => copy(own, 'a', 'b'));
    await about('p2', () => copy(own, 'b', 'c'));
    await about('p3', () => copy(own, 'c', 'd', { MetadataDirective: 'REPLACE', Metadata: { x: 'y' } }));
    await withTenant('acme', () => copy(own, 'd', 'e', { MetadataDirective: 'REPLACE' }));
    await withTenant('acme', () => put(own, 'plain'));
    await withTenant('acme', () => copy(own, 'plain', 'plain2'));
    expect(await Promise.all('abcde'.split('').map((key) => labelOf(own, `tenants/acme/${key}`)))).toEqual([
      'p1',
      'p1',
      'p1,p2',
      'p1,p2,p3',
      'p1,p2,p3',
    ]);
    expect(await labelOf(own, 'tenants/acme/plain2')).toBeUndefined();
    expect((await keysOf(own)).filter((key) => key.startsWith('tk!'))).toEqual(
      [
        'p1/k/a',
        'p1/k/b',
        'p1/k/c',
        'p1/k/d',
        'p1/k/e',
        'p2/k/c',
        'p2/k/d',
        'p2/k/e',
        'p3/k/d',
        'p3/k/e',
      ].map((name) => `tk!subjects/acme/${name}`),
    );
    await withTenant('acme', async () => {
      expect((await own.s3.send(new HeadObjectCommand({ Key: 'c' }))).Metadata).toEqual({ color: 'red' });
      expect((await own.s3.send(new HeadObjectCommand({ Key: 'd' }))).Metadata).toEqual({ x: 'y' });
    });
  });

  it('keeps what its source says of itself when a person is added', async () => {
    await using own = await open();
    const said = {
      ContentType: 'text/html',
      CacheControl: 'max-age=5',
      ContentDisposition: 'attachment; filename="ü.html"',
      ContentLanguage: 'de',
      ContentEncoding: 'gzip',
      Expires: new Date('2030-01-02T03:04:05Z'),
      Metadata: { color: 'red' },
    };
    await withTenant('acme', () =>
      own.s3.send(new PutObjectCommand({ Key: 'a', Body: 'x', ...said, ContentDisposition: 'inline' })),
    );
    await withTenant('acme', () => copy(own, 'a', 'same'));
    await about('p1', () => copy(own, 'a', 'b', { ContentType: 'is not looked at' }));
    const same = await own.raw.send(
      new raw.HeadObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/same' }),
    );
    const b = await own.raw.send(new raw.HeadObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/b' }));
    const { Metadata, $metadata: _, LastModified: __, ...rest } = b;
    expect(Metadata).toEqual({ color: 'red', 'tk-subject': 'p1' });
    expect(same).toMatchObject(rest);
    expect(rest.ContentType).toBe('text/html');
  });

  it('fails as it does without tenantkit when there is no source', async () => {
    await using own = await open();
    await expect(about('p1', () => copy(own, 'none', 'b'))).rejects.toMatchObject({
      name: expect.stringMatching(/^(NoSuchKey|NotFound)$/),
    });
    expect(await keysOf(own)).toEqual([]);
  });

  needs('conditionalReads').it(
    'is held to what was looked at, or to the conditions of the caller',
    async () => {
      await using own = await open();
      await about('p1', () => put(own, 'a'));
      const conditions: (string | undefined)[] = [];
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      change(
        s3,
        ({ headers }) => 'x-amz-copy-source' in headers,
        ({ headers }) => conditions.push(headers['x-amz-copy-source-if-match']),
      );
      await withTenant('acme', async () => {
        const { ETag = '' } = await own.s3.send(new HeadObjectCommand({ Key: 'a' }));
        await copy({ ...own, s3 }, 'a', 'b');
        await copy({ ...own, s3 }, 'a', 'c', { CopySourceIfMatch: ETag });
        // Of the caller's own, none is taken away.
        await copy({ ...own, s3 }, 'a', 'd', { CopySourceIfUnmodifiedSince: new Date() });
        expect(conditions).toEqual([ETag, ETag, undefined]);
        await copy(own, 'a', 'e', { CopySourceIfModifiedSince: new Date(0), CopySourceIfNoneMatch: '"x"' });
      });
      expect(await labelOf(own, 'tenants/acme/e')).toBe('p1');
      s3.destroy();
      expect((await keysOf(own)).filter((key) => key.startsWith('tk!'))).toEqual([
        'tk!subjects/acme/p1/k/a',
        'tk!subjects/acme/p1/k/b',
        'tk!subjects/acme/p1/k/c',
        'tk!subjects/acme/p1/k/d',
        'tk!subjects/acme/p1/k/e',
      ]);
    },
  );

  needs('conditionalReads').it(
    'cannot be led to another source, version or label by a middleware',
    async () => {
      await using own = await open();
      await about('p1', () => put(own, 'a'));
      await withTenant('acme', () => put(own, 'plain'));
      const attacks: Readonly<Record<string, (request: Request) => void>> = {
        'another source': ({ headers }) =>
          (headers['x-amz-copy-source'] = `${own.bucket}/tenants/acme/plain`),
        'no condition': ({ headers }) => delete headers['x-amz-copy-source-if-match'],
        'another directive': ({ headers }) => (headers['x-amz-metadata-directive'] = 'REPLACE'),
        'a label': ({ headers }) => (headers['x-amz-meta-tk-subject'] = 'p2'),
        'another key': (request) => (request.path = request.path.replace(/b$/, 'c')),
      };
      for (const [what, attack] of Object.entries(attacks)) {
        const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
        change(s3, ({ method, path }) => method === 'PUT' && path.includes('tenants'), attack);
        await expect(
          withTenant('acme', () => copy({ ...own, s3 }, 'a', 'b')),
          what,
        ).rejects.toThrow(CrossTenantError);
        s3.destroy();
      }
      for (const attack of [
        (request: Request) => (request.path = request.path.replace(/a$/, 'plain')),
        ({ query }: Request) => (query['versionId'] = 'another'),
      ]) {
        const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
        change(s3, ({ method }) => method === 'HEAD', attack);
        await expect(withTenant('acme', () => copy({ ...own, s3 }, 'a', 'b'))).rejects.toThrow(
          CrossTenantError,
        );
        s3.destroy();
      }
    },
  );

  it('is refused when it would be about too many persons', async () => {
    await using own = await open();
    const many = Array.from({ length: 17 }, (_, index) => `${index}`.padStart(60, 'p')).join(',');
    const target = { Bucket: own.bucket, Key: 'tenants/acme/a' };
    await own.raw.send(new raw.PutObjectCommand({ ...target, Body: 'x', Metadata: { 'tk-subject': many } }));
    await expect(withTenant('acme', () => copy(own, 'a', 'b'))).rejects.toThrow('more persons');
    expect(await keysOf(own)).toEqual(['tenants/acme/a']);
  });

  needs('versions').it('of a version is about whom that version is about', async () => {
    await using own = await open({ traits: { versioned: true } });
    const first = await about('p1', () => put(own, 'a'));
    await about('p2', () => put(own, 'a'));
    await withTenant('acme', () =>
      own.s3.send(
        new CopyObjectCommand({ Key: 'b', CopySource: `${own.bucket}/a?versionId=${first.VersionId}` }),
      ),
    );
    expect(await labelOf(own, 'tenants/acme/b')).toBe('p1');
  });
});

describe('a multipart upload', () => {
  const begin = async ({ s3 }: Opened, Key: string): Promise<string> =>
    (await s3.send(new CreateMultipartUploadCommand({ Key }))).UploadId ?? '';
  const part = ({ s3 }: Opened, Key: string, UploadId: string) =>
    s3.send(new UploadPartCommand({ Key, UploadId, PartNumber: 1, Body: 'x' }));
  const end = ({ s3 }: Opened, Key: string, UploadId: string, ETag = '') =>
    s3.send(
      new CompleteMultipartUploadCommand({
        Key,
        UploadId,
        MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
      }),
    );

  it('is about the person in whose context it was begun, and takes no part about another', async () => {
    await using own = await open();
    const id = await about('p1', () => begin(own, 'a'));
    expect(await keysOf(own)).toEqual(['tk!subjects/acme/p1/k/a']);
    await expect(about('p2', () => part(own, 'a', id))).rejects.toThrow(OperationRefusedError);
    const { ETag } = await about('p1', () => part(own, 'a', id));
    // Whoever ends it adds nothing.
    await withTenant('acme', () => end(own, 'a', id, ETag));
    expect(await labelOf(own, 'tenants/acme/a')).toBe('p1');
    const plain = await withTenant('acme', () => begin(own, 'b'));
    await expect(about('p1', () => part(own, 'b', plain))).rejects.toThrow('its upload was not made in it');
    await withTenant('acme', () => part(own, 'b', plain));
  });

  needs('partCopies').it('takes no copy about another person', async () => {
    await using own = await open();
    await about('p1', () => put(own, 'source'));
    const CopySource = `${own.bucket}/source`;
    const by = (Key: string, UploadId: string) =>
      own.s3.send(new UploadPartCopyCommand({ Key, UploadId, PartNumber: 1, CopySource }));
    const id = await about('p1', () => begin(own, 'a'));
    const { CopyPartResult } = await withTenant('acme', () => by('a', id));
    await withTenant('acme', () => end(own, 'a', id, CopyPartResult?.ETag));
    expect(await labelOf(own, 'tenants/acme/a')).toBe('p1');
    for (const subject of ['p2', undefined]) {
      const scope = { tenant: 'acme', ...(subject === undefined ? {} : { subject }) };
      const other = await withTenant(scope, () => begin(own, 'b'));
      await expect(withTenant('acme', () => by('b', other))).rejects.toThrow('about a person');
    }
    await withTenant('acme', () => put(own, 'source'));
    const other = await withTenant('acme', () => begin(own, 'b'));
    await withTenant('acme', () => by('b', other));
  });

  needs('uploadLists').it('is not known by the id that a listing gives', async () => {
    await using own = await open();
    const id = await about('p1', () => begin(own, 'a'));
    const { Uploads } = await withTenant('acme', () => own.s3.send(new ListMultipartUploadsCommand({})));
    const listed = Uploads?.[0]?.UploadId ?? '';
    expect(listed).not.toBe(id);
    await expect(about('p1', () => part(own, 'a', listed))).rejects.toThrow(OperationRefusedError);
    await withTenant('acme', () => part(own, 'a', listed));
  });
});

interface Request {
  path: string;
  method: string;
  body?: unknown;
  readonly headers: Record<string, string>;
  readonly query: Record<string, string>;
}

/** A middleware of somebody's that changes some requests, behind the serialiser and in front of the signer. */
function change(
  { middlewareStack }: S3Client,
  concerns: (request: Request) => boolean,
  attack: (request: Request) => unknown,
): void {
  middlewareStack.add(
    (next) => async (args) => {
      const request = args.request as Request;
      if (concerns(request)) await attack(request);
      return next(args);
    },
    { step: 'build', priority: 'low' },
  );
}
