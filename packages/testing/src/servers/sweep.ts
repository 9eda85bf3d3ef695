import { lstat, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeContainers, type Engine } from './engine.ts';
import { isSame } from './identity.ts';

/** How the folders of the servers begin, inside the folder for temporary files. */
export const FOLDER_PREFIX = 'tenantkit-servers-';

/** What a supervisor writes down about itself, its processes and its containers. */
export type Record =
  | { readonly kind: 'supervisor' | 'process'; readonly pid: number; readonly identity: string }
  | { readonly kind: 'containers'; readonly engine: Engine; readonly label: string };

/**
 * Stops what was left behind by runs whose supervisor was killed, and removes their folders. A process is only
 * ever killed when its start time is the recorded one: a pid may belong to somebody else by now.
 *
 * @param own - the folder of the run that sweeps
 * @returns what could not be cleared, in words
 */
export async function sweep(own: string): Promise<string[]> {
  const warnings: string[] = [];
  const names = await readdir(tmpdir());
  for (const name of names) {
    const folder = join(tmpdir(), name);
    if (!name.startsWith(FOLDER_PREFIX) || folder === own) continue;
    await clear(folder).catch((error: Error) =>
      warnings.push(`${folder} is left over from an earlier run and could not be cleared: ${error.message}`),
    );
  }
  return warnings;
}

/** Stops what the records of one folder name and removes it, unless its supervisor is alive. */
export async function clear(folder: string): Promise<void> {
  if (!(await isOurs(folder))) return;
  const records = await read(join(folder, 'records'));
  const supervisor = records.find(({ kind }) => kind === 'supervisor');
  // Without that record a supervisor is just making the folder.
  if (
    supervisor === undefined ||
    (supervisor.kind !== 'containers' && isSame(supervisor.pid, supervisor.identity))
  )
    return;
  for (const record of records) {
    if (record.kind === 'process' && isSame(record.pid, record.identity)) killGroup(record.pid);
    if (record.kind === 'containers') {
      // An engine that is gone has taken its containers with it.
      await removeContainers(record.engine, record.label).catch(() => undefined);
    }
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}

async function isOurs(folder: string): Promise<boolean> {
  try {
    const { uid } = await lstat(folder);
    return process.getuid === undefined || uid === process.getuid();
  } catch {
    // Gone since the listing.
    return false;
  }
}

async function read(folder: string): Promise<Record[]> {
  const records: Record[] = [];
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    const text = await readFile(join(folder, name), 'utf8').catch(() => '');
    // Empty: removed since the listing, or never finished.
    if (text !== '') records.push(JSON.parse(text) as Record);
  }
  return records;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
