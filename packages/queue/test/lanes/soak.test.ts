import { expect, it } from 'vitest';
import { soak } from './soak.ts';

it('every job of every tenant runs, although worker processes are killed', async () => {
  const { kills, repeated } = await soak(600, 20, 1_500);
  expect(kills).toBeGreaterThan(0);
  // At most what the killed ones had begun: concurrency 5 and 2 each.
  expect(repeated).toBeLessThanOrEqual(7 * kills);
});
