import {
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  ListObjectsV2Command,
  type ListMultipartUploadsCommandOutput,
  type ListObjectVersionsCommandOutput,
  type ListObjectsV2CommandOutput,
} from '@aws-sdk/client-s3';
import { breach } from '@tenantkit/core';
import { Advance, follows, stuck } from './advance.ts';
import { keyReader, lastOf, markerBefore, positionOf, type KeyText } from './key-text.ts';
import type { Remote } from './remote.ts';
import { unable } from './settings.ts';

/** One thing in a bucket, under its physical key. */
export interface Entry {
  readonly kind:
    | 'objects'
    | 'versions'
    | 'delete markers'
    | 'uploads'
    /** What says that an object is about a person. */
    | 'markers';
  readonly key: string;
  /** Of a key that no request can name; see {@link KeyText}. */
  readonly unnamed?: string;
  /** Of a version or delete marker. */
  readonly versionId?: string;
  /** Of an upload. */
  readonly uploadId?: string;
  readonly bytes: number;
  /** When it was written or begun, as the server says; absent when it does not. */
  readonly at?: Date | undefined;
  /** Of a version: whether a GET of the key gives this one. */
  readonly current?: boolean;
}

/** How a bucket keeps what is deleted. */
export interface BucketTraits {
  /** Versioning was enabled once: deleting by key alone leaves the data behind. */
  readonly versioned: boolean;
  /** Versioning was enabled and is not now. */
  readonly suspended: boolean;
  /** Versions can be deleted with a one-time code of the account's root user only. */
  readonly mfaDelete: boolean;
  /** Objects can be under a hold or retention. */
  readonly locked: boolean;
  /** Every new object comes under retention at once. */
  readonly retainsAll: boolean;
}

/**
 * Reads how a bucket keeps what is deleted. Runs across tenants.
 *
 * @throws ConfigError when the server cannot say
 */
export async function traitsOf(remote: Remote): Promise<BucketTraits> {
  const { Status, MFADelete } = await remote
    .send(new GetBucketVersioningCommand({ Bucket: remote.bucket }))
    .catch(unable('whether the bucket has versions'));
  const lock = await remote
    .send(new GetObjectLockConfigurationCommand({ Bucket: remote.bucket }))
    .then(({ ObjectLockConfiguration }) => ObjectLockConfiguration)
    .catch((error: unknown) => {
      if (error instanceof Error && NO_LOCK.has(error.name)) return undefined;
      throw error;
    });
  return {
    versioned: Status !== undefined,
    suspended: Status === 'Suspended',
    mfaDelete: MFADelete === 'Enabled',
    locked: lock?.ObjectLockEnabled === 'Enabled',
    retainsAll: lock?.Rule?.DefaultRetention !== undefined,
  };
}

/**
 * Pages of everything whose physical key begins with `prefix`: objects, or versions and delete markers together.
 *
 * @param atMost - how many a page may have; default what the server gives, which is 1,000
 * @throws IsolationBreachError when the server lists what does not begin with it: no key of that page is given out
 * @throws ConfigError when the server goes in circles
 */
export async function* pagesOf(
  remote: Remote,
  { prefix, versioned, atMost }: { prefix: string; versioned: boolean; atMost?: number },
): AsyncGenerator<readonly Entry[], void, undefined> {
  const size = atMost === undefined ? {} : { MaxKeys: atMost };
  const common = { Bucket: remote.bucket, Prefix: prefix, EncodingType: 'url', ...size } as const;
  const advance = new Advance();
  if (!versioned) {
    let next: { ContinuationToken?: string; StartAfter?: string } = {};
    let before: readonly Entry[] = [];
    for (;;) {
      const page: ListObjectsV2CommandOutput = await remote.send(
        new ListObjectsV2Command({ ...common, ...next }),
      );
      const read = keyReader(page.EncodingType);
      const objects = (page.Contents ?? []).map(({ Key, Size, LastModified }): Entry => ({
        kind: 'objects',
        ...read(Key),
        bytes: Size ?? 0,
        at: LastModified,
        current: true,
      }));
      const fresh = unseen(objects, before);
      yield owned(fresh, prefix);
      before = objects;
      const { unnamed } = objects.at(-1) ?? {};
      if (page.IsTruncated !== true) return;
      const token = follows(page.NextContinuationToken);
      // Ceph's token is the next key, of which nothing can be made here either.
      const after = unnamed === undefined ? undefined : markerBefore(unnamed);
      if (after !== undefined && after === next.StartAfter) throw stuck();
      next = after === undefined ? { ContinuationToken: token } : { StartAfter: after };
      advance.behind(fresh[0]);
    }
  }
  let marker: Marker = {};
  let before: readonly Entry[] = [];
  for (;;) {
    const page: ListObjectVersionsCommandOutput = await remote.send(
      new ListObjectVersionsCommand({ ...common, ...marker }),
    );
    const read = keyReader(page.EncodingType);
    const versions = (page.Versions ?? []).map(
      ({ Key, VersionId = 'null', Size, LastModified, IsLatest = false }): Entry => ({
        kind: 'versions',
        ...read(Key),
        versionId: VersionId,
        bytes: Size ?? 0,
        at: LastModified,
        current: IsLatest,
      }),
    );
    const markers = (page.DeleteMarkers ?? []).map(({ Key, VersionId = 'null', LastModified }): Entry => ({
      kind: 'delete markers',
      ...read(Key),
      versionId: VersionId,
      bytes: 0,
      at: LastModified,
    }));
    const listed = [...versions, ...markers];
    const fresh = unseen(listed, before);
    yield owned(fresh, prefix);
    before = listed;
    if (page.IsTruncated !== true) return;
    const last = lastOf(versions.at(-1), markers.at(-1));
    const after = positionOf(follows(page.NextKeyMarker), last, read);
    const next = behind(after, page.NextVersionIdMarker);
    // A page of nothing but keys that no text can name: the listing would begin again where it has begun.
    if (after.unnamed !== undefined && next.KeyMarker === marker.KeyMarker) throw stuck();
    advance.behind(fresh[0]);
    marker = next;
  }
}

