import { Queue as RawQueue } from 'bullmq';
import type { PersonWork } from './erase-person-read.ts';
import { laneKeys } from './lanes/names.ts';
import { nodeOf, type Naming } from './flows/names.ts';
import { isWrongType, oddKeys } from './key-types.ts';

/**
 * Lets parents run that have waited for nothing but jobs which were removed, as BullMQ does when it removes one.
 *
 * @param parents - their keys, which the script that removed the jobs has found in lanes of the same tenant
 */
export async function freeParents(
  { raw, queue: { prefix }, person: { tenant } }: PersonWork,
  names: Naming['names'],
  parents: ReadonlySet<string>,
): Promise<void> {
  for (const key of parents) {
    const node = nodeOf({ prefix, names }, key);
    if (node === undefined) continue;
    const lane = `${node.queue}~${tenant}`;
    const { ready, wake } = laneKeys(prefix, node.queue);
    // BullMQ's script would take the parent out of one state and fail at the next: it would be in none. Where it stays,
    // the auditor names it, and the key.
    if ((await oddKeys(raw, `${prefix}:${lane}:`)).size > 0) continue;
    await raw.run(async (connection) => {
      const bullmq = new RawQueue(lane, { connection, prefix, skipMetasUpdate: true });
      try {
        const { backend } = bullmq;
        await backend.execCommand(await backend.client, 'releaseParentIfNoPendingDependencies', [
          key,
          `${key}:dependencies`,
          `${prefix}:${lane}`,
          node.id,
          Date.now(),
        ]);
        // BullMQ knows nothing of lanes. One that has nothing to run leaves again with the next look.
        await connection.multi().zadd(ready, 'NX', 0, tenant).zadd(wake, 0, '0').exec();
      } catch (error) {
        // Another key of that lane, of the parent or of the lane itself: it keeps nobody from being erased either.
        if (!isWrongType(error)) throw error;
      } finally {
        await bullmq.close();
      }
    });
  }
}
