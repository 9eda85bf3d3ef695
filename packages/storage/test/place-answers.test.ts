import { currentScope, withTenant } from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3Client, type StoragePlacement } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { beforeEach, describe, expect, it } from 'vitest';
import { running } from '../src/running.ts';
import { fencedPlaces } from './place-support.ts';

const given = fencedPlaces();
const { later } = given;
let { places, fence } = given;
beforeEach(() => {
  ({ places, fence } = given);
});

const failure = (call: () => Promise<unknown>): Promise<Error> =>
  call().then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as Error,
  );

const put = (s3: S3Client, tenant = 'acme', Body = 'x'): Promise<unknown> =>
  withTenant(tenant, () => s3.send(new PutObjectCommand({ Key: 'key', Body })));

const UNPLACED = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  why: 'nobody knows where the data of the tenant is',
  reason: 'place',
});

describe('an answer of place', () => {
  const server = { level: 'silo', endpoint: 'https://s3.acme.example' } as const;
  const credentials = { accessKeyId: 'AK', secretAccessKey: 's3cr3t' };
  const bridge = (buckets: unknown) => ({ level: 'bridge', buckets });

  it.each([
    [undefined, 'place'],
    ['pool', 'place'],
    [{}, "place.level: must be 'pool', 'bridge' or 'silo'"],
    [{ level: 'own' }, "must be 'pool', 'bridge' or 'silo'"],
    [{ level: 'pool', buckets: {} }, 'unknown option buckets'],
    [{ level: 'bridge' }, 'place.buckets'],
    [bridge({}), 'must name a bucket for each'],
    [bridge({ uploads: 'acme-uploads' }), 'must name a bucket for each'],
    [bridge({ uploads: 'acme-uploads', exports: 'acme-uploads' }), 'must be different ones'],
    [bridge({ uploads: 'acme-u', exports: 'acme-e', more: 'acme-m' }), 'and for no other'],
    [bridge({ uploads: 'acme-u', exports: 'arn:aws:s3:::acme' }), 'plain name of a general purpose bucket'],
    [bridge({ uploads: 'acme-u', exports: 'acme/../other' }), 'plain name of a general purpose bucket'],
    [bridge({ uploads: 'acme-u', exports: 'acme--x-s3' }), 'plain name of a general purpose bucket'],
    [bridge({ uploads: 'acme-u', exports: 'acme-e', acme: 'x' }), 'place.buckets: must be the plain name'],
    // The credentials of the pool are never sent elsewhere.
    [server, 'place.credentials'],
    [{ ...server, credentials: {} }, 'place.credentials.accessKeyId'],
    [{ ...server, credentials: () => credentials }, 'place.credentials'],
    [{ level: 'silo', credentials }, 'place.endpoint'],
    [{ ...server, credentials, endpoint: 'ftp://x' }, 'must be http://host or https://host'],
    [{ ...server, credentials, endpoint: 'https://u:s3cr3t@x' }, 'must be http://host or https://host'],
    [{ ...server, credentials, endpoint: 'https://x/path' }, 'must be http://host or https://host'],
    [{ ...server, credentials, endpoint: 'https://x?a=b' }, 'must be http://host or https://host'],
    [{ ...server, credentials, region: 'eu/../x' }, 'place.region'],
    [{ ...server, credentials, forcePathStyle: 'yes' }, 'place.forcePathStyle'],
    [{ ...server, credentials, tls: {} }, 'unknown option tls'],
    [{ ...server, credentials, buckets: { uploads: 'u-s' } }, 'must name a bucket for each'],
  ])('that is %j refuses the call, and nothing leaves', async (answer, words) => {
    const { s3, sent } = places.client({
      buckets: ['uploads', 'exports'],
      place: () => answer as StoragePlacement,
    });
    const error = await failure(() =>
      withTenant('acme', () => s3.send(new PutObjectCommand({ Bucket: 'uploads', Key: 'x', Body: 'x' }))),
    );
    expect(error).toEqual(UNPLACED);
    expect((error.cause as Error).message).toContain(words);
    expect(`${error.message} ${(error.cause as Error).message}`).not.toMatch(/s3cr3t|acme/);
    expect(sent).toEqual([]);
  });

  it('that is an error or a promise refuses the call, with the reason as its cause', async () => {
    const cause = new Error('the table is not loaded');
    const { s3, sent } = places.client({
      place: () => {
        throw cause;
      },
    });
    expect(await failure(() => put(s3))).toMatchObject({ code: 'OPERATION_REFUSED', cause });
    const late = places.client({ place: (async () => Promise.reject(cause)) as never });
    expect(await failure(() => put(late.s3))).toEqual(UNPLACED);
    expect([...sent, ...late.sent]).toEqual([]);
  });

  it('is asked for once a second at most, outside of any tenant and call', async () => {
    const asked: unknown[] = [];
    const { s3 } = places.client({
      place: (tenant) => {
        asked.push([tenant, currentScope(), running.getStore()]);
        return { level: 'pool' };
      },
    });
    for (let round = 0; round < 3; round += 1) await put(s3);
    await put(s3, 'acme2');
    expect(asked).toEqual([
      ['acme', undefined, undefined],
      ['acme2', undefined, undefined],
    ]);
    later();
    await put(s3);
    expect(asked).toHaveLength(3);
  });

  it('is read once, into data of our own', async () => {
    let reads = 0;
    const own = { ...places.sessions[0] };
    const { s3, sent } = places.client({
      place: () => ({
        level: 'silo',
        credentials: own,
        buckets: { [places.bucket]: places.buckets[0] },
        get endpoint() {
          reads += 1;
          return places.gateways[0].endpoint;
        },
      }),
    });
    await put(s3);
    Object.assign(own, { accessKeyId: 'other' });
    await put(s3);
    expect(reads).toBe(1);
    expect(sent.map(({ accessKeyId }) => accessKeyId)).toEqual(
      Array.from({ length: 2 }, () => places.sessions[0].accessKeyId),
    );
  });

  it('that needs a call of the tenant itself is refused', async () => {
    const { s3 } = places.client({
      place: (tenant) => {
        void withTenant(tenant, () => s3.send(new GetObjectCommand({ Key: 'x' }))).catch((error: unknown) =>
          inner.push(error),
        );
        return { level: 'pool' };
      },
    });
    const inner: unknown[] = [];
    await put(s3);
    expect(inner).toEqual([
      expect.objectContaining({ why: expect.stringContaining('while tenant.place') as string }),
    ]);
  });

  it('is a function’s', () => {
    expect(() => places.client({ place: { level: 'pool' } as never })).toThrow('must be a function');
  });
});

