import { randomUUID } from 'node:crypto';
import type { JobJson, ParentKeyOpts } from 'bullmq';
import { refusal, refuse, type TenantContext } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';
import { canonicalJson } from '../canonical.ts';
import { deduplicationOf } from '../deduplication.ts';
import { HEADER, signHeader } from '../header.ts';
import { checkJobOptions, checkTurn, storedOptions } from '../job-options.ts';
import { toList } from '../list.ts';
import { checkNewId } from '../names.ts';
import { isJson } from '../store.ts';
import { admitted, ownId, stillAdmitted, type Guard, type Handler } from './guard.ts';

/** A job as BullMQ hands it over to be stored. */
interface Entry {
  readonly job: JobJson;
  readonly jobId: string;
  readonly parentKeyOpts?: ParentKeyOpts;
}

/** A job that is signed and may be stored. */
interface SignedEntry {
  readonly job: JobJson;
  readonly jobId: string;
}

const LINKED = refuse(
  'the job names a parent, a scheduler or a deduplication that its options do not have',
  'Use queue.add or queue.addBulk with the options that the README lists.',
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

/** How jobs are added. */
export const adding = {
  async add(guard, tenant, operation, [job, jobId, parentKeyOpts]) {
    const entry = sign(guard, tenant, { job, jobId, parentKeyOpts } as Entry);
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const id = await lane.addJob(entry.job, entry.jobId);
    await stillAdmitted(guard, tenant, operation, since, () => lane.remove(id, false));
    return ownId(guard, tenant, id);
  },
  // All are signed before the first is stored: one bad job of a hundred must not leave fifty behind.
  async addBulk(guard, tenant, operation, [entries]) {
    const signed = toList(entries, operation).map((entry) => sign(guard, tenant, entry as Entry));
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const ids = await lane.addJobs(signed);
    await stillAdmitted(guard, tenant, operation, since, async () => {
      for (const id of ids) await lane.remove(id, false);
    });
    return ids.map((id) => ownId(guard, tenant, id));
  },
} satisfies Readonly<Record<string, Handler>>;

/**
 * Signs a job. Every field is read once, and what is stored is built from what was read: a getter that answers
 * differently the second time would otherwise be checked with one parent and stored with another.
 */
function sign({ context }: Guard, tenant: TenantContext, { job, jobId, parentKeyOpts }: Entry): SignedEntry {
  const { name, data, timestamp, opts, parent, parentKey, repeatJobKey, deduplicationId } = job;
  const { jobId: _jobId, ...given } = checkJobOptions('add', opts);
  checkTurn('add', given);
  const deduplication = deduplicationOf(given);
  if (
    isLinked({ parent, parentKey, repeatJobKey }, parentKeyOpts) ||
    (deduplicationId !== undefined && deduplicationId !== deduplication)
  )
    throw refusal('queue', 'add', LINKED);
  if (typeof name !== 'string' || !isWellFormed(name)) throw refusal('queue', 'add', BAD_NAME);
  if (typeof data !== 'string' || !isJson(data)) throw refusal('queue', 'add', BAD_DATA);
  if (!Number.isSafeInteger(timestamp)) throw refusal('queue', 'add', BAD_TIME);
  const own = checkNewId('add', jobId);
  const id = context.names.encode(tenant.tenant, own ?? randomUUID());
  const options = own === undefined ? given : { ...given, jobId: id };
  const header = signHeader(
    context.ring,
    { ...tenant, issuedAt: given['timestamp'] === undefined ? timestamp : Date.now() },
    {
      prefix: context.prefix,
      queue: context.queue,
      name,
      id,
      scheduler: '',
      parentKey: '',
      parent: '',
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
  } as StoredJob;
  return { job: stored as JobJson, jobId: id };
}

type StoredJob = Pick<JobJson, 'id' | 'name' | 'data' | 'timestamp' | 'opts' | 'deduplicationId'>;
type Links = { readonly [Link in 'parent' | 'parentKey' | 'repeatJobKey']: unknown };

function isLinked(
  { parent, parentKey, repeatJobKey }: Links,
  { parentKey: parentToJoin, addToWaitingChildren }: ParentKeyOpts = {},
): boolean {
  const links = [parent, parentKey, repeatJobKey, parentToJoin, addToWaitingChildren];
  return links.some((link) => link !== undefined);
}
