import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lengthPrefixed } from '../src/derive.ts';
import { MAX_PLAINTEXT, OVERHEAD, fromText, join, split, toText } from '../src/format.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

const message = fc.record({
  epoch: fc.integer({ min: 0, max: 0xffff_ffff }),
  salt: bytes(24),
  commitment: bytes(32),
  body: fc.uint8Array({ maxLength: 64 }),
  tag: bytes(16),
});

describe('the byte form', () => {
  it('is taken apart into what it was put together from', () => {
    fc.assert(
      fc.property(message, (given) => {
        const found = split(join(given));
        if (typeof found === 'string') throw new Error(found);
        const plain = Object.fromEntries(
          Object.entries(found).map(([name, value]) => [
            name,
            typeof value === 'number' ? value : new Uint8Array(value),
          ]),
        );
        expect(plain).toEqual(given);
      }),
    );
  });

  it('is never shorter than its fields, and never longer than the limit', () => {
    const whole = join({
      epoch: 1,
      salt: Buffer.alloc(24),
      commitment: Buffer.alloc(32),
      body: Buffer.alloc(0),
      tag: Buffer.alloc(16),
    });
    expect(whole).toHaveLength(OVERHEAD);
    expect(split(whole)).toBeTypeOf('object');
    for (let length = 0; length < OVERHEAD; length += 1) {
      expect([length, split(whole.subarray(0, length))]).toEqual([length, 'malformed']);
    }
    const longest = Buffer.alloc(OVERHEAD + MAX_PLAINTEXT + 1);
    whole.copy(longest);
    expect(split(longest.subarray(0, -1))).toBeTypeOf('object');
    expect(split(longest)).toBe('malformed');
  });
});

describe('the text form', () => {
  it('is read back to the same bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (given) => {
        expect(fromText(toText(Buffer.from(given)))).toEqual(Buffer.from(given));
      }),
    );
  });

  // Node's decoder takes many texts for the same bytes; if two were accepted, a ciphertext could be changed
  // without a trace, and a comparison of stored texts would miss it.
  it('is the only text that is read to these bytes', () => {
    const character = fc.constantFrom(...Array.from('AQZaz09-_+/=. \n\t%\u0141\u{1F418}'));
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        fc.nat(),
        character,
        fc.constantFrom('insert', 'replace', 'remove'),
        (given, position, inserted, how) => {
          const text = toText(Buffer.from(given));
          const at = 4 + (position % (text.length - 3));
          const other =
            text.slice(0, at) +
            (how === 'remove' ? '' : inserted) +
            text.slice(how === 'insert' ? at : at + 1);
          const found = fromText(other);
          expect(other === text || typeof found === 'string' || !found.equals(given)).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('is refused with unused bits, padding, the other alphabet, characters whose low byte fits, white space', () => {
    // 79 bytes: the last character has four unused bits, and with 0xfb the text holds - and _.
    const text = toText(Buffer.alloc(79, 0xfb));
    expect(text).toMatch(/[-_]/);
    expect(fromText(text)).toEqual(Buffer.alloc(79, 0xfb));
    const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const unused = text.slice(0, -1) + last.charAt(last.indexOf(text.at(-1) ?? '') + 1);
    expect(Buffer.from(unused.slice(4), 'base64url')).toEqual(Buffer.alloc(79, 0xfb));
    const wide = text.slice(0, 4) + String.fromCharCode((text.codePointAt(4) ?? 0) + 0x100) + text.slice(5);
    const others = {
      unused,
      wide,
      padded: `${text}==`,
      standard: text.replaceAll('-', '+').replaceAll('_', '/'),
      space: `${text} `,
      line: `${text.slice(0, 10)}\n${text.slice(10)}`,
    };
    for (const [name, other] of Object.entries(others)) {
      expect([name, fromText(other)]).toEqual([name, 'authentication']);
    }
  });

  it.each(['', 'tk1', 'TK1.AQ', 'tk2.AQ', ' tk1.AQ', 'AQ', 'tk1-AQ'])(
    'is no text without its prefix: %j',
    (text) => {
      expect(fromText(text)).toBe('malformed');
    },
  );
});

describe('lengthPrefixed', () => {
  it('gives different bytes for different lists', () => {
    const list = fc.array(fc.string({ maxLength: 4, unit: fc.constantFrom('a', 'b', '\0', '\u0001') }), {
      maxLength: 4,
    });
    fc.assert(
      fc.property(list, list, (a, b) => {
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(lengthPrefixed(...a).equals(lengthPrefixed(...b))).toBe(same);
      }),
      { numRuns: 2_000 },
    );
  });
});
