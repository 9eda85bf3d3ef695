import type { JobType } from 'bullmq';
import { SignatureError } from '@tenantkit/core';
import { storedOptions } from '../job-options.ts';
import type { Lane } from '../lanes/lane.ts';
import { fieldsOf, judgeRead, logicalJob, toHash, type StoreContext } from '../store.ts';
import { amount, finishedState, position, priorities, states } from './checks.ts';
import { onLane, ownIds, physicalId, type Guard, type Handler } from './guard.ts';

/** Settings that a tenant may see: its limits, and what the service has set for all. */
const SHOWN = ['concurrency', 'max', 'duration', 'weight', 'opts.maxLenEvents'] as const;

/** How a tenant looks at its lane. */
export const reading = {
  async read(guard, tenant, operation, [id]) {
    const lane = guard.store.lane(tenant.tenant);
    const found = await lane.readVerified(physicalId(guard, tenant, operation, id));
    if (found === undefined) return undefined;
    return logicalJob(found.job, found.claims, guard.context);
  },

  byIdInState: (guard, tenant, operation, [state, id]) =>
    onLane(guard, tenant, operation, [state, physicalId(guard, tenant, operation, id)]),

  /** One script reads ids and hashes. A job that is not verified is left out: its data is shown to nobody. */
  async jobs(guard, { tenant }, operation, [types, start = 0, end = -1, asc = false]) {
    const lane = guard.store.lane(tenant);
    const wanted = states(operation, types);
    const [from, to] = [position(operation, start), position(operation, end)];
    const found = await lane.getJobs(wanted, from, to, asc === true);
    return found.map((jobs) => jobs.flatMap(([id, fields]) => shown(guard.context, lane, id, fields)));
  },

  async ranges(guard, tenant, operation, [types, start = 0, end = 1, asc = false]) {
    const lane = guard.store.lane(tenant.tenant);
    const wanted = states(operation, types);
    const [from, to] = [position(operation, start), position(operation, end)];
    const ranges: readonly string[][] = await lane.getRanges(wanted, from, to, asc === true);
    return ranges.map((ids) => ownIds(guard, tenant, ids));
  },

  async counts(guard, { tenant }, operation, [types, before]) {
    const wanted: JobType[] = states(operation, types);
    const until = before === undefined ? undefined : position(operation, before);
    return guard.store.lane(tenant).getCounts(wanted, until);
  },

  async countsPerPriority(guard, tenant, operation, [given]) {
    return onLane(guard, tenant, operation, [priorities(operation, given)]);
  },

  async metrics(guard, { tenant }, operation, [type, start = 0, end = -1]) {
    const [from, to] = [position(operation, start), position(operation, end)];
    return guard.store.lane(tenant).getMetrics(finishedState(operation, type), from, to);
  },

  async rateLimitTtl(guard, { tenant }, operation, [most]) {
    const max = most === undefined ? undefined : amount(operation, most);
    return guard.store.lane(tenant).getRateLimitTtl(max);
  },

  isMaxed: (guard, { tenant }) => guard.store.lane(tenant).isMaxed(),

  meta: (guard, { tenant }) => settings(guard, tenant),

  async metaField(guard, { tenant }, _operation, [field]) {
    return valueOf(await settings(guard, tenant), field);
  },

  async metaFields(guard, { tenant }, _operation, [fields]) {
    const found = await settings(guard, tenant);
    return (Array.isArray(fields) ? fields : []).map((field: unknown) => valueOf(found, field));
  },

  async hasMetaField(guard, { tenant }, _operation, [field]) {
    return valueOf(await settings(guard, tenant), field) !== null;
  },
} satisfies Readonly<Record<string, Handler>>;

/** A job as BullMQ answers it, with logical names, or nothing. */
function shown(
  context: StoreContext,
  { tenant }: Lane,
  id: string,
  fields: readonly string[],
): readonly (readonly [string, readonly string[]])[] {
  const hash = toHash(fields);
  try {
    const { claims, job } = judgeRead({ context, lane: tenant }, hash, id);
    const {
      id: logical,
      opts,
      timestamp,
      parentKey,
      parent,
      deferredFailure,
    } = logicalJob(job, claims, context);
    const own = fieldsOf({
      ...hash,
      opts: JSON.stringify(storedOptions({ ...opts })),
      timestamp: String(timestamp),
      ...(parentKey === undefined ? {} : { parentKey, parent: JSON.stringify(parent) }),
      ...(deferredFailure === undefined ? {} : { defa: deferredFailure }),
    });
    return [[logical, own]];
  } catch (error) {
    if (error instanceof SignatureError) return [];
    throw error;
  }
}

/** What holds for the tenant: its own settings, the version of the queue, and a pause of it or of everybody. */
async function settings({ store }: Guard, tenant: string): Promise<Record<string, string>> {
  const [own, all] = await Promise.all([store.lane(tenant).getQueueMeta(), store.getQueueMeta()]);
  const found: Record<string, string> = Object.create(null);
  for (const field of SHOWN) if (own[field] !== undefined) found[field] = own[field];
  const paused = all['paused'] ?? own['paused'];
  if (paused !== undefined) found['paused'] = paused;
  if (all['version'] !== undefined) found['version'] = all['version'];
  return found;
}

function valueOf(found: Readonly<Record<string, string>>, field: unknown): string | null {
  return typeof field === 'string' ? (found[field] ?? null) : null;
}
