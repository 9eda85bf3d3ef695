import {
  createTenantRegistry,
  currentTenant,
  memoryTenantStore,
  withTenant,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  Command,
  type CacheOptions,
  type CachePlacement,
  type Redis,
  type RedisOptions,
} from '@tenantkit/cache';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { KEPT } from '../src/silo.ts';
import { openPlaces, type Name, type Places } from './place-support.ts';
import { listen } from './pubsub-support.ts';
import { acme, acme2, failure, operator, until } from './support.ts';

let places: Places;
let fence: TenantRegistry;
let at: Name;
beforeAll(async () => {
  places = await openPlaces();
}, 60_000);
afterAll(() => places[Symbol.asyncDispose]());
beforeEach(async () => {
  await places.fill();
  fence = await createTenantRegistry({ store: memoryTenantStore() });
  at = 'acme2';
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + clock);
});
afterEach(() => {
  places.disconnect();
  fence.close();
  vi.restoreAllMocks();
});

function where(tenant: string): CachePlacement {
  if (tenant !== 'acme2') return places.place(tenant);
  return at === 'pool' ? { level: 'pool' } : { level: 'silo', url: places.nodes[at].url };
}

/** `acme2` is where `at` says. */
function open(options: RedisOptions = {}, tenant: CacheOptions = {}): Redis {
  return places.open(options, { place: where, fence, ...tenant });
}

/** As an operator does it: freeze, copy, tell everybody, wait as long as an answer is kept, go on. */
async function move(to: Name): Promise<void> {
  await fence.freeze('acme2');
  const from = places.raw[at];
  for (const key of await from.keysBuffer('tk:acme2:*')) {
    const dumped = await from.dumpBuffer(key);
    if (dumped !== null) await places.raw[to].restore(key, 0, dumped, 'REPLACE');
    await from.del(key);
  }
  at = to;
  later();
  await fence.unfreeze('acme2');
}

// The clock goes on; nothing waits.
let clock = 0;
function later(): void {
  clock += KEPT;
}

// Without an offline queue the first calls fail until there is a connection.
async function connected<T>(call: () => Promise<T>): Promise<T> {
  for (;;)
    try {
      return await call();
    } catch (error) {
      if (!(error as Error).message.includes('enableOfflineQueue')) throw error;
      await new Promise(setImmediate);
    }
}

const ELSEWHERE = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  why: expect.stringContaining('in another place') as string,
});

const WAYS: readonly (readonly [Name, Name])[] = [
  ['acme2', 'a'],
  ['acme2', 'pool'],
  ['pool', 'acme2'],
];

