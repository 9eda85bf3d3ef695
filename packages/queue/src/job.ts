import { Job as RawJob, type JobProgress } from 'bullmq';
import { TenantSwitchError, currentScope, requireScope, type Scope } from '@tenantkit/core';
import { guardMembers, type ClientCall } from './client.ts';
import { waitUntilFinished } from './events/wait.ts';
import { jobRules } from './rules.ts';
import { stamp } from './stamp.ts';

/** BullMQ's own default of a type parameter: whoever gives none gets what BullMQ gives. */
export type Loose = RawJob['data'];

type MadeFrom = ConstructorParameters<typeof RawJob>;

/** In which scope each Job object was made. Not a field of the class: BullMQ's Job must stay assignable to ours. */
const madeIn = stamp<Scope | undefined>();

/**
 * BullMQ's Job, confined to the tenant that it was made in: `id` is the logical id, the header is not among its
 * `opts`, and what would reach another job or the whole queue is refused.
 *
 * @throws {@link TenantSwitchError} when it is used in another tenant than the one it was made in
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { Queue } from '@tenantkit/queue';
 * const queue = new Queue('mail', { connection, tenant: { signingKeys } });
 * const job = await withTenant('acme', () => queue.add('welcome', { to: 'ada@example.com' }, { jobId: 'w-1' }));
 * job.id; // 'w-1'; stored as acme~w-1
 * ```
 */
export class Job<
  DataType = Loose,
  ReturnType = Loose,
  NameType extends string = string,
  ProgressType extends JobProgress = JobProgress,
> extends RawJob<DataType, ReturnType, NameType, ProgressType> {
  static {
    guardMembers(this.prototype, RawJob.prototype, {
      rules: jobRules,
      caller: 'job',
      owner: () => undefined,
      custom: { scoped: inItsTenant, moves, waits },
    });
  }

  // Written out: spread out of a list and into one, they take as long as all that the constructor does.
  constructor(queue: MadeFrom[0], name: NameType, data: DataType, opts?: MadeFrom[3], id?: string) {
    super(queue, name, data, opts, id);
    madeIn.set(this, currentScope());
  }
}

/** Notes that a job belongs to another scope than the one in which its object happens to be made. */
export function adopt(job: Job, scope: Scope): void {
  madeIn.set(job, scope);
}

/** Jobs that their processor has moved by hand. */
const moved = new WeakSet<object>();

/**
 * Whether its processor has moved the job by hand, so that the worker need not end it. Without that an error which says
 * so would leave the job `active` until it stalls.
 */
export function isMovedByHand(job: object): boolean {
  return moved.has(job);
}

async function moves(call: ClientCall): Promise<unknown> {
  const answer: unknown = await inItsTenant(call);
  // A parent without pending children is not moved, and goes on.
  if (call.operation !== 'moveToWaitingChildren' || answer === true) moved.add(call.self);
  return answer;
}

function waits(call: ClientCall): Promise<unknown> {
  return inItsTenant({ ...call, proceed: () => waitUntilFinished(call) }) as Promise<unknown>;
}

function inItsTenant({ self, operation, caller, proceed }: ClientCall): unknown {
  const now = requireScope({ surface: 'queue', operation, caller });
  const then = madeIn.get(self);
  if (then === undefined || then.tenant?.tenant !== now.tenant?.tenant) {
    throw new TenantSwitchError({
      surface: 'queue',
      operation,
      what: 'A job was used in another tenant than the one it was made in.',
    });
  }
  return proceed();
}
