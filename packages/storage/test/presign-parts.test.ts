import { createHash } from 'node:crypto';
import * as sdk from '@aws-sdk/client-s3';
import { OperationRefusedError, SignatureError, withTenant } from '@tenantkit/core';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@tenantkit/storage';
import { getSignedUrl, type PresignOptions, type PresignableCommand } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rules, type CommandName } from '../src/rules.ts';
import { open, type Opened } from './open.ts';

// Which commands a URL can be made of, and the parts that a browser uploads.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

const sign = (command: PresignableCommand, options?: PresignOptions, tenant = 'acme'): Promise<string> =>
  withTenant(tenant, () => getSignedUrl(own.s3, command, options));
const create = async (Key: string, tenant = 'acme'): Promise<string> => {
  const { UploadId = '' } = await withTenant(tenant, () =>
    own.s3.send(new CreateMultipartUploadCommand({ Key })),
  );
  return UploadId;
};
const put = (url: string, body: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, { method: 'PUT', body, headers });

describe('a presigned part', () => {
  it('is uploaded by fetch, and the service completes the upload', async () => {
    const Key = 'parts/a b';
    const UploadId = await create(Key);
    const Parts: sdk.CompletedPart[] = [];
    for (const [index, body] of ['a'.repeat(5 * 1024 ** 2), 'the end'].entries()) {
      const PartNumber = index + 1;
      const url = await sign(new UploadPartCommand({ Key, UploadId, PartNumber }));
      const reply = await put(url, body);
      expect(reply.status).toBe(200);
      Parts.push({ PartNumber, ETag: reply.headers.get('etag') ?? '' });
    }
    const complete = { Key, UploadId, MultipartUpload: { Parts } };
    await withTenant('acme', () => own.s3.send(new CompleteMultipartUploadCommand(complete)));
    const { Body } = await withTenant('acme', () => own.s3.send(new GetObjectCommand({ Key })));
    expect((await Body?.transformToString())?.slice(-9)).toBe('aathe end');
  });

  it('carries the server’s own upload id, which opens nothing here', async () => {
    const UploadId = await create('shown');
    const url = new URL(await sign(new UploadPartCommand({ Key: 'shown', UploadId, PartNumber: 1 })));
    const physical = url.searchParams.get('uploadId') ?? '';
    expect([physical.length > 0, physical === UploadId]).toEqual([true, false]);
    const again = { Key: 'shown', UploadId: physical };
    await expect(sign(new UploadPartCommand({ ...again, PartNumber: 1 }))).rejects.toThrow(SignatureError);
    await expect(withTenant('acme', () => own.s3.send(new ListPartsCommand(again)))).rejects.toThrow(
      SignatureError,
    );
    await expect(
      withTenant('acme', () => own.s3.send(new ListPartsCommand({ Key: 'shown', UploadId }))),
    ).resolves.toHaveProperty('Key', 'shown');
  });

  it('is not made of an upload of another tenant or key', async () => {
    const UploadId = await create('one', 'acme2');
    const part = { Key: 'one', UploadId, PartNumber: 1 };
    const foreign = await sign(new UploadPartCommand(part)).catch((error: unknown) => error);
    const unknown = await sign(new UploadPartCommand({ ...part, UploadId: 'x' })).catch(
      (error: unknown) => error,
    );
    expect(String(foreign)).toBe(String(unknown));
    expect(foreign).toBeInstanceOf(SignatureError);
    await expect(sign(new UploadPartCommand({ ...part, Key: 'two' }), {}, 'acme2')).rejects.toThrow(
      SignatureError,
    );
    expect((await put(await sign(new UploadPartCommand(part), {}, 'acme2'), 'x')).status).toBe(200);
  });

  it.each<[string, (url: URL, other: URL) => void]>([
    [
      'the upload',
      (url, other) => url.searchParams.set('uploadId', other.searchParams.get('uploadId') ?? ''),
    ],
    ['the number', (url) => url.searchParams.set('partNumber', '2')],
    ['the upload, left out: a plain PUT', (url) => url.searchParams.delete('uploadId')],
    ['the key', (url) => void (url.pathname += 'x')],
    ['the tenant', (url) => void (url.pathname = url.pathname.replace('/acme/', '/acme2/'))],
    [
      'the tenant and the upload',
      (url, other) => {
        url.pathname = other.pathname;
        url.searchParams.set('uploadId', other.searchParams.get('uploadId') ?? '');
      },
    ],
  ])('is refused by the server when somebody changes %s', async (_what, change) => {
    const of = async (tenant: string): Promise<string> => {
      const UploadId = await create('changed', tenant);
      return sign(new UploadPartCommand({ Key: 'changed', UploadId, PartNumber: 1 }), {}, tenant);
    };
    const [signed, other] = [await of('acme'), await of('acme2')];
    const url = new URL(signed);
    change(url, new URL(other));
    expect((await put(url.href, 'x')).status).toBe(403);
    expect((await put(signed, 'x')).status).toBe(200);
  });

  it('signs its length and MD5 when asked to', async () => {
    const UploadId = await create('exact');
    const ContentMD5 = createHash('md5').update('abc').digest('base64');
    const part = { Key: 'exact', UploadId, PartNumber: 1, ContentLength: 3, ContentMD5 };
    const url = await sign(new UploadPartCommand(part), {
      tenant: { sign: ['content-length', 'content-md5'] },
    });
    const headers = { 'content-md5': ContentMD5 };
    expect((await put(url, 'abcd', headers)).status).toBe(403);
    expect((await put(url, 'abd', headers)).status).toBe(400);
    expect((await put(url, 'abc')).status).toBe(403);
    expect((await put(url, 'abc', headers)).status).toBe(200);
    const typed = sign(new UploadPartCommand(part), { tenant: { sign: ['content-type'] } });
    await expect(typed).rejects.toThrow(OperationRefusedError);
  });

  it('leaves this server’s unsigned x-amz-copy-source open, as a PUT does', async () => {
    await withTenant('acme2', () => own.s3.send(new PutObjectCommand({ Key: 'secret', Body: 'of acme2' })));
    const UploadId = await create('copied');
    const url = await sign(new UploadPartCommand({ Key: 'copied', UploadId, PartNumber: 1 }));
    const reply = await put(url, '', { 'x-amz-copy-source': `/${own.bucket}/tenants/acme2/secret` });
    expect([reply.status, await reply.text()]).toEqual([200, expect.stringContaining('CopyPartResult')]);
  });
});

