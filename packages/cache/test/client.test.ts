import { TenantSwitchError, createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import Default, * as api from '@tenantkit/cache';
import { Cluster, Command, Redis, type RedisOptions, type ScanStream } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import * as rawApi from 'ioredis';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Sent } from '../src/sent.ts';
import { Guard } from '../src/guard.ts';
import { queuedIn } from './queued.ts';
import {
  acme,
  acme2,
  failure,
  openCache,
  operator,
  THROWING,
  NO_TEXT,
  until,
  type Opened,
} from './support.ts';

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

describe('the forms of a call', () => {
  it('all reach the own key, and no other', async () => {
    await raw.set('tk:acme:key', 'value of acme');
    await raw.set('tk:acme2:key', 'value of acme2');
    const get = (command: string): Promise<unknown> => {
      const made = new Command(command, ['key'], { replyEncoding: 'utf8' });
      redis.sendCommand(made);
      return made.promise;
    };
    const forms: Record<string, () => Promise<unknown>> = {
      method: () => redis.get('key'),
      'Buffer key': () => redis.get(Buffer.from('key')),
      'Buffer twin': async () => String(await redis.getBuffer('key')),
      'nested array': () => redis.mget(['key']).then(([value]) => value),
      call: () => redis.call('get', 'key'),
      'call in capitals': () => redis.call('GET', ['key']),
      callBuffer: async () => String(await redis.callBuffer('gEt', 'key')),
      'a command': () => get('get'),
      'a command in any letter case': () => get('GeT'),
      callback: () => told<string | null>((done) => redis.get('key', done)),
      'callback of call': () => told<unknown>((done) => redis.call('GET', 'key', done)),
      'a function of createBuiltinCommand': () => redis.createBuiltinCommand('get').string.call(redis, 'key'),
    };
    for (const [form, call] of Object.entries(forms)) {
      expect([form, await acme(call)]).toEqual([form, 'value of acme']);
      expect([form, await acme2(call)]).toEqual([form, 'value of acme2']);
      const { code } = await failure(call);
      expect([form, code]).toEqual([form, 'TENANT_MISSING']);
    }
  });

  it('take the tenant of the moment of the call, not of the reply', async () => {
    const values = await Promise.all(
      TENANTS.flatMap((tenant) => [
        withTenant(tenant, () => redis.set('who', tenant)),
        withTenant(tenant, () => redis.get('who')),
      ]),
    );
    expect(values).toEqual(TENANTS.flatMap((tenant) => ['OK', tenant]));
    for (const tenant of TENANTS) expect(await raw.get(`tk:${tenant}:who`)).toBe(tenant);
  });

  it('take objects, maps and numbers as ioredis does', async () => {
    await acme(async () => {
      await redis.mset({ a: 1, b: 2 });
      await redis.mset(new Map([['c', '3']]));
      await redis.hset('h', { x: 1, y: 2 });
      await redis.set(7 as unknown as string, 'seven');
    });
    expect((await raw.keys('*')).sort()).toEqual([
      'tk:acme:7',
      'tk:acme:a',
      'tk:acme:b',
      'tk:acme:c',
      'tk:acme:h',
    ]);
    expect(await acme(() => redis.hgetall('h'))).toEqual({ x: '1', y: '2' });
  });

  it.each(['', '\0', 'a\r\nFLUSHALL\r\n', '{acme2}', '*', 'tk:acme2:key', '../acme2', '\ud800', 'é'])(
    'keep the key %j inside the tenant',
    async (key) => {
      await raw.set('tk:acme2:key', 'of acme2');
      await acme(() => redis.set(key, 'mine'));
      expect(await acme(() => redis.get(key))).toBe('mine');
      const physical = Buffer.concat([Buffer.from('tk:acme:'), Buffer.from(key)]);
      expect(await raw.get(physical)).toBe('mine');
      expect(await raw.get('tk:acme2:key')).toBe('of acme2');
      expect(await raw.dbsize()).toBe(2);
    },
  );

  it('keep bytes that are no text', async () => {
    const key = Buffer.from([0xff, 0x00, 0x0d, 0x0a]);
    await acme(() => redis.set(key, Buffer.from([0xfe])));
    expect((await raw.keysBuffer('*'))[0]).toEqual(Buffer.concat([Buffer.from('tk:acme:'), key]));
    expect(await acme(() => redis.scanBuffer(0))).toEqual([Buffer.from('0'), [key]]);
  });
});

