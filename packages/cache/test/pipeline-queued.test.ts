import { Command, type ChainableCommander, type Redis } from '@tenantkit/cache';
import { currentTenant } from '@tenantkit/core';
import type { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Sent } from '../src/sent.ts';
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

const FOREIGN = '*2\r\n$3\r\nGET\r\n$12\r\ntk:acme2:key\r\n';

interface Described {
  readonly name: string;
  readonly args: (string | Buffer)[];
}

const queueOf = (made: ChainableCommander): readonly Described[] =>
  (made as unknown as { _queue: readonly Described[] })._queue;

const makers = [
  ['a pipeline', (client: Redis) => client.pipeline(), [[null, 'of acme']]],
  ['a transaction', (client: Redis) => client.multi(), [[null, 'of acme']]],
  [
    'a transaction of the method form',
    (client: Redis) => (client.pipeline() as unknown as { multi(): ChainableCommander }).multi(),
    [
      [null, 'OK'],
      [null, 'QUEUED'],
    ],
  ],
] as const;

/** Every caller gets the own reply, and nothing else waits for one. */
async function expectNoShift(client: Redis): Promise<void> {
  const values = await Promise.all([0, 1, 2].map(() => acme2(() => client.get('key'))));
  expect(values).toEqual(['of acme2', 'of acme2', 'of acme2']);
  expect(await acme(() => client.get('key'))).toBe('of acme');
}

describe('what a pipeline shows of its queue', () => {
  it('is the name and the arguments of each call, as the caller knows them', () => {
    const one = acme(() => queueOf(redis.pipeline().get('key').set(Buffer.from('n'), '1').flushall()));
    expect(one).toEqual([
      { name: 'get', args: ['key'] },
      { name: 'set', args: [Buffer.from('n'), '1'] },
      // What is refused keeps its place.
      { name: 'ping', args: [] },
    ]);
    expect(acme(() => queueOf(redis.multi().get('key')))).toEqual([
      { name: 'multi', args: [] },
      { name: 'get', args: ['key'] },
    ]);
    expect(operator(() => queueOf(redis.pipeline().get('tk:acme:key')))).toEqual([
      { name: 'get', args: ['tk:acme:key'] },
    ]);
  });

  it.each(makers)('has nothing else on it, and cannot be changed: %s', (_what, make) => {
    const queue = acme(() => queueOf(make(redis).get('key')));
    expect(queue.length).toBeGreaterThan(0);
    for (const described of queue) {
      expect(Sent.of(described)).toBeUndefined();
      expect(described).not.toBeInstanceOf(Command);
      expect(Object.getPrototypeOf(described)).toBe(Object.prototype);
      expect(Object.getOwnPropertyDescriptors(described)).toEqual({
        name: { value: described.name, writable: false, enumerable: true, configurable: false },
        args: { value: described.args, writable: false, enumerable: true, configurable: false },
      });
      expect(Object.isFrozen(described)).toBe(true);
    }
  });

  it('shares no argument with what is written', async () => {
    // Longer than what node takes out of its pool.
    const long = 'k'.repeat(10_000);
    await acme(() => redis.mset({ n: 'short', [long]: 'long' }));
    const results = await acme(() => {
      const made = redis.pipeline().get('key').get(Buffer.from('n')).get(Buffer.from(long));
      for (const { args } of queueOf(made)) {
        const [key] = args;
        if (Buffer.isBuffer(key)) new Uint8Array(key.buffer).fill(120);
        args[0] = 'tk:acme2:key';
        args.push('more');
      }
      expect(queueOf(made)[1]).toEqual({ name: 'get', args: [Buffer.from('n')] });
      return made.exec();
    });
    expect(results).toEqual([
      [null, 'of acme'],
      [null, 'short'],
      [null, 'long'],
    ]);
    await expectNoShift(redis);
  });
});

describe('what a caller puts on the promise of a pipeline', () => {
  const changes: readonly [string, (promise: object, called: () => unknown) => unknown][] = [
    ['then', (promise, called) => Reflect.set(promise, 'then', called)],
    ['constructor', (promise, called) => Reflect.defineProperty(promise, 'constructor', { get: called })],
    [
      'a prototype',
      (promise, called) =>
        Reflect.setPrototypeOf(
          promise,
          Object.create(Promise.prototype, { then: { get: called } }) as object,
        ),
    ],
  ];

  describe.each(makers.slice(0, 2))('%s', (_what, make, expected) => {
    it.each(changes)(
      'is not called where ioredis works with a connection that is lent: %s',
      async (_, put) => {
        const called: unknown[] = [];
        await acme(() =>
          redis.dedicated(async (lent) => {
            const made = make(lent).get('key');
            const { promise } = made as unknown as { promise: Promise<unknown> };
            put(promise, () => called.push(lent.stream));
            for (const callback of [undefined, () => undefined])
              expect(await failure(() => made.exec(callback))).toMatchObject({ code: 'OPERATION_REFUSED' });
            expect(await make(lent).get('key').exec()).toEqual(expected);
          }),
        );
        expect(called).toEqual([]);
        await expectNoShift(redis);
      },
    );
  });
});

describe('what a caller puts on what a pipeline shows of its queue', () => {
  const called: unknown[] = [];
  const own = (what: string, value?: unknown) => (): unknown => {
    called.push([what, currentTenant()?.tenant]);
    return value;
  };
  const set = (target: object, name: string, value: unknown): void => {
    Reflect.set(target, name, value);
    Reflect.defineProperty(target, name, { value, configurable: true });
  };
  const attacks: readonly [string, (shown: object) => unknown][] = [
    [
      'a prototype with other bytes',
      (shown) => {
        const written = { toWritable: { value: own('toWritable', FOREIGN) } };
        return Reflect.setPrototypeOf(
          shown,
          Object.create(Object.getPrototypeOf(shown) as object, written) as object,
        );
      },
    ],
    [
      'other bytes, which it denies',
      (shown) => {
        set(shown, 'isAltered', false);
        set(shown, 'toWritable', own('toWritable', FOREIGN));
      },
    ],
    ['the name of what ends the connection', (shown) => set(shown, 'name', 'quit')],
    ['the name of what waits for messages', (shown) => set(shown, 'name', 'subscribe')],
    ['other arguments', (shown) => set(shown, 'args', ['tk:acme2:key'])],
    ['a resolve', (shown) => set(shown, 'resolve', own('resolve'))],
    ['a reject', (shown) => set(shown, 'reject', own('reject'))],
    ['a transformReply', (shown) => set(shown, 'transformReply', own('transformReply', 'another'))],
    ['a promise', (shown) => set(shown, 'promise', Promise.resolve('another'))],
  ];

  describe.each(makers)('%s', (_what, make, expected) => {
    it.each(attacks)('changes nothing: %s', async (_attack, attack) => {
      called.length = 0;
      // One of its own: what an attack has spoilt would fail the next, too.
      const client = opened.guarded();
      await ready(client);
      const results = await acme(() => {
        const made = make(client).get('key');
        const queue = queueOf(made);
        attack(queue.at(-1) as object);
        for (const shown of queue) attack(shown);
        // The method form ends its transaction first, and is sent by the second.
        return expected.length === 1 ? made.exec() : (made.exec() as unknown as ChainableCommander).exec();
      });
      const replies = results?.slice(0, expected.length);
      expect(replies).toEqual(expected);
      expect(called).toEqual([]);
      expect(client.status).toBe('ready');
      await expectNoShift(client);
      client.disconnect();
    });
  });
});
