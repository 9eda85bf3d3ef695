import {
  ConfigError,
  optionSchemas,
  parseOptions,
  subjectPattern,
  type TenantRegistry,
} from '@tenantkit/core';
import { z } from 'zod';
import type { NamesOptions } from './names.ts';
import type { CachePlacement } from './place.ts';
import { allowedScripts, type AllowedScript } from './scripts.ts';

/** How `dedicated()` lends connections. Those of one client; a Cluster has them per master. */
export interface DedicatedOptions {
  /** How many there may be at a time, by default 10. */
  readonly max?: number | undefined;
  /** How many one tenant may have at a time, by default half of `max`, so that others do not wait behind it. */
  readonly perTenant?: number | undefined;
  /** How long to wait for a free one, and for one to be made, in milliseconds; by default 10 000. */
  readonly wait?: number | undefined;
  /** How long one that nobody uses is kept, in milliseconds; by default 30 000. */
  readonly idle?: number | undefined;
}

/** Options of tenantkit, under the key `tenant` of the options of {@link Redis} and {@link Cluster}. */
export interface CacheOptions extends NamesOptions {
  /** Refuses work for frozen and erased tenants. */
  readonly fence?: TenantRegistry | undefined;
  /** Scripts and functions of others that may run, since somebody has read them; by default none. */
  readonly scripts?: readonly AllowedScript[] | undefined;
  /**
   * Keeps a registry of each tenant's keys, and of the keys that are about the subject of the context, so that an
   * erasure finds them without walking the keyspace; by default `false`.
   */
  readonly index?: boolean | undefined;
  /**
   * Which keys are about a person, whoever has written them: logical names with `{subject}` in them, in which `*`
   * stands for any text and `?` for one character, such as `user:{subject}:*`.
   */
  readonly subjects?: readonly string[] | undefined;
  /** Limits of `dedicated()`. */
  readonly dedicated?: DedicatedOptions | undefined;
  /**
   * Where the data of a tenant is, by default in the server of the client. It is called outside of any tenant, at most
   * once a second for each tenant that works, and has to answer at once. What it throws, and an answer that is no
   * placement, refuses the tenant's calls. A tenant is moved while the `fence` has it frozen; without a fence another
   * answer than before is refused.
   *
   * @example
   * ```ts
   * import { Redis } from '@tenantkit/cache';
   * const silos = new Map([['big', 'redis://big.internal:6379']]);
   * new Redis({
   *   tenant: {
   *     place: (tenant) => {
   *       const url = silos.get(tenant);
   *       return url === undefined ? { level: 'pool' } : { level: 'silo', url };
   *     },
   *   },
   * });
   * ```
   */
  readonly place?: ((tenant: string) => CachePlacement) | undefined;
}

const ONCE =
  'must hold {subject} once, followed by nothing or by a character other than A-Z a-z 0-9 _ - * ?, which must also stand between it and a * or ? before it';

// What setTimeout of node takes.
const milliseconds = z.number().int().positive().max(2_147_483_647).optional();

const schema: z.ZodType<CacheOptions> = z.strictObject({
  names: optionSchemas.names,
  hashTag: z.boolean().optional(),
  fence: optionSchemas.fence,
  scripts: allowedScripts.optional(),
  index: z.boolean().optional(),
  // Keys have no fields.
  subjects: z
    .array(z.string().check(z.refine((pattern) => subjectPattern.safeParse(pattern).success, ONCE)))
    .optional(),
  dedicated: z
    .strictObject({
      max: z.number().int().positive().optional(),
      perTenant: z.number().int().positive().optional(),
      wait: milliseconds,
      idle: milliseconds,
    })
    .optional(),
  place: z
    .custom<(tenant: string) => CachePlacement>(
      (value) => typeof value === 'function',
      'must be a function that tells where a tenant is',
    )
    .optional(),
});

// Options of ioredis that would undo the guard, and what to use instead.
const REFUSED = {
  keyPrefix: {
    problem:
      'keyPrefix cannot be combined with tenants, since it leaves patterns, replies and scripts as they are',
    hint: "Put the prefix into the template instead: tenant: { names: 'myapp:{tenant}:' }.",
  },
  monitor: {
    problem: 'monitor shows the commands of every tenant',
    hint: 'Use a client of plain ioredis for it.',
  },
  himportFieldsets: {
    problem: 'HIMPORT is refused today',
    hint: 'Write hashes with HSET.',
  },
} as const satisfies Record<string, { readonly problem: string; readonly hint: string }>;

/**
 * Reads our options from the options that ioredis has merged from all of its arguments, the query of a URL
 * included, and refuses those of ioredis that cannot hold a tenant.
 *
 * @throws {@link ConfigError}
 */
export function readOptions(merged: object, nested: object = {}): CacheOptions {
  for (const name of Object.keys(REFUSED) as (keyof typeof REFUSED)[]) {
    if (isSet(merged, name) || isSet(nested, name)) throw refusedOption(name);
  }
  if ('scripts' in nested && nested.scripts !== undefined) {
    throw new ConfigError({
      surface: 'cache',
      operation: 'options',
      problem: 'scripts stands inside redisOptions, where it would define commands of single nodes',
      hint: 'Put it beside redisOptions: new Cluster(nodes, { scripts: { … }, redisOptions: { … } }).',
    });
  }
  if ('tenant' in nested && nested.tenant !== undefined) {
    throw new ConfigError({
      surface: 'cache',
      operation: 'options',
      problem: 'tenant stands inside redisOptions',
      hint: 'Put it beside redisOptions: new Cluster(nodes, { tenant: { … }, redisOptions: { … } }).',
    });
  }
  const given = 'tenant' in merged ? merged.tenant : undefined;
  const { fence, place, ...data } = parseOptions('cache', schema, given ?? {});
  // All clients of a tenant are made with this object: whoever changes it changes it for all tenants.
  return Object.freeze({
    ...frozen(structuredClone(data)),
    ...(fence === undefined ? {} : { fence }),
    ...(place === undefined ? {} : { place }),
  });
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}

function refusedOption(name: keyof typeof REFUSED): ConfigError {
  return new ConfigError({ surface: 'cache', operation: 'options', ...REFUSED[name] });
}

function isSet(options: object, name: string): boolean {
  const value: unknown = Reflect.get(options, name);
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== false && value !== '';
}
