import * as raw from '@aws-sdk/client-s3';
import { acrossTenants, withTenant } from '@tenantkit/core';
import * as own from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { engineOf } from '../src/client.ts';
import { openPlaces, others, type Places, type Sent } from './place-support.ts';

let places: Places;
let s3: own.S3Client;
let sent: Sent[];
beforeAll(async () => {
  places = await openPlaces();
});
afterAll(() => places[Symbol.asyncDispose]());
beforeEach(() => {
  ({ s3, sent } = places.client());
});

const failure = (call: () => Promise<unknown>): Promise<Error & Record<string, unknown>> =>
  call().then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as Error & Record<string, unknown>,
  );

const text = async (key: string): Promise<string | undefined> =>
  (await s3.send(new own.GetObjectCommand({ Key: key }))).Body?.transformToString();

/** In whose name a tenant's requests leave. */
const accessKeyOf = (tenant: string): string => {
  const placement = places.place(tenant);
  return placement.level === 'silo'
    ? placement.credentials.accessKeyId
    : places.own.options.credentials.accessKeyId;
};

describe('tenants in a pool, in bridges and in silos, with the same keys', () => {
  it('each have their own, where they are and nowhere else', async () => {
    for (const tenant of TENANTS)
      await withTenant(tenant, () =>
        s3.send(new own.PutObjectCommand({ Key: 'same', Body: `of ${tenant}` })),
      );
    for (const tenant of TENANTS) {
      expect(await withTenant(tenant, () => text('same'))).toBe(`of ${tenant}`);
      const { Contents = [], Name } = await withTenant(tenant, () =>
        s3.send(new own.ListObjectsV2Command({})),
      );
      expect(Contents.map(({ Key }) => Key)).toEqual(['same']);
      expect(Name).toBe(places.bucket);
      expect(await places.read(places.bucketOf(tenant), `tenants/${tenant}/same`)).toBe(`of ${tenant}`);
      const elsewhere = new Set(others(tenant).map((other) => places.bucketOf(other)));
      elsewhere.delete(places.bucketOf(tenant));
      for (const bucket of elsewhere)
        await expect(places.read(bucket, `tenants/${tenant}/same`)).rejects.toMatchObject({
          name: 'NoSuchKey',
        });
    }
  });

  it('are reached at their own server, in the name of their own credentials', async () => {
    const pool = places.own.options.credentials.accessKeyId;
    for (const tenant of TENANTS) {
      sent.length = 0;
      await withTenant(tenant, async () => {
        await s3.send(new own.PutObjectCommand({ Key: 'same', Body: 'x' }));
        await s3.send(new own.CopyObjectCommand({ Key: 'copy', CopySource: `${places.bucket}/same` }));
        await s3.send(new own.ListObjectsV2Command({}));
      });
      // A copy looks at its source first.
      expect(sent).toHaveLength(4);
      for (const { host, path, accessKeyId } of sent) {
        expect(host).toBe(places.hostOf(tenant));
        expect(path.split('/')[1]).toBe(places.bucketOf(tenant));
        expect(accessKeyId).toBe(accessKeyOf(tenant));
        if (host !== places.hostOf('acme')) expect(accessKeyId).not.toBe(pool);
      }
    }
    for (const { connections } of places.gateways) expect(connections()).toBeGreaterThan(0);
  });

  it('are kept apart when all call at once', async () => {
    await Promise.all(
      Array.from({ length: 10 }, (_, round) =>
        TENANTS.map((tenant) =>
          withTenant(tenant, async () => {
            await s3.send(
              new own.PutObjectCommand({ Key: `at-once/${round}`, Body: `${round} of ${tenant}` }),
            );
            expect(await text(`at-once/${round}`)).toBe(`${round} of ${tenant}`);
          }),
        ),
      ).flat(),
    );
    for (const tenant of TENANTS)
      expect(await places.read(places.bucketOf(tenant), `tenants/${tenant}/at-once/3`)).toBe(
        `3 of ${tenant}`,
      );
  });

  it('work with one command object', async () => {
    const command = new own.PutObjectCommand({ Bucket: places.bucket, Key: 'shared', Body: 'x' });
    await Promise.all(TENANTS.map((tenant) => withTenant(tenant, () => s3.send(command))));
    for (const tenant of TENANTS)
      expect(await places.read(places.bucketOf(tenant), `tenants/${tenant}/shared`)).toBe('x');
  });
});

