import { createServer, type AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { STSClient } from '@aws-sdk/client-sts';
import { StoreUnreachableError, withTenant } from '@tenantkit/core';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { assumeTenantRole, type AssumeTenantRoleOptions } from '@tenantkit/storage/sts';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { confinement, type Confinement } from './confined.ts';
import { open, type Opened } from './open.ts';
import { openRole, type OpenedRole } from './role.ts';

// Both locks of ours are away where the RAW client is used with a tenant's credentials: the server alone refuses.

let own: Opened;
let role: OpenedRole;
let server: Confinement;
const opened: { destroy(): void }[] = [];

beforeAll(async () => {
  own = await open({ traits: { versioned: true } });
  role = await openRole(own);
  server = await confinement(own);
});
afterAll(async () => {
  for (const client of opened) client.destroy();
  await role[Symbol.asyncDispose]();
  await own[Symbol.asyncDispose]();
});

const roleOptions = (given: Partial<AssumeTenantRoleOptions> = {}): AssumeTenantRoleOptions => ({
  client: role.sts,
  roleArn: role.arn,
  buckets: [own.bucket],
  server: 'ceph',
  ...given,
});

function guarded(given: Partial<AssumeTenantRoleOptions> = {}): S3Client {
  const client = new S3Client({
    ...own.options,
    tenant: { buckets: [own.bucket], credentials: assumeTenantRole(roleOptions(given)) },
  });
  opened.push(client);
  return client;
}

const failure = (call: () => Promise<unknown>): Promise<Error> =>
  call().then(
    () => new Error('it was not refused'),
    (error: unknown) => error as Error,
  );

describe('credentials of a tenant', () => {
  it('are confined by the server, whatever is sent with them', async () => {
    const credentials = await assumeTenantRole(roleOptions())('acme');
    const raw = new RawS3Client({ ...own.options, credentials });
    opened.push(raw);
    expect(await server.deviations(raw)).toEqual([]);
  });

  it('are what confines it: those of the client reach every tenant', async () => {
    const reached = await server.reached(own.raw);
    for (const what of ['read', 'write', 'copy', 'part', 'list', 'list of versions', 'writing of tags'])
      for (const tenant of TENANTS.filter((one) => one !== 'acme'))
        expect(reached).toContain(`${what} of ${tenant}`);
  });

  it('sign a presigned PUT, and an unsigned copy source beside it is refused', async () => {
    const Key = 'loot';
    const steal = async (s3: S3Client): Promise<number> => {
      const url = await withTenant('acme', () => getSignedUrl(s3, new PutObjectCommand({ Key })));
      const headers = { 'x-amz-copy-source': `/${own.bucket}/tenants/acme2/one` };
      const reply = await fetch(url, { method: 'PUT', headers });
      await reply.arrayBuffer();
      return reply.status;
    };
    const readLoot = async (): Promise<string | undefined> => {
      const loot = await withTenant('acme', () => own.s3.send(new GetObjectCommand({ Key })));
      return loot.Body?.transformToString();
    };
    const s3 = guarded();
    // The same URL without the header works.
    const url = await withTenant('acme', () => getSignedUrl(s3, new PutObjectCommand({ Key })));
    expect((await fetch(url, { method: 'PUT', body: 'its own' })).status).toBe(200);
    expect(await steal(s3)).toBe(403);
    expect(await readLoot()).toBe('its own');
    // With credentials of all tenants this server copies.
    expect(await steal(own.s3)).toBe(200);
    expect(await readLoot()).toBe('of acme2');
  });

  it('sign a presigned PUT, and an unsigned ACL beside it is refused', async () => {
    const publish = async (s3: S3Client, header: string, value: string): Promise<number> => {
      const url = await withTenant('acme', () => getSignedUrl(s3, new PutObjectCommand({ Key: 'open' })));
      const reply = await fetch(url, { method: 'PUT', headers: { [header]: value }, body: 'x' });
      await reply.arrayBuffer();
      return reply.status;
    };
    const everybody = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"';
    const s3 = guarded();
    expect(await publish(s3, 'x-amz-acl', 'public-read')).toBe(403);
    expect(await publish(own.s3, 'x-amz-acl', 'public-read')).toBe(200);
    for (const right of ['read', 'write', 'read-acp', 'write-acp', 'full-control'])
      expect(await publish(s3, `x-amz-grant-${right}`, everybody)).toBe(403);
    expect(await publish(own.s3, 'x-amz-grant-read', everybody)).toBe(200);
  });

  it('do all that the guarded client does, for every tenant', async () => {
    const s3 = guarded();
    for (const tenant of TENANTS)
      await withTenant(tenant, async () => {
        await s3.send(new PutObjectCommand({ Key: 'mine', Body: `mine, ${tenant}` }));
        const { Body } = await s3.send(new GetObjectCommand({ Key: 'mine' }));
        expect(await Body?.transformToString()).toBe(`mine, ${tenant}`);
        const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Prefix: 'min' }));
        expect(Contents.map(({ Key }) => Key)).toEqual(['mine']);
        const url = await getSignedUrl(s3, new GetObjectCommand({ Key: 'mine' }), { expiresIn: 60 });
        expect(await (await fetch(url)).text()).toBe(`mine, ${tenant}`);
      });
  });

  it('live as long as was said, and presign no longer', async () => {
    const { expiration } = await assumeTenantRole(roleOptions({ durationSeconds: 900 }))('a');
    const left = ((expiration?.getTime() ?? 0) - Date.now()) / 1000;
    expect(left).toBeGreaterThan(890);
    expect(left).toBeLessThanOrEqual(902);
    const s3 = guarded({ durationSeconds: 900 });
    const sign = (expiresIn: number) =>
      withTenant('acme', () => getSignedUrl(s3, new GetObjectCommand({ Key: 'one' }), { expiresIn }));
    expect((await fetch(await sign(60))).status).toBe(200);
    expect(await failure(() => sign(900))).toMatchObject({
      code: 'OPERATION_REFUSED',
      why: expect.stringContaining('live longer than the credentials') as string,
    });
  });

  it('are called like the tenant, and carry its tag where that was asked for', async () => {
    const inputs: unknown[] = [];
    const client = new STSClient(own.options);
    opened.push(client);
    client.middlewareStack.add((next) => (args) => {
      inputs.push(args.input);
      return next(args);
    });
    await assumeTenantRole(roleOptions({ client, sessionTags: true }))('a');
    await assumeTenantRole(roleOptions({ client }))('a-b');
    await assumeTenantRole(roleOptions({ client, sessionName: (tenant) => `for-${tenant}` }))('a-b');
    expect(inputs).toMatchObject([
      { RoleSessionName: 'a=', Tags: [{ Key: 'tenant_id', Value: 'a' }] },
      { RoleSessionName: 'a-b' },
      { RoleSessionName: 'for-a-b' },
    ]);
    expect(inputs[1]).not.toHaveProperty('Tags');
  });

  it('follow a function that names the buckets of a tenant', async () => {
    const buckets = (tenant: string) => (tenant === 'acme' ? [own.bucket] : ['another-bucket']);
    const s3 = guarded({ buckets });
    const read = (tenant: string) => withTenant(tenant, () => s3.send(new GetObjectCommand({ Key: 'one' })));
    expect((await read('acme')).$metadata.httpStatusCode).toBe(200);
    expect(await failure(() => read('acme2'))).toMatchObject({ name: 'AccessDenied' });
  });
});

