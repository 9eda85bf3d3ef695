import * as raw from '@aws-sdk/client-s3';
import { isVerified, withTenant } from '@tenantkit/core';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  storageEraser,
  storageTrustPolicy,
} from '@tenantkit/storage';
import { assumeTenantRole } from '@tenantkit/storage/sts';
import { expect, it } from 'vitest';
import { run } from './erase-support.ts';
import { open } from './open.ts';
import { openRole, type Session } from './role.ts';
import { openTopic } from './topic.ts';
import { openUser } from './user.ts';

// The other half of session-limits.test.ts: what a user of its own closes on Ceph, who owns no bucket and opens the
// sessions of the tenants. The set-up is the one of docs/credentials.md.

const FORBIDDEN = { $metadata: { httpStatusCode: 403 } };

async function setUp() {
  await using made = new AsyncDisposableStack();
  const own = made.use(await open({ traits: { versioned: true } }));
  const user = made.use(await openUser(own));
  const { bucket } = own;
  const role = made.use(
    await openRole(own, {
      keys: user.keys,
      trust: (roleArn) => storageTrustPolicy({ roleArn, principals: [user.arn], server: 'ceph' }),
      allowed: [
        {
          Effect: 'Allow',
          Action: ['s3:*'],
          Resource: [`arn:aws:s3:::${bucket}/tenants/*`, `arn:aws:s3:::${bucket}/tk!subjects/*`],
        },
        {
          Effect: 'Allow',
          Action: ['s3:ListBucket', 's3:ListBucketVersions'],
          Resource: [`arn:aws:s3:::${bucket}`],
          Condition: { StringLike: { 's3:prefix': ['tenants/*'] } },
        },
      ],
    }),
  );
  const { Owner } = await own.raw.send(new raw.ListBucketsCommand({}));
  const owner = {
    Effect: 'Allow',
    Principal: { AWS: [`arn:aws:iam:::user/${Owner?.ID ?? ''}`] },
    Action: ['s3:*'],
    Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
  };
  const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [owner] });
  await own.raw.send(new raw.PutBucketPolicyCommand({ Bucket: bucket, Policy }));
  const credentials = assumeTenantRole({
    client: role.sts,
    roleArn: role.arn,
    buckets: [bucket],
    server: 'ceph',
  });
  const s3 = new S3Client({ ...own.options, tenant: { buckets: [bucket], credentials } });
  made.defer(() => s3.destroy());
  const session = (await credentials('acme')) as Session;
  const client = new raw.S3Client({ ...own.options, credentials: session });
  made.defer(() => client.destroy());
  const stack = made.move();
  return {
    own,
    s3,
    session,
    /** The raw client with the session of acme. */
    client,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

it('a tenant works with its own objects, and the service erases a person among them', async () => {
  await using set = await setUp();
  const { own, s3 } = set;
  const put = (tenant: string, subject: string) =>
    withTenant({ tenant, subject }, () =>
      s3.send(new PutObjectCommand({ Key: `of-${subject}`, Body: tenant })),
    );
  for (const tenant of ['acme', 'acme2']) for (const subject of ['p1', 'p2']) await put(tenant, subject);
  await withTenant('acme', async () => {
    const { Contents } = await s3.send(new ListObjectsV2Command({}));
    expect(Contents?.map(({ Key }) => Key)).toEqual(['of-p1', 'of-p2']);
    const { Body } = await s3.send(new GetObjectCommand({ Key: 'of-p1' }));
    expect(await Body?.transformToString()).toBe('acme');
    await s3.send(new DeleteObjectCommand({ Key: 'of-p2' }));
  });
  const eraser = storageEraser(own.s3, { bucket: own.bucket });
  const person = { tenant: 'acme', subject: 'p1' };
  expect(isVerified(await eraser.verify(person))).toBe(false);
  await eraser.erase(person, run());
  expect(isVerified(await eraser.verify(person))).toBe(true);
  await withTenant('acme2', async () => {
    const { Body } = await s3.send(new GetObjectCommand({ Key: 'of-p1' }));
    expect(await Body?.transformToString()).toBe('acme2');
  });
});

it('a session cannot have the events of the bucket sent to itself', async () => {
  await using set = await setUp();
  const { own, session, client } = set;
  await using topic = await openTopic(own, session);
  const subscribe = (by: raw.S3Client) =>
    by.send(
      new raw.PutBucketNotificationConfigurationCommand({
        Bucket: own.bucket,
        NotificationConfiguration: {
          TopicConfigurations: [{ Id: 'x', TopicArn: topic.arn, Events: ['s3:ObjectCreated:*'] }],
        },
      }),
    );
  await expect(subscribe(client)).rejects.toMatchObject(FORBIDDEN);
  // The control: the same by the owner of the bucket.
  expect(await subscribe(own.raw)).toMatchObject({ $metadata: { httpStatusCode: 200 } });
});

it('a session does not learn which keys others have', async () => {
  await using set = await setUp();
  const { own, client } = set;
  const Bucket = own.bucket;
  for (const tenant of ['acme', 'acme2'])
    await own.raw.send(new raw.PutObjectCommand({ Bucket, Key: `tenants/${tenant}/there`, Body: 'x' }));
  const head = (by: raw.S3Client, Key: string) => by.send(new raw.HeadObjectCommand({ Bucket, Key }));
  for (const key of ['there', 'not there'])
    await expect(head(client, `tenants/acme2/${key}`)).rejects.toMatchObject(FORBIDDEN);
  await expect(head(own.raw, 'tenants/acme2/not there')).rejects.toMatchObject({
    $metadata: { httpStatusCode: 404 },
  });
});
