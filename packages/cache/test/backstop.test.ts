import { withTenant } from '@tenantkit/core';
import { Redis, cacheBackstop, type CacheBackstopOptions } from '@tenantkit/cache';
import { SCRIPTING } from '../src/rules.ts';
import { INVALID_TENANTS, TENANTS, freshRedis } from '@tenantkit/testing';
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { allowedScripts, loadScripts, samples } from './samples.ts';
import { failure, ready, until } from './support.ts';

const { url } = inject('servers').redis;
const users: string[] = [];
const clients: { disconnect(): void }[] = [];
// The rules are for database 0, which other tests use as well: only keys with this in their tenant are ours.
const run = randomBytes(6).toString('hex');
const tenantOf = (id: string): string => `${id}_${run}`;

let admin: Raw;
beforeAll(async () => {
  admin = new Raw(url);
  for (const id of TENANTS) await admin.set(`tk:${tenantOf(id)}:key`, `of ${id}`, 'EX', 300);
});
afterAll(async () => {
  for (const client of clients) client.disconnect();
  for (const user of users) await admin.acl('DELUSER', user);
  for (const id of TENANTS) await admin.del(`tk:${tenantOf(id)}:key`, `tk:${tenantOf(id)}:new`);
  admin.disconnect();
});

/** Somebody who has the password of one tenant's user, and speaks to the server directly. */
async function attacker(id: string, options: CacheBackstopOptions = {}): Promise<Raw> {
  const username = `tk-test-${randomBytes(6).toString('hex')}`;
  const password = randomBytes(12).toString('hex');
  users.push(username);
  const commands = (await admin.command('LIST')) as string[];
  const rules = cacheBackstop(tenantOf(id), { commands, ...options });
  await admin.call('ACL', 'SETUSER', username, ...rules, `>${password}`);
  const client = new Raw(url, { username, password, enableReadyCheck: false });
  clients.push(client);
  await ready(client);
  return client;
}

