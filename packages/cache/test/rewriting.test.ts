import { getKeyIndexes, list } from '@ioredis/commands';
import { IsolationBreachError, OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Argument } from '../src/keyspec.ts';
import { CacheNames } from '../src/names.ts';
import { nameFirst, namePage, nameStreams } from '../src/replies.ts';
import { rewriteArguments } from '../src/rewrite.ts';
import { headFor, headOf, rowOf } from '../src/rows.ts';
import {
  ANYWHERE,
  BLOCKING,
  ENDING,
  SCRIPTING,
  SHARED_CONNECTION,
  ruleOf,
  rules,
  type CacheRule,
} from '../src/rules.ts';
import { samples } from './samples.ts';

const names = new CacheNames().of('acme');

// Every row by its full name, those of subcommands too.
const rows: readonly (readonly [string, CacheRule])[] = Object.entries(rules).flatMap(
  ([name, rule]: [string, CacheRule]) =>
    rule.kind === 'custom' && typeof rule.custom === 'object'
      ? Object.entries(rule.custom.subcommands).map(([sub, row]) => [`${name} ${sub}`.trim(), row] as const)
      : [[name, rule] as const],
);

describe('the arguments that are sent', () => {
  it('hold the prefix where ioredis knows of a key, and nowhere else', () => {
    let compared = 0;
    for (const [name, calls] of Object.entries(samples)) {
      const [word = '', ...sub] = name.split(' ');
      for (const sample of calls) {
        const given = [...sub, ...sample].map(String);
        if (!list.includes(word) || rowOf(word, given).rule.kind !== 'rewrite') continue;
        const places = new Set(getKeyIndexes(word, given));
        const sent = given.map((argument, place) => (places.has(place) ? `tk:acme:${argument}` : argument));
        expect([name, rewritten(word, given)]).toEqual([name, sent]);
        const bytes = rewritten(
          word,
          given.map((argument) => Buffer.from(argument)),
        );
        expect([name, (bytes as Argument[]).map(String)]).toEqual([name, sent]);
        compared += places.size;
      }
    }
    expect(compared).toBeGreaterThan(200);
  });

  it.each([
    [
      ['scan', '0'],
      ['0', 'MATCH', 'tk:acme:*'],
    ],
    [
      ['publish', 'news', 'news'],
      ['tk:acme:news', 'news'],
    ],
    [
      ['spublish', 'news', 'news'],
      ['tk:acme:news', 'news'],
    ],
    [
      ['pubsub', 'channels'],
      ['channels', 'tk:acme:*'],
    ],
    [
      ['pubsub', 'SHARDCHANNELS', 'n*'],
      ['SHARDCHANNELS', 'tk:acme:n*'],
    ],
    [
      ['pubsub', 'numsub', 'a', 'b'],
      ['numsub', 'tk:acme:a', 'tk:acme:b'],
    ],
    [
      ['pubsub', 'shardnumsub', 'a'],
      ['shardnumsub', 'tk:acme:a'],
    ],
    [
      ['pubsub', 'channels', 'a', 'b'],
      ['channels', 'tk:acme:a', 'b'],
    ],
    [['ping', 'text'], ['text']],
    [['get'], []],
    [['mget'], []],
    // Answered without the server: the names are looked at later.
    [['keys', 'a*'], ['a*']],
    [['dbsize'], []],
    [['flushdb', 'ASYNC'], ['ASYNC']],
    [
      ['subscribe', 'a', 'b'],
      ['a', 'b'],
    ],
  ] as const)('%j', ([name, ...given], sent) => {
    expect(rewritten(name, given)).toEqual(sent);
  });

  it.each([
    ['sintercard', 'x', 'a'],
    ['sintercard', '0', 'a'],
    ['sintercard', '01', 'a'],
    ['sintercard', '1a', 'a'],
    ['sintercard', 'x1', 'a'],
    ['eval', 'script', '-1', 'a'],
    ['eval', 'script', '2', 'a'],
    ['copy', 'a', 'b', 'DB', '1'],
    ['sort', 'a', 'NOSUCH'],
    ['xread', 'STREAMS', 'a', 'b', '0'],
    ['scan'],
    ['scan', '0', 'NOVALUES'],
    ['keys'],
    ['dbsize', 'x'],
    ['randomkey', 'x'],
    ['flushall', 'x'],
    ['flushall', 'SYNC', 'x'],
  ])('are none when they cannot be understood: %s', (name, ...given) => {
    const error = rewritten(name, given);
    const [why, instead]: readonly [string, RegExp] = [
      'sintercard',
      'eval',
      'zunion',
      'zunionstore',
    ].includes(name)
      ? ['its keys could not be told from its other arguments', /^Give a count of keys as a whole number/]
      : name === 'copy' || name === 'sort' || name === 'xread'
        ? ['its options could not be understood', /DB, which names another database, is refused/]
        : ['its arguments could not be understood', /^Give those that Redis documents/];
    expect(error).toBeInstanceOf(OperationRefusedError);
    expect(error).toMatchObject({
      surface: 'cache',
      operation: name,
      message: expect.stringContaining(why),
      instead: expect.stringMatching(instead),
    });
  });

  it('are none for what is refused, and for what has no row', () => {
    expect(rewritten('config', ['GET', '*'])).toMatchObject({
      surface: 'cache',
      operation: 'config',
      instead: expect.stringContaining('acrossTenants'),
    });
    expect(rewritten('pubsub', ['nosuch'])).toMatchObject({ operation: 'pubsub nosuch' });
    expect(rewritten('nosuch', ['a'])).toMatchObject({
      operation: 'nosuch',
      message: expect.stringContaining('it is not in the rules table'),
      instead: expect.stringContaining('acrossTenants({ reason, actor }'),
    });
    expect(rewritten('constructor', [])).toBeInstanceOf(OperationRefusedError);
  });
});

