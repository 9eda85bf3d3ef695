import { request } from 'node:http';
import {
  GetObjectAclCommand,
  GetObjectCommand as RawGetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand as RawPutObjectCommand,
} from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@tenantkit/storage';
import { getSignedUrl, type PresignableCommand } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// What the server makes of a URL that somebody has changed. Sent byte by byte: fetch would resolve `..` and set Host.

let own: Opened;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const tenant of TENANTS) {
    const object = { Bucket: own.bucket, Key: `tenants/${tenant}/one`, Body: `of ${tenant}` };
    await own.raw.send(new RawPutObjectCommand(object));
  }
});

const TENANTS = ['acme', 'acme2', 'ACME'] as const;
const COMMANDS = {
  GET: () => new GetObjectCommand({ Key: 'one' }),
  PUT: () => new PutObjectCommand({ Key: 'one' }),
  DELETE: () => new DeleteObjectCommand({ Key: 'one' }),
} as const satisfies Record<string, () => PresignableCommand>;
type Method = keyof typeof COMMANDS;

/** A request as it goes over the wire. */
interface Wire {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: Record<string, string>;
}
type Change = (wire: Wire) => Partial<Wire>;

const wireOf = async (method: Method): Promise<Wire> => {
  const url = new URL(await withTenant('acme', () => getSignedUrl(own.s3, COMMANDS[method]())));
  return { method, path: `${url.pathname}${url.search}`, headers: {} };
};

async function send(wire: Wire): Promise<{ readonly status: number; readonly text: string }> {
  const { hostname, port } = new URL(own.options.endpoint);
  const body = wire.method === 'PUT' || wire.method === 'POST' ? 'changed' : undefined;
  return new Promise((resolve, reject) => {
    const sending = request({ hostname, port, ...wire, agent: false }, (reply) => {
      reply
        .toArray()
        .then((chunks) =>
          resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(chunks as Buffer[]).toString() }),
        )
        .catch(reject);
    });
    sending.on('error', reject).end(body);
  });
}

/** What the objects hold, and who may read them. */
async function state(): Promise<Record<string, string>> {
  const { Versions = [] } = await own.raw.send(new ListObjectVersionsCommand({ Bucket: own.bucket }));
  const found: Record<string, string> = {};
  for (const { Key = '' } of Versions) {
    const at = { Bucket: own.bucket, Key };
    const { Grants = [] } = await own.raw.send(new GetObjectAclCommand(at));
    const { Body, Metadata } = await own.raw.send(new RawGetObjectCommand(at));
    found[Key] = `${await Body?.transformToString()} ${Grants.length} ${JSON.stringify(Metadata)}`;
  }
  return found;
}

const path =
  (change: (path: string) => string): Change =>
  ({ path: all }) => {
    const [before = '', query = ''] = all.split('?');
    return { path: `${change(before)}?${query}` };
  };
const query =
  (change: (query: string) => string): Change =>
  ({ path: all }) => {
    const [before = '', given = ''] = all.split('?');
    return { path: `${before}?${change(given)}` };
  };
const more = (text: string): Change => query((given) => `${given}&${text}`);
const param = (name: string, change: (value: string) => string): Change =>
  query((given) => given.replace(new RegExp(`(?<=(?:^|&)${name}=)[^&]*`), change));
const drop = (name: string): Change =>
  query((given) => given.replace(new RegExp(`(?:^|&)${name}=[^&]*`), ''));
const header =
  (name: string, value: string): Change =>
  () => ({ headers: { [name]: value.replace('BUCKET', own.bucket) } });
const SIGNED = ['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders', 'Signature'].map(
  (name) => `X-Amz-${name}`,
);

