import { TenantSwitchError, createTenantRegistry, memoryTenantStore, withTenant } from '@tenantkit/core';
import { Cluster, Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import type { Redis as Raw } from 'ioredis';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNodes } from './cluster-nodes.ts';
import { proxyTo } from './proxy.ts';
import { acme, acme2, failure, openCache, operator, ready, shown, until, type Opened } from './support.ts';

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
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});

const over = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  instead: expect.stringContaining('dedicated()') as string,
});

/** The number that the server has given the connection. */
const idOf = async (name: string): Promise<string[]> => {
  const list = String(await raw.client('LIST'));
  return list
    .split('\n')
    .filter((line) => line.includes(` name=${name} `))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '');
};

/** Waits until the server has a BLPOP of one that the client lends. */
async function blocked({ options }: Redis): Promise<void> {
  const isBlocked = (line: string): boolean =>
    line.includes(` name=${options.connectionName} `) && line.includes(' cmd=blpop ');
  while (
    !String(await raw.client('LIST'))
      .split('\n')
      .some(isBlocked)
  );
}

describe('on a connection that is lent', () => {
  it('keys are watched, and EXEC says whether somebody has changed them', async () => {
    const raise = (meanwhile: () => Promise<unknown>): Promise<unknown> =>
      acme(() =>
        redis.dedicated(async (own) => {
          expect(await own.watch('count')).toBe('OK');
          const count = Number(await own.get('count'));
          await meanwhile();
          return own
            .multi()
            .set('count', count + 1)
            .exec();
        }),
      );
    expect(await raise(() => raw.set('tk:acme2:count', 5))).toEqual([[null, 'OK']]);
    expect(await raw.get('tk:acme:count')).toBe('1');
    expect(await raise(() => acme(() => redis.set('count', 7)))).toBeNull();
    expect(await raw.get('tk:acme:count')).toBe('7');
    expect(
      await acme(() =>
        redis.dedicated(async (own) => {
          await own.watch('count');
          await raw.set('tk:acme:count', 8);
          expect(await own.unwatch()).toBe('OK');
          return own.multi().incr('count').exec();
        }),
      ),
    ).toEqual([[null, 9]]);
    // Watched in a pipeline, and by several names.
    expect(
      await acme(() =>
        redis.dedicated(async (own) => {
          expect(await own.pipeline().watch('other', 'count').get('count').exec()).toEqual([
            [null, 'OK'],
            [null, '9'],
          ]);
          await raw.set('tk:acme:count', 10);
          return own.multi().incr('count').exec();
        }),
      ),
    ).toBeNull();
  });

  it('a transaction may be open, and its replies hold logical names', async () => {
    await acme(() => redis.rpush('list', 'x', 'y', 'z'));
    const replies = await acme(() =>
      redis.dedicated(async (own) => {
        expect(await own.multi({ pipeline: false })).toBe('OK');
        expect(await own.set('key', 'changed')).toBe('QUEUED');
        expect(await own.blpop('list', 0)).toBe('QUEUED');
        expect(await own.lmpop(2, 'none', 'list', 'LEFT')).toBe('QUEUED');
        expect(await own.scan(0, 'COUNT', 1000)).toBe('QUEUED');
        expect(await own.lpush('key', 'x')).toBe('QUEUED');
        expect(await own.unwatch()).toBe('QUEUED');
        expect(await own.callBuffer('GET', 'key')).toEqual(Buffer.from('QUEUED'));
        expect(await acme(() => redis.get('key'))).toBe('of acme');
        return own.exec();
      }),
    );
    expect(replies?.slice(0, 3)).toEqual([
      [null, 'OK'],
      [null, ['list', 'x']],
      [null, ['list', ['y']]],
    ]);
    const [, page] = (replies?.[3]?.[1] ?? []) as [string?, string[]?];
    expect(page?.toSorted()).toEqual(['key', 'list']);
    expect(replies?.[4]?.[0]).toMatchObject({ message: expect.stringContaining('WRONGTYPE') as string });
    expect(replies?.slice(5)).toEqual([
      [null, 'OK'],
      [null, 'changed'],
    ]);
    expect(shown(replies)).not.toContain('tk:');
    expect(await raw.get('tk:acme:key')).toBe('changed');
  });

  it('keys are noted in the registry of the tenant, and therefore no transaction stays open', async () => {
    const client = opened.guarded({ tenant: { index: true } });
    await acme(() =>
      client.dedicated(async (own) => {
        expect(await failure(() => own.multi({ pipeline: false }))).toMatchObject({
          code: 'OPERATION_REFUSED',
          instead: expect.stringContaining('multi()') as string,
        });
        await own.watch('key');
        expect(await own.multi().set('noted', 'x').exec()).toEqual([[null, 'OK']]);
        expect(await own.keys('*')).toEqual(expect.arrayContaining(['key', 'noted']));
      }),
    );
    expect(await raw.get('tk:acme:noted')).toBe('x');
    expect((await raw.keys('tk!*')).length).toBeGreaterThan(0);
    client.disconnect();
  });

  it('an error of the server that repeats a key repeats the logical one', async () => {
    const lua = 'return redis.error_reply("ERR no " .. KEYS[1])';
    const sha1 = createHash('sha1').update(lua).digest('hex');
    const client = opened.guarded({ tenant: { scripts: [{ sha1 }] } });
    await acme(() =>
      client.dedicated(async (own) => {
        expect((await failure(() => own.eval(lua, 1, 'key'))).message).toMatch(/^ERR no key/);
        await own.multi({ pipeline: false });
        await own.eval(lua, 1, 'key');
        const replies = await own.exec();
        expect(replies?.[0]?.[0]?.message).toMatch(/^ERR no key/);
        expect(shown(replies)).not.toContain('tk:');
      }),
    );
    client.disconnect();
  });

  it('a transaction is discarded, or ends with an error of the server', async () => {
    await acme(() =>
      redis.dedicated(async (own) => {
        await own.multi({ pipeline: false });
        await own.set('key', 'changed');
        expect(await own.discard()).toBe('OK');
        expect(await own.get('key')).toBe('of acme');
        await own.multi({ pipeline: false });
        expect(await failure(() => own.call('GET'))).toMatchObject({ name: 'ReplyError' });
        expect((await failure(() => own.exec())).message).toMatch(/^EXECABORT/);
        expect((await failure(() => own.exec())).message).toMatch(/EXEC without MULTI/);
        // A value that looks like what is said of what is queued.
        await own.mset('key', 'QUEUED', 'QUEUED', 'of acme');
        expect(await own.get('key')).toBe('QUEUED');
        await own.multi({ pipeline: false });
        await own.get('key');
        expect(await own.exec()).toEqual([[null, 'QUEUED']]);
      }),
    );
  });

  it('another transaction, a pipeline or a refused command does not fall into one that is open', async () => {
    await acme(() =>
      redis.dedicated(async (own) => {
        await own.multi({ pipeline: false });
        await own.set('key', 'changed');
        const nested = expect.objectContaining({ code: 'OPERATION_REFUSED' });
        expect(await failure(() => own.multi().set('x', 'y').exec())).toEqual(nested);
        expect(await failure(() => own.multi({ pipeline: false }))).toEqual(nested);
        expect(await own.pipeline().set('x', 'y').get('x').exec()).toEqual([[nested], [nested]]);
        expect(await failure(() => own.config('GET', '*'))).toEqual(nested);
        expect(await own.pipeline([['MULTI']]).exec()).toEqual([[nested]]);
        expect(await own.exec()).toEqual([[null, 'OK']]);
        expect(await own.pipeline([['MULTI'], ['discard'], ['EXEC']]).exec()).toEqual([
          [nested],
          [nested],
          [nested],
        ]);
        expect(await own.multi().get('x').exec()).toEqual([[null, null]]);
      }),
    );
  });

  it('a command may wait, while the others go on', async () => {
    const popped = acme(() => redis.dedicated((own) => own.blpop('list', 0)));
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await acme(() => redis.rpush('list', 'x'));
    expect(await popped).toEqual(['list', 'x']);
  });

  it('all else is as on the client: names, refusals, pipelines, streams, walks, autopipelining', async () => {
    for (const options of [{}, { enableAutoPipelining: true }, { protocol: 2 }] as const) {
      const client = opened.guarded(options);
      await acme(() =>
        client.dedicated(async (own) => {
          expect(own).toBeInstanceOf(Redis);
          expect(own.status).toBe('ready');
          expect(await Promise.all([own.get('key'), own.get('tk:acme2:key'), own.ping()])).toEqual([
            'of acme',
            null,
            'PONG',
          ]);
          expect(await own.pipeline().get('key').getBuffer('key').exec()).toEqual([
            [null, 'of acme'],
            [null, Buffer.from('of acme')],
          ]);
          expect(await own.keys('*')).toEqual(['key']);
          expect(await own.dbsize()).toBe(1);
          expect(await own.randomkey()).toBe('key');
          const found: string[] = [];
          for await (const page of own.scanStream()) found.push(...(page as string[]));
          expect(found).toEqual(['key']);
          const heard = new Promise((resolve) => own.on('message', (...message) => resolve(message)));
          await own.subscribe('news');
          await client.publish('news', 'x');
          expect(await heard).toEqual(['news', 'x']);
          for (const call of [
            () => own.config('GET', '*'),
            () => own.select(1),
            () => own.call('SELECT', 0),
            () => own.client('SETNAME', 'x'),
            () => own.eval('return 1', 0),
            () => own.call('RESET'),
          ])
            expect(await failure(call)).toMatchObject({ code: 'OPERATION_REFUSED' });
          expect(await failure(() => acme(() => own.lpush('key', 'x')))).toMatchObject({
            command: { name: 'lpush', args: ['key', 'x'] },
          });
        }),
      );
      client.disconnect();
    }
  });
});

