import { createHash } from 'node:crypto';
import { sealedTo, type Home } from './place.ts';
import type { Sealer } from './seal.ts';

/** An upload of one key, as the server knows it. */
export interface UploadName {
  readonly tenant: string;
  readonly home: Pick<Home, 'id' | 'silo'>;
  readonly bucket: string;
  /** The physical key. */
  readonly key: string;
}

/**
 * The id of an upload, sealed to its tenant, place, bucket and key. Always the same for the same upload, unless it is about
 * persons: a server does not tell in a listing whom.
 *
 * @param subjects - whom the upload is about
 */
export function sealUploadId(
  sealer: Sealer,
  id: string,
  { tenant, home, bucket, key, subjects }: UploadName & { readonly subjects: readonly string[] },
): string {
  // A line break is in no id of a server's.
  const about = subjects.length === 0 ? '' : `\n${subjects.join(',')}`;
  return sealer.seal(`${digest(key)}${id}${about}`, ['upload', tenant, bucket, ...sealedTo(home)]);
}

/**
 * The server's own id, and whom the upload is about.
 *
 * @param key - the physical key; `undefined` where the id is only a place in a listing: servers differ in whether
 *   they percent-encode the key that belongs to it
 * @returns `undefined` when it was sealed for another tenant, place, bucket or key, or not at all
 */
export function openUploadId(
  sealer: Sealer,
  sealed: unknown,
  { tenant, home, bucket, key }: Omit<UploadName, 'key'> & { readonly key: string | undefined },
): { readonly id: string; readonly subjects: readonly string[] } | undefined {
  const text = sealer.open(sealed, ['upload', tenant, bucket, ...sealedTo(home)]);
  if (text === undefined) return undefined;
  if (key !== undefined && !text.startsWith(digest(key))) return undefined;
  const [id = '', about] = text.slice(DIGEST).split('\n');
  return { id, subjects: about === undefined ? [] : about.split(',') };
}

// The key itself would make ids of up to two thousand characters: too long for a header, where tus keeps them.
const DIGEST = 22;
const digest = (key: string): string =>
  createHash('sha256').update(key).digest().subarray(0, 16).toString('base64url');
