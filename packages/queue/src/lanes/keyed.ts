import type { RedisQueueBackend } from 'bullmq';
import type { Lane } from './lane.ts';
import { LaneStore } from './store.ts';

/**
 * What names no job but a deduplication. Its id is bare in a lane, since the lane is the tenant's. Outside of lanes,
 * where an operator or a worker's loop names it, the tenant stands before it, as before the id of a job.
 */
export class KeyedStore extends LaneStore {
  override async getDeduplicationJobId(outer: string): Promise<string | null> {
    const found = this.findKeyed(outer);
    return found === undefined
      ? super.getDeduplicationJobId(outer)
      : found.lane.getDeduplicationJobId(found.id);
  }

  override async deleteDeduplicationKey(outer: string): Promise<number> {
    const found = this.findKeyed(outer);
    return found === undefined
      ? super.deleteDeduplicationKey(outer)
      : found.lane.deleteDeduplicationKey(found.id);
  }

  override async removeDeduplicationKey(
    ...[outer, job]: Parameters<RedisQueueBackend['removeDeduplicationKey']>
  ): Promise<number> {
    const found = this.findKeyed(outer);
    return found === undefined
      ? super.removeDeduplicationKey(outer, job)
      : found.lane.removeDeduplicationKey(found.id, job);
  }

  /** The lane that a name says which is no job's, and the bare name there. */
  protected findKeyed(outer: string): { readonly lane: Lane; readonly id: string } | undefined {
    const { names } = this.context;
    const tenant = names.tenantOf(outer);
    return tenant === undefined
      ? undefined
      : { lane: this.lane(tenant), id: outer.slice(names.prefix(tenant).length) };
  }
}