describe.each(WAYS)('a tenant that moves from %s to %s behind the fence', (from, to) => {
  beforeEach(async () => {
    at = from;
    await places.raw.acme2.flushall();
    await places.raw[from].set('tk:acme2:key', 'of acme2');
  });

  it('has its calls refused meanwhile, and goes on where it is then', async () => {
    const redis = open();
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await fence.freeze('acme2');
    expect(await failure(() => acme2(() => redis.get('key')))).toMatchObject({ code: 'TENANT_FENCED' });
    await move(to);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await acme2(() => redis.set('new', '1'));
    expect(await places.raw[to].get('tk:acme2:new')).toBe('1');
    expect(await places.raw[from].keys('tk:acme2:*')).toEqual([]);
    expect(await acme(() => redis.get('key'))).toBe('of acme');
  });

  it('takes no object along that was made before', async () => {
    const redis = open();
    const [pipeline, transaction, stream, own, walk] = acme2(() => [
      redis.pipeline().set('late', '1'),
      redis.multi().set('late', '1'),
      redis.scanStream(),
      redis.duplicate(),
      redis.scanStream(),
    ]);
    await acme2(() => own.get('key'));
    walk.destroy();
    await acme2(() =>
      redis.dedicated(async (line) => {
        await line.get('key');
        await withoutTenant(() => move(to));
        expect(await failure(() => line.set('late', '1'))).toEqual(ELSEWHERE);
      }),
    );
    expect(await acme2(() => pipeline.exec())).toEqual([[ELSEWHERE]]);
    // The client of a place that nobody is in any more has ended by now.
    const ended = expect.objectContaining({ message: 'Connection is closed.' }) as Error;
    const done = await acme2(() => transaction.exec()).catch((error: unknown) => error);
    expect(done).toEqual(from === 'pool' ? [[ELSEWHERE]] : ended);
    expect(await failure(() => acme2(() => own.set('late', '1')))).toEqual(ELSEWHERE);
    expect(
      await failure(() =>
        acme2(async () => {
          for await (const page of stream) void page;
        }),
      ),
    ).toEqual(ELSEWHERE);
    for (const raw of Object.values(places.raw)) expect(await raw.keys('*late*')).toEqual([]);
    acme2(() => own.disconnect());
    // The same, made anew.
    expect(await acme2(() => redis.pipeline().set('late', '1').exec())).toEqual([[null, 'OK']]);
    expect(await places.raw[to].get('tk:acme2:late')).toBe('1');
  });

  it.each([
    {},
    { enableOfflineQueue: false },
    { enableOfflineQueue: false, lazyConnect: true },
  ] as RedisOptions[])(
    'keeps its subscriptions, and hears nothing from where it was: %j',
    async (options) => {
      const redis = open(options);
      const get = (): Promise<unknown> => connected(() => acme2(() => redis.get('key')));
      await get();
      await connected(() => acme(() => redis.get('key')));
      const ear = acme2(() => listen(redis));
      const other = acme(() => listen(redis));
      await acme2(() => redis.subscribe('news', '__keyspace@0__:key'));
      await acme2(() => redis.psubscribe('n*'));
      await acme(() => redis.subscribe('news'));
      await acme2(() => redis.publish('news', 'first'));
      await ear.hears('first');
      await move(to);
      // They follow by themselves, too.
      const go = options.lazyConnect === true ? (): Promise<void> => Promise.resolve() : get;
      await go();
      const subscribed = async (name: Name): Promise<string[]> =>
        (await places.raw[name].pubsub('CHANNELS', 'tk:acme2:*')) as string[];
      while ((await subscribed(to)).length === 0) await go();
      while ((await subscribed(from)).length > 0) await go();
      await places.raw[from].publish('tk:acme2:news', 'from the old place');
      await acme2(() => redis.publish('news', 'second'));
      await acme(() => redis.publish('news', 'of acme'));
      await ear.hears('second');
      await other.hears('of acme');
      expect(JSON.stringify(ear.heard)).not.toContain('old place');
      expect(
        new Set(ear.heard.map(([, tenant]) => tenant).filter((tenant) => tenant !== undefined)),
      ).toContain('acme2');
      expect(JSON.stringify(other.heard)).not.toContain('second');
    },
  );
});

