import { withTenant } from '@tenantkit/core';
import type { Call } from '../src/call.ts';
import { assertRequest, endpointOf, type OutgoingRequest, type Target } from '../src/guard.ts';
import type { CommandName } from '../src/rules.ts';
import { KEY, PART, REALM, callOf, tokenOf } from './calls.ts';

// Requests that nobody sends, for the last check by itself.

export const TARGET: Target = {
  get names() {
    return REALM.names;
  },
  buckets: ['acme.up', 'media.eu'],
  endpoint: endpointOf(new URL('https://s3.example:8443/acme.up/')),
  tags: REALM.tags,
  headers: new Set(['x-mine']),
};

export type Request = { -readonly [Part in keyof OutgoingRequest]: OutgoingRequest[Part] };
export type Change = (request: Request) => void;

export const OBJECT = '/acme.up/tenants/acme/a/one';
export const make = (method: string, path: string, query: object = {}, headers: object = {}): Request => ({
  method,
  protocol: 'https:',
  hostname: 's3.example',
  port: 8443,
  path,
  query: { ...query },
  headers: { host: 's3.example:8443', ...headers },
});

/** What the SDK makes of one call of each kind. */
const SOUND: Partial<Record<CommandName, readonly [given: object, request: () => Request]>> = {
  GetObjectCommand: [KEY, () => make('GET', OBJECT, { 'x-id': 'GetObject' })],
  PutObjectCommand: [{ ...KEY, Body: 'x' }, () => make('PUT', OBJECT, { 'x-id': 'PutObject' })],
  CopyObjectCommand: [
    { ...KEY, CopySource: 'uploads/b' },
    () => make('PUT', OBJECT, { 'x-id': 'CopyObject' }, { 'x-amz-copy-source': 'acme.up/tenants/acme/b' }),
  ],
  ListObjectsCommand: [{}, () => make('GET', '/acme.up/', { prefix: 'tenants/acme/' })],
  ListObjectsV2Command: [
    { ContinuationToken: tokenOf('next') },
    () =>
      make('GET', '/acme.up', { 'list-type': '2', prefix: 'tenants/acme/', 'continuation-token': 'next' }),
  ],
  DeleteObjectsCommand: [{ Delete: { Objects: [KEY] } }, () => make('POST', '/acme.up/', { delete: '' })],
  UploadPartCommand: [PART, () => make('PUT', OBJECT, { partNumber: '1', uploadId: 'u1' })],
};

export const sound = (operation: CommandName): { call: Call; request: Request } => {
  const [given, request] = SOUND[operation] ?? [{}, () => make('', '')];
  return { call: callOf(operation, given), request: request() };
};
export const check = (operation: CommandName, change: Change, target = TARGET): void => {
  const { call, request } = sound(operation);
  change(request);
  withTenant('acme', () => assertRequest(request, call, target));
};

export const at =
  (part: keyof Request, value: unknown): Change =>
  (request) =>
    void Object.assign(request, { [part]: value });
export const query =
  (more: Readonly<Record<string, unknown>>): Change =>
  (request) =>
    void (request.query = { ...request.query, ...more });
export const headers =
  (more: Readonly<Record<string, unknown>>): Change =>
  (request) =>
    void (request.headers = { ...request.headers, ...(more as Request['headers']) });
export const without =
  (name: string): Change =>
  (request) =>
    void (request.query = Object.fromEntries(Object.entries(request.query).filter(([one]) => one !== name)));
export const key = (path: string): Change => at('path', `/acme.up/${path}`);
