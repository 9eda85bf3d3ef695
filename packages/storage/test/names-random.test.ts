import { expect, it } from 'vitest';
import { checkNames } from './names-check.ts';

it('every accepted key of 100,000 is one name, its tenant’s own, and resolves to itself', () => {
  const { accepted, refused } = checkNames(100_000);
  // Neither half of the property is empty.
  expect(accepted).toBeGreaterThan(20_000);
  expect(refused).toBeGreaterThan(20_000);
});
