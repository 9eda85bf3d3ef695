import { raw2NextJobData, type JobJson } from 'bullmq';
import { SignatureError, currentTenant, publish, type TenantRegistry } from '@tenantkit/core';
import { logicalLinks, logicalOptions } from './flows/link.ts';
import type { Naming } from './flows/names.ts';
import { HEADER, signatureError, type JobClaims } from './header.ts';
import { readOptions } from './job-options.ts';
import { logicalId } from './lanes/ids.ts';
import { laneName } from './lanes/names.ts';
import { isShallow } from './nesting.ts';
import type { QueuePlacement } from './placement.ts';
import { lastStart } from './replay.ts';
import { isIteration } from './schedulers/ids.ts';
import { verifyTemplate, type Template } from './schedulers/template.ts';
import { verifyWhole, type JobHash, type Verifier } from './verify.ts';
import type { TenantLimits } from './views/limits.ts';

/** What was found when a job was looked at. Only a `verified` one may be shown. */
export type Verdict =
  | { readonly kind: 'verified'; readonly claims: JobClaims; readonly job: JobJson }
  /** Its tenant is frozen, or the registry is too old to tell: it has to wait. */
  | { readonly kind: 'held'; readonly claims: JobClaims }
  | {
      readonly kind: 'refused';
      readonly error: SignatureError;
      /** The job of a scheduler that verifies in all but its age, after which the next one is made. */
      readonly outlived?: Outlived;
    }
  /** It came in a way that we do not know: nobody has looked at it, so it is neither run nor failed. */
  | { readonly kind: 'unseen' };

/** A job that has waited for too long, of a scheduler that goes on. */
export interface Outlived {
  readonly tenant: string;
  readonly job: JobJson;
}

/** What a queue's store needs to know. */
export interface StoreContext extends Verifier {
  readonly fence: TenantRegistry | undefined;
  /** Where tenants are, if not all of them are in the Redis of the queue. */
  readonly place: ((tenant: string) => QueuePlacement) | undefined;
  /** The same for another queue, in which a flow goes on. */
  readonly of: (queue: string) => StoreContext;
  /** For how long a job is accepted beyond what its options say, in milliseconds. */
  readonly maxAge: number;
  /** Of a worker: what tenants may use that have no limits of their own. */
  readonly limits?: TenantLimits | undefined;
}

/** The scripts of BullMQ that answer with a job for the worker to run. A test compares them with the scripts. */
export const PICK_UPS: ReadonlySet<string> = new Set(['moveToActive', 'moveToFinished', 'moveToDelayed']);

/** The fields of a job's hash that BullMQ reads. `id` is not among them: BullMQ would prefer it to the real one. */
const FIELDS: readonly string[] = [
  'name',
  'data',
  'opts',
  'timestamp',
  'delay',
  'priority',
  'progress',
  'atm',
  'ats',
  'stc',
  'processedOn',
  'finishedOn',
  'rjk',
  'deid',
  'parentKey',
  'parent',
  'failedReason',
  'defa',
  'stacktrace',
  'returnvalue',
  'pb',
];

const READ: ReadonlySet<string> = new Set(FIELDS);

/** What BullMQ gets to parse of a verified job, which is parsed already: the verdict has it. */
const NOTHING: readonly string[] = [];

/** What BullMQ sees of a job that was refused or held: nothing that it could parse, run, link or schedule. */
const hollow = (opts: string): readonly string[] => [
  'name',
  '',
  'data',
  '{}',
  'opts',
  opts,
  'timestamp',
  '0',
];
const HOLLOW = hollow('{}');
/** Of a tenant that is erased nothing is kept, a failed job neither. */
const HOLLOW_OF_ERASED = hollow('{"removeOnFail":true}');

/** Attempts made and started, and stalls. No header binds them; what is no count would mean attempts without end. */
const COUNTERS = ['atm', 'ats', 'stc'] as const;
const COUNT = /^\d{1,9}$/;

/**
 * What is taken from a refused job before it is failed: the fields through which finishing a job changes other jobs
 * and keys; and its counters, since BullMQ's script cannot fail a job whose attempts are no number.
 */
export const DISARMED: readonly string[] = ['parentKey', 'parent', 'deid', 'rjk', ...COUNTERS];

/** A place where jobs are looked at. */
export interface Place {
  readonly context: StoreContext;
  /** The tenant in whose lane it is. */
  readonly lane: string;
  /** Whether a job that was signed at this time has ended here before. */
  readonly hasEnded: (id: string, issuedAt: number) => boolean;
}

/**
 * Looks at a job that a script has handed over to be run.
 *
 * @param fields - as the server has answered them, names and values in turn
 * @returns the verdict, and the fields that BullMQ may see
 */
