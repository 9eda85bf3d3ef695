import type { IQueueBackend, MinimalJob, RedisQueueBackend } from 'bullmq';
import { HEADER } from '../header.ts';
import { EndedJobs } from '../ended.ts';
import { signedAt, signedTime } from '../replay.ts';
import { expiring } from './expire.ts';
import type { Lane } from './lane.ts';
import { withId } from './operator.ts';
import { sweepLanes } from './sweep.ts';
import { TakingStore, isOfScript } from './taking.ts';

/** What a script has answered that ends a job. */
interface Ended {
  readonly result: unknown;
  readonly finishedOn: number;
}

/** Ends a job in the lane in which it is, and fetches the next one of the lane where it is told to. */
type End = (
  lane: Pick<IQueueBackend, 'moveToCompleted' | 'moveToFailed' | 'moveToDelayed'>,
  id: string,
  fetchNext: boolean,
) => Promise<Ended>;

/**
 * The backend of a worker: one loop of BullMQ over the lanes of all tenants. What ends a job fetches the next one from
 * the same lane, or beside it from the lane whose turn it is.
 */
export class LoopStore extends TakingStore {
  readonly #ended = new EndedJobs();
  /** Up to when all that has ended in a lane is kept by its own options. */
  readonly #kept = new Map<string, string>();

