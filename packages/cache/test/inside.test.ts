import { currentScope, createTenantRegistry, memoryTenantStore } from '@tenantkit/core';
import type { Redis } from '@tenantkit/cache';
import { Command } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, type Opened } from './support.ts';

// Channels are of the whole server, which other tests use as well.
const NEWS = `news-${randomUUID()}`;
const NAME = `inside-${randomUUID()}`;

const LONG = 'x'.repeat(40_000);

let opened: Opened;
let redis: Redis;

beforeAll(async () => {
  opened = await openCache({ connectionName: NAME, tenant: { dedicated: { max: 2, perTenant: 1 } } });
  redis = opened.redis;
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
  await acme(() => redis.set('key', 'of acme'));
  await acme2(() => redis.set('key', 'of acme2'));
});

/** A Command with functions of its caller, which ioredis calls. */
function own(name: string, args: string[], more: object): Command {
  return Object.assign(new Command(name, args, { replyEncoding: 'utf8' }), more);
}

const elsewhere = { code: 'OPERATION_REFUSED' };

describe('what was admitted on a connection of one’s own', () => {
  it.each([
    ['blpop', ['nothing', '0']],
    ['watch', ['key']],
    ['quit', []],
    ['subscribe', [`tk:acme2:${NEWS}`]],
    ['psubscribe', ['*']],
  ])('is not sent on the one that all share: %s', async (name, args) => {
    const client = acme(() => redis.duplicate());
    const [found] = acme(() => queuedIn(() => client.pipeline().call(name, ...args)));
    found.promise.catch(() => undefined);
    await acme(async () => redis.sendCommand(found)).catch(() => undefined);
    expect(redis.status).toBe('ready');
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    expect(await opened.raw.pubsub('NUMSUB', `tk:acme2:${NEWS}`)).toEqual([`tk:acme2:${NEWS}`, 0]);
    const lines = String(await opened.raw.client('LIST')).split('\n');
    const connections = lines.filter((line) => line.includes(` name=${NAME}`));
    expect(connections.length).toBeGreaterThan(0);
    for (const connection of connections) expect(connection).toContain(' sub=0 psub=0 ');
    acme(() => client.disconnect());
  });

  it('nor is what waits in a transaction', async () => {
    const [found] = acme(() => queuedIn(() => redis.multi().blpop('nothing', 0)));
    expect(found.name).toBe('blpop');
    found.promise.catch(() => undefined);
    Reflect.set(found, 'inTransaction', false);
    expect(await failure(() => acme(async () => redis.sendCommand(found)))).toMatchObject(elsewhere);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });
});

