import { createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { Cluster, Redis, cacheBackstop } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { Command, type Redis as Raw } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WALKS } from '../src/walks.ts';
import { wiringOf } from '../src/wirings.ts';
import { startClusterNodes, type ClusterNodes } from './cluster-nodes.ts';
import {
  acme,
  acme2,
  everythingIn,
  failure,
  openCache,
  operator,
  ready,
  shown,
  type Opened,
} from './support.ts';

const KEYS = ['1', 'text', 'user:1', 'user:2', 'tk:acme2:text', '*', '[x]', 'ü', '', '\0'];

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
  for (const tenant of TENANTS) for (const key of KEYS) await raw.set(`tk:${tenant}:${key}`, `of ${tenant}`);
  await raw.set('outside', 'of nobody');
});

type Arguments = readonly (string | Buffer)[];
type Form = (client: Redis, name: string, args: Arguments) => Promise<unknown>;

const FORMS: Readonly<Record<string, Form>> = {
  method: (client, name, args) => Reflect.get(client, name).apply(client, args) as Promise<unknown>,
  'Buffer twin': (client, name, args) =>
    Reflect.get(client, `${name}Buffer`).apply(client, args) as Promise<unknown>,
  'call in capitals': (client, name, args) => client.call(name.toUpperCase(), ...args),
  callBuffer: (client, name, args) => client.callBuffer(name, ...args.map((one) => Buffer.from(String(one)))),
  sendCommand: (client, name, args) => {
    const command = new Command(name, [...args], { replyEncoding: 'utf8' });
    client.sendCommand(command);
    return command.promise;
  },
  callback: (client, name, args) =>
    new Promise((resolve, reject) => {
      const told = (error: Error | null, reply: unknown): void => (error ? reject(error) : resolve(reply));
      Reflect.get(client, name).call(client, ...args, told);
    }),
};

const NODE_KEYS = Array.from({ length: 40 }, (_, place) => `node:${place}`);

describe('in every form', () => {
  it.each(Object.entries(FORMS))('%s', async (_, form) => {
    expect(await acme(() => form(redis, 'dbsize', []))).toBe(KEYS.length);
    expect(texts(await acme(() => form(redis, 'keys', ['*'])))).toEqual([...KEYS].sort());
    expect(texts(await acme(() => form(redis, 'keys', ['user:*'])))).toEqual(['user:1', 'user:2']);
    expect(KEYS).toContain(String(await acme(() => form(redis, 'randomkey', []))));
    for (const [name, ...args] of [['flushdb'], ['flushdb', 'async'], ['flushall', 'SYNC']] as const) {
      const before = await others();
      await acme(() => redis.mset('text', 'x', 'more', 'y'));
      expect(String(await acme(() => form(redis, name, args)))).toBe('OK');
      expect(await raw.keys('tk:acme:*')).toEqual([]);
      expect(await others()).toEqual(before);
    }
    expect(await acme(() => form(redis, 'dbsize', []))).toBe(0);
    expect(await acme(() => form(redis, 'keys', ['*']))).toEqual([]);
    expect(await acme(() => form(redis, 'randomkey', []))).toBeNull();
  });

  it('replies with texts, or with bytes in the Buffer form', async () => {
    expect(await acme(() => redis.keys('text'))).toEqual(['text']);
    expect(await acme(() => redis.keysBuffer('text'))).toEqual([Buffer.from('text')]);
    expect(typeof (await acme(() => redis.randomkey()))).toBe('string');
    expect(Buffer.isBuffer(await acme(() => redis.randomkeyBuffer()))).toBe(true);
    const binary = Buffer.from([0xff, 0, 0xfe]);
    await acme(() => redis.set(binary, 'x'));
    expect(await acme(() => redis.callBuffer('keys', Buffer.from([0xff, 42])))).toEqual([binary]);
  });

  it('holds for each tenant, with its own names', async () => {
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        expect(texts(await redis.keys('*'))).toEqual([...KEYS].sort());
        expect(await redis.dbsize()).toBe(KEYS.length);
      });
    }
  });

  it('keeps its raw meaning for an operator', async () => {
    expect(await operator(() => redis.dbsize())).toBe(KEYS.length * TENANTS.length + 1);
    expect(await operator(() => redis.keys('outside'))).toEqual(['outside']);
    await operator(() => redis.flushdb());
    expect(await raw.dbsize()).toBe(0);
  });

  it('goes through other replies, protocols, autopipelining and connections of a tenant’s own', async () => {
    for (const options of [
      { protocol: 2 },
      { protocol: 3, replyMapping: 'resp3' as never },
      { enableAutoPipelining: true },
      { lazyConnect: true },
    ] as const) {
      const own = opened.guarded(options);
      expect(await acme(() => own.dbsize())).toBe(KEYS.length);
      expect(texts(await acme(() => own.keys('*')))).toEqual([...KEYS].sort());
      expect(KEYS).toContain(await acme(() => own.randomkey()));
    }
    const numbers = opened.guarded({ stringNumbers: true });
    expect(await acme(() => numbers.dbsize())).toBe(`${KEYS.length}`);
    const own = acme(() => redis.duplicate());
    expect(await acme(() => own.dbsize())).toBe(KEYS.length);
    expect(await acme(() => own.flushdb())).toBe('OK');
    expect(await acme(() => own.randomkey())).toBeNull();
    own.disconnect();
    expect(await raw.dbsize()).toBe(KEYS.length * (TENANTS.length - 1) + 1);
  });
});

