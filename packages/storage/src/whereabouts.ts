import { types } from 'node:util';
import { refusal, refuse, runInScope, type TenantRegistry } from '@tenantkit/core';
import { readPlacement, type Home, type StoragePlacement } from './place.ts';
import { refusedBecause } from './refused.ts';
import { outside } from './running.ts';

/** For how long an answer of `place` is kept, in milliseconds. */
export const KEPT = 1_000;

// Ids come from requests: a service with more tenants than this is asked more often.
const MAX_ENTRIES = 10_000;

const UNPLACED = refuse(
  'nobody knows where the data of the tenant is',
  'The function tenant.place has failed, or its answer is no placement; the cause of this error says why.',
  'place',
);
const ASKING = refuse(
  'it was called while tenant.place decides where the tenant is',
  'Let place look into memory; what it needs from a store, read before and in the background.',
  'place',
);
const UNFENCED = refuse(
  'tenant.place names another place than before, and without a fence others may still write to the old one',
  'Give the client tenant.fence, and move a tenant while it is frozen; or restart every process.',
  'place',
);
const MOVED = refuse(
  'the tenant has moved to another place since it was called',
  'Call it again: it goes to where the tenant is now.',
  'place',
);

interface Entry {
  /** When it was asked, by the monotonic clock in milliseconds. */
  readonly at: number;
  readonly home: Home;
}

/**
 * Where each tenant is: what the service's function has answered, kept for a while. It is asked for tenants that may
 * work alone: while one is moved, an answer may be too early.
 */
export class Whereabouts {
  readonly #place: (tenant: string) => StoragePlacement;
  readonly #pool: Home;
  readonly #fence: TenantRegistry | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #asking = new Set<string>();

  constructor(
    place: (tenant: string) => StoragePlacement,
    { pool, fence }: { readonly pool: Home; readonly fence: TenantRegistry | undefined },
  ) {
    this.#place = place;
    this.#pool = pool;
    this.#fence = fence;
  }

  /**
   * Asked after the fence.
   *
   * @throws OperationRefusedError when nobody knows; nothing ever falls back to the pool
   */
  find(tenant: string, operation: string): Home {
    const known = this.#entries.get(tenant);
    if (known !== undefined && performance.now() - known.at < KEPT) return known.home;
    return this.#ask(tenant, known, operation);
  }

  /** @throws OperationRefusedError when the tenant is in another place than where a call of it goes */
  assertStill(home: Home, tenant: string, operation: string): void {
    if (this.find(tenant, operation).id !== home.id) throw refusal('storage', operation, MOVED);
  }

  /** What `place` answers now, which is not kept. @throws OperationRefusedError */
  answer(tenant: string, operation: string): Home {
    if (this.#asking.has(tenant)) throw refusal('storage', operation, ASKING);
    this.#asking.add(tenant);
    try {
      // What it calls is neither the tenant's nor the SDK's work, and is given nobody's credentials.
      const answer: unknown = runInScope(undefined, () => outside(() => this.#place(tenant)));
      // It must not end the process when it rejects, later and with nobody listening.
      if (types.isPromise(answer)) answer.catch(() => undefined);
      return readPlacement(answer, this.#pool);
    } catch (cause) {
      throw refusedBecause(operation, UNPLACED, cause);
    } finally {
      this.#asking.delete(tenant);
    }
  }

  /** The places of all tenants that were asked for. */
  known(): Home[] {
    const homes = new Map([...this.#entries.values()].map(({ home }) => [home.id, home]));
    return [...homes.values()];
  }

  #ask(tenant: string, known: Entry | undefined, operation: string): Home {
    const at = performance.now();
    const home = this.answer(tenant, operation);
    if (known !== undefined && known.home.id !== home.id && this.#fence === undefined)
      throw refusal('storage', operation, UNFENCED);
    if (this.#entries.size >= MAX_ENTRIES && known === undefined) this.#forgetOne();
    this.#entries.set(tenant, { at, home });
    return home;
  }

  // Of the pool, so that without a fence no place of a tenant's own is forgotten and another one believed.
  #forgetOne(): void {
    for (const [tenant, { home }] of this.#entries) {
      if (home.id !== this.#pool.id) continue;
      this.#entries.delete(tenant);
      return;
    }
  }
}
