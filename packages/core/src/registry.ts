import { ConfigError, TenantFencedError } from './errors.ts';
import { publish } from './events.ts';
import { assertId } from './ids.ts';
import { runInScope, type Where } from './context.ts';

/** Whether a tenant may be worked for. `erased` is final. */
export type TenantState = 'active' | 'frozen' | 'erased';

/**
 * Where the states are kept. An implementation shared by several processes must make {@link TenantStore.set}
 * durable before it resolves, and must never let a state replace `erased`.
 */
export interface TenantStore {
  /** Every tenant that is not active. */
  load(): Promise<ReadonlyMap<string, Exclude<TenantState, 'active'>>>;
  /** Sets a state; keeps `erased` whatever is asked for, and answers the state that holds afterwards. */
  set(tenant: string, state: TenantState): Promise<TenantState>;
}

/**
 * The fence: knows which tenants are frozen or erased. A check is a look into memory; the memory is refreshed
 * in the background, and a process that could not refresh for longer than `maxStaleness` refuses all work. An
 * erasure waits that long between freezing and purging: after it, no process can still write for the tenant.
 */
export interface TenantRegistry {
  /** How old the knowledge of any process may be, in milliseconds. */
  readonly maxStaleness: number;
  /** The tenant's state; `unknown` when the last refresh is older than `maxStaleness`. */
  state(tenant: string): TenantState | 'unknown';
  /** @throws {@link TenantFencedError} unless the tenant is active */
  check(tenant: string, where: Where): void;
  /** Refuses the tenant's work in every process, at the latest after `maxStaleness`. */
  freeze(tenant: string): Promise<void>;
  /** Lifts a freeze. @throws {@link TenantFencedError} when the tenant was erased */
  unfreeze(tenant: string): Promise<void>;
  /** Writes the tombstone. Permanent. */
  markErased(tenant: string): Promise<void>;
  /** Reads the store now. */
  refresh(): Promise<void>;
  /** Stops the background refresh. */
  close(): void;
}

/** How {@link createTenantRegistry} keeps its knowledge. */
export interface TenantRegistryOptions {
  readonly store: TenantStore;
  /** Time between two background refreshes in milliseconds, default 5 000. */
  readonly refreshEvery?: number;
  /** Oldest knowledge that is acted on, in milliseconds, default 30 000; at least twice `refreshEvery`. */
  readonly maxStaleness?: number;
  /** Told about a refresh that failed; work goes on until `maxStaleness` has passed. */
  readonly onRefreshError?: (error: unknown) => void;
}

/**
 * Makes a registry over a store and reads it once.
 *
 * @throws {@link ConfigError} when there is no store, or the two times do not fit together
 *
 * @example
 * ```ts
 * import { Redis } from '@tenantkit/cache';
 * import { createTenantRegistry, memoryTenantStore } from '@tenantkit/core';
 * const fence = await createTenantRegistry({ store: memoryTenantStore() });
 * const redis = new Redis({ tenant: { fence } });
 * await fence.freeze('acme'); // from now on redis refuses acme
 * ```
 */
export async function createTenantRegistry({
  store,
  refreshEvery = 5_000,
  maxStaleness = 30_000,
  onRefreshError = ignore,
}: TenantRegistryOptions): Promise<TenantRegistry> {
  if (typeof store?.load !== 'function' || typeof store.set !== 'function') {
    throw new ConfigError({
      surface: 'core',
      operation: 'createTenantRegistry',
      problem: 'store is no TenantStore',
      hint: 'Give it { load, set }, such as memoryTenantStore() in tests; the README of @tenantkit/core has one that processes share.',
    });
  }
  if (!(refreshEvery > 0) || !(maxStaleness >= 2 * refreshEvery)) {
    throw new ConfigError({
      surface: 'core',
      operation: 'createTenantRegistry',
      problem: 'maxStaleness is less than twice refreshEvery',
      hint: 'With one missed refresh a process would refuse all work: raise maxStaleness or lower refreshEvery.',
    });
  }
  let known: Map<string, Exclude<TenantState, 'active'>> = new Map();
  let readAt = -Infinity;
  let writes = 0;

  const refresh = async (): Promise<void> => {
    // Taken before the read: what is read is at least as new as this moment.
    const startedAt = performance.now();
    const writesBefore = writes;
    const loaded = await store.load();
    // A freeze that was set while the read was under way may be missing from it: read again.
    if (writes !== writesBefore) return refresh();
    // Two refreshes may overtake each other: the older answer must not replace the newer.
    if (startedAt < readAt) return;
    // A tombstone that was seen once holds, whatever a restored backup of the store says.
    const erased = [...known].filter(([, held]) => held === 'erased');
    known = new Map([...loaded, ...erased]);
    readAt = startedAt;
  };
  const write = async (tenant: string, state: TenantState): Promise<TenantState> => {
    assertId(tenant);
    const held = await store.set(tenant, state);
    writes += 1;
    if (held !== 'active') known.set(tenant, held);
    else if (known.get(tenant) !== 'erased') known.delete(tenant);
    return held;
  };
  const state = (tenant: string): TenantState | 'unknown' => {
    const held = known.get(tenant);
    // A tombstone is permanent, however old the knowledge of it is.
    if (held === 'erased') return held;
    return performance.now() - readAt > maxStaleness ? 'unknown' : (held ?? 'active');
  };

  await refresh();
  // Outside of any tenant: the refresh serves all of them, whoever happened to make the registry.
  const timer = runInScope(undefined, () =>
    setInterval(() => void refresh().catch(onRefreshError), refreshEvery).unref(),
  );

  return {
    maxStaleness,
    state,
    check(tenant, where) {
      const held = state(tenant);
      if (held !== 'active') throw fenced(held, tenant, where);
    },
    async freeze(tenant) {
      await write(tenant, 'frozen');
    },
    async unfreeze(tenant) {
      const held = await write(tenant, 'active');
      if (held !== 'active') throw fenced(held, tenant, { surface: 'core', operation: 'unfreeze' });
    },
    async markErased(tenant) {
      await write(tenant, 'erased');
    },
    refresh,
    close: () => clearInterval(timer),
  };
}

/** A store in this process's memory: for one process, for tests, and for trying things out. */
export function memoryTenantStore(): TenantStore {
  const states = new Map<string, Exclude<TenantState, 'active'>>();
  return {
    load: () => Promise.resolve(new Map(states)),
    set(tenant, state) {
      if (states.get(tenant) !== 'erased') {
        if (state === 'active') states.delete(tenant);
        else states.set(tenant, state);
      }
      return Promise.resolve(states.get(tenant) ?? 'active');
    },
  };
}

function fenced(
  state: Exclude<TenantState | 'unknown', 'active'>,
  tenant: string,
  where: Where,
): TenantFencedError {
  const error = new TenantFencedError({ ...where, state });
  publish('refused', { ...where, message: error.message, tenant });
  return error;
}

function ignore(): void {
  // A missed refresh needs no report of its own: staleness turns it into refusals, which are audited.
}
