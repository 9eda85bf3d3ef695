import { isNotConnectionError, type IRedisClient, type WorkerOptions } from 'bullmq';
import { ConfigError, publish } from '@tenantkit/core';
import type { StoreOptions } from '../connections.ts';
import { Taker } from './fused.ts';
import { outerId } from './ids.ts';
import { OperatedStore } from './operator.ts';
import { isHandedOverAsKnown } from './probe.ts';
import { admit, park, pick, pickedOf, readmit, type Limit } from './scripts.ts';
import type { StoreParts } from './store.ts';
import { Turns, type Found } from './turns.ts';

/** How many lanes are looked at that turn out to have nothing, before the worker looks at anything else. */
const MOST_EMPTY = 50;

/** How long nothing is asked when it could not be found out whose turn it is, in milliseconds. */
const PAUSE = 1_000;

/** What a worker's loop gets: the job, its id, for how long a limit leaves none, and when the next one is due. */
type Handed = [job: unknown, id: unknown, limited: number, due: number];

/** Where the reply to a pick that took a job along has the job. */
const HANDED = 5;

/** BullMQ's defaults, which its Worker fills in before it asks for its backend. */
const DEFAULTS = { concurrency: 1, stalledInterval: 30_000 };

/**
 * How the loop of a worker comes by its jobs: {@link Turns} say which lane the next one is of, and BullMQ's script hands
 * it over from there, in the same round trip where it can.
 */
export class TakingStore extends OperatedStore {
  protected readonly turns: Turns;
  /** Lanes with a limit of concurrency: the end of a job of theirs may let another one begin. */
  protected readonly capped = new Set<string>();
  protected readonly options: StoreOptions & Partial<WorkerOptions>;
  /** What an operator allows all tenants together. */
  protected readonly limit: Limit | undefined;
  #known: Promise<boolean> | undefined;
  readonly #taker: Taker;
  /** Jobs that were taken along with turns, for the slots that wait for them. */
  readonly #taken = new Map<string, unknown>();
  /** Not where a fence, or a count of all tenants together, is asked between the turn and the job. */
  readonly #takesAlong: boolean;
  /** Whether it was told that the registry is stale. */
  #isStale = false;

  constructor(parts: StoreParts) {
    super(parts);
    this.options = parts.options;
    this.limit = this.options.limiter;
    this.#takesAlong = this.limit === undefined && this.context.fence === undefined;
    this.#taker = new Taker(this.laneKeys, this.context.prefix, this.laneOptions(this.options));
    this.turns = new Turns({
      pick: (wanted, slot) => this.#pick(wanted, slot),
      concurrency: this.options.concurrency ?? DEFAULTS.concurrency,
      failed: (error) => this.report(error),
    });
  }

  /** How many jobs the worker runs at once from now on. */
  set concurrency(slots: number) {
    this.turns.concurrency = slots;
  }

  override async moveToActive(token: string, name?: string): Promise<Handed> {
    try {
      return await this.#handOver(token, name);
    } catch (error) {
      // For a connection BullMQ waits. Anything else it would meet again at once, as often as a server can answer.
      if (!isFault(error)) throw error;
      this.report(error);
      // As a limit, of which BullMQ waits for the end: the wake-up that another one has set would end any other wait.
      return this.nothing(token, 0, PAUSE);
    }
  }

