/**
 * The scripts of BullMQ after which a lane may have something to run that it had not before. A test computes from the
 * installed scripts which ones write a marker, and fails on one that is in none of these lists.
 */
export const TOUCHES: ReadonlySet<string> = new Set([
  'addDelayedJob',
  'addJobScheduler',
  'addPrioritizedJob',
  'addStandardJob',
  'changeDelay',
  'changePriority',
  'moveJobFromActiveToWait',
  'moveJobsToWait',
  'moveStalledJobsToWait',
  'moveToDelayed',
  'pause',
  'promote',
  'reprocessJob',
  'retryJob',
  'updateJobScheduler',
]);

/**
 * Scripts that write the marker of their own lane although it has nothing new: they take a job, or all of them, and
 * the lane stays in `ready` until a look has seen it empty.
 */
export const TOUCHES_NOTHING: ReadonlySet<string> = new Set(['moveToActive']);

/**
 * The script that ends a job, and fetches the next one, as above. But where the job was deduplicated and kept the last
 * of its duplicates, that one is put into the lane, which may have been seen empty meanwhile: so behind the end of a
 * job with a deduplication id the lane is noted. Behind every end it would cost a command per job.
 */
export const TOUCHES_IF_DEDUPLICATED: ReadonlySet<string> = new Set(['moveToFinished']);

/**
 * Scripts that may free a *parent*, which stands in a lane of its own, perhaps of another logical queue. Only the
 * parent's lane is to be noted, by who knows which one that is: `touchParent` of the store. Where it is unknown (to an
 * operator's `drain`, or when old failed jobs are removed) the sweep of the parent's queue finds it. Those that add a job are in both lists;
 * `addJobScheduler` removes the job that its schedule had before.
 */
export const FREES_PARENT: ReadonlySet<string> = new Set([
  'addDelayedJob',
  'addJobScheduler',
  'addParentJob',
  'addPrioritizedJob',
  'addStandardJob',
  'cleanJobsInSet',
  'drain',
  'moveToFinished',
  'obliterate',
  'releaseParentIfNoPendingDependencies',
  'removeChildDependency',
  'removeJob',
  'removeUnprocessedChildren',
]);

/** How the notes of one turn are written. */
export interface TouchTarget {
  /** Writes a note of these lanes behind all that was written before on the same connection. */
  write(tenants: readonly string[]): Promise<unknown>;
  /** Hears of a note that could not be written. The lanes are noted again with the next ones; else the sweep finds them. */
  failed(error: unknown): void;
}

/** Scripts that change nothing that a worker waits for. */
const QUIET: readonly string[] = [
  'addLog',
  'addParentJob',
  'cleanJobsInSet',
  'drain',
  'extendLock',
  'extendLocks',
  'getCounts',
  'getCountsPerPriority',
  'getDependencyCounts',
  'getJobScheduler',
  'getJobs',
  'getMetrics',
  'getRanges',
  'getRateLimitTtl',
  'getState',
  'getStateV2',
  'isFinished',
  'isJobInList',
  'isMaxed',
  'moveToWaitingChildren',
  'obliterate',
  'paginate',
  'releaseLock',
  'releaseParentIfNoPendingDependencies',
  'removeChildDependency',
  'removeDeduplicationKey',
  'removeJob',
  'removeJobScheduler',
  'removeOrphanedJobs',
  'removeUnprocessedChildren',
  'saveStacktrace',
  'updateData',
  'updateProgress',
];
const SILENT: ReadonlySet<string> = new Set([...QUIET, ...TOUCHES_NOTHING, ...TOUCHES_IF_DEDUPLICATED]);

/**
 * Whether the lane is to be noted behind a script. A script that is in no list, as a later BullMQ may have it, costs a
 * command; taken for a quiet one, it would leave jobs to the next sweep, without a word.
 */
export function touchesLane(script: string): boolean {
  return TOUCHES.has(script) || !SILENT.has(script);
}

/** Whether a script is in one of the lists; a test demands it of all that are installed. */
export function isKnownScript(script: string): boolean {
  return TOUCHES.has(script) || SILENT.has(script);
}

/**
 * Collects which lanes were touched in one turn of the event loop, and notes them in one script: a process that adds
 * fifty jobs at once would else pay for a hundred commands.
 */
export class TouchBatch {
  readonly #target: TouchTarget;
  #touched = new Set<string>();
  #scheduled = false;
  #writing = new Set<Promise<void>>();

  constructor(target: TouchTarget) {
    this.#target = target;
  }

  /** To be called when the script that has touched the lane is written, never before. */
  touch(tenant: string): void {
    this.#touched.add(tenant);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Behind the promises that are settled already: what is added together is written in the same turn of them.
    queueMicrotask(() => this.#flush());
  }

  /** Resolves when every note up to now is written or has failed: before the connection is closed. */
  async settled(): Promise<void> {
    if (this.#scheduled) this.#flush();
    await Promise.all(this.#writing);
  }

  #flush(): void {
    // Settled early: nothing is left to write, and an empty note would wake a worker for nothing.
    this.#scheduled = false;
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    const writing = this.#write([...touched]);
    this.#writing.add(writing);
    void writing.finally(() => this.#writing.delete(writing));
  }

  async #write(tenants: readonly string[]): Promise<void> {
    try {
      await this.#target.write(tenants);
    } catch (error) {
      for (const tenant of tenants) this.#touched.add(tenant);
      this.#target.failed(error);
    }
  }
}