describe('a silo', () => {
  it('takes its clients’ style and region from its placement', async () => {
    const credentials = { accessKeyId: 'AK', secretAccessKey: 's' };
    const place = (tenant: string): StoragePlacement => ({
      level: 'silo',
      endpoint: 'https://s3.silo.example:8443',
      credentials,
      ...(tenant === 'acme' ? { forcePathStyle: false, region: 'silo-north-1' } : {}),
    });
    const s3 = new S3Client({
      region: 'eu-central-1',
      useDualstackEndpoint: true,
      useAccelerateEndpoint: true,
      tenant: { buckets: ['uploads'], place },
    });
    const sign = (tenant: string) =>
      withTenant(tenant, () => getSignedUrl(s3, new GetObjectCommand({ Key: 'one' })));
    const acme = new URL(await sign('acme'));
    expect(`${acme.host}${acme.pathname}`).toBe('uploads.s3.silo.example:8443/tenants/acme/one');
    expect(acme.searchParams.get('X-Amz-Credential')).toContain('/silo-north-1/s3/');
    const other = new URL(await sign('acme2'));
    expect(`${other.host}${other.pathname}`).toBe('s3.silo.example:8443/uploads/tenants/acme2/one');
    expect(other.searchParams.get('X-Amz-Credential')).toContain('/eu-central-1/s3/');
  });

  it('is not given what tenant.credentials answers for the pool', async () => {
    const asked: string[] = [];
    const { s3, sent } = places.client({
      credentials: (tenant) => {
        asked.push(tenant);
        return Promise.resolve(places.own.options.credentials);
      },
    });
    for (const tenant of ['acme', 'acme2', 'a', 'ac']) await put(s3, tenant);
    expect(asked).toEqual(['acme', 'acme2']);
    expect(sent.map(({ accessKeyId }) => accessKeyId).slice(2)).toEqual(
      places.sessions.map(({ accessKeyId }) => accessKeyId),
    );
  });

  it('signs no URL that outlives its credentials', async () => {
    const expiration = new Date(Date.now() + 600_000);
    const { s3 } = places.client({
      place: () => ({
        level: 'silo',
        endpoint: places.gateways[0].endpoint,
        credentials: { ...places.sessions[0], expiration },
      }),
    });
    const sign = (expiresIn: number) =>
      withTenant('acme', () => getSignedUrl(s3, new GetObjectCommand({ Key: 'x' }), { expiresIn }));
    expect(await sign(500)).toContain('X-Amz-Expires=500');
    expect(await failure(() => sign(700))).toMatchObject({
      why: expect.stringContaining('live longer') as string,
    });
  });

  it('gets its credentials anew with each answer, which is no move', async () => {
    let session = places.sessions[0];
    const { s3, sent } = places.client({
      place: () => ({
        level: 'silo',
        endpoint: places.gateways[0].endpoint,
        credentials: session,
        buckets: { [places.bucket]: places.buckets[0] },
      }),
    });
    await put(s3);
    [, session] = places.sessions;
    await put(s3);
    later();
    await put(s3);
    const [first, second] = places.sessions.map(({ accessKeyId }) => accessKeyId);
    expect(sent.map(({ accessKeyId }) => accessKeyId)).toEqual([first, first, second]);
  });
});

