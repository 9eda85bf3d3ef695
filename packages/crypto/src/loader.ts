import type { KeyObject } from 'node:crypto';
import { ConfigError, runInScope } from '@tenantkit/core';
import { assertMaster } from './keyring-options.ts';
import { TenantKeys, now, type Moment } from './keys.ts';
import { Lru } from './lru.ts';
import { RECORD_FORMAT, type EpochRecord, type LiveRecord } from './record.ts';
import type { Unavailable } from './refusals.ts';
import type { KeyStore } from './store.ts';
import type { MasterKey } from './wrap.ts';

/** How {@link KeyLoader} keeps keys. */
export interface LoaderOptions {
  readonly store: KeyStore;
  readonly master: MasterKey;
  /** Milliseconds after which the store must have been asked again. */
  readonly maxAge: number;
  readonly maxTenants: number;
  readonly maxColumns: number;
  /** Whether the store is known to hold secrets of this master. */
  readonly confirmed: boolean;
  readonly onRefreshError: (error: unknown) => void;
}

/** What a caller of {@link KeyLoader.load} needs. */
export interface LoadOptions {
  /** Make the tenant's first key when there is none. */
  readonly create: boolean;
  /** An epoch that must have been looked for. */
  readonly epoch?: number | undefined;
}

/** A read of the store that is under way. */
interface Read {
  readonly result: Promise<TenantKeys | Unavailable>;
  /** The record was changed by this process since: what is being read must not be kept. */
  tooOld: boolean;
}

/** How many tenants are remembered as shredded or as having had a key: more than any cache of keys holds. */
const MAX_REMEMBERED = 100_000;

/** How often a read that took longer than the keys may live is made again. */
const SLOW_READS = 3;

/**
 * Tenants' keys in this process's memory: bounded in number, bounded in time, read from the store once however
 * many callers wait, refreshed in the background while in use.
 */
export class KeyLoader {
  /** The longest that this process holds a key after the store was asked, in milliseconds. */
  readonly heldFor: number;
  readonly #options: LoaderOptions;
  readonly #keys: Lru<string, TenantKeys>;
  /** At most one read per tenant is under way. */
  readonly #reads = new Map<string, Read>();
  // What was true once: a tombstone holds whatever a restored backup says, and a tenant that had a key does not
  // get another one because its record has vanished.
  readonly #remembered = new Lru<string, 'had' | 'shredded'>(MAX_REMEMBERED);
  readonly #sweeper: NodeJS.Timeout;
  readonly #pinned = new Map<string, number>();
  #confirmed: boolean;
  #closed = false;

  constructor(options: LoaderOptions) {
    const sweepEvery = Math.ceil(options.maxAge / 4);
    this.heldFor = options.maxAge + sweepEvery;
    this.#options = options;
    this.#confirmed = options.confirmed;
    this.#keys = new Lru(options.maxTenants, (tenant) => this.#pinned.has(tenant));
    // Outside of any tenant: it serves all of them, whoever happened to open the keyring.
    this.#sweeper = runInScope(undefined, () => setInterval(() => this.#sweep(), sweepEvery).unref());
  }

