import { withTenant } from '@tenantkit/core';
import { Command, Redis, type RedisOptions } from '@tenantkit/cache';
import type { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { proxyTo } from './proxy.ts';
import { acme, acme2, failure, openCache, operator, ready, until, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache();
  ({ raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
  // One that has entered nothing yet.
  redis = opened.guarded({ tenant: { index: true } });
  await ready(redis);
});
afterEach(() => {
  vi.useRealTimers();
});

const ACME = 'tk!keys:tk:acme:';

const entries = (name = ACME): Promise<string[]> => raw.zrange(name, '0', '-1');
const as = <T>(subject: string, fn: () => T): T => withTenant({ tenant: 'acme', subject }, fn);

interface Recorded extends AsyncDisposable {
  readonly client: Redis;
  /** The names of the commands that were written to the connection since it was last asked. */
  commands(): string[];
}

async function recorded(options: RedisOptions = {}): Promise<Recorded> {
  const { hostname, port, pathname } = new URL(opened.url);
  const proxy = await proxyTo({ host: hostname, port: Number(port) });
  const own: RedisOptions = {
    port: proxy.port,
    db: Number(pathname.slice(1)),
    tenant: { index: true },
    ...options,
  };
  const client = new Redis(own as RedisOptions & { replyMapping?: 'legacy' });
  if (options.lazyConnect !== true) await ready(client);
  proxy.commands();
  return {
    client,
    commands: () => proxy.commands(),
    async [Symbol.asyncDispose]() {
      client.disconnect();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

describe('a key is entered into the registry of its tenant', () => {
  const FORMS: Readonly<Record<string, (client: Redis) => Promise<unknown>>> = {
    'a method': (client) => client.set('k', '1'),
    'a Buffer twin': (client) => client.getsetBuffer('k', '1'),
    call: (client) => client.call('SET', 'k', '1'),
    callBuffer: (client) => client.callBuffer('set', Buffer.from('k'), '1'),
    sendCommand: (client) => client.sendCommand(new Command('sEt', ['k', '1'])) as Promise<unknown>,
    'a pipeline': (client) => client.pipeline().get('k').set('k', '1').exec(),
    'the array form': (client) => client.pipeline([['set', 'k', '1']]).exec(),
    multi: (client) => client.multi().set('k', '1').exec(),
    'a transaction in a pipeline': (client) =>
      client.pipeline([['multi'], ['set', 'k', '1'], ['exec']]).exec(),
    'one of two keys that are known': async (client) => {
      await client.set('old', '1');
      await client.mset('old', '1', 'k', '1');
    },
    'a name of bytes': (client) => client.set(Buffer.from([0xff, 0x00]), '1'),
    'a raw name': (client) => operator(() => client.set('tk:acme:k', '1')),
  };

  it.each(Object.entries(FORMS))('before it is written: %s', async (_, write) => {
    for (const options of [{}, { enableAutoPipelining: true }]) {
      await using own = await recorded(options);
      await acme(() => write(own.client));
      const keys = (await raw.keysBuffer('tk:*')).map((key) => key.toString('latin1'));
      expect(keys.length).toBeGreaterThan(0);
      const members = (await raw.zrangeBuffer(ACME, '0', '-1')).map((entry) => entry.toString('latin1'));
      expect(members.sort()).toEqual(keys.map((key) => `k${key.slice('tk:acme:'.length)}`).sort());
      const commands = own.commands();
      expect(commands[0]).toBe('zadd');
      // Not inside of a transaction, whose replies are the caller's.
      expect(commands.join(' ')).not.toMatch(/multi .*zadd/);
      await raw.flushdb();
    }
  });

  it('and of nobody else, whatever its name', async () => {
    for (const key of ['tk:acme2:x', 'k', 's', 'kx', '*', '', 'tk!keys:tk:acme:', 'a\0b']) {
      await acme(() => redis.set(key, '1'));
      await acme2(() => redis.set(`${key}2`, '1'));
    }
    expect(await entries()).toHaveLength(8);
    expect(await entries('tk!keys:tk:acme2:')).toHaveLength(8);
    expect(await entries()).toContain('ktk:acme2:x');
    expect((await raw.keys('tk!*')).sort()).toEqual(['tk!keys:tk:acme2:', ACME].sort());
  });

  it('wherever a command may bring it into being', async () => {
    const made = await acme(async () => {
      await redis.rpush('list', '3', '1', '2');
      await redis.sadd('set', 'a');
      await redis.zadd('zset', 1, 'a');
      await redis.geoadd('geo', 1, 1, 'a');
      await redis.rename('list', 'renamed');
      await redis.copy('renamed', 'copied');
      await redis.sunionstore('union', 'set');
      await redis.zunionstore('zunion', 1, 'zset');
      await redis.zrangestore('range', 'zset', 0, -1);
      await redis.geosearchstore('near', 'geo', 'FROMLONLAT', 1, 1, 'BYRADIUS', 1, 'km');
      await redis.lmove('copied', 'moved', 'LEFT', 'RIGHT');
      await redis.bitop('NOT', 'bits', 'none');
      await redis.pfadd('log', 'a');
      await redis.append('text', 'a');
      await redis.hset('hash', 'a', '1');
      return [
        'set',
        'zset',
        'geo',
        'renamed',
        'copied',
        'union',
        'zunion',
        'range',
        'near',
        'moved',
        'log',
        'text',
        'hash',
      ];
    });
    expect(await entries()).toEqual(expect.arrayContaining(made.map((key) => `k${key}`)));
    // Without the entries there would be more than these.
    expect(await raw.keys('tk:acme:*')).toHaveLength(made.length);
  });

  it('and not when it is only read or removed', async () => {
    await acme(async () => {
      await redis.get('a');
      await redis.del('a');
      await redis.expire('a', 1);
      await redis.exists('a');
      await redis.pipeline().get('a').ttl('a').exec();
    });
    expect(await raw.dbsize()).toBe(0);
  });

  it('never in the way of replies', async () => {
    const own = opened.guarded({ tenant: { index: true }, enableAutoPipelining: true });
    for (const client of [redis, own]) {
      await acme(async () => {
        const singles = await Promise.all([client.set('a', '1'), client.get('a'), client.incr('n')]);
        expect(singles).toEqual(['OK', '1', 1]);
        const chain = client.pipeline().set('b', '2').call('FROBNICATE').get('b').incr('n').lpush('b', 'x');
        const replies = await chain.exec();
        expect(replies?.map(([error, reply]) => (error ? error.name : reply))).toEqual([
          'OK',
          'OperationRefusedError',
          '2',
          2,
          'ReplyError',
        ]);
        const all = await client.multi().set('c', '3').get('c').incr('n').exec();
        expect(all?.map(([, reply]) => reply)).toEqual(['OK', '3', 3]);
        expect(await client.scan('0', 'COUNT', 1000)).toEqual(['0', expect.not.arrayContaining([/tk!/])]);
        expect((await client.scan('0', 'COUNT', 1000))[1].sort()).toEqual(['a', 'b', 'c', 'n']);
      });
      await raw.flushdb();
    }
  });

  it('also by what waits until the connection is there, or is sent anew after it was lost', async () => {
    const own = opened.guarded({ tenant: { index: true }, lazyConnect: true });
    const waiting = acme(() => [
      own.set('a', '1'),
      own.pipeline().set('b', '1').set('c', '1').exec(),
      own.multi().set('d', '1').exec(),
    ]);
    await Promise.all(waiting);
    expect((await entries()).sort()).toEqual(['ka', 'kb', 'kc', 'kd']);
    const id = await operator(() => own.client('ID'));
    await raw.client('KILL', 'ID', id);
    await Promise.all(acme(() => [own.set('e', '1'), own.pipeline().set('f', '1').exec()]));
    expect((await entries()).sort()).toEqual(['ka', 'kb', 'kc', 'kd', 'ke', 'kf']);
    expect(await raw.keys('tk:acme:*')).toHaveLength(6);
  });

  it('with all that is called in the same turn, and replies in order', async () => {
    await using own = await recorded();
    const { client } = own;
    const replies = await Promise.all([
      acme(() => client.set('a', '1')),
      acme(() => client.get('a')),
      acme2(() => client.set('a', '2')),
      acme(() => client.pipeline().get('a').set('b', '1').exec()),
      acme(() => client.append('a', '3')),
      acme2(() => client.get('a')),
      acme(() => client.get('a')),
    ]);
    expect(replies).toEqual([
      'OK',
      '1',
      'OK',
      [
        [null, '1'],
        [null, 'OK'],
      ],
      2,
      '2',
      '13',
    ]);
    // Nothing waits behind a pipeline, nor in front of one.
    expect(own.commands().join(' ')).toBe('zadd zadd set get set zadd get set zadd append get get');
    await Promise.all(acme(() => Array.from({ length: 20 }, (_, n) => client.set(`n${n}`, '1'))));
    expect(own.commands().slice(0, 21)).toEqual(['zadd', ...Array.from({ length: 20 }, () => 'set')]);
    // In the callbacks of replies, too.
    await Promise.all(
      acme(() => ['x', 'y'].map((name) => client.get(name).then(() => client.set(name, '1')))),
    );
    expect(own.commands()).toEqual(['get', 'get', 'zadd', 'set', 'set']);
  });

  it('also when the client is ended in the same turn', async () => {
    const own = await recorded();
    const written = acme(() => own.client.set('a', '1'));
    const quitting = operator(() => own.client.quit());
    expect(await Promise.all([written, quitting])).toEqual(['OK', 'OK']);
    expect(own.commands()).toEqual(['zadd', 'set', 'quit']);
    const lost = await recorded();
    const failed = acme(() => failure(() => lost.client.set('b', '1')));
    operator(() => lost.client.disconnect());
    expect((await failed).message).toMatch(/^Connection is closed/);
    await own[Symbol.asyncDispose]();
    await lost[Symbol.asyncDispose]();
  });

  it('for longer, when it waits in the server', async () => {
    const waiting = acme(() => redis.dedicated((own) => own.blmove('from', 'to', 'LEFT', 'RIGHT', 0)));
    const far = async (): Promise<number> => Number((await raw.zscore(ACME, 'kto')) ?? 0) - Date.now();
    while ((await far()) < 0) await raw.ping();
    // A look of the trimmer passes over it, though there is no key yet.
    expect(await far()).toBeGreaterThan(29 * 24 * 60 * 60 * 1_000);
    await acme(() => redis.mset(Object.fromEntries(Array.from({ length: 64 }, (_, n) => [`x${n}`, '1']))));
    expect(await far()).toBeGreaterThan(29 * 24 * 60 * 60 * 1_000);
    await acme(() => redis.rpush('from', 'x'));
    expect(await waiting).toBe('x');
    // An ordinary entry of the same key does not shorten it.
    await acme(() => redis.rpush('to', 'y'));
    expect(await far()).toBeGreaterThan(29 * 24 * 60 * 60 * 1_000);
  });

  it('once a second at most, as long as this client has entered it itself', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    await using own = await recorded();
    const count = async (): Promise<number> => {
      await acme(() => own.client.set('a', '1'));
      return own.commands().filter((name) => name === 'zadd').length;
    };
    expect(await count()).toBe(1);
    expect(await count()).toBe(0);
    vi.advanceTimersByTime(999);
    expect(await count()).toBe(0);
    vi.advanceTimersByTime(2);
    expect(await count()).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect(await count()).toBe(1);
    // A command of another person has to enter it anew.
    await as('p1', () => own.client.set('a', '1'));
    expect(own.commands()).toEqual(['zadd', 'zadd', 'set']);
  });

  it('anew when what it belongs to has waited for long', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    await using own = await recorded();
    const { client } = own;
    await acme(() => client.set('a', '1'));
    client.disconnect(false);
    await until(() => client.status === 'end');
    await raw.zrem(ACME, 'ka');
    own.commands();
    const connecting = client.connect();
    // Entered a moment ago, as far as this client knows.
    const waiting = acme(() => [client.pipeline().set('a', '3').exec(), client.set('a', '2')]);
    vi.advanceTimersByTime(5_000);
    await connecting;
    await Promise.all(waiting);
    const commands = own.commands();
    expect(commands.slice(commands.indexOf('zadd'))).toEqual(['zadd', 'set', 'zadd', 'set']);
    expect(await entries()).toEqual(['ka']);
  });
});

describe('with a subject in the context', () => {
  it('the key joins that person’s set, and the set is in the registry', async () => {
    await as('p1', () => redis.set('a', '1'));
    await as('p10', () => redis.pipeline().set('b', '1').hset('c', 'x', '1').exec());
    await withTenant({ tenant: 'acme2', subject: 'p1' }, () => redis.set('x*[y', '1'));
    expect(await entries('tk!subject:p1:tk:acme:')).toEqual(['ka']);
    expect((await entries('tk!subject:p10:tk:acme:')).sort()).toEqual(['kb', 'kc']);
    expect(await entries('tk!subject:p1:tk:acme2:')).toEqual(['kx*[y']);
    expect((await entries()).sort()).toEqual(['ka', 'kb', 'kc', 'sp1', 'sp10']);
  });

  it('the person is that of the call, not that of exec()', async () => {
    const chain = as('p1', () => redis.pipeline().set('a', '1'));
    as('p2', () => chain.set('b', '1'));
    await acme(() => chain.exec());
    expect(await entries('tk!subject:p1:tk:acme:')).toEqual(['ka']);
    expect(await entries('tk!subject:p2:tk:acme:')).toEqual(['kb']);
  });
});

describe('a registry that cannot be written', () => {
  it('is told to the caller, whose key an erasure might miss', async () => {
    await raw.set('tk!indexed:tk:{tenant}:', 'now');
    await raw.set(ACME, 'of another type');
    const told = /could not be entered into the registry/;
    await acme(async () => {
      expect(await failure(() => redis.set('a', '1'))).toMatchObject({
        message: told,
        code: 'CONFIG_INVALID',
      });
      const replies = await redis.pipeline().get('a').set('b', '1').exec();
      expect(replies?.[0]).toEqual([null, '1']);
      expect(replies?.[1]?.[0]?.message).toMatch(told);
      const all = await redis.multi().set('c', '1').exec();
      expect(all?.[0]?.[0] ?? all?.[0]?.[1]).toMatchObject({ message: told });
      // What creates nothing goes on.
      expect(await redis.get('a')).toBe('1');
      expect(await redis.del('a')).toBe(1);
    });
    // Nobody goes by the registries from now on.
    expect(await raw.exists('tk!indexed:tk:{tenant}:')).toBe(0);
    await raw.del(ACME);
    expect(await acme(() => redis.set('a', '1'))).toBe('OK');
    expect(await entries()).toEqual(['ka']);
  });

  it('is no matter of another tenant that writes at the same time', async () => {
    const own = opened.guarded({ tenant: { index: true }, enableAutoPipelining: true });
    for (const client of [redis, own]) {
      await raw.flushdb();
      await raw.set(ACME, 'of another type');
      const both = await Promise.allSettled([
        acme(() => client.set('a', '1')),
        acme2(() => client.set('a', '1')),
      ]);
      expect(both).toMatchObject([{ reason: { code: 'CONFIG_INVALID' } }, { value: 'OK' }]);
    }
  });
});

describe('the registry does not grow with keys that are gone', () => {
  const SECONDS = 20;
  // Time of the server passes for those that a look has found without a key.
  const pass = async (name: string): Promise<void> => {
    for (const entry of await raw.zrangebyscore(name, '-inf', '(0'))
      await raw.zincrby(name, -SECONDS * 1_000, entry);
  };

  it('while it is written to, and keeps those that are there', async () => {
    const own = Array.from({ length: 50 }, (_, n) => `lives${n}`);
    await acme(() => redis.mset(Object.fromEntries(own.map((key) => [key, '1']))));
    let most = 0;
    for (let round = 0; round < 40; round += 1) {
      await acme(async () => {
        const chain = redis.pipeline();
        for (let n = 0; n < 50; n += 1) chain.set(`session${round}-${n}`, '1').del(`session${round}-${n}`);
        await chain.exec();
      });
      await pass(ACME);
      most = Math.max(most, await raw.zcard(ACME));
    }
    // 2,000 have come and gone.
    expect(most).toBeLessThan(500);
    expect(await entries()).toEqual(expect.arrayContaining(own.map((key) => `k${key}`)));
  });

  it('nor does a person’s, of whom nothing new is written', async () => {
    await as('p1', async () => {
      for (let n = 0; n < 40; n += 1) await redis.set(`of p1 ${n}`, '1');
    });
    await raw.del(...Array.from({ length: 40 }, (_, n) => `tk:acme:of p1 ${n}`));
    for (let round = 0; round < 60 && (await raw.exists('tk!subject:p1:tk:acme:')) === 1; round += 1) {
      await acme(() =>
        redis.mset(Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`x${round}-${n}`, '1']))),
      );
      await acme(() => redis.del(...Array.from({ length: 32 }, (_, n) => `x${round}-${n}`)));
      for (const name of [ACME, 'tk!subject:p1:tk:acme:']) await pass(name);
    }
    expect(await raw.exists('tk!subject:p1:tk:acme:')).toBe(0);
  });
});
