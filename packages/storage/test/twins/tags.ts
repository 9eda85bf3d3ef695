import type { Cases } from './objects.ts';
import type { Side } from './side.ts';

const TagSet = [
  { Key: 'project', Value: 'é & <x>' },
  { Key: 'stage', Value: '' },
];

const tagged = async (side: Side): Promise<unknown> => {
  await side.send('PutObjectCommand', { Key: 'a', Body: 'x' });
  return side.send('PutObjectTaggingCommand', { Key: 'a', Tagging: { TagSet } });
};

export const putObjectTagging: Cases = {
  'of an object': { ends: 'ok', run: tagged },
  'of a key that is not there': {
    ends: 'NoSuchKey',
    run: (side) => side.send('PutObjectTaggingCommand', { Key: 'none', Tagging: { TagSet } }),
  },
  'with a value that is too long': {
    ends: 'InvalidTag',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'a', Body: 'x' });
      const long = [{ Key: 'project', Value: 'x'.repeat(257) }];
      await side.send('PutObjectTaggingCommand', { Key: 'a', Tagging: { TagSet: long } });
    },
  },
  'with the same tag twice': {
    ends: 'ok',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'a', Body: 'x' });
      const same = [...TagSet, ...TagSet];
      await side.send('PutObjectTaggingCommand', { Key: 'a', Tagging: { TagSet: same } });
    },
  },
};

export const getObjectTagging: Cases = {
  'of an object': {
    ends: 'ok',
    run: async (side) => [await tagged(side), await side.send('GetObjectTaggingCommand', { Key: 'a' })],
  },
  'of an object without tags': {
    ends: 'ok',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'a', Body: 'x' });
      await side.send('GetObjectTaggingCommand', { Key: 'a' });
    },
  },
  'of a key that is not there': {
    ends: 'NoSuchKey',
    run: (side) => side.send('GetObjectTaggingCommand', { Key: 'none' }),
  },
};

export const deleteObjectTagging: Cases = {
  'of an object': {
    ends: 'ok',
    run: async (side) => {
      await tagged(side);
      await side.send('GetObjectTaggingCommand', { Key: 'a' });
      await side.send('DeleteObjectTaggingCommand', { Key: 'a' });
    },
  },
  'of a key that is not there': {
    ends: 'NoSuchKey',
    run: (side) => side.send('DeleteObjectTaggingCommand', { Key: 'none' }),
  },
};
