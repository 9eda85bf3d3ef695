import { ConfigError } from '@tenantkit/core';
import { CLUSTER } from './couplings-cluster.ts';
import { COMMANDS } from './couplings-commands.ts';
import { CONNECTION } from './couplings-connection.ts';
import { quietly } from './couplings-quiet.ts';

/** What this package relies on inside of ioredis, and whether it holds. */
type Couplings<Subject> = Readonly<Record<string, (subject: Subject) => boolean>>;

/** What ioredis does, whichever client it is. */
const LIBRARY: Couplings<undefined> = { ...COMMANDS, ...CONNECTION, ...CLUSTER };

/** What a client of ioredis has. */
const CLIENT = {
  'autopipelines of ioredis are kept in _autoPipelines': (client: object) =>
    Reflect.get(client, '_autoPipelines') instanceof Map,
  'scan streams are made in createScanStream': (client: object) =>
    typeof Reflect.get(client, 'createScanStream') === 'function',
  'the connection of a cluster that hears messages is asked for with getInstance': (client: object) => {
    const subscriber: unknown = Reflect.get(client, 'subscriber');
    return (
      Reflect.get(client, 'connectionPool') === undefined ||
      typeof Reflect.get(subscriber as object, 'getInstance') === 'function'
    );
  },
} satisfies Couplings<object>;

let checked = false;

/**
 * Looks whether the installed ioredis still works as this package takes it to. A newer one that does not must not
 * be found out by the data of one tenant in the hands of another.
 *
 * @throws {@link ConfigError} that names what no longer holds
 */
export function assertLibrary(): void {
  if (checked) return;
  quietly(() => assertAll(LIBRARY, undefined));
  checked = true;
}

/** As {@link assertLibrary}, for one client. @throws {@link ConfigError} */
export function assertClient(client: object): void {
  assertAll(CLIENT, client);
}

/** Looks again at what was looked at once, for tests. @throws {@link ConfigError} */
export function recheckLibrary(): void {
  checked = false;
  assertLibrary();
}

/** Takes the autopipelines of ioredis away, which give replies to the wrong callers: see `Batch`. */
export function withoutAutoPipelines(client: object): void {
  const value = new NoAutoPipelines();
  Object.defineProperty(client, '_autoPipelines', { value, writable: false, configurable: false });
}

/** The error for a coupling that does not hold. */
export function brokenCoupling(what: string, cause?: unknown): ConfigError {
  return new ConfigError({
    surface: 'cache',
    operation: 'ioredis',
    problem: `the installed ioredis works differently: it no longer holds that ${what}`,
    hint: 'Install the ioredis that this version of tenantkit names as its peer, or a newer tenantkit.',
    cause,
  });
}

class NoAutoPipelines extends Map<unknown, never> {
  override has(): never {
    throw brokenCoupling('a command that autoPipeliningIgnoredCommands holds is sent by itself');
  }

  override set(): never {
    return this.has();
  }
}

function assertAll<Subject>(couplings: Couplings<Subject>, subject: Subject): void {
  for (const [what, holds] of Object.entries(couplings)) {
    let cause: unknown;
    try {
      if (holds(subject)) continue;
    } catch (error) {
      cause = error;
    }
    throw brokenCoupling(what, cause);
  }
}