describe('a move', () => {
  let at: string;
  beforeEach(() => {
    at = 'acme';
  });
  const place = (tenant: string): StoragePlacement => places.place(tenant === 'acme' ? at : tenant);
  const stored = (tenant: string) =>
    places.read(places.bucketOf(tenant), 'tenants/acme/key').catch((error: unknown) => (error as Error).name);

  it.each([
    ['acme', 'acme2'],
    ['acme2', 'a'],
    ['a', 'ac'],
    ['ac', 'acme'],
  ])('from the place of %s to that of %s works behind the fence', async (from, to) => {
    at = from;
    const { s3 } = places.client({ place, fence });
    await put(s3, 'acme', 'before');
    expect(await stored(from)).toBe('before');
    await fence.freeze('acme');
    expect(await failure(() => put(s3))).toMatchObject({ code: 'TENANT_FENCED' });
    at = to;
    later();
    expect(await failure(() => put(s3))).toMatchObject({ code: 'TENANT_FENCED' });
    await fence.unfreeze('acme');
    await put(s3, 'acme', 'after');
    expect(await stored(to)).toBe('after');
    expect(await stored(from)).toBe('before');
  });

  it('without a fence is refused, since others may still write to the old place', async () => {
    const { s3, sent } = places.client({ place });
    await put(s3, 'acme', 'before');
    at = 'acme2';
    await put(s3, 'acme', 'still before');
    later();
    sent.length = 0;
    for (let round = 0; round < 2; round += 1)
      expect(await failure(() => put(s3))).toMatchObject({
        why: expect.stringContaining('without a fence') as string,
      });
    expect(sent).toEqual([]);
    expect(await stored('acme')).toBe('still before');
    at = 'acme';
    await put(s3);
  });

  it('is believed only when the tenant may work again', async () => {
    const { s3 } = places.client({ place, fence });
    await put(s3);
    await fence.freeze('acme');
    at = 'a';
    later();
    await failure(() => put(s3));
    at = 'ac';
    await fence.unfreeze('acme');
    await put(s3, 'acme', 'there');
    expect(await stored('ac')).toBe('there');
  });

  it.each(['frozen', 'moved'])('reaches a call that is under way: %s', async (how) => {
    const { s3, sent } = places.client({ place, fence });
    await put(s3, 'acme', 'before');
    sent.length = 0;
    const command = new PutObjectCommand({ Key: 'key', Body: 'late' });
    s3.middlewareStack.add(
      (next) => async (args) => {
        await fence.freeze('acme');
        at = 'acme2';
        later();
        if (how === 'moved') await fence.unfreeze('acme');
        return next(args);
      },
      { step: 'initialize' },
    );
    const error = await failure(() => withTenant('acme', () => s3.send(command)));
    expect(error).toMatchObject(
      how === 'frozen'
        ? { code: 'TENANT_FENCED' }
        : { why: expect.stringContaining('moved to another place') as string },
    );
    expect(sent).toEqual([]);
    expect(await stored('acme')).toBe('before');
  });
});
