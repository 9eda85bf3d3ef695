import { Queue as RawQueue, type Job as RawJob } from 'bullmq';
import { currentTenant, requireScope, runInScope } from '@tenantkit/core';
import { finish, guardMembers, wire, type ClientCall } from './client.ts';
import { checkQueueOptions, type QueueOptions } from './client-options.ts';
import { Job, type Loose } from './job.ts';
import { signerOf } from './keys.ts';
import { toList } from './list.ts';
import { scopeListeners, type Delivery } from './listeners.ts';
import { queueEventRules, queueRules } from './rules.ts';
import type { LaneStore } from './lanes/store.ts';

/** Refused in `acrossTenants` as well: each tenant has a queue of its own inside, and a limit of the whole would hold for none. */
const ALWAYS: ReadonlySet<string> = new Set([
  'upsertJobScheduler',
  'setGlobalConcurrency',
  'removeGlobalConcurrency',
  'setGlobalRateLimit',
  'removeGlobalRateLimit',
]);

const owners = new WeakMap<object, object>();

/**
 * BullMQ's Queue whose jobs carry a signed tenant. One Queue serves all tenants: what it does is decided by the
 * tenant of each call. Inside `acrossTenants` the refused methods pass, with physical names.
 *
 * @typeParam DataTypeOrJob - as in BullMQ
 * @typeParam DefaultResultType - as in BullMQ
 * @typeParam DefaultNameType - as in BullMQ
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
> extends RawQueue<DataTypeOrJob, DefaultResultType, DefaultNameType> {
  static {
    guardMembers(this.prototype, RawQueue.prototype, {
      rules: queueRules,
      owner: (self) => owners.get(self),
      custom: { bulk },
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
    owners.set(this, wiring.owner);
    this.opts.skipMetasUpdate = raw.skipMetasUpdate ?? false;
    finish(this, wiring);
    if (this.opts.skipMetasUpdate) return;
    const written = runInScope(undefined, () => writeMeta(wiring.store(), this));
    // `getVersion`, an operator's, waits for it.
    Reflect.set(this, 'queueMetaInitialized', written);
  }

  /** Jobs are made as ours. */
  protected override get Job(): typeof RawJob {
    return Job;
  }
}

// BullMQ calls `map` of whatever it is given, and again of what that answers.
function bulk({ operation, args: [jobs], proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation });
  return proceed([toList(jobs, operation)]);
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
  const context = rule.kind === 'pass' ? undefined : currentTenant();
  return [{ context, operatorsOnly: rule.kind !== 'pass' && context === undefined, args }];
}
