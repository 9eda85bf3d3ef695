import fc from 'fast-check';
import { expect, it } from 'vitest';
import { keyProblem } from '../src/grammar.ts';
import { unboundedHiddenDotSegment } from './grammar-unbounded.ts';
import { keys } from './names-check.ts';

// What takes long to look through: characters that stand for many, and escapes of escapes, alone and together.
const DENSE =
  '\ufdfa \u00bd \uff05 % 25 2 2e u u002e uFDFA 00 09 2f 5c . .. / ; + e \u0301 \u0307 \u0338 \u200b EF%B7%BA %EF%BC%8E';
const dense = fc
  .array(fc.constantFrom(' ', ...DENSE.split(' ')), { minLength: 1, maxLength: 24 })
  .map((pieces) => pieces.join(''));

it('the bounded rule of hidden dots leaves no key out that would be refused without a limit', () => {
  let refused = 0;
  let accepted = 0;
  const judge = (key: string): void => {
    if (keyProblem(key) !== undefined) return;
    accepted += 1;
    if (unboundedHiddenDotSegment(key) >= 0) expect.fail(`${JSON.stringify(key)} is accepted`);
  };
  fc.assert(
    fc.property(
      fc.oneof(
        keys,
        dense,
        fc.tuple(dense, keys).map(([a, b]) => a + b),
      ),
      (key) => {
        judge(key);
        judge(key.normalize('NFC'));
        if (unboundedHiddenDotSegment(key) >= 0) refused += 1;
      },
    ),
    { numRuns: 20_000 },
  );
  expect(refused).toBeGreaterThan(2_000);
  expect(accepted).toBeGreaterThan(2_000);
});
