import type { ConnectionOptions } from 'bullmq';
import { ConfigError, refusal, refuse, runInScope, type TenantRegistry } from '@tenantkit/core';
import { InvalidPlacement, isSamePlace, readPlacement, type QueuePlacement } from './placement.ts';

/** For how long an answer of `place` is believed, in milliseconds. */
const KEPT = 1_000;
/** Ids come from requests: of a service with more tenants than this, some are asked for more often. */
const MOST = 10_000;

const UNPLACED = refuse(
  'nobody knows where the jobs of the tenant are',
  'The function tenant.place has failed, or its answer is no placement; the event error says why.',
);
const UNFENCED = refuse(
  'tenant.place names another place than before, and without a fence others may still write to the old one',
  'Give the option tenant.fence, and move a tenant while it is frozen; or restart every process.',
);

/** What stands in one silo. */
interface Silo<Store> {
  readonly connection: ConnectionOptions;
  readonly store: Store;
}

interface Entry<Store> {
  /** When it was asked, by the clock that never goes back. */
  readonly at: number;
  /** `undefined` for the pool. */
  readonly silo: Silo<Store> | undefined;
}

/** What {@link Silos} need. */
export interface SilosParts<Store> {
  readonly place: (tenant: string) => QueuePlacement;
  readonly fence: TenantRegistry | undefined;
  /** Opens a silo, outside of any tenant. */
  open(connection: ConnectionOptions): Store;
  /** Hears why nobody knows where a tenant is; not for tenants. */
  failed(error: Error): void;
}

/**
 * The silos of a queue: in which one each tenant is, as `place` has answered. One is opened when the first tenant is
 * found there, and stays open.
 */
export class Silos<Store> {
  readonly #parts: SilosParts<Store>;
  readonly #silos: Silo<Store>[] = [];
  readonly #entries = new Map<string, Entry<Store>>();

  constructor(parts: SilosParts<Store>) {
    this.#parts = parts;
  }

  /** All that are open. */
  get stores(): readonly Store[] {
    return this.#silos.map(({ store }) => store);
  }

  /**
   * Where a tenant is.
   *
   * @returns `undefined` for the pool
   * @throws {@link OperationRefusedError} when nobody knows: the pool is no place for the jobs of such a tenant
   */
  at(tenant: string, operation: string): Store | undefined {
    const known = this.#entries.get(tenant);
    if (known !== undefined && performance.now() - known.at < KEPT) return known.silo?.store;
    const { fence } = this.#parts;
    const isActive = fence === undefined || fence.state(tenant) === 'active';
    const at = performance.now();
    const silo = this.#ask(tenant, operation);
    if (known !== undefined && known.silo !== silo && fence === undefined)
      throw refusal('queue', operation, UNFENCED);
    if (known === undefined && this.#entries.size >= MOST) this.#forgetOne();
    // An answer that was given while nobody may work must not outlast the freeze.
    this.#entries.set(tenant, { at: isActive ? at : -Infinity, silo });
    return silo?.store;
  }

  #ask(tenant: string, operation: string): Silo<Store> | undefined {
    try {
      const connection = runInScope(undefined, () => readPlacement(this.#parts.place(tenant)));
      return connection === undefined ? undefined : this.#open(connection);
    } catch (cause) {
      this.#parts.failed(unplaced(cause));
      throw refusal('queue', operation, UNPLACED);
    }
  }

  #open(connection: ConnectionOptions): Silo<Store> {
    const known = this.#silos.find((silo) => isSamePlace(silo.connection, connection));
    if (known !== undefined) return known;
    const opened = { connection, store: runInScope(undefined, () => this.#parts.open(connection)) };
    this.#silos.push(opened);
    return opened;
  }

  // One of the pool, so that no place of anybody is forgotten while it is in use.
  #forgetOne(): void {
    for (const [tenant, { silo }] of this.#entries) {
      if (silo !== undefined) continue;
      this.#entries.delete(tenant);
      return;
    }
  }
}

function unplaced(cause: unknown): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'place',
    problem: cause instanceof InvalidPlacement ? cause.message : 'tenant.place has failed, as the cause says',
    hint: "Answer { level: 'pool' } or { level: 'silo', connection }, at once and from memory.",
    cause,
  });
}
