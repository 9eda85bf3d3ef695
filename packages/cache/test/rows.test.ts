import { describe, expect, it } from 'vitest';
import { CacheNames } from '../src/names.ts';
import { headOf, lengthOf, nextLengthOf, rowOf, type Row } from '../src/rows.ts';
import { rules, type CacheRule } from '../src/rules.ts';
import { WALKS } from '../src/walks.ts';

const names = new CacheNames().of('acme');

const all: readonly Row[] = Object.entries(rules).flatMap(([name, rule]: [string, CacheRule]) =>
  rule.kind === 'custom' && typeof rule.custom === 'object'
    ? Object.keys(rule.custom.subcommands).map((sub) => rowOf(name, [sub]))
    : [rowOf(name, [])],
);

describe('every row', () => {
  it('cannot be changed by whoever gets hold of it, down to the words of its options', () => {
    const open: string[] = [];
    const look = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      if (!Object.isFrozen(value)) open.push(path);
      for (const [key, part] of Object.entries(value)) look(part, `${path}.${key}`);
    };
    for (const row of all) {
      expect(Object.isFrozen(row)).toBe(true);
      // What a walk does is code, and no data of a tenant.
      for (const [key, part] of Object.entries(row))
        if (key !== 'walk') look(part, `${row.where.operation}.${key}`);
    }
    expect(open).toEqual([]);
    expect(() => Object.assign(rowOf('xread', []).rule, { kind: 'pass' })).toThrow(TypeError);
  });

  it('has beginnings for a few counts of arguments, which are what is written without them', () => {
    for (const { name, heads } of all)
      expect([name, heads]).toEqual([name, [0, 1, 2, 3, 4, 5, 6, 7].map((count) => headOf(name, count))]);
  });

  it('reads the names of streams as streams', () => {
    for (const name of ['xread', 'xreadgroup']) {
      const { read, where } = rowOf(name, []);
      expect(read?.([['tk:acme:s', []]], names, where.operation)).toEqual([['s', []]]);
      expect(read?.(['tk:acme:s', [], 'tk:acme:t', []], names, where.operation)).toEqual(['s', [], 't', []]);
    }
    const readers = all.flatMap(({ read, where }) => (read === undefined ? [] : [where.operation]));
    expect(readers.sort().join(', ')).toBe(
      'blmpop, blpop, brpop, bzmpop, bzpopmax, bzpopmin, lmpop, pubsub channels, pubsub numsub, ' +
        'pubsub shardchannels, pubsub shardnumsub, scan, xread, xreadgroup, zmpop',
    );
  });

  it('walks where the command has a walk, and nowhere else', () => {
    for (const { name, walk } of all) expect([name, walk]).toEqual([name, WALKS[name]]);
  });

  it('waits for ever or never, and by an option only when it is given', () => {
    expect(rowOf('blpop', []).blocks([])).toBe(true);
    expect(rowOf('get', []).blocks(['BLOCK'])).toBe(false);
    expect(rowOf('ping', []).blocks(['BLOCK'])).toBe(false);
    const { blocks } = rowOf('xread', []);
    expect(blocks(['BLOCK', '0', 'STREAMS', 'a', '0'])).toBe(true);
    expect(blocks(['COUNT', '1', 'STREAMS', 'BLOCK', '0'])).toBe(false);
  });
});

describe('the length of an argument', () => {
  it('is written the same whether it is short or long', () => {
    for (const length of [0, 1, 9, 10, 1023, 1024, 1025, 123_456_789]) {
      expect(lengthOf(length)).toBe(`$${length}\r\n`);
      expect(nextLengthOf(length)).toBe(`\r\n$${length}\r\n`);
    }
  });
});