describe('patterns of SORT', () => {
  it('are refused where the template holds the place of the element, and only then', () => {
    const starred = new CacheNames({ names: 'a*{tenant}:' }).of('acme');
    const sort = (given: string[]): unknown => rewriteArguments([...given], rowOf('sort', given), starred);
    expect(sort(['list', 'BY', 'w_*'])).toMatchObject({
      surface: 'cache',
      operation: 'sort',
      message: expect.stringContaining('the template of the names holds a *'),
      instead: 'Use a template without * to SORT with BY and GET.',
    });
    expect(sort(['list', 'GET', '#'])).toEqual(['a*acme:list', 'GET', '#']);
    expect(sort(['list'])).toEqual(['a*acme:list']);
  });
});

describe('names in replies of streams', () => {
  const streams = (reply: unknown): unknown => nameStreams(reply, names, 'xread');
  const entries = [['1-0', ['tk:acme:f', 'v']]];

  it('become logical in pairs, in a flat array, and in an object', () => {
    expect(streams([['tk:acme:a', entries]])).toEqual([['a', entries]]);
    expect(streams(['tk:acme:a', entries, Buffer.from('tk:acme:b'), entries])).toEqual([
      'a',
      entries,
      Buffer.from('b'),
      entries,
    ]);
    const named = streams({ 'tk:acme:__proto__': entries, 'tk:acme:b': entries }) as object;
    expect(Object.entries(named)).toEqual([
      ['__proto__', entries],
      ['b', entries],
    ]);
    for (const key of Object.keys(named))
      expect(Object.getOwnPropertyDescriptor(named, key)).toMatchObject({
        configurable: true,
        enumerable: true,
        writable: true,
      });
  });

  it('are not in what is empty, or only queued', () => {
    for (const reply of [null, undefined, 'QUEUED', Buffer.from('QUEUED')])
      expect(streams(reply)).toBe(reply);
    expect(streams([])).toEqual([]);
  });

  it('that are foreign, or stand nobody knows where, are a breach', () => {
    const foreign = 'tk:acme2:a';
    for (const reply of [
      [[foreign, entries]],
      [foreign, entries],
      { [foreign]: entries },
      foreign,
      7,
      true,
      [7, 7],
    ])
      expect(caught(() => streams(reply))).toMatchObject({ surface: 'cache', operation: 'xread' });
    expect(caught(() => streams(Buffer.from(foreign))).message).toContain(
      'a reply of an unknown form came back',
    );
  });
});

