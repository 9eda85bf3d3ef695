import {
  JobScheduler as RawJobScheduler,
  type Job as RawJob,
  type QueueBaseOptions,
  type RedisQueueBackend,
} from 'bullmq';
import { requireScope } from '@tenantkit/core';
import { guardBackend } from '../backend.ts';
import { finish, guardMembers, type ClientCall, type Wiring } from '../client.ts';
import { runEngine } from '../engine.ts';
import { Job } from '../job.ts';
import { scopeListeners, type Delivery } from '../listeners.ts';
import { checkDates } from './schedule.ts';
import { schedulerEventRules, schedulerRules } from '../rules.ts';

/** A Queue, as far as its scheduler needs it. */
interface QueueLike {
  readonly name: string;
  readonly opts: QueueBaseOptions;
}

const owners = new WeakMap<object, object>();

/** BullMQ's JobScheduler of a Queue, with the guards of this package. */
class TenantJobScheduler extends RawJobScheduler {
  static {
    guardMembers(this.prototype, RawJobScheduler.prototype, {
      rules: schedulerRules,
      caller: 'jobScheduler',
      owner: (self) => owners.get(self),
      custom: { dates },
    });
    scopeListeners(this.prototype, { rules: schedulerEventRules, deliveries });
  }

  constructor({ name, opts }: QueueLike, wiring: Wiring) {
    super(name, { ...opts }, () => backendOf(wiring));
    owners.set(this, wiring.owner);
    finish(this, wiring);
    // Everybody's jobs would be made by it.
    Object.defineProperty(this, 'repeatStrategy', { writable: false, configurable: false });
  }

  /** Jobs are made as ours. */
  protected override get Job(): typeof RawJob {
    return Job;
  }
}

/** BullMQ computes the next time of a pattern before its backend sees the schedule, and cron-parser throws what it likes. */
export function dates({ operation, args, proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation });
  checkDates(operation, args[1]);
  return proceed();
}

const made = new WeakMap<object, RawJobScheduler>();

/** The one scheduler of a Queue, which is made when it is first asked for, outside of any tenant. */
export function schedulerOf(queue: QueueLike, wiring: Wiring, operation: string): RawJobScheduler {
  requireScope({ surface: 'queue', operation });
  const known = made.get(queue);
  if (known !== undefined) return known;
  const scheduler = runEngine(wiring.owner, () => new TenantJobScheduler(queue, wiring));
  made.set(queue, scheduler);
  return scheduler;
}

/** The store of the Queue, whose errors the Queue itself tells: BullMQ would tell each of them twice. */
function backendOf({ store, context, owner }: Wiring): RedisQueueBackend {
  const backend = guardBackend(store(), context, owner);
  return Object.defineProperty(backend, 'on', { value: () => backend });
}

function deliveries(
  _emitter: object,
  _event: string,
  _rule: unknown,
  args: readonly unknown[],
): readonly Delivery[] {
  return [{ context: undefined, args }];
}
