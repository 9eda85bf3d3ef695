import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyPlaces, type KeySpec } from '../src/keyspec.ts';
import { CacheNames } from '../src/names.ts';
import { scopeScan } from '../src/scan.ts';

const names = new CacheNames().of('acme');

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
    ['a count that is missing', { at: [{ from: 0, to: 0, step: 1 }], counted: 1 }, 't', [0]],
    ['a known tail', { at: [{ from: 0, to: 1, step: 1 }], tail: ['replace'] }, 'a b REPLACE', [0, 1]],
    ['an unknown tail', { at: [{ from: 0, to: 1, step: 1 }], tail: ['replace'] }, 'a b DB 1', undefined],
  ];

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
