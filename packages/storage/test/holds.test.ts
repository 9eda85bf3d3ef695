import {
  CreateMultipartUploadCommand as RawCreateMultipartUploadCommand,
  ListMultipartUploadsCommand as RawListMultipartUploadsCommand,
  ListObjectVersionsCommand as RawListObjectVersionsCommand,
  PutObjectCommand as RawPutObjectCommand,
  PutObjectLegalHoldCommand as RawPutObjectLegalHoldCommand,
} from '@aws-sdk/client-s3';
import { ConfigError, InvalidTenantError, isVerified, withTenant, type Eraser } from '@tenantkit/core';
import { storageEraser, storageHolds, type StorageHold } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { Tally } from '../src/tally.ts';
import { altered, everything, of, put, run } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const SCOPE = { tenant: 'acme' };
const UNTIL = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 3_600_000);
const RETAINED = { ObjectLockMode: 'GOVERNANCE', ObjectLockRetainUntilDate: UNTIL } as const;
const HELD = { ObjectLockLegalHoldStatus: 'ON' } as const;

/** A bucket with locks; legal holds are lifted at the end, since nothing else removes what is under one. */
async function openLocked(): Promise<Opened> {
  const own = await open({ traits: { objectLock: true } });
  const dispose = own[Symbol.asyncDispose].bind(own);
  const lift = async (): Promise<void> => {
    const { raw, bucket } = own;
    const { Versions = [] } = await raw.send(new RawListObjectVersionsCommand({ Bucket: bucket }));
    for (const { Key, VersionId } of Versions) {
      const LegalHold = { Status: 'OFF' } as const;
      await raw.send(new RawPutObjectLegalHoldCommand({ Bucket: bucket, Key, VersionId, LegalHold }));
    }
  };
  return Object.assign(own, { [Symbol.asyncDispose]: () => lift().finally(dispose) });
}

const lock = async ({ raw, bucket }: Opened, key: string, how: object): Promise<string> => {
  const command = new RawPutObjectCommand({ Bucket: bucket, Key: key, Body: 'x', ...how });
  return (await raw.send(command)).VersionId ?? '';
};

async function holds(own: Opened, tenant = 'acme', s3 = own.s3): Promise<StorageHold[]> {
  const found: StorageHold[] = [];
  for await (const hold of storageHolds(s3, { bucket: own.bucket, tenant })) found.push(hold);
  return found;
}

const eraserOf = ({ s3, bucket }: Opened): Eraser => storageEraser(s3, { bucket });

