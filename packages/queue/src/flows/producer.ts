import { FlowProducer as RawFlowProducer, type Job as RawJob, type RedisQueueBackend } from 'bullmq';
import { currentTenant, requireScope, runInScope } from '@tenantkit/core';
import { DEFAULT_PREFIX, guardMembers, settle, type ClientCall } from '../client.ts';
import { checkFlowOptions, type FlowProducerOptions } from '../client-options.ts';
import { checkCouplings } from '../couplings.ts';
import { Job } from '../job.ts';
import { signerOf } from '../keys.ts';
import { toList } from '../list.ts';
import { scopeListeners, type Delivery } from '../listeners.ts';
import { flowEventRules, flowProducerRules } from '../rules.ts';
import { flowBackend } from './backend.ts';
import { contextsOf } from './contexts.ts';
import { FlowStore } from './store.ts';
import { checkTree } from './tree.ts';

const owners = new WeakMap<object, object>();

/**
 * BullMQ's FlowProducer whose jobs carry a signed tenant: all jobs of a flow are the tenant's that adds it, in whichever
 * queues they are, and each is signed with the parent that it has. One FlowProducer serves all tenants.
 *
 * @throws {@link ConfigError} when the options are not usable
 * @throws {@link OperationRefusedError} on an option of BullMQ that is refused
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { FlowProducer } from '@tenantkit/queue';
 * const flows = new FlowProducer({ connection: { host: 'localhost' }, tenant: { signingKeys } });
 * await withTenant('acme', () =>
 *   flows.add({
 *     name: 'report',
 *     queueName: 'reports',
 *     children: [{ name: 'fetch', queueName: 'mail', data: { month: 11 } }],
 *   }),
 * );
 * ```
 */
export class FlowProducer extends RawFlowProducer {
  static {
    guardMembers(this.prototype, RawFlowProducer.prototype, {
      rules: flowProducerRules,
      caller: 'flows',
      owner: (self) => owners.get(self),
      custom: { bulk, tree },
    });
    scopeListeners<EventRow>(this.prototype, { rules: flowEventRules, deliveries });
  }

  /** @param options - BullMQ's own, and `tenant` */
  constructor(options: FlowProducerOptions) {
    checkCouplings();
    const { raw, tenant } = checkFlowOptions(options);
    const prefix = raw.prefix ?? DEFAULT_PREFIX;
    const of = contextsOf(tenant, prefix);
    // Any queue's ring: whether its first key can sign is the same for all of them.
    signerOf(of('flows').ring, 'FlowProducer');
    const owner = {};
    let made: ReturnType<typeof flowBackend> | undefined;
    super({ ...raw, prefix }, (): RedisQueueBackend => {
      // Outside of any tenant: whoever happens to make it must not own the connection.
      const store = runInScope(
        undefined,
        () => new FlowStore({ of, prefix, options: { ...raw, prefix }, owner }),
      );
      made = flowBackend(store);
      return made.backend;
    });
    made?.seal();
    owners.set(this, owner);
    settle(this);
  }

  /** Jobs are made as ours. */
  protected override get Job(): typeof RawJob {
    return Job;
  }
}

// BullMQ calls `map` of whatever it is given.
function bulk({ operation, caller, args: [flows], proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation, caller });
  const list = toList(flows, operation, caller);
  for (const flow of list) checkTree(operation, flow, caller);
  return proceed([list]);
}

function tree({ operation, caller, args, proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation, caller });
  checkTree(operation, args[0], caller);
  return proceed();
}

type EventRow = (typeof flowEventRules)[keyof typeof flowEventRules];

// A job that it has made tells it what becomes of the job, inside the call: the tenant is the caller's.
function deliveries(
  _emitter: object,
  _event: string,
  rule: EventRow,
  args: readonly unknown[],
): readonly Delivery[] {
  if (rule.kind === 'pass') return [{ context: undefined, args }];
  const context = currentTenant();
  return [{ context, operatorsOnly: context === undefined, args }];
}
