import { TenantSwitchError, createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { once } from 'node:events';
import { Command, Redis, type ChainableCommander } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { Pipeline, type Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { proxyTo } from './proxy.ts';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, operator, ready, THROWING, until, type Opened } from './support.ts';

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

describe('a pipeline', () => {
  it('is of its tenant in the method form and in the array form', async () => {
    for (const tenant of ['acme', 'acme2']) {
      await withTenant(tenant, async () => {
        const told: unknown[] = [];
        const method = redis
          .pipeline()
          .set('a', '1')
          .get('key', (error, value) => told.push(error, value))
          .call('INCR', 'a')
          .getBuffer('key')
          .scan(0);
        expect(method.length).toBe(5);
        expect(await method.exec()).toEqual([
          [null, 'OK'],
          [null, `of ${tenant}`],
          [null, 2],
          [null, Buffer.from(`of ${tenant}`)],
          [null, ['0', expect.arrayContaining(['a', 'key'])]],
        ]);
        expect(told).toEqual([null, `of ${tenant}`]);
        const array = redis.pipeline([
          ['get', 'key'],
          ['getBuffer', 'key'],
          ['call', 'GET', 'key'],
        ]);
        expect((await array.exec())?.map(([, value]) => String(value))).toEqual(
          Array(3).fill(`of ${tenant}`),
        );
      });
    }
  });

  it('calls a callback of exec', async () => {
    const results = await new Promise((resolve, reject) => {
      void acme(() =>
        redis
          .pipeline()
          .get('key')
          .exec((error, value) => (error ? reject(error) : resolve(value))),
      );
    });
    expect(results).toEqual([[null, 'of acme']]);
  });

  it('keeps the place of what is refused, and all other replies at theirs', async () => {
    const told: unknown[] = [];
    const results = await acme(() =>
      redis
        .pipeline()
        .get('key')
        .config('GET', '*', (error) => told.push(error))
        .set('bad', THROWING)
        .call('FROBNICATE')
        .call('ZUNION', 'x', 'key')
        .incr('n')
        .exec(),
    );
    expect(results).toEqual([
      [null, 'of acme'],
      [refused],
      [new Error('toString has thrown')],
      [refused],
      [refused],
      [null, 1],
    ]);
    expect(told).toEqual([refused]);
  });

  it('in the array form calls commands only', async () => {
    const names = ['sendCommand', 'addBatch', 'defineCommand', 'addBuiltinCommand', 'constructor', 'exit'];
    const hostile = names.map((name) => [name, { name: 'flushall', args: [] }]);
    const commands = [['get', 'key'], ...hostile, [], [7 as unknown as string], ['get', 'key']];
    const results = await acme(() => redis.pipeline(commands as unknown[][]).exec());
    expect(results?.[0]).toEqual([null, 'of acme']);
    expect(results?.at(-1)).toEqual([null, 'of acme']);
    expect(results).toHaveLength(names.length + 4);
    for (const result of results?.slice(1, -1) ?? []) expect(result).toEqual([refused]);
  });

  it('in the array form refuses what is misspelt at its place, and a transaction with it', async () => {
    const commands = [['set', 'other', 'x'], ['gte', 'key'], [], ['GET', 'key']];
    const calls = await acme(() => {
      const made = redis.pipeline() as unknown as Pipeline & { hung: () => unknown };
      made.hung = () => made.sendCommand(new Command('get', ['key']));
      made.addBatch([...commands, ['hung']]);
      return (made as unknown as ChainableCommander).exec();
    });
    expect(calls).toEqual([[null, 'OK'], [refused], [refused], [null, 'of acme'], [refused]]);
    await acme(() => redis.del('other'));
    expect(await failure(() => acme(() => redis.multi(commands).exec()))).toEqual(refused);
    expect(await acme(() => redis.exists('other'))).toBe(0);
  });

  it('takes no object that is not a command', async () => {
    const results = await acme(() => {
      const pipeline = redis.pipeline().get('key') as unknown as Pipeline;
      pipeline.sendCommand({ name: 'flushall', args: [] } as unknown as Command);
      pipeline.sendCommand(new Command('flushall'));
      // ioredis would throw over this number while it writes the pipeline, and shift all later replies.
      const unwritable = new Command('set', ['key', 'x']);
      unwritable.args.push(7);
      pipeline.sendCommand(unwritable);
      pipeline.sendCommand(new Command('get', ['key'], { replyEncoding: 'utf8' }));
      return (pipeline as unknown as ChainableCommander).exec();
    });
    expect(results).toEqual([[null, 'of acme'], [refused], [refused], [refused], [null, 'of acme']]);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('that ioredis cannot write is rejected, and shifts no reply', async () => {
    const { stream } = redis;
    const tooLong = new RangeError('too long');
    await acme(async () => {
      const told: unknown[] = [];
      const pipeline = redis.pipeline().get('key').get('key');
      pipeline.get('key', (error) => told.push(error));
      const before = redis.get('key');
      // ioredis writes a pipeline with its last command.
      Object.assign(stream, {
        write() {
          throw tooLong;
        },
      });
      const written = pipeline.exec();
      const single = redis.get('key');
      Reflect.deleteProperty(stream, 'write');
      expect(await failure(() => written)).toBe(tooLong);
      expect(await failure(() => single)).toBe(tooLong);
      expect(await before).toBe('of acme');
      expect(told).toEqual([tooLong]);
    });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    expect(await acme2(() => redis.pipeline().get('key').exec())).toEqual([[null, 'of acme2']]);
  });

  it('belongs to the tenant it was made in', async () => {
    const made = acme(() => redis.pipeline().get('key'));
    for (const run of [acme2, operator]) {
      expect(await failure(() => run(() => made.get('key')))).toBeInstanceOf(TenantSwitchError);
      expect(await failure(() => run(() => made.exec()))).toBeInstanceOf(TenantSwitchError);
    }
    expect(await failure(() => made.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await failure(() => made.exec())).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await failure(() => redis.pipeline())).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await failure(() => redis.multi())).toMatchObject({ code: 'TENANT_MISSING' });
    const told = new Promise((resolve) => void acme2(() => made.exec(resolve)).catch(() => undefined));
    expect(await told).toBeInstanceOf(TenantSwitchError);
    expect(await acme(() => made.exec())).toEqual([[null, 'of acme']]);
  });

  it('refuses a command that was rewritten for another tenant', async () => {
    const stolen = acme2(() => queuedIn(() => redis.pipeline().get('key')));
    expect(stolen.map(({ args }) => args)).toEqual([['key']]);
    const results = await acme(() => {
      const pipeline = redis.pipeline().get('key') as unknown as Pipeline & ChainableCommander;
      for (const command of stolen) pipeline.sendCommand(command);
      return pipeline.exec();
    });
    expect(results).toEqual([[null, 'of acme'], [expect.any(TenantSwitchError)]]);
  });

  it('of the raw class, around a guarded client, sends nothing', async () => {
    const results = await acme(() => {
      const pipeline = new Pipeline(redis) as unknown as ChainableCommander;
      pipeline.get('tk:acme2:key').set('tk:acme2:key', 'overwritten').flushdb();
      return pipeline.exec();
    });
    expect(results).toEqual([[refused], [refused], [refused]]);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('of a tenant that was frozen meanwhile gives no reply to others when the connection breaks in it', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const own = new Redis({
      port: proxy.port,
      db: Number(pathname.slice(1)),
      retryStrategy: () => 1,
      tenant: { fence },
    });
    try {
      await ready(own);
      const fenced = acme(() => own.pipeline().get('key').get('key').get('key'));
      await fence.freeze('acme');
      const again = once(own, 'ready');
      // The first of three places is answered, and then nothing more.
      proxy.breakAfter('+PONG\r\n'.length);
      const results = acme(() => fenced.exec());
      await again;
      expect(await Promise.all([1, 2, 3].map(() => acme2(() => own.get('key'))))).toEqual(
        Array(3).fill('of acme2'),
      );
      expect(own.commandQueue).toHaveLength(0);
      const [first, ...rest] = (await results) ?? [];
      expect(first).toEqual([expect.objectContaining({ code: 'TENANT_FENCED' })]);
      for (const [error] of rest) expect(error?.message).toMatch(/^Command aborted|frozen/);
    } finally {
      fence.close();
      own.disconnect();
    }
  });

  it('with a Command in it twice gives no reply to others when the connection breaks in it', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const own = new Redis({ port: proxy.port, db: Number(pathname.slice(1)), retryStrategy: () => 1 });
    try {
      await ready(own);
      const again = once(own, 'ready');
      const executed = acme(() => {
        const pipeline = own.pipeline() as unknown as Pipeline & ChainableCommander;
        const command = new Command('get', ['key'], { replyEncoding: 'utf8' });
        pipeline.sendCommand(command);
        pipeline.sendCommand(command);
        proxy.breakAfter('$7\r\nof acme\r\n'.length);
        return pipeline.exec();
      });
      await again;
      expect(await Promise.all([1, 2].map(() => acme2(() => own.get('key'))))).toEqual(
        Array(2).fill('of acme2'),
      );
      expect(own.commandQueue).toHaveLength(0);
      expect((await executed)?.[0]).toEqual([null, 'of acme']);
    } finally {
      own.disconnect();
    }
  });

  it('reports errors in logical names', async () => {
    const [[error] = []] = (await acme(() => redis.pipeline().lpush('key', 'x').exec())) ?? [];
    expect(error).toMatchObject({
      message: expect.stringMatching(/^WRONGTYPE/),
      command: { args: ['key', 'x'] },
    });
  });
});

describe('a transaction', () => {
  it('is of its tenant in every form', async () => {
    for (const tenant of TENANTS) {
      await withTenant(tenant, async () => {
        await redis.multi().set('key', `of ${tenant}`).rpush('list', 'x').exec();
        expect(await redis.multi().get('key').blpop('list', 1).scan(0).exec()).toEqual([
          [null, `of ${tenant}`],
          [null, ['list', 'x']],
          [null, ['0', ['key']]],
        ]);
        expect(await redis.multi([['get', 'key']]).exec()).toEqual([[null, `of ${tenant}`]]);
        expect(await redis.multi({ pipeline: true }).get('key').exec()).toEqual([[null, `of ${tenant}`]]);
        const inline = withMulti(redis.pipeline().get('key'))
          .get('key')
          .exec() as unknown as ChainableCommander;
        expect(await inline.get('key').exec()).toEqual([
          [null, `of ${tenant}`],
          [null, 'OK'],
          [null, 'QUEUED'],
          [null, [`of ${tenant}`]],
          [null, `of ${tenant}`],
        ]);
      });
    }
  });

  it('with a refused command is not sent at all', async () => {
    const sent = redis.stream.bytesWritten;
    for (const make of [
      () => redis.multi().set('key', 'changed').config('GET', '*').exec(),
      () => redis.multi([['set', 'key', 'changed'], ['flushall']]).exec(),
      () =>
        (
          withMulti(redis.pipeline()).set('key', 'changed').flushall().exec() as unknown as ChainableCommander
        ).exec(),
    ]) {
      expect(await failure(() => acme(make))).toEqual(refused);
    }
    expect(redis.stream.bytesWritten).toBe(sent);
    expect(await acme(() => redis.multi().get('key').exec())).toEqual([[null, 'of acme']]);
  });

  it('gives the server’s errors at their places, in logical names', async () => {
    const results = await acme(() => redis.multi().lpush('key', 'x').get('key').exec());
    expect(results).toEqual([
      [expect.objectContaining({ message: expect.stringMatching(/^WRONGTYPE/) })],
      [null, 'of acme'],
    ]);
    const aborted = await failure(() => acme(() => redis.multi().get('key').call('GET').exec()));
    expect(aborted.message).toMatch(/^EXECABORT/);
  });

  it('that is not sent tells the callbacks of all its calls', async () => {
    const told: unknown[] = [];
    const note = (error: unknown): unknown => told.push(error);
    const error = await failure(() =>
      acme(() => redis.multi().set('key', 'changed', note).config('GET', '*', note).get('key', note).exec()),
    );
    await until(() => told.length === 3);
    expect(told).toEqual([error, error, error]);
    expect(error).toEqual(refused);
    expect(await acme(() => redis.get('key'))).toBe('of acme');
  });

  it('is not sent again in parts, when reconnectOnError asks for it', async () => {
    const name = `tk_${process.pid}_parts`;
    await raw.call('ACL', 'SETUSER', name, 'reset', 'on', '>secret', '~*', '+@all', '-multi');
    try {
      let granted: Promise<unknown> | undefined;
      const own = opened.guarded({
        username: name,
        password: 'secret',
        // As it is again only when the server would take the MULTI.
        retryStrategy: () => 1e8,
        reconnectOnError: () => {
          granted ??= raw.call('ACL', 'SETUSER', name, '+multi');
          return 2;
        },
      });
      await ready(own);
      const reconnecting = once(own, 'reconnecting');
      const transaction = failure(() => acme(() => own.multi().get('key').exec()));
      await reconnecting;
      await granted;
      const other = acme2(() => own.get('key'));
      await own.connect();
      expect(await other).toBe('of acme2');
      expect(await acme2(() => own.set('key', 'of acme2'))).toBe('OK');
      expect((await transaction).message).toMatch(/^(?:NOPERM|ERR EXEC)/);
      expect(await acme(() => own.multi().get('key').exec())).toEqual([[null, 'of acme']]);
    } finally {
      await raw.call('ACL', 'DELUSER', name);
    }
  });

  it('cannot be left open', async () => {
    const opening: ((pipeline: ChainableCommander) => unknown)[] = [
      (pipeline) => pipeline.call('multi'),
      (pipeline) => pipeline.call('MULTI'),
      (pipeline) => (pipeline as unknown as Pipeline).sendCommand(new Command('multi')),
      (pipeline) => (pipeline as unknown as Pipeline).addBatch([['call', 'multi']]),
    ];
    for (const open of opening) {
      await acme(async () => {
        const pipeline = redis.pipeline();
        open(pipeline);
        const outcome = await pipeline
          .get('key')
          .exec()
          .catch((error: unknown) => [[error]]);
        expect(outcome?.[0]).toEqual([refused]);
      });
      expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    }
    for (const call of [
      () => redis.multi({ pipeline: false }),
      () => redis.call('multi'),
      () => redis.sendCommand(new Command('MULTI')),
      () => redis.exec(),
      () => redis.discard(),
      () => redis.watch('key'),
      () => redis.unwatch(),
    ]) {
      expect(await failure(() => acme(call))).toEqual(refused);
    }
    expect(await failure(() => operator(() => redis.multi({ pipeline: false })))).toEqual(refused);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('takes no MULTI or EXEC out of another pipeline', async () => {
    const brackets = acme(() => queuedIn(() => withMulti(redis.pipeline()).exec()));
    // That of redis.multi() was made by ioredis, and waits for the connection.
    const waiting = opened.guarded({ lazyConnect: true });
    const transaction = acme(() => waiting.multi().get('key').exec());
    const { offlineQueue } = waiting as unknown as { offlineQueue: { peekFront(): { command: Command } } };
    brackets.push(offlineQueue.peekFront().command);
    expect(brackets.map(({ name }) => name)).toEqual(['multi', 'exec', 'multi']);
    const outcome = await acme(async () => {
      const pipeline = redis.pipeline() as unknown as Pipeline & ChainableCommander;
      for (const command of brackets) pipeline.sendCommand(command);
      return pipeline.get('key').exec();
    });
    expect(outcome).toEqual([...brackets.map(() => [expect.any(TenantSwitchError)]), [null, 'of acme']]);
    expect(await transaction).toEqual([[null, 'of acme']]);
    for (const command of brackets)
      expect(await failure(() => acme(() => redis.sendCommand(command)))).toBeInstanceOf(TenantSwitchError);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('nested in another is refused', async () => {
    const error = await failure(() => acme(() => withMulti(redis.multi()).get('key').exec()));
    expect(error).toEqual(refused);
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('of an operator has raw names', async () => {
    expect(await operator(() => redis.multi().get('tk:acme:key').get('tk:acme2:key').exec())).toEqual([
      [null, 'of acme'],
      [null, 'of acme2'],
    ]);
  });
});

// The types of ioredis leave out that a pipeline has a `multi`.
function withMulti(pipeline: ChainableCommander): ChainableCommander {
  return (pipeline as unknown as { multi(): ChainableCommander }).multi();
}