describe('the server alone', () => {
  it.each(TENANTS)('keeps the user of %s to that tenant', async (id) => {
    const client = await attacker(id);
    const own = `tk:${tenantOf(id)}:key`;
    expect(await client.get(own)).toBe(`of ${id}`);
    expect(await client.multi().set(own, `of ${id}`, 'KEEPTTL').get(own).exec()).toEqual([
      [null, 'OK'],
      [null, `of ${id}`],
    ]);
    for (const other of TENANTS.filter((other) => other !== id)) {
      const key = `tk:${tenantOf(other)}:key`;
      const attacks = [
        () => client.get(key),
        () => client.set(key, 'overwritten'),
        () => client.del(key),
        () => client.mget(own, key),
        () => client.rename(own, key),
        () => client.copy(key, own),
        () => client.expire(key, 1),
        () => client.sunionstore(own, key),
        () => client.object('ENCODING', key),
        () => client.memory('USAGE', key),
        () => client.dump(key),
        () => client.call('SORT', key),
        () => client.call('SORT', own, 'STORE', key),
        () => client.call('SORT', own, 'STORE', own, 'STORE', key),
        () => client.call('GEORADIUS', own, 0, 0, 1, 'm', 'STORE', key),
        () => client.call('GEORADIUS', own, 0, 0, 1, 'm', 'STORE', own, 'STOREDIST', key),
        () => client.call('GEORADIUSBYMEMBER', own, 'x', 1, 'm', 'STOREDIST', key),
        () => client.geosearchstore(own, key, 'FROMMEMBER', 'x', 'BYRADIUS', 1, 'm'),
        () => client.call('ZUNIONSTORE', own, 2, own, key),
        () => client.call('LMPOP', 2, own, key, 'LEFT'),
        () => client.call('BITOP', 'AND', own, key),
        () => client.call('XADD', key, '*', 'a', 'b'),
        () => client.call('XREAD', 'STREAMS', own, key, '0', '0'),
        () => client.call('XREAD', 'COUNT', 1, 'STREAMS', key, '0'),
        () => client.call('XREADGROUP', 'GROUP', 'STREAMS', 'x', 'STREAMS', key, '>'),
        () => client.call('XAUTOCLAIM', key, 'x', 'y', 0, 0),
        () => client.call('XGROUP', 'CREATE', key, 'x', '$', 'MKSTREAM'),
        () => client.call('XINFO', 'STREAM', key),
        () => client.publish(key, 'x'),
        () => client.subscribe(key),
        () => client.subscribe(own, key),
        () => client.psubscribe(key),
        () => client.psubscribe(`tk:${tenantOf(other)}:*`),
        () => client.ssubscribe(key),
        () => client.spublish(key, 'x'),
        () => client.subscribe(`__keyspace@0__:${key}`),
        () => client.subscribe('__keyevent@0__:set'),
        () => client.psubscribe('__key*__:*'),
      ];
      for (const attack of attacks)
        expect((await failure(attack)).message).toMatch(/^(?:NOPERM|ReplyError: NOPERM)/);
      expect(await admin.get(key)).toBe(`of ${other}`);
    }
  });

  it('denies BY and GET of SORT altogether', async () => {
    const client = await attacker('acme');
    const own = `tk:${tenantOf('acme')}:new`;
    await client.rpush(own, '1');
    for (const args of [
      ['BY', `tk:${tenantOf('acme2')}:*`],
      ['GET', `tk:${tenantOf('acme2')}:ke*`],
      ['BY', 'nosort', 'GET', own],
    ])
      expect((await failure(() => client.call('SORT', own, ...args))).message).toMatch(
        /insufficient ACL permissions|^NOPERM/,
      );
    expect(await client.call('SORT', own)).toEqual(['1']);
    await client.del(own);
  });

  it('does not stop a copy of the own data in another database, as the README says', async () => {
    const client = await attacker('acme');
    const own = `tk:${tenantOf('acme')}:key`;
    // A database of this test's own.
    const elsewhere = await freshRedis(inject('servers').redis);
    const copies = new Raw(elsewhere.url);
    clients.push(copies);
    const db = new URL(elsewhere.url).pathname.slice(1);
    expect(await client.call('COPY', own, own, 'DB', db)).toBe(1);
    expect(await copies.get(own)).toBe('of acme');
    expect(await copies.del(own)).toBe(1);
    // The client does.
    const { username = '', password = '' } = client.options;
    const redis = new Redis(url, { username, password, enableReadyCheck: false });
    clients.push(redis);
    const refused = withTenant(tenantOf('acme'), () =>
      failure(() => redis.call('COPY', 'key', 'key', 'DB', db)),
    );
    expect(await refused).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await copies.exists(own)).toBe(0);
    await elsewhere.cleanup();
  });

  it('refuses what sees or changes the whole server', async () => {
    const client = await attacker('acme');
    const attacks: readonly [string, ...string[]][] = [
      ['KEYS', '*'],
      ['SCAN', '0'],
      ['RANDOMKEY'],
      ['DBSIZE'],
      ['FLUSHDB'],
      ['FLUSHALL'],
      ['SELECT', '1'],
      ['SWAPDB', '0', '1'],
      ['MOVE', `tk:${tenantOf('acme')}:key`, '1'],
      ['EVAL', 'return 1', '0'],
      ['FUNCTION', 'LIST'],
      ['SCRIPT', 'FLUSH'],
      ['CONFIG', 'GET', '*'],
      ['ACL', 'LIST'],
      ['CLIENT', 'LIST'],
      ['CLIENT', 'KILL', 'TYPE', 'normal'],
      ['INFO'],
      ['MONITOR'],
      ['SUBSCRIBE', 'x'],
      ['PSUBSCRIBE', '*'],
      ['PUBSUB', 'CHANNELS', '*'],
      ['PUBSUB', 'NUMSUB', 'x'],
      ['PUBSUB', 'NUMPAT'],
      ['PUBSUB', 'SHARDCHANNELS'],
      ['PUBSUB', 'SHARDNUMSUB', 'x'],
      ['MEMORY', 'STATS'],
    ];
    for (const [command, ...args] of attacks) {
      const { message } = await failure(() => client.call(command, ...args));
      expect([command, message]).toEqual([command, expect.stringMatching(/^NOPERM/)]);
    }
    expect(await client.get(`tk:${tenantOf('acme')}:key`)).toBe('of acme');
  });

  it('confines what a script does, whatever it declares', async () => {
    const client = await attacker('acme', { scripts: true });
    const own = `tk:${tenantOf('acme')}:key`;
    const other = `tk:${tenantOf('acme2')}:key`;
    // A foreign key that is written in the text, handed in as no key, and put together; the table of commands
    // reached past every name that a scan of the text could look for.
    const scripts: readonly string[] = [
      `return redis.call('GET', '${other}')`,
      `return redis['\\099all']('GET', '${other}')`,
      `return rawget(_G, 'redis')['call']('GET', '${other}')`,
      `local g = getmetatable('').__index return redis[g.lower('CALL')]('GET', '${other}')`,
      `return coroutine.wrap(function() return redis.call('GET', '${other}') end)()`,
      `return redis.call('GET', cjson.decode('["${other}"]')[1])`,
      `return redis.call('GET', cmsgpack.unpack(cmsgpack.pack('${other}')))`,
      `return redis.call('GET', ARGV[1])`,
      `return loadstring('return redis.call("GET", "${other}")')()`,
      `return redis.call('RENAME', KEYS[1], '${other}')`,
      `return redis.call('COPY', '${other}', KEYS[1])`,
      `return redis.call('SORT', KEYS[1], 'BY', 'nosort', 'GET', '${other}')`,
      `return redis.call('PUBLISH', '${other}', 'x')`,
      `return redis.call('KEYS', '*')`,
      `return redis.call('SCAN', '0')`,
      `return redis.call('RANDOMKEY')`,
      `return redis.call('FLUSHDB')`,
      `return redis.call('SELECT', '1')`,
      `return redis.call('OBJECT', 'ENCODING', '${other}')`,
    ];
    for (const text of scripts) {
      for (const run of [
        () => client.eval(text, 1, own, other),
        async () => client.evalsha(String(await client.script('LOAD', text)), 1, own, other),
        async () => {
          const [result] = (await client.multi().eval(text, 1, own, other).exec()) ?? [];
          throw result?.[0] ?? new Error('the script has run');
        },
      ]) {
        const { message } = await failure(run);
        expect([text, message]).toEqual([
          text,
          expect.stringMatching(
            /NOPERM|ACL failure in script|insufficient ACL permissions|The user executing the script can't/,
          ),
        ]);
      }
    }
    expect((await failure(() => client.eval('return 1', 1, other))).message).toMatch(/^NOPERM/);
    expect((await failure(() => client.eval(`return redis.pcall('GET', '${other}')`, 0))).message).toMatch(
      /permission|NOPERM|access/,
    );
    expect(await client.eval('return redis.call("GET", KEYS[1])', 1, own)).toBe('of acme');
    for (const [command, ...args] of [
      ['FUNCTION', 'LOAD', '#!lua name=x'],
      ['FUNCTION', 'LIST'],
      ['FUNCTION', 'DUMP'],
      ['FUNCTION', 'FLUSH'],
      ['SCRIPT', 'FLUSH'],
      ['SCRIPT', 'KILL'],
      ['SCRIPT', 'DEBUG', 'YES'],
    ] as const)
      expect((await failure(() => client.call(command, ...args))).message).toMatch(/^NOPERM/);
    expect(await admin.get(other)).toBe('of acme2');
    expect(await admin.get(own)).toBe('of acme');
  });

  it('confines a function that an operator has loaded to the tenant of whoever calls it', async () => {
    const client = await attacker('acme', { scripts: true });
    const library = `tests_of_acl_${run}`;
    await admin.call(
      'FUNCTION',
      'LOAD',
      `#!lua name=${library}
       redis.register_function('read_${run}', function(keys, args) return redis.call('GET', args[1]) end)`,
    );
    try {
      const call = (key: string): Promise<unknown> => client.fcall(`read_${run}`, 0, key);
      expect(await call(`tk:${tenantOf('acme')}:key`)).toBe('of acme');
      expect((await failure(() => call(`tk:${tenantOf('acme2')}:key`))).message).toMatch(/access|NOPERM/);
    } finally {
      await admin.call('FUNCTION', 'DELETE', library);
    }
  });

  it('cannot keep a user from RESET, which needs `default` to be disabled', async () => {
    const client = await attacker('acme');
    expect(await client.call('RESET')).toBe('RESET');
    expect(await client.call('ACL', 'WHOAMI')).toBe('default');
  });

  it('lets the guarded client do everything that the table allows, but SCAN and scripts', async () => {
    await loadScripts(admin);
    for (const allowed of [false, true]) {
      const { options } = await attacker('acme', { scan: allowed, scripts: allowed });
      const { username = '', password = '' } = options;
      const redis = new Redis(url, {
        username,
        password,
        enableReadyCheck: false,
        tenant: { scripts: allowedScripts },
      });
      clients.push(redis);
      await withTenant(tenantOf('acme'), async () => {
        expect(await redis.get('key')).toBe('of acme');
        const denied: string[] = [];
        for (const [name, [sample = []]] of Object.entries(samples)) {
          const [word = '', ...sub] = name.split(' ');
          // Blocking ones wait for nothing inside a transaction; all others are as well asked there.
          const multi = redis.multi([
            [word, ...sub, ...sample.map((word) => (word === 'text' ? 'new' : word))],
          ]);
          const text = await multi
            .exec()
            .then(JSON.stringify, (error: Error & { previousErrors?: Error[] }) =>
              [error, ...(error.previousErrors ?? [])].map(({ message }) => message).join(),
            );
          if (/NOPERM/.test(text)) denied.push(name);
        }
        const optional = ['scan', ...SCRIPTING].filter((name) => name in samples).sort();
        expect(denied.sort()).toEqual(allowed ? [] : optional);
      });
    }
    const left = await admin.keys(`tk:${tenantOf('acme')}:*`);
    await admin.del(...left.filter((key) => !key.endsWith(':key')));
  });

  it('lets a client with a registry write, and keeps it from the registries of others', async () => {
    const ids = TENANTS.map(tenantOf);
    const namesOf = (id: string): string[] => [`tk!keys:tk:${id}:`, `tk!subject:p1:tk:${id}:`];
    const perSlot = (id: string): string[] => [`tk!keys{1bz}:tk:${id}:`, `tk!subject{1bz}:p1:tk:${id}:`];
    try {
      for (const id of ids)
        for (const name of [...namesOf(id), ...perSlot(id)]) await admin.zadd(name, 1, 'kplanted');
      for (const options of [
        {},
        { scripts: true },
        { index: true },
        { index: true, scripts: true },
      ] as const) {
        const client = await attacker('acme', options);
        const { username = '', password = '' } = client.options;
        const redis = new Redis(url, {
          username,
          password,
          enableReadyCheck: false,
          tenant: { index: true },
        });
        clients.push(redis);
        const write = (name: string): Promise<unknown> =>
          withTenant({ tenant: tenantOf('acme'), subject: 'p1' }, () => redis.set(name, 'x', 'EX', 300));
        if (!('index' in options)) {
          expect(await failure(() => write('new'))).toMatchObject({ code: 'CONFIG_INVALID' });
          for (const name of namesOf(tenantOf('acme')))
            expect((await failure(() => client.zcard(name))).message).toMatch(/^NOPERM/);
          continue;
        }
        expect(await write('new')).toBe('OK');
        for (const name of namesOf(tenantOf('acme')))
          expect(await admin.zrange(name, '0', '-1')).toContain('knew');
        const chain = withTenant(tenantOf('acme'), () => redis.multi().set('new', 'y').get('new').exec());
        expect(await chain).toEqual([
          [null, 'OK'],
          [null, 'y'],
        ]);
        for (const name of [...namesOf(tenantOf('acme')), ...perSlot(tenantOf('acme'))])
          expect(await client.zadd(name, 2, 'kplanted')).toBe(0);
        for (const id of ids.filter((id) => id !== tenantOf('acme')))
          for (const name of [...namesOf(id), ...perSlot(id)]) {
            for (const attack of [
              () => client.zadd(name, 2, 'kattack'),
              () => client.zrange(name, '0', '-1'),
              () => client.zrem(name, 'kplanted'),
              () => client.del(name),
              () => client.rename(`tk:${tenantOf('acme')}:new`, name),
              () => client.zunionstore(`tk:${tenantOf('acme')}:new`, 1, name),
            ])
              expect((await failure(attack)).message).toMatch(/^NOPERM/);
            expect(await admin.zrange(name, '0', '-1', 'WITHSCORES')).toEqual(['kplanted', '1']);
          }
        for (const name of ['tk!indexed:tk:{tenant}:', 'tk!keys', 'tk!keys:', 'tk!subject:p1:'])
          expect((await failure(() => client.exists(name))).message).toMatch(/^NOPERM/);
      }
    } finally {
      for (const id of ids) await admin.del(...namesOf(id), ...perSlot(id));
    }
  });

  it('lets the guarded client publish and subscribe, but to no pattern other than *, and to no notifications', async () => {
    const { options } = await attacker('acme');
    const { username = '', password = '' } = options;
    const redis = new Redis(url, { username, password, enableReadyCheck: false });
    clients.push(redis);
    const heard: unknown[] = [];
    await withTenant(tenantOf('acme'), async () => {
      redis.on('message', (...parts: unknown[]) => heard.push(parts));
      redis.on('pmessage', (...parts: unknown[]) => heard.push(parts));
      redis.on('smessage', (...parts: unknown[]) => heard.push(parts));
      expect(await redis.subscribe('news')).toBe(1);
      expect(await redis.psubscribe('*')).toBe(2);
      expect(await redis.ssubscribe('shard')).toBe(1);
      for (const [name, ...args] of [
        ['psubscribe', 'n*'],
        ['subscribe', 'other', '__keyspace@0__:key'],
        ['subscribe', '__keyevent@0__:set'],
      ] as const) {
        const error = await failure(() => redis.call(name, ...args));
        expect(error).toMatchObject({ command: { name, args } });
        expect(error.message).toMatch(/^NOPERM/);
        expect(inspect(error)).not.toContain(`tk:${tenantOf('acme')}`);
      }
      // What was refused is not counted, and nothing of the same call is heard.
      expect(await redis.unsubscribe('none')).toBe(2);
      expect(await redis.publish('news', 'hello')).toBe(2);
      expect(await redis.spublish('shard', 'piece')).toBe(1);
      await until(() => heard.length === 3);
    });
    expect(heard).toEqual([
      ['news', 'hello'],
      ['*', 'news', 'hello'],
      ['shard', 'piece'],
    ]);
  });
});

