import { setTimeout as wait } from 'node:timers/promises';
import type { Queue as RawQueue } from 'bullmq';
import {
  ConfigError,
  currentScope,
  parseOptions,
  publish,
  refusal,
  refuse,
  requireScope,
  requireTenant,
  withTenant,
  type TenantContext,
} from '@tenantkit/core';
import { z } from 'zod';
import { storeOf } from '../backend.ts';
import { contextOf } from '../client.ts';
import { signerOf } from '../keys.ts';
import type { LaneStore } from '../lanes/store.ts';
import { readUnsigned, signUnsigned, type UnsignedJob, type WhyLeft } from './judge.ts';
import { adopt, look, type Adoptable, type RawState, type Stretch } from './scripts.ts';

/** Options of {@link adoptJobs}. */
export interface AdoptOptions {
  /**
   * Says whose a job is: a tenant, or a tenant with a person and an actor; `undefined` leaves it where it is. The service
   * has to know it from the data: nobody else does, and whoever can write to Redis may have written the job.
   */
  readonly tenantOf: (
    job: UnsignedJob,
  ) => string | TenantContext | undefined | Promise<string | TenantContext | undefined>;
  /** Jobs that were added later are left, in milliseconds since the epoch; default the moment of the call. */
  readonly until?: number;
  /** How many jobs one call moves at most, default 10,000. */
  readonly most?: number;
  /** How many jobs are moved per second at most, default as many as the server takes. */
  readonly rate?: number;
  /** What else is moved, which does not run any more: results and errors, to be looked at. */
  readonly finished?: readonly ('completed' | 'failed')[];
  /** Looks and asks, and moves nothing. */
  readonly dryRun?: boolean;
  /** Ends the call between two batches, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What an adoption has done, or would do. */
export interface Adopted {
  /** How many jobs each tenant has got. */
  readonly adopted: Readonly<Record<string, number>>;
  /** How many jobs of the raw queue are left, by why. */
  readonly left: Readonly<Partial<Record<WhyLeft, number>>>;
  /** The id of one of them for each reason, where a job was looked at by itself: for the operator to look at. */
  readonly examples: Readonly<Partial<Record<WhyLeft, string>>>;
  /** How many schedulers the raw queue has: they are made anew, each in its tenant. */
  readonly schedulers: number;
  /** Whether the call has ended because of `most`, and another one would go on. */
  readonly more: boolean;
}

const MOST = 10_000;
/** In this order: what is to run first is moved first. */
const PENDING = ['prioritized', 'wait', 'paused', 'delayed'] as const satisfies readonly RawState[];

const FOR_OPERATORS = refuse(
  'it signs jobs that nobody has signed, for any tenant',
  'An operator calls it inside acrossTenants({ reason, actor }, () => …).',
);

const positive = z.number().int().positive();

const schema = z.strictObject({
  tenantOf: z.custom<AdoptOptions['tenantOf']>((value) => typeof value === 'function', 'must be a function'),
  until: z.number().int().nonnegative().optional(),
  most: positive.optional(),
  rate: positive.optional(),
  finished: z.array(z.enum(['completed', 'failed'])).optional(),
  dryRun: z.boolean().optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

/**
 * Moves jobs that raw BullMQ has added into the lanes of their tenants, and signs them: for the one time at which a
 * service changes to this package with jobs waiting. Each is moved in one script, with its data, name, options, delay,
 * priority, attempts and logs, or left as it is: a call that is interrupted can be repeated, two may run at once, and
 * raw workers may run meanwhile; no job is lost by that, and none runs twice.
 *
 * For operators, inside `acrossTenants`. **It signs what is there**: who can write to Redis while adoptions run can have
 * a job signed. `tenantOf` has to judge each, and an adoption that has found nothing more should be the last one.
 *
 * @param queue - the Queue of this package, with a key that signs
 * @throws {@link OperationRefusedError} inside a tenant
 * @throws {@link ConfigError} when the options are not usable, or the Queue is not one of this package
 * @throws {@link InvalidTenantError} when `tenantOf` answers what is no id; and whatever it throws itself
 *
 * @example
 * ```ts
 * import { acrossTenants } from '@tenantkit/core';
 * import { Queue, adoptJobs } from '@tenantkit/queue';
 * const queue = new Queue('mail', { connection, tenant: { signingKeys } });
 * const { adopted, left } = await acrossTenants({ reason: 'change to tenantkit', actor: 'ops' }, () =>
 *   adoptJobs(queue, { tenantOf: (job) => (job.data as { account?: string }).account, dryRun: true }),
 * );
 * ```
 */
export async function adoptJobs(queue: RawQueue, options: AdoptOptions): Promise<Adopted> {
  const operation = 'adoptJobs';
  if (requireScope({ surface: 'queue', operation }).bypass === undefined)
    throw refusal('queue', operation, FOR_OPERATORS);
  const given = parseOptions('queue', schema, options, operation);
  const context = contextOf(queue);
  if (context === undefined) throw notOurs();
  if (given.dryRun !== true) signerOf(context.ring, operation);
  const adoption = new Adoption(storeOf(queue.backend), { ...given, until: given.until ?? Date.now() });
  try {
    return await adoption.run();
  } finally {
    adoption.tell();
  }
}

type Given = z.infer<typeof schema> & { readonly until: number };

/** One call. */
class Adoption {
  readonly #store: LaneStore;
  readonly #given: Given;
  readonly #base: string;
  readonly #adopted = new Map<string, number>();
  readonly #left = new Map<WhyLeft, number>();
  readonly #examples = new Map<WhyLeft, string>();
  /** How many jobs may still be moved. */
  #rest: number;

  constructor(store: LaneStore, given: Given) {
    const { prefix, queue } = store.context;
    this.#store = store;
    this.#given = given;
    this.#base = `${prefix}:${queue}:`;
    this.#rest = given.most ?? MOST;
  }

  async run(): Promise<Adopted> {
    for (const state of [...PENDING, ...(this.#given.finished ?? [])]) {
      if (this.#rest > 0) await this.#state(state);
    }
    const client = await this.#store.client;
    this.#leave('active', await client.llen(`${this.#base}active`));
    this.#leave('waitingChildren', await client.zcard(`${this.#base}waiting-children`));
    return {
      adopted: Object.fromEntries([...this.#adopted].toSorted(([one], [other]) => (one < other ? -1 : 1))),
      left: Object.fromEntries(this.#left),
      examples: Object.fromEntries(this.#examples),
      schedulers: await client.zcard(`${this.#base}repeat`),
      more: this.#rest === 0,
    };
  }

  /** One event for each tenant that has got jobs, whatever has ended the call. */
  tell(): void {
    if (this.#given.dryRun === true) return;
    const { queue } = this.#store.context;
    for (const [tenant, count] of this.#adopted) {
      publish('bypass', {
        surface: 'queue',
        operation: 'adoptJobs',
        message: 'Jobs that nobody had signed were signed for the tenant.',
        tenant,
        actor: currentScope()?.bypass?.actor,
        extra: { queue, count },
      });
    }
  }

  async #state(state: RawState): Promise<void> {
    const client = await this.#store.client;
    const { lanePrefix } = this.#store.keysOfLanes;
    for (let from = 0; this.#rest > 0;) {
      this.#given.signal?.throwIfAborted();
      const began = performance.now();
      const stretch: Stretch = { base: this.#base, state, from };
      const found = await look(client, stretch);
      if (found.length === 0) return;
      const jobs: Adoptable[] = [];
      for (const job of found) {
        const judged = jobs.length < this.#rest ? await this.#judge(job, state) : undefined;
        if (judged !== undefined) jobs.push(judged);
      }
      const moved = await this.#move(stretch, lanePrefix, jobs);
      this.#rest -= moved;
      from += found.length - (this.#given.dryRun === true ? 0 : moved);
      const { rate } = this.#given;
      const due = rate === undefined ? 0 : began + (moved * 1_000) / rate - performance.now();
      if (due > 0) await wait(due, undefined, { signal: this.#given.signal });
    }
  }

  async #judge(
    job: Awaited<ReturnType<typeof look>>[number],
    state: RawState,
  ): Promise<Adoptable | undefined> {
    const unsigned = readUnsigned(job, state, this.#given.until);
    if (typeof unsigned === 'string') return this.#leave(unsigned, 1, job.id);
    const said = await this.#given.tenantOf(unsigned);
    if (said === undefined) return this.#leave('noTenant', 1, job.id);
    // What it has answered is checked as any other tenant is.
    const tenant = withTenant(said, requireTenant);
    const signed = signUnsigned(this.#store.context, job, unsigned, tenant);
    return typeof signed === 'string' ? this.#leave(signed, 1, job.id) : signed;
  }

  /** @returns how many were moved, or would be */
  async #move(stretch: Stretch, lanePrefix: string, jobs: readonly Adoptable[]): Promise<number> {
    if (jobs.length === 0) return 0;
    const tenants = new Map(jobs.map(({ id, tenant }) => [id, tenant]));
    if (this.#given.dryRun === true) {
      for (const tenant of tenants.values()) this.#count(tenant);
      return jobs.length;
    }
    for (const tenant of new Set(tenants.values())) await this.#store.registered(tenant);
    const { moved, taken } = await adopt(await this.#store.client, stretch, lanePrefix, jobs);
    for (const id of moved) {
      const tenant = tenants.get(id) ?? '';
      this.#count(tenant);
      this.#store.touch(tenant);
    }
    this.#leave('idTaken', taken.length, taken[0]);
    this.#leave('moved', jobs.length - moved.length - taken.length);
    return moved.length;
  }

  #count(tenant: string): void {
    this.#adopted.set(tenant, (this.#adopted.get(tenant) ?? 0) + 1);
  }

  #leave(why: WhyLeft, count: number, example?: string): undefined {
    if (example !== undefined && !this.#examples.has(why)) this.#examples.set(why, example);
    if (count > 0) this.#left.set(why, (this.#left.get(why) ?? 0) + count);
    return undefined;
  }
}

function notOurs(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'adoptJobs',
    problem: 'it was given no Queue of @tenantkit/queue',
    hint: 'Make one with the name and the prefix of the raw queue.',
  });
}
