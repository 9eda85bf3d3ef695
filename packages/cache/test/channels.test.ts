import { IsolationBreachError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  messageFor,
  nameChannels,
  nameCounts,
  scopeCounting,
  scopeListing,
  scopePublish,
  targetsOf,
  type Form,
  type Kind,
} from '../src/channels.ts';
import { CacheNames } from '../src/names.ts';

const names = new CacheNames().of('acme');
// Its prefix looks like a pattern, so that it matters where it is escaped.
const starred = new CacheNames({ names: 'a*{tenant}:' }).of('acme');
const bytes = (text: string): Buffer => Buffer.from(text);

describe('what is subscribed to', () => {
  it.each<[Kind, string, readonly (readonly [Form, string])[]]>([
    ['subscribe', 'news', [['channel', 'tk:acme:news']]],
    ['ssubscribe', 'news', [['channel', 'tk:acme:news']]],
    ['psubscribe', 'n*', [['channel', 'tk:acme:n*']]],
    ['subscribe', 'é', [['channel', 'tk:acme:é']]],
    ['psubscribe', 'é*', [['channel', 'tk:acme:é*']]],
    ['subscribe', '__keyspace@3__:k', [['keyspace', '__keyspace@3__:tk:acme:k']]],
    ['subscribe', '__keyspace@3__:é', [['keyspace', '__keyspace@3__:tk:acme:é']]],
    ['subscribe', '__keyevent@3__:del', [['keyevent', '__keyevent@3__:del']]],
    ['psubscribe', '__keyspace@3__:k*', [['keyspace', '__keyspace@3__:tk:acme:k*']]],
    ['psubscribe', '__keyspace@*__:k', [['keyspace', '__keyspace@3__:tk:acme:k']]],
    ['psubscribe', '__keyevent@*__:*', [['keyevent', '__keyevent@3__:*']]],
    [
      'psubscribe',
      '__key*@3__:x*',
      [
        ['keyspace', '__keyspace@3__:tk:acme:x*'],
        ['keyevent', '__keyevent@3__:x*'],
      ],
    ],
    [
      'psubscribe',
      '__key*@*__:x',
      [
        ['keyspace', '__keyspace@3__:tk:acme:x'],
        ['keyevent', '__keyevent@3__:x'],
      ],
    ],
    [
      'psubscribe',
      '__key*__:*',
      [
        ['keyspace', '__keyspace@3__:tk:acme:*'],
        ['keyevent', '__keyevent@3__:*'],
      ],
    ],
    // No notification at all: sharded, or a name that only looks like a pattern of notifications.
    ['ssubscribe', '__keyspace@3__:k', [['channel', 'tk:acme:__keyspace@3__:k']]],
    ['subscribe', '__key*@3__:x', [['channel', 'tk:acme:__key*@3__:x']]],
    ['subscribe', '__key*__:x', [['channel', 'tk:acme:__key*__:x']]],
    ['subscribe', '__keyspace[@3__:é', [['channel', 'tk:acme:__keyspace[@3__:é']]],
    ['subscribe', '__keys', [['channel', 'tk:acme:__keys']]],
    ['subscribe', '__keyspaces@3__:k', [['channel', 'tk:acme:__keyspaces@3__:k']]],
    ['subscribe', 'x__keyspace@3__:k', [['channel', 'tk:acme:x__keyspace@3__:k']]],
    ['subscribe', 'x__keyspace@*__:k', [['channel', 'tk:acme:x__keyspace@*__:k']]],
    ['psubscribe', 'x__key*__:k', [['channel', 'tk:acme:x__key*__:k']]],
    ['subscribe', '__key*x__keyspace@3__:k', [['channel', 'tk:acme:__key*x__keyspace@3__:k']]],
    ['subscribe', '__key*x__keyevent@3__:k', [['channel', 'tk:acme:__key*x__keyevent@3__:k']]],
    ['subscribe', '__keyspace*@3__:k', [['channel', 'tk:acme:__keyspace*@3__:k']]],
  ])('with %s %s', (kind, logical, targets) => {
    expect(targetsOf(kind, bytes(logical), names, 3)).toEqual(
      targets.map(([form, name]) => ({ form, name: bytes(name) })),
    );
  });

  it('has every digit of the database', () => {
    expect(targetsOf('subscribe', bytes('__keyspace@12__:k'), names, 12)).toEqual([
      { form: 'keyspace', name: bytes('__keyspace@12__:tk:acme:k') },
    ]);
    expect(targetsOf('subscribe', bytes('__keyevent@12__:del'), names, 12)).toEqual([
      { form: 'keyevent', name: bytes('__keyevent@12__:del') },
    ]);
    expect(targetsOf('psubscribe', bytes('__key*@12__:k'), names, 12)).toHaveLength(2);
  });

  it.each<[Kind, string]>([
    ['subscribe', '__keyspace@4__:k'],
    ['subscribe', '__keyspace@*__:k'],
    ['subscribe', '__keyevent@33__:del'],
    ['psubscribe', '__keyspace@4__:k'],
    ['psubscribe', '__key*@4__:k'],
    ['psubscribe', '__keyspace@?__:k'],
    ['psubscribe', '__key[se]*__:k'],
    ['psubscribe', '__key?vent@3__:k'],
    ['psubscribe', '__key\\space@3__:k'],
    ['psubscribe', '__keyspace*'],
    ['psubscribe', '__keyspace?3__:k'],
    ['psubscribe', '__keyspace[@]3__:k'],
    ['psubscribe', '__keyspace\\@3__:k'],
    ['psubscribe', '__keyevent*'],
    ['subscribe', '__keyspace@x__:k'],
    ['subscribe', '__keyevent@'],
    ['psubscribe', '__key*x__keyspace@3__:k'],
  ])('is nothing, with %s %s, where it would be heard from elsewhere', (kind, logical) => {
    expect(targetsOf(kind, bytes(logical), names, 3)).toEqual({
      kind: 'refuse',
      why: expect.stringContaining('come from other databases, or from keys of every tenant'),
      instead: expect.stringContaining('__keyspace@3__:<key or pattern>, __keyevent@3__:'),
    });
  });

  it('is nothing for notifications in a cluster, and the channel otherwise', () => {
    for (const kind of ['subscribe', 'psubscribe'] as const) {
      for (const name of ['__keyspace@0__:k', '__keyspace@*__:k', '__keyspace@'])
        expect(targetsOf(kind, bytes(name), names, undefined)).toEqual({
          kind: 'refuse',
          why: expect.stringContaining('each node of a cluster notifies of its own keys only'),
          instead: expect.stringContaining("cluster.nodes('master')"),
        });
      expect(targetsOf(kind, bytes('news'), names, undefined)).toEqual([
        { form: 'channel', name: bytes('tk:acme:news') },
      ]);
    }
  });

  it('keeps bytes that are no text, except in patterns', () => {
    const odd = Buffer.from([0x61, 0xff]);
    expect(targetsOf('subscribe', odd, names, 0)).toEqual([
      { form: 'channel', name: Buffer.concat([bytes('tk:acme:'), odd]) },
    ]);
    const keyspace = Buffer.concat([bytes('__keyspace@0__:'), odd]);
    expect(targetsOf('subscribe', keyspace, names, 0)).toEqual([
      { form: 'keyspace', name: Buffer.concat([bytes('__keyspace@0__:tk:acme:'), odd]) },
    ]);
    for (const who of [names, undefined])
      expect(targetsOf('psubscribe', odd, who, 0)).toEqual({
        kind: 'refuse',
        why: expect.stringContaining('two patterns that are no UTF-8 could not be told apart'),
        instead: 'Give the pattern as a text.',
      });
  });

  it('is escaped in patterns alone', () => {
    const target = (kind: Kind, logical: string): unknown => targetsOf(kind, bytes(logical), starred, 0);
    expect(target('subscribe', 'n')).toEqual([{ form: 'channel', name: bytes('a*acme:n') }]);
    expect(target('psubscribe', 'n')).toEqual([{ form: 'channel', name: bytes(String.raw`a\*acme:n`) }]);
    expect(target('subscribe', '__keyspace@0__:k')).toEqual([
      { form: 'keyspace', name: bytes('__keyspace@0__:a*acme:k') },
    ]);
    expect(target('psubscribe', '__keyspace@0__:k')).toEqual([
      { form: 'keyspace', name: bytes(String.raw`__keyspace@0__:a\*acme:k`) },
    ]);
  });

  it('is raw for whoever works across tenants', () => {
    for (const logical of ['news', '__keyspace@*__:*'])
      for (const kind of ['subscribe', 'psubscribe', 'ssubscribe'] as const)
        expect(targetsOf(kind, bytes(logical), undefined, 0)).toEqual([
          { form: 'raw', name: bytes(logical) },
        ]);
  });
});

