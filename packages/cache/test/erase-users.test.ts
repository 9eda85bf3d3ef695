import { createTenantRegistry, isVerified, memoryTenantStore, withTenant } from '@tenantkit/core';
import {
  Cluster,
  Redis,
  cacheBackstop,
  cacheEraser,
  type CacheBackstopOptions,
  type CacheOptions,
  type RedisOptions,
} from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { startRedisCluster, startRedisNode, type RedisCluster } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { proxyTo } from './proxy.ts';
import { failure, ready } from './support.ts';

const PASSWORD = 'of-a-test';
const SCOPE = { tenant: 'acme' };
const OPERATORS = ['on', `>${PASSWORD}`, '~*', '&*', '+@all'] as const;
// The constructors of ioredis infer the form of replies from this option.
type Plain<O> = O & { replyMapping?: 'legacy' };

let node: Awaited<ReturnType<typeof startRedisNode>>;
let elsewhere: typeof node;
let admin: Raw;
let there: Raw;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  [node, elsewhere] = await Promise.all([startRedisNode(), startRedisNode()]);
  const operator = { username: 'operator', password: PASSWORD };
  for (const { url } of [node, elsewhere]) {
    const first = new Raw(url);
    await first.call('ACL', 'SETUSER', 'operator', ...OPERATORS);
    first.disconnect();
  }
  admin = new Raw(node.url, operator);
  there = new Raw(elsewhere.url, operator);
}, 60_000);
afterAll(async () => {
  admin.disconnect();
  there.disconnect();
  await Promise.all([node.stop(), elsewhere.stop()]);
});
beforeEach(async () => {
  for (const raw of [admin, there]) {
    await raw.flushall();
    for (const id of TENANTS) await raw.set(`tk:${id}:key`, `of ${id}`);
  }
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  for (const raw of [admin, there]) {
    await raw.call('ACL', 'SETUSER', 'default', 'reset', 'on', 'nopass', '~*', '&*', '+@all');
    for (const name of await usersOf(raw))
      if (name !== 'default' && name !== 'operator') await raw.acl('DELUSER', name);
  }
});

async function usersOf(raw: Raw): Promise<string[]> {
  return (await raw.acl('USERS')).sort();
}

async function addUser(raw: Raw, name: string, id: string, options?: CacheBackstopOptions): Promise<void> {
  await raw.call('ACL', 'SETUSER', name, ...cacheBackstop(id, options), `>${PASSWORD}`);
}

/** Somebody who is connected as a user. */
async function connected(username: string): Promise<Raw> {
  const client = new Raw(node.url, {
    username,
    password: PASSWORD,
    enableReadyCheck: false,
    retryStrategy: () => null,
  });
  clients.push(client);
  client.on('error', () => undefined);
  await ready(client);
  return client;
}

function guarded(tenant: CacheOptions = {}, options: RedisOptions = {}): Redis {
  const client = new Redis(node.url, {
    username: 'operator',
    password: PASSWORD,
    ...options,
    tenant,
  } as Plain<RedisOptions>);
  clients.push(client);
  return client;
}

