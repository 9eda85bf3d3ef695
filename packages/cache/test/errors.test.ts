import type { Redis } from '@tenantkit/cache';
import { acrossTenants } from '@tenantkit/core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Command, type Redis as Raw } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { logicalText } from '../src/error-text.ts';
import { Guard } from '../src/guard.ts';
import { CacheNames } from '../src/names.ts';
import { Sent } from '../src/sent.ts';
import { acme, failure, openCache, ready, shown, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
beforeEach(async () => {
  await opened.raw.flushdb();
  await opened.raw.set('tk:acme:text', 'x');
  await opened.raw.xadd('tk:acme:stream', '1-1', 'a', 'b');
});
afterAll(() => opened[Symbol.asyncDispose]());

type Call = readonly [name: string, ...args: (string | number)[]];

// Errors that repeat arguments, and those that everybody meets.
const CALLS: readonly (readonly [error: RegExp, ...call: Call])[] = [
  [/^WRONGTYPE /, 'lpush', 'text', 'x'],
  [/^ERR value is not an integer/, 'incr', 'text'],
  [
    /^NOGROUP No such key 'missing' or consumer group 'group'/,
    'xreadgroup',
    'GROUP',
    'group',
    'me',
    'STREAMS',
    'missing',
    '>',
  ],
  [/^NOGROUP No such key 'stream' or consumer group 'nobody'/, 'xpending', 'stream', 'nobody'],
  [
    /^NOGROUP No such consumer group 'nobody' for key name 'stream'/,
    'xgroup',
    'DELCONSUMER',
    'stream',
    'nobody',
    'x',
  ],
  [
    /^NOGROUP No such consumer group 'nobody' for key name 'stream'/,
    'xinfo',
    'CONSUMERS',
    'stream',
    'nobody',
  ],
  [/^ERR no such key/, 'rename', 'missing', 'other'],
  [/^ERR unknown command '\S+', with args beginning with: 'doc' '\$' '1' $/i, 'json.set', 'doc', '$', '1'],
  [
    /^ERR unknown command '\S+', with args beginning with: 'tk:acme:doc' 'x' $/i,
    'bf.add',
    'tk:acme:doc',
    'x',
  ],
  [
    /^ERR unknown command '\S+', with args beginning with: 'one' '1' '2' 'tk:acme2:two' '3' '4' $/i,
    'ts.madd',
    'one',
    1,
    2,
    'tk:acme2:two',
    3,
    4,
  ],
  [/^ERR syntax error/, 'set', 'text', 'x', 'tk:acme:text'],
];

describe('an error of the server', () => {
  it.each(CALLS.map(([error, ...call]) => [call.join(' '), error, call] as const))(
    '%s',
    async (_, error, call) => {
      const { redis } = opened;
      const [name, ...args] = call;
      const errors = [
        await failure(() => acme(() => redis.call(name, ...args))),
        await failure(() =>
          acme(() => redis.callBuffer(name, ...args.map((word) => Buffer.from(String(word))))),
        ),
        (
          await acme(() =>
            redis
              .pipeline()
              .call(name, ...args)
              .exec(),
          )
        )?.[0]?.[0],
        await acme(() =>
          redis
            .multi()
            .call(name, ...args)
            .exec(),
        ).then(
          (replies) => replies?.[0]?.[0],
          (thrown: Error & { previousErrors?: Error[] }) => thrown.previousErrors?.[0],
        ),
      ];
      for (const found of errors) {
        expect(found?.message).toMatch(error);
        expect(shown(found).replaceAll(/'?tk:acme2?:(?:doc|two|text)'?/g, '')).not.toContain('tk:acme');
      }
      expect(errors[0]).toMatchObject({ command: { args: args.map(String) } });
      expect(await acme(() => redis.get('text'))).toBe('x');
    },
  );

  it('is read once, also when a pipeline hands it out again', () => {
    const sent = acme(() => new Guard({}).admit(new Command('get', ['tk:acme:key'])));
    const error = new Error("ERR no 'tk:acme:tk:acme:key' here");
    for (const read of [1, 2])
      expect([read, Sent.of(sent)?.read(error).message]).toEqual([read, "ERR no 'tk:acme:key' here"]);
  });

  it('that cuts its arguments shows no prefix', async () => {
    const long = 'long'.repeat(40);
    const error = await failure(() => acme(() => opened.redis.call('json.set', long, '$', '1')));
    expect(error.message).toMatch(/^ERR unknown command '\S+', with args beginning with: 'longlong/i);
    expect(error.message).not.toContain('tk:');
  });

  it('keeps the letters that are the name of a channel', async () => {
    const username = `no-channels-${randomUUID()}`;
    await opened.raw.acl('SETUSER', username, 'on', '>secret', '~*', '+@all', 'resetchannels');
    const user = { username, password: 'secret' };
    const [client, witness] = [opened.guarded(user), opened.witness(user)];
    await Promise.all([ready(client), ready(witness)]);
    for (const channel of ['a', 'NOPERM', 'o'])
      for (const name of ['subscribe', 'ssubscribe', 'psubscribe', 'publish'] as const) {
        const call = (of: Redis | Raw): unknown =>
          name === 'publish' ? of.publish(channel, 'message') : of[name](channel);
        const { message } = await failure(() => call(witness));
        expect(message).toMatch(/^NOPERM /);
        expect([name, channel, (await failure(() => acme(() => call(client)))).message]).toEqual([
          name,
          channel,
          message,
        ]);
      }
    for (const one of [client, witness]) one.disconnect();
    await opened.raw.acl('DELUSER', username);
  });
});

describe('an error text', () => {
  const names = new CacheNames().of('acme');
  const short = new CacheNames({ names: '{tenant}:' }).of('a');
  it.each([
    ['keys as wholes', 'no tk:acme:tk:acme:x here', ['tk:acme:tk:acme:x'], names, 'no tk:acme:x here'],
    ['the longest first', "'tk:acme:ab' 'tk:acme:a'", ['tk:acme:a', 'tk:acme:ab'], names, "'ab' 'a'"],
    ['keys with what means something in patterns', 'tk:acme:a.*$(', ['tk:acme:a.*$('], names, 'a.*$('],
    ['keys within words of a script', 'xtk:acme:k', ['tk:acme:k'], names, 'xk'],
    ['a prefix whose key was cut', "'tk:acme:lon", ['tk:acme:long'], names, "'lon"],
    ['no end of a word', "ERR data: 'a:key' a:x", ['a:key'], short, "ERR data: 'key' x"],
    ['keys in bytes', 'tk:acme:k', [Buffer.from('tk:acme:k')], names, 'k'],
  ] as const)('has %s', (_, text, keys, of, logical) => {
    expect(logicalText(text, keys, of)).toBe(logical);
  });

  it('is made of keys of any length and number', () => {
    const long = `${names.prefix}${'x'.repeat(100_000)}`;
    const many = Array.from({ length: 100_000 }, (_, place) => `${names.prefix}${place}`);
    expect(logicalText(`ERR no ${long} here`, [long], names)).toBe(`ERR no ${'x'.repeat(100_000)} here`);
    expect(logicalText(`ERR no ${names.prefix}77777 here`, many, names)).toBe('ERR no 77777 here');
  });
});

describe('a refusal', () => {
  it('says where it was called: a tenant, acrossTenants, or neither', async () => {
    await using opened = await openCache();
    const { redis } = opened;
    const wait = () => failure(() => redis.blpop('list', 1));
    const across = await acrossTenants({ reason: 'a test', actor: 'tests' }, wait);
    expect(across.message).toMatch(/^cache\.blpop is refused inside acrossTenants: /);
    expect((await acme(wait)).message).toMatch(/^cache\.blpop is refused inside a tenant: /);
    const define = () => redis.defineCommand('own', { lua: 'return 1' });
    expect(await failure(async () => define())).toHaveProperty(
      'message',
      expect.stringMatching(/^cache\.defineCommand is refused: /),
    );
    // What the text says to do works there.
    const own = acrossTenants({ reason: 'a test', actor: 'tests' }, () => redis.duplicate());
    await acrossTenants({ reason: 'a test', actor: 'tests' }, () => own.rpush('list', 'x'));
    expect(await acrossTenants({ reason: 'a test', actor: 'tests' }, () => own.blpop('list', 1))).toEqual([
      'list',
      'x',
    ]);
    await acrossTenants({ reason: 'a test', actor: 'tests' }, () => own.quit());
  });
});