describe('functions of a caller’s own Command', () => {
  it('get nothing of what is sent in its place', async () => {
    const contexts: unknown[] = [];
    const spy = own('get', ['key'], { setReplyContext: (context: unknown) => contexts.push(context) });
    await acme(async () => redis.sendCommand(spy));
    expect(contexts.map((context) => Object.keys(context as object))).toEqual([['protocol', 'replyMapping']]);
  });

  it.each(['resolve', 'transformReply', 'setReplyContext'])('run in the tenant: %s', async (name) => {
    const seen: unknown[] = [];
    const promise = new Promise<void>((resolve) => {
      const look = (): void => {
        seen.push(currentScope()?.tenant?.tenant);
        try {
          redis.disconnect();
        } catch (error) {
          seen.push((error as { code?: string }).code);
        }
        resolve();
      };
      void acme(async () => redis.sendCommand(own('get', ['key'], { [name]: look })));
    });
    await promise;
    expect(seen).toEqual(['acme', 'OPERATION_REFUSED']);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it.each(['on a pipeline', 'on the client'])(
    'run there also when they were put on a Command that a method has made: %s',
    async (where) => {
      const seen: unknown[] = [];
      const client = opened.guarded();
      // What waits for the connection would come by once more.
      await acme(() => client.get('key'));
      const pipeline = acme(() => client.pipeline());
      const isPiped = where === 'on a pipeline';
      const host = (isPiped ? pipeline : client) as { sendCommand(command: Command): unknown };
      const send = host.sendCommand.bind(host);
      const look = (): void => void seen.push(currentScope()?.tenant?.tenant);
      host.sendCommand = (command) => {
        const { resolve } = command;
        command.resolve = (reply) => {
          look();
          return resolve.call(command, reply);
        };
        command.transformReply = (reply) => {
          look();
          return `${String(reply)}, seen`;
        };
        return send(command);
      };
      const reply = await acme<Promise<unknown>>(() =>
        isPiped ? pipeline.get('key').exec() : client.get('key'),
      );
      expect(reply).toEqual(isPiped ? [[null, 'of acme, seen']] : 'of acme, seen');
      expect(seen).toEqual(['acme', 'acme']);
    },
  );

  it('run there also when a transformer was set for all replies of a command', async () => {
    const seen: unknown[] = [];
    Command.setReplyTransformer('get', (reply) => {
      seen.push(currentScope()?.tenant?.tenant);
      return reply as string;
    });
    try {
      expect(await acme(() => redis.get('key'))).toBe('of acme');
      expect(await acme(() => redis.pipeline().get('key').exec())).toEqual([[null, 'of acme']]);
      expect(await acme(() => redis.multi().get('key').exec())).toEqual([[null, 'of acme']]);
    } finally {
      Reflect.deleteProperty(
        (Command as unknown as { _transformer: { reply: object } })._transformer.reply,
        'get',
      );
    }
    // In a transaction QUEUED is a reply, too.
    expect(seen).toEqual(['acme', 'acme', 'acme', 'acme']);
  });

  it('reject, too, when the connection is lost', async () => {
    const client = opened.guarded({ maxRetriesPerRequest: 0, retryStrategy: () => 1 });
    await acme(() => client.get('key'));
    const seen = new Promise((resolve) => {
      const reject = (): void => resolve(currentScope()?.tenant?.tenant);
      void acme(async () => client.sendCommand(own('get', ['key'], { reject, resolve: reject })));
      client.stream.destroy();
    });
    expect(await seen).toBe('acme');
  });
});

describe('duplicate() inside a tenant', () => {
  it.each([
    ['another database', { db: 9 }],
    ['other names', { tenant: { names: 'tk:acme2:{tenant}:' } }],
    ['scripts', { scripts: { evil: { lua: 'return 1', numberOfKeys: 0, tenant: 'keys-only' } } }],
    ['another server', { natMap: {} }],
    ['a function', { retryStrategy: () => null }],
  ])('takes no %s, also of what says that it has none', async (_what, given) => {
    const silent = new Proxy(given, { has: () => false });
    for (const override of [given, silent])
      expect(await failure(() => acme(() => redis.duplicate(override as object)))).toMatchObject(elsewhere);
    const fine = acme(() => redis.duplicate({ connectionName: 'fine', commandTimeout: 5000 }));
    expect(await acme(() => fine.get('key'))).toBe('of acme');
    acme(() => fine.disconnect());
  });
});

describe('the options of a client', () => {
  it('are not changed by a tenant, nor do they show the fence', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const client = opened.guarded({ tenant: { fence, subjects: ['user:{subject}:*'], scripts: [] } });
    const shown = acme(() => client.duplicate({ lazyConnect: true }).options.tenant);
    for (const tenant of [client.options.tenant, shown]) {
      expect(tenant).toMatchObject({ subjects: ['user:{subject}:*'] });
      expect(tenant).not.toHaveProperty('fence');
      expect(() => (tenant as { subjects: string[] }).subjects.push('x')).toThrow(TypeError);
      expect(() => (tenant as { scripts: unknown[] }).scripts.push({ sha1: '' })).toThrow(TypeError);
    }
    expect(() => Object.assign(redis.options.tenant?.dedicated ?? {}, { max: 50 })).toThrow(TypeError);
    await fence.freeze('acme');
    expect(await failure(() => acme(() => client.get('key')))).toMatchObject({ code: 'TENANT_FENCED' });
    fence.close();
  });
});

describe('dedicated()', () => {
  it('takes a signal, and calls nothing of it in the midst of others', async () => {
    const signal = new AbortController().signal;
    let called = 0;
    const spy = (): void => void (called += 1);
    for (const name of ['addEventListener', 'removeEventListener', 'throwIfAborted'])
      Object.defineProperty(signal, name, { value: spy });
    const first = acme(() => redis.dedicated((own) => own.get('key'), { signal }));
    const second = acme(() => redis.dedicated((own) => own.get('key'), { signal }));
    expect(await Promise.all([first, second])).toEqual(['of acme', 'of acme']);
    expect(called).toBe(0);
    const wrong = { signal: {} as AbortSignal };
    expect(await failure(() => acme(() => redis.dedicated(() => 1, wrong)))).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('ends nobody else’s connection, neither by what was kept nor by an event', async () => {
    const kept = await acme(() => redis.dedicated((own) => own));
    const held = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const value = acme2(() =>
      redis.dedicated(async (own) => {
        await own.watch('key');
        begun.resolve();
        await held.promise;
        return own.get('key');
      }),
    );
    await begun.promise;
    expect(await failure(() => acme(() => kept.disconnect()))).toMatchObject(elsewhere);
    acme(() => redis.emit('end'));
    held.resolve();
    expect(await value).toBe('of acme2');
    expect(acme(() => kept.stream)).toBeUndefined();
  });
});

describe('listeners of a client', () => {
  it('are known to their own tenant', () => {
    const heard: unknown[] = [];
    const mine = (): void => undefined;
    const theirs = (): void => undefined;
    acme(() => redis.on('newListener', (_event, listener) => heard.push(listener)));
    acme(() => redis.on('error', mine));
    acme2(() => redis.on('error', theirs));
    expect(heard).toEqual([mine]);
    expect(acme(() => redis.listeners('error'))).toEqual([mine]);
    expect(acme2(() => redis.rawListeners('error'))).toHaveLength(1);
    acme(() => redis.removeAllListeners());
    expect(acme2(() => redis.listeners('error'))).toEqual([theirs]);
    acme2(() => redis.removeAllListeners());
  });
});

describe('an error about a long key', () => {
  it('is told to its caller alone, in every form', async () => {
    await acme(() => redis.set(LONG, 'no number'));
    const calls = [
      () => redis.incr(LONG),
      () => redis.call('incr', LONG, 'extra'),
      async () => {
        throw (await redis.multi().incr(LONG).exec())?.[0]?.[0] as Error;
      },
      () => redis.dedicated((own) => own.incr(LONG)),
    ];
    for (const call of calls) {
      const error = await failure(() => acme(call));
      expect(error.message).toMatch(/^ERR /);
      expect(error.message).not.toContain('tk:');
    }
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });
});

describe('defined commands on a connection that is lent', () => {
  const ADD = { numberOfKeys: 1, tenant: 'keys-only' } as const;
  const add = (client: Redis): ((key: string, by: number) => Promise<number>) =>
    Reflect.get(client, 'add').bind(client);

  it('are those of the client, also when they were defined later', async () => {
    const client = opened.guarded();
    client.defineCommand('add', { ...ADD, lua: 'return redis.call("INCRBY", KEYS[1], ARGV[1])' });
    expect(await acme(() => client.dedicated((lent) => add(lent)('count', 2)))).toBe(2);
    expect(await opened.raw.get('tk:acme:count')).toBe('2');
  });

  it('carry their text into an open transaction, whatever was queued before', async () => {
    const client = opened.guarded();
    // A text that the server has never seen.
    const lua = `return redis.call("INCRBY", KEYS[1], ARGV[1]) -- ${randomUUID()}`;
    client.defineCommand('add', { ...ADD, lua });
    const replies = await acme(() =>
      client.dedicated(async (lent) => {
        await lent.multi({ pipeline: false });
        await add(lent)('count', 1);
        await lent.discard();
        await lent.multi({ pipeline: false });
        await lent.set('other', 'x');
        await add(lent)('count', 2);
        return lent.exec();
      }),
    );
    expect(replies).toEqual([
      [null, 'OK'],
      [null, 2],
    ]);
  });
});

describe('an error of the connection', () => {
  it('is heard by every tenant, in whose context it may come', () => {
    const heard: unknown[] = [];
    acme2(() => redis.on('error', (error) => heard.push(error, currentScope()?.tenant?.tenant)));
    const error = new Error('write EPIPE');
    acme(() => redis.silentEmit('error', error));
    expect(heard).toEqual([error, 'acme2']);
    acme2(() => redis.removeAllListeners('error'));
  });

  it('is no missing tenant where a password is a number', async () => {
    const user = `number-${randomUUID()}`;
    await opened.raw.acl('SETUSER', user, 'on', '>12345', '~*', '+@all');
    const client = opened.guarded({ username: user, password: 12_345 as unknown as string });
    expect(await acme(() => client.get('key'))).toBe('of acme');
    client.disconnect();
    await opened.raw.acl('DELUSER', user);
  });
});
