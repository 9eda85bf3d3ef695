import { withTenant } from '@tenantkit/core';
import { CreateMultipartUploadCommand, PutObjectCommand, storageEraser } from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openPlaces, others, type Places } from './place-support.ts';

let places: Places;
beforeAll(async () => {
  places = await openPlaces();
});
afterAll(() => places[Symbol.asyncDispose]());

const countOf = (items: readonly { readonly kind: string; readonly count: number }[]): number =>
  items.reduce((sum, { count }) => sum + count, 0);

describe.each(TENANTS)('the erasure of %s', (tenant) => {
  let client: ReturnType<Places['client']>;
  beforeEach(async () => {
    client = places.client();
    for (const one of TENANTS)
      await withTenant(one, async () => {
        await client.s3.send(new PutObjectCommand({ Key: 'same', Body: `of ${one}` }));
      });
  });

  it('reaches the tenant where it is, and what a move has left in the pool, and nobody else', async () => {
    await withTenant(tenant, () => client.s3.send(new CreateMultipartUploadCommand({ Key: 'big' })));
    await places.write(places.bucket, `tenants/${tenant}/left`, 'in the pool');
    const eraser = storageEraser(client.s3, { bucket: places.bucket });
    expect(countOf((await eraser.plan({ tenant })).items)).toBe(3);
    expect(countOf((await eraser.erase({ tenant })).erased)).toBe(3);
    const { remaining, control } = await eraser.verify({ tenant });
    expect(countOf(remaining)).toBe(0);
    expect(control.found).toBe(control.planted);
    for (const bucket of [places.bucketOf(tenant), places.bucket])
      await expect(places.read(bucket, `tenants/${tenant}/same`)).rejects.toMatchObject({
        name: 'NoSuchKey',
      });
    for (const other of others(tenant))
      expect(await places.read(places.bucketOf(other), `tenants/${other}/same`)).toBe(`of ${other}`);
  });

  it('sends no credentials of the pool to a silo', async () => {
    client.sent.length = 0;
    await storageEraser(client.s3, { bucket: places.bucket }).erase({ tenant });
    const pool = places.own.options.credentials.accessKeyId;
    expect(new Set(client.sent.map(({ host }) => host))).toEqual(
      new Set([places.hostOf('acme'), places.hostOf(tenant)]),
    );
    for (const { host, accessKeyId } of client.sent)
      expect(accessKeyId === pool).toBe(host === places.hostOf('acme'));
  });
});

it('fails where nobody knows the place, and erases nothing', async () => {
  const { s3, sent } = places.client({
    place: () => {
      throw new Error('not loaded');
    },
  });
  await expect(storageEraser(s3, { bucket: places.bucket }).erase({ tenant: 'acme' })).rejects.toMatchObject({
    code: 'OPERATION_REFUSED',
  });
  expect(sent).toEqual([]);
});