  async #handOver(token: string, name: string | undefined): Promise<Handed> {
    if (!(await this.#isUsable())) {
      // Whenever it is woken it asks again, and is told.
      this.report(unknownForm());
      return this.nothing(token, 0);
    }
    let isCounted = false;
    try {
      for (let looked = 0; looked < MOST_EMPTY; looked += 1) {
        const tenant = await this.turns.next(this.#takesAlong ? token : undefined);
        if (tenant === undefined) return this.nothing(token, this.turns.due);
        if (!this.mayRun(tenant)) {
          this.#tellStale(tenant);
          await this.#putAside(tenant);
          continue;
        }
        this.#isStale = false;
        if (this.limit !== undefined && !isCounted) {
          const left = await admit(await this.scripts(), this.laneKeys, this.limit);
          if (left > 0) return this.nothing(token, 0, left);
          isCounted = true;
        }
        const taken = this.#taken.get(token);
        this.#taken.delete(token);
        const handed = this.handed(tenant, token, taken ?? (await this.#take(tenant, token, name)));
        if (handed === undefined) continue;
        isCounted = false;
        return handed;
      }
      return this.nothing(token, Date.now() + 1);
    } finally {
      // For no job.
      if (isCounted) await readmit(await this.scripts(), this.laneKeys);
    }
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

  /** How often lanes are swept, in milliseconds. */
  protected get interval(): number {
    return this.options.stalledInterval ?? DEFAULTS.stalledInterval;
  }

  /** An erased tenant's jobs are taken, and fail. */
  protected mayRun(tenant: string): boolean {
    const state = this.context.fence?.state(tenant) ?? 'active';
    return state === 'active' || state === 'erased';
  }

  /** The job that a script of a lane has handed over, under the id by which the loop knows it. */
  protected handed(tenant: string, token: string, reply: unknown): Handed | undefined {
    const [job, id]: unknown[] = Array.isArray(reply) ? reply : [];
    if (typeof job !== 'object' || job === null) {
      this.turns.drop(tenant);
      return undefined;
    }
    this.turns.seat(token, tenant);
    const outer = this.outer(tenant, String(id));
    // What is verified is parsed already: BullMQ's script was made to hand over nothing of it.
    return [this.verifiedJob(outer) ?? job, outer, 0, 0];
  }

  /** No job. The slot leaves its lane. */
  // Always of this form: from an empty list BullMQ would conclude as well that the queue is drained.
  protected nothing(token: string, due: number, limited = 0): Handed {
    this.turns.leave(token);
    return [null, 0, limited, due];
  }

  /** The id under which the loop knows a job. */
  protected outer(tenant: string, id: string): string {
    return outerId(this.context.names, tenant, id);
  }

  /** Tells an error that ends nothing. */
  protected report(error: unknown): void {
    if (this.closing === undefined) this.emit('error', error);
  }

  /** What BullMQ's script hands over of a lane. One that fails at a lane is no reason to take no job of the others. */
  async #take(tenant: string, token: string, name: string | undefined): Promise<unknown> {
    try {
      return await this.lane(tenant).moveToActive(token, name);
    } catch (error) {
      if (!isFault(error)) throw error;
      return this.#failed(tenant, error);
    }
  }

  /** The same, of one that was taken along with turns, which are others' as well. */
  async #receive(tenant: string, job: unknown): Promise<unknown> {
    if (job instanceof Error) return this.#failed(tenant, job);
    try {
      return this.lane(tenant).received(job);
    } catch (error) {
      return this.#failed(tenant, error);
    }
  }

  /** BullMQ's script has failed in a lane, or what it has answered: no other one has to wait for it. @returns no job */
  async #failed(tenant: string, error: unknown): Promise<readonly unknown[]> {
    this.report(error);
    await park(await this.scripts(), this.laneKeys, tenant, Date.now() + this.interval);
    return [];
  }

  /** Once, when the registry could not be read for too long: all tenants wait then, and nobody else would say why. */
  #tellStale(tenant: string): void {
    const { fence } = this.context;
    const isStale = fence?.state(tenant) === 'unknown';
    if (isStale && !this.#isStale) {
      try {
        fence.check(tenant, { surface: 'queue', operation: 'process' });
      } catch (error) {
        this.report(error);
      }
    }
    this.#isStale = isStale;
  }

  /** A frozen tenant's lane is not looked at for a while: no job of it is touched. */
  async #putAside(tenant: string): Promise<void> {
    this.turns.drop(tenant);
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
    for (const tenant of picked.turns) this.capped.delete(tenant);
    for (const tenant of picked.capped) this.capped.add(tenant);
    for (const tenant of picked.unreadable) this.#refuseLane(tenant);
    const [taken, ...turns] = picked.turns;
    const job: unknown = reply?.[HANDED];
    if (slot === undefined || taken === undefined || job === undefined) return picked;
    this.#taken.set(slot, await this.#receive(taken, job));
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
      this.options.name,
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

  /**
   * Whether the installed BullMQ hands over jobs in the form that we know, which is asked once.
   *
   * @throws what the server says in the place of an answer
   */
  async #isUsable(): Promise<boolean> {
    this.#known ??= isHandedOverAsKnown(await this.scripts(), this.context, this.laneKeys);
    try {
      return await this.#known;
    } catch (error) {
      this.#known = undefined;
      throw error;
    }
  }
}

/** Whether it is anything but a connection that is lost, for which BullMQ waits. */
function isFault(error: unknown): error is Error {
  return error instanceof Error && isNotConnectionError(error);
}

/** Whether the server has answered with it: at a key of another type, say. Else the connection is lost. */
export function isOfScript(error: unknown): error is Error {
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
