import type { Placement } from '@tenantkit/core';
import type { ClusterNode } from 'ioredis';
import { z } from 'zod';
import { confineOptions } from './options-lock.ts';

/**
 * Where a server is, and as whom to connect there: those options of ioredis, by their names. How the connection
 * behaves is said once, in the options of the client.
 */
export interface SiloOptions {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** A Unix socket. */
  readonly path?: string | undefined;
  readonly family?: 0 | 4 | 6 | undefined;
  readonly db?: number | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Options of `tls.connect` of Node.js, but no functions. */
  readonly tls?: object | undefined;
  readonly sentinels?:
    | readonly { readonly host?: string | undefined; readonly port?: number | undefined }[]
    | undefined;
  /** The group of masters that the Sentinels know. */
  readonly name?: string | undefined;
  readonly sentinelUsername?: string | undefined;
  readonly sentinelPassword?: string | undefined;
  readonly sentinelTLS?: object | undefined;
  readonly enableTLSForSentinelMode?: boolean | undefined;
}

/** A server, or a Cluster, of a tenant's own. */
export interface SiloPlacement {
  /** For `Redis`: `redis://user:password@host:6379/0`, or `rediss://…` for TLS. */
  readonly url?: string | undefined;
  /** For `Cluster`: its nodes. */
  readonly nodes?: readonly ClusterNode[] | undefined;
  /** For a `Cluster` only `family`, `username`, `password` and `tls`. */
  readonly options?: SiloOptions | undefined;
}

/**
 * Where the data of one tenant is: `pool` in the server of the client, `bridge` in a database of its own there (not
 * in a Cluster), `silo` in a server of its own. Keys are named in the same way everywhere.
 */
export type CachePlacement = Placement<{ readonly db: number }, SiloPlacement>;

/** A placement that was read and checked, in an object of ours. */
export type OwnPlacement = Exclude<CachePlacement, { readonly level: 'pool' }>;

/** What a placement is checked against. */
export interface Pool {
  readonly isCluster: boolean;
  /** The database of the client. */
  readonly db: number | undefined;
}

const REDIS_URL = 'must be redis://… or rediss://…, with at most the number of a database and no query';
const NOWHERE = 'must say where the server is, in url or in options';
const NO_NODES = 'must be the nodes of a Cluster, such as [{ host, port }]; a url is for Redis';
const OWN_DATABASE = 'must be another database than that of the client, which is the pool';

// Functions are not the same when they are made anew, and each would be taken for another server.
const data = z.custom<object>(
  (value) => typeof value === 'object' && value !== null && !hasFunction(value),
  'must be an object without functions',
);
const port = z.int().min(1).max(65_535).optional();
const text = z.string().min(1).optional();
const database = z.int().nonnegative();

const access = { username: text, password: text, tls: data.optional() };
const family = z.union([z.literal(0), z.literal(4), z.literal(6)]).optional();
const address = z.strictObject({ host: text, port });

const siloOptions: z.ZodType<SiloOptions> = z.strictObject({
  ...access,
  host: text,
  port,
  path: text,
  family,
  db: database.optional(),
  sentinels: z.array(address).min(1).optional(),
  name: text,
  sentinelUsername: text,
  sentinelPassword: text,
  sentinelTLS: data.optional(),
  enableTLSForSentinelMode: z.boolean().optional(),
});

const url = z.string().refine((value) => isRedisUrl(value, /^(?:\/\d*)?$/), REDIS_URL);
const nodeUrl = z.string().refine((value) => isRedisUrl(value, /^\/?$/), REDIS_URL);

const pool = z.strictObject({ level: z.literal('pool') });

const ofRedis = z.discriminatedUnion(
  'level',
  [
    pool,
    z.strictObject({ level: z.literal('bridge'), db: database }),
    z
      .strictObject({ level: z.literal('silo'), url: url.optional(), options: siloOptions.optional() })
      .refine(({ url, options }) => url !== undefined || isSomewhere(options), NOWHERE),
  ],
  otherThan("'pool', 'bridge' or 'silo'"),
);

const ofCluster = z.discriminatedUnion(
  'level',
  [
    pool,
    z.strictObject({
      level: z.literal('silo'),
      nodes: z
        .array(z.union([nodeUrl, z.int().min(1).max(65_535), address]), {
          error: ({ code }) => (code === 'invalid_type' ? NO_NODES : undefined),
        })
        .min(1),
      options: z.strictObject({ ...access, family }).optional(),
    }),
  ],
  otherThan("'pool' or 'silo'"),
);

