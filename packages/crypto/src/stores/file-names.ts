import { isId } from '@tenantkit/core';

const PREFIX = 'tk-';
const REVISION = /^(\d{8})\.json$/;

/**
 * The directory of a tenant. Upper-case letters become `+` and the lower-case letter: on a file system that
 * ignores case, `Acme` and `acme` would otherwise share their keys.
 */
export function directoryName(tenant: string): string {
  return PREFIX + tenant.replace(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`);
}

/** The tenant of a directory, or `undefined` when the directory is not of that form. */
export function tenantOf(name: string): string | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const tenant = name.slice(PREFIX.length).replace(/\+([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return isId(tenant) && directoryName(tenant) === name ? tenant : undefined;
}

/** The file of a revision. */
export function revisionName(revision: number): string {
  return `${String(revision).padStart(8, '0')}.json`;
}

/** The revision of a file, or `undefined` when the file is not of that form. */
export function revisionOf(name: string): number | undefined {
  const digits = REVISION.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** The revision that holds among a tenant's files; 0 when there is none. */
export function highest(names: readonly string[]): number {
  return names.reduce((top, name) => Math.max(top, revisionOf(name) ?? 0), 0);
}
