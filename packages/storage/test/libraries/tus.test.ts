import { DeleteObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { S3, type S3ClientConfig } from '@tenantkit/storage';
import { S3Store } from '@tus/s3-store';
import { Server } from '@tus/server';
import { afterAll, beforeAll, expect } from 'vitest';
import { needs } from '../servers/capabilities.ts';
import { openWays, serve, type Way, type Ways } from './support.ts';

let ways: Ways;
beforeAll(async () => {
  // By this tag a lifecycle rule can find what was never finished.
  ways = await openWays({ tags: ['Tus-Completed'] });
});
afterAll(() => ways[Symbol.asyncDispose]());

/** The store makes its client of the SDK's own class: it is given ours in its place. */
class Store extends S3Store {
  constructor(way: Way) {
    const { tenant: _ours, ...options } = way.options;
    super({ partSize: 5 * 1024 * 1024, s3ClientConfig: { bucket: way.bucket, ...options } });
    if (way.options.tenant !== undefined) this.client = new S3(way.options as S3ClientConfig);
  }
}

const HEADERS = { 'tus-resumable': '1.0.0', 'content-type': 'application/offset+octet-stream' };
const SIZE = 6 * 1024 * 1024;

/** One upload, begun, left and gone on with; what the server says at each step. */
async function upload(url: string, letter: string, tenant: string): Promise<unknown[]> {
  const headers = { ...HEADERS, 'x-tenant': tenant };
  const seen: unknown[] = [];
  const ask = async (method: string, path: string, more: object = {}, body?: string): Promise<Response> => {
    const reply = await fetch(url + path, {
      method,
      headers: { ...headers, ...more },
      ...(body === undefined ? {} : { body }),
    });
    seen.push([method, reply.status, reply.headers.get('upload-offset')]);
    if (reply.status >= 500) seen.push(await reply.text());
    return reply;
  };
  const metadata = `filename ${Buffer.from('a b.bin').toString('base64')}`;
  await ask('POST', '/files', { 'upload-length': String(SIZE), 'upload-metadata': metadata });
  await ask('PATCH', '/files/same', { 'upload-offset': '0' }, letter.repeat(1000));
  await ask('HEAD', '/files/same');
  await ask('PATCH', '/files/same', { 'upload-offset': '1000' }, letter.repeat(SIZE - 1000));
  await ask('HEAD', '/files/same');
  const got = await ask('GET', '/files/same');
  seen.push((await got.text()) === letter.repeat(SIZE));
  return seen;
}

needs('uploadLists', 'aborts').it(
  'takes uploads that go on later, for each tenant under the same name',
  async () => {
    const { own, raw, acme, acme2 } = ways;
    // A store remembers what it knows of an upload by its name alone: each tenant needs one of its own.
    const server = (way: Way): Server =>
      new Server({ path: '/files', datastore: new Store(way), namingFunction: () => 'same' });
    const servers: Readonly<Record<string, Server>> = {
      raw: server(raw),
      acme: server(acme),
      acme2: server(acme2),
    };
    await using site = await serve((request, answer) => {
      const tenant = String(request.headers['x-tenant']);
      const handle = (): unknown => servers[tenant]?.handle(request, answer);
      if (tenant === 'raw') handle();
      else withTenant(tenant, handle);
    });
    const plain = await upload(site.url, 'r', 'raw');
    expect(plain.at(-1), JSON.stringify(plain)).toBe(true);
    const [mine, others] = await Promise.all([upload(site.url, 'a', 'acme'), upload(site.url, 'b', 'acme2')]);
    expect(mine).toEqual(plain);
    expect(others).toEqual(plain);
    const { Contents = [] } = await own.raw.send(new ListObjectsV2Command({ Bucket: own.bucket }));
    expect(Contents.map(({ Key }) => Key)).toEqual(
      ['acme', 'acme2'].flatMap((tenant) => [`tenants/${tenant}/same`, `tenants/${tenant}/same.info`]),
    );
    const { Uploads = [] } = await own.raw.send(new ListMultipartUploadsCommand({ Bucket: own.bucket }));
    expect(Uploads).toEqual([]);
    for (const { Key } of Contents) await own.raw.send(new DeleteObjectCommand({ Bucket: own.bucket, Key }));
  },
);
