import {
  Queue as RawQueue,
  raw2NextJobData,
  type Job as RawJob,
  type JobJson,
  type JobScheduler,
  type JobType,
} from 'bullmq';
import { currentTenant, requireScope, runInScope } from '@tenantkit/core';
import { finish, guardMembers, wire, type ClientCall, type Wiring } from './client.ts';
import { checkQueueOptions, type QueueOptions } from './client-options.ts';
import { Job, type Loose } from './job.ts';
import { signerOf } from './keys.ts';
import { toList } from './list.ts';
import { scopeListeners, type Delivery } from './listeners.ts';
import { queueEventRules, queueRules } from './rules.ts';
import type { LaneStore } from './lanes/store.ts';
import { storeOf } from './backend.ts';
import type { ExtractDataType, ExtractNameType, ExtractResultType } from './types.ts';
import { dates, schedulerOf } from './schedulers/client.ts';
import { priorities } from './views/checks.ts';
import { obliteratedAtOnce } from './views/act.ts';
import { demandOperator, limitsOf, setLimits, type TenantLimits } from './views/limits.ts';

/** Refused in `acrossTenants` as well: each tenant has a queue of its own inside, and a limit of the whole would hold for none. */
const ALWAYS: ReadonlySet<string> = new Set([
  'setGlobalConcurrency',
  'removeGlobalConcurrency',
  'setGlobalRateLimit',
  'removeGlobalRateLimit',
]);

const wirings = new WeakMap<object, Wiring>();

/**
 * BullMQ's Queue whose jobs carry a signed tenant. One Queue serves all tenants: what it does is decided by the
 * tenant of each call. Inside `acrossTenants` the refused methods pass, with physical names.
 *
 * @typeParam DataTypeOrJob - as in BullMQ
 * @typeParam DefaultResultType - as in BullMQ
 * @typeParam DefaultNameType - as in BullMQ
 * @typeParam DataType - as in BullMQ, as are the next two; its types of backends and connections are left out
 * @throws {@link ConfigError} when the options are not usable
 * @throws {@link OperationRefusedError} on an option of BullMQ that is refused
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { Queue } from '@tenantkit/queue';
 * const queue = new Queue<{ to: string }>('mail', { connection: { host: 'localhost' }, tenant: { signingKeys } });
 * await withTenant('acme', () => queue.add('welcome', { to: 'ada@example.com' }));
 * ```
 */
export class Queue<
  DataTypeOrJob = Loose,
  DefaultResultType = Loose,
  DefaultNameType extends string = string,
  DataType = ExtractDataType<DataTypeOrJob, DataTypeOrJob>,
  ResultType = ExtractResultType<DataTypeOrJob, DefaultResultType>,
  NameType extends string = ExtractNameType<DataTypeOrJob, DefaultNameType>,
> extends RawQueue<DataTypeOrJob, DefaultResultType, DefaultNameType, DataType, ResultType, NameType> {
  static {
    guardMembers(this.prototype, RawQueue.prototype, {
      rules: queueRules,
      owner: (self) => wirings.get(self)?.owner,
      custom: { bulk, counted, dates, jobs, jobScheduler, obliterates },
      always: ALWAYS,
    });
    scopeListeners<EventRow>(this.prototype, { rules: queueEventRules, deliveries });
  }

  /**
   * @param name - the queue's name, shared by all tenants
   * @param options - BullMQ's own, and `tenant`
   */
  constructor(name: string, options: QueueOptions) {
    const { raw, tenant } = checkQueueOptions(options);
    const wiring = wire(name, tenant, raw.prefix);
    signerOf(wiring.context.ring, 'Queue');
    // BullMQ would write the queue's settings in the context of whoever constructs it: done below, outside.
    super(name, { ...raw, skipMetasUpdate: true }, wiring.factory);
    wirings.set(this, wiring);
    this.opts.skipMetasUpdate = raw.skipMetasUpdate ?? false;
    finish(this, wiring);
    if (this.opts.skipMetasUpdate) return;
    const written = runInScope(undefined, () => writeMeta(wiring.store(), this));
    // `getVersion`, an operator's, waits for it.
    Reflect.set(this, 'queueMetaInitialized', written);
  }

  /**
   * Sets what one tenant may use of the queue; it holds from the next job on, for all workers, until it is set again.
   * What is left out is lifted: `setTenantLimits(tenant, {})` lifts all. May be called before the tenant's first job.
   *
   * @param tenant - the id of the tenant
   * @throws {@link OperationRefusedError} inside a tenant: it is for operators, inside `acrossTenants`
   * @throws {@link ConfigError} when a limit is not usable
   * @throws {@link TenantFencedError} when the tenant is frozen or erased
   *
   * @example
   * ```ts
   * import { acrossTenants } from '@tenantkit/core';
   * import { Queue } from '@tenantkit/queue';
   * const queue = new Queue('mail', { connection: { host: 'localhost' }, tenant: { signingKeys } });
   * await acrossTenants({ reason: 'plan "small"', actor: 'billing' }, () =>
   *   queue.setTenantLimits('acme', { concurrency: 5, rate: { max: 100, duration: 60_000 }, weight: 2 }),
   * );
   * ```
   */
  async setTenantLimits(tenant: string, limits: TenantLimits): Promise<void> {
    demandOperator('setTenantLimits');
    await setLimits(storeOf(this.backend).at(tenant, 'setTenantLimits'), tenant, limits);
  }

  /**
   * What {@link Queue.setTenantLimits} has set; `{}` for a tenant without limits. For operators, inside `acrossTenants`;
   * a tenant reads its own with `getGlobalConcurrency` and `getGlobalRateLimit`.
   *
   * @param tenant - the id of the tenant
   * @throws {@link OperationRefusedError} inside a tenant
   * @throws {@link ConfigError} when what is stored are no limits
   */
  async getTenantLimits(tenant: string): Promise<TenantLimits> {
    demandOperator('getTenantLimits');
    return limitsOf(storeOf(this.backend).at(tenant, 'getTenantLimits').lane(tenant));
  }

  /**
   * The tenants that have added a job, paused their queue or got limits, sorted by id. One that has had no job for a
   * day may be missing. For operators, inside `acrossTenants`.
   *
   * @throws {@link OperationRefusedError} inside a tenant
   */
  async getTenants(): Promise<readonly string[]> {
    demandOperator('getTenants');
    const store = storeOf(this.backend);
    return [...new Set([...(await store.tenants()), ...(await store.placed())])].toSorted();
  }

  /** Jobs are made as ours. */
  protected override get Job(): typeof RawJob {
    return Job;
  }
}

