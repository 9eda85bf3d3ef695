import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withTenant } from '@tenantkit/core';
import { onTestFinished } from 'vitest';
import {
  FieldCipher,
  Keyring,
  fileKeyStore,
  memoryKeyStore,
  type KeyStore,
  type KeyringOptions,
} from '../../src/index.ts';

/** Ids that are prefixes of one another or differ in case only. */
export const TENANTS = ['acme', 'acme2', 'a', 'a-b', 'ac', 'ACME'] as const;

export const FIELD = { table: 'users', column: 'ssn', row: '7' } as const;

/** A directory of its own, removed after the test. */
export async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tenantkit-crypto-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** A keyring and its cipher, closed after the test. */
export async function opened(
  options: Partial<KeyringOptions> = {},
): Promise<{ keyring: Keyring; cipher: FieldCipher; store: KeyStore }> {
  const store = options.store ?? memoryKeyStore();
  const keyring = await Keyring.open({ master: randomBytes(32), ...options, store });
  onTestFinished(() => keyring.close());
  return { keyring, cipher: new FieldCipher(keyring), store };
}

/** Both kinds of store, each new. */
export const STORES: readonly { readonly kind: string; readonly make: () => Promise<KeyStore> }[] = [
  { kind: 'memory', make: () => Promise.resolve(memoryKeyStore()) },
  {
    kind: 'file',
    make: async () => fileKeyStore({ directory: join(await temporary(), 'keys') }),
  },
];

/** Loads the tenant's keys and runs `fn` in it. */
export function inside<T>(keyring: Keyring, tenant: string, fn: () => T | Promise<T>): Promise<T> {
  return withTenant(tenant, () => keyring.withKeys(fn));
}

/** Everything that an asynchronous iterable gives. */
export async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const value of values) all.push(value);
  return all;
}

/** What a refused call rejects with or throws. */
export async function refusalOf(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}

/** The literal reason of a refused encryption or decryption. */
export async function reasonOf(work: () => unknown): Promise<unknown> {
  const error = await refusalOf(work);
  if (typeof error === 'object' && error !== null && 'reason' in error) return error.reason;
  throw error;
}
