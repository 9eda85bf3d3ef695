import { QueueKeys, RedisQueueBackend, raw2NextJobData, type JobJson } from 'bullmq';
import { SignatureError, currentTenant, publish, runInScope, type TenantRegistry } from '@tenantkit/core';
import { connect, connectBlocking, type StoreOptions } from './connections.ts';
import { HEADER, signatureError, type JobClaims } from './header.ts';
import { verifyJob, type JobHash, type Verifier } from './verify.ts';
import { writeTogether } from './writes.ts';

/** What was found when a job was looked at. Only a `verified` one may be shown. */
export type Verdict =
  | { readonly kind: 'verified'; readonly claims: JobClaims; readonly job: JobJson }
  /** Its tenant is frozen, or the registry is too old to tell: it has to wait. */
  | { readonly kind: 'held'; readonly claims: JobClaims }
  | { readonly kind: 'refused'; readonly error: SignatureError }
  /** It came in a way that we do not know: nobody has looked at it, so it is neither run nor failed. */
  | { readonly kind: 'unseen' };

/** What a queue's store needs to know. */
export interface StoreContext extends Verifier {
  readonly fence: TenantRegistry | undefined;
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

/** The fields through which finishing a job changes other jobs and keys. */
const LINKS = ['parentKey', 'parent', 'deid', 'rjk'] as const;

/**
 * BullMQ's Redis backend with physical names, which verifies every job on its way out. It is never handed out:
 * queues, workers and jobs hold the guarded backend in front of it.
 */
export class JobStore extends RedisQueueBackend {
  readonly #context: StoreContext;
  readonly #verdicts = new Map<string, Verdict>();

  /** Opens the connections outside of any tenant: whoever happens to make a queue must not own them. */
  static open(
    context: StoreContext,
    options: StoreOptions,
    { withBlockingConnection = false }: { readonly withBlockingConnection?: boolean },
  ): JobStore {
    return runInScope(undefined, () => new JobStore(context, options, withBlockingConnection));
  }

  private constructor(context: StoreContext, options: StoreOptions, withBlockingConnection: boolean) {
    const { prefix, queue } = context;
    const keys = new QueueKeys(prefix);
    super(
      connect(options),
      queue,
      // Public as `queue.keys`: who could write to it would decide where everybody's jobs go.
      Object.freeze(keys.getKeys(queue)),
      (type) => keys.toKey(queue, type),
      options,
      withBlockingConnection ? connectBlocking(options, prefix, queue) : undefined,
    );
    this.#context = context;
  }

  /**
   * The one place through which every script of BullMQ runs. A job that a script hands over is verified here,
   * as the server has it, before BullMQ parses anything of it: a hash that does not parse would otherwise throw
   * in the middle of the worker's loop and take the event of the job before with it.
   */
  override execCommand(...call: Parameters<RedisQueueBackend['execCommand']>): unknown {
    writeTogether(Reflect.get(call[0], 'stream'));
    const reply: unknown = super.execCommand(...call);
    return PICK_UPS.has(call[1]) ? this.#screened(reply) : reply;
  }

  /** The messages of BullMQ's errors name the job: by its logical id, where a tenant will read them. */
  override finishedErrors(details: Parameters<RedisQueueBackend['finishedErrors']>[0]): Error {
    const tenant = currentTenant()?.tenant;
    const { jobId } = details;
    const { names } = this.#context;
    if (tenant === undefined || jobId === undefined || !names.owns(tenant, jobId)) {
      return super.finishedErrors(details);
    }
    return super.finishedErrors({ ...details, jobId: names.decode(tenant, jobId) });
  }

  /**
   * Resolves when a command would be written at once, and rejects as any command would that does not get through.
   */
  async connected(): Promise<void> {
    const client = await this.client;
    while (client.status !== 'ready') await client.hget(this.keys['meta'] ?? '', 'version');
  }

  /** The verdict on a job that the last script handed over; taken once. */
  takeVerdict(id: string): Verdict {
    const verdict = this.#verdicts.get(id) ?? { kind: 'unseen' };
    this.#verdicts.delete(id);
    return verdict;
  }

