import {
  OperationRefusedError,
  SignatureError,
  auditChannels,
  withTenant,
  type RefusalReason,
} from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import type { CommandName } from '../src/rules.ts';
import { KEY, PART, QUERY, callOf, tokenOf, uploadOf } from './calls.ts';

const put = (more: object): [CommandName, object] => ['PutObjectCommand', { ...KEY, ...more }];
const NO_ID = 'Give it as an earlier reply has named it.';
const NO_NUMBER = 'is not a number from 1 to 10,000. Count the parts of the object from 1.';
const NO_VERSION = 'is not a version id. Give the VersionId of an earlier reply as it was.';
const NO_TAG = 'Name its key in the client option tenant.tags, or keep the value in Metadata.';

/** What is refused, and the words that say so. */
const REFUSED: readonly (readonly [...call: [CommandName, object], words: string])[] = [
  [...put({ Key: undefined }), 'Key is missing. Give Key as a text.'],
  [...put({ Key: '../b' }), 'Key has a "." or ".." segment at index 0.'],
  [
    ...put({ Bucket: 'acme.up' }),
    'Bucket is not an accepted bucket. Name a bucket of the client option tenant.buckets, or add it there.',
  ],
  [...put({ Bucket: undefined }), 'Bucket is missing.'],
  [...put({ NewKey: 'a' }), 'its field "NewKey" stays inside a tenant. Leave the field out;'],
  [...put({ constructor: 'a' }), 'its field "constructor" stays inside'],
  [...put({ GrantRead: 'a' }), 'GrantRead: a grant opens the object'],
  [
    ...put({ ACL: 'public-read' }),
    'ACL is none of private, bucket-owner-full-control. Use one of them, or leave it out.',
  ],
  [...put({ CacheControl: 'a\nb' }), 'CacheControl has a control character.'],
  [...put({ Body: {} }), 'its Body is of a kind whose bytes cannot be counted'],
  [...put({ Body: 'x', ContentLength: 2 }), 'ContentLength is not the length of the body'],
  [
    ...put({ Metadata: { 'tk-a': '' } }),
    'Metadata has a name that begins with tk-, which is reserved. Use another name.',
  ],
  [...put({ Metadata: { 'TK-a': '' } }), 'Metadata has a name that begins with tk-'],
  [...put({ Metadata: { a: 'b\r' } }), 'Metadata has a control character.'],
  [
    ...put({ Tagging: 'team=a&b=c' }),
    `Tagging has a tag that tenants may not write: lifecycle rules and policies, which are of all tenants, go by tags. ${NO_TAG}`,
  ],
  [...put({ Tagging: 'tea%6' }), 'Tagging is not a query string. Write it as key=value&key=value.'],
  [...put({ Tagging: { team: 'a' } }), 'Tagging is not a query string.'],
  ['GetObjectCommand', { ...KEY, VersionId: '../v' }, `VersionId ${NO_VERSION}`],
  ['GetObjectCommand', { ...KEY, VersionId: ['v'] }, `VersionId ${NO_VERSION}`],
  ['GetObjectCommand', { ...KEY, PartNumber: 0 }, `PartNumber ${NO_NUMBER}`],
  ['GetObjectCommand', { ...KEY, PartNumber: 10_001 }, `PartNumber ${NO_NUMBER}`],
  ['GetObjectCommand', { ...KEY, PartNumber: 1.5 }, `PartNumber ${NO_NUMBER}`],
  ['GetObjectCommand', { ...KEY, PartNumber: '1' }, `PartNumber ${NO_NUMBER}`],
  ['CopyObjectCommand', KEY, 'CopySource is missing.'],
  ['CopyObjectCommand', { ...KEY, CopySource: 1 }, 'CopySource is not a text.'],
  ['CopyObjectCommand', { ...KEY, CopySource: 'acme.up/b' }, 'CopySource is not an accepted bucket.'],
  [
    'CopyObjectCommand',
    { ...KEY, CopySource: 'uploads/../b' },
    'CopySource has a "." or ".." segment at index 0.',
  ],
  ['CopyObjectCommand', { ...KEY, CopySource: 'uploads/' }, 'CopySource is empty.'],
  ['ListObjectsCommand', { EncodingType: 'URL' }, 'EncodingType is none of url.'],
  ['ListObjectsCommand', { Prefix: '/' }, 'Prefix has a leading slash at index 0.'],
  ['ListObjectsCommand', { Prefix: 7 }, 'Prefix is not a text.'],
  ['ListObjectsCommand', { Marker: 'a/../b' }, 'Marker has a "." or ".." segment at index 2.'],
  ['UploadPartCommand', { ...PART, UploadId: undefined }, `UploadId is missing. ${NO_ID}`],
  ['UploadPartCommand', { ...PART, PartNumber: undefined }, 'PartNumber is missing. Give PartNumber.'],
  ['UploadPartCommand', { ...PART, Key: undefined }, 'Key is missing. Give Key as a text.'],
  ['UploadPartCommand', { ...PART, NewKey: 'a' }, 'its field "NewKey" stays inside'],
  ['GetObjectCommand', { ...KEY, StorageClass: 'x' }, 'its field "StorageClass" stays inside'],
  ['DeleteObjectsCommand', {}, 'Delete is missing. Give Delete.'],
  ['DeleteObjectsCommand', { Delete: 'a' }, 'Delete is not an object. Give its fields.'],
  ['DeleteObjectsCommand', { Delete: { Quiet: true } }, 'Delete.Objects is missing. Give Delete.Objects.'],
  ['DeleteObjectsCommand', { Delete: { Objects: 'a' } }, 'Delete.Objects is not a list. Give an array.'],
  ['DeleteObjectsCommand', { Delete: { Objects: {} } }, 'Delete.Objects is not a list.'],
  ['DeleteObjectsCommand', { Delete: { Objects: [KEY, null] } }, 'Delete.Objects[1] is not an object.'],
  ['DeleteObjectsCommand', { Delete: { Objects: [KEY, {}] } }, 'Delete.Objects[1].Key is missing.'],
  [
    'DeleteObjectsCommand',
    { Delete: { Objects: [{ Key: '/' }] } },
    'Delete.Objects[0].Key has a leading slash',
  ],
  [
    'DeleteObjectsCommand',
    { Delete: { Objects: [{ ...KEY, More: 1 }] } },
    'its field "Delete.Objects[0].More" stays',
  ],
  ['DeleteObjectsCommand', { Delete: { Objects: [KEY], More: 1 } }, 'its field "Delete.More" stays'],
  [
    'RestoreObjectCommand',
    { ...KEY, RestoreRequest: { Type: 'SELECT' } },
    'RestoreRequest.Type: it writes the results',
  ],
  [
    'PutObjectTaggingCommand',
    { ...KEY, Tagging: { TagSet: [{ Key: 'other' }] } },
    'Tagging.TagSet[0].Key has a tag that',
  ],
  [
    'PutObjectTaggingCommand',
    { ...KEY, Tagging: { TagSet: [{ Key: ['team'] }] } },
    'Tagging.TagSet[0].Key has a tag that',
  ],
  [
    'SelectObjectContentCommand',
    { ...QUERY, Expression: 'a\u0000' },
    'Expression is not a text without control characters.',
  ],
];

