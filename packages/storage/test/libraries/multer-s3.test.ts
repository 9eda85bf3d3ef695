import { DeleteObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import express from 'express';
import multer from 'multer';
import multerS3 from 'multer-s3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openWays, serve, type Way, type Ways } from './support.ts';

let ways: Ways;
beforeAll(async () => {
  ways = await openWays();
});
afterAll(() => ways[Symbol.asyncDispose]());

/** A service that takes files of forms, written without a thought of tenants. */
function service({ client, bucket }: Way): express.Express {
  const app = express();
  app.use((request, _answer, next) => {
    const tenant = request.get('x-tenant');
    if (tenant === undefined) next();
    else withTenant(tenant, next);
  });
  const storage = multerS3({
    s3: client,
    bucket,
    // oxlint-disable-next-line typescript/unbound-method -- so it is given
    contentType: multerS3.AUTO_CONTENT_TYPE,
    metadata: (_request, file, done) => done(null, { field: file.fieldname }),
    key: (_request, file, done) => done(null, `uploads/${file.originalname}`),
  });
  const takes = multer({ storage, limits: { fileSize: 20 * 1024 * 1024 } });
  app.post('/', takes.array('files'), (request, answer) => {
    answer.json(request.files);
  });
  app.use(
    (error: Error, _request: express.Request, answer: express.Response, _next: express.NextFunction) => {
      answer.status(500).json({ error: error.message });
    },
  );
  return app;
}

async function post(url: string, texts: Readonly<Record<string, string>>, tenant?: string): Promise<unknown> {
  const body = new FormData();
  for (const [name, text] of Object.entries(texts)) body.append('files', new Blob([text]), name);
  const headers = tenant === undefined ? {} : { 'x-tenant': tenant };
  return (await fetch(url, { method: 'POST', body, headers })).json();
}

it('stores the files of a form for each tenant, under the same names', async () => {
  const { own, raw, acme } = ways;
  await using plain = await serve(service(raw) as never);
  await using guarded = await serve(service(acme) as never);
  // The second is of two parts, and its bytes come over the connection long after the request has begun.
  const files = { 'one.txt': 'of one', 'two.bin': 'x'.repeat(6 * 1024 * 1024) };
  const normal = (reply: unknown, bucket: string): unknown =>
    JSON.parse(JSON.stringify(reply).replaceAll(bucket, 'BUCKET'));
  const expected = normal(await post(plain.url, files), raw.bucket);
  expect(expected).toMatchObject([{ key: 'uploads/one.txt', acl: 'private' }, { key: 'uploads/two.bin' }]);
  expect(normal(await post(guarded.url, files, 'acme'), own.bucket)).toEqual(expected);
  await Promise.all(
    ['acme', 'acme2'].map((tenant) => post(guarded.url, { 'one.txt': `of ${tenant}` }, tenant)),
  );
  const { Contents = [] } = await own.raw.send(new ListObjectsV2Command({ Bucket: own.bucket }));
  expect(Contents.map(({ Key, Size }) => [Key, Size])).toEqual([
    ['tenants/acme/uploads/one.txt', 7],
    ['tenants/acme/uploads/two.bin', 6 * 1024 * 1024],
    ['tenants/acme2/uploads/one.txt', 8],
  ]);
  for (const { Key } of Contents) await own.raw.send(new DeleteObjectCommand({ Bucket: own.bucket, Key }));
});

it('stores nothing outside of any tenant', async () => {
  await using guarded = await serve(service(ways.acme) as never);
  expect(await post(guarded.url, { 'one.txt': 'x' })).toEqual({
    error: expect.stringContaining('outside of any tenant'),
  });
});