describe('the users of an erased tenant', () => {
  it('go with it, whatever their names, and nobody else’s do', async () => {
    for (const id of TENANTS) await addUser(admin, `tenant:${id}`, id);
    await addUser(admin, 'worker', 'acme', { index: true, scan: true, scripts: true });
    // Names and rules that resemble those of the tenant's user.
    await admin.call('ACL', 'SETUSER', 'acme', ...OPERATORS);
    await admin.call('ACL', 'SETUSER', 'support', 'on', `>${PASSWORD}`, '~tk:acme:*', '&tk:acme:*', '+get');
    await addUser(admin, 'other-names', 'acme', { names: 'app:{tenant}:' });
    const before = await usersOf(admin);
    const own = await connected('tenant:acme');
    const other = await connected('tenant:acme2');
    expect(await own.get('tk:acme:key')).toBe('of acme');
    const closed = once(own, 'end');

    const eraser = cacheEraser(guarded());
    expect((await eraser.plan(SCOPE)).items).toEqual([
      { kind: 'keys', count: 1 },
      { kind: 'acl-user', count: 2 },
    ]);
    expect(await usersOf(admin)).toEqual(before);
    expect((await eraser.verify(SCOPE)).remaining).toEqual([
      { kind: 'keys', count: 1 },
      { kind: 'acl-user', count: 2 },
    ]);
    const outcome = await eraser.erase(SCOPE, run());
    expect(outcome.erased).toEqual([
      { kind: 'keys', count: 1 },
      { kind: 'acl-user', count: 2 },
    ]);
    await closed;
    expect(await usersOf(admin)).toEqual(before.filter((name) => !['tenant:acme', 'worker'].includes(name)));
    expect(await other.get('tk:acme2:key')).toBe('of acme2');
    const verified = await eraser.verify(SCOPE);
    expect(verified.remaining).toEqual([
      { kind: 'keys', count: 0 },
      { kind: 'acl-user', count: 0 },
    ]);
    expect(isVerified(verified)).toBe(true);
    expect((await eraser.plan({ tenant: 'acme2' })).items).toContainEqual({ kind: 'acl-user', count: 1 });
  });

  it('go first, since they write past every fence', async () => {
    await addUser(admin, 'tenant:acme', 'acme');
    const own = await connected('tenant:acme');
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await fence.freeze('acme');
    expect(await own.set('tk:acme:late', 'past the fence')).toBe('OK');
    const steps: string[] = [];
    await cacheEraser(guarded({ fence })).erase(
      SCOPE,
      run({ progress: ({ kind, done }) => void steps.push(`${kind} ${done}`) }),
    );
    fence.close();
    expect(steps).toEqual(['acl-user 1', 'keys 2']);
    expect(await admin.exists('tk:acme:late')).toBe(0);
  });

  it('of a tenant whose id is the name of a user of the server', async () => {
    await admin.set('tk:default:key', '1');
    await addUser(admin, 'tenant:default', 'default');
    const eraser = cacheEraser(guarded());
    for (const tenant of ['default', 'operator']) await eraser.erase({ tenant }, run());
    expect(await usersOf(admin)).toEqual(['default', 'operator']);
    expect(isVerified(await eraser.verify({ tenant: 'default' }))).toBe(true);
    expect(await admin.exists('tk:default:key')).toBe(0);
  });

  it('stay when a person is erased', async () => {
    await addUser(admin, 'tenant:acme', 'acme');
    await admin.set('tk:acme:user:p1:x', '1');
    const eraser = cacheEraser(guarded({ subjects: ['user:{subject}:*'] }));
    const scope = { tenant: 'acme', subject: 'p1' };
    expect((await eraser.erase(scope, run())).erased).toEqual([{ kind: 'keys', count: 1 }]);
    expect((await eraser.verify(scope)).remaining).toEqual([{ kind: 'keys', count: 0 }]);
    expect(await usersOf(admin)).toContain('tenant:acme');
  });

  it('are not called gone where glob characters are in their names', async () => {
    const names = { names: 'a*[b]:{tenant}:' };
    await addUser(admin, 'tenant:acme', 'acme', names);
    await addUser(admin, 'tenant:acme2', 'acme2', names);
    const eraser = cacheEraser(guarded(names));
    expect((await eraser.erase(SCOPE, run())).erased).toContainEqual({ kind: 'acl-user', count: 1 });
    expect(await usersOf(admin)).toEqual(['default', 'operator', 'tenant:acme2']);
  });
});

describe('a user that is somebody else’s as well', () => {
  const [, , ...alsoOfAcme2] = cacheBackstop('acme2');

  it.each([
    ['default', []],
    ['several', alsoOfAcme2],
    ['everything', ['~*']],
  ] as const)('stays, and the tenant is not called erased: %s', async (name, more) => {
    await addUser(admin, 'tenant:acme', 'acme');
    await addUser(admin, name, 'acme');
    await admin.call('ACL', 'SETUSER', name, ...more);
    const eraser = cacheEraser(guarded());
    const one = run();
    const error = await failure(() => eraser.erase(SCOPE, one));
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('ACL LIST') });
    // What could be erased is.
    expect(await admin.exists('tk:acme:key')).toBe(0);
    expect(await usersOf(admin)).not.toContain('tenant:acme');
    expect(await usersOf(admin)).toContain(name);
    const verified = await eraser.verify(SCOPE);
    expect(verified.remaining).toContainEqual({ kind: 'acl-user', count: 1 });
    expect(isVerified(verified)).toBe(false);
    await admin.call('ACL', 'SETUSER', name, 'reset', 'on', 'nopass', '~*', '&*', '+@all');
    // It goes on where it was.
    expect((await eraser.erase(SCOPE, run({ saved: one.saved }))).erased).toEqual([
      { kind: 'keys', count: 1 },
      { kind: 'acl-user', count: 1 },
    ]);
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
  });

  it('is none where only a selector has the rules of the tenant', async () => {
    const [, , ...rules] = cacheBackstop('acme');
    await admin.call('ACL', 'SETUSER', 'service', ...OPERATORS, `(${rules.join(' ')})`);
    const eraser = cacheEraser(guarded());
    await eraser.erase(SCOPE, run());
    expect(await usersOf(admin)).toContain('service');
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
  });
});

