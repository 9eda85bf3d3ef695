import { LISTS, REPEAT, inStates, isPlace } from '../places.ts';
import type { RawRedis } from '../raw-redis.ts';
import type { JobHash } from '../verify.ts';

/** Where a job is that is to come, or is running. */
const TO_COME = ['delayed', 'prioritized', ...LISTS];

/**
 * Whether a scheduler has stopped before its time: it is listed, and has no job that is to come, from which the next one
 * would be made.
 *
 * @param base - what the keys of its lane begin with
 * @param hash - the scheduler, which was verified
 */
export async function hasStopped(raw: RawRedis, base: string, id: string, hash: JobHash): Promise<boolean> {
  if (hasEnded(hash)) return false;
  let next = await raw.run((redis) => redis.zscore(base + REPEAT, id));
  while (next !== null) {
    const job = `${REPEAT}:${id}:${next}`;
    const replies = await raw.run((redis) => {
      const look = redis.multi().zscore(base + REPEAT, id);
      look.hmget(`${base}${REPEAT}:${id}`, 'limit', 'ic', 'endDate');
      return inStates(look, base, job, TO_COME).exec();
    });
    const [now, fields, ...places] = (replies ?? []).map(([, reply]) => reply);
    if (places.some((place) => isPlace(place))) return false;
    // It may have come to its end since it was read.
    const [limit, ic, endDate] = Array.isArray(fields) ? (fields as (string | null)[]) : [];
    if (hasEnded({ limit, ic, endDate })) return false;
    if (now === next) return true;
    // A worker may have taken the job meanwhile, and made the next one.
    next = typeof now === 'string' ? now : null;
  }
  return false;
}

/** Whether it has come to its end: BullMQ leaves it in the list then. */
function hasEnded({ limit, ic, endDate }: Readonly<Record<string, string | null | undefined>>): boolean {
  const isOver = endDate !== undefined && endDate !== null && Date.now() > Number(endDate);
  return isOver || (limit !== undefined && limit !== null && Number(ic ?? 0) >= Number(limit));
}