  /**
   * Reads one job.
   *
   * @throws {@link SignatureError} when its header is not accepted
   */
  async readVerified(id: string): Promise<{ readonly claims: JobClaims; readonly job: JobJson } | undefined> {
    const client = await this.client;
    const hash: JobHash = await client.hgetall(this.toKey(id));
    if (Object.keys(hash).length === 0) return undefined;
    const verdict = this.#judge(hash, id, 'getJob');
    if (verdict.kind === 'refused') throw verdict.error;
    return { claims: verdict.claims, job: decode(fieldsOf(hash), id) };
  }

  /**
   * Takes from a refused job what failing it would act on: another job's dependencies, deduplication, schedule; and
   * its counters, since BullMQ's script cannot fail a job whose attempts are no number.
   */
  async disarm(id: string): Promise<void> {
    const client = await this.client;
    await client.hdel(this.toKey(id), ...LINKS, ...COUNTERS);
  }

  async #screened(pending: unknown): Promise<unknown> {
    const reply = await pending;
    if (!Array.isArray(reply) || !Array.isArray(reply[0])) return reply;
    const [fields, id, ...rest]: unknown[] = reply;
    const physical = String(id);
    const hash = toHash(fields);
    const shown = fieldsOf(hash);
    const verdict = this.#pickUp(hash, shown, physical);
    this.#verdicts.set(physical, verdict);
    return [seen(verdict, shown), physical, ...rest];
  }

  #pickUp(hash: JobHash, fields: readonly string[], id: string): Verdict {
    const verdict = this.#judge(hash, id, 'process');
    if (verdict.kind === 'refused') return verdict;
    const { claims } = verdict;
    // A retry takes `finishedOn` away; who pushes a finished job's id back does not.
    if (!COUNTERS.every((counter) => COUNT.test(hash[counter] ?? '0')))
      return this.#refused(signatureError('malformed'), 'process', claims);
    if (hash['finishedOn'] !== undefined) return this.#refused(signatureError('replayed'), 'process', claims);
    const state = this.#context.fence?.state(claims.tenant) ?? 'active';
    if (state === 'erased') return this.#refused(signatureError('fenced'), 'process', claims);
    if (state !== 'active') return { kind: 'held', claims };
    return { kind: 'verified', claims, job: decode(fields, id) };
  }

  #judge(
    hash: JobHash,
    id: string,
    operation: string,
  ): { readonly kind: 'accepted'; readonly claims: JobClaims } | Extract<Verdict, { kind: 'refused' }> {
    try {
      return { kind: 'accepted', claims: verifyJob(this.#context, hash, id) };
    } catch (error) {
      const known = error instanceof SignatureError ? error : signatureError('malformed');
      return this.#refused(known, operation);
    }
  }

  #refused(
    error: SignatureError,
    operation: string,
    claims?: JobClaims,
  ): Extract<Verdict, { kind: 'refused' }> {
    publish('refused', {
      surface: 'queue',
      operation,
      message: error.message,
      tenant: claims?.tenant ?? currentTenant()?.tenant,
      extra: { queue: this.#context.queue, reason: error.reason },
    });
    return { kind: 'refused', error };
  }
}

/** The job as its tenant sees it: logical id, no header, the time at which it was signed. */
export function logicalJob(job: JobJson, claims: JobClaims, { names }: Pick<Verifier, 'names'>): JobJson {
  const { [HEADER]: _header, jobId, ...options } = job.opts as JobJson['opts'] & { [HEADER]?: unknown };
  const id = names.decode(claims.tenant, job.id);
  return {
    ...job,
    id,
    opts: jobId === undefined ? options : { ...options, jobId: id },
    timestamp: options.timestamp ?? claims.issuedAt,
  };
}

function seen(verdict: Verdict, fields: readonly string[]): readonly string[] {
  if (verdict.kind === 'verified') return fields;
  const erased = verdict.kind === 'refused' && verdict.error.reason === 'fenced';
  return erased ? HOLLOW_OF_ERASED : HOLLOW;
}

function fieldsOf(hash: JobHash): string[] {
  const fields: string[] = [];
  for (const field of FIELDS) {
    const value = hash[field];
    if (value !== undefined && (field !== 'progress' || isJson(value))) fields.push(field, value);
  }
  return fields;
}

function decode(fields: readonly string[], id: string): JobJson {
  const [job] = raw2NextJobData([fields, id]) as [JobJson];
  return { ...job, id };
}

function toHash(fields: readonly unknown[]): JobHash {
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