describe('once it is over', () => {
  it('the connection is refused, whoever has kept it, and goes to the next', async () => {
    const client = opened.guarded({ connectionName: 'kept', tenant: { dedicated: { max: 1 } } });
    let kept: Redis | undefined;
    let pipeline: ReturnType<Redis['pipeline']> | undefined;
    let late: Promise<unknown> | undefined;
    await acme(() =>
      client.dedicated(async (own) => {
        kept = own;
        pipeline = own.pipeline().set('key', 'x');
        await own.get('key');
      }),
    );
    const before = (await idOf('kept')).sort();
    for (const inner of [acme, acme2]) {
      await inner(() =>
        client.dedicated(async (own) => {
          expect(own).not.toBe(kept);
          expect(await own.get('key')).toMatch(/^of acme/);
          await acme2OrSame(inner, async () => {
            expect(await failure(() => kept?.get('key'))).toEqual(over);
            expect(await failure(() => kept?.pipeline())).toEqual(over);
            expect(await failure(() => kept?.multi())).toEqual(over);
            expect(await failure(() => kept?.subscribe('news'))).toEqual(over);
            expect(await failure(() => kept?.keys('*'))).toEqual(over);
            expect(await failure(() => kept?.dedicated(() => 1))).toEqual(over);
            expect(await failure(() => kept?.connect())).toMatchObject({ code: 'OPERATION_REFUSED' });
            late = Promise.resolve(pipeline?.exec()).catch((error: unknown) => [[error]]);
            expect(await late).toEqual([[over]]);
          });
          expect(kept?.status).toBe('end');
          expect(kept?.stream).toBeUndefined();
          expect(await own.ping()).toBe('PONG');
        }),
      );
    }
    // It was one connection all the time.
    expect((await idOf('kept')).sort()).toEqual(before);
    expect(before).toHaveLength(2);
    client.disconnect();
  });

  it.each([{}, { enableAutoPipelining: true }, { enableAutoPipelining: true, tenant: { index: true } }])(
    'what was not awaited is answered: %j',
    async (options) => {
      const client = opened.guarded(options);
      const left: Promise<unknown>[] = [];
      let copy: Redis | undefined;
      await acme(() =>
        client.dedicated((own) => {
          left.push(own.set('key', 'x'), own.get('key'));
          copy = own.duplicate();
        }),
      );
      expect(await Promise.all(left)).toEqual(['OK', 'x']);
      expect(await raw.get('tk:acme:key')).toBe('x');
      // That one is lent to nobody.
      expect(copy?.options.enableAutoPipelining).toBe(client.options.enableAutoPipelining);
      copy?.disconnect();
      client.disconnect();
    },
  );

  it.each([
    ['watched', async (own: Redis) => own.watch('key'), true],
    ['in a transaction', async (own: Redis) => own.multi({ pipeline: false }), false],
    ['waiting', async (own: Redis) => void own.blpop('none', 0).catch(() => undefined), false],
    ['ended', async (own: Redis) => own.quit(), false],
    ['cut', async (own: Redis) => own.disconnect(), false],
  ])('the next finds nothing of one that was %s', async (_, leave, isReused) => {
    const client = opened.guarded({ connectionName: 'left', tenant: { dedicated: { max: 1 } } });
    // Its own connection has the name, too.
    await ready(client);
    let first: string[] = [];
    for (const run of [acme, acme]) {
      await run(() =>
        client.dedicated(async (own) => {
          await own.ping();
          first = await idOf('left');
          await leave(own);
        }),
      ).catch(() => undefined);
    }
    await acme2(() =>
      client.dedicated(async (own) => {
        await raw.set('tk:acme:key', 'changed');
        expect(await own.multi().set('key', 'y').exec()).toEqual([[null, 'OK']]);
        expect(await own.get('key')).toBe('y');
      }),
    );
    const now = await idOf('left');
    expect(now.sort().join() === first.sort().join()).toBe(isReused);
    client.disconnect();
  });

  it('whatever fn throws comes out, and the connection goes back', async () => {
    const client = opened.guarded({ tenant: { dedicated: { max: 1 } } });
    const mine = new Error('mine');
    for (const fn of [
      () => {
        throw mine;
      },
      () => Promise.reject(mine),
    ])
      expect(await failure(() => acme(() => client.dedicated(fn)))).toBe(mine);
    expect(await acme(() => client.dedicated(() => 7))).toBe(7);
    expect((await failure(() => acme(() => client.dedicated(undefined as never)))).name).toBe('TypeError');
    expect(await acme(() => client.dedicated((own) => own.get('key')))).toBe('of acme');
    client.disconnect();
  });
});

