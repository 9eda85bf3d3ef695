import type { JobJson, JobsOptions, KeepJobs, MinimalJob, RedisQueueBackend } from 'bullmq';
import { isWellFormed } from '../bytes.ts';
import type { TenantContext } from '@tenantkit/core';
import { amount, time, token } from './checks.ts';
import { change, loopId, physicalId, type Guard, type Handler } from './guard.ts';

/** `undefined` as well, which leaves it to the options of the worker: BullMQ's types do not say so. */
type Keeps = boolean | number | KeepJobs;

/** What BullMQ writes into the hash of a job that is retried; any other field would be one of the job itself. */
const WRITTEN = ['failedReason', 'stacktrace', 'tm'] as const;

/**
 * How a processor moves its own job by hand. The worker's store does it, which knows whose slot it is; the next job is
 * never fetched along: it would have nobody who runs it.
 */
export const moving = {
  async complete(guard, tenant, operation, [job, value, , lock]) {
    const own = token(operation, lock);
    return ended(guard, tenant, operation, job, (store, { id, opts, parentKey }) =>
      store.moveToCompleted(jobOf(id, opts, parentKey), value, opts.removeOnComplete as Keeps, own, false),
    );
  },

  async fail(guard, tenant, operation, [job, reason, , lock, , fields]) {
    const own = token(operation, lock);
    return ended(guard, tenant, operation, job, (store, { id, opts, parentKey }) =>
      store.moveToFailed(
        jobOf(id, opts, parentKey),
        String(reason),
        opts.removeOnFail as Keeps,
        own,
        false,
        written(fields),
      ),
    );
  },

  async delay(guard, tenant, operation, [given, timestamp, delay, lock, options]) {
    const id = physicalId(guard, tenant, operation, given);
    const own = token(operation, lock);
    const [at, wait] = [time(operation, timestamp), amount(operation, delay)];
    const { skipAttempt, fieldsToUpdate } = Object(options) as Record<string, unknown>;
    const fields = written(fieldsToUpdate);
    await change(guard, tenant, operation, async (lane) => {
      await demandVerified(lane, id, 'moveToDelayed');
      await lane.acceptAt(id, at + wait);
      await guard.store.moveToDelayed(loopId(guard, tenant, id), at, wait, own, {
        skipAttempt: skipAttempt === true,
        ...(fields === undefined ? {} : { fieldsToUpdate: fields }),
      });
    });
  },

  async wait(guard, tenant, operation, [given, lock]) {
    const id = physicalId(guard, tenant, operation, given);
    const own = token(operation, lock);
    return change(guard, tenant, operation, async (lane) => {
      await demandVerified(lane, id, 'moveJobFromActiveToWait');
      return guard.store.moveJobFromActiveToWait(loopId(guard, tenant, id), own);
    });
  },

  async retryNow(guard, tenant, operation, [given, , lock, options]) {
    const id = physicalId(guard, tenant, operation, given);
    const own = token(operation, lock);
    const fields = written(Reflect.get(Object(options) as object, 'fieldsToUpdate'));
    await change(guard, tenant, operation, async (lane) => {
      const { opts } = await demandVerified(lane, id, 'retryJob');
      const isLifo = opts.lifo === true;
      const outer = loopId(guard, tenant, id);
      await guard.store.retryJob(outer, isLifo, own, fields === undefined ? {} : { fieldsToUpdate: fields });
    });
  },
} satisfies Readonly<Record<string, Handler>>;

/** As much of a job as the backend looks at when it ends one or runs it again. */
export function jobOf(id: string, opts: JobsOptions, parentKey?: string): MinimalJob {
  return {
    id,
    opts,
    ...(parentKey === undefined ? {} : { parentKey }),
  } satisfies Partial<MinimalJob> as MinimalJob;
}

type Finisher = RedisQueueBackend['moveToCompleted'];

/** The options that decide what ending the job does: as they are stored, whatever the object says. */
interface Stored {
  readonly id: string;
  readonly opts: JobsOptions;
  /** Where its end may free another job. */
  readonly parentKey: string | undefined;
}

async function ended(
  guard: Guard,
  tenant: TenantContext,
  operation: string,
  given: unknown,
  end: (store: RedisQueueBackend, job: Stored) => ReturnType<Finisher>,
): Promise<{ result: undefined; finishedOn: number }> {
  const id = physicalId(guard, tenant, operation, Reflect.get(Object(given) as object, 'id'));
  return change(guard, tenant, operation, async (lane) => {
    const job = await demandVerified(lane, id, operation);
    const { finishedOn } = await end(guard.store, { ...job, id: loopId(guard, tenant, id) });
    return { result: undefined, finishedOn };
  });
}

/** @throws {@link SignatureError} when ending the job would act on what nobody has signed */
async function demandVerified(
  lane: {
    readVerified(id: string): Promise<{ readonly job: JobJson } | undefined>;
    finishedErrors: RedisQueueBackend['finishedErrors'];
  },
  id: string,
  command: string,
): Promise<Stored> {
  const found = await lane.readVerified(id);
  if (found === undefined) throw lane.finishedErrors({ code: -1, jobId: id, command, state: 'active' });
  const { opts, parentKey } = found.job;
  return { id, opts, parentKey };
}

function written(given: unknown): Record<string, string> | undefined {
  if (typeof given !== 'object' || given === null) return undefined;
  const fields: Record<string, string> = {};
  for (const name of WRITTEN) {
    const value: unknown = Reflect.get(given, name);
    if (typeof value === 'string' && isWellFormed(value)) fields[name] = value;
  }
  return fields;
}
