import { TenantFencedError } from '@tenantkit/core';

/** How a job has ended. */
export type End =
  | { readonly kind: 'completed'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: Error };

type Waiting = (end: End) => void;

/** Who waits for the end of a job of which tenant. They are no listeners: a tenant that waits for a thousand has none. */
export class Waits {
  readonly #changed: (tenant: string) => void;
  readonly #tenants = new Map<string, Map<string, Set<Waiting>>>();

  /** @param changed - called when a tenant has begun or ceased to wait */
  constructor(changed: (tenant: string) => void) {
    this.#changed = changed;
  }

  /** Whether somebody waits for a job of this tenant. */
  has(tenant: string): boolean {
    return this.#tenants.has(tenant);
  }

  /** Calls back when the job ends. @returns how to wait no longer */
  add(tenant: string, id: string, waiting: Waiting): () => void {
    const jobs = this.#tenants.get(tenant) ?? new Map<string, Set<Waiting>>();
    const all = jobs.get(id) ?? new Set();
    all.add(waiting);
    jobs.set(id, all);
    this.#tenants.set(tenant, jobs);
    this.#changed(tenant);
    return () => {
      if (!all.delete(waiting)) return;
      if (all.size === 0 && jobs.get(id) === all) jobs.delete(id);
      if (jobs.size > 0 || this.#tenants.get(tenant) !== jobs) return;
      this.#tenants.delete(tenant);
      this.#changed(tenant);
    };
  }

  /** Tells who waits for it that a job has ended, if the event says so. */
  settle(tenant: string, event: string, id: string, args: Readonly<Record<string, unknown>>): void {
    const all = this.#tenants.get(tenant)?.get(id);
    const end = all === undefined ? undefined : endOf(event, id, args);
    if (all === undefined || end === undefined) return;
    for (const waiting of all) waiting(end);
  }

  /** Ends what an erased tenant waits for: its jobs are gone. */
  expel(tenant: string): void {
    const error = new TenantFencedError({
      surface: 'queue',
      operation: 'waitUntilFinished',
      state: 'erased',
    });
    this.#end(this.#tenants.get(tenant), error);
  }

  /** Ends all, when nothing is listened to any more. */
  close(): void {
    for (const jobs of this.#tenants.values()) this.#end(jobs, new Error('The QueueEvents was closed.'));
  }

  #end(jobs: ReadonlyMap<string, ReadonlySet<Waiting>> | undefined, error: Error): void {
    for (const all of jobs?.values() ?? []) for (const waiting of all) waiting({ kind: 'failed', error });
  }
}

/** What BullMQ says of a job that is not there. */
export function missingJob(id: string): string {
  return `Missing key for job ${id}. isFinished`;
}

function endOf(event: string, id: string, args: Readonly<Record<string, unknown>>): End | undefined {
  if (event === 'completed') return { kind: 'completed', value: args['returnvalue'] };
  if (event === 'failed') return { kind: 'failed', error: new Error(String(args['failedReason'])) };
  // BullMQ would wait on, for ever if it was given no time.
  if (event === 'removed') return { kind: 'failed', error: new Error(missingJob(id)) };
  return undefined;
}
