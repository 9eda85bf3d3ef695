import * as raw from '@aws-sdk/client-s3';
import {
  ConfigError,
  InvalidTenantError,
  OperationRefusedError,
  controlTenant,
  isVerified,
  withTenant,
  type Eraser,
} from '@tenantkit/core';
import {
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  PutObjectCommand,
  S3Client,
  storageAuditor,
  storageEraser,
} from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { describe, expect, it } from 'vitest';
import { put as putRaw, run } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const TENANTS = ['acme', 'acme2'];
const eraserOf = ({ s3, bucket }: Pick<Opened, 's3' | 'bucket'>): Eraser => storageEraser(s3, { bucket });
const p1 = { tenant: 'acme', subject: 'p1' };

const put = ({ s3 }: Opened, tenant: string, subject: string | undefined, Key: string, Body = 'x') =>
  withTenant(subject === undefined ? { tenant } : { tenant, subject }, () =>
    s3.send(new PutObjectCommand({ Key, Body })),
  );

/** Everything there is: `a`, `a deleted`, each with the first characters of its ETag. */
async function all({ raw: client, bucket }: Opened): Promise<string[]> {
  const { Versions = [], DeleteMarkers = [] } = await client.send(
    new raw.ListObjectVersionsCommand({ Bucket: bucket }),
  );
  return [
    ...Versions.map(({ Key = '', Size }) => `${Key} ${Size}`),
    ...DeleteMarkers.map(({ Key = '' }) => `${Key} deleted`),
  ].sort();
}

const without = (found: readonly string[], ...prefixes: string[]): string[] =>
  found.filter((name) => !prefixes.some((prefix) => name.startsWith(prefix)));

