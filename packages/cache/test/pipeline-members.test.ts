import { Command, type ChainableCommander, type Redis } from '@tenantkit/cache';
import { currentTenant } from '@tenantkit/core';
import { Pipeline, type Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { isAtWork } from '../src/plumbing.ts';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, operator, type Opened } from './support.ts';

// The types of ioredis leave most of it out.
type Chain = ChainableCommander & {
  readonly redis: unknown;
  readonly options: unknown;
  readonly promise: unknown;
  readonly isPipeline: boolean;
  readonly isCluster: boolean;
  readonly _queue: Command[];
  multi(): Chain;
  execBuffer(): unknown;
  addBatch(commands: unknown[][]): unknown;
  sendCommand(command: Command): unknown;
};

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

const refused = expect.objectContaining({ code: 'OPERATION_REFUSED' });
const pipeline = (): Chain => redis.pipeline() as unknown as Chain;
const multi = (): Chain => redis.multi() as unknown as Chain;

/** Every caller gets the own reply, and nothing else waits for one. */
async function expectNoShift(): Promise<void> {
  const values = await Promise.all([0, 1, 2].map(() => acme2(() => redis.get('key'))));
  expect(values).toEqual(['of acme2', 'of acme2', 'of acme2']);
  expect(await acme(() => redis.get('key'))).toBe('of acme');
}

const FIELDS = [
  'redis',
  'isCluster',
  'options',
  'isPipeline',
  'promise',
  'replyPending',
  'preferKey',
  'length',
  '_queue',
  '_result',
  '_transactions',
] as const;

describe('what ioredis keeps in a pipeline', () => {
  it.each(FIELDS)('%s is not set by a caller', (name) => {
    for (const made of acme(() => [pipeline(), multi()])) {
      const before = Reflect.get(made, name) as unknown;
      expect(() => Object.assign(made, { [name]: 7 })).toThrow(TypeError);
      expect(Reflect.get(made, name)).toEqual(before);
    }
  });

  it.each([...FIELDS, '_shaToScript', 'leftRedirections', 'nodeifiedPromise'])(
    '%s, where a caller defines another, is asked by nobody',
    async (name) => {
      const asked: unknown[] = [];
      const hide = (made: Chain): Chain =>
        Object.defineProperty(made, name, { get: () => asked.push(isAtWork()) });
      const [results, replies] = await acme(() =>
        Promise.all([
          hide(pipeline().get('key').incr('n') as Chain).exec(),
          hide(multi().get('key').incr('n') as Chain).exec(),
        ]),
      );
      expect(results).toEqual([
        [null, 'of acme'],
        [null, 1],
      ]);
      expect(replies).toEqual([
        [null, 'of acme'],
        [null, 2],
      ]);
      expect(asked).toEqual([]);
      await expectNoShift();
    },
  );

  it('redis, replaced by one that sends the first command only, takes no reply of others', async () => {
    let sent = 0;
    const other = {
      options: redis.options,
      status: redis.status,
      stream: redis.stream,
      sendCommand: (command: Command, stream: never) =>
        sent++ === 0 ? redis.sendCommand(command, stream) : undefined,
    };
    const results = acme(() => {
      const made = pipeline().get('key').get('key');
      return Object.defineProperty(made, 'redis', { value: other }).exec();
    });
    await expectNoShift();
    expect(await results).toEqual([
      [null, 'of acme'],
      [null, 'of acme'],
    ]);
    expect(sent).toBe(0);
  });

  it('calls no function that a caller puts there', async () => {
    const called: string[] = [];
    const names = ['sendCommand', 'exec', 'execBuffer', 'multi', 'fillResult', 'resolve', 'reject'];
    const own = Object.fromEntries(names.map((name) => [name, () => void called.push(name)]));
    for (const make of [pipeline, multi]) {
      const results = await acme(() => {
        const made = make().get('key') as Chain;
        const exec = made.exec.bind(made);
        Object.assign(made, own);
        return exec();
      });
      expect(results).toEqual([[null, 'of acme']]);
    }
    expect(called).toEqual([]);
    await expectNoShift();
  });

  it('is not reached through the queue, of which callers see a copy', async () => {
    const change: ((queue: Command[]) => unknown)[] = [
      (queue) => queue.push(new Command('get', ['tk:acme2:key'])),
      (queue) => queue.splice(0),
      (queue) => queue.sort(() => -1),
    ];
    for (const tamper of change) {
      const results = await acme(() => {
        const made = pipeline().get('key').incr('n') as Chain;
        tamper(made._queue);
        return made.exec();
      });
      expect(results).toEqual([
        [null, 'of acme'],
        [null, expect.any(Number)],
      ]);
    }
    await expectNoShift();
  });

  it('takes nothing by the method of ioredis', async () => {
    const stolen = operator(() => queuedIn(() => pipeline().set('tk:acme2:key', 'overwritten')));
    const results = await acme(() => {
      const made = pipeline().get('key') as Chain;
      for (const command of [...stolen, new Command('get', ['tk:acme2:key'])])
        Pipeline.prototype.sendCommand.call(made as unknown as Pipeline, command);
      return made.exec();
    });
    expect(results).toEqual([[null, 'of acme']]);
    await expectNoShift();
  });

  it('is never what a method returns', async () => {
    await acme(async () => {
      const made = pipeline();
      const returned = [
        made.get('key'),
        made.call('get', 'key'),
        made.sendCommand(new Command('get', ['key'])),
        made.addBatch([['get', 'key']]),
        made.multi(),
        made.incr('n'),
        made.exec(),
        made.multi(),
        made.execBuffer(),
      ];
      expect(returned.every((one) => one === made)).toBe(true);
      expect((await made.exec())?.map(([, reply]) => String(reply))).toEqual([
        'of acme',
        'of acme',
        'of acme',
        'of acme',
        'OK',
        'QUEUED',
        '1',
        'OK',
        '',
      ]);
      const transaction = multi();
      expect(transaction.get('key')).toBe(transaction);
      expect(await transaction.execBuffer()).toEqual([[null, 'of acme']]);
    });
    await expectNoShift();
  });

  it('tells the same as with ioredis', async () => {
    await acme(async () => {
      const made = pipeline().get('key') as Chain;
      expect(made).toBeInstanceOf(Pipeline);
      expect(made.constructor).toBe(Pipeline);
      expect([made.length, made.isPipeline, made.isCluster]).toEqual([1, true, false]);
      expect([made.redis, made.options]).toEqual([redis, redis.options]);
      const executed = made.exec();
      expect(made.promise).toBe(executed);
      await executed;
    });
  });
});

