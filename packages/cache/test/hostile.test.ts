import { Command, type ChainableCommander, type Redis, type RedisOptions } from '@tenantkit/cache';
import { currentTenant } from '@tenantkit/core';
import { AbstractConnector, Pipeline, type Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isPlumbing } from '../src/plumbing.ts';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, operator, ready, type Opened } from './support.ts';

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
  await raw.mset('tk:acme:key', 'of acme', 'tk:acme2:key', 'of acme2');
});

const refused = { code: 'OPERATION_REFUSED' };
const FOREIGN = '*2\r\n$3\r\nGET\r\n$12\r\ntk:acme2:key\r\n';
const get = (key: string): Command => new Command('get', [key], { replyEncoding: 'utf8' });
const send = (command: unknown, ...more: unknown[]): Promise<unknown> =>
  acme(() => (redis.sendCommand as (...args: unknown[]) => Promise<unknown>).call(redis, command, ...more));

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError('nothing is queued');
  return value;
}

/** Every caller gets the own reply, and nothing else waits for one. */
async function expectNoShift(): Promise<void> {
  const values = await Promise.all([acme(() => redis.get('key')), acme2(() => redis.get('key'))]);
  expect(values).toEqual(['of acme', 'of acme2']);
  expect(redis.status).toBe('ready');
}

describe('a stream that ioredis has not made', () => {
  const STREAMS: readonly [string, () => unknown][] = [
    ['of the caller', () => ({ write: () => true })],
    ['that says it is a pipeline’s', () => ({ isPipeline: true, write: () => true, destination: { redis } })],
    ['that is the connection itself', () => redis.stream],
  ];

  it.each(STREAMS)('%s takes no reply away', async (_, stream) => {
    const fresh = get('key');
    const sent = get('key');
    expect(await send(sent)).toBe('of acme');
    // Its promise is pending again, as it was before the first call.
    (sent as unknown as { initPromise(): void }).initPromise();
    for (const command of [fresh, sent]) {
      const stolen = failure(() => command.promise);
      void send(command, stream()).catch(() => undefined);
      await expectNoShift();
      expect(await stolen).toMatchObject(refused);
    }
  });

  it('is refused while ioredis writes a pipeline, to a function in the place of sendCommand', async () => {
    const own = opened.guarded();
    await ready(own);
    const write = { isPipeline: true, write: () => true, destination: { redis: own } } as never;
    const refusals: Promise<unknown>[] = [];
    const original = own.sendCommand.bind(own);
    const sendMore = (command: Command): void => void refusals.push(failure(() => original(command, write)));
    own.sendCommand = (command, stream) => {
      // Before ioredis has sent anything with a stream of its own, and behind that.
      if (refusals.length === 0) sendMore(get('key'));
      const sent = original(command, stream);
      if (refusals.length === 1) sendMore(command);
      return sent;
    };
    const results = acme(() => own.pipeline().get('key').get('key').exec());
    const others = Promise.all([0, 1, 2].map(() => acme2(() => original(get('key')))));
    expect(await others).toEqual(['of acme2', 'of acme2', 'of acme2']);
    // The first is its own, which it has spoilt.
    expect(await results).toEqual([[expect.objectContaining(refused)], [null, 'of acme']]);
    for (const refusal of await Promise.all(refusals)) expect(refusal).toMatchObject(refused);
  });

  it('is refused for what a pipeline has queued, and after its exec as well', async () => {
    const kept: unknown[] = [];
    const results = await acme(() => {
      const pipeline = redis.pipeline();
      const queue = queuedIn(() => pipeline.get('key').get('key'));
      const write = { isPipeline: true, write: () => true, destination: { redis } };
      for (const command of queue) kept.push(redis.sendCommand(command, write as never));
      const executed = pipeline.exec();
      const item = redis.commandQueue.peekBack();
      // What ioredis keeps for a resend is nothing that a caller may send.
      kept.push(redis.sendCommand(queue[0], item?.stream));
      return executed;
    });
    await Promise.allSettled(kept);
    await expectNoShift();
    for (const [error] of results ?? []) expect(error).toMatchObject(refused);
  });
});