const FORGED: readonly (readonly [...call: [CommandName, object], what: string])[] = [
  ['ListObjectsV2Command', { ContinuationToken: '' }, 'the ContinuationToken'],
  ['ListObjectsV2Command', { ContinuationToken: ['a'] }, 'the ContinuationToken'],
  ['ListObjectsV2Command', { ContinuationToken: tokenOf('a', 'tenants/acme2/') }, 'the ContinuationToken'],
  ['ListObjectsV2Command', { ContinuationToken: tokenOf('a'), Prefix: 'b' }, 'the ContinuationToken'],
  ['ListObjectsV2Command', { ContinuationToken: tokenOf('a'), Bucket: 'media.eu' }, 'the ContinuationToken'],
  [
    'ListObjectsV2Command',
    { ContinuationToken: tokenOf('a', 'tenants/acme/', 'acme.up', 'acme2') },
    'the ContinuationToken',
  ],
  ['ListObjectsV2Command', { ContinuationToken: PART.UploadId }, 'the ContinuationToken'],
  ['UploadPartCommand', { ...PART, UploadId: 'u1' }, 'the UploadId'],
  ['UploadPartCommand', { ...PART, UploadId: uploadOf({ key: 'tenants/acme/b' }) }, 'the UploadId'],
  ['UploadPartCommand', { ...PART, UploadId: uploadOf({ bucket: 'media.eu' }) }, 'the UploadId'],
  ['UploadPartCommand', { ...PART, UploadId: uploadOf({ tenant: 'acme2' }) }, 'the UploadId'],
  ['UploadPartCommand', { ...PART, UploadId: tokenOf('u1') }, 'the UploadId'],
  ['ListMultipartUploadsCommand', { UploadIdMarker: 'u1' }, 'the UploadIdMarker'],
  ['ListMultipartUploadsCommand', { UploadIdMarker: uploadOf({ tenant: 'acme2' }) }, 'the UploadIdMarker'],
];