describe('a client that may not look for users', () => {
  it.each(['-acl', '-acl +acl|list'])('erases the data, and says what it needs: %s', async (rights) => {
    await addUser(admin, 'tenant:acme', 'acme');
    await admin.call('ACL', 'SETUSER', 'eraser', ...OPERATORS, ...rights.split(' '));
    const redis = guarded({}, { username: 'eraser' });
    const eraser = cacheEraser(redis);
    const denied = { code: 'CONFIG_INVALID', message: expect.stringMatching(/\+acl\|list.*users: false/s) };
    const mayList = rights.endsWith('list');
    if (mayList) expect((await eraser.plan(SCOPE)).items).toContainEqual({ kind: 'acl-user', count: 1 });
    else expect(await failure(() => eraser.plan(SCOPE))).toMatchObject(denied);
    expect(await failure(() => eraser.erase(SCOPE, run()))).toMatchObject(denied);
    expect(await admin.exists('tk:acme:key')).toBe(0);
    expect(await admin.exists('tk:acme2:key')).toBe(1);
    if (mayList) expect(isVerified(await eraser.verify(SCOPE))).toBe(false);
    else expect(await failure(() => eraser.verify(SCOPE))).toMatchObject(denied);
    await admin.call('ACL', 'SETUSER', 'eraser', '+acl|list', '+acl|deluser');
    await eraser.erase(SCOPE, run());
    expect(await usersOf(admin)).not.toContain('tenant:acme');
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
  });

  it('leaves them out when told to, and says nothing about them', async () => {
    await addUser(admin, 'tenant:acme', 'acme');
    await admin.call('ACL', 'SETUSER', 'eraser', ...OPERATORS, '-acl');
    const eraser = cacheEraser(guarded({}, { username: 'eraser' }), { users: false });
    const keys = (count: number): object[] => [{ kind: 'keys', count }];
    expect((await eraser.plan(SCOPE)).items).toEqual(keys(1));
    expect((await eraser.erase(SCOPE, run())).erased).toEqual(keys(1));
    expect((await eraser.verify(SCOPE)).remaining).toEqual(keys(0));
    expect(await usersOf(admin)).toContain('tenant:acme');
  });

  it('takes no list for one that does not show the user that every server has', async () => {
    const eraser = cacheEraser(guarded());
    const count = async (): Promise<number | undefined> =>
      (await eraser.verify(SCOPE)).remaining.find(({ kind }) => kind === 'acl-user')?.count;
    await addUser(admin, 'tenant:acme', 'acme');
    expect(await count()).toBe(1);
    await using between = await proxyTo({ host: '127.0.0.1', port: node.port });
    const redis = new Redis({ port: between.port, username: 'operator', password: PASSWORD });
    clients.push(redis);
    const behind = cacheEraser(redis);
    expect(isVerified(await behind.verify({ tenant: 'a' }))).toBe(false);
    between.answer(/\r\nacl\r\n/i, '*0\r\n');
    for (const tenant of ['a', 'acme'])
      expect(await failure(() => behind.verify({ tenant }))).toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('takes no option for one that there is not', () => {
    expect(() => cacheEraser(guarded(), { user: false } as object)).toThrow(
      'unknown option "user" (is "users" meant?); there are store, users, timeout',
    );
    expect(cacheEraser(guarded(), { users: true }).store).toBe('cache');
  });
});

describe('an erasure that is interrupted', () => {
  it('goes on with the users that are left, and counts those before', async () => {
    for (const name of ['one', 'two', 'three']) await addUser(admin, name, 'acme');
    const stop = new AbortController();
    const one = run({ signal: stop.signal, progress: () => stop.abort(new Error('stopped')) });
    const eraser = cacheEraser(guarded());
    expect((await failure(() => eraser.erase(SCOPE, one))).message).toBe('stopped');
    expect(await usersOf(admin)).toHaveLength(2 + 2);
    expect(await admin.exists('tk:acme:key')).toBe(1);
    expect((await eraser.erase(SCOPE, run({ saved: one.saved }))).erased).toEqual([
      { kind: 'keys', count: 1 },
      { kind: 'acl-user', count: 3 },
    ]);
    expect(await usersOf(admin)).toEqual(['default', 'operator']);
  });
});

describe('with places', () => {
  it('users go on the server of the silo and in the pool, and each is counted once', async () => {
    for (const raw of [admin, there])
      for (const id of ['acme', 'acme2', 'a']) await addUser(raw, `tenant:${id}`, id);
    const redis = guarded({
      place: (tenant) =>
        tenant === 'acme'
          ? { level: 'silo', url: elsewhere.url, options: { username: 'operator', password: PASSWORD } }
          : tenant === 'a'
            ? { level: 'bridge', db: 3 }
            : { level: 'pool' },
    });
    await withTenant('a', () => redis.set('key', '1'));
    const eraser = cacheEraser(redis);
    const counts = { acme: 2, a: 1 };
    for (const [tenant, count] of Object.entries(counts)) {
      expect((await eraser.plan({ tenant })).items).toContainEqual({ kind: 'acl-user', count });
      expect((await eraser.erase({ tenant }, run())).erased).toContainEqual({ kind: 'acl-user', count });
      expect(isVerified(await eraser.verify({ tenant }))).toBe(true);
    }
    expect(await usersOf(admin)).toEqual(['default', 'operator', 'tenant:acme2']);
    expect(await usersOf(there)).toEqual(['default', 'operator', 'tenant:a', 'tenant:acme2']);
  });
});

describe('a cluster of three masters and a replica', () => {
  let servers: RedisCluster;
  let all: Raw[];
  let cluster: Cluster;
  beforeAll(async () => {
    servers = await startRedisCluster({ masters: 3, replicas: 1 });
    all = [...servers.masters, ...servers.replicas].map(({ url }) => new Raw(url));
  }, 60_000);
  afterAll(async () => {
    for (const raw of all) raw.disconnect();
    await servers.stop();
  });
  beforeEach(async () => {
    cluster = new Cluster([...servers.masters]);
    clients.push(cluster);
    await once(cluster, 'ready');
    for (const raw of all) for (const id of TENANTS) await addUser(raw, `tenant:${id}`, id);
    for (const id of ['acme', 'acme2'])
      await withTenant(id, () => Promise.all(['a', 'b', 'c', 'd'].map((key) => cluster.set(key, '1'))));
  });

  it('loses the users on all of them, after a stop, too', async () => {
    const eraser = cacheEraser(cluster);
    expect((await eraser.plan(SCOPE)).items).toEqual([
      { kind: 'keys', count: 4 },
      { kind: 'acl-user', count: 4 },
    ]);
    const stop = new AbortController();
    const one = run({ signal: stop.signal, progress: () => stop.abort(new Error('stopped')) });
    expect((await failure(() => eraser.erase(SCOPE, one))).message).toBe('stopped');
    expect((await eraser.verify(SCOPE)).remaining).toContainEqual({ kind: 'acl-user', count: 3 });
    expect((await eraser.erase(SCOPE, run({ saved: one.saved }))).erased).toEqual([
      { kind: 'keys', count: 4 },
      { kind: 'acl-user', count: 4 },
    ]);
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
    for (const raw of all) {
      const users = await usersOf(raw);
      expect(users).not.toContain('tenant:acme');
      expect(users).toContain('tenant:acme2');
    }
    expect(await withTenant('acme2', () => cluster.get('a'))).toBe('1');
  });

  it('is not called free of users while one server still has one', async () => {
    const eraser = cacheEraser(cluster);
    await eraser.erase(SCOPE, run());
    for (const raw of all) {
      await addUser(raw, 'late', 'acme');
      const verified = await eraser.verify(SCOPE);
      expect(verified.remaining).toContainEqual({ kind: 'acl-user', count: 1 });
      expect(isVerified(verified)).toBe(false);
      await raw.acl('DELUSER', 'late');
    }
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
  });
});
