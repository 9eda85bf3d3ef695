import { expect, test } from 'vitest';

test('goes on until the run is interrupted', async () => {
  await expect(new Promise(() => undefined)).resolves.toBe('never');
});
