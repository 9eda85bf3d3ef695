import { CrossTenantError, OperationRefusedError, auditChannels } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { CommandName } from '../src/rules.ts';
import { at, check, headers, key, query, sound, without, type Change } from './requests.ts';

// The last check of a request, by itself: the attacks on it through clients and their middleware are in other files.

/** What may be changed on the way. */
const PASSES: readonly (readonly [CommandName, what: string, Change])[] = [
  ['GetObjectCommand', 'another key of the tenant', key('tenants/acme/b%20c%21%2B%C3%A9')],
  [
    'GetObjectCommand',
    'its own query',
    query({ versionId: 'v.1', partNumber: '10000', 'response-expires': 'x' }),
  ],
  ['GetObjectCommand', 'no x-id', without('x-id')],
  ['GetObjectCommand', 'no host header', at('headers', {})],
  ['GetObjectCommand', 'undefined headers', headers({ 'x-new': undefined, range: 'bytes=0-1' })],
  ['GetObjectCommand', 'a number', headers({ 'Content-Length': 1 })],
  ['GetObjectCommand', 'a header of the client option', headers({ 'X-Mine': 'é' })],
  ['GetObjectCommand', 'telemetry', headers({ 'amz-sdk-new-one': '1', traceparent: '00' })],
  ['GetObjectCommand', 'a checksum', headers({ 'x-amz-checksum-new2': 'x' })],
  [
    'GetObjectCommand',
    'empty parts of the address',
    (one) => void Object.assign(one, { username: '', password: '', fragment: '' }),
  ],
  ['PutObjectCommand', 'metadata', headers({ 'x-amz-meta-a': '1' })],
  ['PutObjectCommand', 'a header with one of its values', headers({ 'x-amz-acl': 'private' })],
  ['PutObjectCommand', 'tags that may be written', headers({ 'x-amz-tagging': 'team=b&a+b=c' })],
  ['PutObjectCommand', 'the coding of its body', headers({ 'content-encoding': 'aws-chunked' })],
  [
    'CopyObjectCommand',
    'another source of the tenant',
    headers({ 'x-amz-copy-source': 'media.eu/tenants/acme/c?versionId=v' }),
  ],
  ['ListObjectsCommand', 'the bucket without its slash', at('path', '/acme.up')],
  [
    'ListObjectsCommand',
    'another prefix of the tenant',
    query({ prefix: 'tenants/acme/b', marker: 'tenants/acme/c', delimiter: '/' }),
  ],
  ['ListObjectsCommand', 'a place before all of its keys', query({ marker: 'tenants/acme/' })],
  ['ListObjectsV2Command', 'the bucket with its slash', at('path', '/acme.up/')],
  ['UploadPartCommand', 'another part', query({ partNumber: '99999' })],
];

const HOST = 'it would go to another host than the endpoint that the client was made with';
const PATH = "its path lies outside the tenant's part of the bucket";
const SOURCE = "its copy source lies outside the tenant's part of the bucket";
const PREFIX = "its prefix lies outside the tenant's part of the bucket";
const changed = (name: string): string => `its parameter ${name} was changed after it was checked`;
const taken = (name: string): string => `its parameter ${name} was taken away or changed`;

