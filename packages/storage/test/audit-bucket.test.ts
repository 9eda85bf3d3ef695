import {
  CreateMultipartUploadCommand as RawCreateMultipartUploadCommand,
  DeleteObjectCommand as RawDeleteObjectCommand,
  PutBucketAclCommand as RawPutBucketAclCommand,
  PutBucketCorsCommand as RawPutBucketCorsCommand,
  PutBucketPolicyCommand as RawPutBucketPolicyCommand,
  PutObjectAclCommand as RawPutObjectAclCommand,
  PutObjectCommand as RawPutObjectCommand,
  PutPublicAccessBlockCommand as RawPutPublicAccessBlockCommand,
} from '@aws-sdk/client-s3';
import {
  ConfigError,
  MissingTenantError,
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  type Finding,
} from '@tenantkit/core';
import { storageAuditor, storageBackstop, type StorageAuditorOptions } from '@tenantkit/storage';
import { describe, expect, it, vi } from 'vitest';
import { altered, proxied, put } from './erase-support.ts';
import { open, type Opened } from './open.ts';

async function audited(
  { s3, bucket }: Pick<Opened, 's3' | 'bucket'>,
  options: Partial<StorageAuditorOptions> = {},
): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of storageAuditor(s3, { bucket, ...options }).audit()) found.push(finding);
  return found;
}

/** Code and name, without what Ceph does not know. */
const found = async (own: Pick<Opened, 's3' | 'bucket'>, options?: Partial<StorageAuditorOptions>) =>
  (await audited(own, options))
    .filter(({ code }) => code !== 'not_examined')
    .map(({ code, name }) => `${code} ${name}`);

