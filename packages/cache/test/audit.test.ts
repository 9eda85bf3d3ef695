import { createTenantRegistry, memoryTenantStore, withTenant, type Finding } from '@tenantkit/core';
import { Redis, cacheAuditor, indexCache, type CacheAuditorOptions } from '@tenantkit/cache';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, everythingIn, failure, openCache, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
});

async function findings(
  client: Redis,
  signal = new AbortController().signal,
  options: CacheAuditorOptions = {},
): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of cacheAuditor(client, { store: 'cache:eu', ...options }).audit(signal))
    found.push(finding);
  return found.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
}

const codes = async (client: Redis, options: CacheAuditorOptions = {}): Promise<unknown[]> =>
  (await findings(client, undefined, options)).map(({ name, code, severity }) => [name, code, severity]);

describe('the auditor of registries', () => {
  it('finds nothing in what this package writes', async () => {
    const { raw } = opened;
    const own = opened.guarded({ tenant: { index: true } });
    await raw.set('tk:acme:before', '1');
    await indexCache(own);
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => own.set('a*[', '1', 'EX', 100));
    expect(await codes(own)).toEqual([]);
    // A client without the option knows the names, too.
    expect(await codes(opened.redis)).toEqual([]);
    expect(await codes(own, { details: true })).toEqual([['tk:acme:', 'without_expiry', 'info']]);
  });

  it('finds names, types and entries of others', async () => {
    const { redis, raw } = opened;
    await raw.zadd('tk!keys:tk:acme:', 1, 'tk:acme2:x', 2, 'kgone');
    await raw.zadd('tk!subject:p1:tk:acme2:', 1, 'x');
    await raw.set('tk!keys:tk:a:', 'of another type');
    const unknown = [
      'tk!keys',
      'tk!keys:app:acme:',
      'tk!keys:tk:acme:x',
      'tk!subject:p1*:tk:acme:',
      'tk!indexed:x',
    ];
    for (const name of unknown) await raw.set(name, 'x');
    const before = await everythingIn(raw);
    expect(await codes(redis, { details: true })).toEqual([
      ...unknown.slice(4).map((name) => [name, 'unknown_reserved_name', 'medium']),
      ['tk!keys', 'unknown_reserved_name', 'medium'],
      ['tk!keys:app:acme:', 'unknown_reserved_name', 'medium'],
      ['tk!keys:tk:a:', 'broken_registry', 'high'],
      ['tk!keys:tk:acme:', 'foreign_entry', 'high'],
      ['tk!keys:tk:acme:', 'entry_without_key', 'info'],
      ['tk!keys:tk:acme:x', 'unknown_reserved_name', 'medium'],
      ['tk!subject:p1*:tk:acme:', 'unknown_reserved_name', 'medium'],
      ['tk!subject:p1:tk:acme2:', 'foreign_entry', 'high'],
    ]);
    expect(await everythingIn(raw)).toEqual(before);
  });

  it('finds what else there is beside a registry of another type', async () => {
    const own = opened.guarded({ tenant: { index: true } });
    await opened.raw.set('tk!indexed:tk:{tenant}:', 'now');
    await opened.raw.xadd('tk!keys:tk:acme:', '*', 'a', 'b');
    await opened.raw.set('tk:acme:key', '1');
    await opened.raw.set('stranger', '1');
    expect(await codes(own)).toEqual([
      ['stranger', 'outside_every_tenant', 'high'],
      ['tk!keys:tk:acme:', 'broken_registry', 'high'],
      ['tk:acme:key', 'not_in_registry', 'high'],
    ]);
  });

  it('finds keys that a complete registry does not name', async () => {
    const own = opened.guarded({ tenant: { index: true } });
    await acme(() => own.set('a', '1'));
    await opened.raw.set('tk:acme:past the client', '1');
    // Nobody has said that it is complete.
    expect(await codes(own)).toEqual([]);
    await opened.raw.set('tk!indexed:tk:{tenant}:', 'now');
    expect(await codes(own)).toEqual([['tk:acme:past the client', 'not_in_registry', 'high']]);
    await indexCache(own);
    expect(await codes(own)).toEqual([]);
  });

  it('finds what an erased tenant has left in registries', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const own = opened.guarded({ tenant: { index: true, fence } });
      await opened.raw.zadd('tk!subject:p1:tk:acme:', 1, 'kgone');
      expect(await codes(own)).toEqual([]);
      await fence.markErased('acme');
      expect(await codes(own)).toEqual([['tk!subject:p1:tk:acme:', 'erased_tenant', 'critical']]);
    } finally {
      fence.close();
    }
  });
});