const ASTRAY: readonly (readonly [CommandName, what: string, Change, why: string])[] = [
  [
    'GetObjectCommand',
    'another method',
    at('method', 'DELETE'),
    'its method was changed after it was checked',
  ],
  ['GetObjectCommand', 'another host', at('hostname', 's4.example'), HOST],
  ['GetObjectCommand', 'another port', at('port', 8444), HOST],
  ['GetObjectCommand', 'the port left out', at('port', undefined), HOST],
  ['GetObjectCommand', 'another protocol', at('protocol', 'http:'), HOST],
  ['GetObjectCommand', 'a user', at('username', 'x'), HOST],
  ['GetObjectCommand', 'a password', at('password', 'x'), HOST],
  ['GetObjectCommand', 'a fragment', at('fragment', 'x'), HOST],
  [
    'GetObjectCommand',
    'a host header',
    headers({ host: 's4.example:8443' }),
    'its host header names another host than the configured endpoint',
  ],
  ['GetObjectCommand', 'another tenant', key('tenants/acme2/a'), PATH],
  ['GetObjectCommand', 'a key that is empty', key('tenants/acme/'), PATH],
  ['GetObjectCommand', 'the bucket', at('path', '/acme.up/'), PATH],
  ['GetObjectCommand', 'another bucket', at('path', '/acme.ux/tenants/acme/a/one'), PATH],
  ['GetObjectCommand', 'a path that resolves', key('tenants/acme/../acme2/a'), PATH],
  ['GetObjectCommand', 'another spelling', key('tenants/acme/%61'), PATH],
  ['GetObjectCommand', 'an escape that is none', key('tenants/acme/%zz'), PATH],
  ['GetObjectCommand', 'a version that is none', query({ versionId: '../v' }), changed('versionId')],
  ...['0', '01', '100000', 'x1', '1x'].map(
    (value) =>
      ['GetObjectCommand', `part ${value}`, query({ partNumber: value }), changed('partNumber')] as const,
  ),
  [
    'CopyObjectCommand',
    'a source of another tenant',
    headers({ 'x-amz-copy-source': 'acme.up/tenants/acme2/b' }),
    SOURCE,
  ],
  [
    'CopyObjectCommand',
    'a source in another bucket',
    headers({ 'x-amz-copy-source': 'uploads/tenants/acme/b' }),
    SOURCE,
  ],
  ['CopyObjectCommand', 'a source that cannot be read', headers({ 'x-amz-copy-source': 'acme.up' }), SOURCE],
  ['ListObjectsCommand', 'a key', key('tenants/acme/a'), 'its path names something else than the bucket'],
  ['ListObjectsCommand', 'the root', at('path', '/'), 'its path names something else than the bucket'],
  ['ListObjectsCommand', 'no prefix', without('prefix'), PREFIX],
  ['ListObjectsCommand', 'another prefix', query({ prefix: 'tenants/acme2/' }), PREFIX],
  ['ListObjectsCommand', 'a shorter prefix', query({ prefix: 'tenants/acme' }), PREFIX],
  ['ListObjectsCommand', 'a marker elsewhere', query({ marker: 'tenants/acme2/' }), changed('marker')],
  ['ListObjectsCommand', 'another encoding', query({ 'encoding-type': 'URL' }), changed('encoding-type')],
  ['ListObjectsV2Command', 'another kind of listing', without('list-type'), taken('list-type')],
  ['ListObjectsV2Command', 'another version of it', query({ 'list-type': '1' }), taken('list-type')],
  ['ListObjectsV2Command', 'no token', without('continuation-token'), taken('continuation-token')],
  [
    'ListObjectsV2Command',
    'another token',
    query({ 'continuation-token': 'x' }),
    changed('continuation-token'),
  ],
  ['DeleteObjectsCommand', 'no word that it deletes', without('delete'), taken('delete')],
  ['DeleteObjectsCommand', 'a key', key('tenants/acme/a'), 'its path names something else than the bucket'],
  ['UploadPartCommand', 'another upload', query({ uploadId: 'u2' }), changed('uploadId')],
  ['UploadPartCommand', 'no upload', without('uploadId'), taken('uploadId')],
];

const UNDECIDED: readonly (readonly [CommandName, what: string, Change])[] = [
  ['GetObjectCommand', 'query parameter "acl"', query({ acl: '' })],
  ['GetObjectCommand', 'query parameter "x-id"', query({ 'x-id': 'PutObject' })],
  ['GetObjectCommand', 'query parameter "constructor"', query({ constructor: '' })],
  ['GetObjectCommand', 'query parameter that', query({ 'a b': '' })],
  ['GetObjectCommand', 'query parameter "X-Amz-Date"', query({ 'X-Amz-Date': '20261121T000000Z' })],
  ['GetObjectCommand', `query parameter "${'a'.repeat(64)}"`, query({ ['a'.repeat(64)]: '' })],
  ['GetObjectCommand', 'query parameter that', query({ ['a'.repeat(65)]: '' })],
  ['GetObjectCommand', 'repeated query parameter "versionId"', query({ versionId: ['a', 'b'] })],
  ['GetObjectCommand', 'header "x-http-method-override"', headers({ 'x-http-method-override': 'DELETE' })],
  [
    'GetObjectCommand',
    'header "x-amz-copy-source"',
    headers({ 'x-amz-copy-source': 'acme.up/tenants/acme/b' }),
  ],
  ['GetObjectCommand', 'header "x-amz-meta-a"', headers({ 'x-amz-meta-a': '1' })],
  ['GetObjectCommand', 'header "xx-amz-checksum-a"', headers({ 'xx-amz-checksum-a': '1' })],
  ['GetObjectCommand', 'header "x-amz-checksum-"', headers({ 'x-amz-checksum-': '1' })],
  ['GetObjectCommand', 'header "x-amz-checksum-a-b"', headers({ 'x-amz-checksum-a-b': '1' })],
  ['GetObjectCommand', 'header "xamz-sdk-a"', headers({ 'xamz-sdk-a': '1' })],
  ['GetObjectCommand', 'header "amz-sdk-a_b"', headers({ 'amz-sdk-a_b': '1' })],
  ['GetObjectCommand', 'header "amz-sdk-"', headers({ 'amz-sdk-': '1' })],
  ['GetObjectCommand', 'repeated header "Range"', headers({ range: '1', Range: '2' })],
  ['GetObjectCommand', 'value of the header "range"', headers({ range: 'a\r\nb: c' })],
  ['GetObjectCommand', 'value of the header "range"', headers({ range: 'a\u0000' })],
  ['GetObjectCommand', 'value of the header "range"', headers({ range: ['a'] })],
  ['PutObjectCommand', 'header that', headers({ 'x-amz-meta-a b': '1' })],
  ['PutObjectCommand', 'header that', headers({ 'x-amz-meta-a\n': '1' })],
  ['PutObjectCommand', 'header "a-x-amz-meta-a"', headers({ 'a-x-amz-meta-a': '1' })],
  ['PutObjectCommand', 'value of the header "x-amz-acl"', headers({ 'x-amz-acl': 'public-read' })],
  ['PutObjectCommand', 'value of the header "x-amz-tagging"', headers({ 'x-amz-tagging': 'team=a&b=c' })],
  ['PutObjectCommand', 'value of the header "x-amz-tagging"', headers({ 'x-amz-tagging': '%' })],
];