/** The same commands with what they may hold. */
const ACCEPTED: Partial<Record<CommandName, object>> = {
  PutObjectCommand: {
    ...KEY,
    Body: 'x',
    ContentLength: 1,
    ACL: 'private',
    Metadata: { tk: '' },
    Tagging: 'team=a',
  },
  GetObjectCommand: { ...KEY, VersionId: 'v', PartNumber: 10_000 },
  CopyObjectCommand: { ...KEY, CopySource: 'uploads/b' },
  ListObjectsCommand: { Prefix: 'a/', Marker: 'a/b' },
  ListObjectsV2Command: { ContinuationToken: tokenOf('a') },
  ListMultipartUploadsCommand: { UploadIdMarker: uploadOf() },
  UploadPartCommand: PART,
  DeleteObjectsCommand: { Delete: { Quiet: true, Objects: [KEY, KEY] } },
  RestoreObjectCommand: { ...KEY, RestoreRequest: { Days: 1 } },
  PutObjectTaggingCommand: { ...KEY, Tagging: { TagSet: [{ Key: 'team' }] } },
  SelectObjectContentCommand: QUERY,
};

const undefinedFields = (count: number): object =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, undefined]));
const names = (count: number): object =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, '']));
const parts = (count: number, length: number): object => ({
  ...PART,
  PartNumber: undefined,
  MultipartUpload: {
    Parts: Array.from({ length: count }, () => ({ PartNumber: 1, ETag: 'x'.repeat(length) })),
  },
});
const attributes = (count: number): object => ({
  ...KEY,
  ObjectAttributes: Array.from({ length: count }, () => 'ETag'),
});
const tagging = (fields: object): object => ({
  ...KEY,
  Tagging: { TagSet: [{ Key: 'team' }], ...fields },
});

/** What is too much for one command, beside what is not. */
const TOO_MUCH: readonly (readonly [
  what: string,
  operation: CommandName,
  fits: object,
  tooMuch: object,
  words: string,
])[] = [
  [
    'text',
    ...put({ CacheControl: 'x'.repeat(12_288) }),
    put({ CacheControl: 'x'.repeat(12_289) })[1],
    'CacheControl is too long. Give 12288 characters at most.',
  ],
  [
    'bytes',
    ...put({ SSECustomerKey: new Uint8Array(12_288) }),
    put({ SSECustomerKey: new Uint8Array(12_289) })[1],
    'SSECustomerKey is too long. Give 12288 bytes at most.',
  ],
  [
    'metadata',
    ...put({ Metadata: { a: 'x'.repeat(12_288) } }),
    put({ Metadata: { a: 'x'.repeat(12_289) } })[1],
    'Metadata is too long.',
  ],
  [
    'names of metadata',
    ...put({ Metadata: names(100) }),
    put({ Metadata: names(101) })[1],
    'Metadata has too many names. Give 100 at most',
  ],
  [
    'tags',
    ...put({ Tagging: `team=${'x'.repeat(12_000)}` }),
    put({ Tagging: `team=${'x'.repeat(13_000)}` })[1],
    'Tagging is too long.',
  ],
  [
    'a list in one field',
    'GetObjectAttributesCommand',
    attributes(100),
    attributes(101),
    'ObjectAttributes has more than 100 entries. Send several commands.',
  ],
  [
    'texts in all',
    'CompleteMultipartUploadCommand',
    parts(10_000, 400),
    parts(10_000, 420),
    'its texts are longer than 4194304 characters in all. Send several commands.',
  ],
  [
    'a query',
    'SelectObjectContentCommand',
    { ...QUERY, Expression: 'x'.repeat(262_144) },
    { ...QUERY, Expression: 'x'.repeat(262_145) },
    'Expression is too long. Give 262144 characters at most.',
  ],
  [
    'fields',
    ...put(undefinedFields(190)),
    put(undefinedFields(200))[1],
    'it has more than 200 fields. Leave out those that are undefined.',
  ],
  [
    'fields inside',
    'PutObjectTaggingCommand',
    tagging(undefinedFields(190)),
    tagging(undefinedFields(200)),
    'Tagging has more than 200 fields. Leave out',
  ],
];

