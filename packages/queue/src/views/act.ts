import type { RedisQueueBackend } from 'bullmq';
import { refusal, refuse } from '@tenantkit/core';
import { amount, batch, cleaned, cleanedAtOnce, finishedState, time } from './checks.ts';
import { change, ownIds, type Handler } from './guard.ts';
import { keepingLimits, unlink } from './scripts.ts';

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
      const removed = ['wait', 'paused', 'prioritized', ...(delayed === true ? ['delayed'] : [])];
      for (const state of removed) await unlink(lane, state);
      await lane.drain(delayed === true);
    }),

  async clean(guard, tenant, operation, [given, before, most = 0]) {
    const state = cleaned(operation, given);
    const timestamp = time(operation, before);
    const limit = cleanedAtOnce(operation, most);
    const isList = ['wait', 'paused', 'active'].includes(state);
    const ids = await change(guard, tenant, operation, async (lane) => {
      await unlink(lane, state, isList ? { last: limit } : { first: limit });
      return lane.cleanJobsByState(state, timestamp, limit);
    });
    return ownIds(guard, tenant, ids);
  },

  async obliterate(guard, tenant, operation, [given]) {
    const { force = false, count = 1_000 } = Object(given) as { force?: unknown; count?: unknown };
    if (force !== false) throw refusal('queue', operation, FORCE);
    const most = batch(operation, count);
    const code = await change(guard, tenant, operation, async (lane) => {
      for (const state of OBLITERATED) await unlink(lane, state, { first: most });
      const { meta = '' } = lane.keys;
      return keepingLimits(lane, (target) =>
        lane.execCommand(target, 'obliterate', [meta, lane.toKey(''), most, null]),
      );
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
      await unlink(lane, state, { first: most });
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