describe('whose it is', () => {
  it('is lent to a tenant or an operator, and to nobody else', async () => {
    expect(await failure(() => redis.dedicated(() => 1))).toMatchObject({ code: 'TENANT_MISSING' });
    await acme(() =>
      redis.dedicated(async (own) => {
        for (const run of [operator]) {
          expect(await failure(() => run(() => own.get('key')))).toBeInstanceOf(TenantSwitchError);
          expect(await failure(() => run(() => own.dedicated(() => 1)))).toBeInstanceOf(TenantSwitchError);
          expect(await failure(() => run(() => own.disconnect()))).toBeInstanceOf(TenantSwitchError);
        }
        expect(await own.get('key')).toBe('of acme');
      }),
    );
    const client = opened.guarded({ connectionName: 'operated', tenant: { dedicated: { max: 1 } } });
    await operator(() =>
      client.dedicated(async (own) => {
        await own.watch('tk:acme:key');
        expect(await own.multi().get('tk:acme:key').exec()).toEqual([[null, 'of acme']]);
        await own.multi({ pipeline: false });
        await own.get('tk:acme2:key');
        expect(await own.exec()).toEqual([[null, 'of acme2']]);
        expect(await failure(() => own.select(1))).toMatchObject({ code: 'OPERATION_REFUSED' });
      }),
    );
    // Closed: nobody knows what an operator has done with it.
    expect(await acme(() => client.dedicated((own) => own.get('key')))).toBe('of acme');
    client.disconnect();
  });

  it('a tenant that is frozen meanwhile does no more, and queues no EXEC', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const client = opened.guarded({ tenant: { fence } });
    await acme(() =>
      client.dedicated(async (own) => {
        await own.multi({ pipeline: false });
        await own.set('key', 'changed');
        await fence.freeze('acme');
        expect(await failure(() => own.exec())).toMatchObject({ code: 'TENANT_FENCED' });
        expect(await failure(() => own.get('key'))).toMatchObject({ code: 'TENANT_FENCED' });
      }),
    );
    expect(await raw.get('tk:acme:key')).toBe('of acme');
    expect(await acme2(() => client.dedicated((own) => own.get('key')))).toBe('of acme2');
    fence.close();
    client.disconnect();
  });
});

