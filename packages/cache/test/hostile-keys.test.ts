import { Redis } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { TENANTS } from '@tenantkit/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, everythingIn, failure, openCache, ready, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

/** What every other tenant has, under ids that acme has as well. */
beforeEach(async () => {
  const { raw } = opened;
  await raw.flushdb();
  for (const tenant of TENANTS) {
    const key = (name: string): string => `tk:${tenant}:${name}`;
    await raw
      .pipeline()
      .rpush(key('ids'), '2', '1', '3')
      .mset(key('weight_1'), 30, key('weight_2'), 20, key('weight_3'), 10, key('secret'), `of ${tenant}`)
      .hset(key('user_1'), 'name', `one of ${tenant}`)
      .geoadd(key('places'), 13.36, 38.11, `home of ${tenant}`)
      .xadd(key('stream'), '1-1', 'of', tenant)
      .exec();
  }
});

/** What `call` does to the keys of all the others, which is nothing. */
async function unharmed<T>(call: () => Promise<T>): Promise<T> {
  const others = async (): Promise<[string, string][]> =>
    Object.entries(await everythingIn(opened.raw)).filter(([key]) => !key.startsWith('tk:acme:'));
  const before = await others();
  const result = await acme(call);
  expect(await others()).toEqual(before);
  return result;
}

const refused = { code: 'OPERATION_REFUSED' };
const VICTIM = 'tk:acme2:secret';

describe('SORT', () => {
  it('reads and stores under names of the tenant only, whatever BY and GET say', async () => {
    const { redis } = opened;
    expect(await unharmed(() => redis.sort('ids', 'BY', 'weight_*', 'GET', '#', 'GET', 'weight_*'))).toEqual([
      '3',
      '10',
      '2',
      '20',
      '1',
      '30',
    ]);
    expect(await unharmed(() => redis.sort('ids', 'BY', 'nosort', 'GET', 'tk:acme2:weight_*'))).toEqual([
      null,
      null,
      null,
    ]);
    expect(await unharmed(() => redis.sort('ids', 'GET', 'user_*->name'))).toEqual([
      'one of acme',
      null,
      null,
    ]);
    expect(await unharmed(() => redis.call('SORT', 'ids', 'STORE', 'tk:acme2:ids', 'STORE', 'out'))).toBe(3);
    expect(await opened.raw.lrange('tk:acme:out', 0, -1)).toEqual(['1', '2', '3']);
  });

  it('takes tokens as bytes, in any case', async () => {
    const { redis } = opened;
    const bytes = ['ids', 'bY', 'nosort', 'gEt', 'tk:acme2:weight_*'].map((word) => Buffer.from(word));
    expect(await unharmed(() => redis.callBuffer('sOrT', ...bytes))).toEqual([null, null, null]);
    const own = ['ids', 'bY', 'nosort', 'gEt', 'weight_*'].map((word) => Buffer.from(word));
    expect(await unharmed(() => redis.call('sort', ...own))).toEqual(['20', '30', '10']);
  });

  it.each([
    // The element stands behind the prefix, however it begins.
    ['tk:acme2:secret', '*'],
    ['../tk:acme2:secret', '*'],
    ['secret\0', 'tk:acme2:*'],
    ['*', 'tk:acme2:*'],
    ['weight_1', 'tk:*2:*'],
  ])('puts the element %j into %j behind the prefix', async (element, pattern) => {
    const { redis } = opened;
    await acme(() => redis.rpush('elements', element));
    expect(await unharmed(() => redis.sort('elements', 'BY', 'nosort', 'GET', pattern))).toEqual([null]);
    await acme(() => redis.set(pattern.replace('*', element), 'own'));
    expect(await unharmed(() => redis.sort('elements', 'BY', 'nosort', 'GET', pattern))).toEqual(['own']);
  });

  it('refuses patterns under a template with a star, which the server would fill first', async () => {
    const redis = opened.guarded({ tenant: { names: 'tk*:{tenant}:' } });
    await ready(redis);
    await acme(() => redis.rpush('ids', '2', '1'));
    for (const args of [
      ['GET', 'weight_*'],
      ['BY', 'nosort'],
      ['BY', 'w*', 'GET', '#'],
    ])
      expect(await failure(() => acme(() => redis.call('SORT', 'ids', ...args)))).toMatchObject(refused);
    expect(await acme(() => redis.sort('ids', 'GET', '#', 'STORE', 'out'))).toBe(2);
    expect(await opened.raw.lrange('tk*:acme:out', 0, -1)).toEqual(['1', '2']);
  });

  it('refuses what it does not know, and an option without its value', async () => {
    const { redis } = opened;
    for (const args of [
      ['STORE'],
      ['BY'],
      ['LIMIT', 0],
      ['GET\0', 'x'],
      ['\u017Fort', 'x'],
      ['STORE', 'x', 'DB', 1],
    ]) {
      const sent = redis.stream.bytesWritten;
      expect(await failure(() => acme(() => redis.call('SORT', 'ids', ...args)))).toMatchObject(refused);
      expect(redis.stream.bytesWritten).toBe(sent);
    }
    expect(await failure(() => acme(() => redis.call('SORT_RO', 'ids', 'STORE', 'x')))).toMatchObject(
      refused,
    );
    expect(await acme(() => redis.call('SORT_RO', 'ids'))).toEqual(['1', '2', '3']);
  });
});

