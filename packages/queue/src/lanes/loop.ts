import type { IQueueBackend, IRedisClient, MinimalJob, RedisQueueBackend, WorkerOptions } from 'bullmq';
import { ConfigError, publish } from '@tenantkit/core';
import type { StoreOptions } from '../connections.ts';
import { HEADER } from '../header.ts';
import { EndedJobs, signedAt } from '../replay.ts';
import { Taker } from './fused.ts';
import { outerId } from './ids.ts';
import type { Lane } from './lane.ts';
import { OperatedStore, withId } from './operator.ts';
import { isHandedOverAsKnown } from './probe.ts';
import { admit, park, pick, pickedOf, readmit, type Limit } from './scripts.ts';
import type { StoreParts } from './store.ts';
import { sweepLanes } from './sweep.ts';
import { Turns, type Found } from './turns.ts';

/** How many lanes are looked at that turn out to have nothing, before the worker looks at anything else. */
const MOST_EMPTY = 50;

/** What a worker's loop gets: the job, its id, for how long a limit leaves none, and when the next one is due. */
type Handed = [job: unknown, id: unknown, limited: number, due: number];

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

/** Where the reply to a pick that took a job along has the job. */
const HANDED = 5;

/** BullMQ's defaults, which its Worker fills in before it asks for its backend. */
const DEFAULTS = { concurrency: 1, stalledInterval: 30_000 };

/**
 * The backend of a worker: one loop of BullMQ over the lanes of all tenants. {@link Turns} say which lane the next job
 * comes from; what ends a job fetches the next one from the same lane, or beside it from the lane whose turn it is.
 */
export class LoopStore extends OperatedStore {
  readonly #turns: Turns;
  /** Lanes with a limit of concurrency: the end of a job of theirs may let another one begin. */
  readonly #capped = new Set<string>();
  readonly #ended = new EndedJobs();
  readonly #options: StoreOptions & Partial<WorkerOptions>;
  /** What an operator allows all tenants together. */
  readonly #limit: Limit | undefined;
  #known: Promise<boolean> | undefined;
  readonly #taker: Taker;
  /** Jobs that were taken along with turns, for the slots that wait for them. */
  readonly #taken = new Map<string, unknown>();
  /** Not where a fence, or a count of all tenants together, is asked between the turn and the job. */
  readonly #takesAlong: boolean;

