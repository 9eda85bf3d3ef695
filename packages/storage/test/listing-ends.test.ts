import { ConfigError } from '@tenantkit/core';
import { storageAuditor, storageEraser, type S3Client } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { altered, put, run, type Passing } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const SCOPE = { tenant: 'acme' };
// Far more than a test needs: what goes on for ever fails, and does not hang.
const ENOUGH = 4_000;

type Answer = (asked: number) => object;

const object = (prefix: string, name: string) => ({
  Key: `${prefix}${name}`,
  Size: 1,
  VersionId: name,
  UploadId: name,
});
const page = (found: readonly object[], next: string) => ({
  IsTruncated: true,
  EncodingType: 'url',
  Contents: found,
  Versions: found,
  Uploads: found,
  NextContinuationToken: next,
  NextKeyMarker: next,
  NextVersionIdMarker: 'v',
  NextUploadIdMarker: 'u',
});

/** How a server may never come to an end. */
const CIRCLES: Readonly<Record<string, (prefix: string) => Answer>> = {
  'gives one page again and again': (prefix) => () => page([object(prefix, 'a')], `${prefix}a`),
  'gives an empty page again and again': (prefix) => () => page([], `${prefix}a`),
  'alternates between two pages': (prefix) => (asked) => {
    const name = asked % 2 === 0 ? 'a' : 'b';
    return page([object(prefix, name)], `${prefix}${name}`);
  },
  'goes round a circle of pages, with fresh tokens': (prefix) => (asked) =>
    page([object(prefix, `${asked % 7}`)], `${prefix}${asked}`),
  'goes into a circle later, without anything in its pages': (prefix) => (asked) =>
    page([], `${prefix}${asked < 50 ? `start${asked}` : `${asked % 9}`}`),
  'gives empty pages, with fresh tokens': (prefix) => (asked) => page([], `${prefix}${asked}`),
  'gives one page again and again, with fresh tokens': (prefix) => (asked) =>
    page([object(prefix, 'a')], `${prefix}${asked}`),
  'says that there is more, and not where': (prefix) => () => ({
    IsTruncated: true,
    EncodingType: 'url',
    Contents: [object(prefix, 'a')],
    Versions: [object(prefix, 'a')],
    Uploads: [object(prefix, 'a')],
  }),
};

const LISTINGS = [
  ['ListObjectsV2Command', false],
  ['ListObjectVersionsCommand', true],
  ['ListMultipartUploadsCommand', false],
] as const;

/** A client whose server lists that prefix so, and deletes nothing. */
const circling = (own: Opened, listing: string, prefix: string, circle: (prefix: string) => Answer) => {
  const answer = circle(prefix);
  let asked = 0;
  return altered(own, ({ command, input, next }: Passing) => {
    if (prefix === 'tenants/acme/' && /^(?:Delete|Abort)/.test(command)) return Promise.resolve({});
    if (command !== listing || input['Prefix'] !== prefix) return next();
    asked += 1;
    if (asked > ENOUGH) throw new Error('it goes on for ever');
    return Promise.resolve(answer(asked));
  });
};

const audited = async (s3: S3Client, { bucket }: Opened): Promise<string[]> => {
  const found: string[] = [];
  for await (const { code, message } of storageAuditor(s3, { bucket, objectAcls: false }).audit())
    found.push(`${code}: ${message}`);
  return found;
};