describe('the settings of a bucket', () => {
  it('that the server does not know are said to be unknown', async () => {
    await using own = await open();
    const unknown = await audited(own);
    expect(unknown).toMatchObject([
      { code: 'not_examined', severity: 'info', name: own.bucket },
      { code: 'not_examined', severity: 'info', name: own.bucket },
    ]);
    expect(unknown.map(({ message }) => message).join('\n')).toMatch(
      /ownership controls.*ListBucketResult[^]*website: MethodNotAllowed, status 405/,
    );
  });

  it('are said to be unknown one by one by a server that knows least, and objects are looked at all the same', async () => {
    await using own = await open();
    await put(own, 'loose');
    using s3 = altered(own, ({ command, next }) => {
      if (command === 'ListObjectsV2Command' || command === 'GetObjectAclCommand') return next();
      const status = command === 'GetBucketPolicyStatusCommand' ? 405 : 501;
      throw Object.assign(new Error('no'), { name: 'No', $metadata: { httpStatusCode: status } });
    });
    const all = await audited({ s3, bucket: own.bucket });
    const unknown = all.filter(({ code }) => code === 'not_examined').map(({ message }) => message);
    expect(unknown.filter((message) => /No, status (?:501|405)\./.test(message))).toHaveLength(11);
    expect(unknown.join('\n')).toMatch(/Earlier versions[^]*Unfinished uploads/);
    // Nobody knows who owns the bucket: then nobody is a stranger.
    expect(all.filter(({ code }) => code !== 'not_examined')).toMatchObject([
      { code: 'outside_every_tenant', name: 'loose' },
    ]);
  });

  it('are a finding where the ACL opens the bucket, unless the server ignores that', async () => {
    await using own = await open();
    expect(await found(own)).toEqual([]);
    await own.raw.send(new RawPutBucketAclCommand({ Bucket: own.bucket, ACL: 'public-read' }));
    expect(await found(own)).toEqual([`public_acl ${own.bucket}`]);
    const listing = await fetch(`${own.options.endpoint}/${own.bucket}?list-type=2`);
    expect(listing.status).toBe(200);
    await own.raw.send(new RawPutBucketAclCommand({ Bucket: own.bucket, ACL: 'authenticated-read' }));
    expect(await found(own)).toEqual([`public_acl ${own.bucket}`]);
    await own.raw.send(
      new RawPutPublicAccessBlockCommand({
        Bucket: own.bucket,
        PublicAccessBlockConfiguration: { IgnorePublicAcls: true },
      }),
    );
    await own.raw.send(new RawPutBucketAclCommand({ Bucket: own.bucket, ACL: 'public-read' }));
    // Ceph still calls it public, though it answers nobody.
    expect(await found(own)).toEqual([`called_public ${own.bucket}`]);
    const response = await fetch(`${own.options.endpoint}/${own.bucket}?list-type=2`);
    expect(response.status).toBe(403);
  });

  it('are one where the policy opens it, and none with the policy of a backstop', async () => {
    await using own = await open();
    const apply = (policy: unknown) =>
      own.raw.send(new RawPutBucketPolicyCommand({ Bucket: own.bucket, Policy: JSON.stringify(policy) }));
    const principals = ['arn:aws:iam:::user/nobody'];
    await apply(storageBackstop('acme', { bucket: own.bucket, principals, server: 'ceph' }).bucketPolicy);
    // Ceph calls that public.
    expect(await found(own)).toEqual([`called_public ${own.bucket}`]);
    const open_ = { Sid: 'Open', Effect: 'Allow', Principal: '*', Action: 's3:GetObject' };
    await apply({
      Version: '2012-10-17',
      Statement: [{ ...open_, Resource: `arn:aws:s3:::${own.bucket}/*` }],
    });
    expect(await found(own)).toEqual(['public_policy statement Open']);
    await apply({
      Version: '2012-10-17',
      Statement: [
        {
          Sid: 'Wide',
          Effect: 'Allow',
          Principal: { AWS: principals },
          Action: 's3:GetObject',
          Resource: `arn:aws:s3:::${own.bucket}/tenants/acme*`,
        },
      ],
    });
    expect(await found(own)).toContain('policy_beyond_tenants statement Wide');
    expect(await found(own, { principals })).not.toContain('policy_beyond_tenants statement Wide');
  });

  it('are one where any web page may use it', async () => {
    await using own = await open();
    const allow = (origin: string) =>
      own.raw.send(
        new RawPutBucketCorsCommand({
          Bucket: own.bucket,
          CORSConfiguration: { CORSRules: [{ AllowedOrigins: [origin], AllowedMethods: ['GET'] }] },
        }),
      );
    await allow('https://app.example.com');
    expect(await found(own)).toEqual([]);
    await allow('*');
    expect(await found(own)).toEqual([`cors_any_origin ${own.bucket}`]);
  });

  it('are one where objects go elsewhere, it is a website, or grants lead to others', async () => {
    await using own = await open();
    const answers = (answer: Readonly<Record<string, object>>) =>
      altered(own, async ({ command, next }) => ({ ...(await next()), ...answer[command] }));
    const rule = (Destination: object) => ({ Status: 'Enabled', Destination });
    const replica = 'arn:aws:s3:::replica';
    using s3 = answers({
      GetBucketReplicationCommand: {
        ReplicationConfiguration: {
          Role: 'r',
          Rules: [
            rule({ Bucket: replica }),
            rule({ Bucket: `${replica}2`, Account: '1' }),
            { ...rule({ Bucket: 'off' }), Status: 'Disabled' },
          ],
        },
      },
      GetBucketAclCommand: {
        Grants: [{ Grantee: { Type: 'CanonicalUser', ID: 'stranger' }, Permission: 'READ' }],
      },
      GetBucketPolicyStatusCommand: { PolicyStatus: { IsPublic: true } },
      GetBucketNotificationConfigurationCommand: {
        TopicConfigurations: [{ TopicArn: 'arn:aws:sns:::known' }, { TopicArn: 'arn:aws:sns:::topic' }],
        EventBridgeConfiguration: {},
      },
    });
    expect((await found({ s3, bucket: own.bucket })).sort()).toEqual([
      `called_public ${own.bucket}`,
      'events_sent EventBridge',
      'events_sent arn:aws:sns:::known',
      'events_sent arn:aws:sns:::topic',
      `foreign_grant ${own.bucket}`,
      `replicated ${replica}`,
      `replicated_to_account ${replica}2`,
    ]);
    const known = await found(
      { s3, bucket: own.bucket },
      { principals: ['stranger', '1', 'arn:aws:sns:::known'] },
    );
    expect(known.sort()).toEqual([
      `called_public ${own.bucket}`,
      'events_sent EventBridge',
      'events_sent arn:aws:sns:::topic',
      `replicated ${replica}`,
      `replicated ${replica}2`,
    ]);
  });
});

