import {
  DelayedError,
  Job as RawJob,
  Worker as RawWorker,
  type BackoffStrategy,
  type JobJson,
  type JobProgress,
  type Processor,
  type RedisQueueBackend,
  type WorkerOptions as RawWorkerOptions,
} from 'bullmq';
import { ConfigError, refusal, refuse } from '@tenantkit/core';
import { finish, guardMembers, wire } from './client.ts';
import { checkWorkerOptions, type WorkerOptions } from './client-options.ts';
import type { Loose } from './job.ts';
import { scopeListeners } from './listeners.ts';
import { logicalFailure } from './flows/names.ts';
import { PickedJob } from './picked.ts';
import { signedTime } from './replay.ts';
import { sandboxOf } from './sandbox/sandbox.ts';
import { workerEventRules, workerRules } from './rules.ts';
import { SiloWorkers } from './silo-workers.ts';
import { refuseEnd, refuseFaulty, type Refused, type StoreContext, type Verdict } from './store.ts';
import { stamp } from './stamp.ts';
import { defaultLimits } from './views/limits.ts';
import { cancel, everywhere } from './worker-control.ts';
import { engineOf, engines, hideInternals, picked } from './worker-engine.ts';
import { deliveries, type EventRow } from './worker-events.ts';

/** How long a job that is held waits until it is looked at again, in milliseconds. */
const HOLD = 30_000;

/** What the loop gets of a job that is refused: nothing to schedule, to link or to try again. */
const HOLLOW = { name: '', data: '{}', opts: {} } as JobJson;

/** The jobs of schedulers, by what they were made of. */
const schedulerJobs = stamp<RawJob>();

/** What a backoff strategy answers for no further attempt. */
const NO_RETRY = -1;

const NEEDS_PROCESSOR = refuse(
  'a job that is fetched by hand runs in no tenant',
  'Give the Worker an async function, or the path or URL of a file that exports one.',
);

/**
 * BullMQ's Worker that verifies every job before anything of it is shown, and runs the processor inside the
 * tenant, subject and actor that the job was signed for. One Worker serves all tenants; it may be made anywhere.
 *
 * A job that is not verified never reaches the processor: it is moved to failed with a {@link SignatureError},
 * is not retried, and its data is shown to nobody. A job of a frozen tenant waits; one of an erased tenant fails.
 *
 * Listeners that were registered inside a tenant hear that tenant's jobs; others hear all of them, each inside
 * the tenant of its job.
 *
 * @throws {@link ConfigError} when the options are not usable
 * @throws {@link OperationRefusedError} on an option of BullMQ that is refused, and without a processor
 * @throws Error as BullMQ does, when the file of a processor does not exist
 *
 * @example
 * ```ts
 * import { currentTenant } from '@tenantkit/core';
 * import { Worker } from '@tenantkit/queue';
 * const worker = new Worker('mail', async (job) => send(currentTenant()?.tenant, job.data), {
 *   connection: { host: 'localhost' },
 *   tenant: { signingKeys },
 * });
 * ```
 */
export class Worker<
  DataType = Loose,
  ResultType = Loose,
  NameType extends string = string,
  // At its place in BullMQ's list; there is one backend.
  _Backend extends RedisQueueBackend = RedisQueueBackend,
  ProgressType extends JobProgress = JobProgress,