describe('a message', () => {
  const heard = (
    form: Form,
    channel: string,
    message: string,
    who: typeof names | undefined = names,
  ): unknown => messageFor(form, bytes(channel), bytes(message), who);

  it('becomes logical', () => {
    expect(heard('channel', 'tk:acme:news', 'tk:acme:x')).toEqual({
      channel: bytes('news'),
      message: bytes('tk:acme:x'),
    });
    expect(heard('keyspace', '__keyspace@0__:tk:acme:k', 'set')).toEqual({
      channel: bytes('__keyspace@0__:k'),
      message: bytes('set'),
    });
    expect(heard('keyevent', '__keyevent@0__:set', 'tk:acme:k')).toEqual({
      channel: bytes('__keyevent@0__:set'),
      message: bytes('k'),
    });
  });

  it('about the key of another tenant is none, and on a foreign channel a breach', () => {
    expect(heard('keyevent', '__keyevent@0__:set', 'tk:acme2:k')).toBeUndefined();
    for (const [form, channel] of [
      ['channel', 'tk:acme2:news'],
      ['keyspace', '__keyspace@0__:tk:acme2:k'],
      ['raw', 'news'],
    ] as const)
      expect(caught(() => heard(form, channel, 'x'))).toMatchObject({ operation: 'message' });
  });

  it('stays as it is across tenants', () => {
    for (const form of ['raw', 'keyevent', 'keyspace'] as const)
      expect(messageFor(form, bytes('c'), bytes('m'), undefined)).toEqual({
        channel: bytes('c'),
        message: bytes('m'),
      });
  });
});

