import { createHash } from 'node:crypto';
import {
  GetObjectCommand as RawGetObjectCommand,
  ListPartsCommand as RawListPartsCommand,
} from '@aws-sdk/client-s3';
import {
  IsolationBreachError,
  OperationRefusedError,
  SignatureError,
  isTenantkitError,
  withTenant,
} from '@tenantkit/core';
import * as ours from '@tenantkit/storage';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { STEPS, altered, answers, install, onRequest, type Request } from './attack.ts';
import { countRequests, open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';

// As in attacks.test.ts, on what works with uploads, batches, versions, tags and bodies of XML. Both tenants have an
// object `one` and an unfinished upload of `big`.

let own: Opened;
let s3: ours.S3Client;
let sent: () => number;
const uploads: Record<string, string> = {};

const tenantOptions = (): ours.StorageTenantOptions => ({
  buckets: [own.bucket],
  tags: ['class'],
  sealingKeys: [{ kid: 'a', secret: 'a'.repeat(32) }],
});

beforeAll(async () => {
  own = await open();
  s3 = new ours.S3Client({ ...own.options, tenant: tenantOptions() });
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, async () => {
      await s3.send(new ours.PutObjectCommand({ Key: 'one', Body: `of ${tenant}` }));
      const { UploadId = '' } = await s3.send(new ours.CreateMultipartUploadCommand({ Key: 'big' }));
      uploads[tenant] = UploadId;
      await s3.send(new ours.UploadPartCommand({ Key: 'big', UploadId, PartNumber: 1, Body: tenant }));
    });
  }
  s3.destroy();
});
afterAll(() => own[Symbol.asyncDispose]());
beforeEach(() => {
  const { endpoint } = own.queries;
  s3 = new ours.S3Client({ ...own.options, endpoint, tenant: tenantOptions() });
  sent = countRequests(s3);
  return () => s3.destroy();
});

const UPLOAD = (): { Key: string; UploadId: string } => ({ Key: 'big', UploadId: uploads['acme'] ?? '' });
const source = (): string => `${own.bucket}/one`;
const select = {
  Key: 'one',
  Expression: 'select * from s3object',
  ExpressionType: 'SQL',
  InputSerialization: { CSV: { RecordDelimiter: '\n' } },
  OutputSerialization: { CSV: {} },
} as const;

const COMMANDS = {
  create: () => new ours.CreateMultipartUploadCommand({ Key: 'other' }),
  part: () => new ours.UploadPartCommand({ ...UPLOAD(), PartNumber: 2, Body: 'x' }),
  partCopy: () => new ours.UploadPartCopyCommand({ ...UPLOAD(), PartNumber: 3, CopySource: source() }),
  parts: () => new ours.ListPartsCommand(UPLOAD()),
  complete: () =>
    new ours.CompleteMultipartUploadCommand({
      ...UPLOAD(),
      MultipartUpload: { Parts: [{ PartNumber: 1, ETag: 'x' }] },
    }),
  abort: () => new ours.AbortMultipartUploadCommand(UPLOAD()),
  attributes: () => new ours.GetObjectAttributesCommand({ Key: 'one', ObjectAttributes: ['ETag'] }),
  tags: () => new ours.GetObjectTaggingCommand({ Key: 'one' }),
  tag: () =>
    new ours.PutObjectTaggingCommand({ Key: 'one', Tagging: { TagSet: [{ Key: 'class', Value: 'a' }] } }),
  untag: () => new ours.DeleteObjectTaggingCommand({ Key: 'one' }),
  hold: () => new ours.GetObjectLegalHoldCommand({ Key: 'one' }),
  retention: () => new ours.GetObjectRetentionCommand({ Key: 'one' }),
  restore: () => new ours.RestoreObjectCommand({ Key: 'one', RestoreRequest: { Days: 1 } }),
  select: () => new ours.SelectObjectContentCommand(select),
  batch: () => new ours.DeleteObjectsCommand({ Delete: { Objects: [{ Key: 'a' }, { Key: 'b' }] } }),
  older: () => new ours.ListObjectsCommand({ Marker: 'a' }),
  newer: () => new ours.ListObjectsV2Command({ StartAfter: 'a' }),
  versions: () => new ours.ListObjectVersionsCommand({ KeyMarker: 'a', VersionIdMarker: 'b' }),
  uploads: () => new ours.ListMultipartUploadsCommand({ KeyMarker: 'a', ...marker() }),
} as const;
const marker = (): { UploadIdMarker: string } => ({ UploadIdMarker: uploads['acme'] ?? '' });
type Name = keyof typeof COMMANDS;
const ALL = Object.keys(COMMANDS) as Name[];
const LISTS: Name[] = ['older', 'newer', 'versions', 'uploads'];
const KEYED = ALL.filter((name) => ![...LISTS, 'batch'].includes(name));
const UPLOADS: Name[] = ['part', 'partCopy', 'parts', 'complete', 'abort'];
const DOCUMENTS: Name[] = ['complete', 'tag', 'restore', 'select', 'batch'];