describe.each([false, true])('erasing a person (versioned: %s)', (versioned) => {
  const kind = versioned ? 'versions' : 'objects';

  it('removes what is about the person, and nothing of others', async () => {
    await using own = await open({ traits: { versioned } });
    for (const tenant of TENANTS) {
      for (const subject of ['p1', 'p10', 'p2']) {
        await put(own, tenant, subject, `of-${subject}/a`, '12345');
        await put(own, tenant, subject, `of-${subject}/${'ü'.repeat(495)}`);
      }
      await put(own, tenant, undefined, 'of-nobody');
      await put(own, tenant, undefined, 'of-p1/b');
    }
    // A key that begins like a marked one.
    await put(own, 'acme', undefined, 'of-p1/ab');
    const before = await all(own);
    const eraser = eraserOf(own);
    expect(eraser.subjects).toBe('supported');
    const expected = [
      { kind: 'uploads', count: 0 },
      { kind, count: 2, bytes: 6 },
      ...(versioned ? [{ kind: 'delete markers', count: 0 }] : []),
      { kind: 'markers', count: 2 },
    ];
    expect((await eraser.plan(p1)).items).toEqual(expected);
    expect(await all(own)).toEqual(before);
    const steps: string[] = [];
    const outcome = await eraser.erase(
      p1,
      run({ progress: (step) => steps.push(`${step.kind} ${step.done}`) }),
    );
    expect(outcome).toEqual({ store: `storage:${own.bucket}`, erased: expected, kept: [] });
    expect(steps).toEqual(expect.arrayContaining([`${kind} 2`, 'markers 2']));
    expect(await all(own)).toEqual(
      without(before, 'tk!subjects/acme/p1/', 'tenants/acme/of-p1/a 5', 'tenants/acme/of-p1/ü'),
    );
    const verified = await eraser.verify(p1);
    expect(verified.control).toMatchObject({ planted: 4, found: 4 });
    expect(isVerified(verified)).toBe(true);
    expect(isVerified(await eraser.verify({ tenant: 'acme2', subject: 'p1' }))).toBe(false);
    const again = await eraser.erase(p1, run());
    expect(again.erased.every(({ count }) => count === 0)).toBe(true);
  });

  it('takes copies, uploads and what was overwritten without a person', async () => {
    await using own = await open({ traits: { versioned } });
    const { s3, bucket } = own;
    await put(own, 'acme', 'p1', 'a');
    const copy = (from: string, Key: string): Promise<unknown> =>
      withTenant('acme', () => s3.send(new CopyObjectCommand({ Key, CopySource: `${bucket}/${from}` })));
    await copy('a', 'b');
    await copy('b', 'c');
    await withTenant(p1, () => s3.send(new CreateMultipartUploadCommand({ Key: 'upload' })));
    await withTenant({ tenant: 'acme', subject: 'p2' }, () =>
      s3.send(new CreateMultipartUploadCommand({ Key: 'upload2' })),
    );
    await put(own, 'acme', undefined, 'b', 'overwritten');
    const { items } = await eraserOf(own).plan(p1);
    expect(items).toContainEqual({ kind: 'uploads', count: 1 });
    const { erased } = await eraserOf(own).erase(p1, run());
    expect(erased).toEqual(items);
    expect(await all(own)).toEqual(['tk!subjects/acme/p2/k/upload2 0']);
    const { Uploads = [] } = await own.raw.send(new raw.ListMultipartUploadsCommand({ Bucket: bucket }));
    expect(Uploads.map(({ Key }) => Key)).toEqual(['tenants/acme/upload2']);
    expect(isVerified(await eraserOf(own).verify(p1))).toBe(true);
  });

  it('keeps what names other persons only, and takes what names both', async () => {
    await using own = await open({ traits: { versioned } });
    await put(own, 'acme', 'p1', 'a');
    await withTenant('acme', () => own.s3.send(new DeleteObjectCommand({ Key: 'a' })));
    await put(own, 'acme', 'p2', 'a', 'of p2');
    await put(own, 'acme', 'p1', 'c', 'of p1');
    await withTenant({ tenant: 'acme', subject: 'p2' }, () =>
      own.s3.send(new CopyObjectCommand({ Key: 'both', CopySource: `${own.bucket}/c` })),
    );
    const eraser = eraserOf(own);
    const { items } = await eraser.plan(p1);
    expect(items).toContainEqual({ kind: 'markers', count: 3 });
    const { erased } = await eraser.erase(p1, run());
    expect(erased).toEqual(items);
    // The delete marker stays: without it, an earlier version would be there again.
    expect(await all(own)).toEqual(
      [
        'tenants/acme/a 5',
        ...(versioned ? ['tenants/acme/a deleted'] : []),
        'tk!subjects/acme/p2/k/a 0',
        'tk!subjects/acme/p2/k/both 0',
      ].sort(),
    );
    expect(isVerified(await eraser.verify(p1))).toBe(true);
    await eraser.erase({ tenant: 'acme', subject: 'p2' }, run());
    expect(await all(own)).toEqual([]);
  });

  it('finds what was begun by a call that has failed, and removes markers of nothing', async () => {
    await using own = await open({ traits: { versioned } });
    const s3 = new S3Client({ ...own.options, maxAttempts: 1, tenant: { buckets: [own.bucket] } });
    const { requestHandler } = s3.config;
    const handle = requestHandler.handle.bind(requestHandler);
    requestHandler.handle = async (...args: Parameters<typeof handle>) => {
      const reply = await handle(...args);
      if (args[0].path.includes('/tenants/')) throw new Error('the process is gone');
      return reply;
    };
    // The object is there, and nobody knows.
    await expect(put({ ...own, s3 }, 'acme', 'p1', 'a')).rejects.toThrow('the process is gone');
    s3.destroy();
    await put(own, 'acme', 'p1', 'gone');
    await withTenant('acme', () => own.s3.send(new DeleteObjectCommand({ Key: 'gone' })));
    expect(await all(own)).toContain('tenants/acme/a 1');
    await eraserOf(own).erase(p1, run());
    expect(await all(own)).toEqual([]);
  });

  it('goes by patterns, for what was written without a person', async () => {
    const patterns = ['users/{subject}/**', 'avatars/*/{subject}.p?g', 'one/{subject}'];
    await using own = await open({ traits: { versioned }, tenant: { subjects: patterns } });
    const mine = ['users/p1/a', 'users/p1/b/c', 'users/p1/', 'avatars/2026/p1.png', 'one/p1'];
    const others = [
      'users/p10/a',
      'users/p1',
      'avatars/p1.png',
      'avatars/a/b/p1.png',
      'avatars/2026/p1.jpeg',
      'one/p1/x',
      'x/one/p1',
    ];
    for (const tenant of TENANTS) {
      for (const key of [...mine, ...others]) await put(own, tenant, undefined, key);
    }
    // Noted as well, about somebody else, and an upload.
    await put(own, 'acme', 'p1', 'users/p1/noted');
    await put(own, 'acme', 'p2', 'users/p1/of-p2');
    await withTenant('acme', () => own.s3.send(new CreateMultipartUploadCommand({ Key: 'users/p1/up' })));
    await withTenant('acme', () => own.s3.send(new CreateMultipartUploadCommand({ Key: 'users/p10/up' })));
    const eraser = eraserOf(own);
    const { items } = await eraser.plan(p1);
    expect(items).toEqual([
      { kind: 'uploads', count: 1 },
      { kind, count: mine.length + 1, bytes: mine.length + 1 },
      ...(versioned ? [{ kind: 'delete markers', count: 0 }] : []),
      { kind: 'markers', count: 1 },
    ]);
    const before = await all(own);
    const { erased } = await eraser.erase(p1, run());
    expect(erased).toEqual(items);
    const gone = new Set([...mine, 'users/p1/noted'].map((key) => `tenants/acme/${key} 1`));
    expect(await all(own)).toEqual(
      before.filter((name) => !gone.has(name) && !name.startsWith('tk!subjects/acme/p1/')),
    );
    const verified = await eraser.verify(p1);
    expect(verified.control).toMatchObject({ planted: 7, found: 7 });
    expect(verified.control.method).toContain('every pattern');
    expect(isVerified(verified)).toBe(true);
  });

  it('goes on after an interruption', async () => {
    await using own = await open({ traits: { versioned } });
    const keys = Array.from({ length: 40 }, (_, index) => `k${index}`);
    await Promise.all(keys.map((key) => put(own, 'acme', 'p1', key)));
    const controller = new AbortController();
    const first = run({
      signal: controller.signal,
      progress: ({ kind: of, done }) => {
        if (of === kind && done >= 5) controller.abort(new Error('stopped'));
      },
    });
    const eraser = eraserOf(own);
    await expect(eraser.erase(p1, first)).rejects.toThrow('stopped');
    const left = (await all(own)).filter((name) => name.startsWith('tenants/'));
    expect(left.length).toBeGreaterThan(0);
    // No marker is gone before its object is.
    const marked = new Set((await all(own)).map((name) => name.split('/k/')[1]));
    for (const name of left) expect(marked).toContain(name.replace('tenants/acme/', '').replace(/ 1$/, ' 0'));
    await eraser.erase(p1, { ...first, signal: new AbortController().signal });
    expect(await all(own)).toEqual([]);
  });
});

