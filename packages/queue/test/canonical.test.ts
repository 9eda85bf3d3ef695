import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, storable } from '../src/canonical.ts';
import { checkJobOptions } from '../src/job-options.ts';
import { anyNumber, json } from './canonical-support.ts';

describe('canonical JSON', () => {
  it('takes numbers that cjson can keep, and no others', () => {
    fc.assert(
      fc.property(anyNumber, (value) => {
        const kept = storable(value);
        expect(storable(kept)).toBe(kept);
        expect(canonicalJson(kept)).toBe(String(kept));
        if (kept !== value && value !== 0) expect(() => canonicalJson(value)).toThrow(TypeError);
      }),
    );
    // Where cjson and JavaScript round differently: 548 and 549.
    expect(() => canonicalJson(984_632_603_395_485)).toThrow(TypeError);
    expect(checkJobOptions('add', { delay: 984_632_603_395_485 })).toEqual({ delay: 984_632_603_395_490 });
    expect(canonicalJson(-0)).toBe('0');
  });

  it('tells different options apart', () => {
    fc.assert(
      fc.property(json.object, json.object, (a, b) => {
        if (canonicalJson(a) !== canonicalJson(b)) return;
        expect(normalised(a)).toEqual(normalised(b));
      }),
    );
    expect(canonicalJson({ a: 1 })).not.toBe(canonicalJson({ a: '1' }));
    expect(canonicalJson({ a: { b: 1 } })).not.toBe(canonicalJson({ 'a.b': 1 }));
    // An own key of this name is a key like any other.
    expect(canonicalJson(JSON.parse('{"__proto__":{"attempts":9}}'))).toBe('{"__proto__":{"attempts":9}}');
  });

  it('sorts names as the engine does, however many there are', () => {
    const names = fc.uniqueArray(fc.string({ unit: 'binary', maxLength: 3 }).filter(isStorable), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(names, (keys) => {
        const sorted = keys.toSorted().map((key) => `${JSON.stringify(key)}:1`);
        expect(canonicalJson(Object.fromEntries(keys.map((key) => [key, 1])))).toBe(`{${sorted.join(',')}}`);
      }),
    );
  });

  it('writes every name as it is, of however many there were before', () => {
    for (let n = 0; n < 1_000; n += 1) canonicalJson({ [`n${n}`]: n, ['x'.repeat(100) + n]: n });
    expect(canonicalJson({ n0: 0, n999: 1, 'a"': 2 })).toBe('{"a\\"":2,"n0":0,"n999":1}');
  });

  it('has one text for each value', () => {
    const texts: readonly (readonly [unknown, string])[] = [
      ['', '""'],
      ['a_~-Z9', '"a_~-Z9"'],
      ['a b', '"a b"'],
      [' a', '" a"'],
      ['"\\\u0000\n/\u2028é😀', '"\\"\\\\\\u0000\\n/\u2028é😀"'],
      [0, '0'],
      [-1.5, '-1.5'],
      [1e20, '100000000000000000000'],
      [1e21, '1e+21'],
      [99_999_999_999_999, '99999999999999'],
      [true, 'true'],
      [false, 'false'],
      [[], '{}'],
      [{}, '{}'],
      [[[], [1, 'a']], '[{},[1,"a"]]'],
      [{ b: 1, a: { d: 2, c: [] }, B: 3 }, '{"B":3,"a":{"c":{},"d":2},"b":1}'],
      // By UTF-16 units: an emoji stands before U+FFFD.
      [{ '\ufffd': 1, '😀': 2 }, '{"😀":2,"\ufffd":1}'],
      [{ a: null, b: undefined, c: { d: null } }, '{"c":{}}'],
      [{ 'a b': 'c"d' }, '{"a b":"c\\"d"}'],
    ];
    for (const [value, text] of texts) expect(canonicalJson(value)).toBe(text);
  });

  it('leaves out one member, and that of the outermost object alone', () => {
    expect(canonicalJson({ a: 1, x: 2, b: { x: 3 } }, 'x')).toBe('{"a":1,"b":{"x":3}}');
    expect(canonicalJson([{ x: 1 }], 'x')).toBe('[{"x":1}]');
  });

  it('rounds numbers to 14 digits, and leaves the others as they are', () => {
    const rounded: readonly (readonly [number, number])[] = [
      [0, 0],
      [-0, 0],
      [1.5, 1.5],
      [99_999_999_999_999, 99_999_999_999_999],
      [-99_999_999_999_999, -99_999_999_999_999],
      [1e14, 1e14],
      [100_000_000_000_001, 1e14],
      [-100_000_000_000_001, -1e14],
      [1 / 3, 0.333_333_333_333_33],
    ];
    for (const [value, kept] of rounded) expect(Object.is(storable(value), kept), String(value)).toBe(true);
  });

  it('refuses what could not be stored as it is', () => {
    for (const bad of [
      NaN,
      Infinity,
      undefined,
      null,
      1n,
      Symbol('x'),
      () => 1,
      'lone \ud800',
      { a: '\udfff' },
      { '\ud800': 1 },
    ]) {
      expect(() => canonicalJson(bad)).toThrow(TypeError);
    }
    const says = (bad: unknown): unknown => {
      try {
        return canonicalJson(bad);
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(says(null)).toBe('null has no place here');
    expect(says(() => 1)).toBe('function has no place here');
    expect(says([undefined])).toBe('undefined has no place here');
    expect(says('\ud800')).toBe('a text holds a lone surrogate');
    expect(says({ 'x\udfff': 1 })).toBe('a text holds a lone surrogate');
    expect(says(-Infinity)).toBe('a number is not finite');
    expect(says(NaN)).toBe('a number is not finite');
    expect(says(1 / 3)).toBe('a number has more than 14 digits');
  });
});

function normalised(value: unknown): unknown {
  if (typeof value === 'number') return value + 0;
  if (Array.isArray(value)) return value.length === 0 ? {} : value.map(normalised);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, normalised(member)]));
}

function isStorable(key: string): boolean {
  return key.isWellFormed() && key !== '__proto__';
}