describe('the rules', () => {
  it('confine to the names of the client, glob characters included', () => {
    const of = (options: CacheBackstopOptions): string[] => cacheBackstop('acme', options).slice(0, 6);
    expect(of({})).toEqual(['reset', 'on', '~tk:acme:*', '&tk:acme:*', '&tk!user:tk:acme:', '-@all']);
    expect(of({ names: 'a*[b]:{tenant}:', hashTag: true })[2]).toBe(String.raw`~a\*\[b\]:{acme}:*`);
    expect(of({ index: true }).slice(2, 5)).toEqual([
      '~tk:acme:*',
      '~tk!keys:tk:acme:',
      '~tk!subject:*:tk:acme:',
    ]);
    expect(
      cacheBackstop('acme', { names: 'a*:{tenant}:', hashTag: true, index: true }).filter((rule) =>
        rule.startsWith('~'),
      ),
    ).toEqual([
      String.raw`~a\*:{acme}:*`,
      String.raw`~tk!keys:a\*:{acme}:`,
      String.raw`~tk!subject:*:a\*:{acme}:`,
    ]);
    expect(cacheBackstop('acme')).toContain('+object|encoding');
    expect(cacheBackstop('acme')).not.toContain('+scan');
    expect(cacheBackstop('acme', { scan: true })).toContain('+scan');
  });

  it('name commands that the server has: those of Redis 7.0, or the ones that it is said to have', async () => {
    const of = (options: CacheBackstopOptions): string[] =>
      cacheBackstop('acme', options).filter((rule) =>
        /^\+(?:get|hexpire|vadd|json.get|xinfo.stream)$/.test(rule),
      );
    expect(of({})).toEqual(['+get', '+xinfo|stream']);
    expect(of({ commands: ['get', 'hexpire', 'VADD', 'JSON.GET', 'flushall'] })).toEqual([
      '+get',
      '+hexpire',
      '+json.get',
      '+vadd',
    ]);
    expect(() => cacheBackstop('acme', { commands: [] })).toThrow(/commands/);
  });

  it('are made for no invalid tenant, and with no unknown option', () => {
    for (const invalid of INVALID_TENANTS)
      expect(() => cacheBackstop(invalid as string)).toThrow(/Invalid tenant id/);
    expect(() => cacheBackstop('acme', { password: 'x' } as object)).toThrow(
      'unknown option "password"; there are names, hashTag, scan, scripts, index, commands',
    );
    expect(() => cacheBackstop('acme', { names: 'tk:{tenant}' })).toThrow(/name template/);
  });
});