describe('a second STORE', () => {
  it.each([
    ['GEORADIUS', ['places', 13, 38, 200, 'km', 'STORE', 'one', 'STORE', 'tk:acme2:secret']],
    ['GEORADIUS', ['places', 13, 38, 200, 'km', 'STORE', 'tk:acme2:secret', 'STOREDIST', 'one']],
    ['GEORADIUSBYMEMBER', ['places', 'home of acme', 200, 'km', 'STOREDIST', 'one', 'sToRe', VICTIM]],
    ['SORT', ['ids', 'STORE', 'one', 'STORE', VICTIM]],
  ] as const)('of %s %j stores in the tenant', async (name, args) => {
    await unharmed(() => opened.redis.call(name, ...args));
    const bytes = args.map((word) => Buffer.from(String(word)));
    await unharmed(() => opened.redis.callBuffer(name, ...bytes));
    const stored = (await opened.raw.keys('tk:acme:*')).filter((key) => /:(?:one|secret)$/.test(key));
    expect(stored).toContain(args.at(-1) === VICTIM ? `tk:acme:${VICTIM}` : 'tk:acme:one');
  });
});

describe('streams', () => {
  it('are told from options by their place, not by their words', async () => {
    const { redis } = opened;
    await acme(async () => {
      for (const name of ['STREAMS', 'BLOCK', 'COUNT']) await redis.xadd(name, '1-1', 'own', name);
      await redis.xgroup('CREATE', 'STREAMS', 'STREAMS', '0');
      await redis.xgroup('CREATE', 'STREAMS', 'BLOCK', '0');
    });
    const own = [['STREAMS', [['1-1', ['own', 'STREAMS']]]]];
    expect(await unharmed(() => redis.call('XREAD', 'STREAMS', 'STREAMS', '0'))).toEqual(own.flat());
    for (const group of ['STREAMS', 'BLOCK'])
      expect(
        await unharmed(() => redis.xreadgroup('GROUP', group, 'STREAMS', 'STREAMS', 'STREAMS', '>')),
      ).toEqual(own);
    // A key of another tenant in the place of an id, or of an id in the place of a key.
    expect(
      await failure(() => acme(() => redis.call('XREAD', 'STREAMS', 'stream', 'tk:acme2:stream'))),
    ).toMatchObject({ message: expect.stringMatching(/^ERR Invalid stream ID/) as string });
    expect(await unharmed(() => redis.xread('STREAMS', 'tk:acme2:stream', '0'))).toBeNull();
    expect(await unharmed(() => redis.xread('STREAMS', 'stream', '0'))).toEqual([
      ['stream', [['1-1', ['of', 'acme']]]],
    ]);
  });

  it('whose keys cannot be counted are not asked for', async () => {
    const { redis } = opened;
    const sent = redis.stream.bytesWritten;
    for (const args of [
      ['STREAMS'],
      ['STREAMS', 'stream'],
      ['STREAMS', 'stream', 'stream', '0'],
      ['COUNT', 'STREAMS', 'stream', '0'],
      ['COUNT', 1, 'BLOCK', 'STREAMS', 'tk:acme2:stream', '0'],
      ['GROUP', 'g', 'c', 'STREAMS', 'stream', '0'],
      ['STREAMS\0', 'stream', '0'],
      ['stream', '0'],
    ])
      expect(await failure(() => acme(() => redis.call('XREAD', ...args)))).toMatchObject(refused);
    expect(redis.stream.bytesWritten).toBe(sent);
  });

  it('belong to groups of the tenant, of the same name as those of others', async () => {
    const { redis, raw } = opened;
    for (const tenant of TENANTS) await raw.xgroup('CREATE', `tk:${tenant}:stream`, 'workers', '0');
    expect(
      await unharmed(() => redis.xreadgroup('GROUP', 'workers', 'me', 'STREAMS', 'stream', '>')),
    ).toHaveLength(1);
    expect(await unharmed(() => redis.xautoclaim('stream', 'workers', 'other', 0, '0'))).toHaveLength(3);
    expect(await unharmed(() => redis.xack('stream', 'workers', '1-1'))).toBe(1);
    expect(await unharmed(() => redis.xinfo('GROUPS', 'stream'))).toHaveLength(1);
    for (const tenant of TENANTS.filter((id) => id !== 'acme'))
      expect(await raw.xpending(`tk:${tenant}:stream`, 'workers')).toEqual([0, null, null, null]);
  });
});

