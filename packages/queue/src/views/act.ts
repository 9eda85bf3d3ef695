import type { RedisQueueBackend } from 'bullmq';
import { refusal, refuse } from '@tenantkit/core';
import { amount, batch, cleaned, cleanedAtOnce, finishedState, time } from './checks.ts';
import { unlinkUnverified, type Part } from '../flows/unlink.ts';
import { drained, type Lane } from '../lanes/lane.ts';
import { change, ownIds, type Guard, type Handler } from './guard.ts';
import { keepingLimits } from './scripts.ts';

const FORCE = refuse(
  'it would take jobs that are running out of the tenant’s limit of concurrency',
  'Pause the queue, wait until no job is active, and call it without force.',
);

/** How a tenant changes all of its lane. */
export const acting = {
  // Registered first: an operator finds a lane that was paused before its first job.
  async pause(guard, tenant, operation, [isPaused]) {
    await guard.store.registered(tenant.tenant);
    return change(guard, tenant, operation, (lane) => lane.pause(isPaused === true));
  },

  drain: (guard, tenant, operation, [delayed]) =>
    change(guard, tenant, operation, async (lane) => {
      const frees = await unlinkedFirst(guard, lane, drained(delayed === true));
      await lane.drain(delayed === true);
      frees();
    }),

  async clean(guard, tenant, operation, [given, before, most = 0]) {
    const state = cleaned(operation, given);
    const timestamp = time(operation, before);
    const limit = cleanedAtOnce(operation, most);
    const isList = ['wait', 'paused', 'active'].includes(state);
    const ids = await change(guard, tenant, operation, async (lane) => {
      const frees = await unlinkedFirst(guard, lane, [state], isList ? { last: limit } : { first: limit });
      const cleaned = await lane.cleanJobsByState(state, timestamp, limit);
      frees();
      return cleaned;
    });
    return ownIds(guard, tenant, ids);
  },

  async obliterate(guard, tenant, operation, [given]) {
    const most = obliteratedAtOnce(operation, given);
    const code = await change(guard, tenant, operation, async (lane) => {
      const frees = await unlinkedFirst(guard, lane, OBLITERATED, { first: most });
      const { meta = '' } = lane.keys;
      const answer = await keepingLimits(lane, (target) =>
        lane.execCommand(target, 'obliterate', [meta, lane.toKey(''), most, null]),
      );
      frees();
      return answer;
    });
    if (code === -1) throw new Error('Cannot obliterate non-paused queue');
    if (code === -2) throw new Error('Cannot obliterate queue with active jobs');
    return code;
  },

  async retryAll(guard, tenant, operation, [given = 'failed', count = 1_000, before = Date.now()]) {
    const state = finishedState(operation, given);
    const most = batch(operation, count);
    const timestamp = time(operation, before);
    return change(guard, tenant, operation, async (lane) => {
      await unlinkedFirst(guard, lane, [state], { first: most });
      return lane.retryFinishedJobs(state, most, timestamp);
    });
  },

  async promoteAll(guard, tenant, operation, [count = 1_000]) {
    const most = batch(operation, count);
    return change(guard, tenant, operation, (lane) => lane.promoteJobs(most));
  },

  async trimEvents(guard, tenant, operation, [most]) {
    const length = Math.floor(amount(operation, most));
    return change(guard, tenant, operation, (lane) => lane.trimEvents(length));
  },

  removePriorityKey: (guard, tenant, operation) =>
    change(guard, tenant, operation, (lane) => lane.removeDeprecatedPriorityKey()),
} satisfies Readonly<Record<string, Handler>>;

/**
 * Looks at the parents of jobs that are about to be removed, and takes away those that nobody has signed.
 *
 * @returns notes the lanes of the others: to be called when the jobs are removed
 */
async function unlinkedFirst(
  { context, store }: Guard,
  lane: Lane,
  from: readonly string[],
  part?: Part,
): Promise<() => void> {
  const parents = new Set<string>();
  for (const state of from)
    for (const key of await unlinkUnverified(context, lane, state, part)) parents.add(key);
  return () => {
    for (const key of parents) store.touchParent(key);
  };
}

/** States that BullMQ's script empties. */
const OBLITERATED: readonly (keyof RedisQueueBackend['keys'])[] = [
  'active',
  'delayed',
  'completed',
  'wait',
  'paused',
  'prioritized',
  'failed',
];

/**
 * How many jobs BullMQ removes at once with a queue.
 *
 * @throws {@link OperationRefusedError} for `force`, and for what is no count
 */
export function obliteratedAtOnce(operation: string, given: unknown): number {
  const { force = false, count = 1_000 } = Object(given) as { force?: unknown; count?: unknown };
  if (force !== false) throw refusal('queue', operation, FORCE);
  return batch(operation, count);
}
