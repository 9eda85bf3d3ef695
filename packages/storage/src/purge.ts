import { AbortMultipartUploadCommand, DeleteObjectCommand, DeleteObjectsCommand } from '@aws-sdk/client-s3';
import { ConfigError, breach, type EraseRun } from '@tenantkit/core';
import type { S3Client } from './client.ts';
import { holdOf, pagesOf, traitsOf, uploadsOf, type Entry, type Hold } from './listing.ts';
import { Tally, kindsOf, restore, saved } from './tally.ts';

/** Where is erased. */
export interface Place {
  readonly client: S3Client;
  readonly bucket: string;
}

/** At most so many keys in one DeleteObjects. Source: S3 API reference, DeleteObjects. */
const BATCH = 1000;

/** How many single requests are under way at once. */
const PARALLEL = 16;

/** Writers are fenced while an erasure runs; whatever still appears after so many passes shows in `verify`. */
const MAX_PASSES = 20;

/** Removes everything whose physical key begins with `prefix`. Runs across tenants. */
export async function purge(place: Place, prefix: string, run: EraseRun): Promise<Tally> {
  const { client, bucket } = place;
  const { signal } = run;
  try {
    signal.throwIfAborted();
    const traits = await traitsOf(client, bucket, signal);
    const tally = new Tally(kindsOf(traits));
    restore(tally, await run.checkpoint.load());
    const gone = (entry: Entry): void => {
      const { count: done, bytes } = tally.add(entry);
      run.progress({ kind: entry.kind, done, bytes });
    };
    // No place in the listing is remembered: what was erased is gone from it, and a key may hold personal data
    // that the ledger must not keep.
    const save = (): Promise<void> => run.checkpoint.save(saved(tally));

    // Uploads first: one that is completed meanwhile would become an object that was already passed by.
    for await (const page of uploadsOf(client, { bucket, prefix }, signal)) {
      await each(owned(page, prefix), async (entry) => {
        await abort(place, entry, signal);
        gone(entry);
      });
      await save();
    }
    for (let pass = 0; pass < MAX_PASSES; pass += 1) {
      const held = new Map<Entry, Hold>();
      let [erased, postponed] = [0, 0];
      for await (const page of pagesOf(client, { bucket, prefix, versioned: traits.versioned }, signal)) {
        const failures = await remove(place, owned(page, prefix), signal);
        for (const entry of page.filter((candidate) => !failures.has(candidate))) gone(entry);
        erased += page.length - failures.size;
        postponed += await explain(place, failures, held, signal);
        if (page.length > 0) await save();
        signal.throwIfAborted();
      }
      if (erased > 0 || postponed > 0) continue;
      for (const [entry, hold] of held) tally.keep(entry, hold);
      return tally;
    }
    return tally;
  } catch (error) {
    // The SDK rejects with an error of its own when its signal fires.
    signal.throwIfAborted();
    throw error;
  }
}

/** Deletes entries; answers those that the server did not delete, with its code. */
async function remove(
  { client, bucket }: Place,
  entries: readonly Entry[],
  signal: AbortSignal,
): Promise<Map<Entry, string>> {
  const failures = new Map<Entry, string>();
  const send = { abortSignal: signal };
  const inBatch = entries.filter(({ key }) => !UNWRITABLE.test(key));
  for (let start = 0; start < inBatch.length; start += BATCH) {
    const batch = inBatch.slice(start, start + BATCH);
    const Objects = batch.map(({ key, versionId }) => ({
      Key: key,
      ...(versionId === undefined ? {} : { VersionId: versionId }),
    }));
    const { Errors = [] } = await client.send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }),
      send,
    );
    for (const { Key, VersionId, Code } of Errors) {
      const named = batch.filter(
        ({ key, versionId }) =>
          key === Key && (versionId === undefined || !VersionId || versionId === VersionId),
      );
      // An error that names none of them must not pass for a success of all of them.
      for (const entry of named.length === 0 ? batch : named) failures.set(entry, Code ?? 'unknown');
    }
  }
  await each(
    entries.filter(({ key }) => UNWRITABLE.test(key)),
    async (entry) => {
      const version = entry.versionId === undefined ? {} : { VersionId: entry.versionId };
      await client
        .send(new DeleteObjectCommand({ Bucket: bucket, Key: entry.key, ...version }), send)
        .catch((error: unknown) => failures.set(entry, error instanceof Error ? error.name : 'unknown'));
    },
  );
  return failures;
}

/** Sorts failures into holds and what a further pass will try again; answers how many of the latter there are. */
async function explain(
  { client, bucket }: Place,
  failures: ReadonlyMap<Entry, string>,
  held: Map<Entry, Hold>,
  signal: AbortSignal,
): Promise<number> {
  const denied = new Set<string>();
  let postponed = 0;
  await each([...failures], async ([entry, code]) => {
    if (TRANSIENT.has(code)) {
      postponed += 1;
      return;
    }
    const hold = entry.kind === 'versions' ? await holdOf(client, bucket, entry, signal) : undefined;
    if (hold === undefined) denied.add(code);
    else held.set(entry, hold);
  });
  if (denied.size === 0) return postponed;
  throw new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `the server did not delete ${failures.size} objects (${[...denied].join(', ')}), and no hold explains it`,
    hint: 'Give the credentials of this client the right to delete objects and versions, then run the erasure again.',
  });
}

/** Aborts an upload; one that is gone already is fine. */
export async function abort(
  { client, bucket }: Place,
  { key, uploadId }: Entry,
  signal?: AbortSignal,
): Promise<void> {
  const send = signal === undefined ? {} : { abortSignal: signal };
  await client
    .send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }), send)
    .catch((error: unknown) => {
      // Completed or aborted by somebody else since it was listed.
      if (!(error instanceof Error && error.name === 'NoSuchUpload')) throw error;
    });
}

/** The page itself, after every key was seen to be the tenant's: what a server lists by mistake is not deleted. */
function owned(page: readonly Entry[], prefix: string): readonly Entry[] {
  if (page.every(({ key }) => key.startsWith(prefix))) return page;
  throw breach('storage', 'erase', 'a listing of the tenant named a key outside of it');
}

// What the XML of a DeleteObjects cannot say, or a parser would change. Such keys go one by one.
const UNWRITABLE = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\u2028\u2029]/u;

const TRANSIENT: ReadonlySet<string> = new Set([
  'InternalError',
  'SlowDown',
  'ServiceUnavailable',
  'RequestTimeout',
]);

/** Runs `fn` for every item, a bounded number at a time. */
export async function each<T>(items: readonly T[], fn: (item: T) => Promise<unknown>): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(PARALLEL, items.length) }, async () => {
    for (const item of queue) await fn(item);
  });
  await Promise.all(workers);
}
