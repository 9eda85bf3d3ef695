import { createHash } from 'node:crypto';
import { isId } from '@tenantkit/core';
import { SUBJECTS } from './spots.ts';

/** Metadata of tenantkit's own. Servers that speak CGI take an underscore for a hyphen. */
export const OWN_METADATA = /^tk[-_]/i;

/** The metadata that says which persons an object is about: `p1,p2`. */
export const LABEL = 'tk-subject';

/** {@link LABEL} as a header. */
export const LABEL_HEADER = `x-amz-meta-${LABEL}`;

/** All metadata of an object may have 2 KiB; half of it stays for its owner. */
export const MAX_LABEL = 1024;

/** The longest key that servers take, in bytes. */
const MAX_KEY = 1024;

/** An object that says: there is something about a person under a key. */
export interface Marker {
  /** Physical. */
  readonly key: string;
  /** Empty, or the logical key where the marker's own key has no room for it. */
  readonly body: string;
}

/** What the keys of all markers of a person begin with. */
export function markersOf(tenant: string, subject: string): string {
  return `${SUBJECTS}${tenant}/${subject}/`;
}

/**
 * The marker of a person and a key.
 *
 * @param key - logical
 */
export function markerOf(tenant: string, subject: string, key: string): Marker {
  const start = markersOf(tenant, subject);
  const named = `${start}k/${key}`;
  if (Buffer.byteLength(named) <= MAX_KEY) return { key: named, body: '' };
  return { key: `${start}h/${createHash('sha256').update(key).digest('base64url')}`, body: key };
}

/** What the last part of a marker's key tells: the logical key itself, or that it is in the marker's body. */
export function readMarker(name: string): { readonly key: string } | 'body' | undefined {
  if (name.startsWith('k/') && name.length > 2) return { key: name.slice(2) };
  return /^h\/[A-Za-z0-9_-]{43}$/.test(name) ? 'body' : undefined;
}

/** The persons in a label; none where there is no label that we could have written. */
export function subjectsIn(label: string | undefined): string[] {
  // A server adds a second header of the name with a blank.
  const names = (label ?? '').split(',').map((name) => name.trim());
  return [...new Set(names)].filter((name) => isId(name));
}

/** The label of an object that is about these persons. */
export function labelOf(subjects: readonly string[]): string | undefined {
  return subjects.length === 0 ? undefined : subjects.join(',');
}
