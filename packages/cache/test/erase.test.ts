import { auditChannels, isVerified, type AuditEvent } from '@tenantkit/core';
import { Redis, cacheEraser } from '@tenantkit/cache';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { proxyTo } from './proxy.ts';
import { everythingIn, failure, openCache, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache();
  ({ redis, raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
});

async function fill(prefix: string, count: number): Promise<void> {
  const pipeline = raw.pipeline();
  for (let n = 0; n < count; n += 1) pipeline.set(`${prefix}${n}`, 'x');
  await pipeline.exec();
}

describe('the eraser', () => {
  it('removes many keys in batches, of every type and name, and nothing beside them', async () => {
    await fill('tk:acme:', 3500);
    await raw.set(Buffer.concat([Buffer.from('tk:acme:'), Buffer.from([0xff, 0x00, 0x0a])]), 'bytes');
    await raw.set('tk:acme:', 'the empty name');
    await raw.rpush('tk:acme:list', 'x');
    const own = 3500 + 3;
    const others = ['tk:acme', 'tk:acme2:x', 'tk:acm:x', 'TK:acme:x', 'xtk:acme:x', 'tk:a*:x', 'tk!acme:x'];
    for (const key of others) await raw.set(key, 'stays');
    await fill('tk:acme2:', 3500);

    const eraser = cacheEraser(redis);
    expect(await eraser.plan({ tenant: 'acme' })).toEqual({
      store: 'cache',
      items: [{ kind: 'keys', count: own }],
      kept: [],
    });
    const one = run();
    expect(await eraser.erase({ tenant: 'acme' }, one)).toEqual({
      store: 'cache',
      erased: [{ kind: 'keys', count: own }],
      kept: [],
    });
    expect(one.steps.length).toBeGreaterThan(1);
    expect(one.steps.at(-1)).toBe(own);
    expect([...one.steps].sort((a, b) => a - b)).toEqual(one.steps);
    expect(await raw.dbsize()).toBe(3500 + others.length);
    expect(await raw.exists(...others)).toBe(others.length);
    expect(isVerified(await eraser.verify({ tenant: 'acme' }))).toBe(true);
    expect(isVerified(await eraser.verify({ tenant: 'acme2' }))).toBe(false);
  });

  it('goes on until a walk finds nothing, though somebody still writes', async () => {
    await fill('tk:acme:', 1500);
    let late = 3;
    const one = run({
      progress: () => {
        late -= 1;
        if (late >= 0) void raw.set(`tk:acme:late${late}`, 'x');
      },
    });
    const { erased } = await cacheEraser(redis).erase({ tenant: 'acme' }, one);
    expect(erased).toEqual([{ kind: 'keys', count: 1500 + 3 }]);
    expect(await raw.dbsize()).toBe(0);
  });

  it('is resumed where it was interrupted, and counts what was removed before', async () => {
    await fill('tk:acme:', 5000);
    const stop = new AbortController();
    const one = run({ signal: stop.signal, progress: () => stop.abort(new Error('stopped')) });
    expect(await failure(() => cacheEraser(redis).erase({ tenant: 'acme' }, one))).toMatchObject({
      message: 'stopped',
    });
    const left = await raw.dbsize();
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThan(5000);
    const two = run({ saved: one.saved });
    const { erased } = await cacheEraser(redis).erase({ tenant: 'acme' }, two);
    expect(erased).toEqual([{ kind: 'keys', count: 5000 }]);
    expect(await raw.dbsize()).toBe(0);
  });

  it.each(['nonsense', '{}', '{"erased":-1}', '{"erased":1,"more":1}'])(
    'refuses the checkpoint %s',
    async (saved) => {
      await raw.set('tk:acme:x', '1');
      const error = await failure(() => cacheEraser(redis).erase({ tenant: 'acme' }, run({ saved })));
      expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      expect(await raw.exists('tk:acme:x')).toBe(1);
      await cacheEraser(redis).erase({ tenant: 'acme' }, run({ saved: '{"erased":0}' }));
      expect(await raw.exists('tk:acme:x')).toBe(0);
    },
  );

  it('never takes a person for the whole tenant', async () => {
    await raw.set('tk:acme:x', '1');
    const eraser = cacheEraser(redis);
    const scope = { tenant: 'acme', subject: 'p1' };
    expect(eraser.subjects).toMatchObject({ unsupported: expect.stringContaining('erase the tenant') });
    for (const call of [
      () => eraser.plan(scope),
      () => eraser.erase(scope, run()),
      () => eraser.verify(scope),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'OPERATION_REFUSED' });
    }
    expect(await raw.exists('tk:acme:x')).toBe(1);
  });

  it.each(['', '*', 'acme:*', 'acme*'])('refuses the tenant %j', async (tenant) => {
    await raw.set('tk:acme:x', '1');
    const eraser = cacheEraser(redis);
    const sent = redis.stream.bytesWritten;
    for (const call of [
      () => eraser.plan({ tenant }),
      () => eraser.erase({ tenant }, run()),
      () => eraser.verify({ tenant }),
    ]) {
      expect(await failure(call)).toMatchObject({ code: 'TENANT_INVALID' });
    }
    expect(redis.stream.bytesWritten).toBe(sent);
    expect(await raw.exists('tk:acme:x')).toBe(1);
  });

  it('leaves an audit trail', async () => {
    await raw.mset('tk:acme:x', '1', 'tk:acme2:x', '1');
    const events: AuditEvent[] = [];
    const note = (event: AuditEvent): unknown => events.push(event);
    auditChannels.bypass.subscribe(note as never);
    auditChannels.erasure.subscribe(note as never);
    await cacheEraser(redis, { store: 'cache:eu' }).erase({ tenant: 'acme2' }, run());
    auditChannels.bypass.unsubscribe(note as never);
    auditChannels.erasure.unsubscribe(note as never);
    expect(events.map(({ type, tenantid }) => [type, tenantid])).toEqual([
      ['tenantkit.bypass', undefined],
      ['tenantkit.erasure', 'acme2'],
    ]);
    expect(events[0]?.data.actor.user.name).toBe('tenantkit/cacheEraser.erase');
    expect(events[1]?.data.unmapped).toEqual({ store: 'cache:eu', count: 1 });
    expect(await raw.keys('*')).toEqual(['tk:acme:x']);
  });

  it('leaves nothing of its positive control, and finds it even while other keys expire', async () => {
    await fill('tk:acme2:', 100);
    const before = await everythingIn(raw);
    const { control } = await cacheEraser(redis).verify({ tenant: 'acme' });
    expect(control).toMatchObject({ planted: 1, found: 1 });
    expect(await everythingIn(raw)).toEqual(before);
  });
});