  override moveToCompleted(
    ...[job, value, remove, token, fetchNext]: Parameters<RedisQueueBackend['moveToCompleted']>
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    return this.#end(job.id, job, token, fetchNext, (lane, id, next) =>
      lane.moveToCompleted(withId(id, job), value, remove, token, next),
    );
  }

  override moveToFailed(
    ...[job, reason, remove, token, fetchNext, fields]: Parameters<RedisQueueBackend['moveToFailed']>
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    return this.#end(job.id, job, token, fetchNext, (lane, id, next) =>
      lane.moveToFailed(withId(id, job), reason, remove, token, next, fields),
    );
  }

  override async moveToDelayed(
    ...[outer, timestamp, delay, token = '0', options = {}]: Parameters<RedisQueueBackend['moveToDelayed']>
  ): Promise<void | unknown[]> {
    const ended = await this.#end(
      outer,
      undefined,
      token,
      options.fetchNext === true,
      async (lane, id, next) => ({
        result: await lane.moveToDelayed(id, timestamp, delay, token, { ...options, fetchNext: next }),
        finishedOn: 0,
      }),
    );
    return ended.result;
  }

  override hasEnded(tenant: string, id: string, issuedAt: number): boolean {
    return this.#ended.has(this.outer(tenant, id), issuedAt);
  }

  override async retryJob(...call: Parameters<RedisQueueBackend['retryJob']>): Promise<void> {
    this.turns.leave(call[2] ?? '0');
    return super.retryJob(...call);
  }

  /** @returns 0: for as long as BullMQ is told that a limit lasts, its loop stands still for all tenants */
  override async moveJobFromActiveToWait(outer: string, token = '0'): Promise<number> {
    this.turns.leave(token);
    await super.moveJobFromActiveToWait(outer, token);
    return 0;
  }

  override async moveToWaitingChildren(
    ...[outer, token, options]: Parameters<RedisQueueBackend['moveToWaitingChildren']>
  ): Promise<boolean> {
    const isMoved = await super.moveToWaitingChildren(outer, token, options);
    const tenant = this.find(outer)?.lane.tenant;
    if (!isMoved || tenant === undefined) return isMoved;
    this.turns.leave(token);
    if (this.capped.has(tenant)) this.touch(tenant);
    return true;
  }

  override async extendLocks(outers: string[], tokens: string[], duration: number): Promise<string[]> {
    const groups = new Map<Lane, { readonly ids: string[]; readonly tokens: string[] }>();
    for (const [at, outer] of outers.entries()) {
      const found = this.find(outer);
      if (found === undefined) continue;
      const group = groups.get(found.lane) ?? { ids: [], tokens: [] };
      group.ids.push(found.id);
      group.tokens.push(tokens[at] ?? '');
      groups.set(found.lane, group);
    }
    const lost = [...groups].map(async ([lane, group]) => {
      const ids = await lane.extendLocks(group.ids, group.tokens, duration);
      return ids.map((id) => this.outer(lane.tenant, id));
    });
    return (await Promise.all(lost)).flat();
  }

  override async moveStalledJobsToWait(): Promise<string[]> {
    const client = await this.scripts();
    return sweepLanes({
      client,
      keys: this.laneKeys,
      interval: this.interval,
      isClosing: () => this.closing !== undefined,
      revive: (tenant) => this.#revive(tenant),
      isHeld: (tenant) => !this.mayRun(tenant),
      // As many as milliseconds pass until the next sweep: the server is at it for a small part of that time.
      expire: expiring(this, client, this.options, this.interval, this.#kept, (error) => this.report(error)),
    });
  }

  /** @param job - that ends for good; `undefined` for one that is only put off */
  async #end(
    outer: string | undefined,
    job: MinimalJob | undefined,
    token: string,
    fetchNext: boolean,
    end: End,
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    const found = this.find(outer ?? '');
    if (found === undefined) return this.#endPast(outer ?? '', job, fetchNext, end);
    const { tenant } = found.lane;
    try {
      const isLast = !fetchNext || this.closing !== undefined;
      if (isLast) this.turns.leave(token);
      const ended = isLast
        ? await end(found.lane, found.id, false)
        : await this.#endAndFetch(found.lane, found.id, token, end);
      if (job !== undefined) this.#remember(job);
      return shown(ended);
    } catch (error) {
      this.turns.leave(token);
      throw error;
    } finally {
      // Behind the script: only now may another job of the lane begin, or the last of its duplicates be there.
      const { deduplicationId, parentKey } = (job ?? {}) as {
        deduplicationId?: unknown;
        parentKey?: unknown;
      };
      if (this.capped.has(tenant) || deduplicationId !== undefined) this.touch(tenant);
      this.touchParent(parentKey);
    }
  }

  /** An operator's, of a job that was added past us. */
  async #endPast(
    id: string,
    job: MinimalJob | undefined,
    fetchNext: boolean,
    end: End,
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    const { prefix, queue } = this.context;
    const ended = shown(await end(this.forQueue(queue, prefix), id, fetchNext));
    if (job !== undefined) this.#remember(job);
    return ended;
  }

  async #endAndFetch(lane: Lane, id: string, token: string, end: End): Promise<Ended> {
    const { tenant } = lane;
    if (this.limit !== undefined) return this.#elsewhere(await end(lane, id, false), token);
    const turn = this.turns.after(token);
    // A lane that may not go on is put aside by the next look.
    const next = turn === undefined || this.mayRun(turn) ? turn : undefined;
    if (next === tenant) {
      const ended = await end(lane, id, true);
      const handed = this.handed(tenant, token, ended.result);
      if (handed === undefined && this.turns.isDone)
        return { ...ended, result: this.nothing(token, this.turns.due) };
      return handed === undefined ? this.#elsewhere(ended, token) : { ...ended, result: handed };
    }
    if (next === undefined) return this.#elsewhere(await end(lane, id, false), token);
    // Sent together, in this order: the second does not wait for the reply to the first.
    const ending = end(lane, id, false);
    const fetching = this.lane(next).moveToActive(token, this.options.name);
    const [ended, fetched] = await Promise.allSettled([ending, fetching]);
    const handed = fetched.status === 'fulfilled' ? this.handed(next, token, fetched.value) : undefined;
    if (ended.status === 'rejected') {
      // Else the next job would wait for its lock to run out, with nobody who works on it.
      if (handed !== undefined) await this.#giveBack(String(handed[1]), token);
      throw ended.reason;
    }
    if (handed !== undefined) return { ...ended.value, result: handed };
    if (fetched.status === 'fulfilled') return this.#elsewhere(ended.value, token);
    this.report(fetched.reason);
    return { ...ended.value, result: this.nothing(token, 0) };
  }

  /**
   * The next job of whichever lane. What fails here is not thrown: the job before has ended, and BullMQ would try to
   * end it again. The main loop will look again.
   */
  async #elsewhere(ended: Ended, token: string): Promise<Ended> {
    try {
      return { ...ended, result: await this.moveToActive(token, this.options.name) };
    } catch (error) {
      this.report(error);
      return { ...ended, result: this.nothing(token, 0) };
    }
  }

  async #giveBack(outer: string, token: string): Promise<void> {
    this.takeVerdict(outer);
    try {
      await this.moveJobFromActiveToWait(outer, token);
    } catch (error) {
      this.report(error);
    }
  }

  async #revive(tenant: string): Promise<readonly string[]> {
    try {
      return (await this.lane(tenant).moveStalledJobsToWait()).map((id) => this.outer(tenant, id));
    } catch (error) {
      if (!isOfScript(error)) throw error;
      this.report(error);
      return [];
    }
  }

  /** That it has ended. Of a job that was refused BullMQ has seen no header. */
  #remember(job: MinimalJob): void {
    const { id = '', opts } = job;
    const issuedAt = signedTime.get(job) ?? signedAt(Reflect.get(opts, HEADER));
    if (issuedAt !== undefined) this.#ended.add(id, issuedAt);
  }
}

function shown({ result, finishedOn }: Ended): { result: void | unknown[]; finishedOn: number } {
  return { result: Array.isArray(result) ? result : undefined, finishedOn };
}
