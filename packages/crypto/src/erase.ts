import {
  DecryptionError,
  controlTenant,
  eraseRun,
  erasureScope,
  refusal,
  refuse,
  runInScope,
  withTenant,
  type Checkpoint,
  type Eraser,
  type ErasureScope,
  type Inventory,
  type InventoryItem,
  type Kept,
  type Outcome,
  type PositiveControl,
  type Verification,
} from '@tenantkit/core';
import { z } from 'zod';
import { FieldCipher } from './cipher.ts';
import { insideOf } from './inside.ts';
import type { Keyring } from './keyring.ts';
import { operatorOf } from './operator.ts';
import { parse } from './options.ts';

/** Options of {@link keyringEraser}. */
export interface KeyringEraserOptions {
  /** Name in plans and certificates, default `crypto`. */
  readonly store?: string | undefined;
  /**
   * How many days a backup of the key store is kept. Such a backup, together with the master key, opens what was
   * shredded until it has expired; with this option plans and certificates say so. Default: there are none.
   */
  readonly backupDays?: number | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).max(64).default('crypto'),
  backupDays: z.int().min(1).max(36_500).optional(),
});

const checkpointed = z.strictObject({ count: z.int().min(0) });

const DAY = 24 * 60 * 60 * 1000;

const SUBJECTS =
  'a secret belongs to a whole tenant; a person’s encrypted values go with the rows that hold them';

const NO_SUBJECT = refuse(
  SUBJECTS,
  'Erase the person from the stores that hold the values, and the whole tenant from here.',
);

/**
 * Erases a tenant by destroying its keys. Runs after the stores that hold the data (stage `shred`): a purge that
 * fails can then still be looked into.
 *
 * @throws {@link ConfigError} for unknown options
 *
 * @example
 * ```ts
 * import { createErasure } from '@tenantkit/erasure';
 * import { keyringEraser } from '@tenantkit/crypto';
 * const erasure = createErasure({ stores: [keyringEraser(keyring)], ledger, signer });
 * ```
 */
export function keyringEraser(keyring: Keyring, options: KeyringEraserOptions = {}): Eraser {
  const { store, backupDays } = parse('keyringEraser', schema, options);
  const { store: keys, loader } = insideOf(keyring);

  const secrets = async (tenant: string): Promise<InventoryItem> => ({
    kind: 'secrets',
    count: await keys.secrets(tenant),
  });
  const backups = (count: number): readonly Kept[] =>
    backupDays === undefined || count === 0
      ? []
      : [
          {
            kind: 'wrapped secrets in backups',
            count,
            why: 'backups of the key store cannot be reached from here; with the master key they open the tenant’s values',
            until: new Date(Date.now() + backupDays * DAY).toISOString(),
          },
        ];

  return {
    store,
    stage: 'shred',
    subjects: { unsupported: SUBJECTS },
    async plan(scope): Promise<Inventory> {
      const item = await secrets(wholeTenant('plan', scope));
      return { store, items: [item], kept: backups(item.count) };
    },
    async erase(scope, given): Promise<Outcome> {
      const run = eraseRun('crypto', 'keyringEraser.erase', given);
      const tenant = wholeTenant('erase', scope);
      run.signal.throwIfAborted();
      const { count } = await resumed(run.checkpoint, () => secrets(tenant));
      const { destroyed, completeAt } = await outside(() => keyring.shred(tenant, { evenIfMissing: true }));
      run.progress({ kind: 'secrets', done: count, total: count });
      return { store, erased: [{ kind: 'secrets', count }], kept: backups(destroyed), completeAt };
    },
    async verify(scope): Promise<Verification> {
      const tenant = wholeTenant('verify', scope);
      const { state, epochs } = await outside(() => keyring.status(tenant));
      const remaining: InventoryItem[] = [await secrets(tenant)];
      if (state !== 'shredded') remaining.push({ kind: 'missing tombstones', count: 1 });
      if (typeof loader.peek(tenant) !== 'string') remaining.push({ kind: 'secrets in memory', count: 1 });
      const control = await outside(() => controlled(keyring));
      return { store, remaining, kept: backups(epochs.length), control };
    },
  };
}

/**
 * Shows on a throw-away tenant that a secret which is there is counted and opens a value, and that after its
 * shred neither holds, from memory and from the store alike.
 */
async function controlled(keyring: Keyring): Promise<PositiveControl> {
  const { store, loader } = insideOf(keyring);
  const tenant = controlTenant();
  const cipher = new FieldCipher(keyring);
  const field = { table: 'control', column: 'value' };
  const read = (text: string): Promise<string> => withTenant(tenant, () => cipher.decryptAsync(text, field));
  let found = 0;
  try {
    await keyring.create(tenant);
    const text = await withTenant(tenant, () => cipher.encryptAsync(tenant, field));
    const counted = await store.secrets(tenant);
    const opened = await read(text);
    await keyring.shred(tenant);
    const refused = await read(text).then(
      () => false,
      (error: unknown) => error instanceof DecryptionError && error.reason === 'keyShredded',
    );
    if (counted === 1 && opened === tenant && refused && (await store.secrets(tenant)) === 0) found = 1;
  } finally {
    loader.forget(tenant);
    await store.removeControl(tenant);
  }
  return {
    planted: 1,
    found,
    method:
      'A throw-away tenant got a secret by the same code: it was counted, it opened a value, and after its shred the count was 0 and the value was refused.',
  };
}

/** What was there before the first attempt: one that was stopped half-way leaves nothing to count. */
async function resumed(
  checkpoint: Checkpoint,
  counted: () => Promise<InventoryItem>,
): Promise<Pick<InventoryItem, 'count'>> {
  const saved = await checkpoint.load();
  if (saved !== undefined) return checkpointed.parse(JSON.parse(saved));
  const { count } = await counted();
  await checkpoint.save(JSON.stringify({ count }));
  return { count };
}

function wholeTenant(operation: string, scope: ErasureScope): string {
  const { tenant, subject } = erasureScope('crypto', `keyringEraser.${operation}`, scope);
  operatorOf(`keyringEraser.${operation}`, tenant);
  if (subject !== undefined) throw refusal('crypto', operation, NO_SUBJECT);
  return tenant;
}

// An orchestrator may run inside of a bypass, or of the tenant that it erases: neither belongs to the control's.
function outside<T>(work: () => T): T {
  return runInScope(undefined, work);
}
