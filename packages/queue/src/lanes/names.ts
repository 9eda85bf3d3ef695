import { ConfigError, isId, assertId } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';

/**
 * What stands between the name of a queue and the tenant in the name of a lane. No tenant id holds it, and no name of
 * a queue may: so the end of either is certain, and no lane has two readings.
 */
const SEPARATOR = '~';

/** The keys of ours that say where in a logical queue there is work. */
export interface LaneKeys {
  /** What the keys of every lane begin with, up to the tenant: `bull:mail~`. */
  readonly lanePrefix: string;
  /** Sorted set of tenants that have a lane, by the time of their registration. */
  readonly lanes: string;
  /** Sorted set of tenants that may have something to run, by virtual time. */
  readonly ready: string;
  /** Sorted set of tenants that have nothing to run before a certain time, by that time in milliseconds. */
  readonly due: string;
  /** The virtual time of the queue. */
  readonly vt: string;
  /** What idle workers wait at, in the format of BullMQ's marker. */
  readonly wake: string;
  /** The lock of the process that sweeps. */
  readonly sweep: string;
  /** Sorted set of tenants whose jobs are in another Redis, by when that was noted: their workers look here. */
  readonly placed: string;
  /** BullMQ's `meta` of the logical queue itself: an operator's pause of all tenants is written there. */
  readonly meta: string;
  /** BullMQ's `limiter` of the logical queue itself: what an operator allows all tenants together. */
  readonly limiter: string;
}

/**
 * Checks the name of a logical queue.
 *
 * @throws {@link ConfigError} unless BullMQ takes it, and no lane of another queue can have the same name
 */
export function checkQueueName(queue: string): string {
  const problem = problemOf(queue);
  if (problem === undefined) return queue;
  throw new ConfigError({
    surface: 'queue',
    operation: 'name',
    problem,
    hint: 'Use another name, for example of letters, digits, "-", "_" and ".".',
  });
}

function problemOf(queue: unknown): string | undefined {
  if (typeof queue !== 'string') return 'the name of a queue must be a string';
  if (queue === '') return 'the name of a queue is empty';
  if (queue.includes(':'))
    return 'the name of a queue holds ":", by which BullMQ separates the parts of its keys';
  if (queue.includes(SEPARATOR))
    return 'the name of a queue holds "~", which stands before the tenant in its lanes';
  // Redis would store U+FFFD in its place: two names would be one.
  if (!isWellFormed(queue)) return 'the name of a queue holds a lone surrogate';
  return undefined;
}

/**
 * The name of the queue of BullMQ that holds a tenant's jobs: `mail~acme`. Injective over (queue, tenant).
 *
 * @throws {@link InvalidTenantError} when the tenant is no id
 * @throws {@link ConfigError} when the queue's name is refused
 */
export function laneName(queue: string, tenant: string): string {
  assertId(tenant);
  return checkQueueName(queue) + SEPARATOR + tenant;
}

/** The key of a lane's `meta`, in which BullMQ keeps its settings and limits. */
export function laneMeta({ lanePrefix }: LaneKeys, tenant: string): string {
  return `${lanePrefix}${tenant}:meta`;
}

/** The tenant of a lane of this logical queue, or `undefined` for any other name. */
export function tenantOfLane(queue: string, lane: string): string | undefined {
  const before = checkQueueName(queue) + SEPARATOR;
  if (!lane.startsWith(before)) return undefined;
  const tenant = lane.slice(before.length);
  return isId(tenant) ? tenant : undefined;
}

/**
 * The keys of a logical queue. All of ours stand where the lane of a tenant without a name would be
 * (`bull:mail~:ready`): no tenant and no other queue has that place. In the queue itself (`bull:mail:ready`) any job
 * with that id would meet them.
 */
export function laneKeys(prefix: string, queue: string): LaneKeys {
  const base = `${prefix}:${checkQueueName(queue)}`;
  const lanePrefix = base + SEPARATOR;
  return Object.freeze({
    lanePrefix,
    lanes: `${lanePrefix}:lanes`,
    ready: `${lanePrefix}:ready`,
    due: `${lanePrefix}:due`,
    vt: `${lanePrefix}:vt`,
    wake: `${lanePrefix}:wake`,
    sweep: `${lanePrefix}:sweep`,
    placed: `${lanePrefix}:placed`,
    meta: `${base}:meta`,
    limiter: `${base}:limiter`,
  });
}