describe.each(TENANTS)('the tenant %s', (tenant) => {
  it('hears of the bucket that it knows, and of no other', async () => {
    const replies: unknown[] = [];
    await withTenant(tenant, async () => {
      await s3.send(new own.PutObjectCommand({ Key: 'one', Body: 'x' }));
      const { UploadId } = await s3.send(new own.CreateMultipartUploadCommand({ Key: 'big' }));
      const part = { Key: 'big', UploadId, PartNumber: 1 };
      const { ETag } = await s3.send(new own.UploadPartCommand({ ...part, Body: 'whole' }));
      const listed = await s3.send(new own.ListPartsCommand({ Key: 'big', UploadId }));
      const done = await s3.send(
        new own.CompleteMultipartUploadCommand({
          Key: 'big',
          UploadId,
          MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
        }),
      );
      expect(listed.Bucket).toBe(places.bucket);
      expect(done.Bucket).toBe(places.bucket);
      // Ceph shows the key as it is in the path; where it is shown, it is the logical one.
      expect(done.Location ?? '').not.toContain('tenants/');
      replies.push(listed, done, await s3.send(new own.ListObjectsCommand({})));
      replies.push(await s3.send(new own.ListObjectVersionsCommand({})));
      expect(await text('big')).toBe('whole');
    });
    const shown = JSON.stringify(replies);
    const physical = places.bucketOf(tenant);
    if (physical !== places.bucket) expect(shown).not.toContain(physical);
    expect(shown).toContain(places.bucket);
  });

  it('copies from the bucket that it knows, and from no other', async () => {
    await withTenant(tenant, async () => {
      await s3.send(new own.PutObjectCommand({ Key: 'source', Body: `of ${tenant}` }));
      await s3.send(new own.CopyObjectCommand({ Key: 'target', CopySource: `/${places.bucket}/source` }));
      expect(await text('target')).toBe(`of ${tenant}`);
      for (const bucket of [places.bridge, ...places.buckets]) {
        const copy = new own.CopyObjectCommand({ Key: 'target', CopySource: `${bucket}/source` });
        expect(await failure(() => s3.send(copy))).toMatchObject({ code: 'OPERATION_REFUSED' });
        const get = new own.GetObjectCommand({ Bucket: bucket, Key: 'source' });
        expect(await failure(() => s3.send(get))).toMatchObject({ code: 'OPERATION_REFUSED' });
      }
    });
  });

  it('pages through its listing with tokens that work for nobody else', async () => {
    const page = (ContinuationToken?: string) =>
      s3.send(new own.ListObjectsV2Command({ Prefix: 'page/', MaxKeys: 1, ContinuationToken }));
    const token = await withTenant(tenant, async () => {
      for (const Key of ['page/1', 'page/2']) await s3.send(new own.PutObjectCommand({ Key, Body: 'x' }));
      const { NextContinuationToken } = await page();
      const { Contents = [] } = await page(NextContinuationToken);
      expect(Contents.map(({ Key }) => Key)).toEqual(['page/2']);
      return NextContinuationToken;
    });
    for (const other of others(tenant))
      expect(await failure(() => withTenant(other, () => page(token)))).toMatchObject({
        code: 'SIGNATURE_INVALID',
      });
  });

  it('presigns for its own server, with its own credentials', async () => {
    const [put, get] = await withTenant(tenant, async () => [
      await getSignedUrl(s3, new own.PutObjectCommand({ Key: 'by-url' })),
      await getSignedUrl(s3, new own.GetObjectCommand({ Key: 'by-url' })),
    ]);
    for (const url of [put, get].map((one) => new URL(one ?? ''))) {
      expect(url.host).toBe(places.hostOf(tenant));
      expect(url.pathname).toBe(`/${places.bucketOf(tenant)}/tenants/${tenant}/by-url`);
      expect(url.searchParams.get('X-Amz-Credential')?.split('/')[0]).toBe(accessKeyOf(tenant));
    }
    expect((await fetch(put ?? '', { method: 'PUT', body: `of ${tenant}` })).status).toBe(200);
    expect(await (await fetch(get ?? '')).text()).toBe(`of ${tenant}`);
    expect(await places.read(places.bucketOf(tenant), `tenants/${tenant}/by-url`)).toBe(`of ${tenant}`);
  });

  it('makes forms for its own server, with its own credentials', async () => {
    const Key = 'by-form';
    const form = await withTenant(tenant, () =>
      createPresignedPost(s3, {
        Bucket: places.bucket,
        Key,
        Fields: { 'Content-Type': 'text/plain' },
        Conditions: [['content-length-range', 1, 100], { bucket: places.bucket }],
      }),
    );
    expect(new URL(form.url).host).toBe(places.hostOf(tenant));
    expect(form.fields['bucket']).toBe(places.bucketOf(tenant));
    expect(form.fields['X-Amz-Credential']?.split('/')[0]).toBe(accessKeyOf(tenant));
    const body = new FormData();
    for (const [name, value] of Object.entries(form.fields)) body.append(name, value);
    body.append('file', new Blob([`of ${tenant}`]));
    expect((await fetch(form.url, { method: 'POST', body })).status).toBe(204);
    expect(await places.read(places.bucketOf(tenant), `tenants/${tenant}/${Key}`)).toBe(`of ${tenant}`);
  });

  it('cannot be led to another place by a middleware', async () => {
    const away = [
      ...new Set([places.own.options.endpoint, ...places.gateways.map(({ endpoint }) => endpoint)]),
    ]
      .map((endpoint) => new URL(endpoint))
      .filter(({ host }) => host !== places.hostOf(tenant));
    for (const { hostname, port, host } of away) {
      const command = new raw.GetObjectCommand({ Bucket: places.bucket, Key: 'one' });
      s3.middlewareStack.add(
        (next) => (args) => {
          Object.assign(args.request as object, { hostname, port: Number(port) });
          Object.assign((args.request as { headers: object }).headers, { host });
          return next(args);
        },
        { step: 'finalizeRequest', priority: 'low', name: 'away' },
      );
      sent.length = 0;
      const error = await failure(() => withTenant(tenant, () => s3.send(command)));
      s3.middlewareStack.remove('away');
      expect(error).toMatchObject({ code: 'CROSS_TENANT' });
      expect(sent).toEqual([]);
    }
    for (const bucket of [places.bucket, places.bridge, ...places.buckets]) {
      if (bucket === places.bucketOf(tenant)) continue;
      const command = new raw.GetObjectCommand({ Bucket: places.bucket, Key: 'one' });
      s3.middlewareStack.add(
        (next) => (args) => {
          Object.assign(args.request as object, { path: `/${bucket}/tenants/${tenant}/one` });
          return next(args);
        },
        { step: 'finalizeRequest', priority: 'low', name: 'away' },
      );
      const error = await failure(() => withTenant(tenant, () => s3.send(command)));
      s3.middlewareStack.remove('away');
      expect(error).toMatchObject({ code: 'CROSS_TENANT' });
      expect(sent).toEqual([]);
    }
  });
});