// What says where the pool is, and how to get in: nothing of it may go to another server.
const OF_THE_POOL: ReadonlySet<string> = new Set(
  [
    ['Connector', 'host', 'port', 'path', 'family', 'db', 'username', 'password', 'tls'],
    ['sentinels', 'name', 'role', 'preferredSlaves', 'sentinelUsername', 'sentinelPassword'],
    ['sentinelTLS', 'enableTLSForSentinelMode'],
  ].flat(),
);

/**
 * Reads what `place` has answered, each part once.
 *
 * @returns `undefined` for the pool
 * @throws {@link InvalidPlacement} that says what is wrong, and shows nothing of it
 */
export function readPlacement(answer: unknown, { isCluster, db }: Pool): OwnPlacement | undefined {
  const result = (isCluster ? ofCluster : ofRedis).safeParse(answer);
  if (!result.success) {
    const [issue] = result.error.issues;
    const problem =
      issue?.code === 'unrecognized_keys' ? `unknown option ${issue.keys.join(', ')}` : issue?.message;
    throw new InvalidPlacement(
      `${['place', ...(issue?.path ?? [])].join('.')}: ${problem ?? 'not accepted'}`,
    );
  }
  const placement = result.data as CachePlacement;
  if (placement.level === 'pool') return undefined;
  if (placement.level === 'bridge' && placement.db === (db ?? 0))
    throw new InvalidPlacement(`place.db: ${OWN_DATABASE}`);
  return confineOptions(placement);
}

/** What `place` has answered is no placement. */
export class InvalidPlacement extends Error {
  override readonly name = 'InvalidPlacement';
}

/** A placement in two parts: a place with another password is the same place. */
export function splitPlacement(placement: OwnPlacement): {
  place: OwnPlacement;
  password?: string | undefined;
} {
  if (placement.level === 'bridge') return { place: placement };
  const { url, options } = placement;
  const address = url === undefined ? undefined : new URL(url);
  // As ioredis reads them: with either of the two in the address, both are from there.
  const isThere = address !== undefined && address.username + address.password !== '';
  const username = isThere ? decodeURIComponent(address.username) : options?.username;
  const password = isThere ? decodeURIComponent(address.password) : options?.password;
  if (address !== undefined) address.username = address.password = '';
  const own = { ...options, username: username === '' ? undefined : username, password: undefined };
  return { place: { ...placement, url: address?.href, options: own }, password };
}

const ADDRESS = ['host', 'port', 'path', 'family', 'db', 'username', 'sentinels', 'name'] as const;

/** The same text for the same place, and most often another one for another. */
export function addressOf(place: OwnPlacement): string {
  if (place.level === 'bridge') return JSON.stringify(place.db);
  const { url, nodes, options } = place;
  return JSON.stringify([url, nodes, ...ADDRESS.map((name) => options?.[name])]);
}

/** The options of a client in another place: how it behaves is that of the pool, where it is and as whom is not. */
export function optionsIn<O extends object>(options: O, placement: OwnPlacement): O {
  if (placement.level === 'bridge') return { ...options, db: placement.db };
  return { ...withoutPool(options), ...withoutUndefined(placement.options ?? {}) };
}

/** What is said of another level. It is shown when it is a word: an address may hold a password. */
function otherThan(levels: string) {
  return {
    error: ({ code, input }: { readonly code: string; readonly input?: unknown }): string | undefined => {
      if (code !== 'invalid_union') return undefined;
      const { level } = input as { readonly level?: unknown };
      const isWord = typeof level === 'string' && /^\w{1,16}$/.test(level);
      return `must be ${levels}${isWord ? `, and not '${level}'` : ''}`;
    },
  };
}

function withoutPool<O extends object>(options: O): O {
  return Object.fromEntries(Object.entries(options).filter(([name]) => !OF_THE_POOL.has(name))) as O;
}

function withoutUndefined<O extends object>(options: O): O {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as O;
}

function isSomewhere({ host, port, path, sentinels }: SiloOptions = {}): boolean {
  return [host, port, path, sentinels].some((part) => part !== undefined);
}

function isRedisUrl(value: string, path: RegExp): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, pathname, search, hash } = new URL(value);
  // A query of ioredis sets any option.
  return (
    /^rediss?:$/.test(protocol) && hostname !== '' && path.test(pathname) && search === '' && hash === ''
  );
}

function hasFunction(value: unknown, depth = 8): boolean {
  if (typeof value === 'function' || depth === 0) return true;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false;
  return Object.values(value).some((part) => hasFunction(part, depth - 1));
}
