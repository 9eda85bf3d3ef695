import { createHash } from 'node:crypto';
import { Job as RawJob, type JobsOptions } from 'bullmq';
import { OperationRefusedError, type TenantContext } from '@tenantkit/core';
import { storable } from '../canonical.ts';
import { HEADER, signHeader } from '../header.ts';
import { checkJobOptions, checkTurn, storedOptions } from '../job-options.ts';
import { isIteration } from '../schedulers/ids.ts';
import { isJson, type StoreContext } from '../store.ts';
import { bindingOf } from '../verify.ts';
import type { Adoptable, RawState, RawStored } from './scripts.ts';

/** A job of a raw queue, as `tenantOf` sees it. */
export interface UnsignedJob {
  /** As raw BullMQ knows it; the tenant will know it by the same one. */
  readonly id: string;
  readonly name: string;
  readonly data: unknown;
  readonly opts: JobsOptions;
  /** When it was added, in milliseconds since the epoch. Nobody has signed it. */
  readonly timestamp: number;
  readonly state: 'waiting' | 'delayed' | 'prioritized' | 'completed' | 'failed';
}

/** Why a job is left where it is. */
export type WhyLeft =
  /** `tenantOf` has answered `undefined`. */
  | 'noTenant'
  /** It was added after `until`. */
  | 'tooYoung'
  /** It is a parent or a child: flows have to end, or to be added anew. */
  | 'flow'
  /** A scheduler has made it: make the scheduler anew, in its tenant, and remove the raw one. */
  | 'scheduler'
  /** An option of it has no place in a signed job; `queue.add` refuses it as well. */
  | 'option'
  /** Its id cannot be one here: it holds ":". It has to be added anew, under another one. */
  | 'id'
  /** It has no hash, no name, or data that are no JSON. */
  | 'unreadable'
  /** The tenant has a job with this id already. */
  | 'idTaken'
  /** The tenant is frozen or erased. */
  | 'fenced'
  /** It was moved or changed while it was looked at: a raw worker has taken it, or another adoption. */
  | 'moved'
  /** A raw worker is processing it, or was when it died. */
  | 'active'
  /** It waits for its children. */
  | 'waitingChildren';

/** As much of a job as is looked at before anybody is asked whose it is. */
export function readUnsigned(
  { id, hash, isParent }: RawStored,
  state: RawState,
  until: number,
): UnsignedJob | WhyLeft {
  const { name, data, opts, timestamp, parentKey, parent, rjk } = hash;
  if (rjk !== undefined || isIteration(id)) return 'scheduler';
  if (isParent || parentKey !== undefined || parent !== undefined) return 'flow';
  if (name === undefined || data === undefined || !isJson(data) || opts === undefined || !isObject(opts))
    return 'unreadable';
  if (/[:\uFFFD]/u.test(id)) return 'id';
  const added = Number(timestamp);
  // What cannot be signed as it is stored: thrown, it would keep all jobs behind it from being adopted. Of raw BullMQ it
  // is the option that was given.
  if (!Number.isSafeInteger(added) || added < 0 || storable(added) !== added)
    return Number.isFinite(added) ? 'option' : 'unreadable';
  if (added > until) return 'tooYoung';
  return {
    id,
    name,
    data: JSON.parse(data) as unknown,
    opts: RawJob.optsFromJSON(opts),
    timestamp: added,
    state: state === 'wait' || state === 'paused' ? 'waiting' : state,
  };
}

function isObject(text: string): boolean {
  if (!isJson(text)) return false;
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Signs a job for its tenant. */
export function signUnsigned(
  context: StoreContext,
  { hash }: RawStored,
  { id, opts, timestamp }: UnsignedJob,
  { tenant, subject, actor }: TenantContext,
): Adoptable | WhyLeft {
  const state = context.fence?.state(tenant) ?? 'active';
  if (state !== 'active') return 'fenced';
  const { prefix, queue, ring, names } = context;
  const inLane = names.encode(tenant, id);
  const checked = checkOptions(opts);
  if (checked === undefined) return 'option';
  const { jobId, ...others } = checked;
  const stored = storedOptions({
    timestamp,
    ...others,
    ...(jobId === undefined ? {} : { jobId: inLane }),
  });
  const { deduplication } = others as JobsOptions;
  if (hash['deid'] !== deduplication?.id) return 'option';
  const claims = {
    tenant,
    ...(subject === undefined ? {} : { subject }),
    ...(actor === undefined ? {} : { actor }),
    issuedAt: Date.now(),
  };
  const header = signHeader(ring, claims, bindingOf(hash, stored, { prefix, queue, id: inLane }));
  return {
    id,
    read: hash['opts'] ?? '',
    digest: createHash('sha1').update(`${hash['name']}\n${hash['data']}`).digest('hex'),
    opts: JSON.stringify({ ...stored, [HEADER]: header }),
    tenant,
    inLane,
  };
}

/** The options that a signed job may have; `undefined` when there is one that it may not. */
function checkOptions(opts: JobsOptions): Readonly<Record<string, unknown>> | undefined {
  try {
    const checked = checkJobOptions('adoptJobs', { ...opts });
    checkTurn('adoptJobs', checked);
    return checked;
  } catch (error) {
    if (error instanceof OperationRefusedError) return undefined;
    throw error;
  }
}