describe('a MULTI', () => {
  it('whose EXEC was counted by another tenant is not sent', async () => {
    const made = acme(() => pipeline().multi().incr('n') as Chain);
    expect(await failure(() => acme2(() => made.execBuffer()))).toMatchObject({ code: 'TENANT_SWITCH' });
    expect(await failure(() => acme(() => made.exec()))).toEqual(refused);
    await expectNoShift();
  });

  it('of a caller’s own is refused, in the tenant that has queued it', async () => {
    const seen: unknown[] = [];
    const results = await acme(() => {
      const command = new Command('multi', [], { replyEncoding: 'utf8' });
      command.promise.catch(() => undefined);
      const { reject } = command;
      command.reject = (error) => {
        seen.push([currentTenant()?.tenant, isAtWork()]);
        reject(error);
      };
      const made = pipeline();
      made.sendCommand(command);
      return made.exec();
    });
    expect(results).toEqual([[refused]]);
    expect(seen).toEqual([['acme', false]]);
    await expectNoShift();
  });
});

describe('an argument of MULTI or EXEC that is no text', () => {
  const bad = {
    toString(): string {
      throw new Error('no text');
    },
  };
  type Call = (...args: unknown[]) => unknown;

  it('is the result of its own place, and nothing is uncaught', async () => {
    const uncaught: unknown[] = [];
    const note = (error: unknown): unknown => uncaught.push(error);
    process.on('uncaughtException', note);
    process.on('unhandledRejection', note);
    onTestFinished(() => {
      process.off('uncaughtException', note);
      process.off('unhandledRejection', note);
    });
    const done = await acme(() => {
      const own = pipeline();
      own.get('key');
      (own.multi as Call).call(own, bad);
      own.get('key');
      expect(own.exec()).toBe(own);
      return own.exec();
    });
    expect(done).toEqual([
      [null, 'of acme'],
      [expect.objectContaining({ message: 'no text' })],
      [null, 'of acme'],
      [refused],
    ]);
    // A transaction that is not closed is not sent at all.
    await expect(
      acme(() => {
        const own = pipeline();
        own.multi().set('key', 'changed');
        (own.exec as Call).call(own, bad);
        return own.exec();
      }),
    ).rejects.toEqual(refused);
    expect(await raw.get('tk:acme:key')).toBe('of acme');
    await expectNoShift();
    expect(uncaught).toEqual([]);
  });
});
