import { Job as RawJob } from 'bullmq';
import { runInScope, type TenantContext } from '@tenantkit/core';
import { leaveEngine } from './engine.ts';
import type { JobClaims } from './header.ts';
import { Job, adopt, isMovedByHand } from './job.ts';
import { failureOf, outcomeOf, type Failure, type Outcome } from './outcome.ts';
import { logicalJob, type StoreContext, type Verdict } from './store.ts';

/** A queue-like object that a Job needs: the Worker. */
type Home = ConstructorParameters<typeof RawJob>[0];

/**
 * A job that a worker has picked up, in two shapes. BullMQ's loop works on one with the physical id and without
 * the data: two tenants' jobs with the same id may run at once. The processor and the listeners get the other,
 * with the logical id and the verified data; what they do to it does not reach the loop.
 */
export class PickedJob {
  readonly verdict: Verdict;
  /** The tenant of a verified job; `undefined` for one that nobody may see. */
  readonly tenant: TenantContext | undefined;
  readonly #inner: RawJob;
  readonly #home: Home;
  readonly #context: StoreContext;
  #shown: Job | undefined;
  #outcome: Outcome | undefined;
  #failure: Failure | undefined;

  constructor(inner: RawJob, home: Home, context: StoreContext, verdict: Verdict) {
    this.verdict = verdict;
    this.tenant = verdict.kind === 'verified' ? toContext(verdict.claims) : undefined;
    this.#inner = inner;
    this.#home = home;
    this.#context = context;
  }

  /** Runs `fn` with the job as its tenant sees it, inside this tenant. */
  runInTenant<T>(fn: (job: Job) => T): T | undefined {
    const { tenant } = this;
    if (tenant === undefined) return undefined;
    // Not withTenant: whoever cancels or emits may be inside another tenant, and would get its error.
    return leaveEngine(() => runInScope({ tenant, bypass: undefined }, () => fn(this.show())));
  }

  /**
   * Runs a processor in the tenant of the job. All of it: a thenable that it answers, the `toJSON` of a result and
   * the getters of an error would otherwise run where BullMQ looks at them, in the loop that serves every tenant.
   *
   * @param signal - fires when the job is cancelled, in the scope of whoever cancels
   * @param work - gets a signal that fires in the tenant of the job
   */
  process<T>(
    signal: AbortSignal | undefined,
    work: (job: Job, signal: AbortSignal | undefined) => Promise<T>,
  ): Promise<T> | undefined {
    return this.runInTenant(async (shown) => {
      try {
        const outcome = outcomeOf(await work(shown, signal === undefined ? undefined : this.#own(signal)));
        this.#outcome = outcome;
        return outcome.plain as T;
      } catch (thrown) {
        const failure = failureOf(thrown, isMovedByHand(shown));
        this.#failure = failure;
        throw failure.plain;
      }
    });
  }

  /** What the processor answered or threw, in the place of what the loop was given. */
  original(value: unknown): unknown {
    if (this.#outcome !== undefined && this.#outcome.plain === value) return this.#outcome.original;
    if (this.#failure !== undefined && this.#failure.plain === value) return this.#failure.original;
    return value;
  }

  #own(signal: AbortSignal): AbortSignal {
    const own = new AbortController();
    const abort = (): void => {
      this.runInTenant(() => own.abort(signal.reason));
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    return own.signal;
  }

  /** The job as its tenant sees it. @throws TypeError for a job that was not verified */
  show(): Job {
    const { tenant, verdict } = this;
    if (tenant === undefined || verdict.kind !== 'verified')
      throw new TypeError('a job that was not verified is shown to nobody');
    const make = (): Job =>
      makeJob(this.#home, logicalJob(verdict.job, verdict.claims, this.#context), tenant);
    const shown = (this.#shown ??= make());
    const returnvalue = this.original(this.#inner.returnvalue);
    try {
      mirror(this.#inner, shown, returnvalue);
      return shown;
    } catch {
      // The processor has frozen its job, or put members of its own on it: whoever comes next gets another one.
      const other = (this.#shown = make());
      mirror(this.#inner, other, returnvalue);
      return other;
    }
  }
}

/** What BullMQ changes on its own Job while it works on it, and what listeners read on theirs. */
type Mirrored = {
  [
    Field in
      | 'token'
      | 'attemptsMade'
      | 'attemptsStarted'
      | 'stalledCounter'
      | 'delay'
      | 'failedReason'
      | 'finishedOn'
      | 'processedOn'
      | 'processedBy'
      | 'stacktrace'
      | 'returnvalue'
  ]?: RawJob[Field] | undefined;
};

/** One by one: looked up by their names, they took as long as the cryptography of a job. */
function mirror(inner: Mirrored, shown: Mirrored, returnvalue: unknown): void {
  shown.token = inner.token;
  shown.attemptsMade = inner.attemptsMade;
  shown.attemptsStarted = inner.attemptsStarted;
  shown.stalledCounter = inner.stalledCounter;
  shown.delay = inner.delay;
  shown.failedReason = inner.failedReason;
  shown.finishedOn = inner.finishedOn;
  shown.processedOn = inner.processedOn;
  shown.processedBy = inner.processedBy;
  shown.stacktrace = inner.stacktrace;
  shown.returnvalue = returnvalue;
}

function makeJob(home: Home, json: ReturnType<typeof logicalJob>, tenant: TenantContext): Job {
  const job = Job.fromJSON(home, json, json.id) as Job;
  adopt(job, { tenant, bypass: undefined });
  return job;
}

function toContext({ tenant, subject, actor }: JobClaims): TenantContext {
  return Object.freeze({
    tenant,
    ...(subject === undefined ? {} : { subject }),
    ...(actor === undefined ? {} : { actor }),
  });
}
