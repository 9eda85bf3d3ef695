import { LISTS, REPEAT, isInState } from '../places.ts';
import type { RawRedis } from '../raw-redis.ts';
import type { JobHash } from '../verify.ts';

/** In the order in which a job goes through them, so that one which is moved while they are read is met. */
const TO_COME = ['delayed', 'prioritized', ...LISTS];

/**
 * Whether a scheduler has stopped before its time: it is listed, and has no job that is to come, from which the next one
 * would be made.
 *
 * @param base - what the keys of its lane begin with
 * @param hash - the scheduler, which was verified
 */
export async function hasStopped(
  raw: RawRedis,
  base: string,
  id: string,
  { limit, ic, endDate }: JobHash,
): Promise<boolean> {
  // Its end, which BullMQ leaves in the list.
  if (limit !== undefined && Number(ic ?? 0) >= Number(limit)) return false;
  if (endDate !== undefined && Date.now() > Number(endDate)) return false;
  const next = (): Promise<string | null> => raw.run((redis) => redis.zscore(base + REPEAT, id));
  for (let at = await next(); at !== null;) {
    if (await isInState(raw, base, `${REPEAT}:${id}:${at}`, TO_COME)) return false;
    // A worker may have taken it meanwhile, and made the next one.
    const now = await next();
    if (now === at) return true;
    at = now;
  }
  return false;
}