/** Whom it is about who reads of it: what may be a user's name or value, and what only code or options can say. */
const REASONS: readonly (readonly [RegExp, RefusalReason])[] = [
  [/accepted bucket| is missing\.|its field "|^[\w.]+: /, 'operation'],
  [/^(?:Key|Prefix|Marker|KeyMarker|StartAfter|CopySource|Delete\.Objects\[\d\]\.Key) /, 'key'],
  [/^/, 'value'],
];
const reasonOf = (words: string) => REASONS.find(([about]) => about.test(words))?.[1];

describe('an input', () => {
  it.each(TOO_MUCH)('has only so much of %s (%s)', (_what, operation, fits, tooMuch, words) => {
    expect(callOf(operation, fits).tenant).toBe('acme');
    const refused = (): Call => callOf(operation, tooMuch);
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow(`storage.${operation} is refused: ${words}`);
  });

  it('of too many fields is refused before any of them is read', () => {
    let reads = 0;
    const get = (): undefined => void (reads += 1);
    const trapped = (count: number): object => {
      const fields = {};
      for (const name of Object.keys(names(count)))
        Object.defineProperty(fields, name, { get, enumerable: true });
      return { ...KEY, Tagging: Object.assign(fields, { TagSet: [{ Key: 'team' }] }) };
    };
    callOf('PutObjectTaggingCommand', trapped(10));
    expect(reads).toBe(10);
    expect(() => callOf('PutObjectTaggingCommand', trapped(200))).toThrow('more than 200 fields');
    expect(reads).toBe(10);
  });

  it.each(REFUSED)('of %s %j is refused: %s', (operation, given, words) => {
    const refused = (): Call => callOf(operation, given);
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow(words);
    expect(refused).toThrow(expect.objectContaining({ reason: reasonOf(words) }));
    expect(refused).toThrow(`storage.${operation} is refused`);
    // The same command leaves with what it may hold.
    const accepted = ACCEPTED[operation];
    if (accepted === undefined) throw new TypeError(operation);
    expect(callOf(operation, accepted).tenant).toBe('acme');
  });

  it.each(FORGED)('of %s %j has one answer for what was sealed elsewhere', (operation, given, what) => {
    const events: unknown[] = [];
    const listen = (event: unknown): unknown => events.push(event);
    auditChannels.refused.subscribe(listen);
    const forged = (): Call => withTenant('acme', () => callOf(operation, given));
    expect(forged).toThrow(SignatureError);
    auditChannels.refused.unsubscribe(listen);
    expect(callOf(operation, ACCEPTED[operation] ?? {}).sealed.size).toBe(1);
    const message = `storage.${operation}: the signature of ${what} was not accepted (mismatch).`;
    expect(forged).toThrow(message);
    // What the reader may look at first: the options of the process, and what else stands in the call.
    for (const word of ['tenant.sealingKeys', 'Prefix', 'Key']) expect(forged).toThrow(word);
    expect(events).toMatchObject([
      {
        tenantid: 'acme',
        data: {
          message: expect.stringContaining(message) as unknown,
          api: { operation, service: { name: 'storage' } },
        },
      },
    ]);
  });
});
