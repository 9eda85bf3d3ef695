import { inspect } from 'node:util';
import {
  TenantSwitchError,
  assertId,
  currentTenant,
  publish,
  refusal,
  refuse,
  requireTenant,
  type TenantContext,
} from '@tenantkit/core';
import { admit, type Inside } from './inside.ts';
import { KeyLoader, newEpoch } from './loader.ts';
import { readMaster } from './master.ts';
import { assertMaster, keyringOptions, type KeyringOptions } from './keyring-options.ts';
import { parse } from './options.ts';
import { RECORD_FORMAT, newestOf, type LiveRecord, type Tombstone } from './record.ts';
import { notDecrypted, notEncrypted } from './refusals.ts';
import { describe, type TenantKeyStatus } from './status.ts';
import { localMasterKey } from './wrap.ts';

/** What {@link Keyring.shred} has done. */
export interface Shredded {
  /** How many secrets the tenant had. */
  readonly destroyed: number;
  /** RFC 3339: from then on no process holds a key of the tenant in memory. */
  readonly completeAt: string;
}

const LIST = refuse(
  'it names the tenants of everybody',
  'Use status(tenant), or list outside of any tenant, as an operator.',
);

/**
 * The tenants' keys. Each tenant has a random secret per epoch, stored wrapped under the master key; destroying
 * the secret makes everything that was encrypted under it unreadable, wherever copies of it lie.
 *
 * `load` and `withKeys` act for the tenant they are called in. `create`, `rotate`, `shred`, `status` and `list`
 * are an operator's: they name the tenant, and inside a tenant work for that one only.
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { FieldCipher, Keyring, fileKeyStore } from '@tenantkit/crypto';
 * const keyring = await Keyring.open({
 *   master: { env: 'TENANTKIT_MASTER_KEY' },
 *   store: fileKeyStore({ directory: './keys' }),
 * });
 * const cipher = new FieldCipher(keyring);
 * await withTenant('acme', () =>
 *   keyring.withKeys(() => cipher.encrypt('123-45-6789', { table: 'users', column: 'ssn', row: 7 })),
 * );
 * ```
 */
export class Keyring {
  readonly #inside: Inside;

  private constructor(inside: Inside) {
    this.#inside = inside;
    admit(this, inside);
  }

  /**
   * @throws {@link ConfigError} when an option is unknown or wrong, the store is unsafe, or the master key is
   * not the one that the store's secrets were wrapped with
   */
  static async open(options: KeyringOptions): Promise<Keyring> {
    const {
      master: source,
      store,
      firstUse,
      cache,
      fence,
      onRefreshError,
    } = parse('Keyring.open', keyringOptions, options);
    const master = localMasterKey(await readMaster(source));
    await store.prepare();
    await assertMaster(store, master);
    return new Keyring({
      loader: new KeyLoader({ store, master, ...cache, onRefreshError }),
      store,
      master,
      create: firstUse === 'create',
      enter(operation) {
        const context = requireTenant({ surface: 'crypto', operation });
        fence?.check(context.tenant, { surface: 'crypto', operation });
        return context;
      },
    });
  }

  /**
   * Loads the current tenant's keys, so that synchronous calls work. Costs nothing while they are fresh; await
   * it at the beginning of each request or job.
   *
   * @throws {@link MissingTenantError}, {@link TenantFencedError}
   * @throws {@link DecryptionError} `keyShredded` or `keyMissing`
   */
  async load(): Promise<void> {
    const { enter, loader, create } = this.#inside;
    const context = enter('load');
    const found = await loader.load(context.tenant, { create });
    if (typeof found === 'string') throw notDecrypted('load', found, context);
  }

  /** Runs `fn` once the current tenant's keys are loaded. @throws what {@link Keyring.load} throws */
  async withKeys<T>(fn: () => T | Promise<T>): Promise<T> {
    await this.load();
    return fn();
  }

  /**
   * Makes a tenant's first key, if it has none: for onboarding, with `firstUse: 'refuse'`.
   *
   * @throws {@link EncryptionError} `keyShredded` when the tenant was erased
   */
  async create(tenant: string): Promise<void> {
    const context = this.#operator('create', tenant);
    const found = await this.#inside.loader.load(tenant, { create: true });
    if (typeof found === 'string') throw notEncrypted('create', found, context);
  }