describe('a silo whose buckets are called like those of the pool', () => {
  it('is another place nevertheless', async () => {
    const [credentials] = places.sessions;
    const [{ endpoint, host }] = places.gateways;
    const { s3: client, sent: left } = places.client({
      place: (tenant) => (tenant === 'a' ? { level: 'silo', endpoint, credentials } : { level: 'pool' }),
    });
    for (const tenant of ['acme', 'a', 'acme'])
      await withTenant(tenant, () => client.send(new own.PutObjectCommand({ Key: 'x', Body: 'x' })));
    expect(left.map((one) => one.host)).toEqual([places.hostOf('acme'), host, places.hostOf('acme')]);
  });
});

describe('an error of the server', () => {
  it('names the bucket that the caller knows', async () => {
    const gone = `${places.bridge}-gone`;
    const { s3: client } = places.client({
      place: () => ({ level: 'bridge', buckets: { [places.bucket]: gone } }),
    });
    const error = await failure(() =>
      withTenant('acme', () => client.send(new own.GetObjectCommand({ Key: `of/${gone}` }))),
    );
    expect(error.name).toBe('NoSuchBucket');
    const shown = JSON.stringify([Object.entries(error), error.message, error.stack]);
    expect(shown).not.toContain(gone);
    expect(error['BucketName']).toBe(places.bucket);
  });

  it('leaves the name of a bucket in a key as it is', async () => {
    const Key = `of/${places.bridge}/x`;
    const error = await failure(() => withTenant('acme2', () => s3.send(new own.GetObjectCommand({ Key }))));
    expect(error.name).toBe('NoSuchKey');
    if (error['Key'] !== undefined) expect(error['Key']).toBe(Key);
    // Other servers name it.
    const command = new own.GetObjectCommand({ Key });
    s3.middlewareStack.add(
      () => () => {
        const Resource = `/${places.bridge}/tenants/acme2/${Key}`;
        const other = `tenants/acme2/other/${places.bridge}/y`;
        return Promise.reject(Object.assign(new Error(`no ${other}`), { Key: other, Resource }));
      },
      { step: 'deserialize', name: 'other server' },
    );
    const answer = await failure(() => withTenant('acme2', () => s3.send(command)));
    s3.middlewareStack.remove('other server');
    expect(answer).toMatchObject({
      Key: `other/${places.bridge}/y`,
      Resource: `/${places.bucket}/${Key}`,
    });
  });
});