function jobScheduler({ self, operation }: ClientCall): Promise<JobScheduler> {
  const wiring = wirings.get(self);
  if (wiring === undefined) throw new TypeError('the Queue is not constructed yet');
  return Promise.resolve(schedulerOf(self as Queue, wiring, operation));
}

// BullMQ calls `map` of whatever it is given, and again of what that answers.
function bulk({ operation, args: [jobs], proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation });
  return proceed([toList(jobs, operation)]);
}

// BullMQ makes a Set of whatever it is given.
function counted({ operation, args: [given], proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation });
  return proceed([priorities(operation, given)]);
}

// BullMQ pauses the queue before its backend sees the options: what is refused there would have stopped the tenant.
function obliterates({ operation, args: [options], proceed }: ClientCall): unknown {
  const scope = requireScope({ surface: 'queue', operation });
  if (scope.bypass === undefined) obliteratedAtOnce(operation, options);
  return proceed();
}

/** What BullMQ lists when it is not told what. */
const ALL_STATES: readonly JobType[] = [
  'active',
  'completed',
  'delayed',
  'failed',
  'prioritized',
  'waiting',
  'waiting-children',
];

/**
 * Makes jobs of what one script has read. BullMQ's own would read each job once more, by its id, when it does not know
 * the class of its backend.
 */
async function jobs({ self, operation, args, proceed }: ClientCall): Promise<unknown> {
  const scope = requireScope({ surface: 'queue', operation });
  if (scope.bypass !== undefined) return proceed();
  const queue = self as RawQueue;
  const [types, ...range] = args as Parameters<RawQueue['getJobs']>;
  const wanted: readonly unknown[] =
    typeof types === 'string' ? [types] : types === undefined || types.length === 0 ? ALL_STATES : types;
  const fetched = await queue.backend.getJobs(toList(wanted, operation) as JobType[], ...range);
  const found = new Map(fetched.flat().map(([id, fields]) => [id, fields]));
  return [...found].map(([id, fields]) => {
    const [json] = raw2NextJobData([fields, id]) as [JobJson];
    return Job.fromJSON(queue, json, id);
  });
}

async function writeMeta(
  store: LaneStore,
  queue: { closing: unknown; metaValues: Record<string, string | number> },
): Promise<void> {
  try {
    await store.waitUntilReady();
    if (queue.closing === undefined) await store.setQueueMeta(queue.metaValues);
  } catch {
    // As in BullMQ: whoever listens for `error` has heard of the connection already.
  }
}

type EventRow = (typeof queueEventRules)[keyof typeof queueEventRules];

// A Queue emits inside the call that caused the event: the tenant is the caller's.
function deliveries(
  _emitter: object,
  _event: string,
  rule: EventRow,
  args: readonly unknown[],
): readonly Delivery[] {
  if (rule.kind === 'pass') return [{ context: undefined, args }];
  const context = currentTenant();
  return [{ context, operatorsOnly: context === undefined && rule.custom !== 'caller', args }];
}
