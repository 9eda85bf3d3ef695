import { randomBytes } from 'node:crypto';
import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import {
  CopyObjectCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  GetBucketAclCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  S3Client as RawS3Client,
} from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { ConfigError, InvalidTenantError, withTenant } from '@tenantkit/core';
import { S3Client, storageBackstop } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// The second lock: here the requests are made with the RAW client, so nothing of this package stands in their way.

let own: Opened;
let iam: IAMClient;
let sts: STSClient;
let role: { readonly name: string; readonly arn: string };
const opened: RawS3Client[] = [];

beforeAll(async () => {
  own = await open();
  const { endpoint, region, credentials } = own.options;
  iam = new IAMClient({ endpoint, region, credentials });
  sts = new STSClient({ endpoint, region, credentials });
  const name = `tk-test-${randomBytes(4).toString('hex')}`;
  const trust = { Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['sts:AssumeRole'] };
  const { Role } = await iam.send(
    new CreateRoleCommand({ RoleName: name, Path: '/', AssumeRolePolicyDocument: policy([trust]) }),
  );
  role = { name, arn: Role?.Arn ?? '' };
  // The role itself may do everything, so that what is refused is refused by the tenant's policy alone.
  const everything = { Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] };
  await iam.send(
    new PutRolePolicyCommand({ RoleName: name, PolicyName: 'all', PolicyDocument: policy([everything]) }),
  );
  for (const tenant of TENANTS) {
    await own.raw.send(
      new PutObjectCommand({ Bucket: own.bucket, Key: `tenants/${tenant}/one`, Body: `of ${tenant}` }),
    );
  }
});

afterAll(async () => {
  await iam.send(new DeleteRolePolicyCommand({ RoleName: role.name, PolicyName: 'all' }));
  await iam.send(new DeleteRoleCommand({ RoleName: role.name }));
  for (const client of [iam, sts, ...opened]) client.destroy();
  await own[Symbol.asyncDispose]();
});

function policy(Statement: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

/** Credentials of a session of the role, confined by the given policy or not at all. */
async function session(Policy?: string) {
  const { Credentials } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: role.arn,
      RoleSessionName: 'test',
      ...(Policy === undefined ? {} : { Policy }),
    }),
  );
  return {
    accessKeyId: Credentials?.AccessKeyId ?? '',
    secretAccessKey: Credentials?.SecretAccessKey ?? '',
    sessionToken: Credentials?.SessionToken ?? '',
  };
}

function rawWith(credentials: Awaited<ReturnType<typeof session>>): RawS3Client {
  const client = new RawS3Client({ ...own.options, credentials });
  opened.push(client);
  return client;
}

type Call = (client: RawS3Client) => Promise<unknown>;

const at = (tenant: string, key = 'one') => ({ Bucket: own.bucket, Key: `tenants/${tenant}/${key}` });
const list =
  (Prefix?: string): Call =>
  (client) =>
    client.send(
      new ListObjectsV2Command({ Bucket: own.bucket, ...(Prefix === undefined ? {} : { Prefix }) }),
    );

/** What acme may do. */
const ALLOWED: Record<string, Call> = {
  read: (client) => client.send(new GetObjectCommand(at('acme'))),
  head: (client) => client.send(new HeadObjectCommand(at('acme'))),
  write: (client) => client.send(new PutObjectCommand({ ...at('acme', 'new'), Body: 'x' })),
  copy: (client) =>
    client.send(
      new CopyObjectCommand({ ...at('acme', 'copy'), CopySource: `${own.bucket}/tenants/acme/one` }),
    ),
  delete: (client) => client.send(new DeleteObjectCommand(at('acme', 'new'))),
  list: list('tenants/acme/'),
  'list a folder': list('tenants/acme/folder/'),
};

const OTHERS = TENANTS.filter((tenant) => tenant !== 'acme');

/** What acme may not do. */
const REFUSED: Record<string, Call> = {
  ...Object.fromEntries(
    OTHERS.flatMap((tenant) => [
      [`read of ${tenant}`, (client: RawS3Client) => client.send(new GetObjectCommand(at(tenant)))],
      [
        `write to ${tenant}`,
        (client: RawS3Client) => client.send(new PutObjectCommand({ ...at(tenant), Body: 'x' })),
      ],
      [`delete of ${tenant}`, (client: RawS3Client) => client.send(new DeleteObjectCommand(at(tenant)))],
      [`list of ${tenant}`, list(`tenants/${tenant}/`)],
    ]),
  ),
  'head of acme2': (client) => client.send(new HeadObjectCommand(at('acme2'))),
  'copy from acme2': (client) =>
    client.send(
      new CopyObjectCommand({ ...at('acme', 'stolen'), CopySource: `${own.bucket}/tenants/acme2/one` }),
    ),
  'copy to acme2': (client) =>
    client.send(new CopyObjectCommand({ ...at('acme2'), CopySource: `${own.bucket}/tenants/acme/one` })),
  'list of everything': list(),
  'list with an empty prefix': list(''),
  'list of all tenants': list('tenants/'),
  'list without the final slash': list('tenants/acme'),
  'list of versions': (client) => client.send(new ListObjectVersionsCommand({ Bucket: own.bucket })),
  'read of the ACL': (client) => client.send(new GetBucketAclCommand({ Bucket: own.bucket })),
  'write of an ACL': (client) => client.send(new PutObjectAclCommand({ ...at('acme'), ACL: 'public-read' })),
  'change of the policy': (client) => client.send(new DeleteBucketPolicyCommand({ Bucket: own.bucket })),
};

