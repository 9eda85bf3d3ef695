import type { JobType, RedisQueueBackend } from 'bullmq';
import { jsonOf, updateSigned } from '../views/job.ts';
import { outerId } from './ids.ts';
import { KeyedStore } from './keyed.ts';
import type { Lane } from './lane.ts';
import type { LaneStore } from './store.ts';

/** What is about one job, which its first argument names. */
const BY_ID = [
  'getJobData',
  'getState',
  'getJobLogs',
  'addLog',
  'clearLogs',
  'updateProgress',
  'extendLock',
  'isFinished',
  'remove',
  'promote',
  'changeDelay',
  'changePriority',
  'moveToDelayed',
  'moveToWaitingChildren',
  'moveJobFromActiveToWait',
  'retryJob',
  'removeUnprocessedChildren',
  'removeChildDependency',
  'getDependencies',
  'getDependencyCounts',
  'getProcessedChildrenValues',
  'getIgnoredChildrenFailures',
] as const satisfies readonly (keyof RedisQueueBackend)[];

/** The same, with the job in the place of its id. */
const BY_JOB = [
  'retryFinishedJob',
  'moveToCompleted',
  'moveToFailed',
] as const satisfies readonly (keyof RedisQueueBackend)[];

const LISTS: ReadonlySet<string> = new Set(['wait', 'waiting', 'paused', 'active']);

type Call = (...args: readonly unknown[]) => unknown;

/**
 * What an operator does with a logical queue, and its worker with one job: about a job it goes to its lane; about the
 * whole queue it goes over all lanes, with physical ids. Ids that say no tenant are looked up in the queue itself,
 * where jobs are that were added past us.
 */
export class OperatedStore extends KeyedStore {
  static {
    for (const member of BY_ID)
      byJob(
        this.prototype,
        member,
        (id) => String(id),
        (id) => id,
      );
    for (const member of BY_JOB) byJob(this.prototype, member, idOf, withId);
  }

  /** The header binds the data: without a new one, the job would be refused when it is its turn. */
  override async updateData(...[job, data]: Parameters<RedisQueueBackend['updateData']>): Promise<void> {
    const found = this.find(idOf(job));
    if (found === undefined) return super.updateData(job, data);
    return updateSigned(this.context, found.lane, found.id, jsonOf('updateData', data));
  }

  override async isJobInState(
    ...[state, outer]: Parameters<RedisQueueBackend['isJobInState']>
  ): Promise<boolean> {
    const found = this.find(outer);
    return found === undefined ? super.isJobInState(state, outer) : found.lane.isJobInState(state, found.id);
  }

  override async getCounts(types: JobType[], before?: number): Promise<number[]> {
    return sum(types.length, await this.#each((lane) => lane.getCounts(types, before)));
  }

  override async getCountsPerPriority(priorities: number[]): Promise<number[]> {
    return sum(priorities.length, await this.#each((lane) => lane.getCountsPerPriority(priorities)));
  }

  override async getRanges(types: JobType[], start = 0, end = 1, asc = false): Promise<[string][]> {
    const window = await this.#window(types, start, end, async (lane, until) => {
      const ranges: string[][] = await lane.getRanges(types, 0, until, asc);
      return ranges.map((ids, at) =>
        this.#outer(lane.tenant, isReversed(types[at], asc) ? ids.toReversed() : ids),
      );
    });
    return window.map((ids, at) => (isReversed(types[at], asc) ? ids.toReversed() : ids)) as [string][];
  }

