import { SORTED_SETS, stateIds } from '../places.ts';
import type { RawRedis } from '../raw-redis.ts';
import type { JobHash } from '../verify.ts';

/** BullMQ's state of a parent whose children have not ended. */
const WAITING = 'waiting-children' satisfies (typeof SORTED_SETS)[number];

/**
 * The parents of a place that wait for a child which will never tell them: it is not stored, or is no child of theirs
 * any more, as one that was refused; or they wait for none at all.
 *
 * @returns their keys
 */
export async function* orphanedParents(
  raw: RawRedis,
  base: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  for await (const ids of stateIds(raw, base, WAITING, signal)) {
    for (const id of ids) {
      const key = base + id;
      // Children end while the audit runs: only what is still so at a second look is a finding.
      if ((await waitsInVain(raw, base, id)) && (await waitsInVain(raw, base, id))) yield key;
    }
  }
}

async function waitsInVain(raw: RawRedis, base: string, id: string): Promise<boolean> {
  const key = base + id;
  const read = await raw.run((redis) =>
    redis
      .multi()
      .zscore(base + WAITING, id)
      .smembers(`${key}:dependencies`)
      .exec(),
  );
  const [score, members] = (read ?? []).map(([, reply]) => reply);
  if (score === null || score === undefined) return false;
  // Of another type it holds no children, and nothing ends the wait.
  const children = Array.isArray(members) ? (members as string[]) : [];
  if (children.length === 0) return true;
  const parents = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    for (const child of children) pipeline.hget(child, 'parentKey');
    return pipeline.exec();
  });
  const strangers = children.filter((_, at) => parents?.[at]?.[1] !== key);
  if (strangers.length === 0) return false;
  // A child that has ended leaves the list of its parent in the same moment: only one that still stands there is lost.
  const still = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    for (const child of strangers) pipeline.sismember(`${key}:dependencies`, child);
    return pipeline.exec();
  });
  return (still ?? []).some(([, isMember]) => isMember === 1);
}

/**
 * Which of some jobs have a parent that is not stored, and have not ended: they run all the same, and tell nobody.
 *
 * @param hashes - the jobs by their keys
 * @returns their keys
 */
export async function orphanedChildren(
  raw: RawRedis,
  hashes: readonly (readonly [string, JobHash])[],
): Promise<readonly string[]> {
  const children = hashes.flatMap(([key, { parentKey, finishedOn }]) =>
    parentKey === undefined || finishedOn !== undefined ? [] : [{ key, parentKey }],
  );
  if (children.length === 0) return [];
  const look = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    // The child is looked at behind its parent: one that has ended meanwhile is no finding.
    for (const { key, parentKey } of children)
      pipeline.exists(parentKey).hmget(key, 'parentKey', 'finishedOn');
    return pipeline.exec();
  });
  return children.flatMap(({ key, parentKey }, at) => {
    const [, exists] = look?.[2 * at] ?? [];
    const [, now] = look?.[2 * at + 1] ?? [];
    const [parent, finished] = Array.isArray(now) ? (now as unknown[]) : [];
    return exists === 0 && parent === parentKey && finished === null ? [key] : [];
  });
}
