import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  S3ServiceException,
  type DeleteObjectsCommandOutput,
} from '@aws-sdk/client-s3';
import { breach } from '@tenantkit/core';
import { each } from './each.ts';
import type { Entry } from './listing.ts';
import { BUSY, PutOff, patiently } from './patience.ts';
import type { Remote } from './remote.ts';

/** At most so many keys in one DeleteObjects. Source: S3 API reference, DeleteObjects. */
const BATCH = 1000;

/**
 * Deletes entries, with a version where they have one.
 *
 * @returns those that the server did not delete, with its code; what it has put off was tried again and again before
 * @throws IsolationBreachError when the server says that it has deleted something else
 */
export async function remove(remote: Remote, entries: readonly Entry[]): Promise<Map<Entry, string>> {
  const failures = new Map<Entry, string>();
  const inBatch = entries.filter(({ key }) => !UNWRITABLE.test(key));
  for (let start = 0; start < inBatch.length; start += BATCH) {
    let left: readonly Entry[] = inBatch.slice(start, start + BATCH);
    const attempt = async (): Promise<void> => {
      for (const entry of left) failures.delete(entry);
      for (const [entry, code] of await removeBatch(remote, left)) failures.set(entry, code);
      left = left.filter((entry) => BUSY.has(failures.get(entry) ?? ''));
      if (left.length > 0) throw new PutOff();
    };
    await patiently(attempt, { signal: remote.signal }).catch((error: unknown) => {
      // They are failures by now, of which the caller decides.
      if (!(error instanceof PutOff)) throw error;
    });
  }
  const alone = entries.filter(({ key }) => UNWRITABLE.test(key));
  await each(alone, async (entry) => {
    const code = await removeOne(remote, entry);
    if (code !== undefined) failures.set(entry, code);
  });
  return failures;
}

/** Aborts an upload; one that is gone already is fine. */
export async function abort(remote: Remote, { key, uploadId }: Entry): Promise<void> {
  const input = { Bucket: remote.bucket, Key: key, UploadId: uploadId };
  await remote.send(new AbortMultipartUploadCommand(input)).catch((error: unknown) => {
    // Completed or aborted by somebody else since it was listed; whatever it has become is listed next.
    if (codeOf(error) !== 'NoSuchUpload') throw error;
  });
}

async function removeBatch(remote: Remote, batch: readonly Entry[]): Promise<Map<Entry, string>> {
  const Objects = batch.map(({ key, versionId }) => ({ Key: key, ...versionOf(versionId) }));
  const command = new DeleteObjectsCommand({ Bucket: remote.bucket, Delete: { Objects, Quiet: true } });
  const { Errors = [], Deleted = [] } = await remote.send(command);
  assertOwn(batch, Deleted);
  const failures = new Map<Entry, string>();
  for (const { Key, VersionId, Code = 'unknown' } of Errors) {
    const named = batch.filter(
      ({ key, versionId }) => key === Key && (!versionId || !VersionId || versionId === VersionId),
    );
    // An error that names none of them must not pass for a success of all of them.
    for (const entry of named.length === 0 ? batch : named) failures.set(entry, Code);
  }
  return failures;
}

/** Quiet servers name nothing, and others what they were given: anything else was deleted and should not have been. */
function assertOwn(
  batch: readonly Entry[],
  deleted: NonNullable<DeleteObjectsCommandOutput['Deleted']>,
): void {
  if (deleted.length === 0) return;
  const asked = new Set(batch.map(({ key }) => key));
  if (deleted.every(({ Key }) => Key === undefined || asked.has(Key))) return;
  throw breach(
    'storage',
    'erase',
    'the server says that it has deleted a key that it was not asked to delete',
  );
}

async function removeOne(remote: Remote, { key, versionId }: Entry): Promise<string | undefined> {
  const input = { Bucket: remote.bucket, Key: key, ...versionOf(versionId) };
  return remote.send(new DeleteObjectCommand(input)).then(
    () => undefined,
    (error: unknown) => {
      const code = codeOf(error);
      if (code === undefined) throw error;
      return code;
    },
  );
}

// What the XML of a DeleteObjects cannot say, or a parser would change. Such keys go one by one.
const UNWRITABLE = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\u2028\u2029]/u;

function versionOf(versionId: string | undefined): { VersionId?: string } {
  return versionId === undefined ? {} : { VersionId: versionId };
}

function codeOf(error: unknown): string | undefined {
  return error instanceof S3ServiceException ? error.name : undefined;
}
