import {
  ErrorCode,
  QueueKeys,
  RedisQueueBackend,
  raw2NextJobData,
  type IRedisClient,
  type JobJson,
  type JobType,
} from 'bullmq';
import { currentTenant } from '@tenantkit/core';
import type { JobClaims } from '../header.ts';
import { PICK_UPS, judgePickUp, judgeRead, type Place, type StoreContext, type Verdict } from '../store.ts';
import type { JobHash } from '../verify.ts';
import { writeTogether } from '../writes.ts';
import type { StoreOptions } from '../connections.ts';
import { acceptedAt, again, finishedBy } from './again.ts';
import { logicalKey, ownNode } from '../flows/names.ts';
import { ADDS, addNoted, removeStillFailed, type StillFailed } from './fused.ts';
import { laneName, type LaneKeys } from './names.ts';
import { cleanInSteps, shrink, type CleanedState } from './removal.ts';
import { touchesLane } from './touch.ts';

/** What BullMQ answers to the end of a parent that has children which are not done, or have failed. */
const OF_CHILDREN: ReadonlySet<number> = new Set([
  ErrorCode.JobPendingChildren,
  ErrorCode.JobHasFailedChildren,
]);

/** What a lane belongs to. */
export interface LaneHome {
  readonly context: StoreContext;
  readonly connection: RedisQueueBackend['connection'];
  /** The keys that say where there is work. */
  readonly laneKeys: LaneKeys;
  /** To be called when a script is written after which the lane may have something to run. */
  touch(tenant: string): void;
  /** Whether a job that was signed at this time has ended here before. */
  hasEnded(tenant: string, id: string, issuedAt: number): boolean;
  /** Keeps what was found when a job of the lane was handed over. */
  judged(tenant: string, id: string, verdict: Verdict): void;
}

/**
 * One tenant's part of a logical queue: a queue of BullMQ, with physical ids, on the connection of the whole. It
 * verifies every job on its way out, and is never handed out: queues, workers and jobs hold the guarded backend.
 * It keeps nothing, so that any number of them may stand for the same lane.
 */
export class Lane extends RedisQueueBackend {
  readonly tenant: string;
  readonly #home: LaneHome;
  readonly #place: Place;

  constructor(home: LaneHome, tenant: string, options: StoreOptions) {
    const { context } = home;
    const keys = new QueueKeys(context.prefix);
    const name = laneName(context.queue, tenant);
    super(
      home.connection,
      name,
      Object.freeze(keys.getKeys(name)),
      (type) => keys.toKey(name, type),
      options,
      undefined,
      // The connection is the logical queue's, which also forwards its events.
      false,
    );
    this.tenant = tenant;
    this.#home = home;
    this.#place = { context, lane: tenant, hasEnded: (id, issuedAt) => home.hasEnded(tenant, id, issuedAt) };
  }

