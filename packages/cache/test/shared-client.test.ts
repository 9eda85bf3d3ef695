import { currentScope } from '@tenantkit/core';
import { Redis } from '@tenantkit/cache';
import { once } from 'node:events';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { isPlumbing } from '../src/plumbing.ts';
import { queuedIn } from './queued.ts';
import { acme, acme2, failure, openCache, ready, type Opened } from './support.ts';

// What a tenant can do with members of the client that ioredis has for its own work.
const STEAL = {
  lua: "return redis.call('GET', 'tk:acme2:key')",
  numberOfKeys: 0,
  tenant: 'keys-only',
} as const;

let opened: Opened;
let redis: Redis;
beforeAll(async () => {
  opened = await openCache({ tenant: { dedicated: { max: 1, perTenant: 1 } } });
  redis = opened.redis;
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
  await acme2(() => redis.set('key', 'of acme2'));
});

/** A function that declares a script, and what came of it. */
function declaring(client: Redis): { readonly run: () => string; readonly errors: unknown[] } {
  const errors: unknown[] = [];
  const run = (): string => {
    try {
      client.defineCommand('steal', STEAL);
    } catch (error) {
      errors.push(error);
    }
    return 'x';
  };
  return { run, errors };
}

const refused = expect.objectContaining({ code: 'OPERATION_REFUSED' }) as unknown;

interface Defined {
  first(): Defined;
  third(): Defined;
  exec(): Promise<unknown>;
}

