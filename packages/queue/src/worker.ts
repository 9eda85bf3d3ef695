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
import { currentTenant, refusal, refuse, requireScope, ruleFor } from '@tenantkit/core';
import { finish, guardMembers, wire, type ClientCall, type Wiring } from './client.ts';
import { checkWorkerOptions, type WorkerOptions } from './client-options.ts';
import { signatureError } from './header.ts';
import { Job, type Loose } from './job.ts';
import { scopeListeners, type Delivery } from './listeners.ts';
import { checkId } from './names.ts';
import { PickedJob } from './picked.ts';
import { workerEventRules, workerRules, type EventCustom } from './rules.ts';

/** How long a job that is held waits until it is looked at again, in milliseconds. */
const HOLD = 30_000;

const NEEDS_FUNCTION = refuse(
  'only a function can run inside the tenant of the job',
  'Give the Worker an async function; files and URLs (sandboxed processors) and fetching by hand are refused today.',
);

/** What stands behind a Worker; kept outside of it, so that the store cannot be reached through it. */
interface Engine extends Wiring {
  /** By BullMQ's own Job. */
  readonly picked: WeakMap<object, PickedJob>;
}

const engines = new WeakMap<object, Engine>();

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
 * @throws {@link OperationRefusedError} on an option of BullMQ that is refused, and without a function
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
  ProgressType extends JobProgress = JobProgress,
> extends RawWorker<DataType, ResultType, NameType, RedisQueueBackend, ProgressType> {
  static {
    guardMembers(this.prototype, RawWorker.prototype, {
      rules: workerRules,
      owner: (self) => engines.get(self)?.owner,
      custom: { cancel },
      synchronous: new Set(['cancelJob', 'cancelAllJobs']),
      always: new Set(['getNextJob', 'processJob', 'extendJobLocks', 'jobScheduler']),
    });
    scopeListeners(this.prototype, RawWorker.prototype, deliveries);
  }

  /**
   * @param name - the queue's name, shared by all tenants
   * @param processor - runs inside the tenant of each job
   * @param options - BullMQ's own, and `tenant`
   */
  constructor(
    name: string,
    processor: Processor<DataType, ResultType, NameType, ProgressType>,
    options: WorkerOptions,
  ) {
    if (typeof processor !== 'function') throw refusal('queue', 'Worker', NEEDS_FUNCTION);
    const { raw, tenant } = checkWorkerOptions(options);
    const wiring = wire(name, tenant, raw.prefix);
    const picked = new WeakMap<object, PickedJob>();
    // BullMQ would start its loop in the context of whoever constructs it: started below, outside.
    super(name, processor, { ...raw, autorun: false, ...backoffInTenant(raw, picked) }, wiring.factory);
    engines.set(this, { ...wiring, picked });
    finish(this, wiring);
    this.opts.autorun = raw.autorun ?? true;
    if (this.opts.autorun) this.run().catch((error: Error) => this.emit('error', error));
  }

  /** Called by BullMQ for every job that a script has handed over. */
  protected override createJob(
    data: JobJson,
    jobId: string,
  ): RawJob<DataType, ResultType, NameType, ProgressType> {
    const { context, picked, store } = engineOf(this);
    const verdict = store().takeVerdict(jobId);
    const job = RawJob.fromJSON(this, { ...data, id: jobId, data: '{}' }, jobId);
    picked.set(job, new PickedJob(job, this, context, verdict));
    return job as RawJob<DataType, ResultType, NameType, ProgressType>;
  }

  protected override async callProcessJob(
    job: RawJob<DataType, ResultType, NameType, ProgressType>,
    token: string,
    signal?: AbortSignal,
  ): Promise<ResultType> {
    const entry = engineOf(this).picked.get(job);
    const running = entry?.runInTenant((shown) => super.callProcessJob(shown as typeof job, token, signal));
    return running ?? this.#turnAway(entry, job, token);
  }

  async #turnAway(entry: PickedJob | undefined, job: RawJob, token: string): Promise<never> {
    const { context, store } = engineOf(this);
    if (entry?.verdict.kind === 'held') {
      await job.moveToDelayed(Date.now() + (context.fence?.maxStaleness ?? HOLD), token);
      throw new DelayedError();
    }
    try {
      await store().disarm(job.id ?? '');
    } catch (error) {
      this.emit('error', error as Error);
    }
    throw entry?.verdict.kind === 'refused' ? entry.verdict.error : signatureError('missing');
  }
}

