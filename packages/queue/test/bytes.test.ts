import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeBase64url, isWellFormed, lengthPrefixed } from '../src/bytes.ts';
import { oddText } from './header-support.ts';

it('fields stand behind their length in bytes, as 32 bits', () => {
  const hex = (...fields: readonly string[]): string => lengthPrefixed(fields).toString('hex');
  expect(hex()).toBe('');
  expect(hex('')).toBe('00000000');
  expect(hex('a', '', 'é')).toBe('00000001610000000000000002c3a9');
  expect(hex('😀b')).toBe('00000005f09f988062');
  expect(hex('x'.repeat(258)).slice(0, 8)).toBe('00000102');
});

it('no two lists give the same bytes', () => {
  const list = fc.array(oddText({ maxLength: 3 }).filter(isWellFormed), { maxLength: 4 });
  fc.assert(
    fc.property(list, list, (one, other) => {
      const same = one.length === other.length && one.every((field, at) => field === other[at]);
      expect(lengthPrefixed(one).equals(lengthPrefixed(other))).toBe(same);
    }),
  );
});

it('a text with a lone surrogate is not well-formed', () => {
  for (const good of ['', 'a', '😀', 'é', '\ufffd']) expect(isWellFormed(good)).toBe(true);
  for (const bad of ['\ud800', 'a\udfff', '\udfff\ud800']) expect(isWellFormed(bad)).toBe(false);
});

it('what is decoded is what encoding gives again, and nothing else is', () => {
  const spelt = fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes).toString('base64url'));
  const near = fc.tuple(spelt, fc.constantFrom('', 'A', 'B', 'Q', 'w', '-', '=', '\n', '+'));
  const text = fc.oneof(
    near.map((parts) => parts.join('')),
    fc.string({ unit: fc.constantFrom(...'AQgwBEIMUYckos048z-_'.split('')), maxLength: 7 }),
  );
  fc.assert(
    fc.property(text, (given) => {
      const bytes = Buffer.from(given, 'base64url');
      expect(decodeBase64url(given)).toEqual(bytes.toString('base64url') === given ? bytes : undefined);
    }),
    { numRuns: 2_000 },
  );
});

it('bytes have one spelling in base64url', () => {
  expect(decodeBase64url('')?.length).toBe(0);
  expect(decodeBase64url('-_8')?.toString('hex')).toBe('fbff');
  for (const bad of ['-_9', '+/8', '-_8=', ' -_8', '-_8\n', '-_', 'A', '-_8.', '-_é'])
    expect(decodeBase64url(bad), bad).toBeUndefined();
});