describe('a function that ioredis calls in the midst of its work', () => {
  it('declares no script and ends nothing: toString of an event', () => {
    const { run, errors } = declaring(redis);
    const ended: unknown[] = [];
    const end = (): string => {
      try {
        redis.disconnect();
      } catch (error) {
        ended.push(error);
      }
      return run();
    };
    acme(() => redis.silentEmit({ toString: end } as unknown as string));
    expect(ended).toEqual(ended.map(() => refused));
    expect(redis.status).toBe('ready');
    expect(errors.every((error) => (error as { code?: unknown }).code === 'OPERATION_REFUSED')).toBe(true);
    expect('steal' in redis).toBe(false);
  });

  it.each<[string, (run: () => string) => unknown]>([
    ['an object', (run) => Object.create(Error.prototype, { stack: { get: run } })],
    ['a getter', (run) => Object.defineProperty(new Error('x'), 'stack', { get: run })],
    [
      'how its stack is printed',
      (run) => Object.assign(new Error('x'), { stack: { [inspect.custom]: run } }),
    ],
    [
      'a prototype',
      (run) =>
        Object.setPrototypeOf(
          new Error('x'),
          new Proxy({}, { getPrototypeOf: () => (run() === '' ? {} : null) }),
        ),
    ],
    [
      'a prototype with a getter',
      (run) =>
        Object.setPrototypeOf(new Error('x'), Object.create(Error.prototype, { syscall: { get: run } })),
    ],
  ])('is no work of ioredis: an error that is %s', async (_, make) => {
    // While it closes ioredis looks at more of it.
    const closing = opened.guarded();
    await ready(closing);
    closing.disconnect();
    const seen: unknown[] = [];
    const run = (): string => {
      seen.push([isPlumbing(), currentScope()?.tenant?.tenant]);
      return 'x';
    };
    const printed = vi.spyOn(console, 'error').mockImplementation((...args) => void inspect(args));
    try {
      for (const client of [redis, closing]) acme(() => client.silentEmit('error', make(run)));
    } finally {
      printed.mockRestore();
    }
    expect(seen.length).toBeGreaterThan(0);
    expect(seen).toEqual(seen.map(() => [false, 'acme']));
  });

  it('declares none: a member of a client of one’s own', async () => {
    const { run, errors } = declaring(redis);
    const own = acme(() => redis.duplicate());
    expect(await acme(() => own.get('key'))).toBeNull();
    Reflect.set(own, 'connector', { disconnect: run });
    acme(() => own.disconnect());
    expect(errors).toEqual([refused]);
    // As when the service starts.
    const service = opened.guarded();
    service.defineCommand('steal', STEAL);
    expect('steal' in service).toBe(true);
  });

  it('is not taken for a value of duplicate()', async () => {
    const { run, errors } = declaring(redis);
    class Name {
      toString(): string {
        return run();
      }
    }
    const given = { connectionName: new Name() as unknown as string };
    expect(await failure(() => acme(() => redis.duplicate(given)))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(errors).toEqual([]);
    const own = acme(() =>
      redis.duplicate({ connectionName: 'plain', autoPipeliningIgnoredCommands: ['get'] }),
    );
    expect(own.options.connectionName).toBe('plain');
    expect(await acme(() => own.get('key'))).toBeNull();
    acme(() => own.disconnect());
  });
});

describe('the commands of a pipeline, in whoever’s hands', () => {
  it('give copies of the keys, which change nothing that is written', async () => {
    await acme(() => redis.set('long enough', 'there'));
    const results = await acme(() => {
      const pipeline = redis.pipeline();
      const queue = queuedIn(() => pipeline.set('mine', '1').get(Buffer.from('long enough')).get('mine'));
      for (const sent of queue) {
        expect(Reflect.get(sent, 'physical')).toBeUndefined();
        const [key] = sent.args;
        sent.args[0] = 'tk:acme2:key';
        if (Buffer.isBuffer(key)) new Uint8Array(key.buffer).fill(120);
      }
      return pipeline.exec();
    });
    expect(results).toEqual([
      [null, 'OK'],
      [null, 'there'],
      [null, '1'],
    ]);
  });
});

describe('what ioredis keeps on the client', () => {
  it('says the same about scripts, whatever a tenant writes there', async () => {
    const client = opened.guarded();
    client.defineCommand('first', { lua: 'return 1', numberOfKeys: 0, tenant: 'keys-only' });
    client.defineCommand('second', { lua: 'return 2', numberOfKeys: 0, tenant: 'keys-only' });
    const sets = client as unknown as { scriptsSet: Record<string, { sha: string }> };
    const { first, second } = sets.scriptsSet;
    expect(() => Object.assign(first as object, { sha: second?.sha })).toThrow(TypeError);
    expect(() => Object.assign(sets.scriptsSet, { first: second })).toThrow(TypeError);
    expect(() => Reflect.deleteProperty(sets.scriptsSet, 'second')).not.toThrow();
    const pipeline = acme2(() => client.pipeline());
    expect('second' in pipeline).toBe(true);
    // Inherited: on each pipeline they would cost each as much as there are definitions.
    expect(Object.keys(pipeline)).toEqual([]);
    client.defineCommand('third', { lua: 'return 3', numberOfKeys: 0, tenant: 'keys-only' });
    expect(await acme2(() => (client.pipeline() as unknown as Defined).third().first().exec())).toEqual([
      [null, 3],
      [null, 1],
    ]);
    expect(() => Object.assign(sets, { scriptsSet: {} })).toThrow(TypeError);
    const call = Reflect.get(client, 'first') as () => Promise<unknown>;
    expect(await acme2(() => call.call(client))).toBe(1);
  });

  it('and about the methods of pipelines', async () => {
    const { addedBuiltinSet } = redis as unknown as { addedBuiltinSet: Set<string> };
    acme(() => addedBuiltinSet.add('exec').add('sendCommand'));
    acme(() => redis.addBuiltinCommand('GeT'));
    expect(await acme2(() => redis.pipeline().get('key').exec())).toEqual([[null, 'of acme2']]);
    expect('GeT' in redis).toBe(false);
    const client = opened.guarded();
    client.addBuiltinCommand('bf.add');
    const pipeline = acme2(() => client.pipeline());
    expect('bf.add' in pipeline).toBe(true);
  });

  it('does not say what later clients begin with', () => {
    const { defaultOptions } = redis.constructor as unknown as { defaultOptions: object };
    expect(() => Object.assign(defaultOptions, { db: 1 })).toThrow(TypeError);
    expect(new Redis({ lazyConnect: true }).options.db).toBe(0);
  });
});

describe('listeners', () => {
  it('of one function are each tenant’s own', () => {
    const heard: unknown[] = [];
    const hear = (): void => void heard.push(currentScope()?.tenant?.tenant);
    acme(() => redis.on('app', hear));
    acme2(() => redis.on('app', hear));
    acme(() => redis.off('app', hear));
    redis.emit('app');
    expect(heard).toEqual(['acme2']);
    // One that the service has registered may be taken away by whom it has let.
    redis.on('app', hear);
    acme(() => redis.off('app', hear));
    redis.emit('app');
    expect(heard).toEqual(['acme2', 'acme2']);
    acme2(() => redis.off('app', hear));
    expect(redis.listenerCount('app')).toBe(0);
  });

  it('show no scope, and none can be changed', async () => {
    acme(() => redis.on('app', () => undefined));
    const [entry] = acme(() => redis.rawListeners('app')) as unknown as [
      { scope?: unknown; listener: unknown },
    ];
    expect(entry.scope).toBeUndefined();
    expect(() => Object.assign(entry, { listener: () => undefined })).toThrow(TypeError);
    const scope = acme(() => currentScope());
    expect(() => Object.assign(scope as object, { tenant: { tenant: 'acme2' } })).toThrow(TypeError);
    acme(() => redis.removeAllListeners('app'));
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('have no property read that a caller could have made a getter', () => {
    const read: unknown[] = [];
    const mine = (): void => undefined;
    const listener = Object.defineProperty(() => undefined, 'listener', {
      get: () => void read.push(currentScope()?.tenant?.tenant),
    });
    acme2(() => redis.on('app', mine));
    acme(() => redis.on('app', listener));
    acme2(() => redis.off('app', mine));
    expect(redis.listeners('app')).toEqual([listener]);
    redis.off('app', mine);
    expect(read).toEqual([]);
    acme(() => redis.off('app', listener));
    expect(redis.listenerCount('app')).toBe(0);
  });

  it('registered once are found by what they were given', () => {
    const once_ = (): void => undefined;
    acme(() => redis.once('app', once_));
    expect(acme(() => redis.listeners('app'))).toEqual([once_]);
    acme(() => redis.off('app', once_));
    expect(redis.listenerCount('app')).toBe(0);
  });
});

describe('a signal', () => {
  it('hangs nothing of others on the one that was given', async () => {
    const controller = new AbortController();
    const inside = new AbortController();
    let leave = (): void => undefined;
    const left = new Promise<void>((resolve) => (leave = resolve));
    const lent = acme2(() => redis.dedicated(() => left));
    const waiting = acme(() => redis.dedicated(() => Promise.resolve(), { signal: controller.signal }));
    const failed = failure(() => waiting);
    const symbols = Object.getOwnPropertySymbols(controller.signal);
    const dependants = symbols.map((symbol) => Reflect.get(controller.signal, symbol)).filter(isSet);
    expect(dependants.flatMap((set) => [...set])).toEqual([]);
    controller.abort(new Error('no longer'));
    expect((await failed).message).toBe('no longer');
    leave();
    await lent;
    expect(await acme(() => redis.dedicated((own) => own.ping(), { signal: inside.signal }))).toBe('PONG');
    inside.abort(new Error('too late'));
    const late = await failure(() =>
      acme(() => redis.dedicated((own) => own.ping(), { signal: inside.signal })),
    );
    expect(late.message).toBe('too late');
    const no = {} as AbortSignal;
    expect(
      await failure(() => acme(() => redis.dedicated((own) => own.ping(), { signal: no }))),
    ).toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });
});

describe('the end of a client', () => {
  it('comes after what was called before, also where keys are noted', async () => {
    const client = opened.guarded({ tenant: { index: true } });
    await once(client, 'ready');
    const last = acme(() => client.set('last', 'word'));
    expect(await Promise.all([last, client.quit()])).toEqual(['OK', 'OK']);
    expect(await opened.raw.get('tk:acme:last')).toBe('word');
  });
});

describe('a template', () => {
  it('is ASCII, as everything is that looks for names', () => {
    expect(() => opened.guarded({ tenant: { names: 'größe:{tenant}:' } })).toThrow(/ASCII/);
    expect(opened.guarded({ tenant: { names: 'size:{tenant}:' } }).options.host).toBeDefined();
  });
});

function isSet(value: unknown): value is Set<unknown> {
  return value instanceof Set;
}
