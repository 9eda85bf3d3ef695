import { REPEAT, inStates, isPlace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';
import type { JobHash } from './verify.ts';

/** What is true of a job at one moment. */
export interface Whereabouts {
  readonly isStored: boolean;
  /** Whether one of the states names it. */
  readonly isNamed: boolean;
}

/**
 * Looks at a job once more, at all of it in one moment: what was read of it before was read at several, and jobs move,
 * end and are replaced while an audit runs.
 */
export async function whereabouts(
  raw: RawRedis,
  base: string,
  id: string,
  states: readonly string[],
): Promise<Whereabouts> {
  const replies = await raw.run((redis) =>
    inStates(redis.multi().exists(base + id), base, id, states).exec(),
  );
  const [exists, ...places] = (replies ?? []).map(([, reply]) => reply);
  return { isStored: exists === 1, isNamed: places.some((place) => isPlace(place)) };
}

/**
 * Reads a scheduler once more whose hash was not there: it may have been removed since it was listed, or made anew.
 *
 * @returns what is stored of it; `undefined` when it is not listed any more
 */
export async function schedulerAgain(raw: RawRedis, base: string, id: string): Promise<JobHash | undefined> {
  const replies = await raw.run((redis) =>
    redis
      .multi()
      .zscore(base + REPEAT, id)
      .hgetall(`${base}${REPEAT}:${id}`)
      .exec(),
  );
  const [listed, hash] = (replies ?? []).map(([, reply]) => reply);
  return isPlace(listed) ? (Object(hash) as JobHash) : undefined;
}