describe('a pool', () => {
  it('lends no more than it may, in the order of asking', async () => {
    const client = opened.guarded({ tenant: { dedicated: { max: 2, perTenant: 2 } } });
    let lent = 0;
    let most = 0;
    const order: number[] = [];
    await acme(() =>
      Promise.all(
        Array.from({ length: 12 }, (_, index) =>
          client.dedicated(async (own) => {
            lent += 1;
            most = Math.max(most, lent);
            order.push(index);
            await own.ping();
            lent -= 1;
          }),
        ),
      ),
    );
    expect(most).toBe(2);
    // The first two wait each for a connection of their own that is made, and one of them may take longer.
    expect(order.filter((index) => index > 1)).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    client.disconnect();
  });

  it('gives no tenant all of them', async () => {
    const client = opened.guarded({ tenant: { dedicated: { max: 2, wait: 1000 } } });
    const held = acme(() => client.dedicated((own) => own.blpop('list', 0)));
    const second = acme(() => failure(() => client.dedicated((own) => own.get('key'))));
    expect(await acme2(() => client.dedicated((own) => own.get('key')))).toBe('of acme2');
    expect(await second).toMatchObject({
      code: 'OPERATION_REFUSED',
      instead: expect.stringContaining('perTenant') as string,
    });
    await raw.rpush('tk:acme:list', 'x');
    expect(await held).toEqual(['list', 'x']);
    // One inside of the other needs two.
    expect(
      await failure(() => acme(() => client.dedicated((own) => own.dedicated((inner) => inner.ping())))),
    ).toMatchObject({
      code: 'OPERATION_REFUSED',
      instead: expect.stringContaining('inside of another waits for a further connection') as string,
    });
    client.disconnect();
    const wider = opened.guarded({ tenant: { dedicated: { max: 2, perTenant: 2 } } });
    const nested = acme(() =>
      wider.dedicated((own) =>
        own.dedicated(async (inner) => [await own.get('key'), await inner.get('key'), own === inner]),
      ),
    );
    expect(await nested).toEqual(['of acme', 'of acme', false]);
    wider.disconnect();
  });

  it('keeps what is idle for a while, and notices when the server has closed it', async () => {
    const client = opened.guarded({ connectionName: 'idle', tenant: { dedicated: { idle: 40 } } });
    await acme(() => client.dedicated((own) => own.ping()));
    while ((await idOf('idle')).length > 1);
    await acme(() => client.dedicated((own) => own.ping()));
    client.disconnect();
    const killed = opened.guarded({ connectionName: 'killed' });
    await acme(() => killed.dedicated((own) => own.ping()));
    for (const id of await idOf('killed')) await raw.client('KILL', 'ID', id);
    while ((await idOf('killed')).length > 1);
    // This one was killed with it, and answers when it has noticed.
    expect(await killed.ping()).toBe('PONG');
    expect(await acme(() => killed.dedicated((own) => own.get('key')))).toBe('of acme');
    killed.disconnect();
  });

  it('ends with the client, and its connections with it', async () => {
    for (const end of [(client: Redis) => client.disconnect(), (client: Redis) => client.quit()]) {
      const client = opened.guarded({ connectionName: 'ending', tenant: { dedicated: { max: 2 } } });
      await acme2(() => client.dedicated((own) => own.ping()));
      let waits = false;
      const held = acme(() =>
        failure(() =>
          client.dedicated(async (own) => {
            const waiting = own.blpop('none', 0);
            waits = true;
            await waiting;
          }),
        ),
      );
      const queued = acme(() => failure(() => client.dedicated((own) => own.ping())));
      await until(() => waits);
      await Promise.resolve(end(client));
      expect((await held).message).toBe('Connection is closed.');
      expect((await queued).message).toBe('Connection is closed.');
      expect(await failure(() => acme(() => client.dedicated(() => 1)))).toMatchObject({
        message: 'Connection is closed.',
      });
      while ((await idOf('ending')).length > 0);
    }
  });

  it('says so when no connection can be made', async () => {
    const client = new Redis({ port: 1, lazyConnect: true, connectTimeout: 500 });
    expect(await failure(() => acme(() => client.dedicated(() => 1)))).toMatchObject({
      code: 'STORE_UNREACHABLE',
      target: 'redis://localhost:1',
    });
    client.disconnect();
  });

  it.each([
    [{ max: 0 }, /max/],
    [{ wait: -1 }, /wait/],
    [{ size: 3 }, /size/],
    [7, /dedicated/],
  ])('is not made with %j', (dedicated, problem) => {
    expect(() => new Redis({ lazyConnect: true, tenant: { dedicated: dedicated as object } })).toThrow(
      problem,
    );
  });
});

