import { randomBytes } from 'node:crypto';
import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { GetObjectAclCommand, GetObjectCommand } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { withTenant } from '@tenantkit/core';
import {
  DeleteObjectCommand,
  PutObjectCommand,
  S3Client,
  storageBackstop,
  type PolicyStatement,
} from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drop, send, set } from './forms.ts';
import { open, type Opened } from './open.ts';

// Forms and URLs that credentials of one tenant have signed: what nothing in a signature closes, they do.

let own: Opened;
let iam: IAMClient;
/** With the credentials of acme, and with those that may open an object by an ACL. */
let s3: S3Client;
let lax: S3Client;
let sessionToken: string | undefined;
const RoleName = `tk-test-${randomBytes(4).toString('hex')}`;
const PolicyName = 'all';

beforeAll(async () => {
  own = await open();
  const { endpoint, region, credentials } = own.options;
  iam = new IAMClient({ endpoint, region, credentials });
  const trust = { Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['sts:AssumeRole'] };
  const everything = { Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] };
  const policy = (statement: object): string =>
    JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
  const AssumeRolePolicyDocument = policy(trust);
  const { Role } = await iam.send(new CreateRoleCommand({ RoleName, Path: '/', AssumeRolePolicyDocument }));
  await iam.send(new PutRolePolicyCommand({ RoleName, PolicyName, PolicyDocument: policy(everything) }));
  const sts = new STSClient({ endpoint, region, credentials });
  const assume = async (change: (statement: PolicyStatement) => object): Promise<S3Client> => {
    const { sessionPolicy } = storageBackstop('acme', { bucket: own.bucket, server: 'ceph' });
    const Policy = JSON.stringify({
      ...sessionPolicy,
      Statement: sessionPolicy.Statement.map(change),
    });
    const { Credentials } = await sts.send(
      new AssumeRoleCommand({ RoleArn: Role?.Arn, RoleSessionName: 'acme', Policy }),
    );
    sessionToken ??= Credentials?.SessionToken ?? '';
    const session = {
      accessKeyId: Credentials?.AccessKeyId ?? '',
      secretAccessKey: Credentials?.SecretAccessKey ?? '',
      sessionToken: Credentials?.SessionToken ?? '',
    };
    return new S3Client({ ...own.options, credentials: session, tenant: { buckets: [own.bucket] } });
  };
  s3 = await assume((statement) => statement);
  lax = await assume(({ Condition: { StringLike, ...closed } = {}, ...rest }) => {
    expect(Object.keys(closed).length).toBe(rest.Sid === 'OwnObjects' ? 1 : 0);
    return { ...rest, ...(StringLike && { Condition: { StringLike } }) };
  });
  sts.destroy();
});

afterAll(async () => {
  await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName }));
  await iam.send(new DeleteRoleCommand({ RoleName }));
  iam.destroy();
  s3.destroy();
  lax.destroy();
  await own[Symbol.asyncDispose]();
});

describe('credentials of a tenant', () => {
  it('sign a form with their token, which its policy holds', async () => {
    const options = {
      Key: 'one',
      Fields: { 'Content-Type': 'text/plain' },
      Conditions: [['content-length-range', 0, 100] as const],
    };
    const form = await withTenant('acme', () => createPresignedPost(s3, options));
    expect(form.fields['X-Amz-Security-Token']).toBe(sessionToken);
    expect((await send(form)).status).toBe(204);
    expect((await send(form, drop('X-Amz-Security-Token'))).status).toBe(403);
    expect((await send(form, set('X-Amz-Security-Token', 'another'))).status).toBe(403);
    expect((await send(form, set('key', 'tenants/acme2/one'))).status).toBe(403);
    // Signed for another tenant, by mistake: the server itself refuses it.
    const other = await withTenant('acme2', () => createPresignedPost(s3, options));
    expect((await send(other)).status).toBe(403);
  });

  /** Sends a presigned PUT with a header that was not signed; what is then in the object. */
  const put = async (client: S3Client, name: string, value: string) => {
    await withTenant('acme2', () => own.s3.send(new PutObjectCommand({ Key: 'secret', Body: 'of acme2' })));
    await withTenant('acme', () => own.s3.send(new DeleteObjectCommand({ Key: 'x' })));
    const url = await withTenant('acme', () => getSignedUrl(client, new PutObjectCommand({ Key: 'x' })));
    const plain = await fetch(url, { method: 'PUT', body: 'plain' });
    const headers = { [name]: value.replace('BUCKET', own.bucket) };
    const { status } = await fetch(url, { method: 'PUT', headers, body: 'x' });
    const at = { Bucket: own.bucket, Key: 'tenants/acme/x' };
    const object = await own.raw.send(new GetObjectCommand(at));
    const { Grants = [] } = await own.raw.send(new GetObjectAclCommand(at));
    return {
      plain: plain.status,
      status,
      body: await object.Body?.transformToString(),
      grants: Grants.length,
      metadata: object.Metadata,
      tags: object.TagCount,
      website: object.WebsiteRedirectLocation,
    };
  };
  const PLAIN = { plain: 200, grants: 1, metadata: {}, tags: undefined, website: undefined };

  it.each([
    ['x-amz-copy-source', '/BUCKET/tenants/acme2/secret'],
    ['x-amz-copy-source', 'BUCKET%2Ftenants%2Facme2%2Fsecret'],
    ['x_amz_copy_source', '/BUCKET/tenants/acme2/secret'],
  ])('close what a PUT leaves open on this server, the unsigned header %s: %s', async (name, value) => {
    expect(await put(own.s3, name, value)).toEqual({ ...PLAIN, status: 200, body: 'of acme2' });
    expect(await put(s3, name, value)).toEqual({ ...PLAIN, status: 403, body: 'plain' });
  });

  it('close the unsigned header x-amz-acl, because their policy denies it', async () => {
    const opened = { ...PLAIN, status: 200, body: 'x', grants: 2 };
    expect(await put(own.s3, 'x-amz-acl', 'public-read')).toEqual(opened);
    expect(await put(lax, 'x-amz-acl', 'public-read')).toEqual(opened);
    expect(await put(s3, 'x-amz-acl', 'public-read')).toEqual({ ...PLAIN, status: 403, body: 'plain' });
    expect(await put(s3, 'x-amz-acl', 'private')).toEqual({ ...PLAIN, status: 200, body: 'x' });
  });

  it('sign URLs that take no such header', async () => {
    const closed = await withTenant('acme', () =>
      getSignedUrl(s3, new PutObjectCommand({ Key: 'closed' }), { tenant: { server: 'ceph' } }),
    );
    for (const name of ['x-amz-acl', 'x-amz-tagging', 'x-amz-website-redirect-location'])
      expect((await fetch(closed, { method: 'PUT', headers: { [name]: 'private' }, body: 'x' })).status).toBe(
        403,
      );
    expect((await fetch(closed, { method: 'PUT', body: 'x' })).status).toBe(200);
  });

  it.each([
    ['x-amz-meta-a', 'b', { metadata: { a: 'b' } }],
    ['x-amz-tagging', 'a=b', { tags: 1 }],
    ['x-amz-website-redirect-location', '/x', { website: '/x' }],
  ])('leave the unsigned header %s to whoever has the URL', async (name, value, change) => {
    const changed = { ...PLAIN, status: 200, body: 'x', ...change };
    expect(await put(own.s3, name, value)).toEqual(changed);
    expect(await put(s3, name, value)).toEqual(changed);
  });
});
