import { createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { lengthPrefixed } from '../src/bytes.ts';
import { macOf, queueKeyRing } from '../src/keys.ts';
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

it('is compared whole, also behind another that was compared before', () => {
  const { current } = queueKeyRing([{ kid: 'k', secret: Buffer.alloc(32, 7) }], 'bull', 'mail');
  const fields = ['a', 'b'];
  const mac = expected(derived(), fields);
  expect(current.verify(fields, mac)).toBe(true);
  for (const other of [
    mac.slice(0, -1),
    mac.slice(1),
    `${mac}A`,
    '',
    `A${mac.slice(1)}`,
    `${mac.slice(0, -1)}A`,
  ])
    expect(current.verify(fields, other), other).toBe(other === mac);
  expect(current.verify(fields, mac)).toBe(true);
});

function derived(): Uint8Array {
  const salt = 'tenantkit/queue/v1';
  return new Uint8Array(hkdfSync('sha256', Buffer.alloc(32, 7), salt, lengthPrefixed(['bull', 'mail']), 32));
}
