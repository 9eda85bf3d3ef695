import type { KeyObject } from 'node:crypto';
import {
  ConfigError,
  optionSchemas,
  parseOptions,
  type TenantOptions,
  type TenantRegistry,
} from '@tenantkit/core';
import { z } from 'zod';
import { readKey, type Half } from './ed25519.ts';
import { isKid } from './header.ts';
import { placeSchema, type QueuePlacement } from './placement.ts';

/** A key that signs or verifies job headers: a secret, or one half of an Ed25519 key pair. */
export type SigningKey = SharedKey | PrivateKey | PublicKey;

interface NamedKey {
  /** Its name, which every header carries in the clear: 1 to 32 characters of `A-Z a-z 0-9 _ -`. */
  readonly kid: string;
}

/** A secret that signs and verifies (HMAC-SHA-256): whoever can run jobs can also make them. */
export interface SharedKey extends NamedKey {
  /** At least 32 random bytes; a text counts by its UTF-8 bytes and is not decoded. */
  readonly secret: string | Uint8Array;
  readonly privateKey?: undefined;
  readonly publicKey?: undefined;
}

/**
 * A JSON Web Key as it comes from elsewhere (RFC 7517, RFC 8037). Our own type: `@types/node` names it differently in every
 * major.
 */
export interface Jwk {
  readonly kty?: string | undefined;
  readonly crv?: string | undefined;
  readonly x?: string | undefined;
  readonly d?: string | undefined;
  readonly kid?: string | undefined;
  readonly alg?: string | undefined;
  readonly use?: string | undefined;
  readonly key_ops?: readonly string[] | undefined;
  readonly ext?: boolean | undefined;
}

/** The private half of an Ed25519 key pair: signs and verifies. For those who add jobs. */
export interface PrivateKey extends NamedKey {
  /** A KeyObject, PEM text (PKCS #8, not encrypted) or a JWK. */
  readonly privateKey: KeyObject | string | Jwk;
  readonly secret?: undefined;
  readonly publicKey?: undefined;
}

/** The public half of an Ed25519 key pair: verifies. For those who run jobs and must not be able to make them. */
export interface PublicKey extends NamedKey {
  /** A KeyObject, PEM text (SPKI) or a JWK. */
  readonly publicKey: KeyObject | string | Jwk;
  readonly secret?: undefined;
  readonly privateKey?: undefined;
}

/** Options of ours, under the key `tenant` of BullMQ's own options. */
export interface QueueTenantOptions extends Pick<TenantOptions, 'names' | 'fence'> {
  /**
   * The first signs, all verify. To change keys, add the new one behind the old one everywhere, then put it first
   * everywhere, then take the old one away when nothing is signed with it: docs/keys.md. At least one; a Queue needs
   * one that can sign at the first place, a Worker does not.
   */
  readonly signingKeys: readonly SigningKey[];
  /**
   * Where the jobs of a tenant are, default in the Redis of the queue. Asked once a second at most, and has to answer
   * at once. A Queue adds jobs there; a Worker takes them from there as well.
   */
  readonly place?: ((tenant: string) => QueuePlacement) | undefined;
  /**
   * For how long a job is accepted beyond its own delay and the backoffs of its retries, in milliseconds, default 30
   * days: for as long somebody who has kept a copy can run it again, and for as long a job may wait for its turn. The
   * same for the queues and workers of a name.
   */
  readonly maxAge?: number;
}

const MIN_SECRET_BYTES = 32;

const secret = z
  .union([z.string(), z.instanceof(Uint8Array)], 'must be text or a Uint8Array')
  .refine((value) => Buffer.byteLength(value) >= MIN_SECRET_BYTES, `needs at least ${MIN_SECRET_BYTES} bytes`)
  // A public key is known to everybody, and would then be everybody's secret.
  .refine((value) => !isPem(value), 'is a PEM text: put it under privateKey or publicKey')
  // A copy: the caller may wipe or reuse the buffer that it has given.
  .transform((value) => (typeof value === 'string' ? value : Uint8Array.from(value)));

function isPem(value: string | Uint8Array): boolean {
  return Buffer.from(value).toString('latin1').trimStart().startsWith('-----BEGIN');
}

const half = (which: Half) =>
  z.unknown().transform((value, context): KeyObject => {
    const key = readKey(which, value);
    if (typeof key !== 'string') return key;
    context.addIssue({ code: 'custom', message: key });
    return z.NEVER;
  });

/** A key as the ring takes it. */
export type CheckedKey =
  | { readonly kid: string; readonly secret: string | Uint8Array }
  | { readonly kid: string; readonly privateKey: KeyObject }
  | { readonly kid: string; readonly publicKey: KeyObject };

const kid = z.string().refine(isKid, 'must be 1 to 32 characters of A-Z a-z 0-9 _ -');

const signingKey = z
  .strictObject({
    kid,
    secret: secret.optional(),
    privateKey: half('private').optional(),
    publicKey: half('public').optional(),
  })
  .transform((given, context): CheckedKey => {
    const { kid: name, ...keys } = given;
    const [first, ...more] = Object.entries(keys).filter(([, key]) => key !== undefined);
    if (first !== undefined && more.length === 0)
      return { kid: name, ...Object.fromEntries([first]) } as CheckedKey;
    context.addIssue({ code: 'custom', message: 'needs exactly one of secret, privateKey and publicKey' });
    return z.NEVER;
  });

/** Schema of {@link QueueTenantOptions.signingKeys}. */
export const signingKeysSchema: z.ZodType<readonly [CheckedKey, ...CheckedKey[]]> = z
  .tuple([signingKey], signingKey)
  .refine(
    (keys) => new Set(keys.map(({ kid: name }) => name)).size === keys.length,
    'two keys have the same kid',
  );

const tenantOptions = z.strictObject({
  signingKeys: signingKeysSchema,
  names: optionSchemas.names,
  fence: optionSchemas.fence,
  place: placeSchema.optional(),
  maxAge: z.number().int().positive().optional(),
});

/** The checked options. */
export interface CheckedTenantOptions {
  readonly signingKeys: readonly [CheckedKey, ...CheckedKey[]];
  readonly names: string | undefined;
  readonly fence: TenantRegistry | undefined;
  readonly place: ((tenant: string) => QueuePlacement) | undefined;
  readonly maxAge: number | undefined;
}

/** @throws {@link ConfigError} that names the option's path, never its value */
export function parseTenantOptions(value: unknown): CheckedTenantOptions {
  if (value === undefined) throw missing();
  const { signingKeys, names, fence, place, maxAge } = parseOptions('queue', tenantOptions, value);
  return { signingKeys, names, fence, place, maxAge };
}

function missing(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'options',
    problem: 'the option tenant is missing',
    hint: 'Give { connection, tenant: { signingKeys: [{ kid, secret }] } }; see the README of @tenantkit/queue.',
  });
}
