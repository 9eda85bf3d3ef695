import { TenantSwitchError, withTenant } from '@tenantkit/core';
import { Command, Redis, type CachePlacement, type RedisOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { keysOf, openPlaces, type Places } from './place-support.ts';
import { acme, acme2, failure, operator, ready, shown, until } from './support.ts';

let places: Places;
beforeAll(async () => {
  places = await openPlaces();
}, 60_000);
afterAll(() => places[Symbol.asyncDispose]());
beforeEach(() => places.fill());
afterEach(() => places.disconnect());

const a = <T>(fn: () => T): T => withTenant('a', fn);
const HERE = { acme, acme2, a } as const;
const LUA = 'return redis.call("GET", KEYS[1])';

// Each reads the same key, which holds the name of its tenant.
const FORMS: Readonly<Record<string, (redis: Redis) => Promise<unknown>>> = {
  method: (redis) => redis.get('key'),
  Buffer: async (redis) => String(await redis.getBuffer('key')),
  call: (redis) => redis.call('GET', 'key'),
  callBuffer: async (redis) => String(await redis.callBuffer('get', 'key')),
  sendCommand: async (redis) => String(await redis.sendCommand(new Command('get', ['key']))),
  callback: (redis) =>
    new Promise((resolve, reject) => {
      void redis.get('key', (error, value) => (error ? reject(error) : resolve(value)));
    }),
  pipeline: async (redis) => (await redis.pipeline().get('key').exec())?.[0]?.[1],
  'pipeline of arrays': async (redis) => (await redis.pipeline([['get', 'key']]).exec())?.[0]?.[1],
  multi: async (redis) => (await redis.multi().get('key').exec())?.[0]?.[1],
  'multi of arrays': async (redis) => (await redis.multi([['get', 'key']]).exec())?.[0]?.[1],
  script: (redis) => (redis as unknown as { read(key: string): Promise<unknown> }).read('key'),
  'script defined later': (redis) =>
    (redis as unknown as { readLater(key: string): Promise<unknown> }).readLater('key'),
  'script in a pipeline': async (redis) => {
    const pipeline = redis.pipeline() as unknown as {
      readLater(key: string): typeof pipeline;
      exec(): unknown;
    };
    return ((await pipeline.readLater('key').exec()) as [unknown, unknown][])[0]?.[1];
  },
  EVAL: (redis) => redis.eval(LUA, 1, 'key'),
  dedicated: (redis) => redis.dedicated((own) => own.get('key')),
  'dedicated with WATCH': (redis) =>
    redis.dedicated(async (own) => {
      await own.watch('key');
      return (await own.multi().get('key').exec())?.[0]?.[1];
    }),
  duplicate: async (redis) => {
    const own = redis.duplicate();
    const value = await own.get('key');
    own.disconnect();
    return value;
  },
  MGET: async (redis) => (await redis.mget('key'))[0],
  KEYS: async (redis) => {
    expect(await redis.keys('*')).toEqual(['key']);
    return redis.get('key');
  },
  SCAN: async (redis) => {
    expect(await redis.scan(0)).toEqual(['0', ['key']]);
    return redis.get('key');
  },
  scanStream: async (redis) => {
    const found: string[] = [];
    for await (const page of redis.scanStream()) found.push(...(page as string[]));
    expect(found).toEqual(['key']);
    return redis.get('key');
  },
  RANDOMKEY: async (redis) => redis.get((await redis.randomkey()) ?? ''),
  DBSIZE: async (redis) => {
    expect(await redis.dbsize()).toBe(1);
    return redis.get('key');
  },
};

const OPTIONS: Readonly<Record<string, RedisOptions>> = {
  'a client': {},
  'a client with autopipelining': { enableAutoPipelining: true },
  'a client that connects late': { lazyConnect: true },
  'a client with RESP 3': { protocol: 3 },
};

describe.each(Object.entries(OPTIONS))('%s with places', (_, options) => {
  it.each(Object.entries(FORMS))('finds the server of every tenant by %s', async (_, form) => {
    const redis = places.open(
      { ...options, scripts: { read: { lua: LUA, numberOfKeys: 1, tenant: 'keys-only' } } },
      { scripts: [] },
    );
    // Half of them before, half after the clients of the silos are there.
    await acme2(() => redis.get('key'));
    redis.defineCommand('readLater', { lua: LUA, numberOfKeys: 1, tenant: 'keys-only' });
    expect(await Promise.all(TENANTS.map((tenant) => withTenant(tenant, () => form(redis))))).toEqual(
      TENANTS.map((tenant) => `of ${tenant}`),
    );
  });
});

describe('a client with places', () => {
  it('writes each tenant’s keys to its own server, under scoped names', async () => {
    const redis = places.open();
    for (const tenant of TENANTS)
      await withTenant(tenant, async () => {
        await redis.set('one', tenant);
        await redis.pipeline().set('two', tenant).exec();
        await redis.multi().set('three', tenant).exec();
        await redis.dedicated((own) => own.set('four', tenant));
      });
    const keys = await keysOf(places);
    const own = ['four', 'key', 'one', 'three', 'two'];
    expect(keys.acme2).toEqual(own.map((key) => `tk:acme2:${key}`));
    expect(keys.a).toEqual(own.map((key) => `tk:a:${key}`));
    expect(keys.pool).toEqual(
      ['a-b', 'ac', 'acme'].flatMap((id) => own.map((key) => `tk:${id}:${key}`)).sort(),
    );
  });

  it('flushes one tenant where it is, and nobody else', async () => {
    const redis = places.open();
    // Left behind by a move: it is in the pool, where this tenant does not reach.
    await places.raw.pool.set('tk:acme2:key', 'left behind');
    await places.raw.acme2.set('tk:acme:key', 'of acme, elsewhere');
    await acme2(() => redis.flushdb());
    expect(await keysOf(places)).toMatchObject({ acme2: ['tk:acme:key'], a: ['tk:a:key'] });
    expect(await places.raw.pool.get('tk:acme2:key')).toBe('left behind');
    expect(await acme(() => redis.get('key'))).toBe('of acme');
    await acme(() => redis.flushall());
    expect(await places.raw.acme2.get('tk:acme:key')).toBe('of acme, elsewhere');
    expect(await places.raw.pool.get('tk:acme:key')).toBeNull();
  });

  it('has one connection per silo, made at the first call and used again', async () => {
    const redis = places.open();
    await acme(() => redis.get('key'));
    const connections = async (name: 'acme2' | 'a'): Promise<number> =>
      String(await places.raw[name].client('LIST'))
        .split('\n')
        .filter((line) => / cmd=(?!client)/.test(line)).length;
    expect(await connections('acme2')).toBe(0);
    for (let round = 0; round < 5; round += 1) await acme2(() => redis.get('key'));
    await Promise.all(Array.from({ length: 20 }, () => acme2(() => redis.get('key'))));
    expect(await connections('acme2')).toBe(1);
    expect(await connections('a')).toBe(0);
    expect(await a(() => redis.get('key'))).toBe('of a');
    expect(await connections('a')).toBe(1);
  });

  it('asks where a tenant is once a second at most, outside of any tenant', async () => {
    const asked: unknown[] = [];
    const redis = places.open(
      {},
      {
        place(tenant) {
          asked.push(tenant);
          // A command without a tenant, from the midst of somebody's call.
          void redis.get('key').catch((error: { code: string }) => asked.push(error.code));
          return places.place(tenant);
        },
      },
    );
    await Promise.all(Array.from({ length: 100 }, () => acme2(() => redis.get('key'))));
    await acme2(() => redis.pipeline().get('key').get('key').exec());
    expect(asked).toEqual(['acme2', 'TENANT_MISSING']);
  });

  it('works across tenants in the pool, and in one silo by its own client', async () => {
    const redis = places.open();
    expect((await operator(() => redis.keys('*'))).sort()).toEqual([
      'tk:a-b:key',
      'tk:ac:key',
      'tk:acme:key',
    ]);
    const own = redis.clientOf('acme2');
    expect(await operator(() => own.keys('*'))).toEqual(['tk:acme2:key']);
    expect(redis.clientOf('acme2')).toBe(own);
    expect(redis.clientOf('acme')).toBe(redis);
    expect(await acme2(() => own.get('key'))).toBe('of acme2');
    for (const inside of [acme, acme2])
      expect(await failure(() => inside(() => redis.clientOf('acme2')))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    expect(await failure(() => redis.clientOf('no id'))).toMatchObject({ code: 'TENANT_INVALID' });
    // The client of a silo answers nobody else, though the server would.
    await places.raw.acme2.set('tk:acme:key', 'elsewhere');
    for (const call of [
      () => own.get('key'),
      () => own.keys('*'),
      () => own.subscribe('news'),
      async () => {
        const [result] = (await own.pipeline().get('key').exec()) ?? [];
        throw result?.[0] as Error;
      },
      () => own.multi().get('key').exec(),
      () => own.dedicated((line) => line.get('key')),
      () => own.duplicate().get('key'),
    ])
      expect(await failure(() => acme(call))).toMatchObject({
        code: 'OPERATION_REFUSED',
        why: expect.stringContaining('another place') as string,
      });
  });

  it('shows no tenant where others are', async () => {
    const redis = places.open();
    await acme2(() => redis.get('key'));
    expect(acme(() => shown(redis.options))).not.toContain(`${places.nodes.acme2.port}`);
    expect(redis.options.tenant).not.toHaveProperty('place');
  });

  it('makes a duplicate that finds the places as well', async () => {
    const redis = places.open();
    const copy = redis.duplicate();
    for (const [tenant, here] of Object.entries(HERE))
      expect(await here(() => copy.get('key'))).toBe(`of ${tenant}`);
    copy.disconnect();
    const own = acme2(() => redis.duplicate());
    await acme2(() => own.lpush('list', 'x'));
    expect(await acme2(() => own.blpop('list', 0))).toEqual(['list', 'x']);
    expect(await failure(() => acme(() => own.get('key')))).toBeInstanceOf(TenantSwitchError);
    acme2(() => own.disconnect());
  });

  it('takes a database of the same server as a place', async () => {
    const redis = places.open(
      {},
      { place: (tenant) => (tenant === 'acme' ? { level: 'pool' } : { level: 'bridge', db: 3 }) },
    );
    await acme2(() => redis.set('key', 'in 3'));
    expect(await acme(() => redis.get('key'))).toBe('of acme');
    const third = places.raw.pool.duplicate({ db: 3 });
    expect(await third.get('tk:acme2:key')).toBe('in 3');
    expect(await places.raw.pool.get('tk:acme2:key')).toBeNull();
    third.disconnect();
  });

  it('sends nothing of what opens the pool to another server', async () => {
    await places.raw.pool.acl('SETUSER', 'service', 'on', '>secret of the pool', '~*', '&*', '+@all');
    await places.raw.acme2.acl('LOG', 'RESET');
    const redis = places.open({ username: 'service', password: 'secret of the pool', name: 'group' });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    expect(await acme(() => redis.get('key'))).toBe('of acme');
    expect(await places.raw.acme2.acl('LOG')).toEqual([]);
    expect(redis.clientOf('acme2').options).not.toHaveProperty('password', 'secret of the pool');
    await places.raw.pool.acl('DELUSER', 'service');
  });
});

const WRONG: Readonly<Record<string, unknown>> = {
  nothing: undefined,
  null: null,
  'a text': 'pool',
  'no level': {},
  'an unknown level': { level: 'shared' },
  'an unknown option': { level: 'pool', url: 'redis://localhost' },
  'a silo that is nowhere': { level: 'silo' },
  'a silo with empty options': { level: 'silo', options: {} },
  'a silo with other options': { level: 'silo', options: { host: 'localhost', keyPrefix: 'x' } },
  'a silo with functions': {
    level: 'silo',
    options: { host: 'localhost', tls: { checkServerIdentity: () => undefined } },
  },
  'a URL with a query': { level: 'silo', url: 'redis://localhost?keyPrefix=x' },
  'a URL of something else': { level: 'silo', url: 'http://localhost' },
  'a cluster': { level: 'silo', nodes: [7000] },
  'the database of the pool': { level: 'bridge', db: 0 },
  'a promise': Promise.resolve({ level: 'pool' }),
  'a promise that rejects': (): unknown => Promise.reject(new Error('later')),
  'an exception': (): never => {
    throw new Error('the table of redis://:secret@big:1 is not there');
  },
};

describe('a function that does not say where a tenant is', () => {
  it.each(Object.entries(WRONG))(
    'with %s refuses the call before anything is sent, in every form',
    async (_, answer) => {
      const errors: Error[] = [];
      const redis = places.open(
        {},
        {
          place: (tenant) =>
            tenant === 'acme2'
              ? ((typeof answer === 'function' ? (answer as () => unknown)() : answer) as CachePlacement)
              : { level: 'pool' },
        },
      );
      redis.on('error', (error: Error) => errors.push(error));
      const heard: Error[] = [];
      acme(() => redis.on('error', (error: Error) => heard.push(error)));
      acme2(() => redis.on('error', (error: Error) => heard.push(error)));
      await ready(redis);
      const sent = redis.stream.bytesWritten;
      for (const call of [
        () => redis.get('key'),
        () => redis.call('SET', 'key', 'x'),
        () => redis.pipeline().get('key').exec(),
        () => redis.multi().get('key').exec(),
        () => redis.dedicated((own) => own.get('key')),
        () => redis.duplicate(),
        () => redis.subscribe('news'),
        () => redis.keys('*'),
        () => redis.scanStream(),
      ]) {
        const error = await failure(() => acme2<unknown>(call));
        expect(error).toMatchObject({
          code: 'OPERATION_REFUSED',
          why: 'nobody knows where the data of the tenant is',
        });
        expect(shown(error)).not.toContain('secret');
      }
      expect(redis.stream.bytesWritten).toBe(sent);
      // The service hears why; tenants do not.
      expect(errors[0]).toMatchObject({ code: 'CONFIG_INVALID', operation: 'place' });
      expect(heard).toEqual([]);
      expect(await acme(() => redis.get('key'))).toBe('of acme');
    },
  );

  it.each([
    [{ level: 'sillo' }, "place.level: must be 'pool', 'bridge' or 'silo', and not 'sillo'"],
    [{ level: 'redis://:secret@big' }, "place.level: must be 'pool', 'bridge' or 'silo'."],
    [{}, "place.level: must be 'pool', 'bridge' or 'silo'."],
  ])('is told what it has answered instead of a level: %j', async (answer, text) => {
    const redis = places.open({}, { place: () => answer as CachePlacement });
    const told = once(redis, 'error') as Promise<[Error]>;
    const refused = await failure(() => acme(() => redis.set('key', 'x')));
    expect(refused).toMatchObject({ operation: 'set', code: 'OPERATION_REFUSED' });
    const [error] = await told;
    expect(error.message).toContain(text);
    expect(shown(error)).not.toContain('secret');
  });

  it('is told where to look when it throws', async () => {
    const cause = new Error('the table is not there');
    const redis = places.open(
      {},
      {
        place: () => {
          throw cause;
        },
      },
    );
    const told = once(redis, 'error') as Promise<[Error]>;
    const odd = Object.defineProperty(new Command('get', ['key']), 'name', {
      get: () => {
        throw new Error('of the caller');
      },
    });
    expect(await failure(() => acme(() => redis.sendCommand(odd)))).toMatchObject({
      operation: 'sendCommand',
    });
    expect(await failure(() => acme(() => redis.xadd('s', '*', 'a', 'b')))).toMatchObject({
      operation: 'xadd',
    });
    const [error] = await told;
    expect(error.cause).toBe(cause);
    expect(error.message).toContain('cause');
  });

  it('is no function: refused when the client is made', () => {
    expect(() => new Redis({ lazyConnect: true, tenant: { place: {} as never } })).toThrow('tenant.place');
  });

  it('that calls for the same tenant is refused, and ends', async () => {
    const redis: Redis = places.open(
      {},
      {
        place(tenant) {
          const inner = withTenant(tenant, () => redis.get('key'));
          inner.catch((error: { why: string }) => whys.push(error.why));
          return places.place(tenant);
        },
      },
    );
    const whys: string[] = [];
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await until(() => whys.length > 0);
    expect(whys).toEqual(['it was called while tenant.place decides where the tenant is']);
  });
});

describe('the end of a client with places', () => {
  it.each(['quit', 'disconnect'] as const)('by %s ends the connections of silos, too', async (method) => {
    const redis = places.open();
    await acme2(() => redis.get('key'));
    const own = redis.clientOf('acme2');
    const pending = acme2(() => redis.get('key'));
    const ended = once(redis, 'end');
    if (method === 'quit') {
      expect(await redis.quit()).toBe('OK');
      expect(await pending).toBe('of acme2');
    } else {
      redis.disconnect();
      // It was written before.
      await Promise.allSettled([pending]);
    }
    await ended;
    await until(() => own.status === 'end');
    expect(await failure(() => acme2(() => redis.get('key')))).toMatchObject({
      message: 'Connection is closed.',
    });
    await redis.connect();
    for (const [tenant, here] of Object.entries(HERE))
      expect(await here(() => redis.get('key'))).toBe(`of ${tenant}`);
  });

  // ioredis ends a client at once that is not connected.
  it.each(['ready', 'reconnecting'])(
    'by quit waits for the replies of silos, with a pool that is %s',
    async (status) => {
      const redis =
        status === 'ready'
          ? places.open()
          : new Redis(1, '127.0.0.1', { retryStrategy: () => 60_000, tenant: { place: places.place } });
      redis.on('error', () => undefined);
      await acme2(() => redis.get('key'));
      await until(() => redis.status === status);
      await places.raw.acme2.client('PAUSE', 300, 'ALL');
      const done: string[] = [];
      const pending = acme2(() => redis.get('key')).then((value) => done.push(`${value}`));
      await redis.quit();
      done.push('quit');
      await pending;
      expect(done).toEqual(['of acme2', 'quit']);
    },
  );

  it('ends the connections of silos also while the pool is waited for', async () => {
    const redis = new Redis(1, '127.0.0.1', { retryStrategy: () => 60_000, tenant: { place: places.place } });
    redis.on('error', () => undefined);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    const own = redis.clientOf('acme2');
    await until(() => redis.status === 'reconnecting');
    redis.disconnect();
    await until(() => own.status === 'end');
    expect(await failure(() => acme2(() => redis.get('key')))).toMatchObject({
      message: 'Connection is closed.',
    });
  });

  it('is not for tenants to bring about, wherever they are', async () => {
    const redis = places.open();
    for (const here of [acme, acme2]) {
      for (const call of [() => redis.quit(), () => redis.disconnect()])
        expect(await failure(() => here(call))).toMatchObject({ code: 'OPERATION_REFUSED' });
      expect(await here(() => redis.get('key'))).toContain('of ');
    }
  });
});

describe('a silo that is down', () => {
  it('refuses the calls of its tenant, and of nobody else; it is told to the service and to that tenant', async () => {
    const redis = places.open({ maxRetriesPerRequest: 1, retryStrategy: () => 20 });
    const heard: Record<string, Error[]> = { service: [], acme: [], acme2: [], a: [] };
    redis.on('error', (error: Error) => heard['service']?.push(error));
    for (const [tenant, here] of Object.entries(HERE))
      here(() => redis.on('error', (error: Error) => heard[tenant]?.push(error)));
    expect(await a(() => redis.get('key'))).toBe('of a');
    await places.nodes.a.kill();
    const error = await failure(() => a(() => redis.get('key')));
    expect(error.message).toMatch(/max retries|closed/i);
    expect(await acme(() => redis.get('key'))).toBe('of acme');
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await until(() => (heard['service']?.length ?? 0) > 0 && (heard['a']?.length ?? 0) > 0);
    expect(heard).toMatchObject({ acme: [], acme2: [] });
    await places.nodes.a.restart();
    await until(() => redis.clientOf('a').status === 'ready');
    await ready(places.raw.a);
    await places.raw.a.set('tk:a:key', 'of a');
    expect(await a(() => redis.get('key'))).toBe('of a');
  });
});
