import { canonicalJson } from '../canonical.ts';
import { HEADER, signatureError, type JobBinding } from '../header.ts';
import type { JobHash, Verifier } from '../verify.ts';
import { iterationOf } from './ids.ts';

/**
 * What BullMQ computes for each job of a scheduler, partly in its scripts: the header is the scheduler's and cannot
 * bind it.
 */
const COMPUTED = ['jobId', 'repeatJobKey', 'prevMillis', 'delay', 'timestamp'] as const;

/** What the header of a scheduler is bound to: the id stays empty, since its jobs have many. */
export function schedulerBinding(
  { prefix, queue }: Pick<Verifier, 'prefix' | 'queue'>,
  scheduler: string,
  { name, options, data }: { readonly name: string; readonly options: object; readonly data: string },
): JobBinding {
  return {
    prefix,
    queue,
    name,
    id: '',
    scheduler,
    parentKey: '',
    parent: '',
    deduplication: '',
    options: canonicalJson(options, HEADER),
    data,
  };
}

/**
 * What the header of an iteration is bound to: the template and the schedule that it was made from.
 *
 * @returns `undefined` for a job that no scheduler has made
 * @throws {@link SignatureError} when the job does not say the same of itself everywhere
 */
export function iterationBinding(
  hash: JobHash,
  options: Readonly<Record<string, unknown>>,
  where: Pick<JobBinding, 'prefix' | 'queue' | 'id'>,
): JobBinding | undefined {
  const { id } = where;
  const made = iterationOf(id);
  if (made === undefined) return undefined;
  const { repeat, ...rest } = options;
  const { count, ...schedule } = Object(repeat) as Record<string, unknown>;
  const { jobId, repeatJobKey, prevMillis = made.millis, delay = 0, timestamp = 0 } = rest;
  const says =
    hash['rjk'] === made.scheduler &&
    repeatJobKey === made.scheduler &&
    jobId === id &&
    prevMillis === made.millis &&
    [count, delay, timestamp].every(Number.isFinite) &&
    hash['parentKey'] === undefined &&
    hash['parent'] === undefined &&
    hash['deid'] === undefined;
  if (!says) throw signatureError('mismatch');
  const signed: Record<string, unknown> = { ...rest, repeat: schedule };
  for (const option of COMPUTED) delete signed[option];
  const { name = '', data = '' } = hash;
  return schedulerBinding(where, made.scheduler, { name, options: signed, data });
}
