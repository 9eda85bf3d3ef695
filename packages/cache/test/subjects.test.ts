import {
  createTenantRegistry,
  isVerified,
  memoryTenantStore,
  withTenant,
  withoutSubject,
} from '@tenantkit/core';
import { Redis, cacheEraser, type CacheOptions } from '@tenantkit/cache';
import type { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from './erase-run.ts';
import { acme, acme2, everythingIn, failure, openCache, ready, type Opened } from './support.ts';

let opened: Opened;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache();
  ({ raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
});

const SCOPE = { tenant: 'acme', subject: 'p1' };
const PATTERNS: CacheOptions = { subjects: ['user:{subject}:*', 'profile:{subject}', 'a?b:{subject}:[*]'] };

async function client(tenant: CacheOptions): Promise<Redis> {
  const made = opened.guarded({ tenant });
  await ready(made);
  return made;
}

const about = <T>(subject: string, fn: () => T): T => withTenant({ tenant: 'acme', subject }, fn);

describe('a person is erased', () => {
  it('by the person’s set: what was written for that person, and nothing else', async () => {
    const redis = await client({ index: true });
    const odd = ['x', '*', 'a[b]', 'tk:acme2:x', '', 'p1', Buffer.from([0xff, 0x00])];
    await acme(() => redis.set('of nobody', '1'));
    await about('p10', () => redis.set('of p10', '1'));
    await withTenant({ tenant: 'acme2', subject: 'p1' }, () => redis.set('x', '1'));
    const before = await everythingIn(raw);
    await about('p1', async () => {
      for (const key of odd) await redis.set(key, '1');
    });
    const eraser = cacheEraser(redis);
    expect(eraser.subjects).toBe('supported');
    expect((await eraser.plan(SCOPE)).items).toEqual([
      { kind: 'keys', count: odd.length },
      { kind: 'entries', count: odd.length },
    ]);
    expect(isVerified(await eraser.verify(SCOPE))).toBe(false);
    expect((await eraser.erase(SCOPE, run())).erased).toEqual([{ kind: 'keys', count: odd.length }]);
    expect(await everythingIn(raw)).toEqual(before);
    const verified = await eraser.verify(SCOPE);
    expect(isVerified(verified)).toBe(true);
    expect(verified.control).toMatchObject({ planted: 1, found: 1 });
    expect(await everythingIn(raw)).toEqual(before);
  });

  it('and what was written in that person’s request without the person stays', async () => {
    const redis = await client({ index: true });
    await acme(() => redis.hset('stock', 'apple', 5));
    const before = await everythingIn(raw);
    await about('p1', async () => {
      await redis.set('cart', 'apple');
      await withoutSubject(() => redis.hset('stock', 'apple', 5));
    });
    await cacheEraser(redis).erase(SCOPE, run());
    expect(await everythingIn(raw)).toEqual(before);
    await about('p1', () => redis.hset('stock', 'apple', 5));
    await cacheEraser(redis).erase(SCOPE, run());
    expect(await acme(() => redis.exists('stock'))).toBe(0);
  });

  it('by patterns: names that hold the id, whoever has written them', async () => {
    const redis = await client(PATTERNS);
    const own = ['user:p1:', 'user:p1:a', 'profile:p1', 'axb:p1:[z]'];
    const others = [
      'user:p10:a',
      'user:p',
      'profile:p1:x',
      'profile:p10',
      'ab:p1:[z]',
      'axb:p1:z',
      'user:*:a',
      'xuser:p1:a',
    ];
    await acme2(() => redis.mset(...own.flatMap((key) => [key, '1'])));
    await acme(() => redis.mset(...others.flatMap((key) => [key, '1'])));
    const before = await everythingIn(raw);
    await acme(() => redis.mset(...own.flatMap((key) => [key, '1'])));
    const eraser = cacheEraser(redis);
    expect(eraser.subjects).toBe('supported');
    expect((await eraser.plan(SCOPE)).items).toEqual([{ kind: 'keys', count: own.length }]);
    expect((await eraser.erase(SCOPE, run())).erased).toEqual([{ kind: 'keys', count: own.length }]);
    expect(await everythingIn(raw)).toEqual(before);
    const verified = await eraser.verify(SCOPE);
    expect(isVerified(verified)).toBe(true);
    expect(verified.control).toMatchObject({ planted: 3, found: 3 });
    expect(await everythingIn(raw)).toEqual(before);
  });

  it('by both, and each key is counted once', async () => {
    const redis = await client({ index: true, ...PATTERNS });
    await about('p1', () => redis.mset('user:p1:a', '1', 'other', '1'));
    const eraser = cacheEraser(redis);
    expect((await eraser.plan(SCOPE)).items[0]).toEqual({ kind: 'keys', count: 2 });
    expect((await eraser.erase(SCOPE, run())).erased).toEqual([{ kind: 'keys', count: 2 }]);
    expect(await raw.dbsize()).toBe(0);
    expect((await eraser.verify(SCOPE)).control).toMatchObject({ planted: 4, found: 4 });
    expect(await raw.dbsize()).toBe(0);
  });

  it.each<[CacheOptions, RegExp, RegExp]>([
    [{ index: true }, / in the set of the person, found /, /pattern|not looked at/],
    [PATTERNS, / for every pattern, found .*without index .* not looked at$/, /in the set/],
    [
      { ...PATTERNS, index: true },
      / in the set of the person and for every pattern, found /,
      /not looked at/,
    ],
  ])('and what was done to know it is said, with %j', async (options, said, unsaid) => {
    const eraser = cacheEraser(await client(options));
    const { control } = await eraser.verify(SCOPE);
    expect(control.found).toBe(control.planted);
    expect(control.method).toMatch(said);
    expect(control.method).not.toMatch(unsaid);
  });

  it('with the keys that are about another person, too, whose set then names a key that is gone', async () => {
    const redis = await client({ index: true });
    await about('p1', () => redis.sadd('friends', 'p1'));
    await about('p2', () => redis.sadd('friends', 'p2'));
    const eraser = cacheEraser(redis);
    await eraser.erase(SCOPE, run());
    expect(await raw.exists('tk:acme:friends')).toBe(0);
    expect((await eraser.plan({ tenant: 'acme', subject: 'p2' })).items).toEqual([
      { kind: 'keys', count: 0 },
      { kind: 'entries', count: 1 },
    ]);
  });

  it('though the person is still written about', async () => {
    const redis = await client({ index: true });
    await about('p1', () => redis.set('hot', '1'));
    let late: Promise<unknown> | undefined;
    const { erased } = await cacheEraser(redis).erase(
      SCOPE,
      run({ progress: () => (late ??= about('p1', () => redis.set('hot', '2'))) }),
    );
    await late;
    expect(erased).toEqual([{ kind: 'keys', count: 2 }]);
    expect(await raw.dbsize()).toBe(0);
  });

  it('behind the fence without waiting, and a tenant that is erased takes the sets along', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const redis = await client({ index: true, fence });
      await about('p1', () => redis.set('a', '1'));
      await about('p2', () => redis.set('b', '1'));
      await fence.freeze('acme');
      await cacheEraser(redis).erase(SCOPE, run());
      expect((await raw.keys('*')).sort()).toEqual([
        'tk!keys:tk:acme:',
        'tk!subject:p2:tk:acme:',
        'tk:acme:b',
      ]);
      await cacheEraser(redis).erase({ tenant: 'acme' }, run());
      expect(await raw.dbsize()).toBe(0);
    } finally {
      fence.close();
    }
  });

  it('and is not said to be gone where something else stands in the place of the set', async () => {
    const redis = await client({ index: true });
    await about('p1', () => redis.set('mail', 'of p1'));
    await raw.set('tk!subject:p1:tk:acme:', 'x');
    const eraser = cacheEraser(redis);
    for (let time = 1; time <= 2; time += 1) {
      await eraser.erase(SCOPE, run());
      expect(isVerified(await eraser.verify(SCOPE))).toBe(false);
    }
    // Who takes all of the tenant takes that, too.
    await eraser.erase({ tenant: 'acme' }, run());
    expect(isVerified(await eraser.verify(SCOPE))).toBe(true);
    expect(await raw.dbsize()).toBe(0);
  });

  it('goes on where it was interrupted', async () => {
    const redis = await client({ index: true });
    await about('p1', () =>
      redis.mset(Object.fromEntries(Array.from({ length: 1500 }, (_, n) => [`k${n}`, '1']))),
    );
    const stop = new AbortController();
    const one = run({ signal: stop.signal, progress: () => stop.abort(new Error('stopped')) });
    expect((await failure(() => cacheEraser(redis).erase(SCOPE, one))).message).toBe('stopped');
    expect(await raw.dbsize()).toBeGreaterThan(2);
    const { erased } = await cacheEraser(redis).erase(SCOPE, run({ saved: one.saved }));
    expect(erased).toEqual([{ kind: 'keys', count: 1500 }]);
    expect(await raw.dbsize()).toBe(0);
  });
});

describe('what says where a person’s keys are', () => {
  it.each(['user:{subject}*', 'user:{subject}x', 'user:*', '{subject}:{subject}', ''])(
    'is refused: %j',
    (pattern) => {
      expect(() => opened.guarded({ tenant: { subjects: [pattern] } })).toThrow(/hold \{subject\} once/);
      expect(() => opened.guarded({ tenant: { subjects: [{ field: 'x' }] as never } })).toThrow(/subjects/);
    },
  );

  it.each(['p1*', '', 'p1:x', '{subject}'])('the id %j is refused', async (subject) => {
    const redis = await client(PATTERNS);
    await acme(() => redis.set('user:p1:x', '1'));
    for (const call of ['plan', 'erase', 'verify'] as const)
      expect(await failure(() => cacheEraser(redis)[call]({ tenant: 'acme', subject }))).toMatchObject({
        code: 'TENANT_INVALID',
      });
    expect(await raw.exists('tk:acme:user:p1:x')).toBe(1);
    await cacheEraser(redis).erase(SCOPE, run());
    expect(await raw.exists('tk:acme:user:p1:x')).toBe(0);
  });
});