describe('an eraser cannot be made', () => {
  it('of a client of plain ioredis', () => {
    const plain = new Raw({ lazyConnect: true });
    expect(() => cacheEraser(plain as unknown as Redis)).toThrow(/@tenantkit\/cache/);
    expect(cacheEraser(redis).store).toBe('cache');
  });

  it.each([{ store: '' }, { timeout: 0 }, { names: 'x:{tenant}:' }])('with %j', (options) => {
    expect(() => cacheEraser(redis, options)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});

describe('a store that cannot be reached', () => {
  const unreachable = expect.objectContaining({ code: 'STORE_UNREACHABLE' });

  it('ends every call with an error that names the server and no secret', async () => {
    const own = new Redis('redis://user:hunter2@127.0.0.1:1/0', { maxRetriesPerRequest: null });
    own.on('error', () => undefined);
    const eraser = cacheEraser(own, { timeout: 200 });
    const scope = { tenant: 'acme' };
    for (const call of [
      () => eraser.plan(scope),
      () => eraser.erase(scope, run()),
      () => eraser.verify(scope),
    ]) {
      const error = await failure(call);
      expect(error).toEqual(unreachable);
      expect(error.message).toContain('redis://127.0.0.1:1');
      expect(error.message).not.toMatch(/hunter2|user/);
    }
    own.disconnect();
    expect(await failure(() => eraser.plan(scope))).toEqual(unreachable);
  });

  it('also when it falls silent in the middle', async () => {
    await fill('tk:acme:', 5000);
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const own = new Redis({ port: proxy.port, db: Number(pathname.slice(1)) });
    own.on('error', () => undefined);
    const one = run({ progress: () => proxy.swallow() });
    expect(await failure(() => cacheEraser(own, { timeout: 200 }).erase({ tenant: 'acme' }, one))).toEqual(
      unreachable,
    );
    own.disconnect();
    const { erased } = await cacheEraser(redis).erase({ tenant: 'acme' }, run({ saved: one.saved }));
    expect(erased[0]?.count).toBeGreaterThanOrEqual(4000);
    expect(await raw.dbsize()).toBe(0);
  });
});