describe('a signal', () => {
  it('ends a wait, for a connection and on one', async () => {
    const client = opened.guarded({ connectionName: 'stopped', tenant: { dedicated: { max: 2 } } });
    const stop = new AbortController();
    let waits = false;
    const blocked = acme(() =>
      failure(() =>
        client.dedicated(
          async (own) => {
            const popped = own.blpop('list', 0);
            waits = true;
            await popped;
          },
          { signal: stop.signal },
        ),
      ),
    );
    const queued = acme(() => failure(() => client.dedicated(() => 1, { signal: stop.signal })));
    await until(() => waits);
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await blocked).toBe(reason);
    expect(await queued).toBe(reason);
    expect(await failure(() => acme(() => client.dedicated(() => 1, { signal: stop.signal })))).toBe(reason);
    expect(await acme(() => client.dedicated((own) => own.get('key')))).toBe('of acme');
    client.disconnect();
  });

  it.each([
    ['a tenant', acme, 'tk:acme:list', (own: Redis) => own.blpop('list', 0)],
    ['all tenants', operator, 'list', (own: Redis) => own.blpop('list', 0)],
    // It need not wait for the signal to be over.
    [
      'a function that ends by itself',
      acme,
      'tk:acme:list',
      (own: Redis, signal: AbortSignal) => Promise.race([own.blpop('list', 0), once(signal, 'abort')]),
    ],
  ] as const)('is told when nobody takes what comes afterwards, for %s', async (_, run, list, wait) => {
    const client = opened.guarded({ connectionName: 'told' });
    for (let round = 0; round < 5; round += 1) {
      const stop = new AbortController();
      const { signal } = stop;
      const ended = run(() =>
        client.dedicated((own) => wait(own, signal), { signal }).catch((error: unknown) => error),
      );
      await blocked(client);
      stop.abort();
      await ended;
      await raw.rpush(list, `job ${round}`);
      expect(await raw.lrange(list, 0, -1)).toEqual([`job ${round}`]);
      await raw.del(list);
    }
    client.disconnect();
  });

  it('is what is told, whatever the function says when it hears of it', async () => {
    const stop = new AbortController();
    const { signal } = stop;
    const told = acme(() =>
      failure(() =>
        redis.dedicated(
          async () => {
            const heard = once(signal, 'abort');
            stop.abort(new Error('enough'));
            await heard;
            throw new Error('of the function');
          },
          { signal },
        ),
      ),
    );
    expect(await told).toBe(signal.reason);
  });

  it('does not lose what came before it was heard', async () => {
    const client = opened.guarded({ connectionName: 'heard' });
    const stop = new AbortController();
    const { signal } = stop;
    const found = acme(() => client.dedicated((own) => own.blpop('list', 0), { signal }));
    await blocked(client);
    // The server has given it away; the reply is under way.
    await raw.rpush('tk:acme:list', 'job', () => stop.abort());
    expect(await found).toEqual(['list', 'job']);
    client.disconnect();
  });
});

