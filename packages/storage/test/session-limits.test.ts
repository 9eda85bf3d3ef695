import * as raw from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import {
  DeleteObjectCommand,
  PutObjectCommand,
  S3Client,
  storageAuditor,
  storageBackstop,
} from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { describe, expect, it } from 'vitest';
import { putRetained } from './erase-support.ts';
import { open, type Opened } from './open.ts';
import { openRole, type Session } from './role.ts';
import { openTopic } from './topic.ts';

// What no policy of a session closes on Ceph 16, and what does: each stands in docs/credentials.md.

const policyOf = ({ bucket }: Opened) => storageBackstop('acme', { bucket, server: 'ceph' }).sessionPolicy;

function guarded({ options, bucket }: Opened, credentials: Session): S3Client & Disposable {
  const s3 = new S3Client({ ...options, credentials, tenant: { buckets: [bucket] } });
  return Object.assign(s3, { [Symbol.dispose]: () => s3.destroy() });
}

const statusOf = async (url: string, method: string, headers: Record<string, string> = {}) =>
  (await fetch(url, { method, headers })).status;

describe('events of a bucket', () => {
  it('are sent where a session wants it, if its user owns the bucket; the audit finds it', async () => {
    await using own = await open();
    await using role = await openRole(own);
    const session = await role.session(policyOf(own));
    const client = new raw.S3Client({ ...own.options, credentials: session });
    await using topic = await openTopic(own, session);
    const NotificationConfiguration = {
      TopicConfigurations: [{ Id: 'x', TopicArn: topic.arn, Events: ['s3:ObjectCreated:*' as const] }],
    };
    const input = { Bucket: own.bucket, NotificationConfiguration };
    const found = async () => {
      const events: string[] = [];
      for await (const { code, name } of storageAuditor(own.s3, { bucket: own.bucket }).audit())
        if (code === 'events_sent') events.push(name ?? '');
      return events;
    };
    expect(await found()).toEqual([]);
    const { $metadata } = await client.send(new raw.PutBucketNotificationConfigurationCommand(input));
    expect($metadata.httpStatusCode).toBe(200);
    expect(await found()).toEqual([topic.arn]);
    // The control: what the policy does hold it to.
    const other = { Bucket: own.bucket, Key: 'tenants/acme2/a' };
    await own.raw.send(new raw.PutObjectCommand({ ...other, Body: 'x' }));
    await expect(client.send(new raw.GetObjectCommand(other))).rejects.toMatchObject({
      $metadata: { httpStatusCode: 403 },
    });
    client.destroy();
  });
});

it('a session learns which keys others have, if its user owns the bucket', async () => {
  await using own = await open();
  await using role = await openRole(own);
  const client = new raw.S3Client({ ...own.options, credentials: await role.session(policyOf(own)) });
  const there = { Bucket: own.bucket, Key: 'tenants/acme2/there' };
  await own.raw.send(new raw.PutObjectCommand({ ...there, Body: 'x' }));
  const head = (Key: string) =>
    client.send(new raw.HeadObjectCommand({ Bucket: own.bucket, Key })).catch((error: unknown) => error);
  expect(await head(there.Key)).toMatchObject({ $metadata: { httpStatusCode: 403 } });
  expect(await head('tenants/acme2/not there')).toMatchObject({ $metadata: { httpStatusCode: 404 } });
  client.destroy();
});

describe('an ACL beside a copy', () => {
  it('opens the copy in spite of the policy, unless the bucket ignores it or the URL is for Ceph', async () => {
    await using own = await open();
    await using role = await openRole(own);
    using s3 = guarded(own, await role.session(policyOf(own)));
    const put = (Key: string, server: 'aws' | 'ceph') =>
      withTenant('acme', async () => {
        const url = await getSignedUrl(s3, new PutObjectCommand({ Key }), { tenant: { server } });
        return statusOf(url, 'PUT', {
          'x-amz-copy-source': `${own.bucket}/tenants/acme/private`,
          'x-amz-acl': 'public-read',
        });
      });
    const anonymous = (Key: string) =>
      statusOf(`${own.options.endpoint}/${own.bucket}/tenants/acme/${Key}`, 'GET');
    await withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'private', Body: 'x' })));
    expect(await put('a', 'aws')).toBe(200);
    expect(await anonymous('a')).toBe(200);
    expect(await anonymous('private')).toBe(403);
    expect(await put('b', 'ceph')).toBe(403);
    await own.raw.send(
      new raw.PutPublicAccessBlockCommand({
        Bucket: own.bucket,
        PublicAccessBlockConfiguration: { IgnorePublicAcls: true },
      }),
    );
    expect(await put('c', 'aws')).toBe(200);
    for (const key of ['a', 'c']) expect(await anonymous(key)).toBe(403);
  });
});

describe('a governance retention', () => {
  const NO_BYPASS = {
    Effect: 'Deny',
    Action: ['s3:BypassGovernanceRetention'],
    Resource: ['arn:aws:s3:::*'],
  };

  /** What a presigned DELETE of a retained version is answered with an unsigned header to pass by. */
  async function bypass(own: Opened, s3: S3Client): Promise<number> {
    const VersionId = await putRetained(own, 'tenants/acme/kept');
    const url = await withTenant('acme', () =>
      getSignedUrl(s3, new DeleteObjectCommand({ Key: 'kept', VersionId })),
    );
    expect(await statusOf(url, 'DELETE')).toBe(403);
    return statusOf(url, 'DELETE', { 'x-amz-bypass-governance-retention': 'true' });
  }

  it.each<[string, object[], object[], number]>([
    ['nothing', [], [], 204],
    ['the policy of the session', [], [NO_BYPASS], 204],
    ['the policy of the role', [NO_BYPASS], [], 403],
  ])('is passed by with a session as far as it is denied by %s', async (_, statements, further, status) => {
    await using own = await open({ traits: { objectLock: true } });
    await using role = await openRole(own, { statements });
    const { Statement, Version } = policyOf(own);
    using s3 = guarded(own, await role.session({ Version, Statement: [...Statement, ...further] }));
    expect(await bypass(own, s3)).toBe(status);
  });

  it('is passed by with keys of the service unless the policy of the bucket denies it', async () => {
    await using own = await open({ traits: { objectLock: true } });
    expect(await bypass(own, own.s3)).toBe(204);
    const Statement = [
      { ...NO_BYPASS, Principal: { AWS: ['*'] }, Resource: [`arn:aws:s3:::${own.bucket}/*`] },
    ];
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
    await own.raw.send(new raw.PutBucketPolicyCommand({ Bucket: own.bucket, Policy }));
    expect(await bypass(own, own.s3)).toBe(403);
    await own.raw.send(new raw.DeleteBucketPolicyCommand({ Bucket: own.bucket }));
  });
});
