import { IsolationBreachError, auditChannels } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import { rewriteOutput } from '../src/reply.ts';
import type { CommandName } from '../src/rules.ts';
import { sealUploadId } from '../src/upload-id.ts';
import { HOME, REALM, callOf, tokenOf } from './calls.ts';

const TENANT = { tenant: 'acme', home: HOME, bucket: 'acme.up', subjects: [] };
const idOf = (key: string, id = 'u1', more: object = {}): string =>
  sealUploadId(REALM.sealer, id, { ...TENANT, key: `tenants/acme/${key}`, ...more });
const KEY = { Key: 'a b' };
const PARTS = { ...KEY, UploadId: idOf('a b') };
const $metadata = { httpStatusCode: 200 };

const read = (call: Call, reply: object): unknown => rewriteOutput(REALM, call, { $metadata, ...reply });

/** What a server answers, and what the caller is told. */
const READ: readonly (readonly [CommandName, given: object, reply: object, logical: object])[] = [
  [
    'GetObjectCommand',
    KEY,
    { ETag: 'e', Metadata: { a: 'tenants/acme/x' } },
    { ETag: 'e', Metadata: { a: 'tenants/acme/x' } },
  ],
  // What nobody has decided about, and what names a place outside, is withheld.
  ['GetObjectCommand', KEY, { ETag: 'e', New: 'tenants/acme2/x', constructor: 1 }, { ETag: 'e' }],
  ['RestoreObjectCommand', KEY, { RequestCharged: 'x', RestoreOutputPath: 'p' }, { RequestCharged: 'x' }],
  ['ListPartsCommand', PARTS, { Key: undefined, ETag: 'e' }, { Key: undefined }],
  [
    'CopyObjectCommand',
    { ...KEY, CopySource: 'uploads/b' },
    { CopyObjectResult: { ETag: 'e', New: 1 } },
    { CopyObjectResult: { ETag: 'e' } },
  ],
  [
    'ListObjectsCommand',
    { Prefix: 'a', Marker: 'b' },
    {
      Name: 'acme.up',
      Prefix: 'tenants/acme/a',
      Marker: 'tenants/acme/b',
      NextMarker: 'tenants/acme/c',
      Contents: [{ Key: 'tenants/acme/a%20', Size: 1, New: 1 }],
      CommonPrefixes: [{ Prefix: 'tenants/acme/a/' }],
      Delimiter: '/',
    },
    {
      Name: 'uploads',
      Prefix: 'a',
      Marker: 'b',
      NextMarker: 'c',
      Contents: [{ Key: 'a%20', Size: 1 }],
      CommonPrefixes: [{ Prefix: 'a/' }],
      Delimiter: '/',
    },
  ],
  [
    'ListObjectsCommand',
    {},
    { Marker: '', NextMarker: '', Contents: 'none' },
    { Marker: '', NextMarker: '', Contents: [] },
  ],
  [
    'ListObjectsV2Command',
    { ContinuationToken: tokenOf('t0'), StartAfter: 'a' },
    {
      Name: 'acme.up',
      ContinuationToken: 't0',
      NextContinuationToken: 't1',
      StartAfter: '',
      Prefix: 'tenants/acme/',
    },
    {
      Name: 'uploads',
      ContinuationToken: tokenOf('t0'),
      NextContinuationToken: tokenOf('t1'),
      StartAfter: '',
      Prefix: '',
    },
  ],
  // Not asked for by this call: nothing to repeat.
  ['ListObjectsV2Command', {}, { ContinuationToken: 'tenants/acme2/x' }, { ContinuationToken: undefined }],
  ['ListObjectsV2Command', {}, { ContinuationToken: '' }, { ContinuationToken: '' }],
  // Percent-encoded when the call or the reply says so.
  [
    'ListObjectsV2Command',
    { EncodingType: 'url' },
    { Contents: [{ Key: 'tenants%2Facme%2Fa' }] },
    { Contents: [{ Key: 'a' }] },
  ],
  [
    'ListObjectsV2Command',
    {},
    { EncodingType: 'url', Contents: [{ Key: 'tenants%2Facme%2Fa' }] },
    { EncodingType: 'url', Contents: [{ Key: 'a' }] },
  ],
  [
    'CreateMultipartUploadCommand',
    KEY,
    { Key: 'tenants/acme/a b', Bucket: 'acme.up', UploadId: 'u1' },
    { ...KEY, Bucket: 'uploads', UploadId: idOf('a b') },
  ],
  [
    'ListPartsCommand',
    PARTS,
    { Key: 'tenants/acme/a b', UploadId: 'u1' },
    { ...KEY, UploadId: PARTS.UploadId },
  ],
  [
    'ListMultipartUploadsCommand',
    { UploadIdMarker: idOf('a') },
    {
      UploadIdMarker: 'u1',
      NextKeyMarker: 'tenants/acme/b',
      NextUploadIdMarker: 'u2',
      Uploads: [{ Key: 'tenants/acme/b', UploadId: 'u2' }],
    },
    {
      UploadIdMarker: idOf('a'),
      NextKeyMarker: 'b',
      NextUploadIdMarker: idOf('b', 'u2'),
      Uploads: [{ Key: 'b', UploadId: idOf('b', 'u2') }],
    },
  ],
  [
    'ListMultipartUploadsCommand',
    {},
    { NextKeyMarker: '', NextUploadIdMarker: '', UploadIdMarker: '' },
    { NextKeyMarker: '', NextUploadIdMarker: '', UploadIdMarker: '' },
  ],
  // An id is sealed to the key itself, in whatever way the reply spells it.
  ...(
    [
      ['tenants%2Facme%2Fb%20c%2Bd', 'b%20c%2Bd'],
      ['tenants/acme/b+c%2Bd', 'b+c%2Bd'],
    ] as const
  ).map(
    ([Key, logical]) =>
      [
        'ListMultipartUploadsCommand',
        { EncodingType: 'url' },
        { Uploads: [{ Key, UploadId: 'u' }] },
        { Uploads: [{ Key: logical, UploadId: idOf('b c+d', 'u') }] },
      ] as const,
  ),
  [
    'ListMultipartUploadsCommand',
    { EncodingType: 'url' },
    { Uploads: [{ Key: 'tenants/acme/%', UploadId: 'u' }] },
    { Uploads: [{ Key: '%', UploadId: idOf('%', 'u') }] },
  ],
  [
    'ListMultipartUploadsCommand',
    {},
    { Uploads: [{ Key: 'tenants/acme/b+c%2B', UploadId: 'u' }] },
    { Uploads: [{ Key: 'b+c%2B', UploadId: idOf('b+c%2B', 'u') }] },
  ],
  [
    'CompleteMultipartUploadCommand',
    PARTS,
    { Location: 'http://h/acme.up/tenants/acme/a%20b' },
    { Location: 'http://h/uploads/a%20b' },
  ],
  [
    'CompleteMultipartUploadCommand',
    PARTS,
    { Location: 'http://acme.up.h/acme.up/tenants/acme/a b' },
    { Location: 'http://uploads.h/uploads/a b' },
  ],
  [
    'CompleteMultipartUploadCommand',
    PARTS,
    { Location: 'http://xacme.up.h/tenants/acme/a b' },
    { Location: 'http://xacme.up.h/a b' },
  ],
  [
    'DeleteObjectsCommand',
    { Delete: { Objects: [KEY] } },
    {
      Deleted: [{ Key: 'tenants/acme/a b' }],
      Errors: [{ Key: 'tenants/acme/a b', Code: 'No', Message: 'not tenants/acme/a%20b of acme.up' }],
    },
    { Deleted: [KEY], Errors: [{ ...KEY, Code: 'No', Message: 'not a%20b of uploads' }] },
  ],
];