describe('what is no command', () => {
  it.each([
    ['nothing', undefined],
    ['null', null],
    ['parsed JSON', { name: 'flushall', args: [] }],
    ['a name that is no text', new Command(['get', 'x'] as unknown as string)],
    ['an unknown name', new Command('get ')],
  ])('%s is rejected, and never thrown', async (_, given) => {
    const answered = acme(() => redis.sendCommand(given as Command));
    expect(answered).toBeInstanceOf(Promise);
    expect(await failure(() => answered)).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await acme(() => redis.ping())).toBe('PONG');
  });

  it('an argument that cannot be made text rejects its own call only', async () => {
    for (const argument of [NO_TEXT, THROWING]) {
      const [bad, good] = await acme(() =>
        Promise.allSettled([redis.set('a', argument), redis.set('b', 'x')]),
      );
      expect(bad).toMatchObject({ status: 'rejected' });
      expect(good).toMatchObject({ status: 'fulfilled', value: 'OK' });
    }
    expect(await raw.keys('*')).toEqual(['tk:acme:b']);
  });

  it('a key that was put into a command as an object is refused', async () => {
    const command = new Command('get', ['x']);
    command.args[0] = ['tk:acme2:key'];
    expect(await failure(() => acme(() => redis.sendCommand(command)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });
});

describe('a Command object', () => {
  it('stays as the caller has made it, and what is sent for it is refused in another tenant', async () => {
    await raw.set('tk:acme:key', 'of acme');
    const command = new Command('get', ['key'], { replyEncoding: 'utf8' });
    expect(await acme(() => redis.sendCommand(command))).toBe('of acme');
    expect(command.args).toEqual(['key']);
    // What really was sent, and that of another template.
    const other = opened.guarded({ tenant: { names: 'x:{tenant}:' } });
    const [sent] = acme(() => queuedIn(() => redis.pipeline().get('key')));
    const [otherwise] = acme(() => queuedIn(() => other.pipeline().get('key')));
    for (const [run, stolen] of [
      [acme2, sent],
      [operator, sent],
      [acme, otherwise],
    ] as const)
      expect(await failure(() => run(() => redis.sendCommand(stolen)))).toBeInstanceOf(TenantSwitchError);
    expect(await failure(() => redis.sendCommand(sent))).toMatchObject({ code: 'TENANT_MISSING' });
  });

  it('that was made raw by an operator is refused in a tenant, and outside', async () => {
    const [sent] = operator(() => queuedIn(() => redis.pipeline().get('tk:acme2:key')));
    expect(await failure(() => acme(() => redis.sendCommand(sent)))).toBeInstanceOf(TenantSwitchError);
    expect(await failure(() => redis.sendCommand(sent))).toMatchObject({ code: 'TENANT_MISSING' });
  });

  it('that comes with a stream must have passed the guard before', async () => {
    const command = new Command('get', ['tk:acme2:key'], { replyEncoding: 'utf8' });
    await raw.set('tk:acme2:key', 'of acme2');
    void acme(() => redis.sendCommand(command, redis.stream));
    expect(await failure(() => command.promise)).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });
});

describe('errors', () => {
  it('of the server hold logical names only', async () => {
    await acme(() => redis.set('text', 'x'));
    const error = (await failure(() => acme(() => redis.lpush('text', 'tk:acme:value')))) as Error & {
      command?: { name: string; args: unknown[] };
    };
    expect(error).toBeInstanceOf(api.ReplyError);
    expect(error.message).toMatch(/^WRONGTYPE/);
    expect(error.command).toEqual({ name: 'lpush', args: ['text', 'tk:acme:value'] });
    const scan = (await failure(() =>
      acme(() => redis.call('SCAN', 'no cursor', 'MATCH', 'tk:acme:*')),
    )) as typeof error;
    expect(scan.command).toEqual({ name: 'SCAN', args: ['no cursor', 'MATCH', 'tk:acme:*'] });
    const many = (await failure(() =>
      acme(() => redis.sunion('text', Buffer.from('other'))),
    )) as typeof error;
    expect(many.command?.args).toEqual(['text', Buffer.from('other')]);
  });

  it('that repeat the arguments repeat the logical ones', () => {
    // So answers a server that lacks a command which the table allows.
    const sent = acme(() => new Guard({}).admit(new Command('GET', ['key'])));
    const error = new Error("ERR unknown command 'GET', with args beginning with: 'tk:acme:key'");
    expect(Sent.of(sent)?.read(error).message).toBe(
      "ERR unknown command 'GET', with args beginning with: 'key'",
    );
    expect(error.stack).not.toContain('tk:acme:');
  });

  it('name no other tenant and show no argument', async () => {
    const calls = [
      () => redis.call('CONFIG', 'GET', 'tk:acme2:secret'),
      () => redis.call('FROBNICATE\r\n\u001b[31m', 'tk:acme2:secret'),
      () => redis.call('ZUNION', 'tk:acme2:secret', 'x'),
      () => redis.call('OBJECT', 'tk:acme2:secret'.repeat(20), 'x'),
    ];
    for (const call of calls.slice(0, 3)) {
      const { message } = await acme(() => failure(call));
      expect(message).not.toMatch(/acme2|secret|\p{Cc}/u);
    }
    for (const call of calls) expect((await acme(() => failure(call))).message.length).toBeLessThan(400);
  });
});

describe('what would lead past the guard', () => {
  it('scripts that nobody has declared safe are refused in every form', async () => {
    const definition = { lua: 'return redis.call("GET", "tk:acme2:key")', numberOfKeys: 0 };
    for (const run of [acme, operator, <T>(fn: () => T): T => fn()]) {
      expect(await failure(() => run(() => (redis as Raw).defineCommand('peek', definition)))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    }
    expect(() => new Redis({ lazyConnect: true, scripts: { peek: definition } })).toThrow(/script/);
    expect(await failure(() => acme(() => redis.eval(definition.lua, 0)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });

  it('monitor is refused, also to an operator', async () => {
    for (const run of [acme, operator]) {
      expect(await failure(() => run(() => redis.monitor()))).toMatchObject({ code: 'OPERATION_REFUSED' });
    }
    expect(await failure(() => told<Raw>((done) => acme(() => redis.monitor(done))))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });

  it('addBuiltinCommand adds nothing that has no row', async () => {
    for (const name of ['sendCommand', 'frobnicate', '__proto__']) {
      expect(() => redis.addBuiltinCommand(name)).toThrow(/addBuiltinCommand is refused/);
    }
    const own = opened.guarded();
    own.addBuiltinCommand('get');
    await acme(() => own.set('key', 'x'));
    expect(await acme(() => own.get('key'))).toBe('x');
  });

  it('every class and object that a client hands out is guarded', async () => {
    await raw.set('tk:acme:key', 'of acme');
    const { port, host } = new URL(opened.url);
    const db = Number(new URL(opened.url).pathname.slice(1));
    const options = { port: Number(new URL(opened.url).port), host: '127.0.0.1', db };
    expect(port + host).not.toBe('');
    const made: Record<string, Raw> = {
      duplicate: redis.duplicate(),
      'duplicate with options': redis.duplicate({ connectionName: 'second' }),
      'duplicate of a duplicate': redis.duplicate().duplicate(),
      createClient: Redis.createClient(options),
      constructor: Reflect.construct(redis.constructor, [options]) as Raw,
      default: new Default(options),
      'default of the class': new (Redis as unknown as { default: typeof Redis }).default(options),
      'Redis of the class': new (Redis as unknown as { Redis: typeof Redis }).Redis(options),
      'default of the module': new api.default(options),
      'redis of a pipeline': acme(() => redis.pipeline() as unknown as { redis: Raw }).redis,
      'a scan stream': acme(() => redis.scanStream() as unknown as { opt: { redis: Raw } }).opt.redis,
    };
    for (const [what, client] of Object.entries(made)) {
      expect([what, client]).toEqual([what, expect.any(Redis)]);
      expect([what, await acme(() => client.get('key'))]).toEqual([what, 'of acme']);
      expect([what, await failure(() => client.get('key'))]).toMatchObject([
        what,
        { code: 'TENANT_MISSING' },
      ]);
      if (client !== redis) client.disconnect();
    }
    expect(Redis.Cluster).toBe(Cluster);
  });

  it('no static of the class is a raw client', () => {
    const raws = new Set<unknown>([rawApi.Redis, rawApi.Cluster, rawApi.default]);
    const statics = new Set<string>();
    for (
      let type: object | null = Redis;
      type !== null && type !== Function.prototype;
      type = Object.getPrototypeOf(type)
    )
      for (const name of Object.getOwnPropertyNames(type)) statics.add(name);
    statics.delete('Promise');
    for (const name of statics) expect([name, raws.has(Reflect.get(Redis, name))]).toEqual([name, false]);
    for (const [name, value] of Object.entries(api)) expect([name, raws.has(value)]).toEqual([name, false]);
  });

  it('every export of ioredis is there', () => {
    // A pipeline around a client sends nothing: redis.pipeline() makes those that do.
    const other = new Set(['Pipeline', 'Promise', 'module.exports', '__esModule']);
    const expected = Object.keys(rawApi).filter((name) => !other.has(name));
    expect(Object.keys(api)).toEqual(expect.arrayContaining(expected));
  });
});

describe('options', () => {
  const REFUSED: readonly [string, RedisOptions | string, RegExp][] = [
    ['keyPrefix', { keyPrefix: 'x:' }, /names/],
    ['keyPrefix in the URL', 'redis://127.0.0.1:1?keyPrefix=x', /names/],
    ['scripts', { scripts: { x: { lua: 'return 1' } } }, /script/],
    ['monitor', { monitor: true }, /monitor/],
    ['monitor in the URL', 'redis://127.0.0.1:1?monitor=true', /monitor/],
    ['himportFieldsets', { himportFieldsets: [{ name: 'x', fields: ['a'] }] }, /HIMPORT/],
    [
      'an unknown option',
      { tenant: { indexes: true } } as object,
      /unknown option "indexes" \(is "index" meant\?\)/,
    ],
    ['a template that is not injective', { tenant: { names: 'tk:{tenant}' } }, /name template/],
    ['a fence that is none', { tenant: { fence: {} } } as object, /TenantRegistry/],
    ['tenant options in the URL', 'redis://127.0.0.1:1?tenant=acme', /tenant/],
  ];

  it.each(REFUSED)('%s is refused', (_, options, hint) => {
    expect(() => new Redis(options as string)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
    expect(() => new Redis(options as string)).toThrow(hint);
  });

  it('that are refused leave no connection behind', async () => {
    const ports: unknown[] = [];
    const server = createServer((socket) => ports.push(socket.remotePort)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    for (const tenant of [{ names: 'tk:{tenant}' }, { indexes: true }] as object[])
      expect(() => new Redis({ port, tenant })).toThrow(/configuration/);
    expect(() => new Redis({ port, keyPrefix: 'x' })).toThrow(/names/);
    const later = new Redis({ port });
    // Those that were refused would have come before.
    await until(() => ports.includes(later.stream?.localPort));
    expect(ports).toHaveLength(1);
    later.disconnect();
    server.close();
  });

  it('of a cluster are refused in both places', () => {
    const cluster = (options: object): Cluster => new Cluster([{ port: 1 }], options);
    expect(() => cluster({ keyPrefix: 'x' })).toThrow(/names/);
    expect(() => cluster({ redisOptions: { keyPrefix: 'x' } })).toThrow(/names/);
    expect(() => cluster({ redisOptions: { monitor: true } })).toThrow(/monitor/);
    expect(() => cluster({ redisOptions: { tenant: { hashTag: true } } })).toThrow(/redisOptions/);
    expect(() => cluster({ scripts: { x: { lua: '' } } })).toThrow(/script/);
    cluster({ lazyConnect: true, redisOptions: {} }).disconnect();
  });

  it('cannot be changed behind the guard', async () => {
    const own = opened.guarded();
    expect(() => Object.assign(own.options, { keyPrefix: 'tk:acme2:' })).toThrow(TypeError);
    expect(() => Object.assign(own.options, { autoPipeliningIgnoredCommands: [] })).toThrow(TypeError);
    expect(() => Object.assign(own, { options: {} })).toThrow(TypeError);
    expect(() => Object.assign(own.options, { tenant: { names: 'tk:acme2:{tenant}:' } })).toThrow(TypeError);
    const copy = own.duplicate();
    await acme(() => own.set('a', '1'));
    await acme(() => copy.set('b', '1'));
    copy.disconnect();
    expect((await raw.keys('*')).sort()).toEqual(['tk:acme:a', 'tk:acme:b']);
  });

  it('names: data that is already there is adopted', async () => {
    await raw.set('app:{acme}:user:1', 'Ada');
    const own = opened.guarded({ tenant: { names: 'app:{tenant}:', hashTag: true } });
    expect(await acme(() => own.get('user:1'))).toBe('Ada');
    expect(await acme(() => own.scan(0))).toEqual(['0', ['user:1']]);
    expect(await acme2(() => own.get('user:1'))).toBeNull();
    const copy = own.duplicate();
    expect(await acme(() => copy.get('user:1'))).toBe('Ada');
    copy.disconnect();
  });

  it('fence: a frozen or erased tenant is refused before anything is sent', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const own = opened.guarded({ tenant: { fence } });
      await acme(() => own.set('key', 'x'));
      const sent = own.stream.bytesWritten;
      await fence.freeze('acme');
      const calls = [
        () => own.set('key', 'y'),
        () => own.ping(),
        async () => {
          throw (await own.pipeline().get('key').exec())?.[0]?.[0];
        },
      ];
      for (const call of calls) {
        expect(await acme(() => failure(call))).toMatchObject({ code: 'TENANT_FENCED', state: 'frozen' });
      }
      expect(own.stream.bytesWritten - sent).toBeLessThanOrEqual('*1\r\n$4\r\nping\r\n'.length);
      expect(await acme2(() => own.get('key'))).toBeNull();
      await fence.unfreeze('acme');
      expect(await acme(() => own.get('key'))).toBe('x');
    } finally {
      fence.close();
    }
  });

  it('fence: what has waited since before the freeze is refused as well', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const own = opened.guarded({ tenant: { fence }, lazyConnect: true });
      // A pipeline that was made, and calls that wait for the connection.
      const made = acme(() => own.pipeline().set('a', '1').set('b', '1'));
      const multi = acme(() => own.multi().set('c', '1'));
      const waiting = acme(() =>
        Promise.allSettled([
          own.set('d', '1'),
          own.multi().set('e', '1').exec(),
          own.pipeline().set('f', '1').exec(),
        ]),
      );
      const other = acme2(() => own.set('g', '1'));
      await fence.freeze('acme');
      const fenced = expect.objectContaining({ code: 'TENANT_FENCED' });
      expect(await other).toBe('OK');
      const [single, transaction, piped] = await waiting;
      expect(single).toEqual({ status: 'rejected', reason: fenced });
      expect(transaction).toEqual({ status: 'fulfilled', value: [[fenced]] });
      expect(piped).toEqual({ status: 'fulfilled', value: [[fenced]] });
      expect(await acme(() => made.exec())).toEqual([[fenced], [fenced]]);
      expect(await acme(() => multi.exec())).toEqual([[fenced]]);
      expect(await raw.keys('*')).toEqual(['tk:acme2:g']);
    } finally {
      fence.close();
    }
  });

  it('replyMapping and protocol of ioredis are kept', async () => {
    for (const options of [
      { protocol: 2 },
      { protocol: 3 },
      { protocol: 3, replyMapping: 'resp3' },
    ] as const) {
      const own = opened.guarded(options);
      const witness = opened.witness(options);
      await raw.del('tk:acme:z', 'z');
      await acme(() => own.zadd('z', 1, 'a', 2, 'b'));
      await witness.zadd('z', 1, 'a', 2, 'b');
      expect(await acme(() => own.call('ZRANGE', 'z', 0, -1, 'WITHSCORES'))).toEqual(
        await witness.call('ZRANGE', 'z', 0, -1, 'WITHSCORES'),
      );
      expect(await acme(() => own.call('ZMPOP', 1, 'z', 'MIN'))).toEqual(
        await witness.call('ZMPOP', 1, 'z', 'MIN'),
      );
      const alone = acme(() => own.duplicate());
      expect(await acme(() => alone.call('BZPOPMIN', 'z', 1))).toEqual(
        await witness.call('BZPOPMIN', 'z', 1),
      );
      alone.disconnect();
    }
  });
});

describe('scan streams', () => {
  const collect = async (stream: AsyncIterable<unknown>): Promise<string[]> => {
    const found: string[] = [];
    for await (const page of stream) found.push(...(page as (string | Buffer)[]).map(String));
    return [...new Set(found)].sort();
  };

  it('see the keys of their tenant, with every option', async () => {
    for (const tenant of ['acme', 'acme2']) {
      await withTenant(tenant, async () => {
        for (let n = 0; n < 30; n += 1) await redis.set(`user:${n}`, 'x');
        await redis.rpush('list', 'x');
      });
    }
    await acme(async () => {
      expect(await collect(redis.scanStream({ count: 5 }))).toHaveLength(31);
      expect(await collect(redis.scanStream({ type: 'list' }))).toEqual(['list']);
      expect(await collect(redis.scanStream({ match: 'user:1?', count: 3 }))).toHaveLength(10);
      expect(await collect(redis.scanBufferStream({ match: 'l*' }))).toEqual(['list']);
      expect(await collect(redis.scanStream({ match: 'tk:*' }))).toEqual([]);
      await redis.hset('h', 'f', 'v');
      await redis.sadd('s', 'm');
      await redis.zadd('z', 1, 'm');
      expect(await collect(redis.hscanStream('h'))).toEqual(['f', 'v']);
      expect(await collect(redis.sscanStream('s', { match: 'm*' }))).toEqual(['m']);
      expect(await collect(redis.zscanBufferStream('z'))).toEqual(['1', 'm']);
    });
  });

  it('belong to the tenant they were made in', async () => {
    for (let n = 0; n < 50; n += 1) await acme(() => redis.set(`user:${n}`, 'x'));
    const own = acme(() => redis.scanStream({ count: 1 }));
    expect(await failure(() => acme2(() => collect(own)))).toBeInstanceOf(TenantSwitchError);
    const started = acme(() => redis.scanStream({ count: 1 }));
    await acme(() => once(started, 'readable'));
    expect(await failure(() => operator(() => collect(started)))).toBeInstanceOf(TenantSwitchError);
    const uses: readonly ((stream: ScanStream) => unknown)[] = [
      (stream) => stream.read(),
      (stream) => stream.on('data', () => undefined),
      (stream) => stream.once('readable', () => undefined),
      (stream) => stream.pipe(new PassThrough({ objectMode: true })),
      (stream) => stream.resume(),
      (stream) => stream.destroy(),
      (stream) => stream.close(),
      (stream) => stream.iterator(),
      (stream) => stream.toArray(),
      (stream) => pipeline(stream, new PassThrough({ objectMode: true })),
    ];
    for (const use of uses)
      expect(await failure(() => acme2(() => use(started)))).toBeInstanceOf(TenantSwitchError);
    // Whatever others have tried, the owner's streams are as they were.
    expect(await acme(() => collect(own))).toHaveLength(50);
    expect(await acme(() => collect(started))).toHaveLength(50);
    // What node reads by itself, outside of any tenant, is read for the owner.
    expect(await collect(acme(() => redis.scanStream({ count: 7 })))).toHaveLength(50);
    expect(await failure(() => redis.scanStream())).toMatchObject({ code: 'TENANT_MISSING' });
  });
});

// A callback is told, and the promise is told as well.
async function told<T>(call: (done: rawApi.Callback<T>) => Promise<unknown>): Promise<unknown> {
  let promised: Promise<unknown> | undefined;
  const heard = new Promise((resolve) => {
    promised = call((error, reply) => resolve([error ?? null, reply]));
  });
  const [error, reply] = (await heard) as [unknown, unknown];
  const outcome = await promised?.then(
    (value) => [null, value],
    (reason: unknown) => [reason, undefined],
  );
  expect(outcome).toEqual([error, reply]);
  if (error !== null) throw error;
  return reply;
}
