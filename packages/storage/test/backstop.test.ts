import {
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client as RawS3Client,
} from '@aws-sdk/client-s3';
import { ConfigError, InvalidTenantError, withTenant } from '@tenantkit/core';
import { S3Client, storageBackstop, storagePrincipalPolicy } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { confinement, type Confinement } from './confined.ts';
import { open, type Opened } from './open.ts';
import { openRole, type OpenedRole, type Session } from './role.ts';

// The second lock: here the requests are made with the RAW client, so nothing of this package stands in their way.

let own: Opened;
let role: OpenedRole;
const opened: RawS3Client[] = [];
let server: Confinement;

beforeAll(async () => {
  own = await open({ traits: { versioned: true } });
  role = await openRole(own);
  server = await confinement(own);
});

afterAll(async () => {
  await role[Symbol.asyncDispose]();
  for (const client of opened) client.destroy();
  await own[Symbol.asyncDispose]();
});

const policyOf = (tenant: string) => storageBackstop(tenant, { bucket: own.bucket, server: 'ceph' });

function rawWith(credentials: Session): RawS3Client {
  const client = new RawS3Client({ ...own.options, credentials });
  opened.push(client);
  return client;
}

const at = (tenant: string, key = 'one') => ({ Bucket: own.bucket, Key: `tenants/${tenant}/${key}` });

describe('a session policy', () => {
  it('confines the raw client to the tenant', async () => {
    const { sessionPolicy } = policyOf('acme');
    expect(await server.deviations(rawWith(await role.session(sessionPolicy)))).toEqual([]);
  });

  it('is what confines it: the role alone reaches every tenant', async () => {
    const reached = await server.reached(rawWith(await role.session()));
    for (const what of ['read', 'write', 'copy', 'list', 'list of versions', 'part', 'writing of tags'])
      expect(reached).toContain(`${what} of acme2`);
  });

  it('closes what a presigned URL leaves open: an unsigned copy source', async () => {
    const { sessionPolicy } = policyOf('acme');
    const steal = async (credentials: Session) => {
      const s3 = new S3Client({ ...own.options, credentials, tenant: { buckets: [own.bucket] } });
      opened.push(s3);
      const url = await withTenant('acme', () =>
        getSignedUrl(s3, new PutObjectCommand({ ...at('x'), Key: 'loot' })),
      );
      const headers = { 'x-amz-copy-source': `/${own.bucket}/tenants/acme2/one` };
      return (await fetch(url, { method: 'PUT', headers })).status;
    };
    expect(await steal(await role.session(sessionPolicy))).toBe(403);
    // Without it this server copies, which is what the README says.
    expect(await steal(await role.session())).toBe(200);
    const loot = await own.raw.send(new GetObjectCommand(at('acme', 'loot')));
    expect(await loot.Body?.transformToString()).toBe('of acme2');
  });

  it('lets the guarded client do all that it can do', async () => {
    const { sessionPolicy } = policyOf('acme');
    const credentials = await role.session(sessionPolicy);
    const s3 = new S3Client({ ...own.options, credentials, tenant: { buckets: [own.bucket] } });
    opened.push(s3);
    await withTenant('acme', async () => {
      await s3.send(new PutObjectCommand({ Bucket: own.bucket, Key: 'two', Body: 'x' }));
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: own.bucket, Prefix: 'tw' }));
      expect(Contents.map(({ Key }) => Key)).toEqual(['two']);
      await s3.send(new DeleteObjectCommand({ Bucket: own.bucket, Key: 'two' }));
    });
    const other = withTenant('acme2', () =>
      s3.send(new GetObjectCommand({ Bucket: own.bucket, Key: 'one' })),
    );
    await expect(other).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  it('follows the name template', () => {
    const { sessionPolicy } = storageBackstop('acme', { bucket: 'uploads', names: 'customers/{tenant}/' });
    expect(JSON.stringify(sessionPolicy)).toContain('arn:aws:s3:::uploads/customers/acme/*');
    expect(JSON.stringify(sessionPolicy)).not.toContain('tenants/');
  });
});

describe('a bucket policy', () => {
  it('confines the tenant’s own principal, whatever its role allows', async () => {
    const { bucketPolicy } = storageBackstop('acme', {
      bucket: own.bucket,
      principals: [role.arn],
      server: 'ceph',
    });
    const Policy = JSON.stringify(bucketPolicy);
    await own.raw.send(new PutBucketPolicyCommand({ Bucket: own.bucket, Policy }));
    try {
      expect(await server.deviations(rawWith(await role.session()))).toEqual([]);
    } finally {
      await own.raw.send(new DeleteBucketPolicyCommand({ Bucket: own.bucket }));
    }
  });

  it('is not made without a principal', () => {
    expect(storageBackstop('acme', { bucket: 'uploads' })).not.toHaveProperty('bucketPolicy');
  });
});

