import { HttpRequest } from '@smithy/core/protocols';
import { CrossTenantError, OperationRefusedError, withTenant } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { assertRequest, endpointOf, snapshot } from '../src/guard.ts';
import { KEY, callOf } from './calls.ts';
import { OBJECT, TARGET, at, headers, make, query, sound, without, type Change } from './requests.ts';

const NOW = Date.UTC(2026, 10, 21);
const LIMIT = { maxExpiresIn: 900, now: NOW };
const SIGNED = {
  'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
  'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD',
  'X-Amz-Credential': 'AK/20261121/eu/s3/aws4_request',
  'X-Amz-Date': '20261121T000000Z',
  'X-Amz-Expires': '900',
  'X-Amz-Security-Token': 't',
  'X-Amz-Signature': 'f',
  'X-Amz-SignedHeaders': 'host',
  'X-Amz-Region-Set': '*',
};
const presigned = (change: Change, limit: typeof LIMIT | undefined = LIMIT): void => {
  const request = make('PUT', OBJECT, { 'x-id': 'PutObject', 'x-amz-acl': 'private', ...SIGNED });
  change(request);
  withTenant('acme', () => assertRequest(request, callOf('PutObjectCommand', KEY), TARGET, limit));
};

describe('a presigned request', () => {
  it.each<[string, Change]>([
    ['as it was signed', () => undefined],
    ['metadata in its query', query({ 'x-amz-meta-A': 'b', 'X-Amz-Tagging': 'team=a' })],
    ['a shorter life', query({ 'X-Amz-Expires': '1' })],
  ])('passes with %s', (_what, change) => {
    expect(() => presigned(change)).not.toThrow();
  });

  it.each<[string, Change, string]>([
    [
      'a header that the row does not know',
      query({ 'x-amz-object-lock-mode': 'x' }),
      'header "x-amz-object-lock-mode"',
    ],
    [
      'a value that it may not have',
      query({ 'x-amz-acl': 'public-read' }),
      'value of the header "x-amz-acl"',
    ],
    ['a header that stands twice', headers({ 'x-amz-acl': 'private' }), 'header "x-amz-acl"'],
    ['a list of values', query({ 'x-amz-acl': ['private'] }), 'repeated query parameter "x-amz-acl"'],
    ['a header that is no x-amz-', query({ 'cache-control': 'x' }), 'query parameter "cache-control"'],
    ['a signature in another spelling', query({ 'x-amz-signature': 'f' }), 'header "x-amz-signature"'],
    ['a longer life', query({ 'X-Amz-Expires': '901' }), 'the URL would live longer than allowed'],
    [
      'a signature that stands twice',
      query({ 'X-Amz-Signature': ['f', 'g'] }),
      'repeated query parameter "X-Amz-Signature"',
    ],
    ['no life', without('X-Amz-Expires'), 'the URL would live longer than allowed'],
  ])('is refused with %s', (_what, change, words) => {
    expect(() => presigned(change)).toThrow(OperationRefusedError);
    expect(() => presigned(change)).toThrow(words);
  });

  it('is one only where it was asked for', () => {
    const { call, request } = sound('PutObjectCommand');
    request.query = { ...request.query, ...SIGNED };
    expect(() => assertRequest(request, call, TARGET)).toThrow('carries a query parameter "X-Amz-Algorithm"');
    expect(() => assertRequest(request, call, TARGET, LIMIT)).not.toThrow();
    // A header in the query is one in a presigned request alone.
    const { request: plain } = sound('PutObjectCommand');
    plain.query = { ...plain.query, 'x-amz-acl': 'private' };
    expect(() => assertRequest(plain, call, TARGET)).toThrow('carries a query parameter "x-amz-acl"');
  });

  it('copies from the tenant alone, in whatever way it says so', () => {
    const { call, request } = sound('CopyObjectCommand');
    const { host } = request.headers;
    const moved = (source: string): void => {
      const query = { ...SIGNED, 'x-amz-copy-source': source };
      assertRequest({ ...request, headers: { host }, query }, call, TARGET, LIMIT);
    };
    expect(() => moved('acme.up/tenants/acme/b')).not.toThrow();
    expect(() => moved('acme.up/tenants/acme2/b')).toThrow(CrossTenantError);
  });
});

describe('an endpoint', () => {
  it('is taken apart once', () => {
    expect(endpointOf(new URL('http://h:81/b/c/'))).toEqual({
      protocol: 'http:',
      hostname: 'h',
      port: '81',
      host: 'h:81',
      base: '/b/c',
    });
    expect(endpointOf(new URL('https://b.h'))).toMatchObject({ port: '', host: 'b.h', base: '' });
  });

  it.each([
    ['https:', 443, undefined],
    ['http:', 80, 443],
  ])('%s has the port %s of its own', (protocol, port, other) => {
    const endpoint = endpointOf(new URL(`${protocol}//s3.example/acme.up`));
    const { call, request } = sound('GetObjectCommand');
    const sent = (given: number | undefined): void =>
      assertRequest({ ...request, protocol, port: given, headers: {} }, call, { ...TARGET, endpoint });
    expect(() => sent(port)).not.toThrow();
    expect(() => sent(undefined)).not.toThrow();
    expect(() => sent(other ?? 80)).toThrow(CrossTenantError);
  });
});

describe('a call without a key', () => {
  it('leaves for a key of the tenant alone', () => {
    const { call, request } = sound('GetObjectCommand');
    const keyless = { ...call, key: undefined };
    expect(() => assertRequest(request, keyless, TARGET)).not.toThrow();
    at('path', '/acme.up/undefined')(request);
    expect(() => assertRequest(request, keyless, TARGET)).toThrow(CrossTenantError);
  });
});

describe('the copy of a request', () => {
  const REQUEST = {
    ...make('GET', '/b/k', { a: '1' }),
    username: 'u',
    password: 'p',
    fragment: 'f',
    body: 'x',
  };

  it('is one of the SDK’s own, and holds what was read once', () => {
    const { headers, query } = REQUEST;
    const copy = snapshot({ ...REQUEST, more: 1 });
    expect(copy).toBeInstanceOf(HttpRequest);
    expect(copy).toMatchObject(REQUEST);
    expect(copy).not.toHaveProperty('more');
    expect([copy?.headers === headers, copy?.query === query]).toEqual([false, false]);
    for (const part of ['port', 'username', 'password', 'fragment'] as const) {
      const own = snapshot({ ...REQUEST, [part]: undefined });
      expect(own?.[part]).toBeUndefined();
      expect(own).toBeInstanceOf(HttpRequest);
    }
  });

  it.each([
    'method',
    'protocol',
    'hostname',
    'path',
    'query',
    'headers',
    'port',
    'username',
    'password',
    'fragment',
  ])('is none with a %s of another kind', (part) => {
    expect(snapshot({ ...REQUEST, [part]: true })).toBeUndefined();
    expect(snapshot({ ...REQUEST, [part]: null })).toBeUndefined();
    expect(snapshot(REQUEST)).toBeDefined();
  });

  it('is none of what is no object', () => {
    for (const given of [undefined, null, 'GET /']) expect(snapshot(given)).toBeUndefined();
  });
});