const BREACHES: readonly (readonly [...call: [CommandName, object], reply: object, words: string])[] = [
  [
    'ListObjectsCommand',
    {},
    { Contents: [{ Key: 'tenants/acme2/a' }] },
    'a key outside the tenant came back',
  ],
  ['ListObjectsCommand', {}, { Contents: [{ Key: '' }] }, 'a key outside the tenant came back'],
  [
    'ListObjectsCommand',
    {},
    { Contents: [{ Key: 'tenants%2Facme%2Fa' }] },
    'a key outside the tenant came back',
  ],
  [
    'ListObjectsCommand',
    {},
    { CommonPrefixes: [{ Prefix: 'tenants/' }] },
    'a key outside the tenant came back',
  ],
  ['ListObjectsCommand', {}, { Prefix: '' }, 'a key outside the tenant came back'],
  ['ListObjectsCommand', {}, { NextMarker: 'tenants/acme2/' }, 'a key outside the tenant came back'],
  ['ListObjectsCommand', {}, { Name: 'uploads' }, 'a reply named another bucket'],
  ['ListPartsCommand', PARTS, { UploadId: 'u2' }, 'a reply named another upload'],
  [
    'CompleteMultipartUploadCommand',
    PARTS,
    { Location: 'http://h/acme.up/tenants/acme/a' },
    'a reply named the location of another key',
  ],
  [
    'CompleteMultipartUploadCommand',
    PARTS,
    { Location: 'http://h/acme.uptenants/acme/a b' },
    'a reply named the location of another key',
  ],
];

describe('a reply', () => {
  it.each(READ)('to %s %j of %j reads %j', (operation, given, reply, logical) => {
    expect(read(callOf(operation, given), reply)).toStrictEqual({ $metadata, ...logical });
  });

  it.each(BREACHES)('to %s %j of %j is a breach: %s', (operation, given, reply, words) => {
    const events: unknown[] = [];
    const listen = (event: unknown): unknown => events.push(event);
    auditChannels.breach.subscribe(listen);
    const call = callOf(operation, given);
    expect(() => read(call, reply)).toThrow(IsolationBreachError);
    auditChannels.breach.unsubscribe(listen);
    expect(() => read(call, reply)).toThrow(`storage.${operation}: ${words}`);
    expect(events).toMatchObject([
      { tenantid: 'acme', data: { message: expect.stringContaining(operation) as unknown } },
    ]);
    expect(read(call, {})).toEqual({ $metadata });
  });

  it('that is nothing stays nothing', () => {
    const call = callOf('GetObjectCommand', KEY);
    for (const reply of [undefined, null, 'text']) expect(rewriteOutput(REALM, call, reply)).toBe(reply);
  });

  it('where all buckets are called as they are, keeps the address', () => {
    const home = { ...HOME, buckets: new Map([['uploads', 'uploads']]) };
    const call = { ...callOf('CompleteMultipartUploadCommand', PARTS), home };
    expect(read(call, { Location: 'http://uploads/tenants/acme/a b' })).toMatchObject({
      Location: 'http://uploads/a b',
    });
  });
});