  /**
   * The one place through which every script of BullMQ runs. A job that a script hands over is verified here,
   * as the server has it, before BullMQ parses anything of it: a hash that does not parse would otherwise throw
   * in the middle of the worker's loop and take the event of the job before with it.
   */
  override execCommand(...call: Parameters<RedisQueueBackend['execCommand']>): unknown {
    const [client, script] = call;
    writeTogether(Reflect.get(client, 'stream'));
    // What is only put into a pipeline is written later, and noted by who sends the pipeline.
    const isNoted = touchesLane(script) && !isPipeline(client);
    if (isNoted && ADDS.has(script)) {
      const note = { keys: this.#home.laneKeys, tenant: this.tenant };
      const plain = (): unknown => this.#touching(call);
      return addNoted(client as IRedisClient, `${script}:${this.version}`, call[2], note, plain);
    }
    const reply = isNoted ? this.#touching(call) : (super.execCommand(...call) as unknown);
    if (!PICK_UPS.has(script)) return reply;
    return Promise.resolve(reply).then((found) => this.#screened(found));
  }

  /**
   * Removes a failed job, in the step in which it is looked at whether it still is the one that was read.
   *
   * @returns BullMQ's code, and what the server has said where BullMQ's script had failed
   */
  async removeExpired(id: string, job: Omit<StillFailed, 'failed'>): Promise<readonly [number, string]> {
    return removeStillFailed(
      await this.connection.client,
      `removeJob:${this.version}`,
      this.removeArgs(id, false),
      { ...job, failed: this.toKey('failed') },
      () => this.remove(id, false),
    );
  }

  override async addJobs(...call: Parameters<RedisQueueBackend['addJobs']>): Promise<string[]> {
    const ids = await super.addJobs(...call);
    this.#home.touch(this.tenant);
    return ids;
  }

  /** Limits are read by whoever hands out turns: one that is raised or lifted may set jobs free. */
  override async setQueueMeta(...call: Parameters<RedisQueueBackend['setQueueMeta']>): Promise<number> {
    const fields = await super.setQueueMeta(...call);
    this.#home.touch(this.tenant);
    return fields;
  }

  override async removeQueueMetaFields(fields: string[]): Promise<number> {
    const removed = await super.removeQueueMetaFields(fields);
    this.#home.touch(this.tenant);
    return removed;
  }

  override async removeRateLimitKey(): Promise<number> {
    const removed = await super.removeRateLimitKey();
    this.#home.touch(this.tenant);
    return removed;
  }

  override async cleanJobsByState(state: string, timestamp: number, limit = 0): Promise<string[]> {
    return cleanInSteps(this.#state(state), timestamp, limit);
  }

  override async drain(delayed: boolean): Promise<void> {
    // Each scheduler keeps its next job.
    const kept = await this.getJobSchedulersCount();
    for (const state of drained(delayed)) await shrink(this.#state(state), kept);
    return super.drain(delayed);
  }

  /** Signed anew, in one transaction: see {@link again}. */
  override async retryFinishedJob(
    ...[job, state, options = {}]: Parameters<RedisQueueBackend['retryFinishedJob']>
  ): Promise<void> {
    const { id = '' } = job;
    const { events, wait, meta, active, marker, prioritized, pc } = this.keys;
    // As BullMQ's own method gives them, which puts them into no transaction.
    const given = [
      this.toKey(id),
      events,
      this.toKey(state),
      wait,
      meta,
      active,
      marker,
      prioritized,
      pc,
      id,
      job.opts.lifo === true ? 'RPUSH' : 'LPUSH',
      state === 'failed' ? 'failedReason' : 'returnvalue',
      state,
      options.resetAttemptsMade === true ? '1' : '0',
      options.resetAttemptsStarted === true ? '1' : '0',
    ];
    const code = await again(
      { context: this.#place.context, lane: this },
      state,
      [id],
      (target) => this.execCommand(target, 'reprocessJob', given),
      (answer) => answer === 1,
    );
    if (code !== 1)
      throw this.finishedErrors({ code: Number(code), jobId: id, command: 'reprocessJob', state });
    this.#home.touch(this.tenant);
  }

  /** Those that are signed anew and no others: what finishes meanwhile is left to the next call. */
  override async retryFinishedJobs(
    ...[state = 'failed', count = 1_000, timestamp = Date.now()]: Parameters<
      RedisQueueBackend['retryFinishedJobs']
    >
  ): Promise<number> {
    const { ids, last } = await finishedBy(this, state, timestamp, count);
    if (ids.length === 0) return 0;
    await again(
      { context: this.#place.context, lane: this },
      state,
      ids,
      (target) =>
        this.execCommand(target, 'moveJobsToWait', this.moveJobsToWaitArgs(state, ids.length, last)),
      () => true,
    );
    this.#home.touch(this.tenant);
    return ids.length < count ? 0 : 1;
  }

  override async changeDelay(id: string, delay: number): Promise<void> {
    await this.acceptAt(id, Date.now() + delay);
    return super.changeDelay(id, delay);
  }

  /** Signs a job anew that somebody puts off until a time at which it would be too old. */
  acceptAt(id: string, due: number): Promise<void> {
    return acceptedAt({ context: this.#place.context, lane: this }, id, due);
  }

  /** What a script has answered that is not sent through here, as BullMQ's backend would pass it on. */
  received(reply: unknown): unknown {
    return raw2NextJobData(this.#screened(reply) as [never, never]);
  }

  /** The messages of BullMQ's errors name the job: by its logical id, where a tenant will read them. */
  override finishedErrors(details: Parameters<RedisQueueBackend['finishedErrors']>[0]): Error {
    // A parent that ends before its children fails with such a message, in the loop of all tenants.
    const tenant = OF_CHILDREN.has(details.code) ? this.tenant : currentTenant()?.tenant;
    if (tenant === undefined) return super.finishedErrors(details);
    const { jobId, parentKey } = details;
    const { context } = this.#home;
    const { names } = context;
    const parent = parentKey === undefined ? undefined : ownNode(context, tenant, parentKey);
    return super.finishedErrors({
      ...details,
      ...(jobId !== undefined && names.owns(tenant, jobId) ? { jobId: names.decode(tenant, jobId) } : {}),
      ...(parent === undefined ? {} : { parentKey: logicalKey(context, parent) }),
    });
  }

  /**
   * Reads one job.
   *
   * @throws {@link SignatureError} when its header is not accepted
   */
  async readVerified(id: string): Promise<{ readonly claims: JobClaims; readonly job: JobJson } | undefined> {
    const client = await this.client;
    const hash: JobHash = await client.hgetall(this.toKey(id));
    return Object.keys(hash).length === 0 ? undefined : judgeRead(this.#place, hash, id);
  }

  #state(state: string): CleanedState {
    return {
      count: async () => {
        const [count = 0] = await this.getCounts([state as JobType]);
        return count;
      },
      clean: (until, looked) => super.cleanJobsByState(state, until, looked),
    };
  }

  #touching(call: Parameters<RedisQueueBackend['execCommand']>): unknown {
    const reply: unknown = super.execCommand(...call);
    this.#home.touch(this.tenant);
    return reply;
  }

  #screened(reply: unknown): unknown {
    if (!Array.isArray(reply) || !Array.isArray(reply[0])) return reply;
    const [fields, given, ...rest]: unknown[] = reply;
    const id = String(given);
    const { verdict, seen } = judgePickUp(this.#place, fields as readonly unknown[], id);
    this.#home.judged(this.tenant, id, verdict);
    return [seen, id, ...rest];
  }
}

/** What BullMQ's script empties. */
export function drained(delayed: boolean): readonly string[] {
  return ['wait', 'paused', 'prioritized', ...(delayed ? ['delayed'] : [])];
}

// A client has a connection, whose state it says; a pipeline or a transaction has none.
function isPipeline(client: object): boolean {
  return typeof Reflect.get(client, 'status') !== 'string';
}
