import { breach, type TenantContext } from '@tenantkit/core';
import { laneId, logicalId, outerId } from '../lanes/ids.ts';
import type { Lane } from '../lanes/lane.ts';
import type { LaneStore } from '../lanes/store.ts';
import { checkId } from '../names.ts';
import type { StoreContext } from '../store.ts';

/** What a guarded backend stands on; kept outside of the object, so that the store cannot be reached through it. */
export interface Guard {
  readonly store: LaneStore;
  readonly context: StoreContext;
  /** Whose loops may pass. */
  readonly owner: object;
  /** Set when BullMQ's constructor has done what it does with its backend. */
  sealed: boolean;
}

/**
 * How one call of a tenant is carried out: on the tenant's own lane and on no other. Arguments and replies are logical
 * here, physical in the lane.
 */
export type Handler = (
  guard: Guard,
  tenant: TenantContext,
  operation: string,
  args: readonly unknown[],
) => unknown;

/** Calls a member of the tenant's own lane. What it answers is physical: whoever shows it makes it logical. */
export function onLane(
  { store }: Guard,
  { tenant }: TenantContext,
  member: string,
  args: readonly unknown[],
): unknown {
  const lane = store.lane(tenant);
  return Reflect.apply(Reflect.get(lane, member) as (...args: readonly unknown[]) => unknown, lane, args);
}

/**
 * Waits for the connection, and asks the fence once more, right before the command is written. A command that
 * waited in the offline queue of a lost connection would be written whenever it comes back: after an erasure that
 * began meanwhile has frozen the tenant, waited, counted zero and signed.
 */
export async function admitted(
  { store, context }: Guard,
  { tenant }: TenantContext,
  operation: string,
): Promise<number> {
  if (context.fence !== undefined) await store.connected();
  context.fence?.check(tenant, { surface: 'queue', operation });
  return performance.now();
}

/**
 * What ioredis had written when the connection broke it writes again when it is back, however late. What may have
 * come after an erasure is taken back.
 *
 * @param takeBack - called when the tenant is erased
 */
export async function stillAdmitted(
  { context: { fence } }: Guard,
  { tenant }: TenantContext,
  operation: string,
  since: number,
  takeBack: () => Promise<unknown>,
): Promise<void> {
  if (fence === undefined || performance.now() - since <= fence.maxStaleness) return;
  await fence.refresh();
  if (fence.state(tenant) !== 'erased') return;
  await takeBack();
  fence.check(tenant, { surface: 'queue', operation });
}

/** Lets a change of the tenant's lane through, as long as the tenant may write. */
export async function change<T>(
  guard: Guard,
  tenant: TenantContext,
  operation: string,
  write: (lane: Lane) => Promise<T>,
): Promise<T> {
  const lane = guard.store.lane(tenant.tenant);
  const since = await admitted(guard, tenant, operation);
  const answer = await write(lane);
  await stillAdmitted(guard, tenant, operation, since, async () => {
    // What BullMQ's scripts write although the lane holds no job.
    const client = await lane.client;
    await client.del(lane.keys['events'] ?? '', lane.keys['meta'] ?? '');
  });
  return answer;
}

/** @throws {@link OperationRefusedError} on what is no id */
export function physicalId(
  { context }: Guard,
  { tenant }: TenantContext,
  operation: string,
  id: unknown,
): string {
  return laneId(context.names, tenant, checkId(operation, id));
}

/** @throws {@link IsolationBreachError} on what is no id of the tenant */
export function ownId({ context }: Guard, { tenant }: TenantContext, id: unknown): string {
  if (typeof id !== 'string') throw breach('queue', 'add', 'a reply that is no job id came back', tenant);
  return logicalId(context.names, tenant, id) ?? context.names.decode(tenant, id);
}

/** The logical ids among those of a lane. What somebody else has put there is nobody's to hear of. */
export function ownIds(
  { context: { names } }: Guard,
  { tenant }: TenantContext,
  ids: readonly unknown[],
): string[] {
  return ids.map(String).flatMap((id) => logicalId(names, tenant, id) ?? []);
}

/** The id by which the worker's store knows a job of the tenant's lane. */
export function loopId({ context }: Guard, { tenant }: TenantContext, physical: string): string {
  return outerId(context.names, tenant, physical);
}