  /** The keys as they are in memory; asks for a refresh in the background when they are half-way to too old. */
  peek(tenant: string): TenantKeys | Unavailable {
    if (this.#remembered.get(tenant) === 'shredded') return 'keyShredded';
    const keys = this.#keys.get(tenant);
    if (keys === undefined) return 'keyNotLoaded';
    const { age } = keys;
    const { maxAge, onRefreshError } = this.#options;
    if (age > maxAge) return 'keyNotLoaded';
    if (age > maxAge / 2 && !this.#reads.has(tenant)) {
      this.#start(tenant, { create: false }).catch(onRefreshError);
    }
    return keys;
  }

  /** The keys, from the store when memory does not have them. */
  async load(tenant: string, { create, epoch }: LoadOptions): Promise<TenantKeys | Unavailable> {
    for (;;) {
      const held = this.peek(tenant);
      if (held === 'keyShredded') return held;
      const wanted = typeof held === 'string' ? epoch : (epoch ?? held.wanted);
      if (typeof held !== 'string' && !held.mustSearch(wanted)) return held;
      const read = this.#reads.get(tenant);
      if (read === undefined) return this.#start(tenant, { create, epoch: wanted });
      const found = await read.result;
      // Whoever started it may not have been allowed to make a key, or not have looked for this epoch.
      if (typeof found === 'string' ? found !== 'keyMissing' || !create : !found.mustSearch(wanted))
        return found;
    }
  }

  /**
   * Reads a tenant's keys again, if this process holds them; until then the old ones serve, so that a rotation
   * fails nobody's synchronous call.
   */
  async reload(tenant: string): Promise<void> {
    try {
      for (let read = this.#reads.get(tenant); read !== undefined; read = this.#reads.get(tenant)) {
        read.tooOld = true;
        await read.result;
        if (!read.tooOld) return;
      }
      if (this.#keys.get(tenant) !== undefined) await this.#start(tenant, { create: false });
    } catch (error) {
      this.#options.onRefreshError(error);
    }
  }

  /** Keeps a tenant's keys from being evicted by another's, until the function that it gives is called. */
  pin(tenant: string): () => void {
    this.#pinned.set(tenant, (this.#pinned.get(tenant) ?? 0) + 1);
    return () => {
      const users = (this.#pinned.get(tenant) ?? 0) - 1;
      if (users > 0) this.#pinned.set(tenant, users);
      else this.#pinned.delete(tenant);
      this.#keys.trim();
    };
  }

  /** Drops a tenant's keys; a read that is under way does not bring them back. */
  forget(tenant: string): void {
    const read = this.#reads.get(tenant);
    if (read !== undefined) read.tooOld = true;
    this.#keys.get(tenant)?.drop();
    this.#keys.delete(tenant);
  }

  /** Drops a tenant's keys for good: the store has its tombstone. */
  bury(tenant: string): void {
    this.forget(tenant);
    this.#remembered.set(tenant, 'shredded');
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#sweeper);
    for (const [, keys] of this.#keys) keys.drop();
    this.#keys.clear();
  }

  #start(tenant: string, options: LoadOptions): Promise<TenantKeys | Unavailable> {
    // Outside of the tenant: the answer is for every caller that waits for it.
    const progress = { tooOld: false };
    const result = runInScope(undefined, () => this.#fetch(tenant, options, progress)).finally(() =>
      this.#reads.delete(tenant),
    );
    this.#reads.set(tenant, Object.assign(progress, { result }));
    return result;
  }

  async #fetch(
    tenant: string,
    { create, epoch }: LoadOptions,
    progress: Pick<Read, 'tooOld'>,
  ): Promise<TenantKeys | Unavailable> {
    const { store, maxAge } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      if (this.#closed) throw closed();
      progress.tooOld = false;
      // Taken before the read: what is read is at least as new as this moment.
      const readAt = now();
      const held = await store.read(tenant);
      if (held === undefined && (!create || this.#remembered.get(tenant) !== undefined)) {
        this.forget(tenant);
        return 'keyMissing';
      }
      if (held?.state === 'shredded') {
        this.bury(tenant);
        return 'keyShredded';
      }
      const record = await this.#claim(tenant, held);
      if (record === undefined) continue;
      const keys = await this.#unlock(record, readAt);
      // Shredded, rotated or closed while the store was asked.
      if (progress.tooOld || this.#closed) continue;
      if (keys === undefined) {
        this.forget(tenant);
        return 'keyLocked';
      }
      if (keys.age > maxAge) {
        // Whoever shredded meanwhile has promised that by now nobody holds them.
        keys.drop();
        this.forget(tenant);
        if (attempt >= SLOW_READS) throw slow();
        continue;
      }
      // Of this moment, not of readAt: a slow store must not be asked the more often.
      if (epoch !== undefined && epoch > keys.newest) keys.searched(now());
      keys.wanted = undefined;
      this.#keys.set(tenant, keys);
      this.#remembered.set(tenant, 'had');
      return keys;
    }
  }

  /** The record once the store knows how long this process holds it; `undefined` when somebody was faster. */
  async #claim(tenant: string, held: LiveRecord | undefined): Promise<LiveRecord | undefined> {
    if (held !== undefined && held.heldFor >= this.heldFor) return held;
    // Two processes with two master keys may have found the store empty: the first key decides which is right.
    if (held === undefined && !this.#confirmed) {
      this.#confirmed = await assertMaster(this.#options.store, this.#options.master);
    }
    const claimed: LiveRecord =
      held === undefined
        ? {
            format: RECORD_FORMAT,
            tenant,
            revision: 1,
            state: 'live',
            heldFor: this.heldFor,
            epochs: [await newEpoch(this.#options.master, tenant, 1)],
          }
        : { ...held, revision: held.revision + 1, heldFor: this.heldFor };
    return (await this.#options.store.write(claimed)) ? claimed : undefined;
  }

  async #unlock(record: LiveRecord, readAt: Moment): Promise<TenantKeys | undefined> {
    const { master, maxColumns } = this.#options;
    const held = this.#keys.get(record.tenant);
    if (held?.revision === record.revision) {
      held.renew(readAt);
      return held;
    }
    const secrets = new Map<number, KeyObject>();
    for (const { epoch, wrapped, master: id } of record.epochs) {
      if (id !== master.id) return undefined;
      const secret = await master.unwrap(Buffer.from(wrapped, 'base64url'), {
        tenant: record.tenant,
        epoch,
        purpose: 'tenant',
      });
      if (secret === undefined) return undefined;
      secrets.set(epoch, secret);
    }
    return new TenantKeys(record, secrets, readAt, maxColumns);
  }

  #sweep(): void {
    for (const [tenant, keys] of this.#keys) {
      if (keys.age <= this.#options.maxAge) continue;
      keys.drop();
      this.#keys.delete(tenant);
    }
  }
}

/** A new secret for a tenant, wrapped. */
export async function newEpoch(master: MasterKey, tenant: string, epoch: number): Promise<EpochRecord> {
  const wrapped = await master.generate({ tenant, epoch, purpose: 'tenant' });
  return {
    epoch,
    createdAt: new Date().toISOString(),
    master: master.id,
    wrapped: wrapped.toString('base64url'),
  };
}

function slow(): ConfigError {
  return new ConfigError({
    surface: 'crypto',
    operation: 'load',
    problem: 'the key store answers later than cache.maxAge allows',
    hint: 'Raise cache.maxAge, or make the key store faster.',
  });
}

function closed(): ConfigError {
  return new ConfigError({
    surface: 'crypto',
    operation: 'load',
    problem: 'the keyring was closed',
    hint: 'Open another one with Keyring.open.',
  });
}
