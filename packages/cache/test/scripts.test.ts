import { TenantSwitchError, withTenant } from '@tenantkit/core';
import { Command, Redis, type AllowedScript, type RedisOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { createHash, randomUUID } from 'node:crypto';
import type { ChainableCommander, Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  NO_TEXT,
  THROWING,
  acme,
  acme2,
  failure,
  openCache,
  operator,
  shown,
  type Opened,
} from './support.ts';

const sha1 = (text: string): string => createHash('sha1').update(text).digest('hex');

// The server is that of other tests: it has none of these texts yet.
const RUN = `-- ${randomUUID()}`;
const own = (text: string): string => `${text} ${RUN}`;

// What a library would run, with a text of its own.
const APPEND = own('return redis.call("APPEND", KEYS[1], ARGV[1])');
const READ = own('return redis.call("GET", KEYS[1])');
const MANY = own('local r = {} for i, key in ipairs(KEYS) do r[i] = redis.call("GET", key) end return r');
const FAILS = own('return redis.error_reply("WRONG at " .. KEYS[1])');
const LIBRARY = [APPEND, READ, MANY, FAILS];
// What no list holds: it reads a key that it does not declare.
const ROGUE = own('return redis.call("GET", "tk:acme2:key")');

// Nobody loads this one.
const FRESH = own('return 0');

const scripts: AllowedScript[] = [
  ...LIBRARY.map((text) => ({ sha1: sha1(text) })),
  { sha1: sha1(FRESH) },
  { function: 'read_one' },
];
const add = {
  lua: 'return redis.call("INCRBY", KEYS[1], ARGV[1])',
  numberOfKeys: 1,
  tenant: 'keys-only',
} as const;

type Method = (...args: unknown[]) => Promise<unknown>;
const methodOf = (client: object, name: string): Method => {
  const found: unknown = Reflect.get(client, name);
  if (typeof found !== 'function') throw new TypeError(`there is no method ${name}`);
  return (...args) => found.apply(client, args) as Promise<unknown>;
};

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache({ tenant: { scripts } });
  ({ redis, raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});

describe('a script of the list', () => {
  it.each(TENANTS)('reaches the keys of %s, whichever way it is called', async (tenant) => {
    const own = `of ${tenant}`;
    await withTenant(tenant, async () => {
      expect(await redis.eval(READ, 1, 'key')).toBe(own);
      expect(await methodOf(redis, 'evalBuffer')(READ, 1, 'key')).toEqual(Buffer.from(own));
      expect(await redis.eval_ro(READ, 1, Buffer.from('key'))).toBe(own);
      expect(await redis.call('EvAl', Buffer.from(READ), Buffer.from('1'), Buffer.from('key'))).toBe(own);
      expect(await redis.evalsha(sha1(READ), 1, 'key')).toBe(own);
      expect(await redis.evalsha(sha1(READ).toUpperCase(), '1', 'key')).toBe(own);
      expect(await redis.evalsha_ro(sha1(READ), 1, 'key')).toBe(own);
      expect(await redis.callBuffer('EVALSHA', Buffer.from(sha1(READ)), 1, 'key')).toEqual(Buffer.from(own));
      const command = new Command('EVALSHA', [sha1(READ), '1', 'key'], { replyEncoding: 'utf8' });
      expect(await redis.sendCommand(command)).toBe(own);
      expect(await redis.eval(MANY, 3, 'key', 'tk:acme2:key', '')).toEqual([own, null, null]);
      expect(await redis.eval(MANY, 0, 'key')).toEqual([]);
      expect(await redis.pipeline().eval(READ, 1, 'key').evalsha(sha1(READ), 1, 'key').exec()).toEqual([
        [null, own],
        [null, own],
      ]);
      expect(
        await redis
          .pipeline([
            ['eval', READ, 1, 'key'],
            ['callBuffer', 'evalsha', sha1(READ), 1, 'key'],
          ])
          .exec(),
      ).toEqual([
        [null, own],
        [null, Buffer.from(own)],
      ]);
      expect(
        await redis.multi().set('other', 'x').eval(READ, 1, 'other').evalsha(sha1(READ), 1, 'key').exec(),
      ).toEqual([
        [null, 'OK'],
        [null, 'x'],
        [null, own],
      ]);
      expect(await redis.eval(APPEND, 1, 'written', 'x')).toBe(1);
    });
    expect((await raw.keys('*')).filter((key) => /written|other/.test(key)).sort()).toEqual([
      `tk:${tenant}:other`,
      `tk:${tenant}:written`,
    ]);
  });

  it('is loaded and asked for, inside a tenant and where a library starts', async () => {
    const form = async (): Promise<void> => {
      expect(await redis.script('LOAD', READ)).toBe(sha1(READ));
      expect(await redis.call('SCRIPT', 'LoaD', Buffer.from(APPEND))).toBe(sha1(APPEND));
      expect(await redis.script('EXISTS', sha1(READ).toUpperCase(), sha1(APPEND), sha1(FRESH))).toEqual([
        1, 1, 0,
      ]);
    };
    await form();
    await acme(form);
    await operator(form);
    // Running one is a tenant's.
    expect(await failure(() => redis.evalsha(sha1(READ), 1, 'key'))).toMatchObject({
      code: 'TENANT_MISSING',
    });
  });

  it('that the server does not have is answered as ever, for the library to send its text', async () => {
    const error = await acme(() => failure(() => redis.evalsha(sha1(FRESH), 1, 'key')));
    expect(error.message).toMatch(/^NOSCRIPT/);
    expect(shown(error)).not.toContain('tk:acme');
    expect(await acme(() => redis.eval(READ, 1, 'key'))).toBe('of acme');
    expect(await acme2(() => redis.evalsha(sha1(READ), 1, 'key'))).toBe('of acme2');
  });

  it('names nothing physical when it fails', async () => {
    const error = await acme(() => failure(() => redis.eval(FAILS, 1, 'key')));
    expect(error.message).toContain('WRONG at key');
    expect(shown(error)).not.toContain('tk:acme');
    const types = await acme(async () => {
      await redis.rpush('list', 'x');
      return failure(() => redis.eval(READ, 1, 'list'));
    });
    expect(types.message).toContain('WRONGTYPE');
    expect(shown(types)).not.toContain('tk:acme');
  });

  it('has as many keys as its count says, read as the server reads it', async () => {
    const counts = [
      '-1',
      '+1',
      ' 1',
      '1e0',
      '1e1',
      '01',
      '00',
      '0x1',
      '1.0',
      '',
      'one',
      '2',
      '9999999999',
      '١',
    ];
    const written = redis.stream.bytesWritten;
    for (const count of counts) {
      for (const call of [
        () => redis.call('EVAL', READ, count, 'key'),
        () => redis.call('EVALSHA', sha1(READ), Buffer.from(count), 'key'),
        () => redis.call('FCALL', 'read_one', count, 'key'),
      ])
        expect([count, await acme(() => failure(call))]).toMatchObject([
          count,
          { code: 'OPERATION_REFUSED' },
        ]);
    }
    expect(redis.stream.bytesWritten).toBe(written);
    expect(await acme(() => redis.call('EVAL', READ, '1', 'key'))).toBe('of acme');
    // Without arguments the server refuses the call.
    for (const name of ['eval', 'evalsha', 'fcall', 'eval_ro'])
      expect((await acme(() => failure(() => redis.call(name)))).message).toMatch(
        /wrong number of arguments/,
      );
  });
});

describe('a script that nobody has declared', () => {
  it('is refused in every form, and nothing of it is sent', async () => {
    const one = `${READ} `;
    const calls: readonly (() => unknown)[] = [ROGUE, one].flatMap((text) => [
      () => redis.eval(text, 1, 'key'),
      () => methodOf(redis, 'evalBuffer')(text, 0),
      () => redis.eval_ro(text, 0),
      () => redis.evalsha(sha1(text), 1, 'key'),
      () => redis.evalsha_ro(sha1(text), 1, 'key'),
      () => redis.call('eVaL', Buffer.from(text), 0),
      () => redis.sendCommand(new Command('eval', [text, '0'])),
      () => redis.script('LOAD', text),
      () => redis.script('EXISTS', sha1(READ), sha1(text)),
    ]);
    await raw.script('LOAD', ROGUE);
    const written = redis.stream.bytesWritten;
    for (const call of calls) {
      const error = await acme(() => failure(call));
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
      expect(error.message).toMatch(new RegExp(`SHA-1 (?:${sha1(ROGUE)}|${sha1(one)})`));
      expect(error.message).toContain('tenant.scripts');
      expect(error.message).not.toMatch(/redis\.call|tk:acme2/);
    }
    expect(redis.stream.bytesWritten).toBe(written);
    expect(await acme(() => redis.eval(READ, 1, 'key'))).toBe('of acme');
  });

  it('is refused outside of any tenant as well, and an operator’s to run', async () => {
    expect(await failure(() => redis.script('LOAD', ROGUE))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await failure(() => redis.script('EXISTS', sha1(ROGUE)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await failure(() => redis.eval(ROGUE, 0))).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await operator(() => redis.eval(ROGUE, 0))).toBe('of acme2');
    expect(await operator(() => redis.script('LOAD', ROGUE))).toBe(sha1(ROGUE));
  });

  it('keeps its place in a pipeline, and stops a transaction', async () => {
    const results = await acme(() => redis.pipeline().get('key').eval(ROGUE, 0).eval(READ, 1, 'key').exec());
    expect(results).toEqual([
      [null, 'of acme'],
      [expect.objectContaining({ code: 'OPERATION_REFUSED' })],
      [null, 'of acme'],
    ]);
    const error = await acme(() => failure(() => redis.multi().set('key', 'new').eval(ROGUE, 0).exec()));
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await raw.get('tk:acme:key')).toBe('of acme');
  });

  it('cannot be told to be another by what is no SHA-1', async () => {
    for (const name of [
      '',
      'x',
      `${sha1(READ)} `,
      sha1(READ).slice(1),
      `${sha1(READ)}\0`,
      'constructor',
      '__proto__',
    ]) {
      const error = await acme(() => failure(() => redis.evalsha(name, 1, 'key')));
      expect([name, error]).toMatchObject([name, { code: 'OPERATION_REFUSED' }]);
      expect(error.message).toContain('no SHA-1');
    }
  });

  it('changes with a broken surrogate only as the bytes do that are sent', async () => {
    const text = 'return "\uFFFD"';
    await using own = await openCache({ tenant: { scripts: [{ sha1: sha1(text) }] } });
    expect(await acme(() => own.redis.eval(text, 0))).toBe('\uFFFD');
    expect(await acme(() => own.redis.eval('return "\uD800"', 0))).toBe('\uFFFD');
  });
});

describe('functions', () => {
  const LIBRARY_OF_FUNCTIONS = `#!lua name=tests_of_scripts
    redis.register_function{function_name='read_one', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}
    redis.register_function{function_name='rogue', callback=function() return redis.call('GET', 'tk:acme2:key') end, flags={'no-writes'}}`;

  it('are called when they are listed, and loaded by operators only', async () => {
    await operator(() => redis.call('FUNCTION', 'LOAD', 'REPLACE', LIBRARY_OF_FUNCTIONS));
    try {
      for (const tenant of TENANTS) {
        await withTenant(tenant, async () => {
          expect(await redis.fcall('read_one', 1, 'key')).toBe(`of ${tenant}`);
          expect(await methodOf(redis, 'fcall_roBuffer')('read_one', 1, 'key')).toEqual(
            Buffer.from(`of ${tenant}`),
          );
          expect(await redis.multi().fcall('read_one', 1, Buffer.from('key')).exec()).toEqual([
            [null, `of ${tenant}`],
          ]);
        });
      }
      for (const name of ['rogue', 'READ_ONE', 'read_one\0', 'x'.repeat(500)]) {
        for (const call of [() => redis.fcall(name, 0), () => redis.fcall_ro(Buffer.from(name), 1, 'key')])
          expect(await acme(() => failure(call))).toMatchObject({
            code: 'OPERATION_REFUSED',
            message: expect.stringContaining('tenant.scripts'),
          });
      }
      for (const sub of ['LIST', 'DUMP', 'STATS', 'FLUSH', 'KILL'])
        expect(await acme(() => failure(() => redis.call('FUNCTION', sub)))).toMatchObject({
          code: 'OPERATION_REFUSED',
        });
      expect(
        await acme(() => failure(() => redis.call('FUNCTION', 'LOAD', 'REPLACE', LIBRARY_OF_FUNCTIONS))),
      ).toMatchObject({ code: 'OPERATION_REFUSED' });
      expect(
        await acme(() => failure(() => redis.call('FUNCTION', 'DELETE', 'tests_of_scripts'))),
      ).toMatchObject({ code: 'OPERATION_REFUSED' });
    } finally {
      await raw.call('FUNCTION', 'DELETE', 'tests_of_scripts');
    }
  });
});

describe('a defined command', () => {
  const FORMS: readonly [string, (options?: RedisOptions) => Redis][] = [
    [
      'by defineCommand',
      (options = {}) => {
        const client = opened.guarded(options);
        client.defineCommand('add', add);
        return client;
      },
    ],
    ['by the option scripts', (options = {}) => opened.guarded({ ...options, scripts: { add } })],
    [
      'by the list',
      (options = {}) => {
        const client = opened.guarded({ ...options, tenant: { scripts: [{ sha1: sha1(add.lua) }] } });
        const { lua, numberOfKeys } = add;
        client.defineCommand('add', { lua, numberOfKeys });
        return client;
      },
    ],
  ];

  it.each(FORMS)('%s has the keys of the tenant, in every form', async (_, make) => {
    for (const options of [{}, { enableAutoPipelining: true }]) {
      const client = make(options);
      for (const tenant of TENANTS) {
        await raw.set(`tk:${tenant}:n`, 0);
        await withTenant(tenant, async () => {
          expect(await methodOf(client, 'add')('n', 1)).toBe(1);
          expect(await methodOf(client, 'addBuffer')(Buffer.from('n'), 1)).toBe(2);
          expect(await methodOf(client, 'add')(['n', 1])).toBe(3);
          expect(
            await new Promise(
              (resolve) =>
                void methodOf(client, 'add')('n', 1, (_: unknown, reply: unknown) => resolve(reply)),
            ),
          ).toBe(4);
          const pipeline = client.pipeline();
          void methodOf(pipeline, 'add')('n', 1);
          void methodOf(pipeline, 'addBuffer')('n', 1);
          expect(await pipeline.exec()).toEqual([
            [null, 5],
            [null, 6],
          ]);
          expect(
            await client
              .pipeline([
                ['add', 'n', 1],
                ['addBuffer', 'n', 1],
                ['get', 'n'],
              ])
              .exec(),
          ).toEqual([
            [null, 7],
            [null, 8],
            [null, '8'],
          ]);
          const multi = client.multi();
          void methodOf(multi, 'add')('n', 1);
          expect(
            await (methodOf(multi.get('n'), 'add')('n', 1) as unknown as ChainableCommander).exec(),
          ).toEqual([
            [null, 9],
            [null, '9'],
            [null, 10],
          ]);
          expect(await operator(() => methodOf(client, 'add')(`tk:${tenant}:n`, 1))).toBe(11);
        });
        expect(await raw.get(`tk:${tenant}:n`)).toBe('11');
      }
      expect(await failure(() => methodOf(client, 'add')('n', 1))).toMatchObject({ code: 'TENANT_MISSING' });
    }
    expect((await raw.keys('*')).sort()).toEqual(
      TENANTS.flatMap((tenant) => [`tk:${tenant}:key`, `tk:${tenant}:n`]).sort(),
    );
  });

  it('takes its count of keys from the call when the definition has none', async () => {
    const client = opened.guarded();
    client.defineCommand('readMany', { lua: MANY, tenant: 'keys-only' });
    expect(await acme(() => methodOf(client, 'readMany')(2, 'key', 'missing'))).toEqual(['of acme', null]);
    expect(await acme(() => methodOf(client, 'readMany')(0, 'key'))).toEqual([]);
    for (const args of [
      [3, 'key'],
      [-1, 'key'],
      ['1e1', 'key'],
      [Buffer.from('+1'), 'key'],
      ['key'],
      [1.5, 'key'],
    ])
      expect(await acme(() => failure(() => methodOf(client, 'readMany')(...args)))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    client.defineCommand('readTwo', { lua: MANY, numberOfKeys: 2, tenant: 'keys-only' });
    expect(await acme(() => failure(() => methodOf(client, 'readTwo')('key')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => methodOf(client, 'readTwo')('key', 'key', 'more'))).toEqual([
      'of acme',
      'of acme',
    ]);
  });

  it('with arguments that cannot be made text harms nobody', async () => {
    for (const enableAutoPipelining of [false, true]) {
      const client = opened.guarded({ enableAutoPipelining });
      client.defineCommand('readOne', { lua: READ, numberOfKeys: 1, tenant: 'keys-only' });
      const settled = await Promise.allSettled([
        acme(() => client.get('key')),
        acme2(() => methodOf(client, 'readOne')(NO_TEXT)),
        acme(() => methodOf(client, 'readOne')('key')),
        acme2(() => methodOf(client, 'readOne')(THROWING)),
        acme2(() => methodOf(client, 'readOne')('key')),
        acme2(() => methodOf(client, 'readOne')()),
        acme(() => client.get('key')),
      ]);
      expect(settled.map((one) => (one.status === 'fulfilled' ? one.value : 'rejected'))).toEqual([
        'of acme',
        'rejected',
        'of acme',
        'rejected',
        'of acme2',
        'rejected',
        'of acme',
      ]);
      expect(await acme2(() => methodOf(client, 'readOne')('key'))).toBe('of acme2');
    }
  });

  it('that is defined after the calls of a turn have begun shifts no reply', async () => {
    const client = opened.guarded({ enableAutoPipelining: true });
    const first = acme(() => client.get('key'));
    client.defineCommand('readOne', { lua: READ, numberOfKeys: 1, tenant: 'keys-only' });
    const second = acme2(() => methodOf(client, 'readOne')('key'));
    const third = acme(() => client.get('key'));
    expect(await Promise.all([first, second, third])).toEqual(['of acme', 'of acme2', 'of acme']);
  });

  it('belongs to the pipeline, and the pipeline to its tenant', async () => {
    const client = opened.guarded();
    client.defineCommand('add', add);
    const pipeline = acme(() => client.pipeline());
    expect(await acme2(() => failure(() => methodOf(pipeline, 'add')('n', 1)))).toBeInstanceOf(
      TenantSwitchError,
    );
  });

  it('transforms its reply as its caller says', async () => {
    const client = opened.guarded();
    client.defineCommand('readOne', { lua: READ, numberOfKeys: 1, tenant: 'keys-only' });
    const command = new Command('evalsha', [sha1(READ), 1, 'key'], { replyEncoding: 'utf8' });
    command.transformReply = (reply) => `transformed ${String(reply)}`;
    expect(await acme(() => client.sendCommand(command))).toBe('transformed of acme');
  });
});

describe('a definition', () => {
  const undeclared = { lua: ROGUE, numberOfKeys: 0 };

  it('that is not declared safe is refused with the SHA-1 to look at', async () => {
    const client = opened.guarded();
    for (const run of [operator, <T>(fn: () => T): T => fn()]) {
      const error = await failure(() => run(() => client.defineCommand('peek', undeclared)));
      expect(error).toMatchObject({
        code: 'OPERATION_REFUSED',
        message: expect.stringContaining(sha1(ROGUE)),
      });
    }
    expect('peek' in client).toBe(false);
    expect(() => opened.guarded({ scripts: { peek: undeclared } })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(sha1(ROGUE)) }),
    );
    // One byte more than what was read is another script.
    client.defineCommand('readOne', { lua: READ, numberOfKeys: 1, tenant: 'keys-only' });
    expect(() => client.defineCommand('readOther', { lua: `${READ}\n`, numberOfKeys: 1 })).toThrow(/SHA-1/);
  });

  it('inside a tenant changes nothing for the others', async () => {
    const client = opened.guarded();
    client.defineCommand('add', add);
    for (const definition of [add, { ...add, tenant: undefined }])
      await acme(async () => client.defineCommand('add', definition));
    const changes = [
      { ...add, numberOfKeys: 2 },
      { ...add, readOnly: true },
      { ...add, lua: READ },
    ];
    for (const change of changes)
      expect(await acme(() => failure(() => client.defineCommand('add', change)))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    expect(await acme(() => failure(() => client.defineCommand('other', add)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect('other' in client).toBe(false);
    expect(await acme2(() => methodOf(client, 'add')('n', 1))).toBe(1);
    // On a connection of its own there is nobody else.
    const own = acme(() => client.duplicate());
    // But a tenant vouches for no script: only what the service has listed is safe.
    expect(await acme(() => failure(() => own.defineCommand('add', add)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => failure(() => client.duplicate({ scripts: { add } } as never)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    const listing = opened.guarded({ tenant: { scripts: [{ sha1: sha1(add.lua) }] } });
    const listed = acme(() => listing.duplicate());
    acme(() => listed.defineCommand('add', { ...add, tenant: undefined }));
    expect(await acme(() => methodOf(listed, 'add')('n', 2))).toBe(2);
    acme(() => listed.disconnect());
    expect(await acme2(() => failure(() => own.defineCommand('other', add)))).toBeInstanceOf(
      TenantSwitchError,
    );
    acme(() => own.disconnect());
    expect('other' in own).toBe(false);
  });

  it('replaces no command and no member of the client or of its pipelines', async () => {
    const client = opened.guarded();
    const names = [
      'get',
      'GET',
      'GeTBuffer',
      'getBuffer',
      'set',
      'HGETALL',
      'call',
      'callBuffer',
      'exec',
      'sendCommand',
      'pipeline',
      'multi',
      'on',
      'options',
      'status',
      'stream',
      'constructor',
      '__proto__',
      'toString',
      'hasOwnProperty',
      'then',
      '',
      'length',
      'promise',
      'redis',
      '_queue',
      '_transactions',
      'isPipeline',
      'fillResult',
      'addBatch',
      'duplicate',
      'disconnect',
      'defineCommand',
      'scriptsSet',
      'isCluster',
    ];
    for (const name of names)
      expect([name, await failure(() => client.defineCommand(name, add))]).toMatchObject([
        name,
        { code: 'OPERATION_REFUSED' },
      ]);
    client.defineCommand('addBuffer2', add);
    client.defineCommand('twinBuffer', add);
    expect(await failure(() => client.defineCommand('twin', add))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => client.get('key'))).toBe('of acme');
    expect(await Promise.resolve(client)).toBe(client);
    for (const name of [undefined, null, 5, {}, Symbol('x')])
      expect(await failure(() => client.defineCommand(name as string, add))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
  });

  it('is the client’s, not a pipeline’s', async () => {
    for (const pipeline of [acme(() => redis.pipeline()), acme(() => redis.multi())]) {
      for (const name of ['peek', 'sendCommand', 'exec'])
        for (const define of ['defineCommand', 'addBuiltinCommand'])
          expect(await acme(() => failure(() => methodOf(pipeline, define)(name, add)))).toMatchObject({
            code: 'OPERATION_REFUSED',
          });
      expect((await acme(() => pipeline.get('key').exec()))?.at(-1)).toEqual([null, 'of acme']);
    }
  });

  it('that is none is a ConfigError', () => {
    const client = opened.guarded();
    for (const wrong of [
      undefined,
      null,
      'return 1',
      {},
      { lua: 1 },
      { lua: Buffer.from(READ) },
      { ...add, numberOfKeys: -1 },
      { ...add, numberOfKeys: 1.5 },
      { ...add, numberOfKeys: '1' },
      { ...add, readOnly: 'yes' },
      { ...add, tenant: 'keys' },
      { ...add, tenant: true },
    ])
      expect(() => client.defineCommand('wrong', wrong as typeof add)).toThrow(
        expect.objectContaining({ code: 'CONFIG_INVALID' }),
      );
    expect('wrong' in client).toBe(false);
  });

  it('is read once', async () => {
    const client = opened.guarded();
    let reads = 0;
    client.defineCommand('readOne', {
      numberOfKeys: 1,
      get lua() {
        reads += 1;
        return reads === 1 ? READ : ROGUE;
      },
      tenant: 'keys-only',
    });
    expect(reads).toBe(1);
    expect(await acme(() => methodOf(client, 'readOne')('key'))).toBe('of acme');
  });

  it('may be replaced where the service starts', async () => {
    const client = opened.guarded();
    client.defineCommand('one', add);
    client.defineCommand('one', { lua: READ, numberOfKeys: 1, tenant: 'keys-only' });
    expect(await acme(() => methodOf(client, 'one')('key'))).toBe('of acme');
  });
});

describe('the option tenant.scripts', () => {
  it('takes SHA-1s and names of functions, and nothing else', () => {
    const wrong: unknown[] = [
      {},
      'x',
      [''],
      [sha1(READ)],
      [{ sha1: sha1(READ).toUpperCase() }],
      [{ sha1: sha1(READ).slice(1) }],
      [{ sha1: `${sha1(READ)}\n` }],
      [{ function: '' }],
      [{ function: 'a b' }],
      [{ lua: READ }],
      [{ sha1: sha1(READ), function: 'x' }],
      [{}],
      [{ sha1: sha1(READ), why: 'x' }],
    ];
    for (const list of wrong)
      expect(() => new Redis({ lazyConnect: true, tenant: { scripts: list as AllowedScript[] } })).toThrow(
        expect.objectContaining({
          code: 'CONFIG_INVALID',
          message: expect.stringContaining('tenant.scripts'),
        }),
      );
    expect(
      () => new Redis({ lazyConnect: true, tenant: { scripts: [sha1(READ)] as unknown as AllowedScript[] } }),
    ).toThrow(/tenant\.scripts\.0: must be \{ sha1: '…' \}/);
    new Redis({ lazyConnect: true, tenant: { scripts } }).disconnect();
  });

  it('is the list as it was when the client was made', async () => {
    const list = [{ sha1: sha1(READ) }];
    const client = opened.guarded({ tenant: { scripts: list } });
    list.push({ sha1: sha1(ROGUE) });
    Object.assign(list[0] ?? {}, { sha1: sha1(ROGUE) });
    expect(await acme(() => failure(() => client.eval(ROGUE, 0)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme(() => client.eval(READ, 1, 'key'))).toBe('of acme');
    const copy = client.duplicate();
    expect(await acme(() => failure(() => copy.eval(ROGUE, 0)))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await acme(() => copy.eval(READ, 1, 'key'))).toBe('of acme');
    copy.disconnect();
  });
});
