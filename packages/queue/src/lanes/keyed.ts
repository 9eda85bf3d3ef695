import type { RedisQueueBackend } from 'bullmq';
import { currentTemplate } from '../schedulers/renew.ts';
import { jobOptions } from '../schedulers/schedule.ts';
import { innerId } from './ids.ts';
import type { Lane } from './lane.ts';
import { LaneStore } from './store.ts';

/**
 * What names no job but a deduplication or a scheduler. Its id is bare in a lane, since the lane is the tenant's. Outside of lanes,
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

  override async isJobScheduler(outer: string): Promise<boolean> {
    const found = this.findKeyed(outer);
    return found === undefined ? super.isJobScheduler(outer) : found.lane.isJobScheduler(found.id);
  }

  override async removeJobScheduler(outer: string): Promise<number> {
    const found = this.findKeyed(outer);
    return found === undefined ? super.removeJobScheduler(outer) : found.lane.removeJobScheduler(found.id);
  }

  override async getJobScheduler(...[outer]: Parameters<RedisQueueBackend['getJobScheduler']>) {
    const found = this.findKeyed(outer);
    return found === undefined ? super.getJobScheduler(outer) : found.lane.getJobScheduler(found.id);
  }

  override async getJobSchedulerData(...[outer]: Parameters<RedisQueueBackend['getJobSchedulerData']>) {
    const found = this.findKeyed(outer);
    return found === undefined ? super.getJobSchedulerData(outer) : found.lane.getJobSchedulerData(found.id);
  }

  /** Those of all lanes, in the order of their next jobs. */
  override async getJobSchedulersRange(start: number, end: number, asc: boolean): Promise<string[]> {
    const all: (readonly [string, string])[] = [];
    for (const tenant of await this.tenants()) {
      const found = await this.lane(tenant).getJobSchedulersRange(0, -1, true);
      for (let at = 0; at + 1 < found.length; at += 2)
        all.push([this.context.names.prefix(tenant) + String(found[at]), String(found[at + 1])]);
    }
    all.sort(([, one], [, other]) => (asc ? 1 : -1) * (Number(one) - Number(other)));
    return all.slice(start, end === -1 ? undefined : end + 1).flat();
  }

  override async getJobSchedulersCount(): Promise<number> {
    let count = 0;
    for (const tenant of await this.tenants()) count += await this.lane(tenant).getJobSchedulersCount();
    return count;
  }

  /**
   * Makes the next job of a scheduler, when a worker has taken one of its jobs. It is made from the template as it is
   * stored, and only if that one is verified: else it would run by a schedule that nobody has signed, and the next one
   * would be refused in any case. Both are signed with the current key from then on.
   */
  override async updateJobSchedulerNextMillis(
    ...[outer, next, , ofJob, producer]: Parameters<RedisQueueBackend['updateJobSchedulerNextMillis']>
  ): Promise<string | null> {
    const found = this.findKeyed(outer);
    if (found === undefined || producer === undefined) return null;
    const { lane, id } = found;
    const { context } = this;
    const template = await currentTemplate({ context, lane }, id);
    // Removed, or not verified: what it has made goes on, and nothing follows.
    if (template === undefined) return null;
    const { hash } = template;
    const { repeat } = ofJob as { readonly repeat?: { readonly count?: number } };
    const millis = hash['every'] === undefined ? next : undefined;
    // Changed meanwhile, from one kind of schedule to the other: the job that took its place goes on.
    if (hash['every'] === undefined && !Number.isFinite(next)) return null;
    const options = jobOptions(template.options, id, { count: repeat?.count ?? 1, now: Date.now(), millis });
    const own = innerId(context.names, lane.tenant, producer);
    return lane.updateJobSchedulerNextMillis(id, next, '{}', options, own);
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