describe('a move', () => {
  it('without a fence is refused, since others may still write to the old place', async () => {
    const redis = places.open({}, { place: where });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    at = 'a';
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    later();
    for (let round = 0; round < 2; round += 1)
      expect(await failure(() => acme2(() => redis.get('key')))).toMatchObject({
        code: 'OPERATION_REFUSED',
        why: expect.stringContaining('without a fence') as string,
      });
    expect(await acme(() => redis.get('key'))).toBe('of acme');
    at = 'acme2';
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('reaches what waits for a connection: it is refused, and not written to the old place', async () => {
    const redis = open({ retryStrategy: () => 50, maxRetriesPerRequest: null });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    const own = redis.clientOf('acme2');
    await places.nodes.acme2.kill();
    await until(() => own.status === 'reconnecting');
    const waiting = [
      acme2(() => redis.set('late', '1')),
      acme2(() => redis.pipeline().set('late', '1').exec()),
      acme2(() => redis.multi().set('late', '1').exec()),
    ].map((call) =>
      call.then(
        (reply) => reply,
        (error: unknown) => error,
      ),
    );
    await fence.freeze('acme2');
    at = 'a';
    later();
    await fence.unfreeze('acme2');
    await places.nodes.acme2.restart();
    const [single, pipeline] = await Promise.all(waiting);
    expect(single).toEqual(ELSEWHERE);
    expect(pipeline).toEqual([[ELSEWHERE]]);
    expect(await places.raw.acme2.keys('*')).toEqual([]);
    await acme2(() => redis.set('late', '2'));
    expect(await places.raw.a.get('tk:acme2:late')).toBe('2');
  });

  it('is seen by a pipeline and a transaction that are the first to be sent after it', async () => {
    for (const make of [
      (redis: Redis) => redis.pipeline().set('late', '1'),
      (redis: Redis) => redis.multi().set('late', '1'),
    ]) {
      at = 'pool';
      const redis = open();
      const waiting = acme2(() => make(redis));
      await move('acme2');
      expect(await acme2(() => waiting.exec())).toEqual([[ELSEWHERE]]);
      expect(await places.raw.pool.keys('*late*')).toEqual([]);
    }
  });

  it('is seen by a walk that has begun before', async () => {
    at = 'pool';
    const redis = open();
    await acme2(() => redis.set('here', '1'));
    const walk = acme2(() => failure(() => redis.keys('*')));
    at = 'acme2';
    later();
    expect(await walk).toEqual(ELSEWHERE);
  });

  it('is seen by commands that wait behind others, with autopipelining', async () => {
    const redis = open({ enableAutoPipelining: true });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    const own = redis.clientOf('acme2');
    await places.raw.acme2.client('PAUSE', 10_000, 'ALL');
    const first = acme2(() => redis.get('key'));
    await until(() => own.autoPipelineQueueSize === 0);
    const second = acme2(() => failure(() => redis.set('late', '1')));
    expect(redis.autoPipelineQueueSize).toBe(1);
    at = 'pool';
    later();
    // As from another connection: the one that has paused it is answered.
    await places.raw.acme2.client('UNPAUSE');
    expect(await first).toBe('of acme2');
    expect(await second).toEqual(ELSEWHERE);
    expect(await places.raw.acme2.keys('*late*')).toEqual([]);
  });

  it('ends the client of a silo that nobody is in any more', async () => {
    const redis = open();
    await acme2(() => redis.get('key'));
    const own = redis.clientOf('acme2');
    await move('a');
    await acme2(() => redis.get('key'));
    await until(() => own.status === 'end');
    expect(redis.clientOf('acme2') === own).toBe(false);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('is believed only when the tenant may work again', async () => {
    const redis = open();
    await acme2(() => redis.get('key'));
    await fence.freeze('acme2');
    at = 'a';
    later();
    await failure(() => acme2(() => redis.get('key')));
    at = 'pool';
    await fence.unfreeze('acme2');
    await acme2(() => redis.set('new', '1'));
    expect(await places.raw.pool.get('tk:acme2:new')).toBe('1');
    // Asked for the first time while it is frozen: the answer does not outlast that.
    const second = open();
    await fence.freeze('acme2');
    await failure(() => acme2(() => second.get('key')));
    at = 'acme2';
    await fence.unfreeze('acme2');
    await acme2(() => second.set('newer', '1'));
    expect(await places.raw.acme2.get('tk:acme2:newer')).toBe('1');
  });
});

describe('a tenant with objects of another', () => {
  it('gets nothing sent to the server of the other, nor to its own', async () => {
    const redis = open();
    await acme2(() => redis.get('key'));
    const own = redis.clientOf('acme2');
    const before = async (): Promise<unknown> => [await keys('pool'), await keys('acme2'), await keys('a')];
    const all = await before();
    // Commands that wait in the queues of a client are found by whoever has it.
    const caught: Command[] = [];
    const raw = Object.getPrototypeOf(Object.getPrototypeOf(own)) as {
      sendCommand(command: Command): unknown;
    };
    const spy = vi.spyOn(raw, 'sendCommand').mockImplementation(function (this: Redis, command) {
      caught.push(command);
      return Promise.resolve();
    });
    void acme2(() => redis.set('stolen', '1'));
    void acme(() => redis.set('stolen', '1'));
    spy.mockRestore();
    const [ofSilo, ofPool] = caught as [Command, Command];
    expect([ofSilo.args, ofPool.args]).toEqual([
      ['stolen', '1'],
      ['stolen', '1'],
    ]);
    // In other tenants.
    for (const [here, command] of [
      [acme, ofSilo],
      [acme2, ofPool],
      [a, ofSilo],
    ] as const)
      for (const client of [redis, own])
        expect(await failure(() => here(() => client.sendCommand(command)))).toMatchObject({
          code: 'TENANT_SWITCH',
        });
    // In its own, on the server of others.
    const sent = await failure(() => acme(() => own.sendCommand(ofPool)));
    expect(sent).toEqual(ELSEWHERE);
    const pipeline = acme2(() => redis.pipeline().set('stolen', '1'));
    expect(await failure(() => acme(() => pipeline.exec()))).toMatchObject({ code: 'TENANT_SWITCH' });
    const { redis: behind } = pipeline as unknown as { redis: Redis };
    expect(await failure(() => acme(() => behind.set('stolen', '1')))).toEqual(ELSEWHERE);
    expect(await failure(() => a(() => behind.set('stolen', '1')))).toEqual(ELSEWHERE);
    expect(await before()).toEqual(all);
    expect(await acme2(() => pipeline.exec())).toEqual([[null, 'OK']]);
  });
});

describe('publish and subscribe with places', () => {
  it('goes over the tenant’s own server, and is heard on the client by that tenant alone', async () => {
    const redis = open({ connectionName: 'places' });
    const ears = {
      acme: acme(() => listen(redis)),
      acme2: acme2(() => listen(redis)),
      a: a(() => listen(redis)),
    };
    for (const here of [acme, acme2, a]) {
      expect(await here(() => redis.subscribe('news', '__keyevent@0__:set'))).toBe(2);
      expect(await here(() => redis.psubscribe('n*'))).toBe(3);
      expect(await here(() => redis.ssubscribe('shard'))).toBe(1);
    }
    expect(await places.raw.acme2.pubsub('CHANNELS', 'tk:*')).toEqual(['tk:acme2:news']);
    expect(await places.raw.pool.pubsub('CHANNELS', 'tk:*')).toEqual(['tk:acme:news']);
    expect(await acme2(() => redis.pubsub('CHANNELS'))).toEqual(['news']);
    for (const [tenant, here] of [
      ['acme', acme],
      ['acme2', acme2],
      ['a', a],
    ] as const) {
      // Twice: by name, and by pattern.
      expect(await here(() => redis.publish('news', `news of ${tenant}`))).toBe(2);
      expect(await here(() => redis.spublish('shard', `shard of ${tenant}`))).toBe(1);
      await here(() => redis.set(`set by ${tenant}`, '1'));
      await ears[tenant].hears(`news of ${tenant}`);
      await ears[tenant].hears(`shard of ${tenant}`);
      await ears[tenant].hears(`set by ${tenant}`);
    }
    // On the server of another, under the name of this one: nobody is told.
    await places.raw.pool.publish('tk:acme2:news', 'from elsewhere');
    await acme(() => redis.publish('news', 'last'));
    await ears.acme.hears('last');
    for (const [tenant, { heard }] of Object.entries(ears)) {
      expect(JSON.stringify(heard)).not.toContain('from elsewhere');
      for (const [, own, ...rest] of heard) {
        expect(own).toBe(tenant);
        for (const other of ['acme', 'acme2', 'a'].filter((id) => id !== tenant))
          expect(rest.at(-1)).not.toMatch(new RegExp(`(?:of|by) ${other}$`));
      }
    }
    expect(await acme2(() => redis.unsubscribe('news'))).toBe(2);
    expect(await places.raw.acme2.pubsub('CHANNELS', 'tk:*')).toEqual([]);
    expect(await places.raw.pool.pubsub('CHANNELS', 'tk:*')).toEqual(['tk:acme:news']);
  });

  it('gives whoever works across tenants the messages of the server that was asked', async () => {
    const redis = open();
    const own = redis.clientOf('acme2');
    const heard: string[] = [];
    const pooled: string[] = [];
    await operator(async () => {
      own.on('message', (channel, message) => heard.push(`${channel} ${message}`));
      redis.on('message', (channel, message) => pooled.push(`${channel} ${message}`));
      await own.subscribe('raw');
      await redis.subscribe('raw');
    });
    await places.raw.acme2.publish('raw', 'silo');
    await until(() => heard.length > 0);
    await places.raw.pool.publish('raw', 'pool');
    await until(() => pooled.length > 0);
    expect([heard, pooled]).toEqual([['raw silo'], ['raw pool']]);
  });
});

const a = <T>(fn: () => T): T => withTenant('a', fn);

async function keys(name: Name): Promise<string[]> {
  return (await places.raw[name].keys('*')).sort();
}

// What an operator does runs in no tenant.
function withoutTenant<T>(fn: () => Promise<T>): Promise<T> {
  expect(currentTenant()).toBeDefined();
  return fn();
}
