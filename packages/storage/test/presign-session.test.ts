import { randomBytes } from 'node:crypto';
import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { withTenant } from '@tenantkit/core';
import { PutObjectCommand, S3Client, storageBackstop } from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drop, send, set } from './forms.ts';
import { open, type Opened } from './open.ts';

// Forms and URLs that credentials of one tenant have signed: what nothing in a signature closes, they do.

let own: Opened;
let iam: IAMClient;
let s3: S3Client;
let sessionToken: string;
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
  const { sessionPolicy } = storageBackstop('acme', { bucket: own.bucket });
  const { Credentials } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: Role?.Arn,
      RoleSessionName: 'acme',
      Policy: JSON.stringify(sessionPolicy),
    }),
  );
  sts.destroy();
  sessionToken = Credentials?.SessionToken ?? '';
  const session = {
    accessKeyId: Credentials?.AccessKeyId ?? '',
    secretAccessKey: Credentials?.SecretAccessKey ?? '',
    sessionToken,
  };
  s3 = new S3Client({ ...own.options, credentials: session, tenant: { buckets: [own.bucket] } });
});

afterAll(async () => {
  await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName }));
  await iam.send(new DeleteRoleCommand({ RoleName }));
  iam.destroy();
  s3.destroy();
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

  it('close a PUT to sources that are not signed', async () => {
    await withTenant('acme2', () => own.s3.send(new PutObjectCommand({ Key: 'secret', Body: 'of acme2' })));
    await withTenant('acme', () => own.s3.send(new PutObjectCommand({ Key: 'mine', Body: 'of acme' })));
    const copy = async (client: S3Client, source: string): Promise<number> => {
      const url = await withTenant('acme', () => getSignedUrl(client, new PutObjectCommand({ Key: 'copy' })));
      const headers = { 'x-amz-copy-source': `/${own.bucket}/tenants/${source}` };
      return (await fetch(url, { method: 'PUT', headers })).status;
    };
    expect(await copy(own.s3, 'acme2/secret')).toBe(200);
    expect(await copy(s3, 'acme/mine')).toBe(200);
    expect(await copy(s3, 'acme2/secret')).toBe(403);
  });
});
