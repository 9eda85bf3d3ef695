import {
  ConfigError,
  optionSchemas,
  parseOptions,
  subjectPattern,
  type TenantOptions,
} from '@tenantkit/core';
import { z } from 'zod';
import { bucketName } from './bucket-name.ts';
import type { TenantCredentialProvider } from './credentials.ts';
import type { StoragePlacement } from './place.ts';
import type { SealingKey } from './seal.ts';

/** Options of tenantkit, under the key `tenant` of the client's configuration. */
export interface StorageTenantOptions extends Pick<TenantOptions, 'fence' | 'names'> {
  /** The buckets that tenants may work in. With exactly one, `Bucket` may be left out of a command. */
  readonly buckets: readonly string[];
  /**
   * What continuation tokens are sealed with: the first key seals, all open. Without it a random key of this
   * process is used, and a listing that is continued in another process starts with a refusal.
   */
  readonly sealingKeys?: readonly SealingKey[] | undefined;
  /**
   * The keys of tags that tenants may write, such as `['project']`; default none. Lifecycle rules, policies and bills
   * go by tags, and are of all tenants. Writing the tags of an object replaces all that it has.
   */
  readonly tags?: readonly string[] | undefined;
  /**
   * Where objects about a person are that were written without one in the context: logical keys with `{subject}`, as
   * `['users/{subject}/**']`. `?` is one character, `*` any number within a folder, `**` also across folders. The
   * erasure of a person takes them, unless they name other persons only.
   *
   * `false` says that nothing here is written about persons: copies do not look whom their source is about, which is
   * one request less, and whoever writes in the context of a person is refused.
   */
  readonly subjects?: readonly string[] | false | undefined;
  /** The longest life of a presigned URL, in seconds: 1 to 604 800, default 900. */
  readonly maxExpiresIn?: number | undefined;
  /**
   * Headers that middleware of yours may add, in lower case, each beginning with `x-`: `['x-my-trace']`. Those to
   * which servers, gateways or proxies give a meaning are refused. Tracing headers in common use pass without it.
   */
  readonly headers?: readonly string[] | undefined;
  /**
   * Gives each tenant credentials of its own, such as `assumeTenantRole({ … })` of `@tenantkit/storage/sts`. Calls
   * inside a tenant are signed with them alone, and the server can hold them to that tenant; across tenants the
   * client's own are used. Answers are kept per tenant and renewed before they end.
   */
  readonly credentials?: TenantCredentialProvider | undefined;
  /**
   * Where each tenant's data is, default `{ level: 'pool' }` for all. A look into memory: it is asked once a second at
   * most per tenant, outside of any tenant, and answers at once. What it throws, a promise, and anything else than a
   * placement refuse the tenant's calls.
   */
  readonly place?: ((tenant: string) => StoragePlacement) | undefined;
}

/** SigV4's own limit of a presigned URL: seven days. */
const MAX_PRESIGNED_SECONDS = 604_800;

const sealingKey = z.strictObject(
  {
    kid: z.string().min(1).max(128),
    secret: z
      .union([z.string(), z.instanceof(Uint8Array)], 'must be a text or bytes')
      .refine((secret) => Buffer.from(secret).length >= 32, 'must hold at least 32 bytes'),
  },
  { error: wrongType('must be { kid, secret }') },
);

// By these, servers choose what is done, where to, and in whose name: S3 and what speaks it, Swift, proxies.
const HEADER = /^x-[a-z0-9]+(?:-[a-z0-9]+)*$/;
const MEANT =
  /^x-(?:account|acs|amz|amzn|auth|client|container|copy|cos|delete|emc|file|forwarded|goog|hcp|host|http|https|ibm|method|minio|ms|nginx|object|obs|original|oss|proxy|real|remote|rewrite|rgw|scheme|ssl|storage|tos|url|user|versions)(?:-|$)|-(?:method|override|url|uri|host)(?:-|$)/;

const header = z
  .string()
  .max(64)
  .refine((name) => name === name.toLowerCase(), 'must be in lower case')
  .refine((name) => HEADER.test(name), 'must begin with x-, and hold a-z 0-9 with single - between them')
  .refine((name) => !MEANT.test(name), 'is a header to which servers, gateways or proxies give a meaning');

const schema: z.ZodType<StorageTenantOptions> = z.strictObject({
  names: optionSchemas.names,
  fence: optionSchemas.fence,
  buckets: z
    .array(bucketName, { error: wrongType("must be a list of buckets, such as ['uploads']") })
    .min(1, 'must name at least one bucket'),
  sealingKeys: z
    .array(sealingKey, { error: wrongType('must be a list of { kid, secret }') })
    .min(1, 'must hold at least one { kid, secret }')
    .optional(),
  subjects: z
    .union([
      z.literal(false),
      z.array(subjectPattern).refine(isTexts, 'must be patterns of keys: objects have no fields'),
    ])
    .optional(),
  tags: z.array(z.string().min(1).max(128)).optional(),
  maxExpiresIn: z.int().min(1).max(MAX_PRESIGNED_SECONDS).optional(),
  headers: z.array(header).optional(),
  credentials: z.custom<TenantCredentialProvider>(isFunction, 'must be a function').optional(),
  place: z.custom<(tenant: string) => StoragePlacement>(isFunction, 'must be a function').optional(),
});

function isTexts(patterns: readonly unknown[]): patterns is string[] {
  return patterns.every((pattern) => typeof pattern === 'string');
}

/** What zod says of another type names no form of the right one. */
function wrongType(message: string): (issue: { readonly code?: string }) => string | undefined {
  return ({ code }) => (code === 'invalid_type' ? message : undefined);
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

/**
 * Checks the options.
 *
 * @throws ConfigError that names the option, never its value
 */
export function parseStorageOptions(given: unknown): StorageTenantOptions {
  if (given === undefined) {
    throw new ConfigError({
      surface: 'storage',
      operation: 'options',
      problem: 'the option tenant is missing',
      hint: "Say which buckets tenants may work in: new S3Client({ …, tenant: { buckets: ['uploads'] } }).",
    });
  }
  return parseOptions('storage', schema, given);
}

/**
 * Checks what was given to one of this package's functions.
 *
 * @throws ConfigError that names the field, never its value
 */
export function parseArgument<T>(operation: string, accepted: z.ZodType<T>, given: unknown): T {
  return parseOptions('storage', accepted, given, operation);
}