describe('the table', () => {
  it('says for every row why, and for every refusal what to use instead', () => {
    for (const [name, rule] of rows) {
      if (rule.kind === 'pass')
        expect([name, rule.why]).toEqual([name, expect.stringMatching(/^it .*[^.]$/)]);
      if (rule.kind !== 'refuse') continue;
      expect([name, rule.why]).toEqual([name, expect.stringMatching(/^\S.{9,}[^.]$/)]);
      expect([name, rule.instead]).toEqual([name, expect.stringMatching(/^\S.{9,}\.$/)]);
    }
  });

  it('has a row for all that ioredis knows', () => {
    expect(list.filter((name) => ruleOf(name) === undefined)).toEqual([]);
    expect(list.filter((name) => ruleOf(name.toUpperCase()) !== ruleOf(name))).toEqual([]);
  });

  it('has a meaning of its own for these', () => {
    const own: Record<string, string[]> = {};
    for (const [name, rule] of rows)
      if (rule.kind === 'custom' && typeof rule.custom === 'string') (own[rule.custom] ??= []).push(name);
    for (const list of Object.values(own)) list.sort();
    expect(own).toEqual({
      counting: ['pubsub numsub', 'pubsub shardnumsub'],
      listing: ['pubsub channels', 'pubsub shardchannels'],
      publish: ['publish', 'spublish'],
      scan: ['scan'],
      subscription: ['psubscribe', 'punsubscribe', 'ssubscribe', 'subscribe', 'sunsubscribe', 'unsubscribe'],
      walk: ['dbsize', 'flushall', 'flushdb', 'keys', 'randomkey'],
    });
    for (const name of own['walk'] ?? []) expect(rowOf(name, []).walk).toBeDefined();
    for (const name of own['subscription'] ?? []) expect(rowOf(name, []).subscribes).toBe(true);
    expect(rowOf('get', [])).toMatchObject({ walk: undefined, subscribes: false, read: undefined });
    expect(rowOf('publish', [])).toMatchObject({ walk: undefined, subscribes: false, read: undefined });
  });

  it('has lists whose every name stands in it', () => {
    const known = new Set([...rows.map(([name]) => name), ...Object.keys(rules)]);
    // Containers that are refused as a whole have no rows for their subcommands.
    const names = [...ANYWHERE, ...BLOCKING, ...ENDING, ...SCRIPTING, ...SHARED_CONNECTION];
    expect(names.filter((name) => !known.has(name) && !known.has(name.split(' ')[0] ?? ''))).toEqual([]);
    expect(names).not.toContain('');
  });

  it('has in its lists what must be there', () => {
    const waiting = list.filter((name) => /^b(?:[lr]?pop|[lr]pop|lm|rpoplpush|z)|^wait$/.test(name));
    const allowed = waiting.filter((name) => ruleOf(name)?.kind !== 'refuse');
    expect(allowed.filter((name) => !BLOCKING.has(name))).toEqual([]);
    const scripting = rows.filter(
      ([name, { kind }]) => /^(?:eval|fcall|script)/.test(name) && kind !== 'refuse',
    );
    const named = scripting.map(([name]) => name).filter((name) => name !== 'script help');
    expect([...SCRIPTING].sort()).toEqual(named.sort());
    expect([...ENDING]).toEqual(['quit']);
    expect([...ANYWHERE].sort()).toEqual(['ping', 'quit', 'script exists', 'script load']);
    expect([...SHARED_CONNECTION].sort().join(', ')).toBe(
      'asking, auth, client caching, client no-evict, client no-touch, client reply, client setname, client tracking, ' +
        'discard, exec, hello, monitor, multi, psync, readonly, readwrite, replconf, reset, select, sync, unwatch, watch',
    );
  });
});

describe('a row', () => {
  it('is the same in whatever letter case', () => {
    expect(rowOf('GeT', [])).toBe(rowOf('get', []));
    expect(rowOf('PUBSUB', ['NumSub'])).toBe(rowOf('pubsub', [Buffer.from('numsub')]));
    expect(rowOf('get', []).where).toEqual({ surface: 'cache', operation: 'get' });
    expect(rowOf('pubsub', ['numsub']).where).toEqual({ surface: 'cache', operation: 'pubsub numsub' });
    expect(rowOf('command', []).where).toEqual({ surface: 'cache', operation: 'command' });
    expect(Object.isFrozen(rowOf('get', []))).toBe(true);
    expect(Object.isFrozen(rowOf('get', []).where)).toBe(true);
  });

  it('is short and printable for what a caller made up', () => {
    const { where } = rowOf(`no\n such.-${'x'.repeat(100)}`, []);
    expect(where.operation).toBe(`no? such.-${'x'.repeat(54)}`);
  });

  it('knows what ends the connection, and what has to do with scripts', () => {
    expect(rowOf('quit', []).ends).toBe(true);
    expect(rowOf('get', [])).toMatchObject({ ends: false, scripting: false, name: 'get', first: true });
    expect(rowOf('script', ['LOAD', 'x'])).toMatchObject({ scripting: true, ends: false, name: 'script' });
    for (const name of ['mget', 'lmpop', 'sintercard', 'copy', 'blpop', 'ping', 'mset', 'object'])
      expect([name, rowOf(name, ['encoding', 'x']).first]).toEqual([name, false]);
  });

  it('is written with the count of its arguments and the length of its name in bytes', () => {
    for (let count = 0; count < 12; count += 1) {
      expect(headOf('get', count)).toBe(`*${count + 1}\r\n$3\r\nget\r\n`);
      expect(headFor(rowOf('get', []), count)).toBe(headOf('get', count));
    }
    expect(headOf('gét', 1)).toBe('*2\r\n$4\r\ngét\r\n');
    expect(rowOf('get', []).heads).toHaveLength(8);
  });
});

