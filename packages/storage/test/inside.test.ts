import { PutObjectCommand as RawPutObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { acrossTenants, withTenant, type EraseRun } from '@tenantkit/core';
import { storageAuditor, storageEraser } from '@tenantkit/storage';
import { TENANTS } from '@tenantkit/testing';
import { expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

const SCOPE = { tenant: 'acme2' };
const RUN: EraseRun = {
  signal: new AbortController().signal,
  checkpoint: { load: () => Promise.resolve(undefined), save: () => Promise.resolve() },
  progress: () => undefined,
};

/** All that works on the objects of every tenant; the last takes those of one away. */
function works({ s3, bucket }: Opened): readonly (() => Promise<unknown>)[] {
  const eraser = storageEraser(s3, { bucket });
  const audited = async (): Promise<void> => {
    for await (const { code } of storageAuditor(s3, { bucket }).audit()) expect(code).toBeTypeOf('string');
  };
  return [() => eraser.plan(SCOPE), audited, () => eraser.verify(SCOPE), () => eraser.erase(SCOPE, RUN)];
}

async function names({ raw, bucket }: Opened): Promise<unknown[]> {
  const { Contents = [] } = await raw.send(new ListObjectsV2Command({ Bucket: bucket }));
  return Contents.map(({ Key }) => Key);
}

it('eraser and auditor are refused inside a tenant, and not outside or across them', async () => {
  await using own = await open();
  const put = (tenant: string): Promise<unknown> =>
    own.raw.send(new RawPutObjectCommand({ Bucket: own.bucket, Key: `tenants/${tenant}/x`, Body: tenant }));
  for (const tenant of TENANTS) await put(tenant);
  const before = await names(own);
  const sent = own.sent();
  for (const tenant of TENANTS) {
    for (const work of works(own)) {
      const refused: unknown = await withTenant(tenant, () =>
        work().then(
          () => 'not refused',
          (error: unknown) => error,
        ),
      );
      expect(refused).toMatchObject({
        code: 'OPERATION_REFUSED',
        surface: 'storage',
        message: expect.stringContaining('outside of withTenant'),
      });
      expect((refused as Error).message).not.toContain('acme');
    }
  }
  expect(own.sent()).toBe(sent);
  expect(await names(own)).toEqual(before);
  const left = before.filter((name) => name !== 'tenants/acme2/x');
  const bypass = { reason: 'test', actor: 'test' };
  for (const work of works(own)) await withTenant('acme', () => acrossTenants(bypass, work));
  expect(await names(own)).toEqual(left);
  await put('acme2');
  for (const work of works(own)) await work();
  expect(await names(own)).toEqual(left);
});
