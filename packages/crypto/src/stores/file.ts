import { stat, opendir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ConfigError, assertId, isTenantkitError } from '@tenantkit/core';
import { z } from 'zod';
import { assertControl } from '../control.ts';
import { Lru } from '../lru.ts';
import { parse } from '../options.ts';
import { isTrustedOwner } from '../owner.ts';
import { isNumbered, parseRecord, type KeyRecord } from '../record.ts';
import type { KeyStore } from '../store.ts';
import { auditDirectory } from './file-audit.ts';
import {
  UNFINISHED,
  discard,
  empty,
  isCode,
  makeDirectory,
  putIfAbsent,
  readIfPresent,
  syncDirectory,
} from './durable.ts';
import { directoryName, highest, revisionName, revisionOf, tenantOf } from './file-names.ts';

/** Options of {@link fileKeyStore}. */
export interface FileKeyStoreOptions {
  /** A directory of its own, on a local file system with hard links; made with mode 0700 when it is missing. */
  readonly directory: string;
}

const options: z.ZodType<FileKeyStoreOptions> = z.strictObject({ directory: z.string().min(1) });

/** How many tenants' newest revisions are remembered as durable: for the others two more syncs are made. */
const MAX_DURABLE = 100_000;

/** Group and others must not be able to put another key in place. */
const WRITABLE_BY_OTHERS = 0o022;

/**
 * A key store in a directory, safe to share between processes of one machine, without locks: each revision of a
 * tenant's record is a file of its own, and to take the next number is one atomic `link`. A process that is
 * killed at any point leaves nothing that another would have to wait for. A revision that was replaced is
 * emptied rather than removed: its name keeps a slow writer from taking the number a second time.
 *
 * ```text
 * <directory>/tk-acme/00000001.json   {"state":"live", …}  or empty once it was replaced
 * <directory>/tk-acme/00000002.json   {"state":"shredded", …}
 * ```
 *
 * @throws {@link ConfigError} when the options are wrong; from `prepare`, when others can write to the directory
 *
 * @example
 * ```ts
 * import { Keyring, fileKeyStore } from '@tenantkit/crypto';
 * const keyring = await Keyring.open({
 *   master: { env: 'TENANTKIT_MASTER_KEY' },
 *   store: fileKeyStore({ directory: '/var/lib/app/keys' }),
 * });
 * ```
 */
export function fileKeyStore(given: FileKeyStoreOptions): KeyStore {
  const root = resolve(parse('fileKeyStore', options, given).directory);
  const at = (tenant: string): string => {
    assertId(tenant);
    return join(root, directoryName(tenant));
  };
  // Revisions whose names this process knows to be durable.
  const durable = new Lru<string, number>(MAX_DURABLE);
  // Another process may have linked a record and not yet synced its name. What is encrypted under it meanwhile
  // would be lost with it in a power failure.
  const settled = async (tenant: string): Promise<KeyRecord | undefined> => {
    const record = await current(at(tenant), tenant);
    if (record === undefined || durable.get(tenant) === record.revision) return record;
    await syncDirectory(root);
    await syncDirectory(at(tenant));
    durable.set(tenant, record.revision);
    return record;
  };

  return {
    kind: 'file',
    prepare: () =>
      usable(async () => {
        if (process.platform === 'win32')
          throw unsafe('Windows has no file modes that would protect the keys');
        await makeDirectory(root);
        const found = await stat(root);
        if (!found.isDirectory()) throw unsafe('the key directory is not a directory');
        if ((found.mode & WRITABLE_BY_OTHERS) !== 0) {
          throw unsafe('users other than its owner can write to the key directory');
        }
        if (!isTrustedOwner(found.uid)) throw unsafe('the key directory belongs to another user');
      }),
    read: (tenant) => usable(() => settled(tenant)),
    write: (record) =>
      usable(() => {
        if (!isNumbered(record)) throw exhausted();
        return replace(at(record.tenant), record);
      }),
    secrets: (tenant) =>
      usable(async () => {
        const directory = at(tenant);
        let found = 0;
        for (const name of await names(directory)) {
          found += secretsIn(await readIfPresent(join(directory, name)), tenant, name);
        }
        return found;
      }),
    sweep: (tenant) =>
      usable(async () => {
        const directory = at(tenant);
        const present = await names(directory);
        for (const name of present) if (name.startsWith(UNFINISHED)) await discard(join(directory, name));
        await emptyBelow(directory, highest(present));
      }),
    async *tenants() {
      for await (const { name } of await usable(() => opendir(root))) {
        const tenant = tenantOf(name);
        // A directory without a revision is what a crash before the first record leaves.
        if (tenant !== undefined && highest(await usable(() => names(join(root, name)))) > 0) yield tenant;
      }
    },
    removeControl: (tenant) =>
      usable(async () => {
        assertControl(tenant);
        for (const name of await names(at(tenant))) await empty(join(at(tenant), name));
        await rm(at(tenant), { recursive: true, force: true });
      }),
    audit: (signal) => auditDirectory(root, signal),
  };
}

