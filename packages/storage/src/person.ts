import { GetObjectCommand, HeadObjectCommand, S3ServiceException } from '@aws-sdk/client-s3';
import { assertId } from '@tenantkit/core';
import { createHash } from 'node:crypto';
import { pagesOf, type BucketTraits, type Entry } from './listing.ts';
import { readPattern, type Pattern } from './pattern.ts';
import type { Remote } from './remote.ts';
import { LABEL, markerOf, markersOf, readMarker, subjectsIn } from './subject-names.ts';

/** What a marker is that does not hold the key that it was written for. */
export const FORGED: unique symbol = Symbol('forged');

/** The longest key, in bytes. */
const MAX_BODY = 1024;

/** Versions of one key, page by page: what follows in a listing is of other keys. */
const PAGE = 100;

/** One person of a tenant, in one bucket: how objects about that person are told. Runs across tenants. */
export class Person {
  readonly remote: Remote;
  readonly tenant: string;
  readonly subject: string;
  readonly patterns: readonly Pattern[];
  /** What the keys of the tenant begin with. */
  readonly prefix: string;
  /** What the keys of the person's markers begin with. */
  readonly markers: string;

  /** @throws InvalidTenantError */
  constructor(remote: Remote, tenant: string, subject: string) {
    assertId(tenant, 'tenant');
    assertId(subject, 'subject');
    this.remote = remote;
    this.tenant = tenant;
    this.subject = subject;
    this.prefix = remote.names.prefix(tenant);
    this.markers = markersOf(tenant, subject);
    this.patterns = remote.patterns.map((pattern) => readPattern(pattern, subject, this.prefix));
  }

  /** The same person's id in another tenant. */
  in(tenant: string): Person {
    return new Person(this.remote, tenant, this.subject);
  }

  /** Of a physical key. */
  markerOf(key: string): string {
    return markerOf(this.tenant, this.subject, this.#logical(key)).key;
  }

  /** Whether a physical key is one of a pattern's. */
  isMatch(key: string, patterns: readonly Pattern[] = this.patterns): boolean {
    return patterns.some((pattern) => pattern.matches(this.#logical(key)));
  }

  /** Whether there is a marker for a physical key, or was one in a bucket with versions. */
  async isMarked(key: string, { versioned }: Pick<BucketTraits, 'versioned'>): Promise<boolean> {
    const prefix = this.markerOf(key);
    for await (const page of pagesOf(this.remote, { prefix, versioned, atMost: 1 })) {
      const named = page.filter(({ unnamed }) => unnamed === undefined);
      if (named.some(({ key }) => key === prefix)) return true;
      // It comes before all that begin with it; but a page may show nothing, and there be more.
      if (named.length > 0) return false;
    }
    return false;
  }

  /** Whether an upload is of a key that may be about the person. */
  async isConcerned({ key }: Entry, traits: Pick<BucketTraits, 'versioned'>): Promise<boolean> {
    return this.isMatch(key) || this.isMarked(key, traits);
  }

  /**
   * The physical key that a marker is for.
   *
   * @returns `undefined` when it is for none that a tenant could have written, `FORGED` when nobody can tell
   */
  async keyOf(marker: Entry): Promise<string | typeof FORGED | undefined> {
    const read = readMarker(marker.key.slice(this.markers.length));
    if (read === undefined) return undefined;
    const logical = read === 'body' ? await this.#bodyOf(marker) : read.key;
    if (logical === undefined || logical === FORGED) return logical;
    const key = `${this.prefix}${logical}`;
    return this.remote.names.accepts(this.tenant, key) ? key : undefined;
  }

  /**
   * Whether an object or a version is about the person, at a key where such things are: unless it names others only.
   * Whoever overwrites it without a person may have copied from it; and one that is encrypted with a key of the
   * caller's, or has more metadata than can be read, does not tell.
   *
   * @returns the entry with its size, `'others'`, or `undefined` when it is gone
   */
  async judge(entry: Entry): Promise<Entry | 'others' | undefined> {
    const head = await this.#head(entry.key, entry.versionId);
    if (head === undefined) return undefined;
    const named = subjectsIn(head.label);
    if (named.length > 0 && !named.includes(this.subject)) return 'others';
    return { ...entry, bytes: head.bytes ?? entry.bytes };
  }

  /** Pages of everything under one key and no other; in a bucket without versions, what may be there. */
  async *entries(
    key: string,
    { versioned }: Pick<BucketTraits, 'versioned'>,
  ): AsyncGenerator<readonly Entry[], void, undefined> {
    if (!versioned) {
      yield [{ kind: 'objects', key, bytes: 0, current: true }];
      return;
    }
    for await (const page of pagesOf(this.remote, { prefix: key, versioned, atMost: PAGE })) {
      const own = page.filter((entry) => entry.key === key && entry.unnamed === undefined);
      yield own;
      // Longer keys follow.
      if (page.some((entry) => entry.key !== key)) return;
    }
  }

  async #head(
    key: string,
    versionId?: string,
  ): Promise<{ readonly label?: string | undefined; readonly bytes?: number | undefined } | undefined> {
    const target = { Bucket: this.remote.bucket, Key: key };
    const command = new HeadObjectCommand(
      versionId === undefined ? target : { ...target, VersionId: versionId },
    );
    try {
      const { Metadata, ContentLength } = await this.remote.send(command);
      return { label: Metadata?.[LABEL], bytes: ContentLength };
    } catch (error) {
      const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
      if (status === 404) return undefined;
      // Encrypted with a key of the caller's.
      if (status === 400) return {};
      // With headers that nobody has signed, the holder of a URL can store more metadata than Node reads. It would
      // keep the object, and all that comes behind it, from being erased.
      if (isTooLong(error)) return {};
      throw error;
    }
  }

  /** What a marker holds that has no room for it in its key: nothing longer than a key can be. */
  async #bodyOf({ kind, key, versionId, bytes: size }: Entry): Promise<string | typeof FORGED | undefined> {
    if (kind === 'delete markers') return undefined;
    // Whoever has put it there may have made it as long as he liked.
    if (size === 0 || size > MAX_BODY) return FORGED;
    const target = { Bucket: this.remote.bucket, Key: key, Range: `bytes=0-${MAX_BODY}` };
    const command = new GetObjectCommand(
      versionId === undefined ? target : { ...target, VersionId: versionId },
    );
    const bytes = await this.remote.read(command, MAX_BODY);
    if (bytes === undefined) return FORGED;
    const logical = bytes.toString();
    const hash = createHash('sha256').update(logical).digest('base64url');
    return key === `${this.markers}h/${hash}` ? logical : FORGED;
  }

  #logical(key: string): string {
    return key.slice(this.prefix.length);
  }
}

/** Whether a reply had more headers than the parser takes. */
function isTooLong(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'HPE_HEADER_OVERFLOW';
}