export function judgePickUp(
  place: Place,
  fields: readonly unknown[],
  id: string,
): { readonly verdict: Verdict; readonly seen: readonly string[] } {
  const verdict = judgeAny(place, fields, id);
  return { verdict, seen: seen(verdict) };
}

function judgeAny(place: Place, fields: readonly unknown[], id: string): Verdict {
  try {
    return pickUp(place, known(fields), id);
  } catch (fault) {
    // Thrown on, it would reach BullMQ as the failure of the job before, and this one would be `active` until it stalls.
    return refuseFaulty(place, id, fault);
  }
}

const FAULTY =
  'Something in it is not known to be possible: the event tenantkit:refused has the kind of the fault.';

/**
 * Refuses a job at which something has failed that no check has thought of: it ends, and the others go on.
 *
 * @param id - in its lane
 * @param fault - of which the kind is told. Its message may quote what it met, which is anybody's
 */
export function refuseFaulty(place: Pick<Place, 'context' | 'lane'>, id: string, fault: unknown): Refused {
  const kind = fault instanceof Error ? fault.name : typeof fault;
  return refused(place, id, signatureError('malformed', FAULTY), 'process', { fault: kind });
}

/**
 * Looks at a job that somebody asks for.
 *
 * @throws {@link SignatureError} when its header is not accepted
 */
export function judgeRead(
  place: Pick<Place, 'context' | 'lane'>,
  hash: JobHash,
  id: string,
): { readonly claims: JobClaims; readonly job: JobJson } {
  const verdict = judge(place, hash, id, 'getJob');
  if (verdict.kind === 'refused') throw verdict.error;
  return { claims: verdict.claims, job: decode(fieldsOf(hash), id) };
}

/**
 * Looks at a scheduler.
 *
 * @param operation - what for
 * @returns the template, or why it is not accepted, after one event
 */
export function judgeTemplate(
  { context, lane }: Pick<Place, 'context' | 'lane'>,
  hash: JobHash,
  scheduler: string,
  operation: string,
): Template | SignatureError {
  try {
    return verifyTemplate(context, hash, scheduler, lane);
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error;
    return refused({ context, lane }, `repeat:${scheduler}`, error, operation).error;
  }
}

/**
 * Asks the fence about a job that has run.
 *
 * @returns the error with which the job ends when its tenant was erased meanwhile
 */
export function refuseEnd(context: StoreContext, claims: JobClaims, id: string): SignatureError | undefined {
  if (context.fence?.state(claims.tenant) !== 'erased') return undefined;
  const place = { context, lane: claims.tenant };
  return refused(place, id, signatureError('fenced'), 'process', { claims }).error;
}

/** It is refused as what was put back is, since nobody can tell the two apart; but most have just waited. */
const TOO_OLD =
  'It has waited for longer than the option maxAge allows, or was put back: retry lets it run. A scheduler goes on with its next job.';

/** Why a job is not run. */
export type Refused = Extract<Verdict, { kind: 'refused' }>;
type Accepted = { readonly kind: 'accepted' } & ReturnType<typeof verifyWhole>;

function pickUp(place: Place, { hash, toParse }: Known, id: string): Verdict {
  const verdict = judge(place, hash, id, 'process');
  if (verdict.kind === 'refused') return verdict;
  const { claims, options } = verdict;
  const { context } = place;
  // A retry takes `finishedOn` away; who pushes a finished job's id back does not.
  if (!COUNTERS.every((counter) => COUNT.test(hash[counter] ?? '0')))
    return refused(place, id, signatureError('malformed'), 'process', { claims });
  if (hash['finishedOn'] !== undefined)
    return refused(place, id, signatureError('replayed'), 'process', { claims });
  const state = context.fence?.state(claims.tenant) ?? 'active';
  if (state === 'erased') return refused(place, id, signatureError('fenced'), 'process', { claims });
  if (state !== 'active') return { kind: 'held', claims };
  const job = decode(toParse, id);
  job.opts = readOptions(options);
  // What somebody has kept of a job and put back, for a second run.
  if (place.hasEnded(id, claims.issuedAt))
    return refused(place, id, signatureError('replayed'), 'process', { claims });
  if (Date.now() > lastStart(claims, id, job.opts, context.maxAge)) {
    const over = refused(place, id, signatureError('replayed', TOO_OLD), 'process', { claims });
    return isIteration(id) ? { ...over, outlived: { tenant: claims.tenant, job } } : over;
  }
  return { kind: 'verified', claims, job };
}

