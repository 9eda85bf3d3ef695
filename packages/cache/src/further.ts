import { currentScope } from '@tenantkit/core';
import type { RedisArguments, RedisOptions } from './client-options.ts';
import { followLogin, withLogin } from './login.ts';
import { ownOverride } from './override.ts';
import { optionsIn, type OwnPlacement } from './place.ts';
import type { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

/** A client with one connection, that others are made out of. */
interface Original {
  readonly status: string;
  readonly options: RedisOptions;
}

/**
 * Makes a further client with the same options; see `Redis.duplicate`.
 *
 * @param shown - the options that say how the client connects and writes: those of the lender for one that is lent
 * @throws {@link OperationRefusedError} inside a tenant, for another server, database or other names
 */
export function duplicateOf<Client extends Original>(
  { options }: Original,
  wiring: Wiring,
  shown: RedisOptions,
  override: Partial<RedisOptions> | undefined,
  make: (options: RedisOptions) => Client,
): Client {
  const own = ownOverride(override);
  const { lazyConnect, enableAutoPipelining } = shown;
  const tenant = wiring.housing.tenantFor(currentScope());
  const copy = make({ ...withLogin(options), lazyConnect, enableAutoPipelining, tenant, ...own });
  const copied = wiringOf(copy) as Wiring;
  copied.stays(wiring);
  if (!('username' in own || 'password' in own)) followLogin(copy.options, options);
  // That of a node of a cluster.
  if (wiring.guard.registry?.perSlot === true) copied.noteKeys(true);
  const scope = currentScope();
  if (scope !== undefined) copied.own(scope, () => copy.status);
  return copy;
}

/** Makes the client of a tenant's own place. */
export function clientIn<Client extends Original>(
  placement: OwnPlacement,
  { options }: Original,
  { tenant }: Wiring,
  make: (...args: RedisArguments) => Client,
): Client {
  const own: RedisOptions = { ...optionsIn(options, placement), tenant };
  const { url } = 'url' in placement ? placement : {};
  const client = url === undefined ? make(own) : make(url, own);
  // The same server, in another database.
  if (placement.level === 'bridge') followLogin(client.options, options);
  return client;
}

/** The options of a client that is lent. */
export function lentOptions(options: RedisOptions, { tenant }: Wiring): RedisOptions {
  // What waits for the end of a turn would be too late for the loan.
  return { ...options, tenant, lazyConnect: true, enableAutoPipelining: false };
}