  override async getJobs(
    types: JobType[],
    start = 0,
    end = -1,
    asc = false,
  ): Promise<[string, string[]][][]> {
    return this.#window(types, start, end, async (lane, until) => {
      const jobs = await lane.getJobs(types, 0, until, asc);
      const { names } = this.context;
      return jobs.map((found) =>
        found.map(([id, fields]): [string, string[]] => [outerId(names, lane.tenant, id), fields]),
      );
    });
  }

  /** Counts are added up; so are the points of each minute, of which BullMQ keeps a list per queue, newest first. */
  override async getMetrics(
    ...[type, start = 0, end = -1]: Parameters<RedisQueueBackend['getMetrics']>
  ): Promise<[string[], string[], number]> {
    const found = await this.#each((lane) => lane.getMetrics(type, 0, -1));
    const newest = Math.max(0, ...found.map(([[, updated]]) => Number(updated ?? 0)));
    const points: number[] = [];
    let [count, counted] = [0, 0];
    for (const [[total, updated, before], data] of found) {
      count += Number(total ?? 0);
      counted += Number(before ?? 0);
      const behind = minute(newest) - minute(Number(updated ?? 0));
      for (const [at, point] of data.entries()) {
        while (points.length <= behind + at) points.push(0);
        points[behind + at] = (points[behind + at] ?? 0) + Number(point);
      }
    }
    const shown = points.slice(start, end === -1 ? undefined : end + 1).map(String);
    return [[count, newest, counted].map(String), shown, points.length];
  }

  override async pause(isPaused: boolean): Promise<void> {
    await super.pause(isPaused);
    // Lanes stay ready meanwhile, and nobody is waked for them.
    if (!isPaused) await this.wake();
  }

  override async removeRateLimitKey(): Promise<number> {
    const removed = await super.removeRateLimitKey();
    await this.wake();
    return removed;
  }

  override async drain(delayed: boolean): Promise<void> {
    await this.#each((lane) => lane.drain(delayed));
  }

  override async cleanJobsByState(state: string, timestamp: number, limit = 0): Promise<string[]> {
    const removed: string[] = [];
    for (const tenant of await this.tenants()) {
      const left = limit - removed.length;
      if (limit > 0 && left <= 0) break;
      const ids = await this.lane(tenant).cleanJobsByState(state, timestamp, limit > 0 ? left : 0);
      removed.push(...this.#outer(tenant, ids));
    }
    return removed;
  }

  override async retryFinishedJobs(
    ...call: Parameters<RedisQueueBackend['retryFinishedJobs']>
  ): Promise<number> {
    await this.#each((lane) => untilDone(() => lane.retryFinishedJobs(...call)));
    return 0;
  }

  override async promoteJobs(count?: number): Promise<number> {
    await this.#each((lane) => untilDone(() => lane.promoteJobs(count)));
    return 0;
  }

  override async obliterate(options: Parameters<RedisQueueBackend['obliterate']>[0]): Promise<number> {
    await this.#each(async (lane) => {
      // As BullMQ does to a queue, whose script demands it.
      await lane.pause(true);
      await untilDone(() => lane.obliterate(options));
      this.unregistered(lane.tenant);
    });
    const { lanes, ready, due, vt, wake } = this.laneKeys;
    const client = await this.client;
    await client.del(lanes, ready, due, vt, wake);
    return super.obliterate(options);
  }

  override async removeOrphanedJobs(count?: number, limit = 0): Promise<number> {
    let removed = 0;
    for (const tenant of await this.tenants()) {
      if (limit > 0 && removed >= limit) break;
      removed += await this.lane(tenant).removeOrphanedJobs(count, limit > 0 ? limit - removed : 0);
    }
    return removed;
  }

  override async trimEvents(maxLength: number): Promise<number> {
    const trimmed = await this.#each((lane) => lane.trimEvents(maxLength));
    return trimmed.reduce((total, count) => total + count, 0);
  }

  /** What each lane has, one lane after the other: what stands before `start` has to be read as well. */
  async #window<T>(
    types: readonly JobType[],
    start: number,
    end: number,
    read: (lane: Lane, until: number) => Promise<readonly (readonly T[])[]>,
  ): Promise<T[][]> {
    const isOpen = start < 0 || end < 0;
    const all = types.map((): T[] => []);
    for (const tenant of await this.tenants()) {
      if (!isOpen && all.every((found) => found.length > end)) break;
      const found = await read(this.lane(tenant), isOpen ? -1 : end);
      found.forEach((part, at) => all[at]?.push(...part));
    }
    return all.map((found) => found.slice(start, end === -1 ? undefined : end + 1));
  }

  #outer(tenant: string, ids: readonly string[]): string[] {
    return ids.map((id) => outerId(this.context.names, tenant, id));
  }

  // One after the other: as many commands at once as there are tenants would keep everybody waiting.
  async #each<T>(act: (lane: Lane) => Promise<T>): Promise<readonly T[]> {
    const answers: T[] = [];
    for (const tenant of await this.tenants()) answers.push(await act(this.lane(tenant)));
    return answers;
  }
}

function byJob(
  prototype: LaneStore,
  member: string,
  idIn: (given: unknown) => string,
  put: (id: string, given: unknown) => unknown,
): void {
  define(
    prototype,
    member,
    (own) =>
      async function routed(this: LaneStore, given, ...rest) {
        const found = this.find(idIn(given));
        if (found === undefined) return Reflect.apply(own, this, [given, ...rest]);
        const { lane, id } = found;
        return Reflect.apply(Reflect.get(lane, member) as Call, lane, [put(id, given), ...rest]);
      },
  );
}

function define(
  prototype: LaneStore,
  member: string,
  make: (own: Call) => (this: LaneStore, ...args: unknown[]) => unknown,
): void {
  const own = Reflect.get(prototype, member) as Call;
  Object.defineProperty(prototype, member, { value: make(own), configurable: true, writable: true });
}

function idOf(job: unknown): string {
  return String((job as { readonly id?: unknown }).id);
}

/** The job under its id in the lane, which is nearly always the one that it has. */
export function withId<T>(id: string, job: T): T {
  const given = job as { readonly id?: unknown };
  return given.id === id ? job : (Object.create(given, { id: { value: id } }) as T);
}

// The oldest of a list stand at its end, and are answered in the order of the list.
function isReversed(type: string | undefined, asc: boolean): boolean {
  return asc && type !== undefined && LISTS.has(type);
}

function minute(time: number): number {
  return Math.floor(time / 60_000);
}

function sum(length: number, answers: readonly (readonly number[])[]): number[] {
  return Array.from({ length }, (_, at) => answers.reduce((total, counts) => total + (counts[at] ?? 0), 0));
}

async function untilDone(step: () => Promise<number>): Promise<void> {
  while ((await step()) > 0);
}