interface Marker {
  readonly KeyMarker?: string;
  readonly VersionIdMarker?: string;
}

function behind({ key, unnamed }: KeyText, version: string | undefined): Marker {
  if (unnamed !== undefined) return { KeyMarker: markerBefore(unnamed) };
  return { KeyMarker: key, ...(version === undefined ? {} : { VersionIdMarker: version }) };
}

/** Without what the page before has ended with, where the listing had to go back. */
function unseen(page: readonly Entry[], before: readonly Entry[]): readonly Entry[] {
  if (before.every(({ unnamed }) => unnamed === undefined)) return page;
  const idOf = ({ kind, unnamed, versionId, uploadId }: Entry): string =>
    `${kind} ${unnamed} ${versionId} ${uploadId}`;
  const seen = new Set(before.filter(({ unnamed }) => unnamed !== undefined).map(idOf));
  return page.filter((entry) => entry.unnamed === undefined || !seen.has(idOf(entry)));
}

/**
 * Pages of all unfinished multipart uploads whose physical key begins with `prefix`.
 *
 * @throws IsolationBreachError as {@link pagesOf} does
 * @throws ConfigError when the server cannot list them
 */
export async function* uploadsOf(
  remote: Remote,
  prefix: string,
): AsyncGenerator<readonly Entry[], void, undefined> {
  const advance = new Advance();
  let encoding: 'url' | undefined = 'url';
  let marker: { KeyMarker?: string; UploadIdMarker?: string } = {};
  let before: readonly Entry[] = [];
  for (;;) {
    const input = { Bucket: remote.bucket, Prefix: prefix, ...marker };
    const command = new ListMultipartUploadsCommand(
      encoding === undefined ? input : { ...input, EncodingType: encoding },
    );
    const page: ListMultipartUploadsCommandOutput = await remote
      .send(command)
      .catch(unable('which uploads are unfinished'));
    const some = (page.Uploads ?? []).length > 0;
    if (some && encoding !== undefined && page.EncodingType === undefined) {
      // Ceph encodes the keys and does not say so, others encode nothing: what was asked for plainly is plain.
      encoding = undefined;
      continue;
    }
    const read = keyReader(page.EncodingType);
    const uploads = (page.Uploads ?? []).map(({ Key, UploadId = '', Initiated }): Entry => ({
      kind: 'uploads',
      ...read(Key),
      uploadId: UploadId,
      bytes: 0,
      at: Initiated,
    }));
    const fresh = unseen(uploads, before);
    yield owned(fresh, prefix);
    before = uploads;
    if (page.IsTruncated !== true) return;
    const { NextUploadIdMarker: id } = page;
    const after = positionOf(follows(page.NextKeyMarker), uploads.at(-1), read);
    const next = after.unnamed === undefined ? after.key : markerBefore(after.unnamed);
    if (after.unnamed !== undefined && next === marker.KeyMarker) throw stuck();
    const hasId = id !== undefined && after.unnamed === undefined;
    marker = hasId ? { KeyMarker: next, UploadIdMarker: id } : { KeyMarker: next };
    advance.behind(fresh[0]);
  }
}

const NO_LOCK: ReadonlySet<string> = new Set([
  'ObjectLockConfigurationNotFoundError',
  'InvalidRequest',
  'NotImplemented',
]);

/** The page itself, after every key was seen to be under the prefix: what a server lists by mistake is not deleted. */
function owned(page: readonly Entry[], prefix: string): readonly Entry[] {
  if (page.every(({ key }) => key.startsWith(prefix))) return page;
  throw breach('storage', 'list', 'a listing of the tenant named a key outside of it');
}
