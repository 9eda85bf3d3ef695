import { ConfigError, optionSchemas, type TenantRegistry } from '@tenantkit/core';
import { z } from 'zod';
import { masterKeySource, type MasterKeySource } from './master.ts';
import { KEY_STORE_METHODS, type KeyStore } from './store.ts';
import type { MasterKey } from './wrap.ts';

/** Options of {@link Keyring.open}. */
export interface KeyringOptions {
  /** The key that wraps every tenant's secret. Never kept as bytes. */
  readonly master: MasterKeySource;
  /** Where wrapped secrets are kept. */
  readonly store: KeyStore;
  /**
   * Whether a tenant's first encryption makes its first key (`create`, the default), or only
   * {@link Keyring.create} does (`refuse`): then a key store that was not mounted is an error, and not the
   * beginning of a second, empty one.
   */
  readonly firstUse?: 'create' | 'refuse' | undefined;
  /** How keys are held in this process's memory. */
  readonly cache?: KeyringCache | undefined;
  /** Refuses work for frozen and erased tenants. */
  readonly fence?: TenantRegistry | undefined;
  /** Told about a refresh in the background that failed; work goes on until `cache.maxAge` has passed. */
  readonly onRefreshError?: ((error: unknown) => void) | undefined;
}

/** Bounds of the keys in memory. */
export interface KeyringCache {
  /** Milliseconds after which the store must have been asked again, 100 to 3 600 000, default 60 000. */
  readonly maxAge?: number | undefined;
  /** Tenants whose keys are held at once, default 10 000; more than are at work at the same time. */
  readonly maxTenants?: number | undefined;
  /** Column keys held per tenant, default 256. */
  readonly maxColumns?: number | undefined;
}

/** How many unreadable records are passed over in search of one that tells the master key. */
const UNREADABLE = 32;

const positive = (max: number): z.ZodInt => z.int().min(1).max(max);

/** Schema of {@link KeyringOptions}. */
export const keyringOptions = z.strictObject({
  master: masterKeySource,
  store: z.custom<KeyStore>(
    (value) =>
      typeof value === 'object' &&
      value !== null &&
      KEY_STORE_METHODS.every((name) => typeof Reflect.get(value, name) === 'function'),
    'must be a KeyStore, such as fileKeyStore({ directory })',
  ),
  firstUse: z.enum(['create', 'refuse']).default('create'),
  cache: z
    .strictObject({
      maxAge: z.int().min(100).max(3_600_000).default(60_000),
      maxTenants: positive(1_000_000).default(10_000),
      maxColumns: positive(100_000).default(256),
    })
    .prefault({}),
  fence: optionSchemas.fence,
  onRefreshError: z
    .custom<(error: unknown) => void>((value) => typeof value === 'function', 'must be a function')
    .default(() => ignore),
});

/**
 * Compares the master key with what the store was made with: a wrong one that is noticed only when a value is
 * read has by then wrapped new tenants' secrets. Reads on past tombstones, which tell nothing of it, until the
 * first record that has secrets.
 *
 * @returns whether a secret of this master was found; `false` when nobody has any yet
 * @throws {@link ConfigError}
 */
export async function assertMaster(store: KeyStore, master: MasterKey): Promise<boolean> {
  let readable = 0;
  const unreadable: unknown[] = [];
  for await (const tenant of store.tenants()) {
    const held = await store.read(tenant).catch((error: unknown) => {
      unreadable.push(error);
    });
    if (held?.state === 'live') {
      if (held.epochs.some((epoch) => epoch.master === master.id)) return true;
      throw new ConfigError({
        surface: 'crypto',
        operation: 'Keyring.open',
        problem: 'the secrets in this key store were wrapped by another master key',
        hint: 'Give the master key that the store was made with; rotating it is refused today.',
      });
    }
    if (held !== undefined) readable += 1;
    if (unreadable.length === UNREADABLE) break;
  }
  // One damaged record must not keep every tenant out, but a store in which nothing can be read must.
  if (unreadable.length > 0 && (readable === 0 || unreadable.length === UNREADABLE)) throw unreadable[0];
  return false;
}

function ignore(): void {
  // A missed refresh needs no report of its own: past maxAge it turns into a load, which fails loudly.
}
