import { auditChannels, createTenantRegistry, memoryTenantStore } from '@tenantkit/core';
import { Cluster, Command, type Redis } from '@tenantkit/cache';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { explain } from '../src/explain.ts';
import type { Sent } from '../src/sent.ts';
import { wiringOf } from '../src/wirings.ts';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, operator, ready, type Opened } from './support.ts';

// Channels are of the whole server, which other tests use as well.
const NEWS = `news-${randomUUID()}`;

const refused = { code: 'OPERATION_REFUSED' };

let opened: Opened;
let redis: Redis;
beforeAll(async () => {
  opened = await openCache({ connectionName: 'guards', tenant: { dedicated: { max: 1 } } });
  redis = opened.redis;
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
  await acme(() => redis.set('key', 'of acme'));
  await acme2(() => redis.set('key', 'of acme2'));
});

/** The connection that `dedicated()` lends, as the server numbers it. */
const idOfLent = (): Promise<number> => operator(() => redis.dedicated((own) => own.client('ID')));

describe('what is handed to a connection', () => {
  it.each(['subscribe', 'psubscribe', 'ssubscribe'])(
    'is no admitted %s, whose channel would be another tenant’s',
    async (name) => {
      // Where callers cannot get hold of it.
      const admitted = acme(() => wiringOf(redis)?.guard.admit(new Command(name, [`tk:acme2:${NEWS}`])));
      expect(admitted).toMatchObject({ name });
      expect(
        await failure(() => acme(async () => redis.sendCommand(admitted as unknown as Command))),
      ).toMatchObject(refused);
      expect(await opened.raw.pubsub('NUMSUB', `tk:acme2:${NEWS}`)).toEqual([`tk:acme2:${NEWS}`, 0]);
      expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    },
  );

  it.each([
    ['a getter that throws', { args: ['key'] }, true],
    ['arguments in a text', { name: 'get', args: 'key' }, false],
    ['arguments in a set', { name: 'get', args: new Set(['key']) }, false],
    ['too many bytes', { name: 'set', args: ['key', ...Array(2).fill('x'.repeat(2 ** 28))] }, false],
  ])('is never %s', async (_what, parts, throws) => {
    const command = Object.assign(new Command('get', ['key']), parts);
    if (throws)
      Object.defineProperty(command, 'name', {
        get: () => {
          throw new Error('of a getter');
        },
      });
    expect(await failure(() => acme(() => redis.sendCommand(command)))).toMatchObject(refused);
    expect(await acme(async () => redis.sendCommand(new Command('get', ['key'])))).toEqual(
      Buffer.from('of acme'),
    );
  });

  it('has a row that nobody can change', async () => {
    const [found] = acme(() => queuedIn(() => redis.pipeline().get('key')));
    const { row } = found as unknown as { row: { where: object; blocks: unknown } };
    expect(row).toMatchObject({ where: { operation: 'get' } });
    expect(() => Object.assign(row, { blocks: () => true })).toThrow(TypeError);
    expect(() => Object.assign(row.where, { operation: 'another' })).toThrow(TypeError);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });
});