describe('names of channels among arguments', () => {
  it('become physical', () => {
    expect(scopePublish(['c', 'm'], names)).toEqual(['tk:acme:c', 'm']);
    expect(scopeCounting(['numsub', 'a', 'b'], names)).toEqual(['numsub', 'tk:acme:a', 'tk:acme:b']);
    expect(scopeListing(['channels'], starred)).toEqual(['channels', String.raw`a\*acme:*`]);
    expect(scopeListing(['channels', 'a', 'b'], names)).toEqual(['channels', 'tk:acme:a', 'b']);
    expect(scopeListing([], names)).toEqual(['', 'tk:acme:*']);
  });
});

describe('names of channels in replies', () => {
  it('become logical', () => {
    expect(nameChannels(['tk:acme:a', bytes('tk:acme:b')], names, 'x')).toEqual(['a', bytes('b')]);
    expect(nameCounts(['tk:acme:a', 1, 'tk:acme:b', 2], names, 'x')).toEqual(['a', 1, 'b', 2]);
    for (const read of [nameChannels, nameCounts])
      for (const reply of [[], 'QUEUED', bytes('QUEUED')]) expect(read(reply, names, 'x')).toEqual(reply);
  });

  it('that are foreign, or stand nobody knows where, are a breach', () => {
    for (const read of [nameChannels, nameCounts]) {
      expect(caught(() => read(['tk:acme2:a', 1], names, 'x'))).toMatchObject({ operation: 'x' });
      expect(caught(() => read([7, 1], names, 'x'))).toMatchObject({
        surface: 'cache',
        operation: 'x',
        message: expect.stringContaining('a channel of an unknown form came back'),
      });
      for (const reply of ['tk:acme:a', bytes('queued'), null, undefined, 7, { toString: () => 'QUEUED' }])
        expect(caught(() => read(reply, names, 'x'))).toMatchObject({
          surface: 'cache',
          operation: 'x',
          message: expect.stringContaining('a reply of an unknown form came back'),
        });
    }
  });
});

function caught(read: () => unknown): IsolationBreachError {
  try {
    read();
  } catch (error) {
    if (error instanceof IsolationBreachError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
