import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { PutObjectLegalHoldCommand, PutObjectRetentionCommand } from '@aws-sdk/client-s3';
import type { Feature } from '../servers/table.ts';
import type { Side } from './side.ts';

/** What happens on both sides, and how the command that it is about ends on Ceph. */
export interface Case {
  /** `ok`, or the name of the error. */
  readonly ends: string;
  readonly bucket?: 'versioned' | 'locked';
  /** What the server must have. */
  readonly needs?: readonly Feature[];
  readonly run: (side: Side) => Promise<unknown>;
}

export type Cases = Readonly<Record<string, Case>>;

const customer = (secret: string) => {
  const key = Buffer.alloc(32, secret);
  return {
    SSECustomerAlgorithm: 'AES256',
    SSECustomerKey: key.toString('base64'),
    SSECustomerKeyMD5: createHash('md5').update(key).digest('base64'),
  };
};
const put = (side: Side, Key: string, more: object = {}): Promise<unknown> =>
  side.send('PutObjectCommand', { Key, Body: `body of ${Key}`, ...more });

export const putObject: Cases = {
  'with all that an object can be given': {
    ends: 'ok',
    run: (side) =>
      put(side, 'a/b c.txt', {
        ACL: 'private',
        CacheControl: 'no-store',
        ContentDisposition: 'attachment; filename="a b"',
        ContentEncoding: 'identity',
        ContentLanguage: 'de',
        ContentType: 'text/plain; charset=utf-8',
        Expires: new Date('2030-01-01T00:00:00Z'),
        Metadata: { one: 'a', two: 'b c' },
        StorageClass: 'STANDARD',
        Tagging: 'project=x',
      }),
  },
  // Ceph stores it all the same.
  'for a bucket of somebody else': {
    ends: 'ok',
    run: (side) => put(side, 'a', { ExpectedBucketOwner: '123456789012' }),
  },
  'with nothing in it': { ends: 'ok', run: (side) => put(side, 'empty', { Body: '' }) },
  'from a stream': {
    ends: 'ok',
    run: (side) => put(side, 'stream', { Body: Readable.from(['abc', 'def']), ContentLength: 6 }),
  },
  'with a checksum': { ends: 'ok', run: (side) => put(side, 'summed', { ChecksumAlgorithm: 'SHA256' }) },
  'with a key of the customer': { ends: 'ok', run: (side) => put(side, 'secret', customer('k')) },
  'in a bucket with versions': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => [await put(side, 'a'), await put(side, 'a')],
  },
  'with a digest of another body': {
    ends: 'BadDigest',
    run: (side) => put(side, 'a', { ContentMD5: createHash('md5').update('x').digest('base64') }),
  },
  'with a digest that is none': {
    ends: 'InvalidDigest',
    run: (side) => put(side, 'a', { ContentMD5: 'AAAA' }),
  },
  'that must not be there': {
    ends: 'PreconditionFailed',
    run: async (side) => [await put(side, 'a'), await put(side, 'a', { IfNoneMatch: '*' })],
  },
  'that must be another one': {
    ends: 'PreconditionFailed',
    run: async (side) => [await put(side, 'a'), await put(side, 'a', { IfMatch: '"another"' })],
  },
};

