import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canCreate, createdPlaces, keyPlaces, mayWait, patternPlaces, type KeySpec } from '../src/keyspec.ts';
import { CacheNames } from '../src/names.ts';
import { words } from '../src/rules/places.ts';
import { scopeScan } from '../src/scan.ts';

const names = new CacheNames().of('acme');

const COPY: KeySpec = {
  at: [{ from: 0, to: 1, step: 1 }],
  options: { from: 2, words: words({ replace: 0 }) },
};
const STREAMS: KeySpec = {
  at: [],
  options: {
    from: 0,
    words: words({ block: 1, count: 1, group: 2 }),
    halved: 'streams',
    waits: 'block',
  },
};
const SORT: KeySpec = {
  at: [{ from: 0, to: 0, step: 1 }],
  options: {
    from: 1,
    words: words({ alpha: 0, by: 'pattern', get: 'pattern', limit: 2, store: 'target' }),
  },
};

describe('places of keys', () => {
  const cases: readonly [string, KeySpec, string, number[] | undefined][] = [
    ['the first argument', { at: [{ from: 0, to: 0, step: 1 }] }, 'a b c', [0]],
    ['all arguments', { at: [{ from: 0, to: -1, step: 1 }] }, 'a b c', [0, 1, 2]],
    ['every second one', { at: [{ from: 0, to: -1, step: 2 }] }, 'a 1 b 2', [0, 2]],
    ['every second one, odd', { at: [{ from: 0, to: -1, step: 2 }] }, 'a 1 b', [0, 2]],
    ['all but the last', { at: [{ from: 0, to: -2, step: 1 }] }, 'a b 1', [0, 1]],
    ['all but the last, alone', { at: [{ from: 0, to: -2, step: 1 }] }, '1', []],
    ['a count', { at: [], counted: 0 }, '2 a b WEIGHTS 1 2', [1, 2]],
    ['a target and a count', { at: [{ from: 0, to: 0, step: 1 }], counted: 1 }, 't 2 a b', [0, 2, 3]],
    ['a count that is too high', { at: [], counted: 0 }, '3 a b', undefined],
    ['a count of none', { at: [], counted: 1, orNone: true }, 'script 0 a', []],
    ['a count of none, where there must be some', { at: [], counted: 1 }, 'script 0 a', undefined],
    ['a count that only looks like none', { at: [], counted: 1, orNone: true }, 'script 00 a', undefined],
    ['a count that may be none, and is not', { at: [], counted: 1, orNone: true }, 'script 2 a b 0', [2, 3]],
    ['a count of none at the end', { at: [], counted: 1, orNone: true }, 'script 0', []],
    ['a count that is missing', { at: [{ from: 0, to: 0, step: 1 }], counted: 1 }, 't', [0]],
    ['a known option', COPY, 'a b REPLACE', [0, 1]],
    ['an unknown option', COPY, 'a b DB 1', undefined],
    ['an option of every object', COPY, 'a b constructor REPLACE', undefined],
    [
      'counted pairs',
      { at: [], counted: 0, countedCreates: true, countedPairs: true },
      '2 a 1 b 2 NX',
      [1, 3],
    ],
    [
      'counted pairs, too few',
      { at: [], counted: 0, countedCreates: true, countedPairs: true },
      '2 a 1 b',
      undefined,
    ],
    ['the first half after a word', STREAMS, 'COUNT 1 STREAMS a b 0 0', [3, 4]],
    ['a value that is like the word', STREAMS, 'GROUP streams streams STREAMS a >', [4]],
    ['a key that is like the word', STREAMS, 'STREAMS streams streams', [1]],
    ['halves that differ', STREAMS, 'STREAMS a b 0', undefined],
    ['nothing after the word', STREAMS, 'COUNT 1 STREAMS', undefined],
    ['no word', STREAMS, 'COUNT 1', undefined],
    ['an option before the word that nobody knows', STREAMS, 'X STREAMS a 0', undefined],
    ['an option without its value', SORT, 'a LIMIT 1', undefined],
    ['keys and patterns of options', SORT, 'a BY w_* GET GET STORE b STORE c', [0, 6, 8]],
    ['patterns that are like options', SORT, 'a GET STORE GET b', [0]],
  ];

  const created: readonly [string, KeySpec, string, number[]][] = [
    ['a command that reads', { at: [{ from: 0, to: 0, step: 1 }] }, 'a', []],
    ['a target', { at: [{ from: 0, to: 0, step: 1, creates: true }], counted: 1 }, 't 2 a b', [0]],
    [
      'counted pairs',
      { at: [], counted: 0, countedCreates: true, countedPairs: true },
      '2 a 1 b 2 NX',
      [1, 3],
    ],
    ['targets behind options', SORT, 'a BY w_* STORE b STORE c', [4, 6]],
    ['what is not understood', SORT, 'a STORE b x', []],
  ];

  it.each(created)('that come into being: %s', (_, spec, args, places) => {
    expect(createdPlaces(spec, args.split(' '))).toEqual(places);
    if (places.length > 0) expect(canCreate(spec)).toBe(true);
  });

  it('of which none can come into being are known before there are arguments', () => {
    expect([canCreate(COPY), canCreate(STREAMS), canCreate(SORT)]).toEqual([false, false, true]);
  });

  it.each([
    ['STREAMS a 0', false],
    ['BLOCK 0 STREAMS a 0', true],
    ['GROUP block block STREAMS a >', false],
    ['STREAMS block 0', false],
    ['COUNT BLOCK STREAMS a 0', false],
    ['NOBODY BLOCK', true],
  ])('%s', (args, waits) => {
    expect(mayWait(STREAMS, args.split(' '))).toBe(waits);
    expect(mayWait(SORT, args.split(' '))).toBe(false);
  });

  it('are none without arguments, which the server refuses, and nobody waits for that', () => {
    for (const spec of [COPY, STREAMS, SORT]) expect(keyPlaces(spec, [])).toEqual([]);
    expect(mayWait({ at: [] }, [])).toBe(false);
    expect(mayWait(STREAMS, [])).toBe(false);
    expect(patternPlaces({ at: [] }, ['a'])).toEqual([]);
  });

  it('of patterns are those that name keys', () => {
    const args = 'a BY w_* GET # GET x_*->f ALPHA LIMIT 0 1';
    expect(patternPlaces(SORT, args.split(' '))).toEqual([2, 6]);
  });

  it.each(cases)('%s', (_, spec, args, places) => {
    expect(keyPlaces(spec, args.split(' '))).toEqual(places);
    expect(
      keyPlaces(
        spec,
        args.split(' ').map((arg) => Buffer.from(arg)),
      ),
    ).toEqual(places);
  });

  it('never lie outside the arguments', () => {
    const specs = cases.map(([, spec]) => spec);
    const words = fc.array(fc.constantFrom('a', '0', '1', '2', '3', '01', 'REPLACE', ''));
    fc.assert(
      fc.property(fc.constantFrom(...specs), words, (spec, args) => {
        const places = keyPlaces(spec, args) ?? [];
        expect(places.every((place) => place >= 0 && place < args.length)).toBe(true);
        expect(new Set(places).size).toBe(places.length);
      }),
    );
  });
});