describe('a pattern', () => {
  it.each([
    ['*', KEYS],
    ['?', KEYS.filter((key) => Buffer.byteLength(key) === 1)],
    ['[a-u]*', ['text', 'tk:acme2:text', 'user:1', 'user:2']],
    ['[^u]*', KEYS.filter((key) => key !== '' && !key.startsWith('u'))],
    [String.raw`\*`, ['*']],
    [String.raw`\[x]`, ['[x]']],
    ['*2:text', ['tk:acme2:text']],
    ['', ['']],
    ['tk:acme2:*', ['tk:acme2:text']],
    ['[', []],
    ['\\', []],
  ])('%j matches what it matches in a Redis of one’s own', async (pattern, expected) => {
    expect(texts(await acme(() => redis.keys(pattern)))).toEqual([...expected].sort());
  });

  it('is escaped behind a prefix that holds glob characters itself', async () => {
    const own = opened.guarded({ tenant: { names: 'app*[x]?:{tenant}:' } });
    await raw.mset('app*[x]?:acme:key', '1', 'appZx?:acme:key', 'of nobody', 'app*[x]?:acme2:key', '2');
    expect(await acme(() => own.keys('*'))).toEqual(['key']);
    expect(await acme(() => own.dbsize())).toBe(1);
    await acme(() => own.flushall());
    expect((await raw.keys('app*')).sort()).toEqual(['app*[x]?:acme2:key', 'appZx?:acme:key']);
  });
});

