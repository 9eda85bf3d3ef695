import { ConfigError } from '@tenantkit/core';
import type { RawRedis } from './raw-redis.ts';
import type { CheckedPlaces } from './places.ts';

/**
 * Refuses to look for a tenant in the shared Redis alone whose jobs are noted to be in another one: what nobody looks at
 * would be counted as gone, and with the note the last thing that leads there.
 *
 * @throws {@link ConfigError} where that is noted
 */
export async function assertHere(
  { queues, place }: CheckedPlaces,
  raw: RawRedis,
  tenant: string,
  operation: string,
): Promise<void> {
  for (const { keys } of queues) {
    // Another thing than a sorted set notes nobody; the eraser says which key that is.
    if ((await raw.run((redis) => redis.type(keys.placed))) !== 'zset') continue;
    if ((await raw.run((redis) => redis.zscore(keys.placed, tenant))) !== null)
      throw elsewhere(operation, keys.placed, place !== undefined);
  }
}

function elsewhere(operation: string, key: string, isPlaced: boolean): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: `queueEraser.${operation}`,
    problem: isPlaced
      ? `place says that the tenant is in the shared Redis, and ${key} that it has added jobs to another one`
      : `the tenant has added jobs to another Redis, as ${key} says, and the eraser has no place`,
    hint: isPlaced
      ? 'Let place name that Redis until the tenant is erased. If nothing of it is left there, take its id out of this sorted set (ZREM).'
      : 'Give the eraser the option place, as the Queue has it, or the Queue itself.',
  });
}