describe('names in replies', () => {
  const first = (reply: unknown): unknown => nameFirst(reply, names, 'blpop');
  const page = (reply: unknown): unknown => namePage(reply, names, 'scan');

  it('become logical', () => {
    expect(first(['tk:acme:a', 'tk:acme:b'])).toEqual(['a', 'tk:acme:b']);
    expect(first([Buffer.from('tk:acme:a'), 1])).toEqual([Buffer.from('a'), 1]);
    expect(page(['0', ['tk:acme:a', 'tk:acme:tk:acme:b']])).toEqual(['0', ['a', 'tk:acme:b']]);
    expect(page([Buffer.from('7'), []])).toEqual([Buffer.from('7'), []]);
  });

  it('are read by the rows that have some', () => {
    expect(rowOf('scan', []).read).toBe(namePage);
    for (const name of ['blpop', 'brpop', 'bzpopmin', 'bzpopmax', 'lmpop', 'zmpop', 'blmpop', 'bzmpop'])
      expect([name, rowOf(name, []).read]).toEqual([name, nameFirst]);
    const channels = rowOf('pubsub', ['channels']).read;
    expect(channels?.(['tk:acme:a'], names, 'pubsub channels')).toEqual(['a']);
    const counts = rowOf('pubsub', ['numsub']).read;
    expect(counts?.(['tk:acme:a', 2], names, 'pubsub numsub')).toEqual(['a', 2]);
  });

  it('are not in what is empty, or only queued', () => {
    for (const reply of [null, undefined, 'QUEUED', Buffer.from('QUEUED')]) {
      expect(first(reply)).toBe(reply);
      expect(page(reply)).toBe(reply);
    }
    expect(first([])).toEqual([]);
  });

  it.each([
    ['tk:acme:a', 'a reply of an unknown form came back'],
    ['', 'a reply of an unknown form came back'],
    [Buffer.alloc(0), 'a reply of an unknown form came back'],
    [Buffer.from('queued'), 'a reply of an unknown form came back'],
    [{ 'tk:acme:a': 1 }, 'a reply of an unknown form came back'],
    [7, 'a reply of an unknown form came back'],
    [{ toString: () => 'QUEUED' }, 'a reply of an unknown form came back'],
  ])('that stand nobody knows where are a breach: %j', (reply, problem) => {
    for (const read of [first, page])
      expect(caught(() => read(reply))).toMatchObject({
        surface: 'cache',
        message: expect.stringContaining(problem),
      });
    expect(caught(() => first(reply))).toMatchObject({ surface: 'cache', operation: 'blpop' });
  });

  it('of another tenant are a breach', () => {
    for (const foreign of ['tk:acme2:a', Buffer.from('tk:acme2:a'), 'tk:acme', '']) {
      expect(caught(() => first([foreign, 'x']))).toMatchObject({ operation: 'blpop' });
      expect(caught(() => page(['0', ['tk:acme:a', foreign]]))).toMatchObject({ operation: 'scan' });
    }
    for (const strange of [7, null, ['tk:acme:a']])
      expect(caught(() => first([strange])).message).toContain('a key of an unknown form came back');
    for (const strange of [['0'], ['0', 'tk:acme:a'], []])
      expect(caught(() => page(strange))).toMatchObject({
        surface: 'cache',
        operation: 'scan',
        message: expect.stringContaining('a page of an unknown form came back'),
      });
  });
});

function rewritten(name: string, given: readonly Argument[]): Argument[] | Error {
  return rewriteArguments([...given], rowOf(name, given), names);
}

function caught(read: () => unknown): IsolationBreachError {
  try {
    read();
  } catch (error) {
    if (error instanceof IsolationBreachError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
