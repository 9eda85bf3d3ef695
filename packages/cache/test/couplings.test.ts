import { Cluster, Redis } from '@tenantkit/cache';
import { Cluster as RawCluster, Command, Pipeline, Redis as Raw } from 'ioredis';
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recheckLibrary } from '../src/couplings.ts';
import { acme, openCache, ready, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

/** Lets ioredis be another one for a while. */
function changed<T>(host: object, name: string, value: unknown, fn: () => T): T {
  const before = Object.getOwnPropertyDescriptor(host, name);
  Object.defineProperty(host, name, { value, configurable: true, writable: true });
  try {
    return fn();
  } finally {
    if (before === undefined) Reflect.deleteProperty(host, name);
    else Object.defineProperty(host, name, before);
  }
}

const sendCommand = Reflect.get(Raw.prototype, 'sendCommand') as (...args: unknown[]) => unknown;

describe('an ioredis that works differently', () => {
  it('is not this one', () => {
    expect(recheckLibrary).not.toThrow();
  });

  // Every name that the checks use, and some more.
  const NAMES =
    'get set mget hset hgetall exec multi evalsha ssubscribe hello client asking info tenantkit.coupling';
  it.each(NAMES.split(' '))('is not one with transformers for %s, which are not called', (name) => {
    const transformers = (Command as unknown as { _transformer: Record<'argument' | 'reply', object> })
      ._transformer;
    let calls = 0;
    const transformer = (): never => {
      calls += 1;
      throw new Error('of the application');
    };
    changed(transformers.argument, name, transformer, () =>
      changed(transformers.reply, name, transformer, () => {
        expect(recheckLibrary).not.toThrow();
        expect(Reflect.get(transformers.argument, name)).toBe(transformer);
        expect(Reflect.get(transformers.reply, name)).toBe(transformer);
      }),
    );
    expect(calls).toBe(0);
  });

  describe('is looked at', () => {
    const heard: string[] = [];
    const context = new AsyncLocalStorage<string>();
    /** Lets a tracer stand before what sends and connects, as OpenTelemetry does or without saying so. */
    const traced = async (says: boolean, fn: () => unknown): Promise<readonly string[]> => {
      heard.length = 0;
      const undo = [Raw, RawCluster].flatMap(({ prototype }) =>
        ['sendCommand', 'connect'].map((name) => {
          const original: unknown = Reflect.get(prototype, name);
          const wrapper = function (this: Raw, ...args: never[]): unknown {
            heard.push(`${name} in ${context.getStore()}`);
            return Reflect.apply(original as () => unknown, this, args);
          };
          Reflect.set(prototype, name, says ? Object.assign(wrapper, { __original: original }) : wrapper);
          return () => Reflect.set(prototype, name, original);
        }),
      );
      try {
        await context.run('a request', async () => await fn());
        // What was left waiting has been told of by now.
        for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
        return [...heard];
      } finally {
        for (const restore of undo) restore();
      }
    };
    const STEPS = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const;
    const CHANNELS = ['command', 'connect', 'batch'].map((what) => {
      const subscribers = STEPS.map((step) => [step, () => void heard.push(`${what} ${step}`)] as const);
      return [tracingChannel(`ioredis:${what}`), Object.fromEntries(subscribers) as never] as const;
    });
    let client: Raw;
    beforeAll(async () => {
      client = opened.witness();
      await ready(client);
      for (const [channel, subscribers] of CHANNELS) channel.subscribe(subscribers);
    });
    afterAll(() => {
      for (const [channel, subscribers] of CHANNELS) channel.unsubscribe(subscribers);
    });

    it('without anybody hearing of it', async () => {
      const members = (): unknown[] =>
        ['sendCommand', 'connect'].map((name) => Reflect.get(Raw.prototype, name) as unknown);
      const look = (): void => {
        const before = members();
        recheckLibrary();
        expect(members()).toEqual(before);
      };
      expect(await traced(true, look)).toEqual([]);
      // Else nothing could have been heard.
      expect(await traced(true, () => client.get('key'))).toEqual(
        expect.arrayContaining(['sendCommand in a request', 'command start', 'command asyncEnd']),
      );
      const other = opened.witness({ lazyConnect: true });
      expect(await traced(true, () => other.connect())).toEqual(
        expect.arrayContaining(['connect in a request', 'connect start', 'connect asyncEnd']),
      );
    });

    it('outside of the request in which the first client is made', async () => {
      expect(new Set(await traced(false, recheckLibrary))).toEqual(
        new Set(['sendCommand in undefined', 'connect in undefined']),
      );
    });
  });

  const CHANGES: readonly [string, object, string, unknown, RegExp][] = [
    [
      'writes a command by itself',
      Raw.prototype,
      'sendCommand',
      function (this: Raw, command: Command, stream: never) {
        const copy = new Command(command.name, command.args as string[]);
        return sendCommand.call(this, copy, stream);
      },
      /toWritable returns is written/,
    ],
    [
      'calls defined commands in another way',
      Raw.prototype,
      'defineCommand',
      function (this: Record<string, unknown>, name: string) {
        this[name] = () => Promise.resolve(1);
      },
      /a defined command is an EVALSHA/,
    ],
    [
      'has methods that send in another way',
      Raw.prototype,
      'get',
      function (this: { options: object }) {
        return Promise.resolve(this.options);
      },
      /hands its Command to sendCommand/,
    ],
    [
      'writes in another form',
      Command.prototype,
      'toWritable',
      () => 'GET key\r\n',
      /in the form that ioredis writes/,
    ],
    [
      'hands out replies of EXEC as they are',
      Pipeline.prototype,
      'fillResult',
      () => undefined,
      /EXEC through transformReply/,
    ],
    ['has other timers', Command.prototype, '_clearTimers', undefined, /has the methods/],
    [
      'sends pipelines in another way',
      Pipeline.prototype,
      'exec',
      () => Promise.resolve([]),
      /on a stream of its own/,
    ],
  ];

  it.each(CHANGES)('%s', (_, host, name, value, message) => {
    const error = changed(host, name, value, () => {
      try {
        recheckLibrary();
      } catch (thrown) {
        return thrown;
      }
      return undefined;
    });
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(message) });
    expect(() => changed(host, name, value, () => new Redis({ lazyConnect: true }))).toThrow(message);
    expect(() => changed(host, name, value, () => new Cluster([], { lazyConnect: true }))).toThrow(message);
    recheckLibrary();
  });

  it('begins an autopipeline of its own: the call ends there, and nobody else is harmed', async () => {
    const own = opened.guarded({ enableAutoPipelining: true });
    await ready(own);
    await acme(() => own.set('key', 'of acme'));
    const { includes } = Array.prototype;
    // As if it read the list of ignored commands in another way.
    const list = own.options.autoPipeliningIgnoredCommands ?? [];
    const host = Object.getPrototypeOf(list) as object;
    expect(Object.isFrozen(host)).toBe(true);
    expect(includes.call(list, 'get')).toBe(false);
    const pipelines = (own as unknown as { _autoPipelines: Map<string, unknown> })._autoPipelines;
    expect(() => pipelines.has('main')).toThrow(/installed ioredis works differently/);
    expect(() => pipelines.set('main', {})).toThrow(/installed ioredis works differently/);
    expect(() => Object.assign(own, { _autoPipelines: new Map() })).toThrow(TypeError);
    expect(await acme(() => own.get('key'))).toBe('of acme');
  });

  it('makes nodes of a cluster in another way: none is handed out', async () => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: 1 }], { lazyConnect: true });
    cluster.on('error', () => undefined);
    const pool = (
      cluster as unknown as {
        connectionPool: {
          nodes: Record<string, Record<string, Raw>>;
          createRedisFromOptions(node: object, readOnly: boolean): Raw;
          findOrCreate(node: object): Raw;
        };
      }
    ).connectionPool;
    const raw = new Raw({ lazyConnect: true });
    pool.createRedisFromOptions = () => raw;
    expect(() => pool.findOrCreate({ host: '127.0.0.1', port: 7 })).toThrow(/createRedisFromOptions/);
    expect(() => cluster.nodes()).toThrow(/createRedisFromOptions/);
    const heard = once(cluster, 'end');
    cluster.disconnect();
    await heard;
  });

  it('makes scan streams in another way', () => {
    const make = (): Redis => new Redis({ lazyConnect: true });
    expect(() => changed(Raw.prototype, 'createScanStream', undefined, make)).toThrow(
      /scan streams are made/,
    );
  });
});
