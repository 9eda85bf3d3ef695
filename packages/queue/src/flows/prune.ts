import { refusal, refuse } from '@tenantkit/core';
import { childrenOf, type Parent } from './children.ts';
import { flowClient, parseKeys, run } from './scripts.ts';

/** How many jobs one flow may have that are removed with their parent: BullMQ removes them in one script. */
const MOST = 10_000;

const TOO_MANY = refuse(
  'the job has more children than one script may remove',
  'Remove the children first, or remove the job alone with { removeChildren: false }.',
);
const CIRCLE = refuse(
  'the job is among its own children',
  'Remove it alone with { removeChildren: false }, or take one of the links away with job.removeChildDependency().',
);

/**
 * Takes from a job, and from all its children, what is no child of theirs: BullMQ's script removes whatever the keys
 * under a parent lead to, and whoever writes to Redis may have written any key there.
 *
 * @param withFinished - whether children that have ended are removed as well
 * @returns how many children there are, of all depths
 * @throws {@link OperationRefusedError} on a flow that is a circle, or too big
 */
export async function prune(operation: string, top: Parent, withFinished: boolean): Promise<number> {
  const client = await flowClient(top.home);
  const seen = new Set([top.key]);
  let level: readonly string[] = [top.key];
  while (level.length > 0) {
    const next: string[] = [];
    for (const key of level) {
      const keys = parseKeys(await run(client, 'children', [key, withFinished ? 1 : 0]));
      const children = await childrenOf({ ...top, key }, keys);
      // One that is gone may have left keys of its own behind, which lead on.
      const strangers = keys.filter((child) => children.get(child)?.isStored !== true);
      if (strangers.length > 0) await run(client, 'forget', [key, ...strangers]);
      for (const [child, { isStored }] of children) {
        if (!isStored) continue;
        if (seen.has(child)) throw refusal('queue', operation, CIRCLE);
        seen.add(child);
        next.push(child);
      }
      if (seen.size > MOST) throw refusal('queue', operation, TOO_MANY);
    }
    level = next;
  }
  return seen.size - 1;
}
