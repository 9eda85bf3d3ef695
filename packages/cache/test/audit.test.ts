import { createTenantRegistry, memoryTenantStore, type Finding } from '@tenantkit/core';
import { Redis, cacheAuditor } from '@tenantkit/cache';
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

async function findings(client: Redis, signal = new AbortController().signal): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of cacheAuditor(client, { store: 'cache:eu' }).audit(signal)) found.push(finding);
  return found.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
}

describe('the auditor', () => {
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

  it('takes no unknown option, and no other client', () => {
    expect(() => cacheAuditor(opened.redis, { deep: true } as object)).toThrow(/store, known and timeout/);
    expect(() => cacheAuditor(opened.raw as unknown as Redis)).toThrow(/@tenantkit\/cache/);
  });
});
