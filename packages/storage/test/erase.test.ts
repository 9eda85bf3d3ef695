import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  CreateMultipartUploadCommand as RawCreateMultipartUploadCommand,
  DeleteObjectCommand as RawDeleteObjectCommand,
  GetObjectCommand as RawGetObjectCommand,
  ListMultipartUploadsCommand as RawListMultipartUploadsCommand,
  PutBucketVersioningCommand as RawPutBucketVersioningCommand,
  PutObjectCommand as RawPutObjectCommand,
  PutObjectLegalHoldCommand as RawPutObjectLegalHoldCommand,
  PutObjectLockConfigurationCommand as RawPutObjectLockConfigurationCommand,
  UploadPartCommand as RawUploadPartCommand,
} from '@aws-sdk/client-s3';
import {
  ConfigError,
  IsolationBreachError,
  StoreUnreachableError,
  auditChannels,
  isVerified,
  type Eraser,
} from '@tenantkit/core';
import { S3Client, storageEraser } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { everything, of, put, run } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const eraserOf = ({ s3, bucket }: Opened): Eraser => storageEraser(s3, { bucket });

describe('erasing a tenant', () => {
  it('removes all versions, delete markers and uploads of a versioned bucket, and nothing of others', async () => {
    await using own = await open({ traits: { versioned: true } });
    for (const tenant of ['acme', 'acme2']) {
      for (const body of ['1', '22', '333']) await put(own, `tenants/${tenant}/a`, body);
      await put(own, `tenants/${tenant}/b/c`);
      await own.raw.send(new RawDeleteObjectCommand({ Bucket: own.bucket, Key: `tenants/${tenant}/b/c` }));
      const target = { Bucket: own.bucket, Key: `tenants/${tenant}/upload` };
      const { UploadId } = await own.raw.send(new RawCreateMultipartUploadCommand(target));
      await own.raw.send(new RawUploadPartCommand({ ...target, UploadId, PartNumber: 1, Body: 'part' }));
    }
    const before = await everything(own);
    const eraser = eraserOf(own);
    const scope = { tenant: 'acme' };
    const expected = [
      { kind: 'uploads', count: 1 },
      { kind: 'versions', count: 4, bytes: 7 },
      { kind: 'delete markers', count: 1 },
    ];
    expect(await eraser.plan(scope)).toMatchObject({
      store: `storage:${own.bucket}`,
      items: expected,
      kept: [],
    });
    expect(await everything(own)).toEqual(before);

    const steps: string[] = [];
    const outcome = await eraser.erase(
      scope,
      run({ progress: ({ kind, done }) => steps.push(`${kind} ${done}`) }),
    );
    expect(outcome).toEqual({ store: `storage:${own.bucket}`, erased: expected, kept: [] });
    expect(steps).toContain('versions 4');
    expect(await everything(own)).toEqual(of(before, 'acme2'));
    const { Uploads = [] } = await own.raw.send(new RawListMultipartUploadsCommand({ Bucket: own.bucket }));
    expect(Uploads.map(({ Key }) => Key)).toEqual(['tenants/acme2/upload']);

    const verified = await eraser.verify(scope);
    expect(isVerified(verified)).toBe(true);
    expect(verified.control).toMatchObject({
      planted: 3,
      found: 3,
      method: expect.stringContaining('a delete marker'),
    });
    expect(isVerified(await eraser.verify({ tenant: 'acme2' }))).toBe(false);
    expect(await everything(own)).toEqual(of(before, 'acme2'));
  });

  it('also where versioning was suspended', async () => {
    await using own = await open({ traits: { versioned: true } });
    await put(own, 'tenants/acme/a', 'versioned');
    const VersioningConfiguration = { Status: 'Suspended' } as const;
    await own.raw.send(new RawPutBucketVersioningCommand({ Bucket: own.bucket, VersioningConfiguration }));
    await put(own, 'tenants/acme/a', 'not versioned');
    const eraser = eraserOf(own);
    const { erased } = await eraser.erase({ tenant: 'acme' }, run());
    expect(erased).toContainEqual({ kind: 'versions', count: 2, bytes: 22 });
    // Neither does the positive control leave a version or a delete marker.
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(await everything(own)).toEqual([]);
  });

  it('takes keys that no tenant could have written and that the XML of a batch cannot say', async () => {
    await using own = await open();
    const keys = [
      'a\u0001b',
      'line\nbreak',
      'cr\rlf',
      '../up',
      'a//b',
      'a%2Fb+c d',
      'é',
      'e\u0301',
      '<&>"\'',
      '\u2028',
    ];
    for (const key of keys) await put(own, `tenants/acme/${key}`);
    await put(own, 'tenants/acme2/a\u0001b');
    const eraser = eraserOf(own);
    expect((await eraser.plan({ tenant: 'acme' })).items).toContainEqual({
      kind: 'objects',
      count: keys.length,
      bytes: keys.length,
    });
    await eraser.erase({ tenant: 'acme' }, run());
    expect((await everything(own)).map((name) => name.split(' ')[0])).toEqual(['tenants/acme2/a\u0001b']);
  });

  it(
    'goes through more than one page and one batch, and on after an interruption',
    { timeout: 60_000 },
    async () => {
      await using own = await open();
      const count = 1_100;
      const keys = Array.from(
        { length: count },
        (_, index) => `tenants/acme/${String(index).padStart(5, '0')}`,
      );
      const queue = keys.values();
      await Promise.all(
        Array.from({ length: 16 }, async () => {
          for (const key of queue) await put(own, key);
        }),
      );
      await put(own, 'tenants/acme2/00000');
      const eraser = eraserOf(own);
      const controller = new AbortController();
      const first = run({ signal: controller.signal });
      const reason = new Error('stop here');
      const save = first.checkpoint.save.bind(first.checkpoint);
      first.checkpoint.save = async (state) => {
        await save(state);
        controller.abort(reason);
      };
      await expect(eraser.erase({ tenant: 'acme' }, first)).rejects.toBe(reason);
      // Nothing of a key stays behind in what the ledger keeps.
      expect(first.saved()).toMatch(/"kind":"objects","count":[1-9]/);
      expect(first.saved()).not.toContain('tenants');

      const second = { ...run(), checkpoint: first.checkpoint };
      const { erased } = await eraser.erase({ tenant: 'acme' }, second);
      // What was under way when it was stopped may have been carried out without being counted.
      const objects = erased.find(({ kind }) => kind === 'objects');
      expect(objects?.count).toBeGreaterThanOrEqual(100);
      expect(objects?.count).toBeLessThanOrEqual(count);
      expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
      expect(await everything(own)).toHaveLength(1);
    },
  );

  it('lists again until nothing is left, also what came while it was at work', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/b');
    let late = false;
    const save = async (): Promise<void> => {
      // Before everything that was listed, so that this pass does not meet it any more.
      if (!late) await put(own, 'tenants/acme/a');
      late = true;
    };
    const checkpoint = { load: () => Promise.resolve(undefined), save };
    const { erased } = await eraserOf(own).erase({ tenant: 'acme' }, run({ checkpoint }));
    expect(erased).toContainEqual({ kind: 'objects', count: 2, bytes: 2 });
    expect(await everything(own)).toEqual([]);
  });

  it('tries again what a busy server has put off', async () => {
    await using own = await open();
    for (const key of ['a', 'b']) await put(own, `tenants/acme/${key}`);
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    let busy = true;
    s3.middlewareStack.add(
      (next) => async (args) => {
        const { Delete } = args.input as { Delete?: { Objects: { Key: string }[] } };
        if (Delete === undefined || !busy) return next(args);
        busy = false;
        const [first, ...others] = Delete.Objects;
        const result = await next({
          ...args,
          input: { ...args.input, Delete: { ...Delete, Objects: others } },
        });
        Object.assign(result.output, { Errors: [{ Key: first?.Key, Code: 'SlowDown' }] });
        return result;
      },
      { step: 'initialize' },
    );
    const { erased } = await storageEraser(s3, { bucket: own.bucket }).erase({ tenant: 'acme' }, run());
    expect(erased).toContainEqual({ kind: 'objects', count: 2, bytes: 2 });
    expect(await everything(own)).toEqual([]);
    s3.destroy();
  });

  it('starts over when the checkpoint cannot be read', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    const checkpoint = { load: () => Promise.resolve('{"v":2'), save: () => Promise.resolve() };
    const { erased } = await eraserOf(own).erase({ tenant: 'acme' }, run({ checkpoint }));
    expect(erased).toContainEqual({ kind: 'objects', count: 1, bytes: 1 });
  });

  it('does not begin when it was stopped before', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    const before = own.sent();
    const signal = AbortSignal.abort(new Error('stopped'));
    await expect(eraserOf(own).erase({ tenant: 'acme' }, run({ signal }))).rejects.toThrow('stopped');
    expect(own.sent()).toBe(before);
  });
});