describe('the arguments of SCAN', () => {
  it.each([
    ['0', '0 MATCH tk:acme:*'],
    ['0 COUNT 7', '0 COUNT 7 MATCH tk:acme:*'],
    ['5 MATCH x* TYPE set', '5 MATCH tk:acme:x* TYPE set'],
    ['0 mAtCh * MATCH y', '0 mAtCh tk:acme:* MATCH tk:acme:y'],
    ['0 MATCH MATCH', '0 MATCH tk:acme:MATCH'],
    ['0 TYPE MATCH', '0 TYPE MATCH MATCH tk:acme:*'],
  ])('%s', (given, scoped) => {
    expect(scopeScan(given.split(' '), names)).toEqual(scoped.split(' '));
    const bytes = scopeScan(
      given.split(' ').map((arg) => Buffer.from(arg)),
      names,
    );
    expect(bytes?.map(String)).toEqual(scoped.split(' '));
  });

  it.each(['0 MATCH', '0 COUNT', '0 NOVALUES', '0 NOVALUES 1', '0 MATCH x COUNT', '0 x'])(
    'not %s',
    (given) => {
      expect(scopeScan(given.split(' '), names)).toBeUndefined();
    },
  );

  it('need a cursor', () => {
    expect(scopeScan([], names)).toBeUndefined();
  });
});
