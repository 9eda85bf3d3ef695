import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { operations, programs } from './model/operations.ts';
import { World } from './model/world.ts';
import { open } from './open.ts';
import { lacking, needs } from './servers/capabilities.ts';
import type { Feature } from './servers/table.ts';

const TURNS = 15;
// Somewhat less than a turn has: tenants sit out some.
const CALLS = 2.3;

/**
 * Plays random programs of three tenants, all of which use the same keys, and compares every reply and all that is
 * stored afterwards with what a tenant with a bucket of its own would have. `MODEL_SEED` and `MODEL_PATH` repeat a
 * failure, which fast-check prints with its smallest program.
 */
async function check(calls: number, versioned: boolean): Promise<number> {
  await using own = await open({ traits: { versioned } });
  const world = new World(own, versioned);
  const can = (feature: Feature): boolean => lacking([feature]) === undefined;
  const operation = operations({ versioned, aborts: can('aborts'), folders: can('folders') });
  const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;
  await fc.assert(
    fc.asyncProperty(programs(operation, TURNS), async (turns) => {
      await world.clear();
      for (const turn of turns) await world.play(turn);
      await world.compare();
    }),
    {
      numRuns: Math.ceil(calls / (TURNS * CALLS)),
      ...(seed === undefined ? {} : { seed: Number(seed) }),
      ...(path === undefined ? {} : { path }),
    },
  );
  await world.clear();
  return world.calls;
}

describe('three tenants with the same keys', () => {
  it('have what they would have with a bucket of their own, after 5,000 random operations', async () => {
    expect(await check(5_000, false)).toBeGreaterThanOrEqual(5_000);
  }, 600_000);

  needs('versions').it(
    'so with all versions, after 2,000',
    async () => {
      expect(await check(2_000, true)).toBeGreaterThanOrEqual(2_000);
    },
    600_000,
  );
});
