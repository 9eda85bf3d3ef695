import type { Cases } from './objects.ts';
import type { Side } from './side.ts';

const KEYS = ['a', 'a/b', 'a/c d', 'a/e/f', 'b+%é', 'c&<d>', 'c/', 'z'];

const filled = async (side: Side): Promise<void> => {
  for (const Key of KEYS) await side.send('PutObjectCommand', { Key, Body: Key });
};

type Listing = 'ListObjectsCommand' | 'ListObjectsV2Command' | 'ListObjectVersionsCommand';

/** What all listings of objects have in common. */
const common = (command: Listing): Cases => {
  const list = (more: (side: Side) => object) => ({
    ends: 'ok',
    run: async (side: Side): Promise<void> => {
      await filled(side);
      await side.send(command, { Prefix: side.name(''), ...more(side) });
    },
  });
  return {
    'of all': list(() => ({})),
    'of some': list((side) => ({ Prefix: side.name('a') })),
    'of a folder': list((side) => ({ Prefix: side.name('a/'), Delimiter: '/' })),
    'of folders': list(() => ({ Delimiter: '/' })),
    'of what another delimiter divides': list(() => ({ Delimiter: 'c' })),
    'of folders, encoded': list(() => ({ Delimiter: '/', EncodingType: 'url' })),
    'of names, encoded': list((side) => ({ Prefix: side.name('b+'), EncodingType: 'url' })),
    'of nothing': list((side) => ({ Prefix: side.name('none') })),
    'of no entries': list(() => ({ MaxKeys: 0 })),
    'of the first entries': list(() => ({ MaxKeys: 3, Delimiter: '/' })),
    'of an empty tenant': {
      ends: 'ok',
      run: (side) => side.send(command, { Prefix: side.name('') }),
    },
  };
};

/** Goes on until nothing is left. `next` gives what the next page is asked with. */
const pages =
  (command: Listing, given: object, next: (reply: Readonly<Record<string, unknown>>) => object) =>
  async (side: Side): Promise<void> => {
    await filled(side);
    let more: object = {};
    for (let page = 0; page < 12; page += 1) {
      const reply = await side.send(command, { Prefix: side.name(''), MaxKeys: 2, ...given, ...more });
      if (reply?.['IsTruncated'] !== true) return;
      more = next(reply);
    }
    throw new Error('the listing has no end');
  };

export const listObjectsV2: Cases = {
  ...common('ListObjectsV2Command'),
  'page by page': {
    ends: 'ok',
    run: pages('ListObjectsV2Command', {}, (reply) => ({
      ContinuationToken: reply['NextContinuationToken'],
    })),
  },
  'of folders, page by page': {
    ends: 'ok',
    run: pages('ListObjectsV2Command', { Delimiter: '/' }, (reply) => ({
      ContinuationToken: reply['NextContinuationToken'],
    })),
  },
  'after a key, with owners': {
    ends: 'ok',
    run: async (side) => {
      await filled(side);
      for (const key of ['a/b', 'bb', 'zz'])
        await side.send('ListObjectsV2Command', {
          Prefix: side.name(''),
          StartAfter: side.name(key),
          FetchOwner: true,
        });
    },
  },
};

export const listObjects: Cases = {
  ...common('ListObjectsCommand'),
  'page by page': {
    ends: 'ok',
    run: async (side) => {
      await filled(side);
      let marker = '';
      for (let page = 0; page < 12; page += 1) {
        const given = { Prefix: side.name(''), MaxKeys: 2, ...(marker === '' ? {} : { Marker: marker }) };
        const reply = await side.send('ListObjectsCommand', given);
        const last = (reply?.['Contents'] as { Key: string }[] | undefined)?.at(-1)?.Key ?? '';
        if (reply?.['IsTruncated'] !== true) return;
        marker = last;
      }
      throw new Error('the listing has no end');
    },
  },
  'of folders, page by page': {
    ends: 'ok',
    run: pages('ListObjectsCommand', { Delimiter: '/' }, (reply) => ({ Marker: reply['NextMarker'] })),
  },
};

export const listObjectVersions: Cases = {
  ...common('ListObjectVersionsCommand'),
  'with versions and delete markers, page by page': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => {
      for (const Key of ['a', 'a', 'b/c', 'a', 'b/d'])
        await side.send('PutObjectCommand', { Key, Body: 'x' });
      await side.send('DeleteObjectCommand', { Key: 'a' });
      await side.send('ListObjectVersionsCommand', { Prefix: side.name('') });
      await side.send('ListObjectVersionsCommand', { Prefix: side.name(''), Delimiter: '/' });
      let more: object = {};
      for (let page = 0; page < 12; page += 1) {
        const given = { Prefix: side.name(''), MaxKeys: 2, ...more };
        const reply = await side.send('ListObjectVersionsCommand', given);
        if (reply?.['IsTruncated'] !== true) return;
        more = { KeyMarker: reply['NextKeyMarker'], VersionIdMarker: reply['NextVersionIdMarker'] };
      }
      throw new Error('the listing has no end');
    },
  },
};