it('a bucket that is a website is a finding', async () => {
  await using own = await open();
  await using site = await proxied(own, (url) =>
    url.includes('?website')
      ? '<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument></WebsiteConfiguration>'
      : undefined,
  );
  expect(await found(site)).toEqual([`website ${own.bucket}`]);
});

describe('ACLs of objects', () => {
  it('are a finding where they open one, also an earlier version', async () => {
    await using own = await open({ traits: { versioned: true } });
    const { bucket } = own;
    for (const key of ['a', 'b', 'c']) await put(own, `tenants/acme/${key}`);
    expect(await found(own)).toEqual([]);
    const target = { Bucket: bucket, Key: 'tenants/acme/a' };
    await own.raw.send(new RawPutObjectAclCommand({ ...target, ACL: 'public-read' }));
    await put(own, 'tenants/acme/a', 'later');
    expect(await found(own)).toEqual(['public_object_acl tenants/acme/a']);
    expect(await found(own, { objectAcls: false })).toEqual([]);
    const some = await audited(own, { objectAcls: 2 });
    expect(some.map(({ message }) => message).join('\n')).toContain('ACLs of 2 objects, by objectAcls.');
    await own.raw.send(
      new RawPutPublicAccessBlockCommand({
        Bucket: bucket,
        PublicAccessBlockConfiguration: { IgnorePublicAcls: true },
      }),
    );
    expect(await found(own)).toEqual([]);
  });

  it('are one where they give rights to others than the service', async () => {
    await using own = await open();
    await put(own, 'tenants/acme/a');
    using s3 = altered(own, async ({ command, next }) =>
      command === 'GetObjectAclCommand'
        ? {
            ...(await next()),
            Grants: [{ Grantee: { Type: 'CanonicalUser', ID: 'stranger' }, Permission: 'READ' }],
          }
        : next(),
    );
    expect(await found({ s3, bucket: own.bucket })).toEqual(['foreign_object_grant tenants/acme/a']);
    expect(await found({ s3, bucket: own.bucket }, { principals: ['stranger'] })).toEqual([]);
  });

  it('are not asked for where they have no effect', async () => {
    await using own = await open();
    const target = { Bucket: own.bucket, Key: 'tenants/acme/a' };
    await own.raw.send(new RawPutObjectCommand({ ...target, Body: 'x', ACL: 'public-read' }));
    await own.raw.send(new RawPutBucketAclCommand({ Bucket: own.bucket, ACL: 'public-read' }));
    let asked = 0;
    const owned = (ownership: string) =>
      proxied(own, (url) => {
        if (/\?acl\b/.test(url)) asked += 1;
        if (!url.includes('?ownershipControls')) return undefined;
        return `<?xml version="1.0"?><OwnershipControls><Rule><ObjectOwnership>${ownership}</ObjectOwnership></Rule></OwnershipControls>`;
      });
    await using writer = await owned('ObjectWriter');
    expect(await found(writer)).toEqual([`public_acl ${own.bucket}`, 'public_object_acl tenants/acme/a']);
    expect(asked).toBe(2);
    await using enforced = await owned('BucketOwnerEnforced');
    expect(await found(enforced)).toEqual([`called_public ${own.bucket}`]);
    // That of the bucket, which says whose it is.
    expect(asked).toBe(3);
  });

  it('that may not be read are said to be unknown, once', async () => {
    await using own = await open();
    for (const key of ['a', 'b', 'c']) await put(own, `tenants/acme/${key}`);
    using s3 = altered(own, ({ command, next }) => {
      if (command !== 'GetObjectAclCommand') return next();
      throw Object.assign(new Error('denied'), { name: 'AccessDenied', $metadata: { httpStatusCode: 403 } });
    });
    const unseen = (await audited({ s3, bucket: own.bucket })).filter(({ message }) =>
      message.includes('ACLs of objects: AccessDenied, status 403.'),
    );
    expect(unseen).toMatchObject([{ code: 'not_examined' }]);
  });
});

