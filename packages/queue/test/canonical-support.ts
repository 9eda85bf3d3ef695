import fc from 'fast-check';
import { storable } from '../src/canonical.ts';

export const wellFormed = fc.string({ unit: 'grapheme' });
export const anyNumber = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.maxSafeInteger(),
  fc.constantFrom(
    -0,
    0,
    1e14,
    1e15,
    984_632_603_395_485,
    1 / 3,
    2 ** 53,
    1e21,
    1e-7,
    5e-324,
    Number.MAX_VALUE,
  ),
);
const number = anyNumber.map(storable);
const leaf = fc.oneof(wellFormed, number, fc.boolean());
export const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, leaf, tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(
    wellFormed.filter((key) => key !== '__proto__'),
    tie('value'),
    { maxKeys: 5 },
  ),
}));