const reading = (
  command: 'GetObjectCommand' | 'HeadObjectCommand',
  ends: Readonly<Record<string, string>>,
): Cases => {
  const get = (side: Side, more: object = {}): Promise<unknown> =>
    side.send(command, { Key: 'a/b', ...more });
  const after =
    (more: object, first: object = {}) =>
    async (side: Side): Promise<void> => {
      await put(side, 'a/b', first);
      await get(side, more);
    };
  const all: Record<string, Omit<Case, 'ends'>> = {
    'of an object with all that it can have': {
      run: after(
        {},
        { Metadata: { a: 'b' }, ContentType: 'x/y', CacheControl: 'no-store', Tagging: 'project=x' },
      ),
    },
    'of a part of it': { run: after({ Range: 'bytes=2-4' }) },
    'of what lies behind its end': { run: after({ Range: 'bytes=1000-' }) },
    'under other headers': {
      run: after({
        ResponseContentType: 'a/b',
        ResponseCacheControl: 'no-cache',
        ResponseContentDisposition: 'inline; filename="x y"',
        ResponseContentEncoding: 'x',
        ResponseContentLanguage: 'fr',
        ResponseExpires: new Date('2031-01-01T00:00:00Z'),
      }),
    },
    'of a key that is not there': { run: get },
    'if it is another one': { run: after({ IfMatch: '"another"' }) },
    'if it is not this one': {
      run: async (side) => {
        const made = (await put(side, 'a/b')) as { ETag: string };
        await get(side, { IfNoneMatch: made.ETag });
      },
    },
    'if it was changed since then': { run: after({ IfModifiedSince: new Date('2050-01-01T00:00:00Z') }) },
    'if it was not changed since then': {
      run: after({ IfUnmodifiedSince: new Date('2001-01-01T00:00:00Z') }),
    },
    'with its checksums': { run: after({ ChecksumMode: 'ENABLED' }, { ChecksumAlgorithm: 'CRC32' }) },
    'with the key of the customer': { run: after(customer('k'), customer('k')) },
    'without the key of the customer': { run: after({}, customer('k')) },
    'with another key of the customer': { run: after(customer('x'), customer('k')) },
    'of an earlier version': {
      bucket: 'versioned',
      run: async (side) => {
        const first = (await put(side, 'a/b', { Body: 'first' })) as { VersionId: string };
        await put(side, 'a/b', { Body: 'second' });
        await get(side, { VersionId: first.VersionId });
      },
    },
    'of a version that is not there': {
      bucket: 'versioned',
      run: after({ VersionId: 'abcdefghijklmnopqrstuvwxyz01234' }),
    },
    'of what was deleted': {
      bucket: 'versioned',
      run: async (side) => {
        await put(side, 'a/b');
        await side.send('DeleteObjectCommand', { Key: 'a/b' });
        await get(side);
      },
    },
    'of a delete marker': {
      bucket: 'versioned',
      run: async (side) => {
        await put(side, 'a/b');
        const marker = await side.send('DeleteObjectCommand', { Key: 'a/b' });
        await get(side, { VersionId: marker?.VersionId });
      },
    },
    'of a locked object': {
      bucket: 'locked',
      run: async (side) => {
        await put(side, 'a/b');
        await side.operator(
          (at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'ON' } }),
          'a/b',
        );
        await get(side);
        await side.operator(
          (at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'OFF' } }),
          'a/b',
        );
      },
    },
  };
  return Object.fromEntries(
    Object.entries(all).map(([name, one]) => [name, { ...one, ends: ends[name] ?? 'ok' }]),
  );
};

export const getObject = reading('GetObjectCommand', {
  'of what lies behind its end': 'InvalidRange',
  'of a key that is not there': 'NoSuchKey',
  'if it is another one': 'PreconditionFailed',
  'if it is not this one': 'Unknown',
  'if it was changed since then': 'Unknown',
  'if it was not changed since then': 'PreconditionFailed',
  'without the key of the customer': 'InvalidArgument',
  'with another key of the customer': 'InvalidArgument',
  'of a version that is not there': 'NoSuchKey',
  'of what was deleted': 'NoSuchKey',
  'of a delete marker': 'NoSuchKey',
});

export const headObject = reading('HeadObjectCommand', {
  'of what lies behind its end': 'Unknown',
  'of a key that is not there': 'NotFound',
  'if it is another one': 'Unknown',
  'if it is not this one': 'Unknown',
  'if it was changed since then': 'Unknown',
  'if it was not changed since then': 'Unknown',
  'without the key of the customer': 'Unknown',
  'with another key of the customer': 'Unknown',
  'of a version that is not there': 'NotFound',
  'of what was deleted': 'NotFound',
  'of a delete marker': 'NotFound',
});