describe('a Command of the caller’s own making', () => {
  const value = (text: string): string => `*2\r\n$3\r\nGET\r\n$${text.length}\r\n${text}\r\n`;
  const makers: readonly [string, () => unknown, unknown][] = [
    ['with other bytes', () => Object.assign(get('key'), { toWritable: () => FOREIGN }), 'of acme'],
    [
      'that claims a slot',
      () => Object.assign(get('key'), { getSlot: () => 1, getKeys: () => [] }),
      'of acme',
    ],
    [
      'whose name changes',
      () => {
        let asked = 0;
        return Object.defineProperty(get('tk:acme2:key'), 'name', { get: () => (asked++ ? 'get' : 'ping') });
      },
      'tk:acme2:key',
    ],
    [
      'whose arguments change',
      () => {
        let asked = 0;
        const args = new Proxy(['key'], {
          get: (target, name) =>
            name === '0' && asked++ > 0 ? 'tk:acme2:key' : (Reflect.get(target, name) as unknown),
        });
        return Object.assign(get('key'), { args });
      },
      'of acme',
    ],
    [
      'that is none',
      () => {
        let settle: (value: unknown) => void = () => undefined;
        const promise = new Promise((resolve) => (settle = (reply) => resolve(String(reply))));
        return {
          name: 'get',
          args: ['key'],
          promise,
          resolve: settle,
          reject: settle,
          toWritable: () => FOREIGN,
        };
      },
      'of acme',
    ],
  ];

  it.each(makers)('%s', async (_, make, expected) => {
    expect(value('tk:acme2:key')).toBe(FOREIGN);
    expect(await send(make())).toBe(expected);
    const command = make() as Command;
    const piped = await acme(() => {
      const pipeline = redis.pipeline().get('key') as unknown as Pipeline & ChainableCommander;
      pipeline.sendCommand(command);
      return pipeline.get('key').exec();
    });
    expect(piped).toEqual([
      [null, 'of acme'],
      // Looked at once to tell whether it is a MULTI, the name is `get` when it is read.
      [null, expected === 'tk:acme2:key' ? null : expected],
      [null, 'of acme'],
    ]);
    await expectNoShift();
  });

  it('with the marks of another is not admitted for that', async () => {
    const admitted = get('key');
    await send(admitted);
    const forged = get('tk:acme2:key');
    for (const name of Reflect.ownKeys(admitted))
      if (!Object.hasOwn(forged, name) || typeof name === 'symbol')
        Reflect.set(forged, name, Reflect.get(admitted, name));
    expect(await send(forged)).toBeNull();
    const [sent] = acme(() => queuedIn(() => redis.pipeline().get('key')));
    const disguised = Object.setPrototypeOf(get('tk:acme2:key'), sent) as Command;
    expect(await failure(() => send(disguised))).toBeInstanceOf(TypeError);
    await expectNoShift();
  });

  it('that was found in a queue, and is a call of what was defined, makes no other', async () => {
    const client = opened.guarded();
    client.defineCommand('defined', { lua: 'return 1', numberOfKeys: 1, tenant: 'keys-only' });
    const [found] = acme(() =>
      queuedIn(() => (client.pipeline() as unknown as { defined(key: string): unknown }).defined('key')),
    );
    expect(found?.constructor).toBe(Command);
    const prototype = Object.getPrototypeOf(found) as Record<string, unknown>;
    for (const name of ['constructor', 'toWritable'])
      expect(() => (prototype[name] = () => FOREIGN)).toThrow(TypeError);
  });

  it('that was found in a queue makes no other, and changes no name', async () => {
    const [found] = acme(() => queuedIn(() => redis.pipeline().mget('key')));
    const { mark, row, constructor } = found as unknown as {
      mark: { prefix: string };
      row: { heads: string[]; rule: { rewrite: { at: { from: number }[] } } };
      constructor: new (...parts: unknown[]) => object;
    };
    const changes: readonly (() => unknown)[] = [
      () => (mark.prefix = 'tk:acme2:'),
      () => (row.heads[1] = FOREIGN),
      () => (row.rule.rewrite.at = []),
      () => row.rule.rewrite.at.pop(),
      () => (given(row.rule.rewrite.at[0]).from = 1),
    ];
    expect([mark.prefix, row.rule.rewrite.at]).toEqual(['tk:acme:', [expect.anything()]]);
    for (const change of changes) expect(change).toThrow(TypeError);
    const caller = get('key');
    let forged: unknown;
    try {
      forged = new constructor(mark, row, 'mget', ['tk:acme2:key'], {
        command: caller,
        promise: caller.promise,
        resolve: caller.resolve,
        reject: caller.reject,
      });
    } catch {
      forged = undefined;
    }
    expect(String(await send(forged).catch(() => ''))).not.toContain('acme2');
    expect(await acme(() => redis.mget('key'))).toEqual(['of acme']);
    await expectNoShift();
  });

  it.each(['offline queue', 'pipeline'])('is what it was when it was called (%s)', async (where) => {
    const own = opened.guarded({ lazyConnect: true });
    const command = get('key');
    const reply = acme(() => {
      if (where === 'offline queue') return own.sendCommand(command);
      const pipeline = own.pipeline() as unknown as Pipeline & ChainableCommander;
      pipeline.sendCommand(command);
      command.args[0] = 'tk:acme2:key';
      return pipeline.exec();
    });
    command.args[0] = 'tk:acme2:key';
    command.name = 'flushall';
    expect(await reply).toEqual(where === 'pipeline' ? [[null, 'of acme']] : 'of acme');
    expect(await raw.dbsize()).toBe(2);
  });

  it('settles as with ioredis, with its own reply transformer and callback', async () => {
    class Shouting extends Command {
      override transformReply(reply: Buffer): string {
        return reply.toString().toUpperCase();
      }
    }
    expect(await send(new Shouting('get', ['key']))).toBe('OF ACME');
    expect(
      await acme(() => {
        const pipeline = redis.multi() as unknown as Pipeline & ChainableCommander;
        pipeline.sendCommand(new Shouting('get', ['key']));
        return pipeline.exec();
      }),
    ).toEqual([[null, 'OF ACME']]);
    const told = new Promise((resolve) => {
      void send(new Command('lpush', ['key', 'x'], {}, (error) => resolve(error))).catch(() => undefined);
    });
    expect(await told).toMatchObject({ message: expect.stringMatching(/^WRONGTYPE/) });
    class Failing extends Command {
      override transformReply(): never {
        throw new RangeError('no such reply');
      }
    }
    expect(await failure(() => send(new Failing('get', ['key'])))).toEqual(new RangeError('no such reply'));
    await expectNoShift();
  });

  it('that is queued twice is refused, and shifts nothing when the connection breaks', async () => {
    const own = opened.guarded({ retryStrategy: () => 1 });
    own.on('error', () => undefined);
    await ready(own);
    const command = get('key');
    const executed = acme(() => {
      const pipeline = own.pipeline() as unknown as Pipeline & ChainableCommander;
      pipeline.sendCommand(command);
      pipeline.sendCommand(command);
      return pipeline.get('key').exec();
    });
    expect(await executed).toEqual([
      [null, 'of acme'],
      [expect.objectContaining(refused)],
      [null, 'of acme'],
    ]);
    const other = acme(() => {
      const pipeline = own.pipeline() as unknown as Pipeline & ChainableCommander;
      pipeline.sendCommand(command);
      return pipeline.exec();
    });
    expect(await other).toEqual([[expect.objectContaining(refused)]]);
  });
});

