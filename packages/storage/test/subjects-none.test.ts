import { withTenant } from '@tenantkit/core';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  storageEraser,
} from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';
import { keysOf } from './subjects-support.ts';

let own: Opened;
let kept: Opened;
beforeAll(async () => {
  own = await open({ tenant: { subjects: false } });
  kept = await open();
});
afterAll(async () => {
  await own[Symbol.asyncDispose]();
  await kept[Symbol.asyncDispose]();
});

const PERSON = { tenant: 'acme', subject: 'p1' };
const refusal: unknown = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  why: expect.stringContaining('tenant.subjects is false') as string,
});
const failure = (call: () => Promise<unknown>): Promise<unknown> =>
  call().then(
    () => 'it was not refused',
    (error: unknown) => error,
  );

/** The same object in both buckets, and the upload of another. */
async function begun({ s3 }: Opened): Promise<string | undefined> {
  await s3.send(new PutObjectCommand({ Key: 'one', Body: 'x' }));
  return (await s3.send(new CreateMultipartUploadCommand({ Key: 'big' }))).UploadId;
}

describe('a client of which nothing is about persons', () => {
  it('refuses what would be, before anything is sent', async () => {
    const UploadId = await withTenant('acme', () => begun(own));
    await withTenant('acme', () => begun(kept));
    const writes = ({ s3, bucket }: Opened): (() => Promise<unknown>)[] => [
      () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'y' })),
      () => s3.send(new CopyObjectCommand({ Key: 'two', CopySource: `${bucket}/one` })),
      () => s3.send(new CreateMultipartUploadCommand({ Key: 'big' })),
      () => getSignedUrl(s3, new PutObjectCommand({ Key: 'one' })),
      () => createPresignedPost(s3, { Key: 'one', tenant: { anyLength: true, anyType: true } }),
    ];
    const sent = own.sent();
    for (const write of writes(own)) expect(await withTenant(PERSON, () => failure(write))).toEqual(refusal);
    for (const write of [
      new UploadPartCommand({ Key: 'big', UploadId, PartNumber: 1, Body: 'x' }),
      new UploadPartCopyCommand({ Key: 'big', UploadId, PartNumber: 1, CopySource: `${own.bucket}/one` }),
    ])
      expect(await withTenant(PERSON, () => failure(() => own.s3.send(write as never)))).toMatchObject({
        code: 'OPERATION_REFUSED',
        why: expect.stringContaining('context of a person') as string,
      });
    expect(own.sent()).toBe(sent);
    // Everybody else is not, and nobody where persons are kept.
    for (const write of writes(own)) await withTenant('acme', write);
    for (const write of writes(kept)) await withTenant(PERSON, write);
  });

  it('reads and deletes for persons, too', async () => {
    await withTenant('acme', () => own.s3.send(new PutObjectCommand({ Key: 'gone', Body: 'x' })));
    await withTenant(PERSON, async () => {
      const { Body } = await own.s3.send(new GetObjectCommand({ Key: 'gone' }));
      expect(await Body?.transformToString()).toBe('x');
      await own.s3.send(new HeadObjectCommand({ Key: 'gone' }));
      expect((await own.s3.send(new ListObjectsV2Command({ Prefix: 'gone' }))).KeyCount).toBe(1);
      await own.s3.send(new DeleteObjectCommand({ Key: 'gone' }));
    });
    expect(await keysOf(own)).not.toContain('tenants/acme/gone');
  });

  it('copies with one request, where others look at the source first', async () => {
    const copies = async (opened: Opened): Promise<number> => {
      const { s3, bucket, sent } = opened;
      await s3.send(new PutObjectCommand({ Key: 'one', Body: 'x', Metadata: { color: 'red' } }));
      const before = sent();
      await s3.send(new CopyObjectCommand({ Key: 'copy', CopySource: `${bucket}/one` }));
      const after = sent();
      expect((await s3.send(new HeadObjectCommand({ Key: 'copy' }))).Metadata).toEqual({ color: 'red' });
      return after - before;
    };
    expect(await withTenant('acme', () => copies(own))).toBe(1);
    expect(await withTenant('acme', () => copies(kept))).toBe(2);
  });

  needs('partCopies').it('copies parts with one request as well', async () => {
    await withTenant('acme', async () => {
      const { s3, bucket, sent } = own;
      await s3.send(new PutObjectCommand({ Key: 'one', Body: 'x' }));
      const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Key: 'parts' }));
      const before = sent();
      const part = { Key: 'parts', UploadId, PartNumber: 1, CopySource: `${bucket}/one` };
      const { CopyPartResult } = await s3.send(new UploadPartCopyCommand(part));
      expect(sent()).toBe(before + 1);
      const Parts = [{ PartNumber: 1, ETag: CopyPartResult?.ETag }];
      await s3.send(
        new CompleteMultipartUploadCommand({ Key: 'parts', UploadId, MultipartUpload: { Parts } }),
      );
    });
  });

  it('has no person to erase, and says so', async () => {
    const eraser = storageEraser(own.s3, { bucket: own.bucket });
    expect(eraser.subjects).toEqual({
      unsupported: expect.stringContaining('tenant.subjects is false') as string,
    });
    for (const call of ['plan', 'erase', 'verify'] as const)
      expect(await failure(() => eraser[call](PERSON))).toEqual(refusal);
    expect(storageEraser(kept.s3, { bucket: kept.bucket }).subjects).toBe('supported');
  });

  needs('versions').it('erases its tenants as ever', async () => {
    const { erased } = await storageEraser(own.s3, { bucket: own.bucket }).erase({ tenant: 'acme' });
    expect(erased).not.toEqual([]);
    expect(await keysOf(own)).toEqual([]);
  });
});