describe('a request', () => {
  it.each(PASSES)('of %s passes with %s', (operation, _what, change) => {
    expect(() => check(operation, change)).not.toThrow();
  });

  it.each(ASTRAY)('of %s is stopped with %s', (operation, _what, change, why) => {
    const events: unknown[] = [];
    const listen = (event: unknown): unknown => events.push(event);
    auditChannels.refused.subscribe(listen);
    expect(() => check(operation, change)).toThrow(CrossTenantError);
    auditChannels.refused.unsubscribe(listen);
    expect(() => check(operation, change)).toThrow(`the request was stopped: ${why}`);
    const message = expect.stringContaining(why) as unknown;
    expect(events).toMatchObject([
      { tenantid: 'acme', data: { message, api: { operation, service: { name: 'storage' } } } },
    ]);
    expect(() => check(operation, () => undefined)).not.toThrow();
  });

  it.each(UNDECIDED)('of %s is refused with a %s', (operation, what, change) => {
    const refused = (): void => check(operation, change);
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow(`storage.${operation} is refused inside a tenant: its request carries a ${what}`);
    expect(refused).toThrow(
      "that the rules do not allow. Use the command's own fields, or Metadata; name a header",
    );
    expect(() => check(operation, () => undefined)).not.toThrow();
  });

  // Ceph closes the connection above 16,384 bytes.
  const MAX = 12_288;
  const names = (count: number, length: number): Record<string, string> =>
    Object.fromEntries(
      Array.from({ length: count }, (_, index) => [`x-amz-meta-${String(index).padStart(length, '0')}`, '']),
    );
  /** What stands before the body, with an Authorization that signs all headers, and its length. */
  const headOf = (change: Change): number => {
    const { request } = sound('PutObjectCommand');
    change(request);
    const query = new URLSearchParams(request.query as Record<string, string>).toString();
    const signed = Object.keys(request.headers).join(';');
    const authorization = `AWS4-HMAC-SHA256 Credential=${'k'.repeat(20)}/20261122/us-east-1/s3/aws4_request, SignedHeaders=${signed}, Signature=${'0'.repeat(64)}`;
    const lines = Object.entries({ ...request.headers, authorization });
    const head = lines.map(([name, value]) => `${name}: ${value ?? ''}\r\n`).join('');
    return Buffer.byteLength(`${request.method} ${request.path}?${query} HTTP/1.1\r\n${head}\r\n`);
  };

  it.each<[string, fits: Change, isTooLong: Change]>([
    ['many short headers', headers(names(350, 3)), headers(names(375, 3))],
    ['few long names', headers(names(30, 180)), headers(names(30, 195))],
    [
      'a long value',
      headers({ 'x-amz-meta-a': 'x'.repeat(11_700) }),
      headers({ 'x-amz-meta-a': 'x'.repeat(12_100) }),
    ],
    [
      'an authorization of its own',
      headers({ authorization: 'x'.repeat(11_700) }),
      headers({ authorization: 'x'.repeat(12_300) }),
    ],
    [
      'a session token',
      headers({ 'x-amz-security-token': 'x'.repeat(15_000) }),
      headers({ 'x-amz-security-token': 'x'.repeat(16_000) }),
    ],
    [
      'a long token beside a long value',
      headers({ 'x-amz-meta-a': 'x'.repeat(11_700), 'x-amz-security-token': 'x'.repeat(3_500) }),
      headers({ 'x-amz-meta-a': 'x'.repeat(11_700), 'x-amz-security-token': 'x'.repeat(4_300) }),
    ],
  ])('is as long as servers take with %s', (_what, fits, isTooLong) => {
    expect(() => check('PutObjectCommand', fits)).not.toThrow();
    expect(() => check('PutObjectCommand', isTooLong)).toThrow(
      'its headers and parameters are too long. Keep less in Metadata',
    );
  });

  it('is never counted shorter than it is', () => {
    for (const length of [1, 3, 20, 200]) {
      const passes = (count: number): boolean => {
        try {
          check('PutObjectCommand', headers(names(count, length)));
          return true;
        } catch {
          return false;
        }
      };
      let [count, tooMany] = [1, 1_000];
      while (tooMany - count > 1) {
        const half = Math.floor((count + tooMany) / 2);
        if (passes(half)) count = half;
        else tooMany = half;
      }
      const head = headOf(headers(names(count, length)));
      expect(head).toBeLessThanOrEqual(MAX);
      expect(head).toBeGreaterThan(MAX * 0.9);
    }
  });
});
