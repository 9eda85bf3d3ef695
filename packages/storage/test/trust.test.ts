import { GetObjectCommand, ListBucketsCommand, S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { ConfigError } from '@tenantkit/core';
import { storageTrustPolicy, type StorageTrustOptions } from '@tenantkit/storage';
import { assumeTenantRole } from '@tenantkit/storage/sts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { confinement, type Confinement } from './confined.ts';
import { open, type Opened } from './open.ts';
import { openRole, type OpenedRole, type RoleOptions, type Session } from './role.ts';

// Who may assume the role of the tenants: the service, and none of the sessions that it has given out.

/** Ceph's STS answers without a name of the error that the SDK knows. */
const FORBIDDEN = { $metadata: { httpStatusCode: 403 } };

let own: Opened;
let server: Confinement;
/** The service's user. */
let user: string;
const opened: { destroy(): void }[] = [];

beforeAll(async () => {
  own = await open({ traits: { versioned: true } });
  server = await confinement(own);
  const { Owner } = await own.raw.send(new ListBucketsCommand({}));
  user = `arn:aws:iam:::user/${Owner?.ID ?? ''}`;
});
afterAll(async () => {
  for (const client of opened) client.destroy();
  await own[Symbol.asyncDispose]();
});

const trustOf = (roleArn: string) => storageTrustPolicy({ roleArn, principals: [user], server: 'ceph' });

async function sessionOf({ sts, arn }: OpenedRole, tenant: string): Promise<Session> {
  const given = { client: sts, roleArn: arn, buckets: [own.bucket], server: 'ceph' } as const;
  return (await assumeTenantRole(given)(tenant)) as Session;
}

/** Assumes the role with the credentials of a session of it, and without a session policy; reads another tenant. */
async function again({ arn }: OpenedRole, credentials: Session): Promise<string | undefined> {
  const { endpoint, region } = own.options;
  const sts = new STSClient({ endpoint, region, credentials });
  opened.push(sts);
  const { Credentials } = await sts.send(new AssumeRoleCommand({ RoleArn: arn, RoleSessionName: 'again' }));
  const raw = new RawS3Client({
    ...own.options,
    credentials: {
      accessKeyId: Credentials?.AccessKeyId ?? '',
      secretAccessKey: Credentials?.SecretAccessKey ?? '',
      sessionToken: Credentials?.SessionToken ?? '',
    },
  });
  opened.push(raw);
  const { Body } = await raw.send(new GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' }));
  return Body?.transformToString();
}

describe('a session of the role', () => {
  it.each<[string, RoleOptions]>([
    ['at the root', { trust: trustOf }],
    ['with a path', { trust: trustOf, path: '/apps/files/' }],
  ])('does not assume it again, %s', async (_, options) => {
    await using role = await openRole(own, options);
    const session = await sessionOf(role, 'acme');
    const raw = new RawS3Client({ ...own.options, credentials: session });
    opened.push(raw);
    expect(await server.deviations(raw)).toEqual([]);
    await expect(again(role, session)).rejects.toMatchObject(FORBIDDEN);
  });

  it.each<[string, RoleOptions]>([
    ['everybody', {}],
    ['the user of the service', { trust: (arn) => withoutDenial(trustOf(arn)) }],
  ])('does so where the trust names %s and denies nothing', async (_, options) => {
    await using role = await openRole(own, options);
    expect(await again(role, await sessionOf(role, 'acme'))).toBe('of acme2');
  });

  it('assumes another role that trusts the user of the service, unless that one denies it as well', async () => {
    await using role = await openRole(own, { trust: trustOf });
    const session = await sessionOf(role, 'acme');
    await using open = await openRole(own, { trust: (arn) => withoutDenial(trustOf(arn)) });
    expect(await again(open, session)).toBe('of acme2');
    const denials = trustOf(role.arn).Statement.filter(({ Effect }) => Effect === 'Deny');
    await using closed = await openRole(own, {
      trust: (arn) => ({ ...trustOf(arn), Statement: [...trustOf(arn).Statement, ...denials] }),
    });
    await expect(again(closed, session)).rejects.toMatchObject(FORBIDDEN);
  });
});

function withoutDenial(policy: ReturnType<typeof trustOf>): ReturnType<typeof trustOf> {
  return { ...policy, Statement: policy.Statement.filter(({ Effect }) => Effect === 'Allow') };
}

describe('the policy', () => {
  const roleArn = 'arn:aws:iam::123456789012:role/apps/tenants';
  const principals = ['arn:aws:iam::123456789012:role/service'];

  it('allows the service, and on Ceph denies the role itself, by the name that Ceph compares', () => {
    const Statement = [
      { Sid: 'Service', Effect: 'Allow', Principal: { AWS: principals }, Action: ['sts:AssumeRole'] },
    ];
    expect(storageTrustPolicy({ roleArn, principals })).toEqual({ Version: '2012-10-17', Statement });
    expect(
      storageTrustPolicy({ roleArn: 'arn:aws:iam::ns:role/apps/tenants', principals, server: 'ceph' }),
    ).toEqual({
      Version: '2012-10-17',
      Statement: [
        ...Statement,
        {
          Sid: 'NoSessions',
          Effect: 'Deny',
          Principal: { AWS: ['arn:aws:iam::ns:role/tenants'] },
          Action: ['sts:AssumeRole'],
        },
      ],
    });
  });

  it.each(['role/tenants', 'role/apps/files/tenants', 'role/a.b/Tenants_1+=,.@-', `role/${'x'.repeat(64)}`])(
    'denies on Ceph the role %s',
    (role) => {
      const options = { roleArn: `arn:aws:iam:::${role}`, principals, server: 'ceph' } as const;
      const name = role.slice(role.lastIndexOf('/') + 1);
      expect(storageTrustPolicy(options).Statement[1]?.Principal?.AWS).toEqual([
        `arn:aws:iam:::role/${name}`,
      ]);
    },
  );

  it('allows tags of sessions where they are asked for', () => {
    const { Statement } = storageTrustPolicy({ roleArn, principals, sessionTags: true });
    expect(Statement.map(({ Action }) => Action)).toEqual([['sts:AssumeRole', 'sts:TagSession']]);
  });

  it.each<[Partial<Record<keyof StorageTrustOptions | 'role', unknown>>, string]>([
    [{ roleArn: undefined }, 'roleArn'],
    [{ roleArn: 'tenants' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:user/x' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/tenants/' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/apps//tenants' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/apps/../tenants' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/apps/..' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:role/*' }, 'roleArn'],
    [{ roleArn: `arn:aws:iam::1:role/${'x'.repeat(65)}` }, 'roleArn'],
    [{ principals: [] }, 'principals'],
    [{ principals: ['*'] }, 'principals'],
    [{ principals: [roleArn] }, 'principals'],
    [{ server: 'minio' }, 'server'],
    [{ sessionTags: 'yes' }, 'sessionTags'],
    [{ server: 'ceph', sessionTags: true }, 'sessionTags'],
    [{ role: 'tenants' }, 'unknown option "role"'],
  ])('refuses %j', (given, words) => {
    const make = () => storageTrustPolicy({ roleArn, principals, ...given } as never);
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(words);
  });
});