describe.each(LISTINGS)('where %s', (listing, versioned) => {
  it.each(Object.entries(CIRCLES))(
    '%s, plan, erasure and verification end with an error',
    async (name, circle) => {
      await using own = await open({ traits: { versioned } });
      using s3 = circling(own, listing, 'tenants/acme/', circle);
      const eraser = storageEraser(s3, { bucket: own.bucket });
      const works = [() => eraser.plan(SCOPE), () => eraser.verify(SCOPE), () => eraser.erase(SCOPE, run())];
      for (const work of works) {
        const failed = await work().catch((error: unknown) => error);
        expect(failed).toBeInstanceOf(ConfigError);
        expect((failed as Error).message).toContain('nobody can tell what else is in the bucket');
        expect((failed as Error).message.includes('and not where')).toBe(name.includes('and not where'));
        expect((failed as Error).message).not.toContain('acme');
      }
      // Another tenant's is none of that.
      await put(own, 'tenants/acme2/a');
      await expect(eraser.plan({ tenant: 'acme2' })).resolves.toMatchObject({ kept: [] });
    },
  );

  it.each(Object.entries(CIRCLES))('%s, the audit says so, and ends', async (_, circle) => {
    await using own = await open({ traits: { versioned } });
    await put(own, 'astray');
    using s3 = circling(own, listing, '', circle);
    const found = await audited(s3, own);
    expect(found).toContainEqual(expect.stringMatching(/^not_examined: .*nobody can tell what else/s));
    expect(await audited(own.s3, own)).not.toContainEqual(expect.stringMatching(/nobody can tell/));
  });

  it('does so for what verifications have left, no other tenant waits for it', async () => {
    await using own = await open({ traits: { versioned } });
    await put(own, 'tenants/acme/a');
    using s3 = circling(own, listing, 'tenants/tk-control-', (prefix) => () => page([], `${prefix}a`));
    const eraser = storageEraser(s3, { bucket: own.bucket });
    const { control } = await eraser.verify(SCOPE);
    expect(control.found).toBe(control.planted);
    await expect(eraser.erase(SCOPE, run())).resolves.toMatchObject({ kept: [] });
  });

  it('goes on from page to page, all of them are seen', async () => {
    await using own = await open({ traits: { versioned } });
    const names = [
      'a',
      'a-b',
      'a/b',
      'b',
      'c d',
      'c+1',
      'c+2',
      'c%20d',
      'c%2B1',
      'c%C3',
      'ü',
      '\u{1F600}',
      'z',
    ];
    for (const name of names) await put(own, `tenants/acme/${name}`);
    using s3 = altered(own, ({ command, input, next }) =>
      next(command.startsWith('ListObject') ? { ...input, MaxKeys: 1 } : input),
    );
    const { items } = await storageEraser(s3, { bucket: own.bucket }).plan(SCOPE);
    expect(items).toContainEqual(expect.objectContaining({ count: names.length }));
  });
});

it('goes on behind bytes that are no UTF-8, where the server does not encode its marker', async () => {
  await using own = await open({ traits: { versioned: true } });
  // As Ceph does: keys are encoded, and the marker is as much of the last key as XML can say.
  const keys = ['a', '%801', '%802', '%C3%A9', '%FF', 'b'].map((key) => `tenants/acme/${key}`);
  const bytesOf = (key: string): Buffer => Buffer.from(unescape(key), 'latin1');
  const sorted = keys.sort((a, b) => Buffer.compare(bytesOf(a), bytesOf(b)));
  using s3 = altered(own, ({ command, input, next }) => {
    if (command !== 'ListObjectVersionsCommand' || input['Prefix'] !== 'tenants/acme/') return next();
    const after = Buffer.from((input['KeyMarker'] as string | undefined) ?? '');
    const behind = sorted.filter((key) => Buffer.compare(bytesOf(key), after) > 0);
    const Versions = behind.slice(0, 3).map((Key) => ({ Key, VersionId: 'v', Size: 1 }));
    const NextKeyMarker = bytesOf(Versions.at(-1)?.Key ?? '').toString();
    return Promise.resolve({ EncodingType: 'url', IsTruncated: behind.length > 3, Versions, NextKeyMarker });
  });
  const { items } = await storageEraser(s3, { bucket: own.bucket }).plan(SCOPE);
  expect(items).toContainEqual({ kind: 'versions', count: keys.length, bytes: keys.length });
});