> extends RawWorker<DataType, ResultType, NameType, RedisQueueBackend, ProgressType> {
  static {
    guardMembers(this.prototype, RawWorker.prototype, {
      rules: workerRules,
      caller: 'worker',
      owner: (self) => engines.get(self)?.owner,
      custom: { cancel, shared: everywhere },
      synchronous: new Set(['cancelJob', 'cancelAllJobs']),
      always: new Set(['getNextJob', 'processJob', 'extendJobLocks', 'jobScheduler']),
    });
    scopeListeners<EventRow>(this.prototype, { rules: workerEventRules, deliveries });
  }

  /**
   * @param name - the queue's name, shared by all tenants
   * @param processor - runs inside the tenant of each job: a function, or the path or URL of a file that exports one,
   *   which runs in processes or threads of its own
   * @param options - BullMQ's own, and `tenant`
   */
  constructor(
    name: string,
    processor: string | URL | null | undefined | Processor<DataType, ResultType, NameType, ProgressType>,
    options: WorkerOptions,
  ) {
    if (!isProcessor(processor)) throw refusal('queue', 'Worker', NEEDS_PROCESSOR);
    const { raw, tenant } = checkWorkerOptions(options);
    const { limits, rest } = defaultLimits(tenant);
    const wiring = wire(name, rest, raw.prefix, { followsPlace: false, limits });
    // BullMQ would start its loop in the context of whoever constructs it: started below, outside.
    super(name, processor, { ...raw, autorun: false, ...backoffInTenant(raw) }, wiring.factory);
    const { store } = wiring;
    const { place } = wiring.context;
    const silos =
      place === undefined
        ? undefined
        : new SiloWorkers({
            main: this,
            place,
            placed: async () => store().placed(),
            open: (connection) =>
              new Worker(name, processor, {
                ...options,
                connection,
                concurrency: this.concurrency,
                autorun: false,
                tenant: { ...options.tenant, place: undefined },
              }),
          });
    engines.set(this, { ...wiring, silos });
    hideInternals(this, wiring.owner);
    this.opts.autorun = raw.autorun ?? true;
    finish(this, wiring);
    if (this.opts.autorun) this.run().catch((error: Error) => this.emit('error', error));
  }

  /** Called by BullMQ for every job that a script has handed over. */
  protected override createJob(
    data: JobJson,
    jobId: string,
  ): RawJob<DataType, ResultType, NameType, ProgressType> {
    const verdict = engineOf(this).store().takeVerdict(jobId);
    let job: RawJob;
    try {
      job = this.#made(data, jobId, verdict);
    } catch (fault) {
      // Thrown on, it would fail the job before, which has ended, and this one would be `active` until it stalls.
      job = this.#made(HOLLOW, jobId, this.#refuse(jobId, fault));
    }
    if (data.repeatJobKey !== undefined) schedulerJobs.set(data, job);
    return job as RawJob<DataType, ResultType, NameType, ProgressType>;
  }

  #made(data: JobJson, jobId: string, verdict: Verdict): RawJob {
    const { context } = engineOf(this);
    const job = RawJob.fromJSON(
      this,
      {
        ...data,
        id: jobId,
        data: '{}',
        ...ofScheduler(context, verdict, data),
        ...ofChildren(context, verdict, data),
      },
      jobId,
    );
    picked.set(job, new PickedJob(job, this, context, verdict));
    if (verdict.kind === 'verified') signedTime.set(job, verdict.claims.issuedAt);
    return job;
  }

  /** Refuses a job at which something has failed that no check has thought of. */
  #refuse(jobId: string, fault: unknown): Refused {
    const { context, store } = engineOf(this);
    const { lane, id } = store().find(jobId) ?? { lane: { tenant: '' }, id: jobId };
    return refuseFaulty({ context, lane: lane.tenant }, id, fault);
  }

  /**
   * Called by BullMQ with what a script has handed over. When the next job of a scheduler could not be made it says so,
   * and lets this one lie until it stalls, again and again: one that has stalled before runs, and nothing follows.
   */
  protected override async nextJobFromJobData(
    data?: JobJson,
    jobId?: string,
    token?: string,
  ): Promise<RawJob<DataType, ResultType, NameType, ProgressType>> {
    const next = (await super.nextJobFromJobData(data, jobId, token)) as RawJob | undefined;
    const left = next === undefined && data ? schedulerJobs.get(data) : undefined;
    const job = left !== undefined && left.stalledCounter > 0 ? left : next;
    if (job !== undefined && job === left) this.emit('active', job as never, 'waiting');
    return job as RawJob<DataType, ResultType, NameType, ProgressType>;
  }

  /** Called by BullMQ's constructor with a file. */
  protected override createSandbox(
    file: string | URL | null | Processor<DataType, ResultType, NameType>,
  ): void {
    const { pool, process } = sandboxOf(String(file), this.opts);
    // Private in BullMQ's types: it ends the children when the worker closes.
    Reflect.set(this, 'childPool', pool);
    this.processFn = process as typeof this.processFn;
  }

  protected override callProcessJob(
    job: RawJob<DataType, ResultType, NameType, ProgressType>,
    token: string,
    signal?: AbortSignal,
  ): Promise<ResultType> {
    const { context } = engineOf(this);
    const entry = picked.get(job);
    let running: Promise<ResultType> | undefined;
    try {
      running = entry?.process(signal, (shown, own) => super.callProcessJob(shown as typeof job, token, own));
    } catch (fault) {
      return this.#failFaulty(job, fault);
    }
    if (entry === undefined || running === undefined) return this.#turnAway(entry, job, token);
    return context.fence === undefined ? running : this.#unlessErased(entry, job, running);
  }

  /** Ends a job that cannot be shown to its processor: nobody is shown it, and it is not tried again. */
  async #failFaulty(job: RawJob, fault: unknown): Promise<never> {
    const { context } = engineOf(this);
    const verdict = this.#refuse(job.id ?? '', fault);
    picked.set(job, new PickedJob(job, this, context, verdict));
    job.opts.attempts = 0;
    throw verdict.error;
  }

  /**
   * The fence is asked once more before an end is recorded: of a tenant that was erased while the processor ran,
   * neither a result nor an error is kept, and the job is not tried again.
   */
  async #unlessErased<T>({ verdict }: PickedJob, job: RawJob, running: Promise<T>): Promise<T> {
    const { context } = engineOf(this);
    const [end] = await Promise.allSettled([running]);
    const refused =
      verdict.kind === 'verified' ? refuseEnd(context, verdict.claims, verdict.job.id) : undefined;
    if (refused !== undefined) {
      Object.assign(job.opts, { attempts: 0, removeOnFail: true });
      throw refused;
    }
    if (end.status === 'rejected') throw end.reason;
    return end.value;
  }

  async #turnAway(entry: PickedJob | undefined, job: RawJob, token: string): Promise<never> {
    const { context, store } = engineOf(this);
    // An object that the loop was not given by createJob: none of its members is used.
    if (entry === undefined) throw new DelayedError();
    const { verdict } = entry;
    try {
      // One that has only waited for too long is linked to what it was signed with.
      if (verdict.kind === 'refused' && verdict.outlived === undefined) await store().disarm(job.id ?? '');
      else if (verdict.kind !== 'refused')
        await job.moveToDelayed(Date.now() + (context.fence?.maxStaleness ?? HOLD), token);
    } catch (error) {
      // Not thrown: BullMQ would fail the job, a held one for good and a refused one with what it is linked to. It
      // stays active instead, and is looked at again when its lock has run out.
      this.emit('error', error as Error);
      throw new DelayedError();
    }
    if (verdict.kind === 'refused') throw verdict.error;
    if (verdict.kind === 'unseen') this.emit('error', unseen());
    throw new DelayedError();
  }
}

