import { expect, it } from 'vitest';
import { checkNames } from './names-check.ts';

it('every accepted key of a million is one name, its tenant’s own, and resolves to itself', () => {
  const { accepted, refused } = checkNames(1_000_000);
  // Neither half of the property is empty.
  expect(accepted).toBeGreaterThan(200_000);
  expect(refused).toBeGreaterThan(200_000);
});
