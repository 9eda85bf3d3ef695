import { ConfigError, currentTenant, refusal, refuse } from '@tenantkit/core';
import { Cluster, type Redis } from './client.ts';
import { hasTextNumbers } from './client-options.ts';
import type { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

const INSIDE = refuse(
  'it works on the keys of all tenants, and was called inside of one',
  'Call it outside of withTenant: in a job of the service, or inside acrossTenants.',
);

/** @throws {@link ConfigError} */
export function assertGuarded(client: object): Wiring {
  const wiring = wiringOf(client);
  if (wiring !== undefined) return wiring;
  throw new ConfigError({
    surface: 'cache',
    operation: 'client',
    problem: 'the client is not a Redis or Cluster of @tenantkit/cache',
    hint: 'Make it with import { Redis } from "@tenantkit/cache"; its options say how keys are named.',
  });
}

/** @throws {@link OperationRefusedError} inside a tenant, who could name another one */
export function assertOutside(operation: string): void {
  if (currentTenant() !== undefined) throw refusal('cache', operation, INSIDE);
}

/**
 * A replica that is behind shows no key that was written a moment ago: nothing would be removed, and the recount would
 * say that nothing is left. Counts that are texts would be put together instead of added.
 *
 * @throws {@link ConfigError} for a client that cannot tell what is stored
 */
export function assertFit(client: Redis | Cluster, operation: string): void {
  const option =
    client instanceof Cluster && client.options.scaleReads !== 'master'
      ? 'scaleReads'
      : hasTextNumbers(client.options)
        ? 'stringNumbers'
        : undefined;
  if (option === undefined) return;
  throw new ConfigError({
    surface: 'cache',
    operation,
    problem: `the client has the option ${option}, with which what is stored could not be told for certain`,
    hint: "Give it a client of its own without it: client.duplicate(…) with scaleReads: 'master', or without stringNumbers.",
  });
}