describe('the auditor', () => {
  it('counts the keys whose prefix stands there twice, as code that still builds it has written them', async () => {
    const { redis, raw } = opened;
    await acme(() =>
      redis.mset('tk:acme:user:1', '1', 'tk:acme:user:2', '1', 'tk:acme2:user:1', '1', 'user:1', '1'),
    );
    await acme2(() => redis.set('tk:acme:user:1', '1'));
    await raw.set(Buffer.from('tk:acme2:tk:acme2:\xff', 'latin1'), '1');
    const found = await findings(redis);
    expect(found.map(({ code, name, severity }) => [code, name, severity])).toEqual([
      ['doubled_prefix', 'tk:acme2:tk:acme2:', 'medium'],
      ['doubled_prefix', 'tk:acme:tk:acme:', 'medium'],
    ]);
    expect(found.map(({ message }) => message)).toEqual([
      expect.stringContaining('There are 1.'),
      expect.stringContaining('There are 2.'),
    ]);
  });

  it('counts the keys of tenants that nobody knows, and those that never expire', async () => {
    const { redis, raw } = opened;
    await raw.mset(
      'tk:acme:x',
      '1',
      'tk:acme:y',
      '1',
      'tk:acme2:x',
      '1',
      'tk:ghost:x',
      '1',
      'tk:ghost:y',
      '1',
    );
    await raw.set('tk:acme2:z', '1', 'EX', 100);
    const told = await findings(redis, undefined, { tenants: ['acme', 'acme2'] });
    expect(told.map(({ name, code, severity }) => [name, code, severity])).toEqual([
      ['tk:ghost:', 'unknown_tenant', 'medium'],
    ]);
    expect(told[0]?.message).toContain('There are 2.');
    expect(await codes(redis, { tenants: (id) => Promise.resolve(id !== 'acme2') })).toEqual([
      ['tk:acme2:', 'unknown_tenant', 'medium'],
    ]);
    const counted = await findings(redis, undefined, { details: true });
    expect(counted.map(({ name, message }) => [name, /\d+/.exec(message)?.[0]])).toEqual([
      ['tk:acme2:', '1'],
      ['tk:acme:', '2'],
      ['tk:ghost:', '2'],
    ]);
  });

  it('finds what no tenant owns, and changes nothing', async () => {
    const { redis, raw } = opened;
    await acme(() => redis.set('tk!own', 'x'));
    await acme2(() => redis.set('x', 'x'));
    expect(await findings(redis)).toEqual([]);
    await raw.mset('plain', '1', 'tk:acme', '1', 'tk:acme\u001b[31m', '1', 'tk!unknown', '1');
    const before = await everythingIn(raw);
    expect(
      (await findings(redis)).map(({ name, code, severity, store }) => [name, code, severity, store]),
    ).toEqual([
      ['plain', 'outside_every_tenant', 'high', 'cache:eu'],
      ['tk!unknown', 'unknown_reserved_name', 'medium', 'cache:eu'],
      ['tk:acme', 'outside_every_tenant', 'high', 'cache:eu'],
      ['tk:acme\\u{1b}[31m', 'outside_every_tenant', 'high', 'cache:eu'],
    ]);
    expect(await everythingIn(raw)).toEqual(before);
  });

  it('leaves out what it is told that something else keeps there', async () => {
    const { redis, raw } = opened;
    await raw.mset('bull:mail:meta', '1', 'bulletin', '1', 'tk!unknown', '1');
    const found: Finding[] = [];
    const auditor = cacheAuditor(redis, { known: ['bull:', 'tk!'] });
    for await (const finding of auditor.audit(new AbortController().signal)) found.push(finding);
    // Names that are ours stay ours.
    expect(new Set(found.map(({ name }) => name))).toEqual(new Set(['bulletin', 'tk!unknown']));
    expect(() => cacheAuditor(redis, { known: [''] })).toThrow(/known/);
  });

  it('knows the names of its client', async () => {
    await opened.raw.mset('tk:acme:x', '1', 'app:{acme}:x', '1');
    const own = opened.guarded({ tenant: { names: 'app:{tenant}:', hashTag: true } });
    expect((await findings(own)).map(({ name }) => name)).toEqual(['tk:acme:x']);
  });

  it('finds keys of an erased tenant', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const own = opened.guarded({ tenant: { fence } });
      await opened.raw.mset('tk:acme:x', '1', 'tk:acme2:x', '1');
      expect(await findings(own)).toEqual([]);
      await fence.markErased('acme');
      expect((await findings(own)).map(({ name, code }) => [name, code])).toEqual([
        ['tk:acme:x', 'erased_tenant'],
      ]);
    } finally {
      fence.close();
    }
  });

  it('stops when it is told to, and when the store cannot be reached', async () => {
    await opened.raw.set('plain', '1');
    const reason = new Error('enough');
    expect(await failure(() => findings(opened.redis, AbortSignal.abort(reason)))).toBe(reason);
    const own = new Redis({ port: 1, maxRetriesPerRequest: null });
    own.on('error', () => undefined);
    const audit = cacheAuditor(own, { timeout: 100 }).audit(new AbortController().signal);
    expect(await failure(() => audit[Symbol.asyncIterator]().next())).toMatchObject({
      code: 'STORE_UNREACHABLE',
    });
    own.disconnect();
  });

  it('needs no signal, and takes nothing else for one', async () => {
    await opened.raw.set('nobody', '1');
    const auditor = cacheAuditor(opened.redis);
    const found: string[] = [];
    for await (const { code } of auditor.audit()) found.push(code);
    expect(found).toContain('outside_every_tenant');
    for (const wrong of [60_000, null, { aborted: false }]) {
      const findings = auditor.audit(wrong as unknown as AbortSignal)[Symbol.asyncIterator]();
      expect(await failure(() => findings.next())).toMatchObject({ code: 'CONFIG_INVALID' });
    }
    const stopped = auditor.audit(AbortSignal.abort(new Error('stopped')))[Symbol.asyncIterator]();
    expect((await failure(() => stopped.next())).message).toBe('stopped');
  });

  it('takes no unknown option, and no other client', () => {
    expect(() => cacheAuditor(opened.redis, { deep: true } as object)).toThrow(
      'unknown option "deep"; there are store, known, tenants, details, timeout',
    );
    expect(() => cacheAuditor(opened.raw as unknown as Redis)).toThrow(/@tenantkit\/cache/);
  });
});