export const deleteObject: Cases = {
  'of an object': {
    ends: 'ok',
    run: async (side) => [await put(side, 'a'), await side.send('DeleteObjectCommand', { Key: 'a' })],
  },
  'of a key that is not there': {
    ends: 'ok',
    run: (side) => side.send('DeleteObjectCommand', { Key: 'none' }),
  },
  'in a bucket with versions': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => {
      const made = (await put(side, 'a')) as { VersionId: string };
      const marker = await side.send('DeleteObjectCommand', { Key: 'a' });
      await side.send('DeleteObjectCommand', { Key: 'a', VersionId: marker?.VersionId });
      await side.send('DeleteObjectCommand', { Key: 'a', VersionId: made.VersionId });
    },
  },
  'of a version that is held': {
    ends: 'AccessDenied',
    bucket: 'locked',
    run: async (side) => {
      const made = (await put(side, 'a')) as { VersionId: string };
      await side.operator((at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'ON' } }), 'a');
      await side.send('DeleteObjectCommand', { Key: 'a', VersionId: made.VersionId });
      await side.operator(
        (at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'OFF' } }),
        'a',
      );
    },
  },
};

export const deleteObjects: Cases = {
  'of some that are there and some that are not': {
    ends: 'ok',
    run: async (side) => {
      for (const key of ['a', 'b/c', 'é & <d>', ' ']) await put(side, key);
      const Objects = ['a', 'b/c', 'é & <d>', ' ', 'none'].map((key) => ({ Key: side.name(key) }));
      await side.send('DeleteObjectsCommand', { Delete: { Objects } });
    },
  },
  quietly: {
    ends: 'ok',
    run: async (side) => {
      await put(side, 'a');
      await side.send('DeleteObjectsCommand', {
        Delete: { Objects: [{ Key: side.name('a') }], Quiet: true },
      });
    },
  },
  'of versions, and of keys that get a marker': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => {
      const one = (await put(side, 'a')) as { VersionId: string };
      await put(side, 'b');
      const Objects = [{ Key: side.name('a'), VersionId: one.VersionId }, { Key: side.name('b') }];
      await side.send('DeleteObjectsCommand', { Delete: { Objects } });
    },
  },
  'of a version that is held beside one that is not': {
    ends: 'ok',
    bucket: 'locked',
    run: async (side) => {
      const held = (await put(side, 'a')) as { VersionId: string };
      const free = (await put(side, 'b')) as { VersionId: string };
      await side.operator((at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'ON' } }), 'a');
      const Objects = [
        { Key: side.name('a'), VersionId: held.VersionId },
        { Key: side.name('b'), VersionId: free.VersionId },
      ];
      await side.send('DeleteObjectsCommand', { Delete: { Objects } });
      await side.operator(
        (at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'OFF' } }),
        'a',
      );
    },
  },
  'of none': {
    ends: 'ok',
    run: (side) => side.send('DeleteObjectsCommand', { Delete: { Objects: [] } }),
  },
};

const copied =
  (more: (side: Side) => object, first: object = {}) =>
  async (side: Side): Promise<void> => {
    await put(side, 'a/b +c', { Metadata: { of: 'source' }, ...first });
    await side.send('CopyObjectCommand', { Key: 'copy', CopySource: side.source('a/b +c'), ...more(side) });
    await side.send('GetObjectCommand', { Key: 'copy' });
  };

export const copyObject: Cases = {
  'of an object': { ends: 'ok', run: copied(() => ({})) },
  'with a slash in front of its source': {
    ends: 'ok',
    run: copied((side) => ({ CopySource: `/${side.source('a/b +c')}` })),
  },
  'with other metadata': {
    ends: 'ok',
    run: copied(() => ({ MetadataDirective: 'REPLACE', Metadata: { of: 'copy' }, ContentType: 'x/y' })),
  },
  'with tags': { ends: 'ok', run: copied(() => ({ TaggingDirective: 'REPLACE', Tagging: 'project=y' })) },
  'from a key of the customer': {
    ends: 'NotImplemented',
    run: copied(() => {
      const { SSECustomerAlgorithm, SSECustomerKey, SSECustomerKeyMD5 } = customer('k');
      return {
        CopySourceSSECustomerAlgorithm: SSECustomerAlgorithm,
        CopySourceSSECustomerKey: SSECustomerKey,
        CopySourceSSECustomerKeyMD5: SSECustomerKeyMD5,
      };
    }, customer('k')),
  },
  'of an earlier version': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => {
      const first = (await put(side, 'a', { Body: 'first' })) as { VersionId: string };
      await put(side, 'a', { Body: 'second' });
      const CopySource = side.source('a', `?versionId=${first.VersionId}`);
      await side.send('CopyObjectCommand', { Key: 'copy', CopySource });
    },
  },
  'to itself, unchanged': {
    ends: 'InvalidRequest',
    run: async (side) => {
      await put(side, 'a');
      await side.send('CopyObjectCommand', { Key: 'a', CopySource: side.source('a') });
    },
  },
  'of a key that is not there': {
    ends: 'NoSuchKey',
    run: (side) => side.send('CopyObjectCommand', { Key: 'copy', CopySource: side.source('none') }),
  },
  // Ceph copies all the same.
  'if the source is another one': {
    ends: 'ok',
    run: async (side) => {
      await put(side, 'a');
      await side.send('CopyObjectCommand', {
        Key: 'copy',
        CopySource: side.source('a'),
        CopySourceIfMatch: '"another"',
      });
    },
  },
};

