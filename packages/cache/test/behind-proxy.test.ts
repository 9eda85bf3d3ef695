import type { Redis } from '@tenantkit/cache';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, failure, openCache, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
beforeAll(async () => {
  opened = await openCache();
  ({ redis } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
  await opened.raw.mset('tk:acme:key', 'of acme', 'tk:acme2:key', 'of acme2');
});

// As the page on connections has it.
const bound = <T extends object>(client: () => T): T =>
  new Proxy({} as T, {
    get: (_, name) => {
      const value: unknown = Reflect.get(client(), name);
      return typeof value === 'function' ? value.bind(client()) : value;
    },
  });

describe('behind a Proxy that hands methods through bound', () => {
  it('a client answers in every form, in the tenant of the caller', async () => {
    const lazy = bound(() => redis);
    expect(lazy.status).toBe('ready');
    for (const [run, own] of [
      [acme, 'of acme'],
      [acme2, 'of acme2'],
    ] as const) {
      await run(async () => {
        expect(await lazy.get('key')).toBe(own);
        expect(await new Promise((resolve) => void lazy.get('key', (_, value) => resolve(value)))).toBe(own);
        expect(await lazy.call('GET', 'key')).toBe(own);
        expect(await lazy.pipeline().get('key').exec()).toEqual([[null, own]]);
        expect(await lazy.multi([['get', 'key']]).exec()).toEqual([[null, own]]);
        expect(await lazy.dedicated((lent) => bound(() => lent).get('key'))).toBe(own);
      });
    }
  });

  it('so does a pipeline', async () => {
    const replies = await acme(async () => {
      const pipeline = redis.pipeline();
      const behind = bound(() => pipeline);
      behind.get('key');
      behind.set('other', 1);
      expect(behind.length).toBe(2);
      return behind.exec();
    });
    expect(replies).toEqual([
      [null, 'of acme'],
      [null, 'OK'],
    ]);
  });
});

describe('behind one that does not, and as a prototype,', () => {
  it.each([
    ['a client', () => new Proxy(redis, {}).get('key')],
    ['a client that is inherited from', () => (Object.create(redis) as Redis).get('key')],
    ['its pipeline()', () => new Proxy(redis, {}).pipeline().get('key').exec()],
    ['a pipeline', () => new Proxy(redis.pipeline(), {}).get('key').exec()],
  ])('%s sends nothing', async (_, call) => {
    const sent = redis.stream.bytesWritten;
    const error = await failure(() => acme(async () => call()));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain('private member');
    expect(redis.stream.bytesWritten).toBe(sent);
    expect(await acme(() => redis.get('key'))).toBe('of acme');
  });
});
