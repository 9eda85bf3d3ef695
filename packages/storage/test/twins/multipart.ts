import { createHash } from 'node:crypto';
import type { Cases } from './objects.ts';
import type { Side } from './side.ts';

/** The least that a part has which is not the last. */
const PART = 5 * 1024 * 1024;
const big = Buffer.alloc(PART, 'x');

/** Begins an upload, and gives what its commands have in common. */
async function begun(
  side: Side,
  more: object = {},
  Key = 'a/b c',
): Promise<{ Key: string; UploadId: string }> {
  const reply = await side.send('CreateMultipartUploadCommand', { Key, ...more });
  return { Key, UploadId: reply?.UploadId ?? '' };
}

async function part(
  side: Side,
  upload: { Key: string; UploadId: string },
  PartNumber: number,
  Body: string | Buffer = `part ${PartNumber}`,
): Promise<{ PartNumber: number; ETag: string }> {
  const reply = await side.send('UploadPartCommand', { ...upload, PartNumber, Body });
  return { PartNumber, ETag: reply?.ETag ?? '' };
}

const abort = (side: Side, upload: { Key: string; UploadId: string }): Promise<unknown> =>
  side.send('AbortMultipartUploadCommand', upload);

export const createMultipartUpload: Cases = {
  'with all that an object can be given': {
    ends: 'ok',
    run: async (side) => {
      const upload = await begun(side, {
        ACL: 'private',
        ContentType: 'text/plain',
        CacheControl: 'no-store',
        Metadata: { a: 'b' },
        Tagging: 'project=x',
        StorageClass: 'STANDARD',
      });
      const Parts = [await part(side, upload, 1)];
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
      await side.send('HeadObjectCommand', { Key: upload.Key });
      await begun(side, {}, 'left');
    },
  },
  'with a storage class that is not there': {
    ends: 'InvalidArgument',
    run: (side) => begun(side, { StorageClass: 'NONE' }),
  },
};

export const uploadPart: Cases = {
  'of an upload': { ends: 'ok', run: async (side) => part(side, await begun(side), 1) },
  'with a digest': {
    ends: 'ok',
    run: async (side) => {
      const ContentMD5 = createHash('md5').update('x').digest('base64');
      await side.send('UploadPartCommand', { ...(await begun(side)), PartNumber: 2, Body: 'x', ContentMD5 });
    },
  },
  'with the digest of another part': {
    ends: 'BadDigest',
    run: async (side) => {
      const ContentMD5 = createHash('md5').update('y').digest('base64');
      await side.send('UploadPartCommand', { ...(await begun(side)), PartNumber: 2, Body: 'x', ContentMD5 });
    },
  },
  'of an upload that was aborted': {
    ends: 'NoSuchUpload',
    run: async (side) => {
      const upload = await begun(side);
      await abort(side, upload);
      await part(side, upload, 1);
    },
  },
};

export const uploadPartCopy: Cases = {
  'of an object': {
    ends: 'ok',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'source +', Body: 'abcdef' });
      const upload = await begun(side);
      const reply = await side.send('UploadPartCopyCommand', {
        ...upload,
        PartNumber: 1,
        CopySource: side.source('source +'),
      });
      const { ETag } = (reply?.['CopyPartResult'] ?? {}) as { ETag?: string };
      const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload });
      await side.send('GetObjectCommand', { Key: upload.Key });
      await side.send('UploadPartCopyCommand', {
        ...(await begun(side, {}, 'other')),
        PartNumber: 1,
        CopySource: side.source('source +'),
      });
    },
  },
  'of a part of it': {
    ends: 'ok',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'source', Body: big });
      await side.send('UploadPartCopyCommand', {
        ...(await begun(side)),
        PartNumber: 1,
        CopySource: side.source('source'),
        CopySourceRange: 'bytes=0-99',
      });
    },
  },
  'of a key that is not there': {
    // Where copies of parts are not known, the source is looked at all the same.
    needs: ['partCopies'],
    ends: 'NoSuchKey',
    run: async (side) =>
      side.send('UploadPartCopyCommand', {
        ...(await begun(side)),
        PartNumber: 1,
        CopySource: side.source('none'),
      }),
  },
  // Ceph copies all the same.
  'if the source is another one': {
    ends: 'ok',
    run: async (side) => {
      await side.send('PutObjectCommand', { Key: 'source', Body: 'abcdef' });
      await side.send('UploadPartCopyCommand', {
        ...(await begun(side)),
        PartNumber: 1,
        CopySource: side.source('source'),
        CopySourceIfMatch: '"another"',
      });
    },
  },
};