export const getObjectAttributes: Cases = {
  // Ceph answers with the object itself, which the SDK cannot read.
  'of an object': {
    ends: 'Error',
    run: async (side) => {
      await put(side, 'a');
      await side.send('GetObjectAttributesCommand', { Key: 'a', ObjectAttributes: ['ETag', 'ObjectSize'] });
    },
  },
  'of a key that is not there': {
    ends: 'NoSuchKey',
    run: (side) => side.send('GetObjectAttributesCommand', { Key: 'none', ObjectAttributes: ['ETag'] }),
  },
};

const Retention = { Mode: 'GOVERNANCE', RetainUntilDate: new Date('2040-01-01T00:00:00Z') } as const;

export const getObjectRetention: Cases = {
  'of an object that is retained': {
    ends: 'ok',
    bucket: 'locked',
    run: async (side) => {
      await put(side, 'a');
      await side.operator((at) => new PutObjectRetentionCommand({ ...at, Retention }), 'a');
      await side.send('GetObjectRetentionCommand', { Key: 'a' });
    },
  },
  'of an object that is not': {
    ends: 'ObjectLockConfigurationNotFoundError',
    bucket: 'locked',
    run: async (side) => [await put(side, 'a'), await side.send('GetObjectRetentionCommand', { Key: 'a' })],
  },
  'in a bucket without locks': {
    ends: 'InvalidRequest',
    run: async (side) => [await put(side, 'a'), await side.send('GetObjectRetentionCommand', { Key: 'a' })],
  },
};

export const getObjectLegalHold: Cases = {
  'of an object that is held': {
    ends: 'ok',
    bucket: 'locked',
    run: async (side) => {
      await put(side, 'a');
      await side.operator((at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'ON' } }), 'a');
      await side.send('GetObjectLegalHoldCommand', { Key: 'a' });
      await side.operator(
        (at) => new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: 'OFF' } }),
        'a',
      );
    },
  },
  'of an object that is not': {
    ends: 'ObjectLockConfigurationNotFoundError',
    bucket: 'locked',
    run: async (side) => [await put(side, 'a'), await side.send('GetObjectLegalHoldCommand', { Key: 'a' })],
  },
  'in a bucket without locks': {
    ends: 'InvalidRequest',
    run: async (side) => [await put(side, 'a'), await side.send('GetObjectLegalHoldCommand', { Key: 'a' })],
  },
};

export const restoreObject: Cases = {
  'that no server of the tests knows': {
    ends: 'NotImplemented',
    run: async (side) => {
      await put(side, 'a');
      await side.send('RestoreObjectCommand', { Key: 'a', RestoreRequest: { Days: 1 } });
    },
  },
};

export const selectObjectContent: Cases = {
  'of lines': {
    ends: 'ok',
    run: async (side) => {
      await put(side, 'a.csv', { Body: 'a,1\nb,2\n' });
      await side.send('SelectObjectContentCommand', {
        Key: 'a.csv',
        Expression: 'select _1 from s3object where _2 > 1;',
        ExpressionType: 'SQL',
        InputSerialization: { CSV: { FileHeaderInfo: 'NONE', RecordDelimiter: '\n', FieldDelimiter: ',' } },
        OutputSerialization: { CSV: {} },
      });
    },
  },
};