it('a presigned abort ends its own upload, and no other', async () => {
  const ids = { acme: await create('end'), acme2: await create('end', 'acme2') };
  const url = await sign(new AbortMultipartUploadCommand({ Key: 'end', UploadId: ids.acme }));
  const other = new URL(url);
  other.pathname = other.pathname.replace('/acme/', '/acme2/');
  expect((await fetch(other, { method: 'DELETE' })).status).toBe(403);
  const bare = new URL(url);
  bare.searchParams.delete('uploadId');
  expect((await fetch(bare, { method: 'DELETE' })).status).toBe(403);
  expect((await fetch(url, { method: 'DELETE' })).status).toBe(204);
  const parts = (tenant: 'acme' | 'acme2') =>
    withTenant(tenant, () => own.s3.send(new ListPartsCommand({ Key: 'end', UploadId: ids[tenant] })));
  await expect(parts('acme')).rejects.toHaveProperty('$metadata.httpStatusCode', 404);
  await expect(parts('acme2')).resolves.toHaveProperty('Key', 'end');
});

describe('the commands', () => {
  const inside = Object.entries(rules).flatMap(([name, rule]) =>
    rule.kind === 'rewrite' ? [[name as CommandName, rule.rewrite.presign] as const] : [],
  );

  it('of which a URL can be made', () => {
    expect(inside.flatMap(([name, presign]) => (presign === 'allowed' ? [name] : [])).sort()).toEqual([
      'AbortMultipartUploadCommand',
      'DeleteObjectCommand',
      'GetObjectCommand',
      'HeadObjectCommand',
      'PutObjectCommand',
      'UploadPartCommand',
    ]);
  });

  it.each(inside.filter(([, presign]) => presign !== 'allowed').map(([name]) => name))(
    'of which none can be made: %s',
    async (name) => {
      const UploadId = await create('one');
      const input: Record<string, unknown> = { Key: 'one', ...INPUTS[name]?.(UploadId, own.bucket) };
      if (LISTS.test(name)) delete input['Key'];
      // oxlint-disable-next-line import/namespace -- by the name in the table
      const Command = sdk[name] as new (input: never) => PresignableCommand;
      const signing = sign(new Command(input as never));
      const rule = rules[name];
      const words =
        rule.kind === 'rewrite' && rule.rewrite.presign !== 'allowed' ? rule.rewrite.presign.why : '?';
      await expect(signing).rejects.toThrow(OperationRefusedError);
      await expect(signing).rejects.toThrow(words);
    },
  );
});

const LISTS = /^List(?!Parts)|DeleteObjectsCommand/;
/** What a command needs besides its key. */
const INPUTS: Partial<Record<CommandName, (UploadId: string, bucket: string) => object>> = {
  CompleteMultipartUploadCommand: (UploadId) => ({
    UploadId,
    MultipartUpload: { Parts: [{ ETag: 'x', PartNumber: 1 }] },
  }),
  CopyObjectCommand: (_id, bucket) => ({ CopySource: `${bucket}/one` }),
  DeleteObjectsCommand: () => ({ Delete: { Objects: [{ Key: 'one' }] } }),
  GetObjectAttributesCommand: () => ({ ObjectAttributes: ['ETag'] }),
  ListPartsCommand: (UploadId) => ({ UploadId }),
  PutObjectTaggingCommand: () => ({ Tagging: { TagSet: [] } }),
  RestoreObjectCommand: () => ({ RestoreRequest: { Days: 1 } }),
  SelectObjectContentCommand: () => ({
    Expression: 'SELECT * FROM S3Object',
    ExpressionType: 'SQL',
    InputSerialization: { CSV: {} },
    OutputSerialization: { CSV: {} },
  }),
  UploadPartCopyCommand: (UploadId, bucket) => ({ UploadId, PartNumber: 1, CopySource: `${bucket}/one` }),
};