describe('what a lock holds', () => {
  it('is planned and reported as kept with its date, and is verified as such', async () => {
    await using own = await open({ traits: { objectLock: true } });
    const until = new Date(Math.ceil(Date.now() / 1000) * 1000 + 3_600_000);
    const retained = await own.raw.send(
      new RawPutObjectCommand({
        Bucket: own.bucket,
        Key: 'tenants/acme/retained',
        Body: 'x',
        ObjectLockMode: 'GOVERNANCE',
        ObjectLockRetainUntilDate: until,
      }),
    );
    const { VersionId } = await put(own, 'tenants/acme/held');
    const hold = (Status: 'ON' | 'OFF') =>
      own.raw.send(
        new RawPutObjectLegalHoldCommand({
          Bucket: own.bucket,
          Key: 'tenants/acme/held',
          VersionId,
          LegalHold: { Status },
        }),
      );
    await hold('ON');
    await put(own, 'tenants/acme/free');
    const eraser = eraserOf(own);
    const kept = [
      { kind: 'versions', count: 1, why: 'legal hold' },
      { kind: 'versions', count: 1, why: 'retention (GOVERNANCE mode)', until: until.toISOString() },
    ];
    const planned = await eraser.plan({ tenant: 'acme' });
    expect(planned.items).toContainEqual({ kind: 'versions', count: 1, bytes: 1 });
    expect([...planned.kept].sort(byWhy)).toEqual(kept);

    const outcome = await eraser.erase({ tenant: 'acme' }, run());
    expect(outcome.erased).toContainEqual({ kind: 'versions', count: 1, bytes: 1 });
    expect([...outcome.kept].sort(byWhy)).toEqual(kept);
    expect(of(await everything(own), 'acme').map((name) => name.split(' ')[0])).toEqual([
      'tenants/acme/held',
      'tenants/acme/retained',
    ]);
    const verified = await eraser.verify({ tenant: 'acme' });
    expect(isVerified(verified)).toBe(true);
    expect([...verified.kept].sort(byWhy)).toEqual(kept);

    // Once the hold is lifted, the rest goes.
    await hold('OFF');
    const again = await eraser.erase({ tenant: 'acme' }, run());
    expect(again.erased).toContainEqual({ kind: 'versions', count: 1, bytes: 1 });
    expect(again.kept).toHaveLength(1);
    expect(retained.VersionId).toBeDefined();
  });
});

