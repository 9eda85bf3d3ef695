import { randomUUID } from 'node:crypto';
import type { JobJson, ParentKeyOpts } from 'bullmq';
import { refusal, refuse, type TenantContext } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';
import { canonicalJson } from '../canonical.ts';
import { deduplicationOf } from '../deduplication.ts';
import { checkNotItself, linkOf, type Link } from '../flows/link.ts';
import { HEADER, signHeader } from '../header.ts';
import { checkJobOptions, checkTurn, storedOptions } from '../job-options.ts';
import { laneName } from '../lanes/names.ts';
import { checkNewId } from '../names.ts';
import { isJson, type StoreContext } from '../store.ts';

/** A job as BullMQ hands it over to be stored. */
export interface Entry {
  readonly job: JobJson;
  readonly jobId: string;
  readonly parentKeyOpts?: ParentKeyOpts;
}

/** A job that is signed and may be stored. */
export interface SignedEntry {
  readonly job: JobJson;
  readonly jobId: string;
  /** Its parent, if it has one. */
  readonly link: Link | undefined;
  /** Whether the caller has chosen the id, so that there may be a job that has it. */
  readonly isNamed: boolean;
}

/** What BullMQ's FlowProducer makes for a job without an id, since its children have to name it. */
const MADE = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;

const LINKED = refuse(
  'the job names a parent, a scheduler or a deduplication that its options do not have',
  'Use queue.add, queue.addBulk or a FlowProducer with the options that the README lists.',
);
/** For a name that is no text. */
export const BAD_NAME = refuse(
  'the name of a job must be well-formed text',
  'Use a string that UTF-8 can store.',
);
const BAD_TIME = refuse(
  'the timestamp of the job is no integer',
  'Leave the option timestamp out, or use milliseconds.',
);

/** For data that is no text of JSON. */
export const BAD_DATA = refuse(
  'the data of the job cannot be written as JSON',
  'Use plain data: objects, lists, texts, numbers.',
);

/**
 * Signs a job. Every field is read once, and what is stored is built from what was read: a getter that answers
 * differently the second time would otherwise be checked with one parent and stored with another.
 */
export function sign(
  context: StoreContext,
  tenant: TenantContext,
  { job, jobId, parentKeyOpts }: Entry,
  isOfFlow = false,
): SignedEntry {
  const { name, data, timestamp, opts, parent, parentKey, repeatJobKey, deduplicationId } = job;
  const checked = checkJobOptions('add', opts);
  const { jobId: said, parent: option } = checked;
  const given = said === undefined && option === undefined ? checked : withoutNames(checked);
  checkTurn('add', given);
  const deduplication = deduplicationOf(given);
  const link = linkOf(context, tenant.tenant, 'add', checked);
  if (
    repeatJobKey !== undefined ||
    !isSame(option, parent, [parentKey, parentKeyOpts?.parentKey]) ||
    (!isOfFlow && parentKeyOpts?.addToWaitingChildren !== undefined) ||
    (deduplicationId !== undefined && deduplicationId !== deduplication)
  )
    throw refusal('queue', 'add', LINKED);
  if (typeof name !== 'string' || !isWellFormed(name)) throw refusal('queue', 'add', BAD_NAME);
  if (typeof data !== 'string' || !isJson(data)) throw refusal('queue', 'add', BAD_DATA);
  if (!Number.isSafeInteger(timestamp)) throw refusal('queue', 'add', BAD_TIME);
  const own = checkNewId('add', jobId);
  const isNamed = own !== undefined && !(isOfFlow && said === undefined && MADE.test(own));
  const id = context.names.encode(tenant.tenant, own ?? randomUUID());
  if (link !== undefined)
    checkNotItself('add', link, `${context.prefix}:${laneName(context.queue, tenant.tenant)}:${id}`);
  const options = {
    ...given,
    ...(link === undefined ? {} : { parent: link.option }),
    ...(isNamed ? { jobId: id } : {}),
  };
  const header = signHeader(
    context.ring,
    { ...tenant, issuedAt: given['timestamp'] === undefined ? timestamp : Date.now() },
    {
      prefix: context.prefix,
      queue: context.queue,
      name,
      id,
      scheduler: '',
      parentKey: link?.parentKey ?? '',
      parent: link === undefined ? '' : canonicalJson(link.parent),
      deduplication,
      options: canonicalJson(storedOptions(options)),
      data,
    },
  );
  // The fields that BullMQ stores; the others of a JobJson are counters that the server keeps.
  const stored = {
    id,
    name,
    data,
    timestamp,
    opts: { ...options, [HEADER]: header },
    ...(deduplication === '' ? {} : { deduplicationId: deduplication }),
    ...(link === undefined ? {} : { parentKey: link.parentKey, parent: link.parent }),
  } as StoredJob;
  return { job: stored as JobJson, jobId: id, link, isNamed };
}

/** The options that are stored as they are given: id and parent are stored under physical names. */
function withoutNames(checked: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { jobId: _id, parent: _parent, ...given } = checked;
  return given;
}

/** Whether a job says the same of its parent everywhere, or nothing. */
function isSame(option: unknown, parent: unknown, keys: readonly unknown[]): boolean {
  if (option === undefined) return parent === undefined && keys.every((key) => key === undefined);
  const { id, queue } = option as { readonly id: string; readonly queue: string };
  const { id: said = id, queueKey = queue } = Object(parent) as { id?: unknown; queueKey?: unknown };
  return (
    said === id && queueKey === queue && keys.every((key) => (key ?? `${queue}:${id}`) === `${queue}:${id}`)
  );
}

type StoredJob = Pick<
  JobJson,
  'id' | 'name' | 'data' | 'timestamp' | 'opts' | 'deduplicationId' | 'parent' | 'parentKey'
>;
