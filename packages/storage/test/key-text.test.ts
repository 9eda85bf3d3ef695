import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyReader, markerBefore } from '../src/key-text.ts';

const read = keyReader('url');
const encoded = (bytes: Buffer): string => bytes.toString('hex').replace(/../g, (byte) => `%${byte}`);

describe('a key in a listing', () => {
  it('is read as it is written, by whichever server', () => {
    expect(read('a+b%20c%2Bd%C3%A9')).toEqual({ key: 'a b c+dé' });
    expect(read(undefined)).toEqual({ key: '' });
    expect(keyReader(undefined)('a+b%20')).toEqual({ key: 'a+b%20' });
  });

  it.each(['%FF', 'a%ffb', 'é%C3', '%ED%A0%80', '%F4%90%80%80', '%C0%AF'])(
    'of bytes that are no UTF-8 (%s) is known as such',
    (text) => {
      expect(read(text)).toEqual({ key: expect.stringContaining('\uFFFD') as string, unnamed: text });
    },
  );
});

describe('the marker before a key that is no text', () => {
  // Of all Unicode; fast-check's own units of it take a second to be made.
  const unit = fc.nat(0x10_ff_ff).map((point) => String.fromCodePoint(point));
  const broken = fc
    .tuple(fc.string({ unit, maxLength: 5 }), fc.uint8Array({ minLength: 1, maxLength: 4 }))
    .map(([start, rest]) => Buffer.concat([Buffer.from(start.replaceAll(/[\uD800-\uDFFF]/gu, '')), rest]))
    .filter((bytes) => !Buffer.from(bytes.toString()).equals(bytes));
  const key = fc.string({ unit, minLength: 1, maxLength: 6 });

  it('comes before it, and no other text comes in between', () => {
    fc.assert(
      fc.property(broken, key, (bytes, other) => {
        const marker = Buffer.from(markerBefore(encoded(bytes)));
        expect(Buffer.compare(marker, bytes)).toBe(-1);
        const text = Buffer.from(other);
        // What would have to begin with characters that are none.
        const between = Buffer.compare(text, marker) > 0 && Buffer.compare(text, bytes) < 0;
        expect(between && !other.includes('\u{10FFFF}')).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['a%FF', 'a\u{10FFFF}'],
    ['a%80', 'a\u007F'],
    ['a%C3', 'a\u00BF'],
    ['%ED%A0%80', '\uD7FF'],
    ['é%F0%9F', 'é\u{1EFFF}'],
  ])('%s is %j and what can come behind', (text, start) => {
    expect(markerBefore(text).startsWith(start)).toBe(true);
    expect(Buffer.byteLength(markerBefore(`${'a'.repeat(1000)}${text}`))).toBeLessThanOrEqual(1024);
  });
});
