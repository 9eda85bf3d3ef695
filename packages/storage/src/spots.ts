import { assertId } from '@tenantkit/core';
import type { Remote } from './remote.ts';

/** Where objects are: all in one bucket whose physical keys begin with a prefix. */
export interface Spot {
  readonly remote: Remote;
  readonly prefix: string;
}

/** What all names of tenantkit's own begin with; no tenant's prefix can. */
export const RESERVED = 'tk!';

/** Under it, markers say which objects are about a person: `tk!subjects/<tenant>/<subject>/…`. */
export const SUBJECTS = `${RESERVED}subjects/`;

/**
 * All that belongs to a tenant: its objects, and what says whom they are about.
 *
 * @param remotes - every bucket in which the tenant is or was
 */
export function spotsOf(remotes: readonly Remote[], tenant: string): Spot[] {
  assertId(tenant, 'tenant');
  return remotes.flatMap((remote) =>
    [remote.names.prefix(tenant), `${SUBJECTS}${tenant}/`].map((prefix) => ({ remote, prefix })),
  );
}