describe('a connection that is lost', () => {
  it('is not replaced: nothing runs unwatched', async () => {
    const client = opened.guarded({ connectionName: 'lost' });
    await acme(() =>
      client.dedicated(async (own) => {
        await own.watch('key');
        const closed = once(own, 'end');
        const [, id] = (await idOf('lost')).sort((a, b) => Number(a) - Number(b));
        await raw.client('KILL', 'ID', id ?? '');
        await closed;
        expect(own.status).toBe('end');
        expect((await failure(() => own.multi().set('key', 'x').exec())).message).toBe(
          'Connection is closed.',
        );
        expect((await failure(() => own.get('key'))).message).toBe('Connection is closed.');
      }),
    );
    expect(await raw.get('tk:acme:key')).toBe('of acme');
    expect(await acme(() => client.dedicated((own) => own.get('key')))).toBe('of acme');
    client.disconnect();
  });

  it.each([
    ['a command', (own: Redis) => own.get('key')],
    ['one that waits', (own: Redis) => own.blpop('list', 0)],
    ['a transaction', (own: Redis) => own.multi().set('key', 'x').exec()],
  ])('is told from other errors by its message, while it answers %s', async (_, call) => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const db = Number(pathname.slice(1));
    const client = new Redis({ port: proxy.port, db, connectionName: 'unheard' });
    await once(client, 'ready');
    const lost = await failure(() =>
      acme(() =>
        client.dedicated(async (own) => {
          await own.watch('key');
          proxy.swallow();
          const answer = call(own);
          const id = (await idOf('unheard')).sort((a, b) => Number(a) - Number(b)).at(-1);
          await raw.client('KILL', 'ID', id ?? '');
          return answer;
        }),
      ),
    );
    expect(lost).toMatchObject({ message: 'Connection is closed.' });
    client.disconnect();
  });

  it('lets what notes that it has run begin anew', async () => {
    const client = opened.guarded({ connectionName: 'anew' });
    await once(client, 'ready');
    let runs = 0;
    const pay = async (own: Redis) => {
      runs += 1;
      await own.watch('balance', 'paid:17');
      if ((await own.exists('paid:17')) === 1) return 'paid before';
      const paid = await own.multi().decrby('balance', 10).set('paid:17', 1).exec();
      const id = (await idOf('anew')).sort((a, b) => Number(a) - Number(b)).at(-1);
      if (runs === 1) await raw.client('KILL', 'ID', id ?? '');
      return runs === 1 ? own.get('balance') : paid;
    };
    const isLost = (error: unknown) =>
      error instanceof Error && /^(Connection is closed|Stream isn't|Command aborted)/.test(error.message);
    let paid: unknown = null;
    for (let tries = 0; paid === null && tries < 5; tries += 1)
      paid = await acme(() => client.dedicated(pay)).catch((error: unknown) => {
        if (isLost(error)) return null;
        throw error;
      });
    expect([paid, runs, await raw.get('tk:acme:balance')]).toEqual(['paid before', 2, '-10']);
    client.disconnect();
  });

  it.each([
    ['a transaction of a pipeline', (own: Redis) => own.multi().set('key', 'x').exec()],
    ['WATCH once more', (own: Redis) => own.watch('other')],
    ['EXEC', (own: Redis) => own.exec()],
  ])('of duplicate() is, and then %s is refused once', async (_, call) => {
    const own = acme(() => opened.redis.duplicate({ connectionName: 'again' }));
    await acme(() => own.watch('key'));
    const reconnected = once(own, 'ready');
    for (const id of await idOf('again')) await raw.client('KILL', 'ID', id);
    await reconnected;
    expect(await acme(() => own.get('key'))).toBe('of acme');
    expect(await failure(() => acme(() => call(own)))).toMatchObject({
      code: 'OPERATION_REFUSED',
      instead: expect.stringContaining('anew') as string,
    });
    expect(await raw.get('tk:acme:key')).toBe('of acme');
    await acme(() => own.watch('key'));
    expect(await acme(() => own.multi().set('key', 'x').exec())).toEqual([[null, 'OK']]);
    own.disconnect();
  });

  it('of duplicate() takes an open transaction with it, also what is called meanwhile', async () => {
    const quick = opened.guarded({ retryStrategy: () => 1 });
    const own = acme(() => quick.duplicate({ connectionName: 'open' }));
    await acme(() => own.multi({ pipeline: false }));
    await acme(() => own.set('key', 'x'));
    const meanwhile = new Promise<unknown>((resolve) => {
      own.once('close', () => resolve(acme(() => failure(() => own.set('key', 'y')))));
    });
    for (const id of await idOf('open')) await raw.client('KILL', 'ID', id);
    expect(await meanwhile).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await failure(() => acme(() => own.set('key', 'z')))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await failure(() => acme(() => own.exec()))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await acme(() => own.get('key'))).toBe('of acme');
    own.disconnect();
  });

  it('of duplicate() is not taken for the next, while there is none', async () => {
    const quick = opened.guarded({ retryStrategy: () => 1 });
    const own = acme(() => quick.duplicate({ connectionName: 'between' }));
    await acme(() => own.watch('key'));
    // A moment later there is one again.
    let status = '';
    const between = new Promise<unknown>((resolve) => {
      own.once('close', () => {
        ({ status } = own);
        resolve(acme(() => failure(() => own.multi().set('key', 'x').exec())));
      });
    });
    for (const id of await idOf('between')) await raw.client('KILL', 'ID', id);
    expect(await between).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(status).toBe('reconnecting');
    expect(await acme(() => own.multi().get('key').exec())).toEqual([[null, 'of acme']]);
    own.disconnect();
  });

  it('of duplicate() takes along what was on its way, which does not run twice', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const options = {
      port: proxy.port,
      db: Number(pathname.slice(1)),
      lazyConnect: true,
      retryStrategy: () => 1,
    };
    const shared = new Redis(options);
    const own = acme(() => shared.duplicate({ lazyConnect: false }));
    await acme(() => own.ping());
    // MULTI is answered, all after it is lost.
    proxy.breakAfter('+OK\r\n'.length);
    const outcome = await acme(() =>
      Promise.allSettled([own.multi({ pipeline: false }), own.incr('count'), own.exec()]),
    );
    expect(outcome[0]).toEqual({ status: 'fulfilled', value: 'OK' });
    for (const lost of outcome.slice(1))
      expect(lost).toMatchObject({ status: 'rejected', reason: { code: 'OPERATION_REFUSED' } });
    expect(await acme(() => own.get('key'))).toBe('of acme');
    expect(['1', null]).toContain(await raw.get('tk:acme:count'));
    own.disconnect();
    shared.disconnect();
  });

  it('of duplicate() may be watched before it is there', async () => {
    const own = acme(() => opened.redis.duplicate({ lazyConnect: true }));
    const [, value, done] = await acme(() =>
      Promise.all([own.watch('key'), own.get('key'), own.multi().set('key', 'x').exec()]),
    );
    expect([value, done]).toEqual(['of acme', [[null, 'OK']]]);
    own.disconnect();
  });
});

