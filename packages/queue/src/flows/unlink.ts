import { SignatureError } from '@tenantkit/core';
import type { Lane } from '../lanes/lane.ts';
import type { StoreContext } from '../store.ts';
import { verifyJob, type JobHash } from '../verify.ts';
import { flowClient, parseLinked, replies, run } from './scripts.ts';

/** How many jobs are looked at by one script: the server serves nobody else meanwhile. */
const BATCH = 500;

/** Which jobs of a state: all, so many that stand first, or so many that stand last. */
export type Part = 'all' | { readonly first: number } | { readonly last: number };

/**
 * Takes the parent that it claims from each job of a state that does not verify: BullMQ's scripts act on the one that a
 * hash names, wherever its key is. What a hash says of a deduplication or a scheduler leads to keys of the lane only,
 * and stays.
 *
 * @returns the parents of those that verify, which BullMQ's script may free
 */
export async function unlinkUnverified(
  context: StoreContext,
  lane: Lane,
  state: string,
  part: Part = 'all',
): Promise<ReadonlySet<string>> {
  const client = await flowClient(lane);
  const parents = new Set<string>();
  const most = part === 'all' ? Infinity : 'first' in part ? part.first : part.last;
  for (let at = 0; at < most; at += BATCH) {
    const until = Math.min(at + BATCH, most);
    const [first, last] = part !== 'all' && 'last' in part ? [-until, -at - 1] : [at, until - 1];
    const reply = await run(client, 'linked', [lane.toKey(state), lane.toKey(''), first, last]);
    const [looked, linked] = parseLinked(reply);
    if (linked.length > 0) {
      const pipeline = client.pipeline();
      for (const id of linked) pipeline.hgetall(lane.toKey(id));
      const hashes = await replies(pipeline);
      for (const [index, id] of linked.entries()) {
        const parent = parentOf(context, lane, hashes[index] as JobHash, id);
        if (parent !== undefined) parents.add(parent);
        else await client.hdel(lane.toKey(id), 'parentKey', 'parent');
      }
    }
    if (looked < until - at) break;
  }
  return parents;
}

/**
 * The parent that a job has, if it verifies. Without an event: who removes a forged job need not be told what it was.
 */
export function parentOf(context: StoreContext, lane: Lane, hash: JobHash, id: string): string | undefined {
  try {
    verifyJob(context, hash, id, lane.tenant);
    return hash['parentKey'];
  } catch (error) {
    if (error instanceof SignatureError) return undefined;
    throw error;
  }
}
