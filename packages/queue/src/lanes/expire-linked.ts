import { ConfigError } from '@tenantkit/core';
import { parentOf } from '../flows/unlink.ts';
import { replies } from '../flows/scripts.ts';
import type { JobHash } from '../verify.ts';
import type { Lane } from './lane.ts';
import type { LaneStore } from './store.ts';

/**
 * Removes failed jobs that say they have a parent, and frees it if it is the one in their header. Each is removed only if
 * it is still as it was read, and has still failed before that time: to retry a job and to remove it must not both succeed.
 *
 * @param before - in milliseconds
 * @param failed - is told what the server says of single jobs, which are removed nevertheless
 * @returns how many were removed
 */
export async function removeLinked(
  store: LaneStore,
  lane: Lane,
  ids: readonly string[],
  before: number,
  failed: (error: unknown) => void,
): Promise<number> {
  const client = await lane.client;
  const pipeline = client.pipeline();
  for (const id of ids) pipeline.hgetall(lane.toKey(id));
  const hashes = await replies(pipeline);
  const codes = await Promise.all(
    ids.map(async (id, at) => {
      const hash = hashes[at] as JobHash;
      const { parentKey } = hash;
      // It has gone meanwhile.
      if (parentKey === undefined) return 0;
      const isVerified = parentOf(store.context, lane, hash, id) !== undefined;
      const [code, refused] = await lane.removeExpired(id, { before, parentKey, isVerified });
      if (refused !== '') failed(brokenKeys(refused));
      if (isVerified && code === 1) store.touchParent(parentKey);
      return code;
    }),
  );
  return codes.filter((code) => code === 1).length;
}

function brokenKeys(refused: string): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'removeOnFail',
    problem:
      'a failed job was removed by its age, and its parent was not told: a key of one of them is of another type',
    hint: `Somebody has written to Redis past BullMQ. The server said: ${refused}`,
  });
}