  /**
   * Gives a tenant a new secret, which encrypts from now on; earlier ones only decrypt. Other processes take it
   * up at the latest at `completeAt`.
   *
   * @throws {@link EncryptionError} `keyMissing` or `keyShredded`
   */
  async rotate(tenant: string): Promise<{ readonly epoch: number; readonly completeAt: string }> {
    const context = this.#operator('rotate', tenant);
    const { store, master, loader } = this.#inside;
    for (let before: number | undefined; ;) {
      const held = await store.read(tenant);
      if (held === undefined) throw notEncrypted('rotate', 'keyMissing', context);
      if (held.state === 'shredded') throw notEncrypted('rotate', 'keyShredded', context);
      const newest = newestOf(held);
      before ??= newest;
      // Somebody else has rotated in the meantime: one new secret is what both wanted.
      if (newest === before) {
        const added = await newEpoch(master, tenant, newest + 1);
        const next = { ...held, revision: held.revision + 1, epochs: [...held.epochs, added] };
        if (!(await store.write(next))) continue;
      }
      await store.sweep(tenant);
      await loader.reload(tenant);
      return { epoch: before + 1, completeAt: after(held.heldFor) };
    }
  }

  /**
   * Destroys every secret of a tenant and leaves a tombstone: what was encrypted stays unreadable, and the
   * tenant never gets another key. Idempotent. In this process at once; other processes hold keys in memory
   * until `completeAt`. Copies of the key store, such as backups, are out of reach.
   */
  async shred(tenant: string): Promise<Shredded> {
    const context = this.#operator('shred', tenant);
    const { store, loader } = this.#inside;
    for (;;) {
      const held = await store.read(tenant);
      const buried = held?.state === 'shredded' ? held : tombstone(tenant, held, loader.heldFor);
      if (buried !== held && !(await store.write(buried))) continue;
      await store.sweep(tenant);
      loader.bury(tenant);
      publish('erasure', {
        surface: 'crypto',
        operation: 'shred',
        message: 'The keys of the tenant were destroyed.',
        tenant,
        actor: context.actor,
        extra: { destroyed: buried.destroyed.length },
      });
      return { destroyed: buried.destroyed.length, completeAt: after(buried.heldFor) };
    }
  }

  /** Which epochs a tenant has, and in what state. */
  async status(tenant: string): Promise<TenantKeyStatus> {
    this.#operator('status', tenant);
    return describe(tenant, await this.#inside.store.read(tenant));
  }

  /** Every tenant's {@link TenantKeyStatus}. @throws {@link OperationRefusedError} inside a tenant */
  async *list(): AsyncGenerator<TenantKeyStatus, void, undefined> {
    if (currentTenant() !== undefined) throw refusal('crypto', 'list', LIST);
    const { store } = this.#inside;
    for await (const tenant of store.tenants()) yield describe(tenant, await store.read(tenant));
  }

  /** Drops every key from memory; the keyring cannot be used afterwards. */
  close(): void {
    this.#inside.loader.close();
  }

  toJSON(): { readonly name: 'Keyring'; readonly store: string } {
    return { name: 'Keyring', store: this.#inside.store.kind };
  }

  [inspect.custom](): string {
    return `Keyring { store: '${this.#inside.store.kind}' }`;
  }

  #operator(operation: string, tenant: string): TenantContext {
    assertId(tenant);
    const context = currentTenant();
    if (context !== undefined && context.tenant !== tenant) {
      const error = new TenantSwitchError({ surface: 'crypto', operation });
      publish('refused', { surface: 'crypto', operation, message: error.message, tenant: context.tenant });
      throw error;
    }
    return context ?? { tenant };
  }
}

function tombstone(tenant: string, held: LiveRecord | undefined, heldFor: number): Tombstone {
  return {
    format: RECORD_FORMAT,
    tenant,
    revision: (held?.revision ?? 0) + 1,
    state: 'shredded',
    heldFor: Math.max(heldFor, held?.heldFor ?? 0),
    shreddedAt: new Date().toISOString(),
    destroyed: held?.epochs.map(({ epoch }) => epoch) ?? [],
  };
}

function after(milliseconds: number): string {
  return new Date(Date.now() + milliseconds).toISOString();
}