describe('an error', () => {
  it('has a stack without physical names', async () => {
    // No server without the module knows it, and says what it was given.
    for (const call of [
      () => redis.call('json.get', 'key'),
      () => redis.pipeline().call('json.get', 'key'),
    ]) {
      const error = await failure(async () => {
        const result = await acme(async () => {
          const made = call() as Promise<unknown> & { exec?: () => Promise<[[Error]]> };
          return made.exec === undefined ? made : made.exec();
        });
        throw (result as [[Error]])[0][0];
      });
      expect(error.stack).toContain("'key'");
      expect(error.stack).not.toContain('tk:acme:');
    }
  });

  it('whose stack somebody has read before has none of them either', () => {
    // An inspector does, or a hook of the process. V8 writes it down when it is read for the first time.
    const admitted = acme(() => wiringOf(redis)?.guard.admit(new Command('get', ['key']))) as Sent;
    const error = new Error("ERR 'tk:acme:key'");
    expect(error.stack).toContain('tk:acme:key');
    expect(admitted.read(error).stack).toContain("ERR 'key'");
    expect(error.stack).not.toContain('tk:acme:');
  });

  it('repeats no name that nobody knows as it was given', async () => {
    const name = `nosuch\r\n\u001b[31m${'x'.repeat(500)}`;
    const error = await failure(() => acme(() => redis.call(name, 'key')));
    expect(error).toMatchObject(refused);
    expect(error.message).toContain('nosuch');
    expect(error.message).not.toMatch(/\p{Cc}/u);
    expect(error.message).not.toContain('x'.repeat(65));
  });

  it('explains itself once', () => {
    const error = explain(new Error("CROSSSLOT Keys in request don't hash to the same slot"));
    const { message, stack } = error;
    expect(message).toContain('hashTag');
    expect(explain(error)).toMatchObject({ message, stack });
  });

  it('that a caller throws on hearing of one keeps no other from hearing', async () => {
    const known = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown = once(process, 'uncaughtException');
    try {
      const reject = (): never => {
        throw new Error('of a caller');
      };
      const own = Object.assign(new Command('blpop', ['nothing', '0']), { reject });
      const waiting = acme(() => redis.duplicate());
      await ready(waiting);
      void acme(async () => waiting.sendCommand(own));
      const next = failure(() => acme(() => waiting.get('key')));
      acme(() => waiting.disconnect());
      expect((await next).message).toBe('Connection is closed.');
      expect(await thrown).toMatchObject([{ message: 'of a caller' }, 'uncaughtException']);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of known) process.on('uncaughtException', listener);
    }
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('about another tenant’s object is told to the audit', async () => {
    const events: unknown[] = [];
    const heard = (event: unknown): void => void events.push(event);
    auditChannels.refused.subscribe(heard);
    try {
      const pipeline = acme(() => redis.pipeline());
      expect(await failure(() => acme2(() => pipeline.get('key')))).toMatchObject({ code: 'TENANT_SWITCH' });
      expect(events).toMatchObject([{ tenantid: 'acme2', data: { api: { operation: 'pipeline' } } }]);
      expect(await acme(() => pipeline.get('key').exec())).toEqual([[null, 'of acme']]);
      expect(events).toHaveLength(1);
    } finally {
      auditChannels.refused.unsubscribe(heard);
    }
  });
});

describe('duplicate()', () => {
  it('reads what it is given once, whatever is shown the next time', async () => {
    const db = redis.options.db;
    let made = 0;
    for (let turn = 0; turn < 6; turn += 1) {
      let reads = 0;
      const given = new Proxy<{ db?: number }>(
        { db: 9 },
        {
          ownKeys: () => (reads++ < turn ? [] : ['db']),
        },
      );
      const client = acme(() => {
        try {
          return redis.duplicate(given);
        } catch {
          return undefined;
        }
      });
      if (client === undefined) continue;
      made += 1;
      expect(client.options.db).toBe(db);
      expect(await acme(() => client.get('key'))).toBe('of acme');
      acme(() => client.disconnect());
    }
    expect(made).toBeGreaterThan(0);
  });

  it('keeps the fence, as dedicated() does', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    try {
      const client = opened.guarded({ tenant: { fence } });
      const own = acme(() => client.duplicate());
      const theirs = acme2(() => client.duplicate());
      const further = client.duplicate();
      await fence.freeze('acme');
      const fenced = { code: 'TENANT_FENCED' };
      expect(await failure(() => acme(() => own.get('key')))).toMatchObject(fenced);
      expect(await failure(() => acme(() => further.get('key')))).toMatchObject(fenced);
      expect(await failure(() => acme(() => client.dedicated((lent) => lent.get('key'))))).toMatchObject(
        fenced,
      );
      expect(await acme2(() => theirs.get('key'))).toBe('of acme2');
      expect(await acme2(() => further.get('key'))).toBe('of acme2');
      expect(await acme2(() => client.dedicated((lent) => lent.get('key')))).toBe('of acme2');
      acme(() => own.disconnect());
      acme2(() => theirs.disconnect());
      further.disconnect();
    } finally {
      fence.close();
    }
  });

  describe('of a cluster', () => {
    const node = { host: '127.0.0.1', port: 1 };
    const cluster = new Cluster([node], { lazyConnect: true });
    afterAll(() => cluster.disconnect());
    const nodesOf = (made: Cluster): unknown => Reflect.get(made, 'startupNodes');
    const other = { host: '127.0.0.1', port: 2 };

    it('goes to no other nodes, nor to what is shown as none at first', () => {
      expect(() => acme(() => cluster.duplicate([other]))).toThrow(expect.objectContaining(refused));
      let reads = 0;
      const sly = new Proxy([other], {
        get: (nodes, name) => (name === 'length' && reads++ === 0 ? 0 : Reflect.get(nodes, name)),
      });
      const made = acme(() => cluster.duplicate(sly));
      expect(nodesOf(made)).toEqual(nodesOf(cluster));
      acme(() => made.disconnect());
      const served = cluster.duplicate([other]);
      expect(nodesOf(served)).toEqual([other]);
      served.disconnect();
    });

    it.each([{ db: 9 }, { tls: {} }, { retryStrategy: () => null }, { natMap: {} }])(
      'takes no such options for its connections: %j',
      (redisOptions) => {
        expect(() => acme(() => cluster.duplicate([], { redisOptions }))).toThrow(
          expect.objectContaining(refused),
        );
        const fine = acme(() => cluster.duplicate([], { redisOptions: { commandTimeout: 7 } }));
        expect(fine.options.redisOptions).toMatchObject({ commandTimeout: 7 });
        acme(() => fine.disconnect());
      },
    );
  });
});

