import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseRecord } from '../record.ts';
import type { StoreFinding } from '../store.ts';
import { UNFINISHED, isCode, readIfPresent } from './durable.ts';
import { highest, revisionName, revisionOf, tenantOf } from './file-names.ts';

/** A write that takes longer than this was cut off, in milliseconds. */
const ABANDONED = 60_000;

/** Rights that nobody but the owner may have. */
const OTHERS = 0o077;

/** What is wrong in a key directory. */
export async function* auditDirectory(root: string, signal: AbortSignal): AsyncIterable<StoreFinding> {
  yield* permissions(root, 'directory');
  for (const name of await readdir(root)) {
    signal.throwIfAborted();
    const tenant = tenantOf(name);
    if (tenant === undefined) yield unknown(join(root, name));
    else yield* auditTenant(join(root, name), tenant);
  }
}

async function* auditTenant(directory: string, tenant: string): AsyncIterable<StoreFinding> {
  yield* permissions(directory, 'directory');
  const present = await readdir(directory);
  const top = highest(present);
  // A writer empties the older revisions right after it has put its own: give it the time for that.
  const settled = top > 0 && isOld(await statOf(join(directory, revisionName(top))));
  for (const name of present) {
    const path = join(directory, name);
    const found = yield* permissions(path, 'file');
    const revision = revisionOf(name);
    if (found === undefined) continue;
    if (name.startsWith(UNFINISHED)) {
      if (isOld(found)) yield abandoned(path);
    } else if (revision === undefined) {
      yield unknown(path);
    } else if (revision < top) {
      if (found.size > 0 && settled) yield superseded(path);
    } else if (parseRecord((await readIfPresent(path)) ?? '', tenant, revision) === undefined) {
      // Replaced and emptied since it was listed is no damage.
      if (highest(await readdir(directory)) === revision) yield { ...unreadable(path), tenant };
    }
  }
}

async function* permissions(
  path: string,
  kind: 'file' | 'directory',
): AsyncGenerator<StoreFinding, Stats | undefined> {
  const found = await statOf(path);
  if (found === undefined) return undefined;
  const expected = kind === 'file' ? found.isFile() : found.isDirectory();
  if (!expected) {
    yield unknown(path);
    return undefined;
  }
  const user = process.getuid?.();
  if ((found.mode & OTHERS) !== 0 || (user !== undefined && found.uid !== user)) {
    yield {
      severity: 'high',
      code: 'wrong_mode',
      message: `Users other than the one that runs this service have rights on a key ${kind}.`,
      name: path,
      hint: `chmod ${kind === 'file' ? '600' : '700'}, owned by the user that runs the service.`,
    };
  }
  return found;
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    // Gone since it was listed: another process has finished its write.
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function isOld(found: Stats | undefined): boolean {
  return found !== undefined && Date.now() - found.mtimeMs > ABANDONED;
}

function unreadable(path: string): StoreFinding {
  return {
    severity: 'high',
    code: 'unreadable_record',
    message: 'The newest key record of a tenant cannot be read: its values cannot be decrypted.',
    name: path,
    hint: 'Restore this file from a backup; no new key is made in its place.',
  };
}

function superseded(path: string): StoreFinding {
  return {
    severity: 'medium',
    code: 'superseded_secret',
    message: 'A key record that was replaced still has its contents: a process was stopped in between.',
    name: path,
    hint: 'keyring.shred(tenant) again if the tenant was to be erased, keyring.rotate(tenant) if not: both sweep.',
  };
}

function unknown(path: string): StoreFinding {
  return {
    severity: 'low',
    code: 'unknown_file',
    message: 'Something that the key store did not make lies in its directory.',
    name: path,
    hint: 'Move it elsewhere: a copy of a key record here is not destroyed with the tenant.',
  };
}

function abandoned(path: string): StoreFinding {
  return {
    severity: 'medium',
    code: 'abandoned_write',
    message:
      'A key record that was never finished lies in the key directory: a process was stopped while writing.',
    name: path,
    hint: 'Remove it; it was never in use. keyring.shred(tenant) removes it, too.',
  };
}