const send = (name: Name): Promise<unknown> =>
  withTenant('acme', () => s3.send(COMMANDS[name]() as ours.GetObjectTaggingCommand));

/** The attack fails with a typed error, nothing is sent, and what the other tenant has is what it was. */
async function fails(call: () => Promise<unknown>, code?: string, looks = 0): Promise<'stopped'> {
  const before = sent();
  const error = await call().then(
    (answer) => new Error(`the attack was answered: ${JSON.stringify(answer)}`),
    (reason: unknown) => reason,
  );
  if (!isTenantkitError(error)) throw error;
  expect(code === undefined ? ['CROSS_TENANT', 'OPERATION_REFUSED'] : [code]).toContain(error.code);
  expect(String(error)).not.toContain('acme2');
  // The source of a copy is looked at before.
  expect(sent() - before).toBeLessThanOrEqual(looks);
  return 'stopped';
}

afterAll(async () => {
  // Whatever was tried above.
  const { Body } = await own.raw.send(
    new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' }),
  );
  expect(await Body?.transformToString()).toBe('of acme2');
});

describe('a middleware that does nothing', () => {
  it.each(ALL)('leaves %s as it is, at every step', async (name) => {
    STEPS.forEach((where, index) => {
      install(
        s3,
        onRequest(() => undefined),
        { ...where, name: `nothing ${index}` },
      );
    });
    // Some are answered with an error: there is no lock, and no archive. They were sent.
    const error = await send(name === 'abort' || name === 'complete' ? 'parts' : name).catch(
      (reason: unknown) => reason,
    );
    expect(isTenantkitError(error)).toBe(false);
    expect(sent()).toBeGreaterThan(0);
  });
});

describe.each(STEPS)('a middleware at %j', (where) => {
  it.each(KEYED)('cannot lead %s to another tenant', async (name) => {
    install(
      s3,
      onRequest((request) => void (request.path = `/${own.bucket}/tenants/acme2/one`)),
      where,
    );
    expect(await fails(() => send(name), 'CROSS_TENANT')).toBe('stopped');
  });

  it.each(LISTS)('cannot take the prefix from %s', async (name) => {
    install(
      s3,
      onRequest(({ query }) => void delete query['prefix']),
      where,
    );
    expect(await fails(() => send(name), 'CROSS_TENANT')).toBe('stopped');
  });

  it.each(DOCUMENTS)('cannot give %s another body', async (name) => {
    install(
      s3,
      onRequest(
        (request) =>
          void (request.body =
            '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>tenants/acme2/one</Key></Object></Delete>'),
      ),
      where,
    );
    // Lengths are counted before.
    expect(await fails(() => send(name))).toBe('stopped');
  });
});

