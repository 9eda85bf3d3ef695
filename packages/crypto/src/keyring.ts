import { inspect } from 'node:util';
import { publish, refuse, requireTenant } from '@tenantkit/core';
import { z } from 'zod';
import { admit, type Inside } from './inside.ts';
import { KeyLoader, newEpoch } from './loader.ts';
import { readMaster } from './master.ts';
import { assertMaster, keyringOptions, type KeyringOptions } from './keyring-options.ts';
import { operatorOf, outsideOnly } from './operator.ts';
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

const CLOSE = refuse(
  'it ends the work of every tenant',
  'Close it outside of any tenant, when the process ends.',
);

const shredOptions = z.strictObject({ evenIfMissing: z.boolean().default(false) });

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
    const confirmed = await assertMaster(store, master);
    const check = (operation: string, tenant: string): void =>
      fence?.check(tenant, { surface: 'crypto', operation });
    return new Keyring({
      loader: new KeyLoader({ store, master, ...cache, confirmed, onRefreshError }),
      store,
      master,
      create: firstUse === 'create',
      enter(operation) {
        const context = requireTenant({ surface: 'crypto', operation });
        check(operation, context.tenant);
        return context;
      },
      check,
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
    const { enter, check, loader, create } = this.#inside;
    const context = enter('load');
    const found = await loader.load(context.tenant, { create });
    check('load', context.tenant);
    if (typeof found === 'string') throw notDecrypted('load', found, context);
  }

  /**
   * Runs `fn` once the current tenant's keys are loaded. Until it has ended, no other tenant's keys take the
   * place of these, whatever `cache.maxTenants` is; `cache.maxAge` and a shred hold as ever.
   *
   * @throws what {@link Keyring.load} throws
   */
  async withKeys<T>(fn: () => T | Promise<T>): Promise<T> {
    const { enter, loader } = this.#inside;
    const { tenant } = enter('load');
    const unpin = loader.pin(tenant);
    try {
      await this.load();
      return await fn();
    } finally {
      unpin();
    }
  }

  /**
   * Makes a tenant's first key, if it has none: for onboarding, with `firstUse: 'refuse'`.
   *
   * @throws {@link EncryptionError} `keyShredded` when the tenant was erased
   */
  async create(tenant: string): Promise<void> {
    const context = operatorOf('create', tenant);
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
    const context = operatorOf('rotate', tenant);
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
      return { epoch: before + 1, completeAt: after(Math.max(held.heldFor, loader.heldFor)) };
    }
  }

  /**
   * Destroys every secret of a tenant and leaves a tombstone: what was encrypted stays unreadable, and the
   * tenant never gets another key. Idempotent. In this process at once; other processes hold keys in memory
   * until `completeAt`. Copies of the key store, such as backups, are out of reach.
   *
   * @param options.evenIfMissing - leave a tombstone also where there is no key: the id is then never given one
   * @throws {@link EncryptionError} `keyMissing` when there is nothing to destroy: a mistyped id would otherwise
   * be lost to whoever comes by that name
   */
  async shred(tenant: string, options: { readonly evenIfMissing?: boolean } = {}): Promise<Shredded> {
    const context = operatorOf('shred', tenant);
    const { evenIfMissing } = parse('Keyring.shred', shredOptions, options);
    const { store, loader } = this.#inside;
    for (;;) {
      const held = await store.read(tenant);
      if (held === undefined && !evenIfMissing) throw notEncrypted('shred', 'keyMissing', context);
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
      return {
        destroyed: buried.destroyed.length,
        completeAt: after(Math.max(buried.heldFor, loader.heldFor)),
      };
    }
  }

  /** Which epochs a tenant has, and in what state. */
  async status(tenant: string): Promise<TenantKeyStatus> {
    operatorOf('status', tenant);
    return describe(tenant, await this.#inside.store.read(tenant));
  }

  /** Every tenant's {@link TenantKeyStatus}. @throws {@link OperationRefusedError} inside a tenant */
  async *list(): AsyncGenerator<TenantKeyStatus, void, undefined> {
    outsideOnly('list', LIST);
    const { store } = this.#inside;
    for await (const tenant of store.tenants()) yield describe(tenant, await store.read(tenant));
  }

  /**
   * Drops every key from memory; the keyring cannot be used afterwards.
   *
   * @throws {@link OperationRefusedError} inside a tenant: it serves the others, too
   */
  close(): void {
    outsideOnly('close', CLOSE);
    this.#inside.loader.close();
  }

  toJSON(): { readonly name: 'Keyring'; readonly store: string } {
    return { name: 'Keyring', store: this.#inside.store.kind };
  }

  [inspect.custom](): string {
    return `Keyring { store: '${this.#inside.store.kind}' }`;
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