describe('across tenants', () => {
  const bypass = { reason: 'test', actor: 'test' };

  it('means the pool', async () => {
    await acrossTenants(bypass, () =>
      s3.send(new raw.PutObjectCommand({ Bucket: places.bucket, Key: 'tenants/a/one', Body: 'in the pool' })),
    );
    expect(await places.read(places.bucket, 'tenants/a/one')).toBe('in the pool');
    expect(sent.at(-1)).toMatchObject({
      host: places.hostOf('acme'),
      accessKeyId: places.own.options.credentials.accessKeyId,
    });
  });

  it('work can be done in the place of a tenant, with the credentials of that place', async () => {
    const engine = engineOf(s3, 'test');
    for (const tenant of TENANTS) {
      await places.write(places.bucketOf(tenant), `tenants/${tenant}/visited`, `of ${tenant}`);
      const home = engine.placeOf(tenant, 'test');
      const [Bucket] = home.physical;
      const object = { Bucket, Key: `tenants/${tenant}/visited` };
      sent.length = 0;
      const { Body } = await acrossTenants(bypass, () =>
        engine.visit(home, () => s3.send(new raw.GetObjectCommand(object))),
      );
      expect(await Body?.transformToString()).toBe(`of ${tenant}`);
      expect(sent).toMatchObject([{ host: places.hostOf(tenant), accessKeyId: accessKeyOf(tenant) }]);
      expect(await engine.urlOf(Bucket ?? '', home)).toBe(`http://${places.hostOf(tenant)}/${Bucket}`);
    }
    await withTenant('a', () => s3.send(new own.GetObjectCommand({ Key: 'visited' })));
    expect(engine.places().map(({ silo }) => silo?.endpoint)).toEqual([
      undefined,
      places.gateways[0].endpoint,
    ]);
  });
});

describe('the clock of a server', () => {
  it('says nothing about another', async () => {
    const { s3: client } = places.client();
    const get = (tenant: string) =>
      withTenant(tenant, () => client.send(new own.ListObjectsV2Command({ MaxKeys: 1 })));
    // As a server would tell whose clock is an hour ahead.
    const stop = places.gateways[0].host;
    const { requestHandler } = client.config;
    const handle = requestHandler.handle.bind(requestHandler);
    requestHandler.handle = async (...args: Parameters<typeof handle>) => {
      const reply = await handle(...args);
      const [{ port }] = args;
      if (stop.endsWith(`:${port}`))
        reply.response.headers['date'] = new Date(Date.now() + 3_600_000).toUTCString();
      return reply;
    };
    await get('a');
    await get('acme');
    await get('ac');
    await get('acme2');
    expect(client.config.systemClockOffset).toBeLessThan(60_000);
    // The next one there is signed with it, and the real server says what the time is.
    await expect(get('a')).rejects.toMatchObject({ name: expect.stringContaining('Skew') as string });
  });
});