describe('what a pipeline has queued', () => {
  it('cannot be given other bytes', async () => {
    const outcome = acme(() => {
      const pipeline = redis.pipeline();
      const [, second] = queuedIn(() => pipeline.get('key').get('key').get('key'));
      const toWritable = (): string => FOREIGN;
      expect(() => Object.assign(given(second), { toWritable })).toThrow(TypeError);
      Object.defineProperty(second, 'toWritable', { value: toWritable });
      return pipeline.exec();
    });
    expect(await outcome).toEqual([[null, 'of acme'], [expect.objectContaining(refused)], [null, 'of acme']]);
    const [alone] = acme(() => queuedIn(() => redis.pipeline().get('key')));
    Object.defineProperty(alone, 'toWritable', { value: () => FOREIGN });
    expect(await failure(() => send(alone))).toMatchObject(refused);
    await expectNoShift();
  });
});

describe('MULTI of a pipeline, in a pipeline of the raw class', () => {
  it('opens no transaction', async () => {
    const outcome = await acme(async () => {
      const [multi] = queuedIn(() => (redis.pipeline() as unknown as { multi(): unknown }).multi());
      expect(multi.name).toBe('multi');
      const pipeline = new Pipeline(redis) as unknown as Pipeline & ChainableCommander;
      pipeline.sendCommand(multi);
      return pipeline.get('key').exec();
    });
    expect(outcome).toEqual([[expect.objectContaining(refused)], [expect.objectContaining(refused)]]);
    await expectNoShift();
  });

  it('whose connection was cut, sends nothing when it is there again', async () => {
    const own = opened.guarded({ retryStrategy: () => 1 });
    own.on('error', () => undefined);
    await ready(own);
    const again = once(own, 'ready');
    const executed = acme(() => {
      const pipeline = new Pipeline(own) as unknown as ChainableCommander;
      const outcome = pipeline.get('tk:acme2:key').set('tk:acme2:key', 'overwritten').exec();
      own.stream.destroy();
      return outcome;
    });
    const waiting = acme2(() => own.get('key'));
    await again;
    expect(await executed).toEqual([[expect.objectContaining(refused)], [expect.objectContaining(refused)]]);
    expect(await waiting).toBe('of acme2');
    expect(await raw.get('tk:acme2:key')).toBe('of acme2');
  });
});