/** BullMQ asks for the next job of a scheduler by its name: outside of a lane it stands behind its tenant. */
function ofScheduler({ names }: StoreContext, verdict: Verdict, { repeatJobKey }: JobJson): Partial<JobJson> {
  if (verdict.kind === 'verified' && repeatJobKey !== undefined)
    return { repeatJobKey: names.prefix(verdict.claims.tenant) + repeatJobKey };
  if (verdict.kind !== 'refused' || verdict.outlived === undefined) return {};
  // Of one that is refused, but genuine, as much as the next one is made by.
  const { tenant, job } = verdict.outlived;
  const { repeat, prevMillis } = job.opts as { readonly repeat?: unknown; readonly prevMillis?: unknown };
  return {
    repeatJobKey: names.prefix(tenant) + String(job.repeatJobKey),
    opts: { repeat, prevMillis } as JobJson['opts'],
  };
}

/** A parent fails with what BullMQ has written of its child: to be stored as its tenant may read it. */
function ofChildren(context: StoreContext, verdict: Verdict, { deferredFailure }: JobJson): Partial<JobJson> {
  if (deferredFailure === undefined || verdict.kind !== 'verified') return {};
  return { deferredFailure: logicalFailure(context, verdict.claims.tenant, deferredFailure) };
}

function isProcessor(processor: unknown): boolean {
  return (
    typeof processor === 'function' ||
    processor instanceof URL ||
    (typeof processor === 'string' && processor !== '')
  );
}

function unseen(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'process',
    problem: 'the installed BullMQ has handed over a job in a way that is not known, and it was put back',
    hint: 'Install bullmq 6.7, or a newer @tenantkit/queue.',
  });
}

// Always given: where BullMQ knows no strategy for a type, it throws while it fails the job, which then stays
// `active` until it stalls. Without one of the user there is no retry.
function backoffInTenant({ settings }: RawWorkerOptions): Pick<RawWorkerOptions, 'settings'> {
  const strategy = settings?.backoffStrategy;
  const backoffStrategy: BackoffStrategy = (attemptsMade, type, error, job) => {
    const entry = job === undefined ? undefined : picked.get(job);
    if (strategy === undefined || entry === undefined) return NO_RETRY;
    const asked = entry.runInTenant(async (shown) => {
      const delay: unknown = await strategy(attemptsMade, type, entry.original(error) as Error, shown);
      return typeof delay === 'number' && Number.isFinite(delay) ? delay : 0;
    });
    return asked ?? NO_RETRY;
  };
  return { settings: Object.freeze({ ...settings, backoffStrategy }) };
}