  constructor(parts: StoreParts) {
    super(parts);
    this.#options = parts.options;
    this.#limit = this.#options.limiter;
    this.#takesAlong = this.#limit === undefined && this.context.fence === undefined;
    this.#taker = new Taker(this.laneKeys, this.context.prefix, this.laneOptions(this.#options));
    this.#turns = new Turns({
      pick: (wanted, slot) => this.#pick(wanted, slot),
      concurrency: this.#options.concurrency ?? DEFAULTS.concurrency,
      failed: (error) => this.#report(error),
    });
  }

  override async moveToActive(token: string, name?: string): Promise<Handed> {
    if (!(await this.#isKnown())) {
      // Not thrown: BullMQ's loop would call again at once. Like this it asks whenever it is woken, and is told each time.
      this.#report(unknownForm());
      return this.#nothing(token, 0);
    }
    let isCounted = false;
    const nothing = async (due: number): Promise<Handed> => {
      if (isCounted) await readmit(await this.scripts(), this.laneKeys);
      return this.#nothing(token, due);
    };
    for (let looked = 0; looked < MOST_EMPTY; looked += 1) {
      const tenant = await this.#turns.next(this.#takesAlong ? token : undefined);
      if (tenant === undefined) return nothing(this.#turns.due);
      if (!this.#mayRun(tenant)) {
        await this.#putAside(tenant);
        continue;
      }
      if (this.#limit !== undefined && !isCounted) {
        const left = await admit(await this.scripts(), this.laneKeys, this.#limit);
        if (left > 0) return this.#nothing(token, 0, left);
        isCounted = true;
      }
      const taken = this.#taken.get(token);
      this.#taken.delete(token);
      const handed = this.#handed(tenant, token, taken ?? (await this.#take(tenant, token, name)));
      if (handed !== undefined) return handed;
    }
    return nothing(Date.now() + 1);
  }

  override async moveToCompleted(
    ...[job, value, remove, token, fetchNext]: Parameters<RedisQueueBackend['moveToCompleted']>
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    const ended = await this.#end(job.id, job, token, fetchNext, (lane, id, next) =>
      lane.moveToCompleted(withId(id, job), value, remove, token, next),
    );
    this.#remember(job);
    return ended;
  }

  override async moveToFailed(
    ...[job, reason, remove, token, fetchNext, fields]: Parameters<RedisQueueBackend['moveToFailed']>
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    const ended = await this.#end(job.id, job, token, fetchNext, (lane, id, next) =>
      lane.moveToFailed(withId(id, job), reason, remove, token, next, fields),
    );
    this.#remember(job);
    return ended;
  }

  override async moveToDelayed(
    ...[outer, timestamp, delay, token = '0', options = {}]: Parameters<RedisQueueBackend['moveToDelayed']>
  ): Promise<void | unknown[]> {
    const ended = await this.#end(outer, {}, token, options.fetchNext === true, async (lane, id, next) => ({
      result: await lane.moveToDelayed(id, timestamp, delay, token, { ...options, fetchNext: next }),
      finishedOn: 0,
    }));
    return ended.result;
  }

  override hasEnded(tenant: string, id: string, issuedAt: number): boolean {
    return this.#ended.has(this.#outer(tenant, id), issuedAt);
  }

  override async retryJob(...call: Parameters<RedisQueueBackend['retryJob']>): Promise<void> {
    this.#turns.leave(call[2] ?? '0');
    return super.retryJob(...call);
  }

  /** @returns 0: for as long as BullMQ is told that a limit lasts, its loop stands still for all tenants */
  override async moveJobFromActiveToWait(outer: string, token = '0'): Promise<number> {
    this.#turns.leave(token);
    await super.moveJobFromActiveToWait(outer, token);
    return 0;
  }

  override async moveToWaitingChildren(
    ...[outer, token, options]: Parameters<RedisQueueBackend['moveToWaitingChildren']>
  ): Promise<boolean> {
    const isMoved = await super.moveToWaitingChildren(outer, token, options);
    const tenant = this.find(outer)?.lane.tenant;
    if (!isMoved || tenant === undefined) return isMoved;
    this.#turns.leave(token);
    if (this.#capped.has(tenant)) this.touch(tenant);
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
      return ids.map((id) => this.#outer(lane.tenant, id));
    });
    return (await Promise.all(lost)).flat();
  }

  override async moveStalledJobsToWait(): Promise<string[]> {
    return sweepLanes({
      client: await this.scripts(),
      keys: this.laneKeys,
      interval: this.#interval,
      isClosing: () => this.closing !== undefined,
      revive: (tenant) => this.#revive(tenant),
    });
  }

  protected override laneOptions(options: StoreOptions): StoreOptions {
    const { stalledInterval = DEFAULTS.stalledInterval } = options as Partial<WorkerOptions>;
    return {
      ...options,
      // That of all lanes together is counted here; in a lane it would be each tenant's.
      limiter: undefined,
      // How often a lane is looked at is said by the lock of the sweep. The lane's own, which begins a moment later,
      // would be in the way of every other one.
      stalledInterval: Math.ceil(stalledInterval / 2),
    } as StoreOptions;
  }

  async #end(
    outer: string | undefined,
    job: object,
    token: string,
    fetchNext: boolean,
    end: End,
  ): Promise<{ result: void | unknown[]; finishedOn: number }> {
    const { prefix, queue } = this.context;
    const found = this.find(outer ?? '');
    // An operator's, of a job that was added past us.
    if (found === undefined) return shown(await end(this.forQueue(queue, prefix), outer ?? '', fetchNext));
    const { tenant } = found.lane;
    try {
      const isLast = !fetchNext || this.closing !== undefined;
      if (!isLast) return shown(await this.#endAndFetch(found.lane, found.id, token, end));
      this.#turns.leave(token);
      return shown(await end(found.lane, found.id, false));
    } catch (error) {
      this.#turns.leave(token);
      throw error;
    } finally {
      // Behind the script: only now may another job of the lane begin, or the last of its duplicates be there.
      const mayFree = this.#capped.has(tenant) || Reflect.get(job, 'deduplicationId') !== undefined;
      if (mayFree) this.touch(tenant);
      this.touchParent(Reflect.get(job, 'parentKey'));
    }
  }

  async #endAndFetch(lane: Lane, id: string, token: string, end: End): Promise<Ended> {
    const { tenant } = lane;
    if (this.#limit !== undefined) return this.#elsewhere(await end(lane, id, false), token);
    const turn = this.#turns.after(token);
    // A lane that may not go on is put aside by the next look.
    const next = turn === undefined || this.#mayRun(turn) ? turn : undefined;
    if (next === tenant) {
      const ended = await end(lane, id, true);
      const handed = this.#handed(tenant, token, ended.result);
      if (handed === undefined && this.#turns.isDone)
        return { ...ended, result: this.#nothing(token, this.#turns.due) };
      return handed === undefined ? this.#elsewhere(ended, token) : { ...ended, result: handed };
    }
    if (next === undefined) return this.#elsewhere(await end(lane, id, false), token);
    // Sent together, in this order: the second does not wait for the reply to the first.
    const ending = end(lane, id, false);
    const fetching = this.lane(next).moveToActive(token, this.#options.name);
    const [ended, fetched] = await Promise.allSettled([ending, fetching]);
    const handed = fetched.status === 'fulfilled' ? this.#handed(next, token, fetched.value) : undefined;
    if (ended.status === 'rejected') {
      // Else the next job would wait for its lock to run out, with nobody who works on it.
      if (handed !== undefined) await this.#giveBack(String(handed[1]), token);
      throw ended.reason;
    }
    if (handed !== undefined) return { ...ended.value, result: handed };
    if (fetched.status === 'fulfilled') return this.#elsewhere(ended.value, token);
    this.#report(fetched.reason);
    return { ...ended.value, result: this.#nothing(token, 0) };
  }

  /**
   * The next job of whichever lane. What fails here is not thrown: the job before has ended, and BullMQ would try to
   * end it again. The main loop will look again.
   */
  async #elsewhere(ended: Ended, token: string): Promise<Ended> {
    try {
      return { ...ended, result: await this.moveToActive(token, this.#options.name) };
    } catch (error) {
      this.#report(error);
      return { ...ended, result: this.#nothing(token, 0) };
    }
  }

  async #giveBack(outer: string, token: string): Promise<void> {
    this.takeVerdict(outer);
    try {
      await this.moveJobFromActiveToWait(outer, token);
    } catch (error) {
      this.#report(error);
    }
  }

  /** The job that a script of a lane has handed over, under the id by which the loop knows it. */
  #handed(tenant: string, token: string, reply: unknown): Handed | undefined {
    const [job, id]: unknown[] = Array.isArray(reply) ? reply : [];
    if (typeof job !== 'object' || job === null) {
      this.#turns.drop(tenant);
      return undefined;
    }
    this.#turns.seat(token, tenant);
    const outer = this.#outer(tenant, String(id));
    // What is verified is parsed already: BullMQ's script was made to hand over nothing of it.
    return [this.verifiedJob(outer) ?? job, outer, 0, 0];
  }

  // Always of this form: from an empty list BullMQ would conclude as well that the queue is drained.
  #nothing(token: string, due: number, limited = 0): Handed {
    this.#turns.leave(token);
    return [null, 0, limited, due];
  }

  /** What BullMQ's script hands over of a lane. One that fails at a lane is no reason to take no job of the others. */
  async #take(tenant: string, token: string, name: string | undefined): Promise<unknown> {
    try {
      return await this.lane(tenant).moveToActive(token, name);
    } catch (error) {
      if (!isOfScript(error)) throw error;
      return this.#failed(tenant, error);
    }
  }

  /** BullMQ's script has failed in a lane: no other one has to wait for it. @returns no job */
  async #failed(tenant: string, error: unknown): Promise<readonly unknown[]> {
    this.#report(error);
    await park(await this.scripts(), this.laneKeys, tenant, Date.now() + this.#interval);
    return [];
  }

  async #revive(tenant: string): Promise<readonly string[]> {
    try {
      return (await this.lane(tenant).moveStalledJobsToWait()).map((id) => this.#outer(tenant, id));
    } catch (error) {
      if (!isOfScript(error)) throw error;
      this.#report(error);
      return [];
    }
  }

  get #interval(): number {
    return this.#options.stalledInterval ?? DEFAULTS.stalledInterval;
  }

  /** An erased tenant's jobs are taken, and fail. */
  #mayRun(tenant: string): boolean {
    const state = this.context.fence?.state(tenant) ?? 'active';
    return state === 'active' || state === 'erased';
  }

  /** A frozen tenant's lane is not looked at for a while: no job of it is touched. */
  async #putAside(tenant: string): Promise<void> {
    this.#turns.drop(tenant);
    const until = Date.now() + (this.context.fence?.maxStaleness ?? 0);
    await park(await this.scripts(), this.laneKeys, tenant, until);
  }

  async #pick(wanted: number, slot?: string): Promise<Found> {
    const client = await this.scripts();
    const reply = slot === undefined ? undefined : await this.#takeAlong(client, wanted, slot);
    const { limits } = this.context;
    const picked =
      reply === undefined
        ? await pick(client, this.laneKeys, Date.now(), wanted, limits)
        : pickedOf(reply, wanted);
    for (const tenant of picked.turns) this.#capped.delete(tenant);
    for (const tenant of picked.capped) this.#capped.add(tenant);
    for (const tenant of picked.unreadable) this.#refuseLane(tenant);
    const [taken, ...turns] = picked.turns;
    const job: unknown = reply?.[HANDED];
    if (slot === undefined || taken === undefined || job === undefined) return picked;
    this.#taken.set(
      slot,
      job instanceof Error ? await this.#failed(taken, job) : this.lane(taken).received(job),
    );
    return { ...picked, turns, taken };
  }

  async #takeAlong(
    client: IRedisClient,
    wanted: number,
    slot: string,
  ): Promise<readonly unknown[] | undefined> {
    const reply = await this.#taker.take(
      client,
      Date.now(),
      wanted,
      slot,
      this.#options.name,
      this.context.limits,
    );
    return Array.isArray(reply) ? reply : undefined;
  }

  #refuseLane(tenant: string): void {
    publish('refused', {
      surface: 'queue',
      operation: 'process',
      message:
        'The limits of a lane are no numbers, or a key of it is of another type: none of its jobs is run until that is mended.',
      tenant,
      extra: { queue: this.context.queue },
    });
  }

  /** Whether the installed BullMQ hands over jobs as we know it; asked once. */
  async #isKnown(): Promise<boolean> {
    this.#known ??= isHandedOverAsKnown(await this.scripts(), this.context, this.laneKeys);
    try {
      return await this.#known;
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }

  /** That it has ended. Of a job that was refused BullMQ has seen no header. */
  #remember({ id = '', opts }: MinimalJob): void {
    const issuedAt = signedAt(Reflect.get(opts, HEADER));
    if (issuedAt !== undefined) this.#ended.add(id, issuedAt);
  }

  #outer(tenant: string, id: string): string {
    return outerId(this.context.names, tenant, id);
  }

  #report(error: unknown): void {
    if (this.closing === undefined) this.emit('error', error);
  }
}

/** Whether the server has answered with it: at a key of another type, say. Else the connection is lost. */
function isOfScript(error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError';
}

function unknownForm(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'process',
    problem: 'the installed BullMQ hands over jobs in a form that is not known, and no job is taken',
    hint: 'Install bullmq 6.7, or a newer @tenantkit/queue.',
  });
}

function shown({ result, finishedOn }: Ended): { result: void | unknown[]; finishedOn: number } {
  return { result: Array.isArray(result) ? result : undefined, finishedOn };
}