describe('names', () => {
  it('are looked at in earlier versions, delete markers and uploads, once each', async () => {
    await using own = await open({ traits: { versioned: true } });
    const { raw, bucket } = own;
    const remove = (Key: string) => raw.send(new RawDeleteObjectCommand({ Bucket: bucket, Key }));
    for (const body of ['1', '2', '3']) await put(own, 'loose', body);
    await put(own, 'gone');
    await remove('gone');
    await remove('marker-only');
    await raw.send(new RawCreateMultipartUploadCommand({ Bucket: bucket, Key: 'tenants/acme/../up' }));
    const all = (await audited(own)).filter(({ code }) => code !== 'not_examined');
    const deleted = 'It is deleted, but earlier versions or a delete marker are there.';
    expect(all).toMatchObject([
      { name: 'gone', code: 'outside_every_tenant', message: expect.stringContaining(deleted) },
      { name: 'loose', code: 'outside_every_tenant', message: expect.not.stringContaining(deleted) },
      { name: 'marker-only', code: 'outside_every_tenant', message: expect.stringContaining(deleted) },
      {
        name: 'tenants/acme/../up',
        code: 'refused_name',
        message: expect.stringMatching(/"\." or "\.\." segment at index 0\. It is an unfinished upload\./),
      },
    ]);
    expect(await found(own, { known: ['loose', 'gone', 'marker-'] })).toEqual([
      'refused_name tenants/acme/../up',
    ]);
  });

  it('of uploads that nobody has finished for long are reported', async () => {
    await using own = await open();
    const target = { Bucket: own.bucket, Key: 'tenants/acme/a' };
    await own.raw.send(new RawCreateMultipartUploadCommand(target));
    expect(await found(own)).toEqual([]);
    // The server's clock may run a little ahead.
    await vi.waitFor(async () =>
      expect(await found(own, { uploadDays: 0 })).toEqual(['old_upload tenants/acme/a']),
    );
  });

  it('of tenants that nobody knows are counted, and who tells them runs outside of the audit', async () => {
    await using own = await open();
    for (const tenant of ['acme', 'ghost'])
      for (const key of ['a', 'b']) await put(own, `tenants/${tenant}/${key}`);
    await put(own, 'tk!subjects/ghost/p1/x');
    const unknown = ['unknown_tenant tenants/ghost/', 'unknown_tenant tk!subjects/ghost/'];
    expect(await found(own)).toEqual([]);
    expect(await found(own, { tenants: ['acme'] })).toEqual(unknown);
    const asked: string[] = [];
    const tenants = async (tenant: string): Promise<boolean> => {
      asked.push(tenant);
      expect(currentTenant()).toBeUndefined();
      // Raw names are refused to it: the boundary is lifted for the audit alone.
      await expect(
        own.s3.send(new RawPutObjectCommand({ Bucket: own.bucket, Key: 'x', Body: 'x' })),
      ).rejects.toThrow(MissingTenantError);
      return tenant === 'acme';
    };
    const all = await audited(own, { tenants });
    expect(all.find(({ name }) => name === 'tenants/ghost/')?.message).toContain('There are 2.');
    expect(asked.sort()).toEqual(['acme', 'ghost']);
  });

  it('with their prefix twice are counted, and markers are known', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using own = await open({ tenant: { fence } });
    await put(own, 'tk!subjects/acme/p1/x');
    expect(await found(own)).toEqual([]);
    await put(own, 'tenants/acme/tenants/acme/x');
    for (const key of ['tk!subjects/acme/p1', 'tk!subjects/ac me/p1/x', 'tk!other/x']) await put(own, key);
    expect(await found(own)).toEqual([
      'unknown_reserved_name tk!other/x',
      'unknown_reserved_name tk!subjects/ac me/p1/x',
      'unknown_reserved_name tk!subjects/acme/p1',
      'doubled_prefix tenants/acme/tenants/acme/',
    ]);
    await fence.markErased('acme');
    expect(await found(own)).toContain('erased_tenant tk!subjects/acme/p1/x');
    fence.close();
  });
});

it('options that do not exist, or are of another kind, are refused', async () => {
  await using own = await open();
  for (const wrong of [{ tenant: 'acme' }, { tenants: ['../x'] }, { objectAcls: -1 }, { uploadDays: 'x' }])
    expect(() => storageAuditor(own.s3, { bucket: own.bucket, ...wrong } as never)).toThrow(ConfigError);
});