describe('what is held', () => {
  it('is named per version with its date, and counted by reason and date', async () => {
    await using own = await openLocked();
    const held = await lock(own, 'tenants/acme/a', HELD);
    const retained = await lock(own, 'tenants/acme/a', RETAINED);
    const both = await lock(own, 'tenants/acme/b', { ...RETAINED, ...HELD });
    await put(own, 'tenants/acme/free');
    await lock(own, 'tenants/acme2/a', HELD);
    const retention = { mode: 'GOVERNANCE', until: UNTIL };
    const { bucket } = own;
    const expected = [
      { bucket, key: 'tenants/acme/a', versionId: retained, legalHold: false, retention },
      { bucket, key: 'tenants/acme/a', versionId: held, legalHold: true },
      { bucket, key: 'tenants/acme/b', versionId: both, legalHold: true, retention },
    ];
    expect(await holds(own)).toEqual(expected);
    const kept = [
      { kind: 'versions', count: 1, why: 'legal hold' },
      { kind: 'versions', count: 1, why: 'legal hold and retention (GOVERNANCE mode)' },
      { kind: 'versions', count: 1, why: 'retention (GOVERNANCE mode)', until: UNTIL.toISOString() },
    ];
    const eraser = eraserOf(own);
    const ordered = (given: readonly { readonly why: string }[]) =>
      given.toSorted((a, b) => (a.why < b.why ? -1 : 1));
    expect(ordered((await eraser.plan(SCOPE)).kept)).toEqual(kept);
    const outcome = await eraser.erase(SCOPE, run());
    expect(ordered(outcome.kept)).toEqual(kept);
    expect(outcome.erased).toContainEqual({ kind: 'versions', count: 1, bytes: 1 });
    expect(of(await everything(own), 'acme')).toHaveLength(3);
    // Run again, they are looked at again and not counted twice.
    const again = await eraser.erase(SCOPE, run());
    expect(ordered(again.kept)).toEqual(kept);
    expect(again.erased).toContainEqual({ kind: 'versions', count: 0, bytes: 0 });
    expect(await holds(own)).toEqual(expected);
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
  });

  it('is seen of an object whose key the server does not have', async () => {
    await using own = await openLocked();
    const SSECustomerKey = Buffer.alloc(32, 7).toString('base64');
    await lock(own, 'tenants/acme/a', { ...HELD, SSECustomerAlgorithm: 'AES256', SSECustomerKey });
    expect((await eraserOf(own).plan(SCOPE)).kept).toMatchObject([{ why: 'legal hold' }]);
    expect((await eraserOf(own).erase(SCOPE, run())).kept).toMatchObject([{ why: 'legal hold' }]);
  });

  it('is an error where locks may not be read, rather than free', async () => {
    await using own = await openLocked();
    await lock(own, 'tenants/acme/a', HELD);
    using s3 = altered(own, ({ command, next }) => {
      if (!/^GetObject(?:LegalHold|Retention)Command$/.test(command)) return next();
      throw Object.assign(new Error('denied'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } });
    });
    const eraser = storageEraser(s3, { bucket: own.bucket });
    await expect(eraser.plan(SCOPE)).rejects.toThrow('s3:GetObjectLegalHold');
    await expect(eraser.erase(SCOPE, run())).rejects.toThrow(ConfigError);
    await expect(holds(own, 'acme', s3)).rejects.toThrow(ConfigError);
  });

  it('is listed outside of tenants only, for a tenant there can be, and until it is stopped', async () => {
    await using own = await openLocked();
    await lock(own, 'tenants/acme/a', HELD);
    await expect(withTenant('acme2', () => holds(own))).rejects.toThrow('outside of withTenant');
    await expect(holds(own, '../acme')).rejects.toThrow(InvalidTenantError);
    const stopped = storageHolds(own.s3, {
      bucket: own.bucket,
      tenant: 'acme',
      signal: AbortSignal.abort(new Error('stopped')),
    });
    await expect(stopped[Symbol.asyncIterator]().next()).rejects.toThrow('stopped');
    expect(await holds(own)).toHaveLength(1);
    await using free = await open();
    await put(free, 'tenants/acme/a');
    expect(await holds(free)).toEqual([]);
  });

  it('is counted in bounded space, with the last of very many dates', () => {
    const tally = new Tally();
    const day = (n: number): string => new Date(Date.UTC(2030, 0, n)).toISOString();
    for (let n = 1; n <= 1_000; n += 1) {
      tally.keep('versions', { why: 'retention (GOVERNANCE mode)', until: day(n) });
      expect(tally.kept().length).toBeLessThanOrEqual(100);
    }
    tally.keep('versions', { why: 'legal hold' });
    const kept = tally.kept();
    expect(kept.reduce((sum, { count }) => sum + count, 0)).toBe(1_001);
    expect(
      kept
        .map(({ until = '' }) => until)
        .sort()
        .at(-1),
    ).toBe(day(1_000));
    expect(kept).toContainEqual({ kind: 'versions', why: 'legal hold', count: 1 });
  });
});

describe('unfinished uploads', () => {
  it('are aborted whatever their key is', async () => {
    await using own = await open();
    const begin = (Key: string) =>
      own.raw.send(new RawCreateMultipartUploadCommand({ Bucket: own.bucket, Key }));
    const keys = [
      'a\u0001b',
      'line\nbreak',
      'cr\rlf',
      '../up',
      'a//b',
      'a%2Fb+c d',
      '<&>"\'',
      '\u2028',
      'é',
      'x'.repeat(1_024 - 'tenants/acme/'.length),
    ];
    for (const key of keys) await begin(`tenants/acme/${key}`);
    await begin('tenants/acme2/cr\rlf');
    const eraser = eraserOf(own);
    expect((await eraser.plan(SCOPE)).items).toContainEqual({ kind: 'uploads', count: keys.length });
    const { erased } = await eraser.erase(SCOPE, run());
    expect(erased).toContainEqual({ kind: 'uploads', count: keys.length });
    const { Uploads = [] } = await own.raw.send(new RawListMultipartUploadsCommand({ Bucket: own.bucket }));
    expect(Uploads.map(({ Key }) => Key)).toEqual(['tenants/acme2/cr\rlf']);
  });

  it('and objects are erased with keys of the greatest length, and with what says whom they are about', async () => {
    await using own = await open({ traits: { versioned: true } });
    await put(own, `tenants/acme/${'x'.repeat(1_024 - 'tenants/acme/'.length)}`);
    await put(own, 'tk!subjects/acme/p1/marker');
    await put(own, 'tk!subjects/acme2/p1/marker');
    const eraser = eraserOf(own);
    expect((await eraser.plan(SCOPE)).items).toContainEqual({ kind: 'versions', count: 2, bytes: 2 });
    await eraser.erase(SCOPE, run());
    expect((await everything(own)).map((name) => name.split(' ')[0])).toEqual([
      'tk!subjects/acme2/p1/marker',
    ]);
  });
});