describe('a bucket that retains every object', () => {
  it('is verified with a control that it does not retain', async () => {
    await using own = await open({ traits: { objectLock: true } });
    const ObjectLockConfiguration = {
      ObjectLockEnabled: 'Enabled',
      Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } },
    } as const;
    await own.raw.send(
      new RawPutObjectLockConfigurationCommand({ Bucket: own.bucket, ObjectLockConfiguration }),
    );
    await put(own, 'tenants/acme/a');
    const before = await everything(own);
    const eraser = eraserOf(own);
    const outcome = await eraser.erase({ tenant: 'acme' }, run());
    expect(outcome.kept).toMatchObject([{ count: 1, why: 'retention (GOVERNANCE mode)' }]);
    const verified = await eraser.verify({ tenant: 'acme' });
    expect(verified.control).toMatchObject({ planted: 2, found: 2 });
    expect(verified.control.method).not.toContain('object');
    expect(isVerified(verified)).toBe(true);
    expect(verified.kept).toEqual(outcome.kept);
    expect(await everything(own)).toEqual(before);
  });
});

describe('the eraser', () => {
  it('is made for an accepted bucket of a guarded client only', async () => {
    await using own = await open();
    expect(() => storageEraser(own.s3, { bucket: 'another-one' })).toThrow(ConfigError);
    expect(() => storageEraser(own.raw as never, { bucket: own.bucket })).toThrow(ConfigError);
    expect(() => storageEraser(own.s3, { bucket: own.bucket, prefix: 'x' } as never)).toThrow(
      'unknown option "prefix"; there are bucket',
    );
    expect(storageEraser(own.s3, { bucket: own.bucket, store: 'storage:uploads' }).store).toBe(
      'storage:uploads',
    );
  });

  it('says when the server does not let it delete', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    // The server's answer for a key that may not be deleted, in a reply that is a success as a whole.
    s3.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        Object.assign(result.output, { Errors: [{ Key: 'tenants/acme/a', Code: 'AccessDenied' }] });
        return result;
      },
      { step: 'initialize' },
    );
    const erasing = storageEraser(s3, { bucket: own.bucket }).erase({ tenant: 'acme' }, run());
    await expect(erasing).rejects.toThrow('did not delete 1 objects (AccessDenied)');
    s3.destroy();
  });

  it('says which server cannot be reached, without credentials, and does not wait for ever', async () => {
    const down = {
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    };
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    // Port 9 answers nobody; the other server takes the connection and never says anything.
    for (const [endpoint, timeout] of [
      ['http://user:secret@127.0.0.1:9', 10_000],
      [`http://127.0.0.1:${port}`, 100],
    ] as const) {
      const s3 = new S3Client({ ...down, endpoint, tenant: { buckets: ['uploads'] } });
      const planning = storageEraser(s3, { bucket: 'uploads', timeout }).plan({ tenant: 'acme' });
      await expect(planning).rejects.toThrow(StoreUnreachableError);
      await expect(planning).rejects.toThrow(
        /storage\.plan: http:\/\/127\.0\.0\.1:\d+\/uploads cannot be reached/,
      );
      s3.destroy();
    }
    silent.closeAllConnections();
    silent.close();
  });

  it('deletes nothing that a listing names by mistake', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    await put(own, 'tenants/acme2/a');
    const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    s3.middlewareStack.add(
      (next) => async (args) => {
        const input = args.input as { Prefix?: string };
        return next({ ...args, input: 'Prefix' in input ? { ...input, Prefix: 'tenants/' } : args.input });
      },
      { step: 'initialize' },
    );
    const erasing = storageEraser(s3, { bucket: own.bucket }).erase({ tenant: 'acme' }, run());
    await expect(erasing).rejects.toThrow(IsolationBreachError);
    expect(await everything(own)).toHaveLength(2);
    s3.destroy();
  });

  it('leaves an event in the audit trail', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    const events: unknown[] = [];
    const listen = (event: unknown): number => events.push(event);
    auditChannels.erasure.subscribe(listen);
    await eraserOf(own).erase({ tenant: 'acme' }, run());
    auditChannels.erasure.unsubscribe(listen);
    expect(events).toMatchObject([
      { tenantid: 'acme', data: { unmapped: { store: `storage:${own.bucket}` } } },
    ]);
    const { raw, bucket } = own;
    const gone = raw.send(new RawGetObjectCommand({ Bucket: bucket, Key: 'tenants/acme/a' }));
    await expect(gone).rejects.toMatchObject({ name: 'NoSuchKey' });
  });
});

function byWhy(a: { readonly why: string }, b: { readonly why: string }): number {
  return a.why < b.why ? -1 : 1;
}