describe('no change of a request leads outside:', () => {
  const LATE = { relation: 'after', toMiddleware: 'httpSigningMiddleware' } as const;
  const EARLY = { relation: 'before', toMiddleware: 'httpSigningMiddleware' } as const;
  const changes: Record<string, readonly [readonly Name[], (request: Request) => void]> = {
    'no upload id': [UPLOADS, ({ query }) => void delete query['uploadId']],
    'an upload id that was not sealed': [UPLOADS, ({ query }) => void (query['uploadId'] = '2~x')],
    'an upload id that is a path': [UPLOADS, ({ query }) => void (query['uploadId'] = '../tenants/acme2')],
    'two upload ids': [UPLOADS, ({ query }) => void (query['uploadId'] = [query['uploadId'], 'x'])],
    'an upload id where none belongs': [['batch', 'tag'], ({ query }) => void (query['uploadId'] = 'x')],
    'a part that is none': [['part', 'partCopy'], ({ query }) => void (query['partNumber'] = '../1')],
    'a part 0': [['part', 'partCopy'], ({ query }) => void (query['partNumber'] = '0')],
    'another copy source': [
      ['partCopy'],
      ({ headers }) => void (headers['x-amz-copy-source'] = `${own.bucket}/tenants/acme2/one`),
    ],
    'a copy source where none belongs': [
      ALL.filter((name) => name !== 'partCopy'),
      ({ headers }) => void (headers['x-amz-copy-source'] = `${own.bucket}/tenants/acme2/one`),
    ],
    'no word of the batch': [['batch'], ({ query }) => void delete query['delete']],
    'no word of the uploads': [['create', 'uploads'], ({ query }) => void delete query['uploads']],
    'no word of the versions': [['versions'], ({ query }) => void delete query['versions']],
    'no word of the tags': [['tags', 'tag', 'untag'], ({ query }) => void delete query['tagging']],
    'no word of the query': [['select'], ({ query }) => void delete query['select']],
    'no word of what is restored': [['restore'], ({ query }) => void delete query['restore']],
    'an ACL in place of tags': [['tags', 'tag'], ({ query }) => void (query['acl'] = '')],
    'another marker': [['older'], ({ query }) => void (query['marker'] = 'tenants/acme2/')],
    'another marker of versions': [
      ['versions', 'uploads'],
      ({ query }) => void (query['key-marker'] = 'tenants/acme'),
    ],
    'another start': [['newer'], ({ query }) => void (query['start-after'] = 'tenants/acme2/one')],
    'a made-up token': [['newer'], ({ query }) => void (query['continuation-token'] = 'tenants/acme2/one')],
    'a made-up marker of uploads': [['uploads'], ({ query }) => void (query['upload-id-marker'] = '2~x')],
    'no marker of uploads': [['uploads'], ({ query }) => void delete query['upload-id-marker']],
    'a version that is a path': [['versions'], ({ query }) => void (query['version-id-marker'] = '../x')],
    'an ACL for everybody': [['create'], ({ headers }) => void (headers['x-amz-acl'] = 'public-read')],
    'a tag that is not accepted': [['create'], ({ headers }) => void (headers['x-amz-tagging'] = 'team=x')],
    'metadata of tenantkit’s own': [
      ['create'],
      ({ headers }) => void (headers['x-amz-meta-tk-subject'] = 'x'),
    ],
    'metadata that is read as such': [
      ['create'],
      ({ headers }) => void (headers['x-amz-meta-tk_subject'] = 'x'),
    ],
    'tags in a broken spelling': [['create'], ({ headers }) => void (headers['x-amz-tagging'] = '%zz=x')],
  };

  it.each(Object.entries(changes))('%s', async (_name, [names, change]) => {
    install(s3, onRequest(change), LATE);
    for (const name of names)
      expect(await fails(() => send(name), undefined, name === 'partCopy' ? 1 : 0)).toBe('stopped');
  });

  it('while the accepted ones pass', async () => {
    const more = { 'x-amz-acl': 'private', 'x-amz-tagging': 'class=b' };
    install(
      s3,
      onRequest(({ headers }) => Object.assign(headers, more)),
      { relation: 'before', toMiddleware: 'httpSigningMiddleware' },
    );
    await send('create');
    expect(sent()).toBe(1);
  });

  const key = '<Object><Key>tenants/acme2/one</Key></Object>';
  const bodies: Record<string, (body: string) => string> = {
    'another key': (body) => body.replace('tenants/acme/a', 'tenants/acme2/a'),
    'a parent segment': (body) => body.replace('tenants/acme/a', 'tenants/acme/../acme2/a'),
    'one more key': (body) => body.replace('</Delete>', `${key}</Delete>`),
    'a second document': (body) => body + body,
    'a second document of the bare kind': (body) => `${body}<Delete><Quiet>true</Quiet></Delete>`,
    'a comment that some parsers end early': (body) =>
      body.replace('</Delete>', `<!-- > ${key} --></Delete>`),
    'a CDATA section': (body) => body.replace('tenants/acme/a', '<![CDATA[tenants/acme2/a]]>'),
    'a document type with an entity': (body) =>
      `<!DOCTYPE Delete [<!ENTITY a "2">]>${body.replace('tenants/acme/a', 'tenants/acme&a;/a')}`,
    'an entity of nobody’s': (body) => body.replace('tenants/acme/a', 'tenants/acme/&x;'),
    'a decimal entity': (body) => body.replace('tenants/acme/a', 'tenants/acme&#50;/a'),
    'an entity beyond Unicode': (body) => body.replace('tenants/acme/a', 'tenants/acme/&#xFFFFFF;'),
    'an attribute': (body) => body.replace('<Key>', '<Key x="y">'),
    'a namespace inside': (body) =>
      body.replace('<Key>', '<Key xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'),
    'another namespace': (body) => body.replace('2006-03-01', '2006-03-02'),
    'a prefixed element': (body) => body.replaceAll('Key>', 'x:Key>'),
    'an element in lower case': (body) => body.replaceAll('Key>', 'key>'),
    'a blank inside of a tag': (body) => body.replace('</Key>', '</Key >'),
    'a text beside the elements': (body) => body.replace('<Object>', 'x<Object>'),
    'a text behind an element': (body) => body.replace('</Object>', '</Object>x'),
    'a text behind the end': (body) => `${body} `,
    'a text before the beginning': (body) => ` ${body}`,
    'two keys in one object': (body) => body.replace('</Key>', '</Key><Key>tenants/acme2/one</Key>'),
    'a key inside of a key': (body) => body.replace('tenants/acme/a', '<Key>tenants/acme2/a</Key>'),
    'an element that is not closed': (body) => body.replace('</Delete>', ''),
    'elements that are closed the wrong way round': (body) =>
      body.replace('</Key></Object>', '</Object></Key>'),
    'a processing instruction': (body) => body.replace('<Object>', '<?x y?><Object>'),
    'a declaration inside': (body) =>
      body.replace('<Object>', '<?xml version="1.0" encoding="UTF-8"?><Object>'),
    'a declaration of another encoding': (body) => `<?xml version="1.0" encoding="UTF-7"?>${body}`,
    'nothing but a declaration': () => '<?xml version="1.0" encoding="UTF-8"?>',
    'a version that is a path': (body) => body.replace('</Key>', '</Key><VersionId>../x</VersionId>'),
    'an object without a key': (body) => body.replace('</Object>', '</Object><Object/>'),
    'a root of another kind': (body) => body.replaceAll('Delete>', 'Remove>').replace('<Delete ', '<Remove '),
  };
  it.each(Object.entries(bodies))('a batch with %s', async (_name, change) => {
    const attack = onRequest((request) => {
      const body = request.body as string;
      request.body = change(body);
      expect(request.body).not.toBe(body);
      delete request.headers['content-length'];
    });
    // After signing, the digest alone would give it away.
    for (const where of [EARLY, LATE]) {
      install(s3, attack, where);
      expect(await fails(() => send('batch'), 'CROSS_TENANT')).toBe('stopped');
      s3.middlewareStack.remove('attack');
    }
  });

  it.each<[string, Name, (body: string) => string]>([
    ['another tag', 'tag', (body) => body.replace('>class<', '>team<')],
    [
      'a place to write to',
      'restore',
      (body) =>
        body.replace(
          '</RestoreRequest>',
          '<OutputLocation><S3><BucketName>x</BucketName></S3></OutputLocation></RestoreRequest>',
        ),
    ],
    ['another kind of job', 'restore', (body) => body.replace('<Days>', '<Type>SELECT</Type><Days>')],
    ['a further element', 'select', (body) => body.replace('<Expression>', '<Key>x</Key><Expression>')],
    ['a part that is a path', 'complete', (body) => body.replace('<Part>', '<Part><Key>x</Key>')],
    ['a text where elements are', 'complete', () => '<CompleteMultipartUpload>x</CompleteMultipartUpload>'],
  ])('a body with %s', async (_what, name, change) => {
    const attack = onRequest((request) => {
      request.body = change(request.body as string);
      delete request.headers['content-length'];
    });
    install(s3, attack, EARLY);
    expect(await fails(() => send(name), 'CROSS_TENANT')).toBe('stopped');
  });

  it.each([
    ['of the digest of another body', (evil: string) => createHash('sha256').update(evil).digest('hex')],
    ['of any body', () => 'UNSIGNED-PAYLOAD'],
    ['of a stream', () => 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'],
  ])('a batch is not signed with the header %s', async (_what, digest) => {
    const evil = `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${key}</Delete>`;
    const signed: unknown[] = [];
    install(
      s3,
      onRequest(({ headers }) => void (headers['X-Amz-Content-Sha256'] = digest(evil))),
      { relation: 'before', toMiddleware: 'httpSigningMiddleware' },
    );
    install(
      s3,
      onRequest(({ headers }) => signed.push(headers)),
      { ...LATE, name: 'thief' },
    );
    expect(await fails(() => send('batch'), 'CROSS_TENANT')).toBe('stopped');
    expect(signed).toEqual([]);
  });

  it('a batch is not signed with another body, which a later middleware would take back', async () => {
    const signed: unknown[] = [];
    const evil = onRequest((request) => {
      request.body = (request.body as string).replace('tenants/acme/a', 'tenants/acme2/a');
    });
    install(s3, evil, { relation: 'before', toMiddleware: 'httpSigningMiddleware' });
    install(
      s3,
      onRequest(({ headers }) => signed.push(headers)),
      { ...LATE, name: 'thief' },
    );
    expect(await fails(() => send('batch'), 'CROSS_TENANT')).toBe('stopped');
    expect(signed).toEqual([]);
  });

  it('while the body as it was, and one with fewer keys, pass', async () => {
    const shorter = onRequest((request) => {
      request.body = (request.body as string).replace('<Object><Key>tenants/acme/b</Key></Object>', '');
      delete request.headers['content-length'];
    });
    install(s3, shorter, { step: 'build', priority: 'high' });
    const { Deleted = [] } = (await send('batch')) as { Deleted?: { Key: string }[] };
    expect(Deleted.map(({ Key }) => Key)).toEqual(['a']);
  });
});

describe('an upload id', () => {
  const use = (tenant: string, Key: string, UploadId: unknown): Promise<unknown> =>
    withTenant(tenant, () => s3.send(new ours.ListPartsCommand({ Key, UploadId: UploadId as string })));

  needs('uploadLists').it(
    'works in its tenant, for its key, also with another client of the same keys',
    async () => {
      for (const tenant of ['acme', 'acme2']) {
        expect(await use(tenant, 'big', uploads[tenant])).toMatchObject({
          UploadId: uploads[tenant],
          Key: 'big',
        });
      }
    },
  );

  needs('uploadLists').it(
    'is one and the same refusal when it is stolen, for another key, altered or made up',
    async () => {
      const id = uploads['acme'] ?? '';
      const { UploadId: physical } = await rawUpload('acme2');
      const forged: [string, string, unknown][] = [
        ['acme', 'big', uploads['acme2']],
        ['acme', 'one', id],
        ['a', 'big', id],
        ['acme', 'big', altered(id)],
        ['acme', 'big', `${id}=`],
        ['acme', 'big', physical],
        ['acme', 'big', '2~made-up'],
        ['acme', 'big', '../tenants/acme2'],
        ['acme', 'big', ''],
        ['acme', 'big', { toString: () => id }],
        ['acme', 'big', 7],
      ];
      const texts = await Promise.all(
        forged.map((one) =>
          use(...one).then(
            () => 'answered',
            (error: unknown) => {
              expect(error).toBeInstanceOf(SignatureError);
              return String(error);
            },
          ),
        ),
      );
      expect(new Set(texts).size).toBe(1);
      expect(sent()).toBe(0);
      await expect(use('acme', 'big', undefined)).rejects.toThrow('UploadId is missing');
      await use('acme', 'big', id);
    },
  );

  needs('uploadLists').it('is opened by an earlier key of the ring, and given back as it came', async () => {
    const rotated = new ours.S3Client({
      ...own.options,
      tenant: {
        ...tenantOptions(),
        sealingKeys: [{ kid: 'b', secret: 'b'.repeat(32) }, ...(tenantOptions().sealingKeys ?? [])],
      },
    });
    const reply = await withTenant('acme', () => rotated.send(new ours.ListPartsCommand(UPLOAD())));
    expect(reply.UploadId).toBe(uploads['acme']);
    const { Uploads = [] } = await withTenant('acme', () =>
      rotated.send(new ours.ListMultipartUploadsCommand({})),
    );
    expect(Uploads[0]?.Key).toBe('big');
    expect(Uploads[0]?.UploadId).not.toBe(uploads['acme']);
    rotated.destroy();
    const { Uploads: same = [] } = await withTenant('acme', () =>
      s3.send(new ours.ListMultipartUploadsCommand({})),
    );
    expect(same[0]?.UploadId).toBe(uploads['acme']);
  });

  needs('aborts').it('is as long for every key, and short enough for a header', async () => {
    const ids = await withTenant('acme', () =>
      Promise.all(
        ['k', 'k'.repeat(1000)].map(async (Key) => {
          const { UploadId = '' } = await s3.send(new ours.CreateMultipartUploadCommand({ Key }));
          await s3.send(new ours.AbortMultipartUploadCommand({ Key, UploadId }));
          return UploadId;
        }),
      ),
    );
    expect(new Set(ids.map(({ length }) => length)).size).toBe(1);
    expect(ids[0]).toMatch(/^[\w-]{80,160}$/);
  });

  async function rawUpload(tenant: string): Promise<{ UploadId: string }> {
    const { UploadId = '' } = await import('@aws-sdk/client-s3').then(({ ListMultipartUploadsCommand }) =>
      own.raw
        .send(new ListMultipartUploadsCommand({ Bucket: own.bucket, Prefix: `tenants/${tenant}/` }))
        .then(({ Uploads = [] }) => Uploads[0] ?? {}),
    );
    await own.raw.send(
      new RawListPartsCommand({ Bucket: own.bucket, Key: `tenants/${tenant}/big`, UploadId }),
    );
    return { UploadId };
  }
});

describe('a batch', () => {
  it.each<[string, object]>([
    ['a foreign path', { Objects: [{ Key: 'a' }, { Key: '../acme2/one' }] }],
    ['an object without a key', { Objects: [{ Key: 'a' }, {}] }],
    ['an object that is none', { Objects: [{ Key: 'a' }, 'tenants/acme2/one'] }],
    ['objects that are no list', { Objects: { Key: 'a' } }],
    ['no objects', {}],
    ['a field that nobody knows', { Objects: [{ Key: 'a', Bucket: 'x' }] }],
    ['a key that is no text', { Objects: [{ Key: { toString: () => '../acme2/one' } }] }],
    ['a version that is a path', { Objects: [{ Key: 'a', VersionId: '../x' }] }],
  ])('with %s is refused whole', async (_what, Delete) => {
    await withTenant('acme', () => s3.send(new ours.PutObjectCommand({ Key: 'a', Body: 'a' })));
    const command = new ours.DeleteObjectsCommand({ Delete: Delete as never });
    expect(await fails(() => withTenant('acme', () => s3.send(command)), 'OPERATION_REFUSED')).toBe(
      'stopped',
    );
    await withTenant('acme', () => s3.send(new ours.HeadObjectCommand({ Key: 'a' })));
  });

  it('reads each key once', async () => {
    let reads = 0;
    const entry = {
      get Key() {
        reads += 1;
        return reads === 1 ? 'a' : '../acme2/one';
      },
    };
    const { Deleted = [] } = await withTenant('acme', () =>
      s3.send(new ours.DeleteObjectsCommand({ Delete: { Objects: [entry] } })),
    );
    expect([reads, Deleted.map(({ Key }) => Key)]).toEqual([1, ['a']]);
  });
});

describe('a reply that names something outside of the tenant', () => {
  const LAST = { relation: 'before', toMiddleware: 'deserializerMiddleware' } as const;
  const foreign = 'tenants/acme2/one';
  it.each<[string, Name, Record<string, unknown>]>([
    ['a key of the older listing', 'older', { Contents: [{ Key: foreign }] }],
    ['a marker', 'older', { NextMarker: foreign }],
    ['a bucket', 'older', { Name: 'another' }],
    ['a version', 'versions', { Versions: [{ Key: foreign }] }],
    ['a delete marker', 'versions', { DeleteMarkers: [{ Key: foreign }] }],
    ['a marker of versions', 'versions', { NextKeyMarker: foreign }],
    ['a common prefix', 'versions', { CommonPrefixes: [{ Prefix: foreign }] }],
    ['an upload', 'uploads', { Uploads: [{ Key: foreign, UploadId: 'x' }] }],
    ['a marker of uploads', 'uploads', { NextKeyMarker: foreign, NextUploadIdMarker: 'x' }],
    ['an encoded upload', 'uploads', { Uploads: [{ Key: 'tenants%2Facme2%2Fone', UploadId: 'x' }] }],
    ['the key of parts', 'parts', { Key: foreign }],
    ['the upload of parts', 'parts', { UploadId: '2~another' }],
    ['the bucket of parts', 'parts', { Bucket: 'another' }],
    ['a new upload', 'create', { Key: foreign }],
    ['what was deleted', 'batch', { Deleted: [{ Key: foreign }] }],
    ['what was not deleted', 'batch', { Errors: [{ Key: foreign, Code: 'AccessDenied' }] }],
    ['the location of what was completed', 'complete', { Location: `http://x/uploads/${foreign}` }],
    ['a location like it', 'complete', { Location: 'http://x/uploads/tenants/acme/not-big' }],
  ])('is withheld: %s', async (_what, name, change) => {
    install(s3, answers(change), LAST);
    const reply = send(name);
    await expect(reply).rejects.toThrow(IsolationBreachError);
    await expect(reply).rejects.not.toThrow('acme2');
    expect(sent()).toBe(0);
  });

  it('is cut to the fields that the table knows, and texts name logical keys', async () => {
    const Errors = [{ Key: 'tenants/acme/b', Message: `no tenants/acme/b in ${own.bucket}` }];
    install(s3, answers({ Deleted: [{ Key: 'tenants/acme/a', Neighbour: foreign }], Errors }), LAST);
    expect(await send('batch')).toMatchObject({
      Deleted: [{ Key: 'a' }],
      Errors: [{ Key: 'b', Message: `no b in ${own.bucket}` }],
    });
  });
});

describe('a value', () => {
  const refused = (command: object, text: string): Promise<void> =>
    expect(withTenant('acme', () => s3.send(command as ours.GetObjectTaggingCommand))).rejects.toThrow(text);
  it.each<[string, () => object, string]>([
    [
      'an ACL for everybody',
      () => new ours.PutObjectCommand({ Key: 'one', ACL: 'public-read' }),
      'ACL is none of',
    ],
    ['a tag', () => new ours.PutObjectCommand({ Key: 'one', Tagging: 'team=x' }), 'tenant.tags'],
    [
      'a second tag',
      () => new ours.PutObjectCommand({ Key: 'one', Tagging: 'class=a&te%61m=x' }),
      'tenant.tags',
    ],
    ['broken tags', () => new ours.PutObjectCommand({ Key: 'one', Tagging: '%zz=x' }), 'not a query string'],
    [
      'a tag of an object',
      () =>
        new ours.PutObjectTaggingCommand({ Key: 'one', Tagging: { TagSet: [{ Key: 'team', Value: 'x' }] } }),
      'tenant.tags',
    ],
    [
      'metadata of tenantkit’s own',
      () => new ours.PutObjectCommand({ Key: 'one', Metadata: { 'TK-subject': 'x' } }),
      'reserved',
    ],
    [
      'metadata that servers read as such',
      () => new ours.PutObjectCommand({ Key: 'one', Metadata: { tk_subject: 'x' } }),
      'reserved',
    ],
    [
      'a place to restore to',
      () =>
        new ours.RestoreObjectCommand({
          Key: 'one',
          RestoreRequest: { OutputLocation: { S3: { BucketName: 'x', Prefix: '' } } },
        }),
      'RestoreRequest.OutputLocation',
    ],
    ['part 0', () => new ours.UploadPartCommand({ ...UPLOAD(), PartNumber: 0 }), 'PartNumber'],
    ['no part', () => new ours.UploadPartCommand({ ...UPLOAD() } as never), 'PartNumber'],
    ['no source', () => new ours.CopyObjectCommand({ Key: 'one' } as never), 'CopySource'],
    [
      'an expression that is no text',
      () => new ours.SelectObjectContentCommand({ ...select, Expression: 7 as never }),
      'Expression',
    ],
    [
      'a NUL in an expression',
      () => new ours.SelectObjectContentCommand({ ...select, Expression: 'x\u0000' }),
      'Expression',
    ],
  ])('is refused before anything is sent: %s', async (_what, command, text) => {
    await refused(command(), text);
    expect(sent()).toBe(0);
  });

  it.each<[string, () => object]>([
    ['a private ACL', () => new ours.PutObjectCommand({ Key: 'two', Body: 'x', ACL: 'private' })],
    ['an accepted tag', () => new ours.PutObjectCommand({ Key: 'two', Body: 'x', Tagging: 'class=a%20b' })],
    ['no tag', () => new ours.PutObjectCommand({ Key: 'two', Body: 'x', Tagging: '' })],
  ])('while it passes: %s', async (_what, command) => {
    await withTenant('acme', () => s3.send(command() as ours.GetObjectTaggingCommand));
    expect(sent()).toBe(1);
  });

  needs('tagsOnWrite').it('that is a tag is read again', async () => {
    await withTenant('acme', async () => {
      await s3.send(new ours.PutObjectCommand({ Key: 'two', Body: 'x', Tagging: 'class=a%20b' }));
      const { TagSet } = await s3.send(new ours.GetObjectTaggingCommand({ Key: 'two' }));
      expect(TagSet).toEqual([{ Key: 'class', Value: 'a b' }]);
    });
    const plain = new ours.S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    const tagged = new ours.PutObjectCommand({ Key: 'two', Body: 'x', Tagging: 'class=a' });
    await expect(withTenant('acme', () => plain.send(tagged))).rejects.toThrow(OperationRefusedError);
    plain.destroy();
  });

  it('that no command of the kind knows is left out only where Upload of lib-storage gives it', async () => {
    const params = { ContentType: 'image/png', Metadata: { a: 'b' }, ACL: 'private', Body: 'x' };
    await withTenant('acme', () =>
      s3.send(new ours.UploadPartCommand({ ...UPLOAD(), ...params, PartNumber: 4 })),
    );
    expect(sent()).toBe(1);
    const more = { ...UPLOAD(), PartNumber: 4, Body: 'x', Neighbour: 'acme2' };
    await refused(new ours.UploadPartCommand(more), 'Neighbour');
    await refused(new ours.ListPartsCommand({ ...UPLOAD(), ContentType: 'x' } as never), 'ContentType');
  });
});