/** Where the client of acme is not confined as it should be: nothing, when all is well. */
async function deviations(client: RawS3Client): Promise<string[]> {
  const found: string[] = [];
  for (const [what, call] of Object.entries(ALLOWED)) {
    const status = await statusOf(() => call(client));
    if (!(status >= 200 && status < 300)) found.push(`${what}: ${status}`);
  }
  for (const [what, call] of Object.entries(REFUSED)) {
    const status = await statusOf(() => call(client));
    if (status !== 403) found.push(`${what}: ${status}`);
  }
  for (const tenant of TENANTS) {
    const { Body } = await own.raw.send(new GetObjectCommand(at(tenant)));
    if ((await Body?.transformToString()) !== `of ${tenant}`) found.push(`${tenant} was changed`);
  }
  return found;
}

async function statusOf(call: () => Promise<unknown>): Promise<number> {
  const answer = (await call().catch((error: unknown) => error)) as {
    $metadata?: { httpStatusCode?: number };
  };
  return answer.$metadata?.httpStatusCode ?? 0;
}

describe('a session policy', () => {
  it('confines the raw client to the tenant', async () => {
    const { sessionPolicy } = storageBackstop('acme', { bucket: own.bucket });
    expect(await deviations(rawWith(await session(JSON.stringify(sessionPolicy))))).toEqual([]);
  });

  it('is what confines it: the role alone reaches every tenant', async () => {
    const client = rawWith(await session());
    for (const tenant of TENANTS)
      expect(await statusOf(() => client.send(new GetObjectCommand(at(tenant))))).toBe(200);
    expect(await statusOf(() => list()(client))).toBe(200);
  });

  it('closes what a presigned URL leaves open: an unsigned copy source', async () => {
    const { sessionPolicy } = storageBackstop('acme', { bucket: own.bucket });
    const steal = async (
      credentials: S3Client['config']['credentials'] | Awaited<ReturnType<typeof session>>,
    ) => {
      const s3 = new S3Client({ ...own.options, credentials, tenant: { buckets: [own.bucket] } });
      opened.push(s3);
      const url = await withTenant('acme', () =>
        getSignedUrl(s3, new PutObjectCommand({ ...at('x'), Key: 'loot' })),
      );
      const headers = { 'x-amz-copy-source': `/${own.bucket}/tenants/acme2/one` };
      return (await fetch(url, { method: 'PUT', headers })).status;
    };
    expect(await steal(await session(JSON.stringify(sessionPolicy)))).toBe(403);
    // Without it this server copies, which is what the README says.
    expect(await steal(await session())).toBe(200);
    const loot = await own.raw.send(new GetObjectCommand(at('acme', 'loot')));
    expect(await loot.Body?.transformToString()).toBe('of acme2');
  });

  it('lets the guarded client do all that it can do', async () => {
    const { sessionPolicy } = storageBackstop('acme', { bucket: own.bucket });
    const credentials = await session(JSON.stringify(sessionPolicy));
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
    const { bucketPolicy } = storageBackstop('acme', { bucket: own.bucket, principals: [role.arn] });
    const Policy = JSON.stringify(bucketPolicy);
    await own.raw.send(new PutBucketPolicyCommand({ Bucket: own.bucket, Policy }));
    try {
      expect(await deviations(rawWith(await session()))).toEqual([]);
    } finally {
      await own.raw.send(new DeleteBucketPolicyCommand({ Bucket: own.bucket }));
    }
  });

  it('is not made without a principal', () => {
    expect(storageBackstop('acme', { bucket: 'uploads' })).not.toHaveProperty('bucketPolicy');
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
    [{ bucket: 'uploads', prefix: 'x' }, 'unknown option "prefix"; there are bucket'],
  ])('%j are refused', (options, words) => {
    expect(() => storageBackstop('acme', options as never)).toThrow(ConfigError);
    expect(() => storageBackstop('acme', options as never)).toThrow(words);
  });

  it('refuse what is no tenant', () => {
    expect(() => storageBackstop('*', { bucket: 'uploads' })).toThrow(InvalidTenantError);
  });
});
