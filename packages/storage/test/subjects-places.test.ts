import * as raw from '@aws-sdk/client-s3';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import {
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  storageEraser,
} from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { assumeTenantRole } from '@tenantkit/storage/sts';
import { expect, it } from 'vitest';
import { statusOf } from './confined.ts';
import { run } from './erase-support.ts';
import { send } from './forms.ts';
import { open } from './open.ts';
import { openPlaces } from './place-support.ts';
import { openRole } from './role.ts';
import { needs } from './servers/capabilities.ts';
import { keysOf, labelOf } from './subjects-support.ts';

const p1 = { tenant: 'acme', subject: 'p1' };
const marker = (name: string): string => `tk!subjects/acme/p1/k/${name}`;

needs('signatures').describe('what is uploaded by a URL or a form', () => {
  it('of a PUT is noted when the URL is made, and says whom it is about', async () => {
    await using own = await open();
    const url = await withTenant(p1, () =>
      getSignedUrl(own.s3, new PutObjectCommand({ Key: 'a', Metadata: { color: 'red' } })),
    );
    expect(await keysOf(own)).toEqual([marker('a')]);
    // No header is asked of whoever uses it.
    expect((await fetch(url, { method: 'PUT', body: 'x' })).status).toBe(200);
    expect(await labelOf(own, 'tenants/acme/a')).toBe('p1');
    const other = url.replace('x-amz-meta-tk-subject=p1', 'x-amz-meta-tk-subject=p2');
    expect(other).not.toBe(url);
    expect((await fetch(other, { method: 'PUT', body: 'x' })).status).toBe(403);
    expect((await fetch(url.replace('&x-amz-meta-tk-subject=p1', ''), { method: 'PUT' })).status).toBe(403);
    // Ceph takes one more that is not signed, and keeps both.
    const headers = { 'x-amz-meta-tk-subject': 'p2' };
    await fetch(url, { method: 'PUT', body: 'x', headers });
    expect((await labelOf(own, 'tenants/acme/a'))?.split(',')).toContain('p1');
    await storageEraser(own.s3, { bucket: own.bucket }).erase(p1, run());
    expect(await keysOf(own)).toEqual([]);
  });

  it('is bound to the person where headers are signed, too', async () => {
    await using own = await open();
    const url = await withTenant(p1, () =>
      getSignedUrl(own.s3, new PutObjectCommand({ Key: 'a' }), {
        unhoistableHeaders: new Set(['x-amz-meta-tk-subject']),
      }),
    );
    for (const [headers, status] of [
      [{}, 403],
      [{ 'x-amz-meta-tk-subject': 'p2' }, 403],
      [{ 'x-amz-meta-tk-subject': 'p1' }, 200],
    ] as const) {
      expect((await fetch(url, { method: 'PUT', body: 'x', headers })).status).toBe(status);
    }
  });

  it('of a part is about whom its upload is about', async () => {
    await using own = await open();
    const { UploadId = '' } = await withTenant(p1, () =>
      own.s3.send(new CreateMultipartUploadCommand({ Key: 'a' })),
    );
    const part = new UploadPartCommand({ Key: 'a', UploadId, PartNumber: 1 });
    await withTenant(p1, () => getSignedUrl(own.s3, part));
    await expect(
      withTenant({ tenant: 'acme', subject: 'p2' }, () => getSignedUrl(own.s3, part)),
    ).rejects.toThrow(OperationRefusedError);
  });

  it('of a form is noted when the form is made, and says whom it is about', async () => {
    await using own = await open();
    const make = (subject: string) =>
      withTenant({ tenant: 'acme', subject }, () =>
        createPresignedPost(own.s3, {
          Key: 'a',
          Fields: { 'Content-Type': 'text/plain', 'x-amz-meta-color': 'red' },
          Conditions: [['content-length-range', 1, 10]],
        }),
      );
    const form = await make('p1');
    expect(await keysOf(own)).toEqual([marker('a')]);
    expect((await send(form)).status).toBe(204);
    expect(await labelOf(own, 'tenants/acme/a')).toBe('p1');
    const changed = await send(form, ({ fields }) => ({
      fields: fields.map(([name, value]) => [name, name === 'x-amz-meta-tk-subject' ? 'p2' : value]),
    }));
    expect(changed.status).toBe(403);
    const without = await send(form, ({ fields }) => ({
      fields: fields.filter(([name]) => name !== 'x-amz-meta-tk-subject'),
    }));
    expect(without.status).toBe(403);
    await storageEraser(own.s3, { bucket: own.bucket }).erase(p1, run());
    expect(await keysOf(own)).toEqual([]);
  });
});

needs('sts').describe('with credentials of the tenant', () => {
  it('markers are written, and neither read nor removed', async () => {
    await using own = await open();
    await using role = await openRole(own);
    const credentials = assumeTenantRole({
      client: role.sts,
      roleArn: role.arn,
      buckets: [own.bucket],
      server: 'ceph',
    });
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket], credentials } });
    await withTenant(p1, async () => {
      await s3.send(new PutObjectCommand({ Key: 'a', Body: 'x' }));
      await s3.send(new CopyObjectCommand({ Key: 'b', CopySource: `${own.bucket}/a` }));
    });
    s3.destroy();
    expect(await keysOf(own)).toEqual(['tenants/acme/a', 'tenants/acme/b', marker('a'), marker('b')]);
    const tenant = new raw.S3Client({ ...own.options, credentials: await credentials('acme') });
    const target = { Bucket: own.bucket, Key: marker('a') };
    const elsewhere = { Bucket: own.bucket, Key: 'tk!subjects/acme2/p1/k/a' };
    for (const [command, status] of [
      [new raw.PutObjectCommand({ ...target, Body: '' }), 200],
      [new raw.GetObjectCommand(target), 403],
      [new raw.DeleteObjectCommand(target), 403],
      [new raw.PutObjectCommand({ ...elsewhere, Body: '' }), 403],
      [new raw.ListObjectsV2Command({ Bucket: own.bucket, Prefix: 'tk!subjects/acme/' }), 403],
    ] as const) {
      expect(
        await statusOf(() => tenant.send(command as raw.GetObjectCommand)),
        command.constructor.name,
      ).toBe(status);
    }
    tenant.destroy();
  });

  it('markers are where the objects are', async () => {
    await using places = await openPlaces();
    const { s3, sent } = places.client();
    for (const tenant of ['acme', 'acme2', 'a', 'ac']) {
      await withTenant({ tenant, subject: 'p1' }, () =>
        s3.send(new PutObjectCommand({ Key: 'x', Body: 'x' })),
      );
      const bucket = places.bucketOf(tenant);
      expect(await keysOf({ raw: places.own.raw, bucket })).toEqual([
        `tenants/${tenant}/x`,
        `tk!subjects/${tenant}/p1/k/x`,
      ]);
      const [first, second] = sent.splice(0);
      expect(first?.host).toBe(places.hostOf(tenant));
      expect(first).toEqual({ ...second, path: expect.stringContaining('/tk%21subjects/') });
    }
  });
});
