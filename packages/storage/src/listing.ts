import {
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  ListObjectsV2Command,
  type ListMultipartUploadsCommandOutput,
  type ListObjectVersionsCommandOutput,
} from '@aws-sdk/client-s3';
import type { Remote } from './remote.ts';

/** One thing in a bucket, under its physical key. */
export interface Entry {
  readonly kind: 'objects' | 'versions' | 'delete markers' | 'uploads';
  readonly key: string;
  /** Of a version or delete marker. */
  readonly versionId?: string;
  /** Of an upload. */
  readonly uploadId?: string;
  readonly bytes: number;
}

/** How a bucket keeps what is deleted. */
export interface BucketTraits {
  /** Versioning was enabled once: deleting by key alone leaves the data behind. */
  readonly versioned: boolean;
  /** Objects can be under a hold or retention. */
  readonly locked: boolean;
  /** Every new object comes under retention at once. */
  readonly retainsAll: boolean;
}

/** Why an object cannot be deleted now. */
export interface Hold {
  readonly why: string;
  /** RFC 3339; absent while nobody knows. */
  readonly until?: string;
}

/** Reads how a bucket keeps what is deleted. Runs across tenants. */
export async function traitsOf(remote: Remote): Promise<BucketTraits> {
  const { Status } = await remote.send(new GetBucketVersioningCommand({ Bucket: remote.bucket }));
  const lock = await remote
    .send(new GetObjectLockConfigurationCommand({ Bucket: remote.bucket }))
    .then(({ ObjectLockConfiguration }) => ObjectLockConfiguration)
    .catch((error: unknown) => {
      if (error instanceof Error && NO_LOCK.has(error.name)) return undefined;
      throw error;
    });
  return {
    versioned: Status !== undefined,
    locked: lock?.ObjectLockEnabled === 'Enabled',
    retainsAll: lock?.Rule?.DefaultRetention !== undefined,
  };
}

/** Pages of everything whose physical key begins with `prefix`: objects, or versions and delete markers together. */
export async function* pagesOf(
  remote: Remote,
  { prefix, versioned }: { prefix: string; versioned: boolean },
): AsyncGenerator<Entry[], void, undefined> {
  const common = { Bucket: remote.bucket, Prefix: prefix, EncodingType: 'url' } as const;
  if (!versioned) {
    let token: string | undefined;
    do {
      const input = { ...common, ...(token === undefined ? {} : { ContinuationToken: token }) };
      const page = await remote.send(new ListObjectsV2Command(input));
      const read = reader(page.EncodingType);
      yield (page.Contents ?? []).map(({ Key, Size }) => ({
        kind: 'objects',
        key: read(Key),
        bytes: Size ?? 0,
      }));
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
    return;
  }
  let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const page: ListObjectVersionsCommandOutput = await remote.send(
      new ListObjectVersionsCommand({ ...common, ...marker }),
    );
    const read = reader(page.EncodingType);
    const versions = (page.Versions ?? []).map(({ Key, VersionId = 'null', Size }): Entry => ({
      kind: 'versions',
      key: read(Key),
      versionId: VersionId,
      bytes: Size ?? 0,
    }));
    const markers = (page.DeleteMarkers ?? []).map(({ Key, VersionId = 'null' }): Entry => ({
      kind: 'delete markers',
      key: read(Key),
      versionId: VersionId,
      bytes: 0,
    }));
    yield [...versions, ...markers];
    marker =
      page.IsTruncated === true && page.NextKeyMarker !== undefined
        ? {
            KeyMarker: read(page.NextKeyMarker),
            ...(page.NextVersionIdMarker === undefined ? {} : { VersionIdMarker: page.NextVersionIdMarker }),
          }
        : undefined;
  }
}

/** Pages of all unfinished multipart uploads whose physical key begins with `prefix`. */
export async function* uploadsOf(remote: Remote, prefix: string): AsyncGenerator<Entry[], void, undefined> {
  let marker: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    // Without EncodingType: Ceph encodes the keys and does not say so.
    const input = { Bucket: remote.bucket, Prefix: prefix, ...marker };
    const page: ListMultipartUploadsCommandOutput = await remote.send(new ListMultipartUploadsCommand(input));
    yield (page.Uploads ?? []).map(({ Key = '', UploadId = '' }): Entry => ({
      kind: 'uploads',
      key: Key,
      uploadId: UploadId,
      bytes: 0,
    }));
    marker =
      page.IsTruncated === true && page.NextKeyMarker !== undefined
        ? {
            KeyMarker: page.NextKeyMarker,
            ...(page.NextUploadIdMarker === undefined ? {} : { UploadIdMarker: page.NextUploadIdMarker }),
          }
        : undefined;
  }
}

/** Why a version cannot be deleted now; `undefined` when nothing holds it. */
export async function holdOf(remote: Remote, { key, versionId }: Entry): Promise<Hold | undefined> {
  const version = versionId === undefined ? {} : { VersionId: versionId };
  const head = await remote.send(new HeadObjectCommand({ Bucket: remote.bucket, Key: key, ...version }));
  if (head.ObjectLockLegalHoldStatus === 'ON') return { why: 'legal hold' };
  const until = head.ObjectLockRetainUntilDate;
  if (until === undefined || until.getTime() <= Date.now()) return undefined;
  return { why: `retention (${head.ObjectLockMode ?? 'unknown'} mode)`, until: until.toISOString() };
}

const NO_LOCK: ReadonlySet<string> = new Set([
  'ObjectLockConfigurationNotFoundError',
  'InvalidRequest',
  'NotImplemented',
]);

// A listing is asked for percent-encoded, because XML has no way to write most control characters, and keys that
// were written past tenantkit may hold them. Servers write a blank as + (AWS) or %20 (Ceph), and a plus as %2B.
function reader(encoding: string | undefined): (text: string | undefined) => string {
  return encoding === 'url'
    ? (text = '') => decodeURIComponent(text.replaceAll('+', ' '))
    : (text = '') => text;
}