function judge(
  { context, lane }: Pick<Place, 'context' | 'lane'>,
  hash: JobHash,
  id: string,
  operation: string,
): Accepted | Refused {
  try {
    return { kind: 'accepted', ...verifyWhole(context, hash, id, lane) };
  } catch (error) {
    const known = error instanceof SignatureError ? error : signatureError('malformed');
    return refused({ context, lane }, id, known, operation);
  }
}

/**
 * One event, which says where the job lies: of nothing that it says of itself is known whether it is true.
 *
 * @param id - in its lane
 */
function refused(
  { context: { prefix, queue }, lane }: Pick<Place, 'context' | 'lane'>,
  id: string,
  error: SignatureError,
  operation: string,
  { claims, fault }: { readonly claims?: JobClaims; readonly fault?: string } = {},
): Refused {
  // A copy of another tenant's job says in its id whose it was: no event of a tenant's own call names it.
  const inside = currentTenant()?.tenant;
  const name = inside === undefined ? `${prefix}:${laneName(queue, lane)}:${id}` : undefined;
  const { message, reason, hint } = error;
  publish('refused', {
    surface: 'queue',
    operation,
    message,
    tenant: claims?.tenant ?? inside,
    extra: { queue, reason, ...(fault && { fault }), ...(name === undefined ? {} : { lane, name }) },
  });
  // Of what a worker has refused only operators hear.
  const told = name === undefined ? error : signatureError(reason, hint, name);
  return { kind: 'refused', error: told };
}

/** The job as its tenant sees it: logical id, no header, the time at which it was signed. */
export function logicalJob(job: JobJson, claims: JobClaims, { prefix, names }: Naming): JobJson {
  const { jobId, timestamp } = job.opts;
  // A worker's loop has the same job, and goes by it: what a processor does to its options must not get there. One by
  // one: a rest of them takes longer than the job takes to be made.
  const options: Record<string, unknown> = {};
  for (const name of Object.keys(job.opts)) {
    if (name !== HEADER && name !== 'jobId') options[name] = copied(Reflect.get(job.opts, name));
  }
  const id = logicalId(names, claims.tenant, job.id) ?? names.decode(claims.tenant, job.id);
  const links = logicalLinks({ prefix, names }, claims.tenant, job);
  const opts = logicalOptions(options, links);
  return {
    ...job,
    ...links,
    id,
    progress: copied(job.progress),
    opts: jobId === undefined ? opts : { ...opts, jobId: id },
    timestamp: timestamp ?? claims.issuedAt,
  };
}

/** A copy of data, all the way down. */
function copied<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copied) as T;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, copied(member)])) as T;
}

function seen(verdict: Verdict): readonly string[] {
  if (verdict.kind === 'verified') return NOTHING;
  const erased = verdict.kind === 'refused' && verdict.error.reason === 'fenced';
  return erased ? HOLLOW_OF_ERASED : HOLLOW;
}

/** The fields of a hash that BullMQ may see. */
export function fieldsOf(hash: JobHash): string[] {
  const fields: string[] = [];
  for (const field of FIELDS) {
    const value = hash[field];
    if (value !== undefined && (field !== 'progress' || isReadable(value))) fields.push(field, value);
  }
  return fields;
}

// A copy of it that overflows the stack would do so in the loop that serves every tenant.
const isReadable = (progress: string): boolean => isJson(progress) && isShallow(progress);

function decode(fields: readonly string[], id: string): JobJson {
  const [job] = raw2NextJobData([fields, id]) as [JobJson];
  job.id = id;
  return job;
}

/** A job as a script has handed it over. */
interface Known {
  readonly hash: JobHash;
  /** What is left to BullMQ to parse, names and values in turn: the options are parsed where the job is verified. */
  readonly toParse: readonly string[];
}

/** The fields that BullMQ reads: of others, of which anybody may have put any number there, none is looked at. */
function known(fields: readonly unknown[]): Known {
  const hash: Record<string, string> = {};
  const toParse: string[] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const field = fields[at];
    if (typeof field !== 'string' || !READ.has(field)) continue;
    const value = String(fields[at + 1]);
    hash[field] = value;
    if (field !== 'opts' && (field !== 'progress' || isReadable(value))) toParse.push(field, value);
  }
  return { hash, toParse };
}

/** Names and values in turn, as a script answers them. */
export function toHash(fields: readonly unknown[]): JobHash {
  const hash: Record<string, string> = Object.create(null);
  for (let at = 0; at + 1 < fields.length; at += 2) hash[String(fields[at])] = String(fields[at + 1]);
  return hash;
}

// Progress is not signed, since every attempt may change it, and data may be signed by another program; BullMQ
// parses both without a net.
/** Whether BullMQ can parse it. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