describe('credentials that the server does not know', () => {
  afterEach(() => vi.restoreAllMocks());

  it('are asked for anew, but not with every call', async () => {
    let asked = 0;
    const s3 = new S3Client({
      ...own.options,
      tenant: {
        buckets: [own.bucket],
        credentials: () => {
          asked += 1;
          const good = own.options.credentials;
          return Promise.resolve(asked === 1 ? { ...good, accessKeyId: 'REVOKED' } : good);
        },
      },
    });
    opened.push(s3);
    // Ceph calls it AccessDenied, which may be anything; here it says what AWS says.
    const { requestHandler } = s3.config;
    const handle = requestHandler.handle.bind(requestHandler);
    requestHandler.handle = async (...args: Parameters<typeof handle>) => {
      const reply = await handle(...args);
      if (reply.response.statusCode === 403)
        reply.response.body = Readable.from(['<Error><Code>InvalidAccessKeyId</Code></Error>']);
      return reply;
    };
    const list = () => withTenant('acme', () => s3.send(new ListObjectsV2Command({})));
    for (let round = 0; round < 2; round += 1)
      expect(await failure(list)).toMatchObject({ name: 'InvalidAccessKeyId' });
    expect(asked).toBe(1);
    const now = Date.now.bind(Date);
    vi.spyOn(Date, 'now').mockImplementation(() => now() + 11_000);
    expect(await failure(list)).toMatchObject({ name: 'InvalidAccessKeyId' });
    expect((await list()).$metadata.httpStatusCode).toBe(200);
    expect(asked).toBe(2);
  });
});

