import { describe, expect, it } from 'vitest';
import { checkAgainstModel } from './model/check.ts';

describe('a long random program of several tenants on one client', () => {
  it('is for each of them the program of a tenant with a Redis of its own', async () => {
    expect(await checkAgainstModel({ commands: 1_000_000 })).toBeGreaterThanOrEqual(1_000_000);
  }, 3_600_000);
});