async function current(directory: string, tenant: string): Promise<KeyRecord | undefined> {
  for (let seen = 0; ;) {
    const revision = highest(await names(directory));
    if (revision === 0) return undefined;
    const text = await readIfPresent(join(directory, revisionName(revision)));
    const record = parseRecord(text ?? '', tenant, revision);
    if (record !== undefined) return record;
    // Emptied between the two calls means that a higher revision is there by now; if none is, it is damage.
    if (revision === seen) throw damaged();
    seen = revision;
  }
}

async function replace(directory: string, record: KeyRecord): Promise<boolean> {
  const { tenant, revision } = record;
  const held = await current(directory, tenant);
  if (held?.state === 'shredded' || (held?.revision ?? 0) !== revision - 1) return false;
  await makeDirectory(directory);
  if (!(await putIfAbsent(join(directory, revisionName(revision)), `${JSON.stringify(record)}\n`)))
    return false;
  await emptyBelow(directory, revision);
  return true;
}

// Only after the new record is durable: the other way round, a power failure could leave neither.
async function emptyBelow(directory: string, revision: number): Promise<void> {
  for (const name of await names(directory)) {
    const found = revisionOf(name);
    if (found !== undefined && found < revision) await empty(join(directory, name));
  }
}

function secretsIn(text: string | undefined, tenant: string, name: string): number {
  if (text === undefined || text === '') return 0;
  const revision = revisionOf(name) ?? /"revision":(\d+)/.exec(text)?.[1] ?? 0;
  const record = parseRecord(text, tenant, Number(revision));
  // What cannot be read may well be a secret: a count that left it out would prove nothing.
  if (record === undefined) return 1;
  return record.state === 'live' ? record.epochs.length : 0;
}

async function names(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return [];
    throw error;
  }
}

// The messages of node:fs hold paths; they stay in `cause`.
async function usable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isTenantkitError(error)) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new ConfigError({
      surface: 'crypto',
      operation: 'fileKeyStore',
      problem: `the key directory cannot be used (${code})`,
      hint: 'Its parent must exist; this user must own it; its file system must be local, writable and know hard links.',
      cause: error,
    });
  }
}

function unsafe(problem: string): ConfigError {
  return new ConfigError({
    surface: 'crypto',
    operation: 'fileKeyStore',
    problem,
    hint: 'Give the key store a directory of its own and take the rights of group and others away: chmod 700.',
  });
}

function exhausted(): ConfigError {
  return new ConfigError({
    surface: 'crypto',
    operation: 'fileKeyStore',
    problem: 'the key record of a tenant has the last revision that there is',
    hint: 'No process gets there by itself: restore the record from a backup, or shred the tenant.',
  });
}

function damaged(): ConfigError {
  return new ConfigError({
    surface: 'crypto',
    operation: 'fileKeyStore',
    problem: 'the key record of a tenant is damaged',
    hint: 'Run the auditor to find it, and restore that one file from a backup. No new key is made in its place.',
  });
}
