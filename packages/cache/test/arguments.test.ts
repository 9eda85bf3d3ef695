import { Command } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openCache, type Opened } from './support.ts';

let cache: Opened;

beforeAll(async () => {
  cache = await openCache();
});
beforeEach(async () => {
  await cache.raw.flushdb();
  await cache.raw.zadd('tk:globex:z', 1, 'of globex');
  await cache.raw.set('tk:globex:secret', 'of globex');
  await cache.raw.zadd('tk:acme:z', 1, 'of acme');
});
afterAll(async () => cache[Symbol.asyncDispose]());

const inAcme = <T>(fn: () => T): T => withTenant('acme', fn);

/** Bytes that say something else than they are. */
const lying = (bytes: string, says: string): Buffer =>
  Object.assign(Buffer.from(bytes), { toString: (): string => says });

describe('a Buffer that answers the check one way and the connection another', () => {
  it('is counted by its bytes', async () => {
    const { redis } = cache;
    await expect(inAcme(() => redis.call('zunion', lying('2', '1'), 'z', 'tk:globex:z'))).resolves.toEqual([
      'of acme',
    ]);
    await expect(inAcme(() => redis.call('zunion', Buffer.from('2'), 'z', 'z'))).resolves.toEqual([
      'of acme',
    ]);
  });

  it('is a token by its bytes', async () => {
    const { redis, raw } = cache;
    const copy = inAcme(() => redis.call('copy', 'z', 'y', lying('DB', 'replace'), lying('1', 'replace')));
    await expect(copy).rejects.toMatchObject({ code: 'OPERATION_REFUSED' });
    await expect(inAcme(() => redis.call('copy', 'z', 'y', lying('replace', 'DB')))).resolves.toBe(1);
    await expect(raw.exists('tk:acme:y')).resolves.toBe(1);
  });

  it.each([false, true])(
    'cannot smuggle a command past its length (autopipelining: %s)',
    async (enableAutoPipelining) => {
      const redis = cache.guarded({ enableAutoPipelining });
      const smuggled = 'v\r\n*2\r\n$3\r\nGET\r\n$16\r\ntk:globex:secret\r\n';
      for (const length of [{ value: 1 }, { get: () => 1 }]) {
        const value = Object.defineProperty(Buffer.from(smuggled), 'length', length);
        await inAcme(() => redis.set('x', value));
        await expect(inAcme(() => redis.get('x'))).resolves.toBe(smuggled);
        const key = Object.defineProperty(Buffer.from(smuggled), 'length', length);
        await inAcme(() => redis.set(key, 'under a long key'));
        await expect(inAcme(() => redis.get(smuggled))).resolves.toBe('under a long key');
      }
    },
  );

  it.each(['pipeline', 'offline queue', 'autopipelining'])(
    'is read when the command is called (%s)',
    async (how) => {
      const redis = cache.guarded({ lazyConnect: true, enableAutoPipelining: how === 'autopipelining' });
      if (how !== 'offline queue') await redis.connect();
      const count = Buffer.from('1');
      const pipeline = inAcme(() => redis.pipeline());
      const direct =
        how === 'pipeline' ? undefined : inAcme(() => redis.call('zunion', count, 'z', 'tk:globex:z'));
      if (direct === undefined) inAcme(() => pipeline.call('zunion', count, 'z', 'tk:globex:z'));
      count.write('2');
      const reply = await (direct ?? inAcme(() => pipeline.exec())).catch((error: unknown) => error);
      expect(JSON.stringify(reply)).not.toContain('of globex');
    },
  );

  it('is written as bytes when it was put into a command that began with texts', async () => {
    const { redis } = cache;
    const value = Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.from('\r\n*2\r\n$3\r\nGET\r\n')]);
    const command = new Command('set', ['x', 'a text']);
    command.args[1] = value;
    await inAcme(() => redis.sendCommand(command));
    await expect(inAcme(() => redis.getBuffer('x'))).resolves.toEqual(value);
    await expect(inAcme(() => redis.get('other'))).resolves.toBeNull();
  });

  it.each([
    ['a Proxy', new Proxy(Buffer.from('z'), {})],
    ['an object that only has the prototype', Object.create(Buffer.prototype) as Buffer],
    ['memory that was given away', detached()],
  ])('is refused when it is %s', async (_, key) => {
    const { redis } = cache;
    await expect(inAcme(() => redis.set(key, 'x'))).rejects.toBeInstanceOf(Error);
    await expect(inAcme(() => redis.get('other'))).resolves.toBeNull();
    await expect(cache.raw.dbsize()).resolves.toBe(3);
  });
});

describe('a client that a tenant makes another way', () => {
  it.each([{ tenant: { names: 'tk:globex:{tenant}:' } }, { db: 1 }, { host: 'localhost' }, { path: '/x' }])(
    'is not duplicated with %j inside a tenant',
    (override) => {
      const { redis } = cache;
      expect(() => inAcme(() => redis.duplicate(override))).toThrow(/duplicate is refused/);
      const same = inAcme(() => redis.duplicate({ lazyConnect: true, connectionName: 'second' }));
      same.disconnect();
    },
  );

  it.each(['multi', 'exec', 'pipeline', 'get'])('does not put %s anew for everybody', async (name) => {
    const own = cache.guarded();
    const before: unknown = Reflect.get(own, name);
    try {
      inAcme(() => own.addBuiltinCommand(name));
    } catch (error) {
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    }
    expect(Reflect.get(own, name)).toBe(before);
    await expect(inAcme(() => own.multi().set('k', 'v').exec())).resolves.toEqual([[null, 'OK']]);
  });

  it('does not bring the autopipelining of ioredis back', () => {
    const { options } = cache.guarded({ enableAutoPipelining: true });
    const ignored = options.autoPipeliningIgnoredCommands ?? [];
    expect(ignored.includes('get')).toBe(true);
    expect(() => Object.assign(ignored, { includes: () => false })).toThrow(TypeError);
    expect(() => Object.assign(Object.getPrototypeOf(ignored) as object, { includes: () => false })).toThrow(
      TypeError,
    );
  });
});

function detached(): Buffer {
  const bytes = new Uint8Array([122]);
  const buffer = Buffer.from(bytes.buffer);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return buffer;
}
