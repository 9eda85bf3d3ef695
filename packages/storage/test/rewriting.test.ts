import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Realm } from '../src/call.ts';
import { BoundedBody } from '../src/body.ts';
import { rewriteInput } from '../src/rewrite.ts';
import type { CommandName } from '../src/rules.ts';
import { HOME, KEY, PART, QUERY, REALM, THERE, callOf, startOf, tokenOf, uploadOf } from './calls.ts';

const UPLOAD = PART.UploadId;
const LIST = { Bucket: 'acme.up', Prefix: 'tenants/acme/' };

/** What is given, and what leaves. */
const SENT: readonly (readonly [CommandName, given: object, sent: object])[] = [
  ['GetObjectCommand', KEY, THERE],
  ['GetObjectCommand', { ...KEY, Bucket: 'media.eu' }, { ...THERE, Bucket: 'media.eu' }],
  ['GetObjectCommand', { ...KEY, Range: undefined, IfMatch: null }, THERE],
  [
    'GetObjectCommand',
    { ...KEY, VersionId: 'v1', PartNumber: 1 },
    { ...THERE, VersionId: 'v1', PartNumber: 1 },
  ],
  ['GetObjectCommand', { ...KEY, PartNumber: 10_000 }, { ...THERE, PartNumber: 10_000 }],
  ['PutObjectCommand', { ...KEY, Body: 'x', ContentLength: 1 }, { ...THERE, Body: 'x', ContentLength: 1 }],
  ['PutObjectCommand', { ...KEY, ACL: 'private' }, { ...THERE, ACL: 'private' }],
  [
    'PutObjectCommand',
    { ...KEY, ACL: 'bucket-owner-full-control' },
    { ...THERE, ACL: 'bucket-owner-full-control' },
  ],
  [
    'PutObjectCommand',
    { ...KEY, Metadata: { a: '1', 'x-tk-a': '2' } },
    { ...THERE, Metadata: { a: '1', 'x-tk-a': '2' } },
  ],
  ['PutObjectCommand', { ...KEY, Tagging: 'team=a&a+b=c' }, { ...THERE, Tagging: 'team=a&a+b=c' }],
  ['PutObjectCommand', { ...KEY, Tagging: '' }, { ...THERE, Tagging: '' }],
  [
    'CopyObjectCommand',
    { ...KEY, CopySource: 'uploads/b%20c' },
    { ...THERE, CopySource: 'acme.up/tenants/acme/b%20c' },
  ],
  [
    'CopyObjectCommand',
    { ...KEY, CopySource: '/media.eu/b?versionId=v' },
    { ...THERE, CopySource: 'media.eu/tenants/acme/b?versionId=v' },
  ],
  ['ListObjectsCommand', {}, LIST],
  ['ListObjectsCommand', { Prefix: '', Marker: '' }, LIST],
  [
    'ListObjectsCommand',
    { Prefix: 'a/', Marker: 'a/b' },
    { Bucket: 'acme.up', Prefix: 'tenants/acme/a/', Marker: 'tenants/acme/a/b' },
  ],
  ['ListObjectsV2Command', { ContinuationToken: tokenOf('next') }, { ...LIST, ContinuationToken: 'next' }],
  [
    'ListObjectVersionsCommand',
    { KeyMarker: 'a', VersionIdMarker: 'v' },
    { ...LIST, KeyMarker: 'tenants/acme/a', VersionIdMarker: 'v' },
  ],
  [
    'ListMultipartUploadsCommand',
    { KeyMarker: 'a/one', UploadIdMarker: UPLOAD },
    { ...LIST, KeyMarker: THERE.Key, UploadIdMarker: 'u1' },
  ],
  [
    'ListMultipartUploadsCommand',
    { UploadIdMarker: uploadOf({ key: 'tenants/acme/b' }) },
    { ...LIST, UploadIdMarker: 'u1' },
  ],
  ['ListMultipartUploadsCommand', { UploadIdMarker: '' }, LIST],
  // In whatever order: an id is sealed to the key.
  [
    'UploadPartCommand',
    { UploadId: UPLOAD, PartNumber: 3, ...KEY },
    { ...THERE, PartNumber: 3, UploadId: 'u1' },
  ],
  // lib-storage gives each command of an upload what a PutObject has.
  [
    'UploadPartCommand',
    { ...PART, StorageClass: 'x', GrantRead: 'x' },
    { ...THERE, PartNumber: 1, UploadId: 'u1' },
  ],
  [
    'CompleteMultipartUploadCommand',
    { ...KEY, UploadId: UPLOAD, MultipartUpload: { Parts: [{ ETag: 'e', PartNumber: 1 }] } },
    { ...THERE, UploadId: 'u1', MultipartUpload: { Parts: [{ ETag: 'e', PartNumber: 1 }] } },
  ],
  [
    'DeleteObjectsCommand',
    { Delete: { Quiet: true, Objects: [KEY, { Key: 'b', VersionId: 'v' }] } },
    {
      Bucket: 'acme.up',
      Delete: { Quiet: true, Objects: [{ Key: THERE.Key }, { Key: 'tenants/acme/b', VersionId: 'v' }] },
    },
  ],
  [
    'PutObjectTaggingCommand',
    { ...KEY, Tagging: { TagSet: [{ Key: 'team', Value: 'x' }] } },
    { ...THERE, Tagging: { TagSet: [{ Key: 'team', Value: 'x' }] } },
  ],
  ['SelectObjectContentCommand', QUERY, { ...QUERY, ...THERE }],
];

