import { Command, Redis } from '@tenantkit/cache';
import type { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Light } from '../src/light.ts';
import { acme, failure, openCache, ready, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache();
  ({ redis, raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());

describe('a method', () => {
  it.each([
    0,
    -0,
    1.5,
    Number.NaN,
    -Infinity,
    2 ** 60,
    null,
    undefined,
    7n,
    true,
    [1, ['x']],
    Buffer.from('b'),
  ])('writes what ioredis writes: %s', async (value) => {
    await raw.del('tk:acme:k', 'k');
    await acme(() => redis.rpush('k', 'first', value as never));
    await raw.rpush('k', 'first', value as never);
    expect(await raw.lrangeBuffer('tk:acme:k', 0, -1)).toEqual(await raw.lrangeBuffer('k', 0, -1));
    await raw.del('k');
  });

  it('answers as ioredis does, in texts and in bytes, promised and called back', async () => {
    await acme(async () => {
      await redis.set('k', 'é');
      expect(await redis.get('k')).toBe('é');
      expect(await redis.getBuffer('k')).toEqual(Buffer.from('é'));
      expect(await redis.mget('k', 'none')).toEqual(['é', null]);
      expect(await new Promise((resolve) => redis.get('k', (_, reply) => resolve(reply)))).toBe('é');
      expect((await failure(() => redis.lpush('k', 'x'))).message).toMatch(/^WRONGTYPE/);
      expect(await redis.pipeline().get('k').getBuffer('k').exec()).toEqual([
        [null, 'é'],
        [null, Buffer.from('é')],
      ]);
      expect(await redis.multi().get('k').exec()).toEqual([[null, 'é']]);
    });
  });

  it('asks a transformer of its arguments', async () => {
    const { argument } = (Command as unknown as { _transformer: { argument: Record<string, unknown> } })
      ._transformer;
    Command.setArgumentTransformer('get', (args) => [`${String(args[0])}!`]);
    try {
      await acme(() => redis.set('k!', 'transformed'));
      expect(await acme(() => redis.get('k'))).toBe('transformed');
    } finally {
      delete argument['get'];
    }
    expect(await acme(() => redis.get('k!'))).toBe('transformed');
  });

  it('gives a whole Command to a function in the place of ours, and a stack where one is asked for', async () => {
    const telling = opened.guarded({ showFriendlyErrorStack: true });
    const own = opened.guarded();
    await Promise.all([ready(telling), ready(own)]);
    const error = await acme(() => failure(() => telling.lpush('k!', 'x')));
    expect(error.stack).toContain('light.test.ts');
    const seen: Command[] = [];
    const send = own.sendCommand.bind(own);
    own.sendCommand = (command: Command) => {
      seen.push(command);
      return send(command);
    };
    expect(await acme(() => own.get('k!'))).toBe('transformed');
    expect(seen.map((command) => [command.constructor, command.args])).toEqual([[Command, ['k!']]]);
  });
});

describe('what a method makes of texts and numbers', () => {
  const light = (): Light => Light.from('get', ['k', 7], 'utf8') as Light;

  it('gives its arguments to the guard, once, and copies to all others', () => {
    const made = light();
    made.args[0] = 'changed';
    expect(made.args).toEqual(['k', '7']);
    const args = Light.take(made);
    expect(args).toEqual(['k', '7']);
    expect(Light.take(made)).toBeUndefined();
    expect(made.args).toEqual([]);
    expect(Light.take({ args: ['k'] })).toBeUndefined();
  });

  it('is settled without anything that somebody has put on it', async () => {
    const made = light();
    const called: string[] = [];
    for (const name of ['resolve', 'reject', 'transformReply', 'setReplyContext', 'promise'])
      Object.defineProperty(made, name, { value: () => called.push(name) });
    const caller = Light.callerOf(made);
    caller?.resolve.call(caller.command, Buffer.from('reply'));
    expect(await caller?.promise).toBe('reply');
    const failed = Light.callerOf(light());
    failed?.reject.call(failed.command, new Error('refused'));
    await expect(failed?.promise).rejects.toThrow('refused');
    expect(called).toEqual([]);
  });
});