describe('when STS gives none', () => {
  it('the call is refused with the reason as its cause', async () => {
    const s3 = guarded({ roleArn: 'arn:aws:iam:::role/not-there' });
    const error = await failure(() =>
      withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'x', Body: 'x' }))),
    );
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', operation: 'assumeTenantRole' });
    expect(error.message).not.toContain('not-there');
    expect(error.cause).toBeInstanceOf(Error);
  });

  it('the reader is told of Ceph where it was not said that it is one', async () => {
    const refusedFor = (server: 'aws' | 'ceph') =>
      failure(() =>
        assumeTenantRole(roleOptions({ server, roleArn: server === 'aws' ? role.arn : `${role.arn}-x` }))(
          'acme',
        ),
      );
    expect(await refusedFor('aws')).toMatchObject({
      code: 'CONFIG_INVALID',
      hint: expect.stringContaining("server: 'ceph'") as string,
    });
    expect((await refusedFor('ceph')).message).not.toContain("server: 'ceph'");
    expect((await assumeTenantRole(roleOptions())('acme')).sessionToken).not.toBe('');
  });

  it('a server that cannot be reached is told as such', async () => {
    const client = new STSClient({ ...own.options, endpoint: 'http://127.0.0.1:9', maxAttempts: 1 });
    opened.push(client);
    const s3 = guarded({ client });
    const error = await failure(() =>
      withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'one' }))),
    );
    expect(error).toBeInstanceOf(StoreUnreachableError);
  });

  it('one that does not answer is not waited for', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const client = new STSClient({ ...own.options, endpoint: `http://127.0.0.1:${port}`, maxAttempts: 1 });
    try {
      const error = await failure(() => assumeTenantRole(roleOptions({ client, timeout: 50 }))('acme'));
      expect(error).toBeInstanceOf(StoreUnreachableError);
    } finally {
      client.destroy();
      silent.close();
    }
  });
});

describe('the options of assumeTenantRole', () => {
  it.each([
    [{ client: {} }, 'client'],
    [{ roleArn: 'tenants' }, 'roleArn'],
    [{ roleArn: 'arn:aws:iam::1:user/x' }, 'roleArn'],
    [{ buckets: [] }, 'buckets'],
    [{ buckets: 'uploads' }, 'buckets'],
    [{ buckets: ['x/*'] }, 'bucket'],
    [{ names: '{tenant}' }, 'name template'],
    [{ server: 'minio' }, 'server'],
    [{ durationSeconds: 60 }, 'durationSeconds'],
    [{ sessionTags: 'yes' }, 'sessionTags'],
    [{ sessionName: 'x' }, 'sessionName'],
    [{ timeout: 0 }, 'timeout'],
    [{ policy: 'x' }, 'unknown option "policy"'],
    [{ buckets: Array.from({ length: 5 }, (_, index) => `${index}`.padEnd(63, 'b')) }, 'longer than 2048'],
  ])('%j are refused', (given, words) => {
    expect(() => assumeTenantRole(roleOptions(given as never))).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(words) as string }),
    );
  });

  it('and what is no tenant', async () => {
    const error = await failure(() => assumeTenantRole(roleOptions())('*'));
    expect(error).toMatchObject({ code: 'TENANT_INVALID' });
  });
});
