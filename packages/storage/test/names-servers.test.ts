import { GetObjectCommand as RawGetObjectCommand, ListObjectsV2Command as RawList } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@tenantkit/storage';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';
import { needs } from './servers/capabilities.ts';
import type { Feature } from './servers/table.ts';

const PREFIX = 'tenants/acme/';
const room = 1024 - PREFIX.length;

/** Keys that the grammar accepts and something on the way could change, and what a server needs to keep them. */
const KEYS: readonly (readonly [key: string, ...features: Feature[]])[] = [
  [' '],
  [' a b  c '],
  ['\u00a0'],
  ['\u3000x\u3000'],
  ['a\u2028b\u2029'],
  ['a\ufeff'],
  ['\u200ba'],
  ['+', 'reservedInSources'],
  ['a+b c%20d', 'reservedInSources'],
  ['%'],
  ['100%'],
  ['%25'],
  ['a%2Fb%2fc'],
  ['a%00b'],
  ['a#b', 'reservedInSources'],
  ['a?b=c&d', 'reservedInSources'],
  ['a=b~c!d\'e"f(g)*', 'reservedInSources'],
  ['a:b;c,d@e$f|g^h`i', 'reservedInSources'],
  ['<a>&amp;</a>', 'reservedInSources'],
  ['{a}[b]'],
  ['a..b'],
  ['...'],
  ['.../....'],
  ['.hidden/.b'],
  ['folder/'],
  ['folder'],
  ['folder/a'],
  ['folder/a/b/c/d/e/f/'],
  ['constructor'],
  ['__proto__'],
  ['tenants/acme2/x'],
  ['é'],
  ['n\u0303o\u0308'.normalize('NFC')],
  ['\u0301alone'],
  ['ﬁ½①'],
  ['．a'],
  ['👩‍👩‍👧/🏳️‍🌈.png'],
  ['𐀀\u{10fffd}'],
  ['日本語/ファイル.txt'],
  ['مرحبا/שלום'],
  ['x'.repeat(230)],
  [`${'y'.repeat(200)}/`.repeat(5).slice(0, room)],
  ['z'.repeat(room), 'longNames'],
  ['é'.repeat(Math.floor(room / 2)), 'longNames'],
  [`${'🙂'.repeat(50)}/`.repeat(6).slice(0, 504)],
];

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());

async function rawKeys(prefix: string): Promise<unknown[]> {
  const { Contents = [] } = await own.raw.send(new RawList({ Bucket: own.bucket, Prefix: prefix }));
  return Contents.map(({ Key }) => Key);
}

for (const [key, ...features] of KEYS) {
  needs(...features).it(`keeps ${JSON.stringify(key)} bit for bit`, async () => {
    const { s3, raw, bucket } = own;
    await withTenant('acme', async () => {
      await s3.send(new PutObjectCommand({ Key: key, Body: key, Metadata: { of: 'one' } }));
      const { Body } = await s3.send(new GetObjectCommand({ Key: key }));
      expect(await Body?.transformToString()).toBe(key);
      const head = await s3.send(new HeadObjectCommand({ Key: key }));
      expect(head).toMatchObject({ ContentLength: Buffer.byteLength(key), Metadata: { of: 'one' } });
      for (const Prefix of [undefined, key]) {
        const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Prefix }));
        expect(Contents.filter((one) => one.Key === key)).toHaveLength(1);
      }
    });
    const stored = await raw.send(new RawGetObjectCommand({ Bucket: bucket, Key: PREFIX + key }));
    expect(await stored.Body?.transformToString()).toBe(key);
    await withTenant('acme', async () => {
      const CopySource = `${bucket}/${encodeURIComponent(key)}`;
      await s3.send(new CopyObjectCommand({ Key: 'copied/back', CopySource }));
      await s3.send(new DeleteObjectCommand({ Key: key }));
      expect(
        await s3.send(new GetObjectCommand({ Key: key })).catch((error: unknown) => error),
      ).toMatchObject({
        name: 'NoSuchKey',
      });
      await s3.send(new CopyObjectCommand({ Key: key, CopySource: `${bucket}/copied/back` }));
      const { Body } = await s3.send(new GetObjectCommand({ Key: key }));
      expect(await Body?.transformToString()).toBe(key);
      await s3.send(new DeleteObjectCommand({ Key: key }));
    });
    expect(await rawKeys(PREFIX + key)).toEqual([]);
  });
}

it('keeps beside each other what differs in a slash, in case or in a compatibility form', async () => {
  const { s3 } = own;
  const keys = ['twin', 'twin/', 'Twin', 'tw\u0131n', 'ｔｗｉｎ', 'twin ', ' twin', 'tw\u200bin'];
  await withTenant('acme', async () => {
    for (const key of keys) await s3.send(new PutObjectCommand({ Key: key, Body: key }));
    for (const key of keys) {
      const { Body } = await s3.send(new GetObjectCommand({ Key: key }));
      expect(await Body?.transformToString()).toBe(key);
    }
  });
  expect(await rawKeys(PREFIX)).toEqual(expect.arrayContaining(keys.map((key) => PREFIX + key)));
});
