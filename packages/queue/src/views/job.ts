import type { RetryOptions } from 'bullmq';
import { refusal, refuse, type TenantContext } from '@tenantkit/core';
import { HEADER, signHeader, type JobClaims } from '../header.ts';
import { prune } from '../flows/prune.ts';
import { DEEPEST, isShallow } from '../nesting.ts';
import { isJson, judgeRead, type StoreContext } from '../store.ts';
import { outerId } from '../lanes/ids.ts';
import type { Lane } from '../lanes/lane.ts';
import { bindingOf, parseOptions, verifyJob, type JobHash } from '../verify.ts';
import { BAD_DATA } from './sign.ts';
import { amount, finishedState, priority } from './checks.ts';
import { admitted, change, onLane, physicalId, type Guard, type Handler } from './guard.ts';
import { jobOf } from './moves.ts';
import { replaceData } from './scripts.ts';

/** An hour, in milliseconds: a job that is locked is neither recovered from a dead worker nor erased. */
const LONGEST_LOCK = 3_600_000;
const BAD_LOCK = refuse(
  'a lock lasts for more than 0 and at most 3600000 milliseconds',
  'Extend it again before it ends; a worker renews the locks of its jobs by itself.',
);

const NO_TOKEN = refuse(
  'the token of a lock is no text',
  'Give the token that the processor gets as its second argument.',
);
const TOO_DEEP = refuse(
  `the progress is nested more than ${DEEPEST} deep`,
  'Report something flatter, or a text: whatever is nested deeper is shown to nobody.',
);

/** How a tenant changes one job. */
export const changing = {
  byId,

  async updateProgress(guard, tenant, operation, [id, progress]) {
    const text = JSON.stringify(progress) as string | undefined;
    if (text === undefined || !isJson(text)) throw refusal('queue', operation, BAD_DATA);
    if (!isShallow(text)) throw refusal('queue', operation, TOO_DEEP);
    return byId(guard, tenant, operation, [id, JSON.parse(text)]);
  },

  async extendLock(guard, tenant, operation, [id, lock, duration]) {
    if (typeof lock !== 'string') throw refusal('queue', operation, NO_TOKEN);
    if (typeof duration !== 'number' || !(duration > 0 && duration <= LONGEST_LOCK))
      throw refusal('queue', operation, BAD_LOCK);
    return byId(guard, tenant, operation, [id, lock, duration]);
  },

  /** With the children that verify and name it; what else claims to be one may be anybody's. */
  async remove(guard, tenant, operation, [given, withChildren]) {
    const id = physicalId(guard, tenant, operation, given);
    return change(guard, tenant, operation, async (lane) => {
      const { context, store } = guard;
      const client = await lane.client;
      const key = lane.toKey(id);
      const hash: JobHash = await client.hgetall(key);
      if (!isVerified(guard, hash, id, lane)) {
        await store.disarm(outerId(context.names, lane.tenant, id));
        return lane.remove(id, false);
      }
      const top = { context, tenant: lane.tenant, key, home: lane };
      const children = withChildren === true ? await prune(operation, top, true) : 0;
      const removed = await lane.remove(id, children > 0);
      store.touchParent(hash['parentKey']);
      return removed;
    });
  },

  /** By the options that are stored: those of the object are whatever its holder has made of them. */
  async retry(guard, tenant, operation, [given, state, options]) {
    const id = physicalId(guard, tenant, operation, Reflect.get(Object(given) as object, 'id'));
    const from = finishedState(operation, state);
    const { resetAttemptsMade, resetAttemptsStarted } = Object(options) as RetryOptions;
    const again = {
      resetAttemptsMade: resetAttemptsMade === true,
      resetAttemptsStarted: resetAttemptsStarted === true,
    };
    return change(guard, tenant, operation, async (lane) => {
      const found = await lane.readVerified(id);
      if (found === undefined)
        throw lane.finishedErrors({ code: -1, jobId: id, command: 'reprocessJob', state: from });
      const { opts } = found.job;
      await lane.retryFinishedJob(jobOf(id, opts), from, again);
    });
  },

  promote: byId,

  changeDelay: (guard, tenant, operation, [id, delay]) =>
    // As in the option of a job.
    byId(guard, tenant, operation, [id, Number(delay) < 0 ? 0 : amount(operation, delay)]),

  changePriority: (guard, tenant, operation, [id, given = 0, lifo = false]) =>
    byId(guard, tenant, operation, [id, priority(operation, given), lifo === true]),

  /** Data and header are replaced together, signed for whom the job was signed for. */
  async updateData(guard, tenant, operation, [given, data]) {
    const id = physicalId(guard, tenant, operation, Reflect.get(Object(given) as object, 'id'));
    const text = jsonOf(operation, data);
    return change(guard, tenant, operation, (lane) => updateSigned(guard.context, lane, id, text));
  },
} satisfies Readonly<Record<string, Handler>>;

export async function byId(
  guard: Guard,
  tenant: TenantContext,
  operation: string,
  [id, ...rest]: readonly unknown[],
): Promise<unknown> {
  const physical = physicalId(guard, tenant, operation, id);
  await admitted(guard, tenant, operation);
  return onLane(guard, tenant, operation, [physical, ...rest]);
}

/** @throws {@link OperationRefusedError} when there is no JSON of it */
export function jsonOf(operation: string, data: unknown): string {
  const text = JSON.stringify(data) as string | undefined;
  if (text === undefined || !isJson(text)) throw refusal('queue', operation, BAD_DATA);
  return text;
}

/**
 * Replaces the data of a job and its header, signed for whom the job was signed for.
 *
 * @param text - the data, as JSON
 * @throws {@link SignatureError} when the job as it is has no valid header
 */
export async function updateSigned(
  context: StoreContext,
  lane: Lane,
  id: string,
  text: string,
): Promise<void> {
  const client = await lane.client;
  // Of those who replace at once one gets through each time.
  for (;;) {
    const hash: JobHash = await client.hgetall(lane.toKey(id));
    const replaced =
      Object.keys(hash).length === 0
        ? 'gone'
        : await replaceData(lane, id, hash['opts'] ?? '', resigned(context, lane, hash, id, text), text);
    if (replaced === 'replaced') return;
    if (replaced === 'gone') throw lane.finishedErrors({ code: -1, jobId: id, command: 'updateData' });
  }
}

/** Without an event: who removes a forged job need not be told what it was. */
function isVerified({ context }: Guard, hash: JobHash, id: string, { tenant }: Lane): boolean {
  try {
    verifyJob(context, hash, id, tenant);
    return true;
  } catch {
    return false;
  }
}

/**
 * The options of a job with a header for other data.
 *
 * @throws {@link SignatureError} when the job as it is has no valid one: nobody's forgery is signed
 */
function resigned(context: StoreContext, lane: Lane, hash: JobHash, id: string, data: string): string {
  const { claims }: { readonly claims: JobClaims } = judgeRead({ context, lane: lane.tenant }, hash, id);
  const options = parseOptions(hash['opts']);
  const { prefix, queue, ring } = context;
  const header = signHeader(ring, claims, bindingOf({ ...hash, data }, options, { prefix, queue, id }));
  return JSON.stringify({ ...options, [HEADER]: header });
}
