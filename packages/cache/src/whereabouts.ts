import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';
import { types } from 'node:util';
import type { Complaints } from './complaints.ts';
import { readPlacement, type CachePlacement, type OwnPlacement } from './place.ts';
import { inScope } from './plumbing.ts';
import { KEPT, type Pooled, type Silo } from './silo.ts';

interface Entry {
  /** When it was asked, by the monotonic clock in milliseconds. */
  readonly at: number;
  /** `undefined` for the pool. */
  readonly silo: Silo | undefined;
  /** The same place under the password of before. */
  readonly former: Silo | undefined;
}

/** What comes of an answer. */
interface Consequences {
  /** The silo of a placement, the same for the same one. */
  siloAt(placement: OwnPlacement, tenant: string): Silo;
  /** A tenant is in this silo from now on; `undefined` for the pool. */
  found(silo: Silo | undefined): void;
  /** A tenant is in another place than before. */
  moved(): void;
}

// Ids come from requests: a service with more tenants than this is asked more often.
const MAX_ENTRIES = 10_000;

const UNPLACED = refuse(
  'nobody knows where the data of the tenant is',
  "The function tenant.place has failed, or its answer is no placement; the client's event error, or the cause of that error, says why.",
);
const ASKING = refuse(
  'it was called while tenant.place decides where the tenant is',
  'Let place look into memory; what it needs from a store, read before and in the background.',
);
const UNFENCED = refuse(
  'tenant.place names another place than before, and without a fence others may still write to the old one',
  'Give the client tenant.fence, and move a tenant while it is frozen; or restart every process.',
);

/** In which place each tenant is: what the service's function has answered, kept for a while. */
export class Whereabouts {
  readonly #pool: Pooled;
  readonly #place: (tenant: string) => CachePlacement;
  readonly #complaints: Complaints;
  readonly #then: Consequences;
  readonly #entries = new Map<string, Entry>();
  readonly #asking = new Set<string>();

  constructor(
    pool: Pooled,
    place: (tenant: string) => CachePlacement,
    complaints: Complaints,
    then: Consequences,
  ) {
    this.#pool = pool;
    this.#place = place;
    this.#complaints = complaints;
    this.#then = then;
  }

  /** Where a tenant is. @returns `undefined` for the pool, the error when nobody knows. Never throws. */
  find(tenant: string, operation: string): Silo | Error | undefined {
    const entry = this.#entries.get(tenant);
    if (entry !== undefined && performance.now() - entry.at < KEPT) return entry.silo;
    return this.#ask(tenant, entry, operation);
  }

  /** Where a tenant was when it was last asked for. */
  known(tenant: string): Silo | undefined {
    return this.#entries.get(tenant)?.silo;
  }

  /** Whether a tenant was let in there, and has not left the place since. */
  wasIn(tenant: string, silo: Silo): boolean {
    return this.#entries.get(tenant)?.former === silo;
  }

  /** The tenants of a silo, as far as it is known. */
  tenantsIn(silo: Silo): string[] {
    return [...this.#entries].filter(([, entry]) => entry.silo === silo).map(([tenant]) => tenant);
  }

  /** Those that a tenant is in, as far as it is known. */
  silos(): ReadonlySet<Silo | undefined> {
    return new Set([...this.#entries.values()].map(({ silo }) => silo));
  }

  /** What `place` answers now, which is not kept. @returns as {@link Whereabouts.find} */
  answer(tenant: string, operation: string): Silo | OperationRefusedError | undefined {
    if (this.#asking.has(tenant)) return refusal('cache', operation, ASKING);
    this.#asking.add(tenant);
    try {
      // In its own scope: what `place` calls is neither the tenant's nor ioredis's work.
      const answer: unknown = inScope(undefined, () => this.#place(tenant));
      // It must not end the process when it rejects, later and with nobody listening.
      if (types.isPromise(answer)) answer.catch((cause: unknown) => this.#complaints.unplaced(cause));
      const placement = readPlacement(answer, this.#pool);
      return placement === undefined ? undefined : this.#then.siloAt(placement, tenant);
    } catch (cause) {
      return this.refusal(operation, cause);
    } finally {
      this.#asking.delete(tenant);
    }
  }

  /** @returns the error for whoever calls, when nobody knows the place for this reason */
  refusal(operation: string, cause: unknown): OperationRefusedError {
    this.#complaints.unplaced(cause);
    return refusal('cache', operation, UNPLACED);
  }

  #ask(tenant: string, entry: Entry | undefined, operation: string): Silo | Error | undefined {
    const { fence } = this.#pool;
    // Whoever moves it is at work: what is answered meanwhile may be too early, and the fence refuses every call.
    if (entry !== undefined && fence !== undefined && fence.state(tenant) !== 'active') return entry.silo;
    const at = performance.now();
    const silo = this.answer(tenant, operation);
    if (silo instanceof Error) return silo;
    const isOther = entry !== undefined && entry.silo !== silo;
    // Under another password it has not moved.
    const stays = entry?.silo !== undefined && entry.silo.place === silo?.place;
    if (isOther) {
      if (fence === undefined && !stays) return refusal('cache', operation, UNFENCED);
      this.#then.moved();
    }
    if (this.#entries.size >= MAX_ENTRIES && entry === undefined) this.#forgetOne();
    // An answer that was given while nobody may work must not outlast the freeze.
    this.#entries.set(tenant, {
      at: fence === undefined || fence.state(tenant) === 'active' ? at : -Infinity,
      silo,
      former: stays ? (isOther ? entry?.silo : entry?.former) : undefined,
    });
    this.#then.found(silo);
    return silo;
  }

  // Of the pool, so that no place of anybody is forgotten while it is in use.
  #forgetOne(): void {
    for (const [tenant, { silo }] of this.#entries) {
      if (silo !== undefined) continue;
      this.#entries.delete(tenant);
      return;
    }
  }
}