describe('code that ioredis calls in the midst of its own work', () => {
  // Where it would do harm: the next write of everybody goes to another database.
  const attempts = (client: Redis): Promise<unknown[]> =>
    Promise.all(
      [
        () => client.select(1),
        () => client.call('SELECT', '1'),
        () => client.info(),
        () => client.call('CLIENT', 'SETNAME', 'x'),
        () => client.auth('x'),
        () => client.call('HELLO', '2'),
        () => client.get('key'),
      ].map((call) => failure(call)),
    );
  const auth = expect.objectContaining({ code: 'OPERATION_REFUSED', operation: 'auth' }) as unknown;
  const missing = Array.from(
    { length: 7 },
    () => expect.objectContaining({ code: 'TENANT_MISSING' }) as unknown,
  );
  const attempted = missing.with(4, auth);

  it('reconnectOnError and what it starts are no work of ioredis', async () => {
    const seen: unknown[] = [];
    const tried: Promise<unknown[]>[] = [];
    const own = opened.guarded({
      reconnectOnError: () => {
        seen.push(currentTenant(), isPlumbing());
        tried.push(attempts(own), new Promise((resolve) => setImmediate(() => resolve(attempts(own)))));
        return false;
      },
    });
    await ready(own);
    await failure(() => acme(() => own.lpush('key', 'x')));
    expect(seen).toEqual([undefined, false]);
    expect(await Promise.all(tried)).toEqual([attempted, attempted]);
    await acme(() => own.set('after', '1'));
    expect(await raw.exists('tk:acme:after')).toBe(1);
  });

  it('retryStrategy, and functions deeper in the options, are none', async () => {
    const seen: unknown[] = [];
    const note = <T>(value: T): T => {
      seen.push([currentTenant(), isPlumbing()]);
      return value;
    };
    const own = opened.guarded({ retryStrategy: () => note(1) });
    own.on('error', () => undefined);
    await ready(own);
    const again = once(own, 'ready');
    own.disconnect(true);
    await again;
    const tls = opened.guarded({
      lazyConnect: true,
      retryStrategy: null,
      tls: { checkServerIdentity: () => note(undefined) },
    });
    (tls.options.tls as { checkServerIdentity(): unknown }).checkServerIdentity();
    expect(seen).toEqual([
      [undefined, false],
      [undefined, false],
    ]);
  });

  it('while a connection is being set up, nobody outside of any tenant takes part in it', async () => {
    const db = Number(new URL(opened.url).pathname.slice(1));
    const own = opened.guarded({ lazyConnect: true, connectionName: 'mine' });
    const calls = (): Promise<unknown[]> =>
      Promise.all(
        [
          () => own.info(),
          () => own.select(db),
          () => own.readonly(),
          () => own.asking(),
          () => own.cluster('SLOTS'),
          () => own.call('HELLO', '3'),
          () => own.client('SETNAME', 'mine'),
        ].map((call) => failure(call)),
      );
    const tried = new Promise<unknown[]>((resolve) => void own.once('connect', () => resolve(calls())));
    await own.connect();
    expect(await tried).toEqual(missing);
    expect(await calls()).toEqual(missing);
  });

  it('a connector, which is part of the connection, can do what the handshake does and no more', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    const db = Number(pathname.slice(1));
    const tried: Promise<unknown[]>[] = [];
    const same: Promise<unknown>[] = [];
    let client: Redis | undefined;
    class Connector extends AbstractConnector {
      constructor(options: { disconnectTimeout: number }) {
        super(options.disconnectTimeout);
      }
      connect(): Promise<Socket> {
        this.stream = createConnection(Number(port), hostname);
        return Promise.resolve(this.stream);
      }
      override check(): boolean {
        expect(isPlumbing()).toBe(true);
        if (client !== undefined) {
          tried.push(
            Promise.all(
              [
                () => client?.select(db === 1 ? 2 : 1),
                () => client?.auth('x'),
                () => client?.call('HELLO', '3', 'AUTH', 'x', 'y'),
                () => client?.call('CLIENT', 'REPLY', 'OFF'),
                () => client?.call('CLIENT', 'SETNAME', 'x'),
                () => client?.call('CONFIG', 'GET', '*'),
                () => client?.get('tk:acme:key'),
              ].map((call) => failure(call)),
            ),
          );
          same.push(client.select(db));
        }
        return true;
      }
    }
    client = opened.guarded({ Connector, db } as unknown as RedisOptions);
    await ready(client);
    expect(await Promise.all(tried)).toEqual([missing.with(1, auth)]);
    expect(await Promise.all(same)).toEqual(['OK']);
    expect(await acme(() => client.get('key'))).toBe('of acme');
  });
});

describe('the options of a client', () => {
  it('cannot be changed once it is made, by nobody', async () => {
    const given = { retryStrategy: () => 1, tls: undefined, sentinels: undefined } as RedisOptions;
    const own = opened.guarded(given);
    const before = { ...own.options };
    const changes: Record<string, unknown> = {
      autoPipeliningIgnoredCommands: [],
      commandTimeout: 1,
      db: 3,
      enableAutoPipelining: true,
      enableOfflineQueue: false,
      host: '127.0.0.9',
      keyPrefix: 'x',
      maxRetriesPerRequest: 0,
      readOnly: true,
      reconnectOnError: () => 2,
      retryStrategy: () => null,
      scripts: {},
      showFriendlyErrorStack: true,
      socketTimeout: 1,
      something: 'new',
    };
    for (const run of [acme, operator, <T>(fn: () => T): T => fn()])
      for (const [name, value] of Object.entries(changes))
        expect(() =>
          run(() => Reflect.set(own.options, name, value) || Object.assign(own.options, { [name]: value })),
        ).toThrow(TypeError);
    given.retryStrategy = () => null;
    expect({ ...own.options }).toEqual(before);
    await ready(own);
    expect(await acme(() => own.get('key'))).toBe('of acme');
  });
});