describe('what is not understood is refused, and changes nothing', () => {
  it.each([
    ['flushdb', 'LAZY'],
    ['flushdb', 'ASYNC', 'SYNC'],
    ['flushall', ''],
    ['dbsize', '*'],
    ['keys'],
    ['keys', '*', '*'],
    ['randomkey', 'x'],
  ])('%s %s', async (name, ...args) => {
    const before = await everythingIn(raw);
    const sent = redis.stream.bytesWritten;
    expect(await failure(() => acme(() => redis.call(name, ...args)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(redis.stream.bytesWritten).toBe(sent);
    expect(await everythingIn(raw)).toEqual(before);
  });

  it('so is a walk in a pipeline or a transaction', async () => {
    const before = await everythingIn(raw);
    const refused = expect.objectContaining({
      code: 'OPERATION_REFUSED',
      instead: expect.stringContaining('on the client') as string,
    });
    const own = acme(() => redis.duplicate());
    for (const client of [redis, own]) {
      for (const name of Object.keys(WALKS)) {
        const args = name === 'keys' ? ['*'] : [];
        const results = await acme(() =>
          client
            .pipeline([
              ['get', 'text'],
              [name, ...args],
            ])
            .exec(),
        );
        expect([name, results]).toEqual([name, [[null, 'of acme'], [refused]]]);
        expect(await failure(() => acme(() => client.multi([[name, ...args]]).exec()))).toEqual(refused);
      }
    }
    own.disconnect();
    expect(await everythingIn(raw)).toEqual(before);
    // The same by an operator is what it is on any Redis.
    expect(await operator(() => redis.pipeline().dbsize().exec())).toEqual([
      [null, KEYS.length * TENANTS.length + 1],
    ]);
  });

  it('so is what was admitted as a walk, when it comes to be sent itself', async () => {
    // Where callers cannot get hold of it.
    const admitted = acme(() => wiringOf(redis)?.guard.admit(new Command('flushall')));
    const before = await others();
    expect(admitted).toMatchObject({ name: 'flushall' });
    for (const send of [
      () => redis.sendCommand(admitted as unknown as Command),
      () => redis.pipeline().exec(),
      async () => {
        const pipeline = redis.pipeline();
        Reflect.get(pipeline, 'sendCommand').call(pipeline, admitted);
        await pipeline.exec();
      },
    ])
      await acme(async () => send()).catch(() => undefined);
    expect(await acme(() => redis.ping())).toBe('PONG');
    expect(await others()).toEqual(before);
  });
});

describe('many keys', () => {
  it('are removed and counted, also while the server rearranges its table', async () => {
    const many = Array.from({ length: 5000 }, (_, index) => [`many:${index}`, 'x']).flat();
    await acme(() => redis.mset(many));
    await acme2(() => redis.mset(many));
    expect(await acme(() => redis.dbsize())).toBe(5000 + KEYS.length);
    const found = await acme(() => redis.keys('many:*'));
    expect(new Set(found).size).toBe(5000);
    expect(found).toHaveLength(5000);
    await acme(() => redis.flushall());
    expect(await acme(() => redis.dbsize())).toBe(0);
    expect(await acme2(() => redis.dbsize())).toBe(5000 + KEYS.length);
  });

  it('of others do not hide the only one, and each of one’s own can be picked', async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => [`many:${index}`, 'x']).flat();
    await acme2(() => redis.mset(many));
    await withTenant('alone', () => redis.set('only', 'x'));
    expect(await withTenant('alone', () => redis.randomkey())).toBe('only');
    const picked = new Set<string | null>();
    while (picked.size < KEYS.length) picked.add(await acme(() => redis.randomkey()));
    expect(texts([...picked])).toEqual([...KEYS].sort());
  });
});

describe('whoever', () => {
  it('is outside of any tenant is told so', async () => {
    for (const name of Object.keys(WALKS))
      expect(await failure(() => redis.call(name, '*'))).toMatchObject({ code: 'TENANT_MISSING' });
  });

  it('is frozen meanwhile removes no more', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const own = opened.guarded({ tenant: { fence } });
    const many = Array.from({ length: 30_000 }, (_, index) => [`many:${index}`, 'x']).flat();
    await acme(() => own.mset(many));
    const flushing = acme(() => failure(() => own.flushdb()));
    await acme(() => own.get('text'));
    await fence.freeze('acme');
    expect(await flushing).toMatchObject({ code: 'TENANT_FENCED' });
    expect((await raw.keys('tk:acme:*')).length).toBeGreaterThan(0);
    fence.close();
  });

  it('may SCAN but not RANDOMKEY gets a key all the same', async () => {
    const name = `tk_walk_${randomBytes(6).toString('hex')}`;
    await raw.call('ACL', 'SETUSER', name, ...cacheBackstop('acme', { scan: true }), '+select', '>secret');
    try {
      const own = opened.guarded({ username: name, password: 'secret', enableReadyCheck: false });
      expect(KEYS).toContain(await acme(() => own.randomkey()));
      expect(await acme(() => own.dbsize())).toBe(KEYS.length);
      expect(await acme(() => own.flushdb())).toBe('OK');
      expect(await raw.keys('tk:acme:*')).toEqual([]);
      own.disconnect();
    } finally {
      await raw.call('ACL', 'DELUSER', name);
    }
  });

  it('has lost the connection is told so, in logical names', async () => {
    const own = opened.guarded({ retryStrategy: null });
    await ready(own);
    const counted = acme(() => failure(() => own.keys('secret*')));
    const closed = once(own, 'end');
    own.disconnect();
    await closed;
    expect(shown(await counted)).not.toContain('tk:acme');
    expect(await failure(() => acme(() => own.dbsize()))).toMatchObject({ message: 'Connection is closed.' });
  });
});

