import { IsolationBreachError, isVerified } from '@tenantkit/core';
import { CreateMultipartUploadCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { storageAuditor, storageEraser, type S3Client } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { altered, put, run, type Passing } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const SCOPE = { tenant: 'acme' };

const begin = ({ raw, bucket }: Opened, Key: string) =>
  raw.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }));
const uploads = async ({ raw, bucket }: Opened): Promise<string[]> => {
  const { Uploads = [] } = await raw.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  return Uploads.map(({ Key = '' }) => Key).toSorted();
};

/** A server that lists a further upload, of a key of bytes that are no UTF-8, under that prefix. */
const odd = (
  own: Opened,
  key: string,
  { subjects, prefix = 'tenants/acme/' }: { subjects?: readonly string[]; prefix?: string } = {},
) => {
  const aborted: unknown[] = [];
  let listed = 0;
  const answer = async ({ command, input, next }: Passing): Promise<object> => {
    if (command === 'AbortMultipartUploadCommand') aborted.push(input['Key']);
    if (command !== 'ListMultipartUploadsCommand' || input['Prefix'] !== prefix) return next();
    listed += 1;
    const { EncodingType: _, ...plain } = input;
    const found = (await next(plain)) as { Uploads?: readonly { readonly Key?: string }[] };
    const known = (found.Uploads ?? []).map((one) => ({ ...one, Key: encodeURIComponent(one.Key ?? '') }));
    return { ...found, EncodingType: 'url', Uploads: [{ Key: key, UploadId: 'u' }, ...known] };
  };
  const s3 = altered(own, answer, subjects && { subjects });
  return { s3, aborted, listed: () => listed, [Symbol.dispose]: () => s3.destroy() };
};

const audited = async (s3: S3Client, { bucket }: Opened): Promise<(string | undefined)[]> => {
  const found: (string | undefined)[] = [];
  const audit = storageAuditor(s3, { bucket, objectAcls: false, uploadDays: 0 }).audit();
  for await (const { code, name } of audit) if (code === 'unnameable_key') found.push(name);
  return found;
};

