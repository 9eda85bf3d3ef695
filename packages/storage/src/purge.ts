import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { ConfigError, breach, type EraseRun } from '@tenantkit/core';
import pMap from 'p-map';
import { holdOf, pagesOf, traitsOf, uploadsOf, type Entry, type Hold } from './listing.ts';
import type { Remote } from './remote.ts';
import { Tally, kindsOf, restore, saved } from './tally.ts';

/** At most so many keys in one DeleteObjects. Source: S3 API reference, DeleteObjects. */
const BATCH = 1000;

/** How many single requests are under way at once. */
const PARALLEL = 16;

/** Writers are fenced while an erasure runs; whatever still appears after so many passes shows in `verify`. */
const MAX_PASSES = 20;

/** Removes everything whose physical key begins with `prefix`. Runs across tenants. */
export async function purge(remote: Remote, prefix: string, run: EraseRun): Promise<Tally> {
  run.signal.throwIfAborted();
  const { versioned } = await traitsOf(remote);
  const tally = new Tally(kindsOf({ versioned }));
  restore(tally, await run.checkpoint.load());
  const gone = (entry: Entry): void => {
    const { count: done, bytes } = tally.add(entry);
    run.progress({ kind: entry.kind, done, bytes });
  };
  // No place in the listing is remembered: what was erased is gone from it, and a key may hold personal data that
  // the ledger must not keep.
  const save = (): Promise<void> => run.checkpoint.save(saved(tally));

  // Uploads first: one that is completed meanwhile would become an object that was already passed by.
  for await (const page of uploadsOf(remote, prefix)) {
    await each(owned(page, prefix), async (entry) => {
      await abort(remote, entry);
      gone(entry);
    });
    if (page.length > 0) await save();
  }
  let held: ReadonlyMap<Entry, Hold> = new Map();
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const holds = new Map<Entry, Hold>();
    let again = false;
    for await (const page of pagesOf(remote, { prefix, versioned })) {
      const failures = await remove(remote, owned(page, prefix));
      for (const entry of page) if (!failures.has(entry)) gone(entry);
      const retry = await explain(remote, failures, holds);
      again ||= retry || failures.size < page.length;
      if (page.length > 0) await save();
      run.signal.throwIfAborted();
    }
    held = holds;
    if (!again) break;
  }
  for (const [entry, hold] of held) tally.keep(entry, hold);
  return tally;
}

/** Aborts an upload; one that is gone already is fine. */
async function abort(remote: Remote, { key, uploadId }: Entry): Promise<void> {
  const { bucket } = remote;
  await remote
    .send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }))
    .catch((error: unknown) => {
      // Completed or aborted by somebody else since it was listed.
      if (codeOf(error) !== 'NoSuchUpload') throw error;
    });
}

/** Runs `fn` for every item, a bounded number at a time; after an error no further one is begun. */
export async function each<T>(items: readonly T[], fn: (item: T) => Promise<unknown>): Promise<void> {
  await pMap(items, fn, { concurrency: PARALLEL });
}

/** Deletes entries; answers those that the server did not delete, with its code. */
async function remove(remote: Remote, entries: readonly Entry[]): Promise<Map<Entry, string>> {
  const failures = new Map<Entry, string>();
  const inBatch = entries.filter(({ key }) => !UNWRITABLE.test(key));
  for (let start = 0; start < inBatch.length; start += BATCH) {
    const batch = inBatch.slice(start, start + BATCH);
    const Objects = batch.map(({ key, versionId }) => ({ Key: key, ...versionOf(versionId) }));
    const command = new DeleteObjectsCommand({ Bucket: remote.bucket, Delete: { Objects, Quiet: true } });
    const { Errors = [] } = await remote.send(command);
    for (const { Key, VersionId, Code = 'unknown' } of Errors) {
      const named = batch.filter(
        ({ key, versionId }) => key === Key && (!versionId || !VersionId || versionId === VersionId),
      );
      // An error that names none of them must not pass for a success of all of them.
      for (const entry of named.length === 0 ? batch : named) failures.set(entry, Code);
    }
  }
  const alone = entries.filter(({ key }) => UNWRITABLE.test(key));
  await each(alone, async (entry) => {
    const input = { Bucket: remote.bucket, Key: entry.key, ...versionOf(entry.versionId) };
    await remote.send(new DeleteObjectCommand(input)).catch((error: unknown) => {
      const code = codeOf(error);
      if (code === undefined) throw error;
      failures.set(entry, code);
    });
  });
  return failures;
}

/** Sorts failures into holds and what a further pass will try again; answers whether there is any of the latter. */
async function explain(
  remote: Remote,
  failures: ReadonlyMap<Entry, string>,
  holds: Map<Entry, Hold>,
): Promise<boolean> {
  const denied = new Set<string>();
  let retry = false;
  await each([...failures], async ([entry, code]) => {
    if (GONE.has(code)) return;
    if (TRANSIENT.has(code)) {
      retry = true;
      return;
    }
    const hold = entry.kind === 'versions' ? await holdOf(remote, entry) : undefined;
    if (hold === undefined) denied.add(code);
    else holds.set(entry, hold);
  });
  if (denied.size === 0) return retry;
  throw new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `the server did not delete ${failures.size} objects (${[...denied].join(', ')}), and no hold explains it`,
    hint: 'Give the credentials of this client the right to delete objects and versions, then run the erasure again.',
  });
}

/** The page itself, after every key was seen to be the tenant's: what a server lists by mistake is not deleted. */
function owned(page: readonly Entry[], prefix: string): readonly Entry[] {
  if (page.every(({ key }) => key.startsWith(prefix))) return page;
  throw breach('storage', 'erase', 'a listing of the tenant named a key outside of it');
}

// What the XML of a DeleteObjects cannot say, or a parser would change. Such keys go one by one.
const UNWRITABLE = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\u2028\u2029]/u;

/** Codes after which the entry is not there, whoever removed it. */
const GONE: ReadonlySet<string> = new Set(['NoSuchKey', 'NoSuchVersion', 'NotFound']);

/** Codes after which the same request may succeed. */
const TRANSIENT: ReadonlySet<string> = new Set([
  'InternalError',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
]);

function versionOf(versionId: string | undefined): { VersionId?: string } {
  return versionId === undefined ? {} : { VersionId: versionId };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof S3ServiceException ? error.name : undefined;
}
