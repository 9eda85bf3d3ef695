import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { AwsS3StorageAdapter } from '@flystorage/aws-s3';
import { FileStorage } from '@flystorage/file-storage';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWays, type Way, type Ways } from './support.ts';

let ways: Ways;
beforeAll(async () => {
  ways = await openWays();
});
afterAll(() => ways[Symbol.asyncDispose]());

const storageOf = ({ client, bucket }: Way): FileStorage =>
  new FileStorage(new AwsS3StorageAdapter(client, { bucket }));

/** What a service does with its files; `text` is what it writes. */
function day(way: Way, text: string): Promise<unknown> {
  const storage = storageOf(way);
  const list = async (path: string, deep: boolean): Promise<unknown[]> =>
    (await storage.list(path, { deep }).toArray()).map(({ path: at, type }) => `${type} ${at}`).sort();
  return way.inside(async () => {
    await storage.write('reports/2026/a b.txt', text);
    await storage.write('reports/2026/é+%.txt', `${text} 2`, { mimeType: 'text/plain' });
    await storage.write('logo.svg', `<svg>${text}</svg>`);
    await storage.createDirectory('empty');
    await storage.copyFile('reports/2026/a b.txt', 'copies/a b.txt');
    await storage.moveFile('logo.svg', 'images/logo.svg');
    const seen = {
      read: await storage.readToString('reports/2026/a b.txt'),
      copy: await storage.readToString('copies/a b.txt'),
      size: await storage.fileSize('reports/2026/é+%.txt'),
      type: await storage.mimeType('reports/2026/é+%.txt'),
      there: [await storage.fileExists('logo.svg'), await storage.directoryExists('reports')],
      flat: await list('', false),
      deep: await list('', true),
      folder: await list('reports', true),
      url: await (
        await fetch(await storage.temporaryUrl('copies/a b.txt', { expiresAt: Date.now() + 60_000 }))
      ).text(),
      missing: await storage.readToString('none').catch((error: Error) => error.constructor.name),
    };
    await storage.deleteDirectory('reports');
    await storage.deleteFile('copies/a b.txt');
    return { ...seen, left: await list('', true) };
  });
}

it('keeps the files of each tenant, as with a bucket of its own', async () => {
  const { own, raw, acme, acme2 } = ways;
  const plain = await day(raw, 'same');
  expect(plain).toMatchObject({
    read: 'same',
    url: 'same',
    left: expect.arrayContaining(['file images/logo.svg']),
  });
  expect(await day(acme2, 'same')).toEqual(plain);
  const [mine, others] = await Promise.all([day(acme, 'mine'), day(acme2, 'theirs')]);
  expect(mine).toMatchObject({ read: 'mine', copy: 'mine', url: 'mine' });
  expect(others).toMatchObject({ read: 'theirs', copy: 'theirs', url: 'theirs' });
  const { Contents = [] } = await own.raw.send(new ListObjectsV2Command({ Bucket: own.bucket }));
  expect(Contents.map(({ Key }) => Key)).toEqual(
    ['acme', 'acme2'].flatMap((tenant) => [`tenants/${tenant}/empty/`, `tenants/${tenant}/images/logo.svg`]),
  );
});

it('is told why where it wants what is of the operator', async () => {
  const storage = storageOf(ways.acme);
  await ways.acme.inside(async () => {
    await storage.write('private.txt', 'x');
    await expect(storage.changeVisibility('private.txt', 'public')).rejects.toThrow('PutObjectAcl');
    await expect(storage.write('open.txt', 'x', { visibility: 'public' })).rejects.toThrow('ACL');
    await storage.deleteFile('private.txt');
  });
});
