import { createHash } from 'node:crypto';
import type { Sealer } from './seal.ts';

/** An upload of one key, as the server knows it. */
export interface UploadName {
  readonly tenant: string;
  readonly bucket: string;
  /** The physical key. */
  readonly key: string;
}

/** The id of an upload, sealed to its tenant, bucket and key. Always the same for the same upload. */
export function sealUploadId(sealer: Sealer, id: string, { tenant, bucket, key }: UploadName): string {
  return sealer.seal(`${digest(key)}${id}`, ['upload', tenant, bucket]);
}

/**
 * The server's own id.
 *
 * @param key - the physical key; `undefined` where the id is only a place in a listing: servers differ in whether
 *   they percent-encode the key that belongs to it
 * @returns `undefined` when it was sealed for another tenant, bucket or key, or not at all
 */
export function openUploadId(
  sealer: Sealer,
  sealed: unknown,
  { tenant, bucket, key }: Omit<UploadName, 'key'> & { readonly key: string | undefined },
): string | undefined {
  const text = sealer.open(sealed, ['upload', tenant, bucket]);
  if (text === undefined) return undefined;
  if (key !== undefined && !text.startsWith(digest(key))) return undefined;
  return text.slice(DIGEST);
}

// The key itself would make ids of up to two thousand characters: too long for a header, where tus keeps them.
const DIGEST = 22;
const digest = (key: string): string =>
  createHash('sha256').update(key).digest().subarray(0, 16).toString('base64url');
