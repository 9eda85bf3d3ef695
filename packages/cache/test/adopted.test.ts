import { acrossTenants, withTenant } from '@tenantkit/core';
import { Redis, cacheAuditor, cacheBackstop, cacheEraser } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { Redis as Raw } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, everythingIn, failure, openCache, operator, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache({ tenant: { names: '{tenant}:' } });
  ({ redis, raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());

// Written by a service long before: ids that begin with one another, and keys that hold another's name.
beforeEach(async () => {
  await raw.flushdb();
  for (const tenant of TENANTS) {
    await raw.set(`${tenant}:user:1`, `Ada of ${tenant}`);
    await raw.hset(`${tenant}:user:2`, 'name', `Bob of ${tenant}`);
    await raw.rpush(`${tenant}:jobs`, `job of ${tenant}`);
    await raw.set(`${tenant}:acme:user:1`, `named like another’s, of ${tenant}`);
    await raw.set(`${tenant}:`, `without a name, of ${tenant}`);
  }
  await raw.set('global', 'of nobody');
  await raw.set(':user:1', 'of nobody');
  await raw.set('acme', 'of nobody');
});

const OWN = ['', 'acme:user:1', 'jobs', 'user:1', 'user:2'];

describe('a data set that was there before', () => {
  it.each(TENANTS)('is read and written by %s under its old names', async (tenant) => {
    await withTenant(tenant, async () => {
      expect(await redis.get('user:1')).toBe(`Ada of ${tenant}`);
      expect(await redis.hgetall('user:2')).toEqual({ name: `Bob of ${tenant}` });
      expect(await redis.lpop('jobs')).toBe(`job of ${tenant}`);
      expect(await redis.get('')).toBe(`without a name, of ${tenant}`);
      expect(await redis.get('acme:user:1')).toBe(`named like another’s, of ${tenant}`);
      for (const other of TENANTS) expect(await redis.get(`${other}:user:2`)).toBeNull();
      expect(await redis.multi().set('user:1', 'new').get('user:1').exec()).toEqual([
        [null, 'OK'],
        [null, 'new'],
      ]);
    });
    expect(await raw.get(`${tenant}:user:1`)).toBe('new');
    for (const other of TENANTS.filter((other) => other !== tenant))
      expect(await raw.get(`${other}:user:1`)).toBe(`Ada of ${other}`);
  });

  it.each(TENANTS)('is walked by %s, and emptied, without those of others', async (tenant) => {
    const before = await everythingIn(raw);
    await withTenant(tenant, async () => {
      const found: string[] = [];
      for await (const page of redis.scanStream({ match: '*' })) found.push(...(page as string[]));
      expect(found.toSorted()).toEqual(OWN);
      expect((await redis.keys('*')).toSorted()).toEqual(OWN);
      expect(await redis.keys('user:?')).toHaveLength(2);
      expect(await redis.dbsize()).toBe(OWN.length);
      expect(OWN).toContain(await redis.randomkey());
      expect(await redis.flushdb()).toBe('OK');
      expect(await redis.dbsize()).toBe(0);
    });
    const left = Object.fromEntries(Object.entries(before).filter(([key]) => !key.startsWith(`${tenant}:`)));
    expect(Object.keys(left)).toHaveLength(OWN.length * (TENANTS.length - 1) + 3);
    expect(await everythingIn(raw)).toEqual(left);
  });

  it.each(TENANTS)('is erased for %s, and proved to be', async (tenant) => {
    const before = await everythingIn(raw);
    const eraser = cacheEraser(redis);
    expect((await eraser.plan({ tenant })).items).toEqual([{ kind: 'keys', count: OWN.length }]);
    const outcome = await eraser.erase(
      { tenant },
      {
        signal: new AbortController().signal,
        checkpoint: { load: async () => undefined, save: async () => undefined },
        progress: () => undefined,
      },
    );
    expect(outcome.erased).toEqual([{ kind: 'keys', count: OWN.length }]);
    expect((await eraser.verify({ tenant })).remaining).toEqual([
      { kind: 'keys', count: 0 },
      { kind: 'acl-user', count: 0 },
    ]);
    const left = Object.fromEntries(Object.entries(before).filter(([key]) => !key.startsWith(`${tenant}:`)));
    expect(await everythingIn(raw)).toEqual(left);
    expect((await eraser.plan({ tenant: 'acme2x' })).items).toEqual([{ kind: 'keys', count: 0 }]);
  });

  it('is audited: what has no tenant in its name is found', async () => {
    const findings: [code: string, name: string | undefined][] = [];
    for await (const { code, name } of cacheAuditor(redis).audit(new AbortController().signal))
      findings.push([code, name]);
    const outside = findings
      .filter(([code]) => code === 'outside_every_tenant')
      .map(([, name]) => name ?? '');
    expect(outside.toSorted()).toEqual([':user:1', 'acme', 'global']);
    // What `acme` has named `acme:user:1` cannot be told from what was written with the prefix twice.
    expect(findings.filter(([code]) => code !== 'outside_every_tenant')).toEqual([
      ['doubled_prefix', 'acme:acme:'],
    ]);
  });

  it('is kept apart by the server too', async () => {
    const username = `tk-test-${randomBytes(6).toString('hex')}`;
    await raw.call(
      'ACL',
      'SETUSER',
      username,
      ...cacheBackstop('acme', { names: '{tenant}:' }),
      '>secret',
      '+select',
    );
    const client = opened.witness({ username, password: 'secret', enableReadyCheck: false });
    try {
      expect(await client.get('acme:user:1')).toBe('Ada of acme');
      for (const key of ['acme2:user:1', 'a:user:1', 'a-b:user:1', 'ac:user:1', 'acme'])
        expect((await failure(() => client.get(key))).message).toMatch(/^NOPERM/);
    } finally {
      client.disconnect();
      await raw.call('ACL', 'DELUSER', username);
    }
  });

  it('is on a connection of one’s own what it is on the client', async () => {
    expect(
      await acme(() =>
        redis.dedicated(async (own) => {
          await own.watch('user:1');
          await raw.set('acme2:user:1', 'changed');
          return own.multi().get('user:1').exec();
        }),
      ),
    ).toEqual([[null, 'Ada of acme']]);
    expect(await operator(() => redis.get('acme:user:1'))).toBe('Ada of acme');
    expect(await acrossTenants({ reason: 'test', actor: 'tester' }, () => redis.get('global'))).toBe(
      'of nobody',
    );
  });
});
