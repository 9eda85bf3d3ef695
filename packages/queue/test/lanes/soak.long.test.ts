import { expect, it } from 'vitest';
import { soak } from './soak.ts';

it('every one of 20,000 jobs of 50 tenants runs, although worker processes are killed', async () => {
  const { kills, repeated } = await soak(20_000, 50, 2_500);
  expect(kills).toBeGreaterThan(5);
  expect(repeated).toBeLessThanOrEqual(7 * kills);
});