describe('keys', () => {
  const KEYS: readonly (string | Buffer)[] = [
    '',
    '\0',
    'a\0b',
    'tk:acme2:secret',
    'tk:acme:secret',
    '{tk:acme2:}secret',
    '{acme2}',
    '}{',
    '*',
    '[a]?\\*',
    ' ',
    '\r\n$3\r\nGET\r\n',
    '\uD800',
    'é\u0301',
    '__proto__',
    Buffer.from([0xff, 0xfe, 0]),
    Buffer.from('tk:acme2:secret'),
    Buffer.alloc(0),
  ];

  it.each(KEYS.map((key) => [JSON.stringify(key), key] as const))(
    '%s is one of the tenant’s own',
    async (_, key) => {
      const { redis, raw } = opened;
      await unharmed(() => redis.set(key, 'own'));
      expect(await unharmed(() => redis.get(key))).toBe('own');
      expect(await unharmed(() => redis.mget([key, key]))).toEqual(['own', 'own']);
      expect(
        await raw.getBuffer(Buffer.concat([Buffer.from('tk:acme:'), Buffer.from(key as string)])),
      ).toEqual(Buffer.from('own'));
      expect(await withTenant('acme2', () => redis.get(key))).toBeNull();
      expect(await unharmed(() => redis.del(key))).toBe(1);
    },
  );

  it('are looked for by patterns in the tenant only', async () => {
    const { redis } = opened;
    for (const pattern of [
      '*secret',
      'tk:*',
      '[^x]*',
      '*:secret',
      '?k:acme2:*',
      '\\*',
      '**',
      '{*',
      '[t]k:acme2*',
    ]) {
      const found = await unharmed(async () => (await redis.scan(0, 'MATCH', pattern, 'COUNT', 10_000))[1]);
      const own = await acme(() => redis.keys('*'));
      expect(found.filter((key) => !own.includes(key))).toEqual([]);
    }
    expect(await acme(async () => (await redis.scan(0, 'MATCH', '*ecret', 'COUNT', 10_000))[1])).toEqual([
      'secret',
    ]);
  });

  it('stay in the tenant when arguments are nested, as ioredis flattens them', async () => {
    const { redis } = opened;
    expect(await unharmed(() => redis.call('MGET', ['secret', 'tk:acme2:secret'] as never))).toEqual([
      'of acme',
      null,
    ]);
    expect(
      await unharmed(() => redis.call('SORT', 'ids', ['BY', 'nosort', 'GET', 'tk:acme2:weight_*'] as never)),
    ).toEqual([null, null, null]);
    expect(await unharmed(() => redis.call('COPY', ['secret', 'twin'] as never))).toBe(1);
    expect(
      await failure(() => acme(() => redis.call('COPY', ['secret', 'twin', 'DB', '1'] as never))),
    ).toMatchObject(refused);
  });
});

describe('data stays where the eraser looks', () => {
  it('RESTORE, MIGRATE, MOVE and SWAPDB are refused; DUMP and COPY work', async () => {
    const { redis } = opened;
    const dumped = await unharmed(() => redis.dumpBuffer('secret'));
    expect(dumped).toBeInstanceOf(Buffer);
    const sent = redis.stream.bytesWritten;
    for (const call of [
      () => redis.restore('twin', 0, dumped ?? ''),
      () => redis.call('restore-asking', 'twin', 0, dumped ?? ''),
      () => redis.move('secret', 1),
      () => redis.swapdb(0, 1),
      () => redis.call('MIGRATE', '127.0.0.1', 1, '', 0, 10, 'KEYS', VICTIM),
      () => redis.call('MIGRATE', '127.0.0.1', 1, Buffer.alloc(0), 0, 10, 'keys', 'secret'),
      () => redis.call('COPY', 'secret', 'twin', 'REPLACE', 'DB', 1),
    ])
      expect(await failure(() => acme(call))).toMatchObject(refused);
    expect(redis.stream.bytesWritten).toBe(sent);
    expect(await unharmed(() => redis.copy('secret', 'twin'))).toBe(1);
    expect(await acme(() => redis.get('twin'))).toBe('of acme');
  });

  it('names of module commands are put behind the prefix, wherever they stand', async () => {
    const redis = new Redis(opened.url);
    await ready(redis);
    const keys = { doc: 1, other: 1 };
    const error = await failure(() =>
      acme(() => redis.call('JSON.MSET', 'doc', '$', '1', 'other', '$', '2')),
    );
    expect(error.message).toMatch(/^ERR unknown command/);
    for (const key of Object.keys(keys)) expect(error.message).toContain(`'${key}'`);
    redis.disconnect();
  });
});
