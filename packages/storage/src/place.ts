import type { Placement } from '@tenantkit/core';
import { z } from 'zod';
import { bucketName } from './bucket-name.ts';
import { shown } from './grammar.ts';
import { identitySchema, plainIdentity, type TenantIdentity } from './identity.ts';

/** Which bucket stands for each of the client's `tenant.buckets`. */
export type PlacedBuckets = Readonly<Record<string, string>>;

/** A server of a tenant's own. */
export interface SiloPlacement {
  /** `https://s3.acme.example`, or with a port; no path, query, user or password. */
  readonly endpoint: string;
  /** Default: the client's. */
  readonly region?: string | undefined;
  /** Default `true`, which is what servers of one's own mostly need. */
  readonly forcePathStyle?: boolean | undefined;
  /** Those of the client are never sent there. */
  readonly credentials: TenantIdentity;
  /** Where they are called otherwise. */
  readonly buckets?: PlacedBuckets | undefined;
}

/**
 * Where the data of one tenant is: `pool` in the buckets of the client, `bridge` in buckets of its own on the same
 * server, `silo` on a server of its own. Keys are named in the same way everywhere.
 */
export type StoragePlacement = Placement<{ readonly buckets: PlacedBuckets }, SiloPlacement>;

/** A server that is not the client's. */
export interface Silo {
  /** The same text for the same server. */
  readonly id: string;
  readonly endpoint: string;
  readonly region: string | undefined;
  readonly forcePathStyle: boolean;
  readonly identity: TenantIdentity;
}

/** Where one tenant is: a placement that was read and checked. */
export interface Home {
  /** The same text for the same place. */
  readonly id: string;
  /** `undefined` on the client's own server. */
  readonly silo: Silo | undefined;
  /** The buckets as the server knows them, by how the caller knows them. */
  readonly buckets: ReadonlyMap<string, string>;
  /** All of them, as the server knows them. */
  readonly physical: readonly string[];
}

/** What `place` has answered is no placement. */
class InvalidPlacement extends Error {
  override readonly name = 'InvalidPlacement';
}

const POOL = 'pool';

/** Where tenants are that have no place of their own. */
export function poolOf(buckets: readonly string[]): Home {
  return { id: POOL, silo: undefined, ...housed(new Map(buckets.map((name) => [name, name]))) };
}

/**
 * What texts of a place are sealed to, beside the bucket: a silo chooses its own, and buckets of the same name are in
 * many places. Those of the pool are sealed to nothing more.
 */
export function sealedTo({ id, silo }: Pick<Home, 'id' | 'silo'>): readonly string[] {
  if (silo !== undefined) return ['silo', silo.id];
  return id === POOL ? [] : ['bridge'];
}

const ENDPOINT = 'must be http://host or https://host, at most with a port';
const REGION = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const buckets = z.record(z.string(), bucketName);
const schema = z.discriminatedUnion(
  'level',
  [
    z.strictObject({ level: z.literal('pool') }),
    z.strictObject({ level: z.literal('bridge'), buckets }),
    z.strictObject({
      level: z.literal('silo'),
      endpoint: z.string().refine(isOrigin, ENDPOINT),
      region: z.string().regex(REGION, 'must be the name of a region').optional(),
      forcePathStyle: z.boolean().optional(),
      credentials: identitySchema,
      buckets: buckets.optional(),
    }),
  ],
  { error: ({ code }) => (code === 'invalid_union' ? "must be 'pool', 'bridge' or 'silo'" : undefined) },
);

/**
 * Reads what `place` has answered, each part once.
 *
 * @param pool - of the client
 * @throws InvalidPlacement that says what is wrong, and shows nothing of it
 */
export function readPlacement(answer: unknown, pool: Home): Home {
  const result = schema.safeParse(answer);
  if (!result.success) {
    const [issue] = result.error.issues;
    const problem =
      issue?.code === 'unrecognized_keys'
        ? `unknown option ${issue.keys.map(shown).join(', ')}`
        : issue?.message;
    throw invalid(
      (issue?.path ?? []).filter((part) => KNOWN.has(part)),
      problem ?? 'not accepted',
    );
  }
  const placement = result.data;
  if (placement.level === 'pool') return pool;
  const named = readBuckets(placement.buckets, pool);
  const id = JSON.stringify([...named]);
  if (placement.level === 'bridge') return { id: `bridge ${id}`, silo: undefined, ...housed(named) };
  const { region, forcePathStyle = true, credentials } = placement;
  const endpoint = new URL(placement.endpoint).origin;
  const server = JSON.stringify([endpoint, region, forcePathStyle]);
  const silo: Silo = { id: server, endpoint, region, forcePathStyle, identity: plainIdentity(credentials) };
  return { id: `silo ${server} ${id}`, silo, ...housed(named) };
}

// Names of options, which hold no names of customers.
const KNOWN: ReadonlySet<PropertyKey> = new Set(
  'level buckets endpoint region forcePathStyle credentials accessKeyId secretAccessKey sessionToken expiration'.split(
    ' ',
  ),
);

function housed(buckets: Home['buckets']): Pick<Home, 'buckets' | 'physical'> {
  return { buckets, physical: [...buckets.values()] };
}

function readBuckets(given: PlacedBuckets | undefined, pool: Home): Home['buckets'] {
  if (given === undefined) return pool.buckets;
  const named = new Map(
    [...pool.buckets.keys()].map((name) => [name, Object.hasOwn(given, name) ? given[name] : undefined]),
  );
  const physical = [...named.values()];
  // One that is left out would stay in the pool, unsaid.
  if (physical.includes(undefined) || Object.keys(given).length !== named.size)
    throw invalid(
      ['buckets'],
      'must name a bucket for each of the client’s tenant.buckets, and for no other',
    );
  if (new Set(physical).size !== physical.length)
    throw invalid(['buckets'], 'must be different ones: the keys of two buckets would be the same objects');
  return named as Home['buckets'];
}

function invalid(path: readonly PropertyKey[], problem: string): InvalidPlacement {
  return new InvalidPlacement(`${['place', ...path].map(String).join('.')}: ${problem}`);
}

function isOrigin(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, origin, href } = new URL(value);
  return /^https?:$/.test(protocol) && href === `${origin}/`;
}