describe('the length of a session policy', () => {
  const LONGEST = 'x'.repeat(64);
  const buckets = (count: number, length: number) =>
    Array.from({ length: count }, (_, index) => `${index}`.padEnd(length, 'b'));
  const lengthOf = (tenant: string, bucket: readonly string[], server: 'aws' | 'ceph') =>
    JSON.stringify(storageBackstop(tenant, { bucket, server }).sessionPolicy).length;

  it.each([
    [LONGEST, 1, 63],
    ['x'.repeat(36), 3, 30],
  ])('fits for the tenant %s in %i buckets of %i characters', (tenant, count, length) => {
    for (const name of ['aws', 'ceph'] as const)
      expect(lengthOf(tenant, buckets(count, length), name)).toBeLessThanOrEqual(2048);
  });

  it('is looked at: STS would refuse what is longer', () => {
    for (const name of ['aws', 'ceph'] as const) {
      expect(() => lengthOf(LONGEST, buckets(4, 63), name)).toThrow(ConfigError);
      expect(() => lengthOf(LONGEST, buckets(4, 63), name)).toThrow('longer than 2048 characters');
    }
  });

  it('is that which this server takes', async () => {
    let count = 1;
    const tenant = 'x'.repeat(20);
    const policy = (some: number) =>
      storageBackstop(tenant, { bucket: buckets(some, 20), server: 'ceph' }).sessionPolicy;
    for (; ; count += 1)
      try {
        policy(count + 1);
      } catch {
        break;
      }
    expect(count).toBeGreaterThan(2);
    expect((await role.session(policy(count))).sessionToken).not.toBe('');
  });
});

describe('a policy for all tenants', () => {
  it('has the tag of the principal where the tenant stands', () => {
    const { Statement } = storagePrincipalPolicy({ bucket: ['uploads', 'exports'], names: 'of/{tenant}/' });
    const tag = '${aws:PrincipalTag/tenant_id}';
    const text = JSON.stringify(Statement);
    expect(Statement.map(({ Effect }) => Effect)).toEqual(['Allow', 'Allow', 'Allow']);
    expect(Statement[0]?.Resource).toEqual([
      `arn:aws:s3:::uploads/of/${tag}/*`,
      `arn:aws:s3:::exports/of/${tag}/*`,
    ]);
    expect(Statement[1]?.Condition).toEqual({ StringLike: { 's3:prefix': [`of/${tag}/*`] } });
    expect(Statement[2]?.Resource?.[0]).toBe(`arn:aws:s3:::uploads/tk!subjects/${tag}/*`);
    const one = storageBackstop('acme', { bucket: ['uploads', 'exports'], names: 'of/{tenant}/' });
    expect(JSON.parse(text.replaceAll(tag, 'acme'))).toEqual(one.sessionPolicy.Statement);
  });
});

describe('the options', () => {
  it.each([
    [{}, 'bucket'],
    [{ bucket: 'arn:aws:s3:::x' }, 'bucket'],
    [{ bucket: 'uploads/*' }, 'bucket'],
    [{ bucket: 'uploads', names: '{tenant}' }, 'name template'],
    [{ bucket: 'uploads', principals: ['*'] }, 'principals'],
    [{ bucket: 'uploads', principals: [] }, 'principals'],
    [{ bucket: [] }, 'bucket'],
    [{ bucket: ['uploads', 'x/y'] }, 'bucket'],
    [{ bucket: ['uploads', 'exports'], principals: ['arn:aws:iam::1:role/x'] }, 'one bucket at a time'],
    [{ bucket: 'uploads', server: 'minio' }, 'server'],
    [{ bucket: 'uploads', prefix: 'x' }, 'unknown option "prefix"; there are bucket'],
  ])('%j are refused', (options, words) => {
    expect(() => storageBackstop('acme', options as never)).toThrow(ConfigError);
    expect(() => storageBackstop('acme', options as never)).toThrow(words);
    if ('principals' in options) return;
    expect(() => storagePrincipalPolicy(options as never)).toThrow(words);
  });

  it('refuse what is no tenant', () => {
    expect(() => storageBackstop('*', { bucket: 'uploads' })).toThrow(InvalidTenantError);
  });
});