const PATHS: readonly [string, Change][] = [
  ['another tenant', path((at) => at.replace('/acme/', '/acme2/'))],
  ['another case of the tenant', path((at) => at.replace('/acme/', '/ACME/'))],
  ['a longer key', path((at) => `${at}x`)],
  ['a folder', path((at) => `${at}/`)],
  ['the bucket', path(() => `/${own.bucket}`)],
  ['the account', path(() => '/')],
  ['..', path((at) => at.replace('/acme/', '/acme/../acme2/'))],
  ['.. from the bucket', path((at) => `/${own.bucket}/..${at.replace('/acme/', '/acme2/')}`)],
  ['an encoded ..', path((at) => at.replace('/acme/', '/acme/%2e%2e/acme2/'))],
  ['a doubly encoded ..', path((at) => at.replace('/acme/', '/acme/%252e%252e/acme2/'))],
  ['an encoded slash', path((at) => at.replace('/acme/', '/acme%2f..%2facme2/'))],
  ['a backslash', path((at) => at.replace('/acme/', '/acme/..\\acme2/'))],
  ['a path parameter', path((at) => at.replace('/acme/', '/acme/..;x/acme2/'))],
  ['a double slash', path((at) => at.replace('/tenants', '//tenants'))],
  ['NUL', path((at) => at.replace('/one', '/one%00'))],
];
const QUERIES: readonly [string, Change][] = [
  ...SIGNED.map((name): [string, Change] => [`${name} left out`, drop(name)]),
  ...SIGNED.map((name): [string, Change] => [`${name} changed`, param(name, (value) => `1${value}`)]),
  ['the credential’s key', param('X-Amz-Credential', (value) => value.replace(/^[^%]+/, 'AK'))],
  ['a longer life', param('X-Amz-Expires', () => '604800')],
  ['a longer life, said twice', more('X-Amz-Expires=604800')],
  ['a later date, said twice', more('X-Amz-Date=20990101T000000Z')],
  ['fewer signed headers', param('X-Amz-SignedHeaders', () => '')],
  ['another signature, said twice', more(`X-Amz-Signature=${'a'.repeat(64)}`)],
  ['the signature of V2', query(() => 'AWSAccessKeyId=x&Signature=y&Expires=4102444800')],
  ...[
    'acl',
    'tagging',
    'uploads',
    'uploadId=x',
    'versionId=x',
    'legal-hold',
    'retention',
    'torrent',
    'policy',
    'delete',
  ]
    .concat('list-type=2', 'prefix=tenants/acme2/', 'versions', 'restore', 'select', 'append', 'partNumber=1')
    .concat(
      'response-content-type=text/html',
      'x-amz-acl=public-read',
      'x-amz-copy-source=/x',
      'x-amz-meta-a=b',
      'a=b',
    )
    .map((name): [string, Change] => [`the parameter ${name}`, more(name)]),
];
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'];

describe.each(['GET', 'PUT', 'DELETE'] as const)('a presigned %s', (method) => {
  it.each([
    ...PATHS,
    ...QUERIES,
    ...METHODS.filter((other) => other !== method).map((other): [string, Change] => [
      other,
      () => ({ method: other }),
    ]),
    ['another host', header('host', 'example.com')],
    ['another host of the same name', header('host', '127.0.0.1:1')],
    ['another signature in a header', header('authorization', 'AWS4-HMAC-SHA256 Credential=x')],
  ] as [string, Change][])('is refused by the server with %s', async (_what, change) => {
    const before = await state();
    const wire = await wireOf(method);
    const { status, text } = await send({ ...wire, ...change(wire) });
    expect([status >= 400 && status < 500, status, text.includes('of acme')]).toEqual([true, status, false]);
    expect(await state()).toEqual(before);
    const as = await send(wire);
    expect(as.status).toBe(method === 'DELETE' ? 204 : 200);
    if (method === 'GET') expect(as.text).toBe('of acme');
  });

  it.each([
    ['x-http-method-override', 'DELETE'],
    ['x-method-override', 'PUT'],
    ['x-original-url', '/BUCKET/tenants/acme2/one'],
    ['x-rewrite-url', '/BUCKET/tenants/acme2/one'],
    ['x-forwarded-host', 'example.com'],
    ['x-amz-date', '20990101T000000Z'],
    ['x-amz-expires', '604800'],
    ['x-amz-security-token', 'token'],
    ['x-amz-content-sha256', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['range', 'bytes=0-1'],
    ['x-amz-mfa', 'x'],
    ['x-amz-bypass-governance-retention', 'true'],
  ])('does no more with the header %s', async (name, value) => {
    const before = await state();
    const wire = await wireOf(method);
    const { status, text } = await send({ ...wire, ...header(name, value)(wire) });
    const after = await state();
    const { 'tenants/acme/one': was, ...others } = before;
    const { 'tenants/acme/one': is, ...same } = after;
    expect(same).toEqual(others);
    expect(text).not.toContain('of acme2');
    const done = { GET: was, PUT: 'changed 1 {}', DELETE: undefined }[method];
    expect(is).toBe(status < 300 ? done : was);
  });
});

it('a URL that has expired is not revived by a longer life, said twice', async () => {
  const signingDate = new Date(Date.now() - 120_000);
  const sign = (expiresIn: number): Promise<string> =>
    withTenant('acme', () => getSignedUrl(own.s3, COMMANDS.GET(), { expiresIn, signingDate }));
  const statuses = async (expiresIn: number): Promise<number[]> => {
    const { pathname, search } = new URL(await sign(expiresIn));
    const wire = { method: 'GET', path: `${pathname}${search}`, headers: {} };
    const life = 'X-Amz-Expires=604800';
    const changes = [query((given) => given), query((given) => `${life}&${given}`), more(life)];
    return Promise.all(changes.map(async (change) => (await send({ ...wire, ...change(wire) })).status));
  };
  expect(await statuses(60)).toEqual([403, 403, 403]);
  // Of two lives this server reads the last, which must be the signed one.
  expect(await statuses(600)).toEqual([200, 200, 403]);
});
