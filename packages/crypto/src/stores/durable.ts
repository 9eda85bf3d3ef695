import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_WRONLY } = constants;

/** Read and write for the owner, nothing for anybody else. */
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/** What a file is called until it is complete. */
export const UNFINISHED = '.new-';

/**
 * Puts a complete, durable file in place, if its name is free. `link` is the one call of POSIX that gives a
 * name to finished contents and fails when the name is taken: O_EXCL would show others an empty file first,
 * `rename` would replace theirs, and a lock file would outlive a process that was killed.
 *
 * @returns whether the name was free
 */
export async function putIfAbsent(path: string, text: string): Promise<boolean> {
  const unfinished = join(dirname(path), `${UNFINISHED}${process.pid}-${randomBytes(8).toString('hex')}`);
  const file = await open(unfinished, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, FILE_MODE);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(unfinished, path);
  } catch (error) {
    // ENOENT: a sweep has taken the unfinished file away, which it does only after somebody else's record.
    if (isCode(error, 'EEXIST') || isCode(error, 'ENOENT')) return false;
    throw error;
  } finally {
    await unlinkIfPresent(unfinished);
  }
  await syncDirectory(dirname(path));
  return true;
}

/** The text of a file; `undefined` when there is none. */
export async function readIfPresent(path: string): Promise<string | undefined> {
  const file = await openIfPresent(path, O_RDONLY);
  if (file === undefined) return undefined;
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/**
 * Overwrites a file's contents and cuts it to nothing; its name stays. Whoever holds another link to it, or has
 * it open, finds it empty too. What a copy-on-write file system, a snapshot or a flash drive keeps of the
 * old blocks is out of reach.
 */
export async function empty(path: string): Promise<void> {
  const file = await openIfPresent(path, O_RDWR);
  if (file === undefined) return;
  try {
    await overwrite(file);
  } finally {
    await file.close();
  }
}

/**
 * Removes an unfinished file and overwrites its contents, unless it was given its final name in between: then
 * it is somebody's valid record.
 */
export async function discard(path: string): Promise<void> {
  const file = await openIfPresent(path, O_RDWR);
  if (file === undefined) return;
  try {
    await unlinkIfPresent(path);
    // The name went first: from here on nobody can link it, so a count of none stays none.
    const { nlink } = await file.stat();
    if (nlink === 0) await overwrite(file);
  } finally {
    await file.close();
  }
}

/** Makes a directory that only the owner can enter, durably. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: DIRECTORY_MODE });
  } catch (error) {
    // The process that made it may not have come to sync its name: what is put into it would be lost with it.
    if (!isCode(error, 'EEXIST')) throw error;
  }
  await syncDirectory(dirname(path));
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

type File = Awaited<ReturnType<typeof open>>;

async function openIfPresent(path: string, flags: number): Promise<File | undefined> {
  try {
    return await open(path, flags | O_NOFOLLOW);
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

async function overwrite(file: File): Promise<void> {
  const { size } = await file.stat();
  if (size === 0) return;
  await file.write(Buffer.alloc(size), 0, size, 0);
  await file.sync();
  await file.truncate(0);
  await file.sync();
}

async function unlinkIfPresent(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error;
  }
}

/** Makes the names in a directory durable: without this a power failure forgets a tombstone. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