describe('an input', () => {
  it.each(SENT)('of %s %j leaves as %j', (operation, given, sent) => {
    const before = structuredClone(given);
    expect(callOf(operation, given).input).toStrictEqual(sent);
    expect(given).toEqual(before);
  });
});

describe('a call', () => {
  it('of an object knows its key, and of names what it has made of them', () => {
    const { plan, ...call } = callOf('GetObjectCommand', KEY);
    expect(plan).toBe(startOf('GetObjectCommand').plan);
    expect(call).toStrictEqual({
      operation: 'GetObjectCommand',
      tenant: 'acme',
      subjects: [],
      pinned: new Map(),
      home: HOME,
      bucket: 'acme.up',
      bucketName: 'uploads',
      input: THERE,
      given: new Map(Object.entries({ Bucket: 'uploads', ...KEY })),
      key: THERE.Key,
      sealed: new Map(),
      place: ['list', 'acme', 'acme.up', '', 'bridge'],
      encoded: false,
      spellings: new Map([[THERE.Key, 'a/one']]),
    });
  });

  it('of a listing knows its place, and what was opened by its parameter', () => {
    const given = { ContinuationToken: tokenOf('next', 'tenants/acme/a'), Prefix: 'a', EncodingType: 'url' };
    expect(callOf('ListObjectsV2Command', given)).toMatchObject({
      key: undefined,
      sealed: new Map([['continuation-token', 'next']]),
      place: ['list', 'acme', 'acme.up', 'tenants/acme/a', 'bridge'],
      encoded: true,
      spellings: new Map([
        ['tenants/acme/a', 'a'],
        ['next', given.ContinuationToken],
      ]),
    });
    const { sealed } = callOf('ListMultipartUploadsCommand', { UploadIdMarker: UPLOAD });
    expect(sealed).toEqual(new Map([['upload-id-marker', 'u1']]));
  });

  it('of an upload or a copy knows the key, and not that of a source or a batch', () => {
    expect(callOf('UploadPartCommand', PART)).toMatchObject({
      key: THERE.Key,
      sealed: new Map([['uploadId', 'u1']]),
    });
    expect(callOf('CopyObjectCommand', { CopySource: 'uploads/b', ...KEY, Tagging: '' }).key).toBe(THERE.Key);
    expect(callOf('CopyObjectCommand', { ...KEY, CopySource: 'uploads/b' }).key).toBe(THERE.Key);
    expect(callOf('DeleteObjectsCommand', { Delete: { Objects: [KEY] } }).key).toBeUndefined();
  });

  it('bounds a stream by the length that was given', () => {
    const { input } = callOf('PutObjectCommand', { ...KEY, Body: Readable.from(['x']), ContentLength: 1 });
    expect(input['Body']).toBeInstanceOf(BoundedBody);
  });
});

describe('a client of one bucket', () => {
  const realm = (): Realm => ({ ...REALM, buckets: ['uploads'] });

  it('may leave it out, and name no other', () => {
    const call = rewriteInput(realm(), startOf('GetObjectCommand'), KEY);
    expect([call.bucketName, call.input]).toEqual(['uploads', { ...THERE }]);
    expect(callOf('GetObjectCommand', KEY, realm()).input).toEqual(THERE);
    expect(() => callOf('GetObjectCommand', { ...KEY, Bucket: 'media.eu' }, realm())).toThrow(
      'not an accepted bucket',
    );
    expect(() => rewriteInput({ ...REALM, buckets: [] }, startOf('GetObjectCommand'), KEY)).toThrow(
      'Bucket is missing',
    );
  });

  it('cannot be in a place that has no such bucket', () => {
    const home = { ...HOME, buckets: new Map() };
    expect(() => rewriteInput(realm(), { ...startOf('GetObjectCommand'), home }, KEY)).toThrow(
      'A place names each accepted bucket',
    );
  });
});
