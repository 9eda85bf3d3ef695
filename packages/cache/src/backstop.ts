import { parseOptions } from '@tenantkit/core';
import { z } from 'zod';
import { CacheNames, RESERVED, escapeGlob, type NamesOptions } from './names.ts';
import { hasFixedSlot } from './registry-names.ts';
import { SCRIPTING, rules, type CacheRule } from './rules.ts';
import { MODULES } from './rules/modules.ts';
import { NEWER } from './rules/newer.ts';

/** Options of {@link cacheBackstop}. */
export interface CacheBackstopOptions extends NamesOptions {
  /**
   * Whether the user may SCAN, by default `false`: the server shows every name in the database to whoever may,
   * whatever keys the user has. Without it `scan` and `scanStream` of the client fail under this user.
   */
  readonly scan?: boolean | undefined;
  /**
   * Whether the user may run scripts and functions, by default `false`. Every command in a script is checked against
   * these rules as well, whatever keys the script declares; functions are loaded by operators only.
   */
  readonly scripts?: boolean | undefined;
  /**
   * Whether the user may write the registry of its tenant and the sets of its persons, by default `false`: as
   * `tenant.index` of the client, which fails every write under a user who may not.
   */
  readonly index?: boolean | undefined;
  /**
   * What `COMMAND LIST` of the server returns, by default the commands of Redis 7.0. A server accepts no rule about
   * a command that it does not have: with this, the user may also use what is newer, and what modules bring.
   */
  readonly commands?: readonly string[] | undefined;
}

const schema = z.strictObject({
  names: z.string().optional(),
  hashTag: z.boolean().optional(),
  scan: z.boolean().optional(),
  scripts: z.boolean().optional(),
  index: z.boolean().optional(),
  commands: z.array(z.string()).min(1).readonly().optional(),
});

// The server shows these names and counts of all tenants to whoever may ask, whatever channels the user has.
const SHOWING: ReadonlySet<string> = new Set([
  'pubsub|channels',
  'pubsub|numsub',
  'pubsub|shardchannels',
  'pubsub|shardnumsub',
]);

// To walk the keys of the tenant; in a Cluster also to know whether slots have moved meanwhile.
const WALKING: ReadonlySet<string> = new Set(['scan', 'cluster|nodes']);

// What ioredis needs on a connection. No SELECT.
const CONNECTION = ['auth', 'client|setname', 'hello'] as const;

// What a Cluster needs to find the nodes, and to follow a slot that moves. They name no key.
const TOPOLOGY = [
  'asking',
  'cluster|info',
  'cluster|nodes',
  'cluster|shards',
  'cluster|slots',
  'readonly',
  'readwrite',
] as const;

/**
 * The rules of an ACL user that the server itself confines to one tenant: the commands that the table allows, on
 * the keys and channels of this tenant. They hold without this package, so also against a stolen password.
 *
 * Call the user as you like, but not after the tenant alone: an id such as `default` is the name of somebody else.
 * What {@link cacheEraser} knows the user by is a mark in the rules, a channel that nobody uses.
 *
 * The rules set no password: add `>password` or `#sha256` yourself. They are for database 0, since a user who
 * may SELECT reaches all databases. Redis lets everybody RESET, which makes the connection one of the user
 * `default`: disable that user (`ACL SETUSER default off`), or these rules confine nobody who knows of it.
 *
 * @param tenant - the tenant's id
 * @param options - `names` and `hashTag` as in the options of the client
 * @returns the arguments of `ACL SETUSER` after the user's name
 * @throws InvalidTenantError when the id is malformed
 * @throws {@link ConfigError} for unknown options
 * @see https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
 *
 * @example
 * ```ts
 * import { cacheBackstop } from '@tenantkit/cache';
 * const commands = (await admin.command('LIST')) as string[];
 * await admin.acl('SETUSER', 'tenant:acme', ...cacheBackstop('acme', { commands }), `>${password}`);
 * ```
 */
export function cacheBackstop(tenant: string, options: CacheBackstopOptions = {}): string[] {
  const {
    scan = false,
    scripts = false,
    index = false,
    commands: known,
    ...names
  } = parseOptions('cache', schema, options, 'cacheBackstop');
  const { prefix } = new CacheNames(names).of(tenant);
  const pattern = `${escapeGlob(prefix)}*`;
  const registries = index ? registriesOf(prefix).map((name) => `~${name}`) : [];
  const channels = [`&${pattern}`, markOf(prefix)];
  const isKnown = known === undefined ? isOfDefault : isAmong(known);
  const commands = [...allowed(), ...CONNECTION, ...TOPOLOGY].filter(
    (command) =>
      isKnown(command) &&
      (scan || !WALKING.has(command)) &&
      (scripts || !SCRIPTING.has(command.replace('|', ' '))) &&
      !SHOWING.has(command),
  );
  const allows = commands.sort().map((name) => `+${name}`);
  return ['reset', 'on', `~${pattern}`, ...registries, ...channels, '-@all', ...allows];
}

/** What the rules of every tenant's user hold. No rule that an operator writes begins like it. */
export const MARK = `&${RESERVED}user:`;

/**
 * The rule by which the user of one tenant is known again, whatever its name: a channel that no tenant can name. Of
 * the rules it is the one that gives nothing.
 */
export function markOf(prefix: string): string {
  return MARK + escapeGlob(prefix);
}

// Neither an id nor the tag of a slot holds `:`, so that none of them matches the name of another tenant's.
function registriesOf(prefix: string): string[] {
  const tags = hasFixedSlot(prefix) ? [''] : ['', '{*}'];
  const own = escapeGlob(prefix);
  return tags.flatMap((tag) => [`${RESERVED}keys${tag}:${own}`, `${RESERVED}subject${tag}:*:${own}`]);
}

function allowed(): string[] {
  return Object.entries(rules).flatMap(([name, rule]: [string, CacheRule]) => {
    if (rule.kind === 'refuse') return [];
    // The server would answer for all tenants.
    if (rule.kind === 'custom' && rule.custom === 'walk') return [];
    if (rule.kind !== 'custom' || typeof rule.custom === 'string') return [name];
    return Object.entries(rule.custom.subcommands)
      .filter(([sub, { kind }]) => kind !== 'refuse' && sub !== '')
      .map(([sub]) => `${name}|${sub}`);
  });
}

function isOfDefault(command: string): boolean {
  return !NEWER.has(command) && !Object.hasOwn(MODULES, command);
}

function isAmong(known: readonly string[]): (command: string) => boolean {
  // A server gives the commands of modules as their authors wrote them.
  const lower = new Set(known.map((name) => name.toLowerCase()));
  return (command) => lower.has(command);
}
