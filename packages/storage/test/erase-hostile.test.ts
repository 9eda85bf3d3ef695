import { request } from 'node:http';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { StoreUnreachableError, isVerified, withTenant } from '@tenantkit/core';
import {
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
  storageEraser,
} from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { describe, expect, it } from 'vitest';
import { proxied, run } from './erase-support.ts';
import { open } from './open.ts';
import { keysOf } from './subjects-support.ts';

// The erasure of a person where a server, or whoever holds a URL, has something against it.

const p1 = { tenant: 'acme', subject: 'p1' };
/** So long that its marker holds it in its body. */
const LONG = 'k'.repeat(1_008);

describe('the body of a marker', () => {
  it('is read as far as a key can be, whatever the server sends', async () => {
    await using own = await open();
    await withTenant(p1, () => own.s3.send(new PutObjectCommand({ Key: LONG, Body: 'x' })));
    let sent = 0;
    let gone: Promise<unknown> | undefined;
    await using server = await proxied(own, (url, method) => {
      if (method !== 'GET' || !url.includes('/h/')) return undefined;
      return (response) => {
        gone = new Promise((resolve) => void response.once('close', resolve));
        const more = (): void => {
          while (!response.destroyed && sent < 64 * 1024 * 1024) {
            sent += 65_536;
            if (!response.write(Buffer.alloc(65_536, 'k'))) {
              response.once('drain', more);
              return;
            }
          }
        };
        response.writeHead(200);
        more();
      };
    });
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    const { notes = [] } = await eraser.plan(p1);
    expect(notes).toContainEqual(expect.stringMatching(/^1 markers of the person/));
    await gone;
    // What the connection had room for.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    // The control: the same marker as it is.
    await storageEraser(own.s3, { bucket: own.bucket }).erase(p1, run());
    expect(await keysOf(own)).toEqual([]);
  });

  it('is waited for no longer than the server may take to answer', async () => {
    await using own = await open();
    await withTenant(p1, () => own.s3.send(new PutObjectCommand({ Key: LONG, Body: 'x' })));
    await using server = await proxied(own, (url, method) =>
      method === 'GET' && url.includes('/h/') ? (response) => void response.write('k') : undefined,
    );
    const eraser = storageEraser(server.s3, { bucket: own.bucket, timeout: 1_000 });
    await expect(eraser.plan(p1)).rejects.toThrow(StoreUnreachableError);
  });
});

describe('a listing whose first page shows nothing', () => {
  it.each([true, false])('hides no unfinished upload of a person (first page empty: %s)', async (empty) => {
    await using own = await open();
    await withTenant(p1, async () => {
      const { UploadId } = await own.s3.send(new CreateMultipartUploadCommand({ Key: 'letter' }));
      await own.s3.send(new UploadPartCommand({ Key: 'letter', UploadId, PartNumber: 1, Body: 'Dear' }));
    });
    let changed = 0;
    await using server = await proxied(own, (url) => {
      const query = new URL(url, 'http://h').searchParams;
      if (!empty || query.get('max-keys') !== '1' || query.has('continuation-token')) return undefined;
      changed += 1;
      const token = query.get('prefix')?.slice(0, -1) ?? '';
      return `<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>${token}</NextContinuationToken></ListBucketResult>`;
    });
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    expect((await eraser.plan(p1)).items).toContainEqual({ kind: 'uploads', count: 1 });
    await eraser.erase(p1, run());
    expect(isVerified(await eraser.verify(p1))).toBe(true);
    const { Uploads = [] } = await own.raw.send(new ListMultipartUploadsCommand({ Bucket: own.bucket }));
    expect(Uploads).toEqual([]);
    expect(changed > 0).toBe(empty);
  });
});

describe('an object with more metadata than can be read', () => {
  it.each([100, 1_060])('is erased with its person (15 headers of %i)', async (length) => {
    await using own = await open();
    await withTenant(p1, () => own.s3.send(new PutObjectCommand({ Key: 'other', Body: 'x' })));
    await withTenant({ tenant: 'acme', subject: 'p2' }, () =>
      own.s3.send(new PutObjectCommand({ Key: 'of-p2', Body: 'x' })),
    );
    const url = await withTenant(p1, () => getSignedUrl(own.s3, new PutObjectCommand({ Key: 'x' })));
    const headers = Object.fromEntries(
      Array.from({ length: 15 }, (_, index) => [`x-amz-meta-a${index}`, 'v'.repeat(length)] as const),
    );
    // fetch sends no head of that length.
    const status = await new Promise((resolve, reject) => {
      request(url, { method: 'PUT', headers: { ...headers, 'content-length': 4 } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .once('error', reject)
        .end('data');
    });
    expect(status).toBe(200);
    const eraser = storageEraser(own.s3, { bucket: own.bucket });
    expect((await eraser.plan(p1)).items).toContainEqual(
      expect.objectContaining({ kind: 'objects', count: 2 }),
    );
    await eraser.erase(p1, run());
    expect(isVerified(await eraser.verify(p1))).toBe(true);
    expect(await keysOf(own)).toEqual(['tenants/acme/of-p2', 'tk!subjects/acme/p2/k/of-p2']);
  });
});