describe('in a Cluster', () => {
  it('goes to the master of the tenant’s slot, and needs hashTag', async () => {
    await using nodes = await startClusterNodes();
    const tagged = new Cluster([{ port: nodes.first.port }], { tenant: { hashTag: true } });
    const spread = new Cluster([{ port: nodes.first.port }]);
    try {
      for (const tenant of TENANTS) {
        await withTenant(tenant, async () => {
          await tagged.set('count', 1);
          const raise = (meanwhile: () => Promise<unknown>): Promise<unknown> =>
            tagged.dedicated(async (own) => {
              await own.watch('count');
              await meanwhile();
              return own.multi().incr('count').get('count').exec();
            });
          expect(await raise(async () => undefined)).toEqual([
            [null, 2],
            [null, '2'],
          ]);
          expect(await raise(() => tagged.incr('count'))).toBeNull();
        });
      }
      const own = acme(() => tagged.duplicate());
      const calls: readonly (() => unknown)[] = [
        () => spread.dedicated(() => 1),
        () => tagged.watch('count'),
        () => tagged.multi({ pipeline: false }),
        () => own.watch('count'),
        () => own.multi({ pipeline: false }),
      ];
      for (const call of calls)
        expect(await failure(() => acme(call))).toMatchObject({
          code: 'OPERATION_REFUSED',
          instead: expect.stringContaining('hashTag') as string,
        });
      own.disconnect();
      expect(await failure(() => tagged.dedicated(() => 1))).toMatchObject({ code: 'TENANT_MISSING' });
      // One node is one Redis.
      const [node] = spread.nodes('master');
      expect(await acme(() => node?.dedicated((own) => own.unwatch()))).toBe('OK');
    } finally {
      tagged.disconnect();
      spread.disconnect();
    }
  }, 60_000);
});

it('no two tenants ever see each other on one connection', async () => {
  const client = opened.guarded({ tenant: { dedicated: { max: 3, perTenant: 2 } } });
  await Promise.all(
    Array.from({ length: 120 }, (_, round) => {
      const tenant = TENANTS[round % TENANTS.length] ?? 'acme';
      return withTenant(tenant, () =>
        client.dedicated(async (own) => {
          const kind = round % 6;
          if (kind === 0) await own.watch('key');
          if (kind === 1) await own.multi({ pipeline: false });
          if (kind === 1) return expect(await own.get('key')).toBe('QUEUED');
          if (kind === 2) own.blpop('none', 0).catch(() => undefined);
          if (kind === 3) void own.get('key');
          if (kind === 2) return undefined;
          return expect(await own.get('key')).toBe(`of ${tenant}`);
        }),
      );
    }),
  );
  for (const tenant of TENANTS) expect(await raw.get(`tk:${tenant}:key`)).toBe(`of ${tenant}`);
  client.disconnect();
});

// What was kept belongs to acme: in another tenant it is refused for that.
async function acme2OrSame(run: typeof acme, fn: () => Promise<void>): Promise<void> {
  if (run === acme) await fn();
}