function engineOf(worker: object): Engine {
  const engine = engines.get(worker);
  if (engine === undefined) throw new TypeError('the Worker is not constructed yet');
  return engine;
}

function cancel({ self, operation, args: [id, ...rest], proceed }: ClientCall): unknown {
  const scope = requireScope({ surface: 'queue', operation });
  if (scope.bypass !== undefined) return proceed();
  const { names } = engineOf(self).context;
  return proceed([names.encode(scope.tenant.tenant, checkId(operation, id)), ...rest]);
}

function backoffInTenant(
  { settings }: RawWorkerOptions,
  picked: WeakMap<object, PickedJob>,
): Pick<RawWorkerOptions, 'settings'> {
  const strategy = settings?.backoffStrategy;
  if (strategy === undefined) return {};
  const backoffStrategy: BackoffStrategy = (attemptsMade, type, error, job) => {
    const entry = job === undefined ? undefined : picked.get(job);
    // -1: no retry. Only verified jobs have attempts left, so this is never asked for another one.
    return entry?.runInTenant((shown) => strategy(attemptsMade, type, error, shown)) ?? -1;
  };
  return { settings: { ...settings, backoffStrategy } };
}

type EventRow = (typeof workerEventRules)[keyof typeof workerEventRules];

function deliveries(
  worker: object,
  event: string | symbol,
  args: readonly unknown[],
): readonly Delivery[] | undefined {
  const rule = typeof event === 'string' ? ruleFor<EventRow>(workerEventRules, event) : undefined;
  if (rule === undefined) return undefined;
  if (rule.kind === 'pass') return [{ context: undefined, args }];
  const engine = engines.get(worker);
  return engine === undefined ? [] : cut[rule.custom](engine, args, event === 'failed');
}

/** How an event is cut into what each tenant may hear. */
const cut: Readonly<
  Record<EventCustom, (engine: Engine, args: readonly unknown[], isFailure: boolean) => readonly Delivery[]>
> = {
  job({ picked }, [job, ...rest], isFailure) {
    const entry = typeof job === 'object' && job !== null ? picked.get(job) : undefined;
    if (entry?.tenant !== undefined) return [{ context: entry.tenant, args: [entry.show(), ...rest] }];
    // The processor's own job, which reports progress from inside its tenant.
    if (job instanceof Job) {
      const context = currentTenant();
      return context === undefined ? [] : [{ context, args: [job, ...rest] }];
    }
    return isFailure ? [{ context: undefined, operatorsOnly: true, args: [undefined, ...rest] }] : [];
  },
  id: (engine, [id, ...rest]) =>
    byTenant(engine, [id]).map(({ ids, ...delivery }) => ({ ...delivery, args: [ids[0], ...rest] })),
  ids: (engine, [list, ...rest]) =>
    byTenant(engine, list).map(({ ids, ...delivery }) => ({ ...delivery, args: [ids, ...rest] })),
  idsIn: (engine, [data, ...rest]) =>
    byTenant(engine, (data as { jobIds?: unknown }).jobIds).map(({ ids, ...delivery }) => ({
      ...delivery,
      args: [{ count: ids.length, jobIds: ids }, ...rest],
    })),
};

function byTenant(
  { context: { names } }: Engine,
  list: unknown,
): readonly (Omit<Delivery, 'args'> & { readonly ids: readonly string[] })[] {
  const physical = Array.isArray(list) ? list.map(String) : [];
  const groups = new Map<string | undefined, string[]>();
  for (const id of physical) {
    const tenant = names.tenantOf(id);
    groups.set(tenant, [...(groups.get(tenant) ?? []), id]);
  }
  return [...groups].map(([tenant, ids]) =>
    tenant === undefined
      ? { context: undefined, operatorsOnly: true, ids }
      : { context: { tenant }, ids: ids.map((id) => names.decode(tenant, id)) },
  );
}