export const completeMultipartUpload: Cases = {
  'of two parts': {
    ends: 'ok',
    run: async (side) => {
      const upload = await begun(side);
      const Parts = [await part(side, upload, 1, big), await part(side, upload, 2)];
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
      await side.send('HeadObjectCommand', { Key: upload.Key, PartNumber: 2 });
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
    },
  },
  'in a bucket with versions': {
    ends: 'ok',
    bucket: 'versioned',
    run: async (side) => {
      const upload = await begun(side);
      const Parts = [await part(side, upload, 1)];
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
    },
  },
  'with a part that is not there': {
    ends: 'InvalidPart',
    needs: ['partChecks'],
    run: async (side) => {
      const upload = await begun(side);
      const Parts = [{ ...(await part(side, upload, 1)), PartNumber: 7 }];
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
    },
  },
  'with parts that are too small': {
    ends: 'EntityTooSmall',
    run: async (side) => {
      const upload = await begun(side);
      const Parts = [await part(side, upload, 1), await part(side, upload, 2)];
      await side.send('CompleteMultipartUploadCommand', { ...upload, MultipartUpload: { Parts } });
    },
  },
  'of no parts': {
    ends: 'MalformedXML',
    run: async (side) =>
      side.send('CompleteMultipartUploadCommand', { ...(await begun(side)), MultipartUpload: { Parts: [] } }),
  },
};

export const abortMultipartUpload: Cases = {
  'of an upload with a part': {
    ends: 'ok',
    run: async (side) => {
      const upload = await begun(side);
      await part(side, upload, 1);
      await abort(side, upload);
    },
  },
  twice: {
    ends: 'NoSuchUpload',
    run: async (side) => {
      const upload = await begun(side);
      await abort(side, upload);
      await abort(side, upload);
    },
  },
};

export const listParts: Cases = {
  'of an upload, page by page': {
    ends: 'ok',
    run: async (side) => {
      const upload = await begun(side);
      for (const number of [1, 2, 5]) await part(side, upload, number);
      await side.send('ListPartsCommand', upload);
      const first = await side.send('ListPartsCommand', { ...upload, MaxParts: 2 });
      const PartNumberMarker = String(first?.['NextPartNumberMarker']);
      await side.send('ListPartsCommand', { ...upload, MaxParts: 2, PartNumberMarker });
    },
  },
  'of an upload without parts': {
    ends: 'ok',
    run: async (side) => side.send('ListPartsCommand', await begun(side)),
  },
  'of an upload that was aborted': {
    ends: 'NoSuchKey',
    run: async (side) => {
      const upload = await begun(side);
      await abort(side, upload);
      await side.send('ListPartsCommand', upload);
    },
  },
};

const UPLOADS = ['a', 'a/b', 'a/c d', 'b&é', 'z'];

export const listMultipartUploads: Cases = {
  'of all, of some and of folders': {
    ends: 'ok',
    run: async (side) => {
      for (const key of UPLOADS) await begun(side, {}, key);
      await side.send('ListMultipartUploadsCommand', { Prefix: side.name('') });
      await side.send('ListMultipartUploadsCommand', { Prefix: side.name('a/') });
      await side.send('ListMultipartUploadsCommand', { Prefix: side.name(''), Delimiter: '/' });
      await side.send('ListMultipartUploadsCommand', { Prefix: side.name(''), EncodingType: 'url' });
      await side.send('ListMultipartUploadsCommand', { Prefix: side.name('none') });
    },
  },
  'page by page': {
    ends: 'ok',
    run: async (side) => {
      for (const key of UPLOADS) await begun(side, {}, key);
      let more: object = {};
      for (let page = 0; page < 10; page += 1) {
        const given = { Prefix: side.name(''), MaxUploads: 2, ...more };
        const reply = await side.send('ListMultipartUploadsCommand', given);
        if (reply?.['IsTruncated'] !== true) break;
        more = { KeyMarker: reply['NextKeyMarker'], UploadIdMarker: reply['NextUploadIdMarker'] };
      }
    },
  },
};