it('scripts of a cluster stand beside the options of its connections', () => {
  const scripts = { put: { lua: 'return 1', numberOfKeys: 0, tenant: 'keys-only' } } as const;
  const open = (options: object): Cluster => new Cluster([{ port: 1 }], { lazyConnect: true, ...options });
  expect(() => open({ redisOptions: { scripts } })).toThrow(/scripts stands inside redisOptions/);
  const made = open({ scripts });
  expect(made).toHaveProperty('put');
  made.disconnect();
});

it('our options cannot be changed, not even those that nobody reads', () => {
  expect(() => Object.assign(redis.options.tenant ?? {}, { hashTag: true })).toThrow(TypeError);
});

describe('on a shared connection an operator', () => {
  it.each([
    ['watch', 'key'],
    ['multi'],
    ['client', 'reply', 'off'],
    ['client', 'setname', 'theirs'],
    ['client', 'tracking', 'on'],
  ])('changes nothing that everybody has: %s %s %s', async (name, ...args) => {
    expect(await failure(() => operator(() => redis.call(name, ...args)))).toMatchObject(refused);
    expect(await acme(() => redis.set('key', 'anew'))).toBe('OK');
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    expect(await operator(() => redis.call('client', 'getname'))).toBe('guards');
    expect(await operator(() => redis.dedicated((own) => own.watch('key')))).toBe('OK');
  });
});

describe('of a connection that was lent', () => {
  it('nothing is kept that an operator had', async () => {
    const first = await idOfLent();
    expect(await idOfLent()).not.toBe(first);
    expect(await acme(() => redis.dedicated((own) => own.get('key')))).toBe('of acme');
  });

  it('nobody changes the state for whoever has it next, or reads theirs', async () => {
    const kept = await acme(() =>
      redis.dedicated((own) => {
        const condition = own.condition as unknown as object;
        expect(condition).toMatchObject({ subscriber: false });
        expect(() => Object.assign(condition, { subscriber: {} })).toThrow(TypeError);
        return own;
      }),
    );
    const seen = await acme2(() => redis.dedicated(async (own) => [await own.get('key'), kept.condition]));
    expect(seen).toEqual(['of acme2', null]);
  });

  it('nobody hears when it ends with somebody else', async () => {
    let told = 0;
    const kept = await acme(() => redis.dedicated((own) => own.on('close', () => (told += 1))));
    await acme2(() =>
      redis.dedicated(async (own) => {
        const closed = once(own, 'close');
        own.disconnect();
        await closed;
      }),
    );
    expect(told).toBe(0);
    acme(() => kept.emit('close'));
    expect(told).toBe(1);
  });

  it('no subscription stays', async () => {
    const { raw } = opened;
    const count = async (): Promise<unknown> => (await raw.pubsub('NUMSUB', `tk:acme:${NEWS}`))[1];
    await acme(() =>
      redis.dedicated(async (own) => {
        await own.subscribe(NEWS);
        expect(await count()).toBe(1);
      }),
    );
    await expect.poll(count).toBe(0);
    await acme2(() => redis.subscribe(NEWS));
    expect((await raw.pubsub('NUMSUB', `tk:acme2:${NEWS}`))[1]).toBe(1);
    await acme2(() => redis.unsubscribe(NEWS));
  });

  it('all listeners are seen by whoever has one alone, and on a shared one only their own', () => {
    const service = (): void => undefined;
    const mine = (): void => undefined;
    const own = acme(() => redis.duplicate({ lazyConnect: true }));
    for (const client of [own, redis]) {
      client.on('error', service);
      acme(() => client.on('error', mine));
    }
    expect(acme(() => own.listeners('error'))).toEqual([service, mine]);
    expect(acme(() => redis.listeners('error'))).toEqual([mine]);
    acme(() => own.disconnect());
    acme(() => redis.removeAllListeners());
    redis.off('error', service);
  });
});