describe('in a Cluster', () => {
  let nodes: ClusterNodes;
  let cluster: Cluster;
  beforeAll(async () => {
    nodes = await startClusterNodes();
    cluster = new Cluster([{ port: nodes.first.port }]);
  }, 60_000);
  afterAll(async () => {
    cluster.disconnect();
    await nodes[Symbol.asyncDispose]();
  });

  it('goes over all masters', async () => {
    const names = Array.from({ length: 300 }, (_, index) => `key:${index}`);
    for (const run of [acme, acme2])
      await run(() => Promise.all(names.map((name) => cluster.set(name, 'x'))));
    expect(await acme(() => cluster.dbsize())).toBe(300);
    expect(texts(await acme(() => cluster.keys('*')))).toEqual([...names].sort());
    expect(texts(await acme(() => cluster.keysBuffer('key:29?')))).toHaveLength(10);
    expect(names).toContain(await acme(() => cluster.randomkey()));
    // Of one node: what that node holds.
    const counts = await acme(() => Promise.all(cluster.nodes('master').map((node) => node.dbsize())));
    expect(counts).toHaveLength(2);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(300);
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(await acme(() => cluster.flushall())).toBe('OK');
    expect(await acme(() => cluster.dbsize())).toBe(0);
    expect(await acme2(() => cluster.dbsize())).toBe(300);
  });

  it('on the nodes of a cluster remove keys of all their slots', async () => {
    for (const as of [acme, acme2]) for (const key of NODE_KEYS) await as(() => cluster.set(key, 'x'));
    await acme(() => Promise.all(cluster.nodes('master').map((node) => node.flushdb())));
    expect(await acme(() => Promise.all(NODE_KEYS.map((key) => cluster.exists(key))))).toEqual(
      NODE_KEYS.map(() => 0),
    );
    expect(await acme2(() => Promise.all(NODE_KEYS.map((key) => cluster.exists(key))))).toEqual(
      NODE_KEYS.map(() => 1),
    );
  });

  it('finds all of the tenant’s keys while slots move', async () => {
    const names = Array.from({ length: 200 }, (_, index) => `moving:${index}`);
    await acme(() => Promise.all(names.map((name) => cluster.set(name, 'x'))));
    let isMoving = true;
    // Refused when slots go on moving for longer than it walks anew: called again, as it says.
    const flush = async (): Promise<string> => {
      const mayBeRefused = isMoving;
      try {
        return await cluster.flushdb();
      } catch (error) {
        if (!mayBeRefused) throw error;
        expect(error).toMatchObject({ code: 'OPERATION_REFUSED', instead: expect.stringContaining('again') });
        return flush();
      }
    };
    const flushing = acme(flush);
    const slots = new Set<number>();
    for (const name of names) slots.add(await nodes.first.raw.cluster('KEYSLOT', `tk:acme:${name}`));
    for (const slot of [...slots].filter((slot) => slot < 8192).slice(0, 20)) await nodes.move(slot);
    isMoving = false;
    expect(await flushing).toBe('OK');
    const left = await Promise.all([nodes.first, nodes.second].map((node) => node.raw.keys('tk:acme:*')));
    expect(left).toEqual([[], []]);
  });
});

function texts(keys: unknown): string[] {
  return (keys as (string | Buffer)[]).map(String).sort();
}

async function others(): Promise<Record<string, string>> {
  const all = await everythingIn(raw);
  return Object.fromEntries(Object.entries(all).filter(([key]) => !key.startsWith('tk:acme:')));
}