describe('the eraser of persons', () => {
  it('brings no earlier version of somebody else back', async () => {
    await using own = await open({ traits: { versioned: true } });
    await put(own, 'acme', 'p2', 'a', 'of p2');
    await put(own, 'acme', 'p1', 'a');
    await eraserOf(own).erase(p1, run());
    expect(await all(own)).toEqual([
      'tenants/acme/a 5',
      'tenants/acme/a deleted',
      'tk!subjects/acme/p2/k/a 0',
    ]);
    expect(isVerified(await eraserOf(own).verify(p1))).toBe(true);
  });

  it('leaves the version of another person where versioning is suspended', async () => {
    await using own = await open();
    await put(own, 'acme', 'p2', 'a', 'of p2');
    const set = (Status: 'Enabled' | 'Suspended') =>
      own.raw.send(
        new raw.PutBucketVersioningCommand({ Bucket: own.bucket, VersioningConfiguration: { Status } }),
      );
    await set('Enabled');
    await put(own, 'acme', 'p1', 'a');
    await set('Suspended');
    await eraserOf(own).erase(p1, run());
    expect(await all(own)).toEqual(['tenants/acme/a 5', 'tk!subjects/acme/p2/k/a 0']);
  });

  it('keeps what is held, with its marker, until the hold is lifted', async () => {
    await using own = await open({ traits: { objectLock: true } });
    const { VersionId } = await put(own, 'acme', 'p1', 'held', 'held');
    await put(own, 'acme', 'p1', 'free');
    const hold = (Status: 'ON' | 'OFF') =>
      own.raw.send(
        new raw.PutObjectLegalHoldCommand({
          Bucket: own.bucket,
          Key: 'tenants/acme/held',
          VersionId,
          LegalHold: { Status },
        }),
      );
    await hold('ON');
    await put(own, 'acme', 'p1', 'held', 'later');
    const eraser = eraserOf(own);
    const kept = [
      { kind: 'versions', count: 1, why: 'legal hold' },
      { kind: 'markers', count: 2, why: 'its object is held' },
    ];
    expect(await eraser.plan(p1)).toMatchObject({ kept: expect.arrayContaining(kept) });
    const outcome = await eraser.erase(p1, run());
    expect(outcome.kept).toHaveLength(2);
    expect(outcome.kept).toEqual(expect.arrayContaining(kept));
    expect(await all(own)).toEqual([
      'tenants/acme/held 4',
      'tenants/acme/held deleted',
      'tk!subjects/acme/p1/k/held 0',
      'tk!subjects/acme/p1/k/held 0',
    ]);
    const verified = await eraser.verify(p1);
    expect(isVerified(verified)).toBe(true);
    expect(verified.kept).toEqual(expect.arrayContaining(kept));
    await hold('OFF');
    await eraser.erase(p1, run());
    expect(await all(own)).toEqual([]);
  });

  it('plants nothing that a bucket would retain', async () => {
    await using own = await open({ traits: { objectLock: true } });
    const Rule = { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } } as const;
    await own.raw.send(
      new raw.PutObjectLockConfigurationCommand({
        Bucket: own.bucket,
        ObjectLockConfiguration: { ObjectLockEnabled: 'Enabled', Rule },
      }),
    );
    await put(own, 'acme', 'p1', 'a');
    const before = await all(own);
    const outcome = await eraserOf(own).erase(p1, run());
    expect(outcome.kept.map(({ kind, count }) => `${kind} ${count}`).sort()).toEqual([
      'markers 1',
      'versions 1',
    ]);
    const verified = await eraserOf(own).verify(p1);
    expect(verified.control).toMatchObject({ planted: 2, found: 2 });
    expect(isVerified(verified)).toBe(true);
    expect((await all(own)).filter((name) => !name.endsWith('deleted'))).toEqual(before);
  });

  it('takes an object whose metadata only a key of the caller’s opens', async () => {
    await using own = await open();
    await put(own, 'acme', 'p1', 'a');
    await own.raw.send(
      new raw.PutObjectCommand({
        Bucket: own.bucket,
        Key: 'tenants/acme/a',
        Body: 'x',
        SSECustomerAlgorithm: 'AES256',
        SSECustomerKey: Buffer.alloc(32, 1).toString('base64'),
      }),
    );
    await eraserOf(own).erase(p1, run());
    expect(await all(own)).toEqual([]);
  });

  it('follows a marker to keys of its tenant only, and trusts no marker that was changed', async () => {
    await using own = await open();
    const keys = ['tenants/acme/../acme2/a', 'tenants/acme2/a'];
    for (const key of keys) await putRaw(own, key);
    await putRaw(own, 'tk!subjects/acme/p1/k/../acme2/a');
    await putRaw(own, 'tk!subjects/acme/p1/z/a');
    await eraserOf(own).erase(p1, run());
    expect(await all(own)).toEqual(keys.map((key) => `${key} 1`).sort());
    await putRaw(own, `tk!subjects/acme/p1/h/${'A'.repeat(43)}`, '../acme2/a');
    const { notes } = await eraserOf(own).plan(p1);
    expect(notes).toContainEqual(expect.stringMatching(/^1 markers of the person .* the erasure fails/));
    expect((await eraserOf(own).plan({ ...p1, subject: 'p2' })).notes?.join()).not.toContain(
      'the erasure fails',
    );
    await expect(eraserOf(own).verify(p1)).rejects.toThrow(ConfigError);
    await expect(eraserOf(own).erase(p1, run())).rejects.toThrow('does not hold the key');
    expect(await all(own)).toHaveLength(3);
  });

  it('reads no more of a marker than a key can be, and erases everything else beside one that was overwritten', async () => {
    const long = 'k'.repeat(1_008);
    for (const versioned of [false, true]) {
      await using own = await open({ traits: { versioned } });
      await put(own, 'acme', 'p1', 'a');
      await put(own, 'acme', 'p1', long);
      await put(own, 'acme', 'p2', long.slice(1));
      const marker = (await all(own)).find((name) => name.startsWith('tk!subjects/acme/p1/h/')) ?? '';
      const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      const ranges: (string | undefined)[] = [];
      const { requestHandler } = s3.config;
      const handle = requestHandler.handle.bind(requestHandler);
      requestHandler.handle = (...args: Parameters<typeof handle>) => {
        const [{ method, path, headers }] = args;
        if (method === 'GET' && path.includes('/h/')) ranges.push(headers['range']);
        return handle(...args);
      };
      const eraser = storageEraser(s3, { bucket: own.bucket });
      const fakes = ['', 'x', 'x'.repeat(1024), 'x'.repeat(5_000_000)];
      for (const [index, body] of fakes.entries())
        await putRaw(own, `tk!subjects/acme/p1/h/${String(index).repeat(43)}`, body);
      if (versioned) await putRaw(own, marker.replace(/ \d+$/, ''), 'overwritten');
      await expect(eraser.erase(p1, run())).rejects.toThrow('4 markers of the person were overwritten');
      await expect(eraser.verify(p1)).rejects.toThrow('4 markers of the person were overwritten');
      expect(without(await all(own), 'tk!subjects/acme/p1/h/')).toHaveLength(2);
      expect(await all(own)).toHaveLength(6);
      // What is too long, or nothing, is not asked for.
      expect(new Set(ranges)).toEqual(new Set(['bytes=0-1024']));
      await eraser.erase({ tenant: 'acme', subject: 'p2' }, run());
      for (const [index] of fakes.entries()) {
        const Key = `tk!subjects/acme/p1/h/${String(index).repeat(43)}`;
        const { Versions = [] } = await own.raw.send(
          new raw.ListObjectVersionsCommand({ Bucket: own.bucket, Prefix: Key }),
        );
        for (const { VersionId } of Versions)
          await own.raw.send(
            new raw.DeleteObjectCommand({ Bucket: own.bucket, Key, ...(versioned && { VersionId }) }),
          );
      }
      await eraser.erase(p1, run());
      expect(await all(own)).toEqual([]);
      s3.destroy();
    }
  });

  it('refuses ids that are none, and works outside of tenants only', async () => {
    await using own = await open();
    await put(own, 'acme', 'p1', 'a');
    const before = await all(own);
    for (const subject of ['', '*', 'p1/', '../p2', 'a,b']) {
      await expect(async () => eraserOf(own).erase({ tenant: 'acme', subject }, run())).rejects.toThrow(
        InvalidTenantError,
      );
    }
    await expect(withTenant('acme', async () => eraserOf(own).erase(p1, run()))).rejects.toThrow(
      'inside of one',
    );
    expect(await all(own)).toEqual(before);
  });

  it('goes with its tenant, and the audit knows its markers', async () => {
    await using own = await open();
    for (const tenant of TENANTS) await put(own, tenant, 'p1', 'a');
    await putRaw(own, 'tk!subjects/tk-control-0123456789abcdef0123456789abcdef/p1/k/a');
    const found: string[] = [];
    for await (const { code, name } of storageAuditor(own.s3, { bucket: own.bucket }).audit(
      AbortSignal.timeout(30_000),
    ))
      found.push(`${code} ${name}`);
    expect(found.filter((one) => one.includes('tk!'))).toEqual([
      'control_left tk!subjects/tk-control-0123456789abcdef0123456789abcdef/p1/k/a',
    ]);
    await eraserOf(own).erase({ tenant: 'acme' }, run());
    expect((await all(own)).filter((name) => name.includes('acme'))).toEqual([
      'tenants/acme2/a 1',
      'tk!subjects/acme2/p1/k/a 0',
    ]);
  });

  it('is given patterns of keys', () => {
    const of = (subjects: unknown): unknown =>
      new S3Client({ region: 'x', tenant: { buckets: ['ok-bucket'], subjects } as never });
    for (const subjects of [['users/*'], ['users/{subject}*'], [{ field: 'author' }], 'users/{subject}/**']) {
      expect(() => of(subjects)).toThrow(ConfigError);
    }
    expect(() => of([{ field: 'author' }])).toThrow('objects have no fields');
    expect(of(['users/{subject}/**'])).toBeInstanceOf(S3Client);
  });
});

it('a tenant cannot have the id of a verification, whose objects anybody’s erasure removes', async () => {
  await using own = await open();
  const id = 'a'.repeat(32);
  for (const tenant of [`tk-control-${id}`, controlTenant()]) {
    await expect(put(own, tenant, undefined, 'a')).rejects.toThrow('a throw-away one of a verification');
    await expect(put(own, tenant, 'p1', 'a')).rejects.toThrow(OperationRefusedError);
    const url = withTenant(tenant, () => getSignedUrl(own.s3, new PutObjectCommand({ Key: 'a' })));
    await expect(url).rejects.toThrow(OperationRefusedError);
  }
  expect(own.sent()).toBe(0);
  for (const tenant of [`tk-control-${id}a`, `tk-control-${id.slice(1)}`, 'tk-control', `x-tk-control-${id}`])
    await put(own, tenant, undefined, 'a');
  expect(await all(own)).toHaveLength(4);
});