describe('an unfinished upload of a key of bytes that are no UTF-8', () => {
  it('is counted and noted, and ends an erasure with an error, after everything else is erased', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    for (const tenant of ['acme', 'acme2']) await begin(own, `tenants/${tenant}/b`);
    using server = odd(own, 'tenants/acme/%FF');
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    const { items, notes } = await eraser.plan(SCOPE);
    expect(items).toContainEqual({ kind: 'uploads', count: 2 });
    expect(notes).toContainEqual(expect.stringMatching(/^1 objects or uploads have keys .* will be left/));
    const before = server.listed();
    await expect(eraser.erase(SCOPE, run())).rejects.toThrow('1 objects or uploads have keys of bytes');
    // Not until the last pass, of which there may be twenty; what cannot be named is not asked for.
    expect(server.listed() - before).toBe(2);
    expect(server.aborted).toEqual(['tenants/acme/b']);
    expect(await uploads(own)).toEqual(['tenants/acme2/b']);
    const verified = await eraser.verify(SCOPE);
    expect(isVerified(verified)).toBe(false);
    expect(verified.remaining).toContainEqual({ kind: 'uploads', count: 1 });

    const other = { tenant: 'acme2' };
    expect((await eraser.plan(other)).notes?.join()).not.toContain('UTF-8');
    expect((await eraser.erase(other, run())).erased).toContainEqual({ kind: 'uploads', count: 1 });
    expect(isVerified(await eraser.verify(other))).toBe(true);
    // Without it, nothing is left of the first one either.
    expect(isVerified(await storageEraser(own.s3, { bucket: own.bucket }).verify(SCOPE))).toBe(true);
  });

  it('that is a person’s by its name ends their erasure in the same way', async () => {
    await using own = await open();
    const subjects = ['users/{subject}/**'];
    for (const person of ['p', 'q']) await begin(own, `tenants/acme/users/${person}/a`);
    using server = odd(own, 'tenants/acme/users/p/%FF', { subjects });
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    const [p, q] = [
      { ...SCOPE, subject: 'p' },
      { ...SCOPE, subject: 'q' },
    ];
    expect((await eraser.plan(p)).notes?.join()).toContain('1 objects or uploads have keys');
    await expect(eraser.erase(p, run())).rejects.toThrow('1 objects or uploads have keys of bytes');
    await expect(eraser.verify(p)).rejects.toThrow('1 objects or uploads have keys of bytes');
    expect(server.aborted).toEqual(['tenants/acme/users/p/a']);
    expect((await eraser.plan(q)).notes?.join()).not.toContain('UTF-8');
    await eraser.erase(q, run());
    expect(isVerified(await eraser.verify(q))).toBe(true);
    expect(await uploads(own)).toEqual([]);
  });

  it('of which a server tells no more than XML can say is never taken for gone', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    // The bytes are lost on the way, and no upload has the key that is left of them.
    using server = odd(own, encodeURIComponent('tenants/acme/\uFFFD'));
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    await expect(eraser.erase(SCOPE, run())).rejects.toThrow('still lists objects');
    expect(isVerified(await eraser.verify(SCOPE))).toBe(false);
  });

  it('of another tenant is a breach', async () => {
    await using own = await open();
    using server = odd(own, 'tenants/acme2/%FF');
    const eraser = storageEraser(server.s3, { bucket: own.bucket });
    await expect(eraser.plan(SCOPE)).rejects.toThrow(IsolationBreachError);
    await expect(eraser.erase(SCOPE, run())).rejects.toThrow(IsolationBreachError);
  });

  it('is a finding of the audit, as an object of such a key is', async () => {
    await using own = await open();
    await begin(own, 'tenants/acme/b');
    using server = odd(own, 'tenants/acme/%FF', { prefix: '' });
    expect(await audited(server.s3, own)).toEqual(['tenants/acme/%FF']);
    using s3 = altered(own, ({ command, next }) =>
      command === 'ListObjectsV2Command'
        ? Promise.resolve({
            EncodingType: 'url',
            Contents: ['%FF', 'a', '%FF%FF'].map((key) => ({ Key: `tenants/acme/${key}` })),
          })
        : next(),
    );
    expect(await audited(s3, own)).toEqual(['tenants/acme/%FF', 'tenants/acme/%FF%FF']);
    expect(await audited(own.s3, own)).toEqual([]);
  });

  it('hides none that are listed behind it, and each is told once', async () => {
    await using own = await open();
    const bytesOf = (key: string): Buffer => Buffer.from(unescape(key), 'latin1');
    const sorted = ['%7F', '%80', '%C3%A9', '%C3', '%EF%BF%BD', '%F0%9F', '%FF', '%FF%FF', 'a']
      .map((key) => `tenants/acme/${key}`)
      .sort((one, other) => Buffer.compare(bytesOf(one), bytesOf(other)));
    using s3 = altered(own, ({ command, input, next }) => {
      if (command !== 'ListMultipartUploadsCommand' || input['Prefix'] !== 'tenants/acme/') return next();
      const after = Buffer.from((input['KeyMarker'] as string | undefined) ?? '');
      const behind = sorted.filter((key) => Buffer.compare(bytesOf(key), after) > 0);
      const Uploads = behind.slice(0, 2).map((Key) => ({ Key, UploadId: 'u' }));
      return Promise.resolve({
        EncodingType: 'url',
        IsTruncated: behind.length > 2,
        NextKeyMarker: Uploads.at(-1)?.Key,
        NextUploadIdMarker: 'u',
        Uploads,
      });
    });
    const { items, notes } = await storageEraser(s3, { bucket: own.bucket }).plan(SCOPE);
    expect(items).toContainEqual({ kind: 'uploads', count: sorted.length });
    expect(notes?.join()).toContain('5 objects or uploads have keys');
  });

  it('that a listing begins again behind ends it with an error', async () => {
    await using own = await open();
    using s3 = altered(own, ({ command, next }) =>
      command === 'ListMultipartUploadsCommand'
        ? Promise.resolve({
            EncodingType: 'url',
            IsTruncated: true,
            NextKeyMarker: 'tenants/acme/%FF',
            Uploads: [{ Key: 'tenants/acme/%FF', UploadId: 'u' }],
          })
        : next(),
    );
    const eraser = storageEraser(s3, { bucket: own.bucket });
    await expect(eraser.plan(SCOPE)).rejects.toThrow('bytes that are no UTF-8 that it cannot be listed');
  });
});
