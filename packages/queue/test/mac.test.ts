import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { lengthPrefixed } from '../src/bytes.ts';
import { macOf } from '../src/keys.ts';
import { oddText } from './header-support.ts';

const secret = fc.uint8Array({ minLength: 32, maxLength: 32 });
const expected = (key: Uint8Array, fields: readonly string[]): string =>
  createHmac('sha256', key).update(lengthPrefixed(fields)).digest('base64url');

it('is HMAC-SHA-256 as node:crypto has it, whatever the key and the fields', () => {
  fc.assert(
    fc.property(secret, fc.array(oddText({ maxLength: 300 }), { maxLength: 12 }), (key, fields) => {
      expect(macOf(key)(fields)).toBe(expected(key, fields));
    }),
  );
});

it('does not depend on what it was made over before, also where fields are long', () => {
  const [one, other] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const [macOfOne, macOfOther] = [macOf(one), macOf(other)];
  for (const length of [0, 100_000, 5_439, 5_440, 5_441, 16_384, 1, 5_440, 0]) {
    // Three bytes of UTF-8 each: as many as a character of JavaScript can take.
    const fields = ['a', '€'.repeat(length), ''];
    expect(macOfOne(fields), `${length}`).toBe(expected(one, fields));
    expect(macOfOther(fields), `${length}`).toBe(expected(other, fields));
  }
});
