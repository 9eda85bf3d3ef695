import { optionSchemas, parseOptions, type TenantOptions, type TenantRegistry } from '@tenantkit/core';
import { z } from 'zod';
import { isKid } from './header.ts';

/** A secret that signs job headers. */
export interface SigningKey {
  /** Its name, which every header carries in the clear: 1 to 32 characters of `A-Z a-z 0-9 _ -`. */
  readonly kid: string;
  /** At least 32 random bytes; a text counts by its UTF-8 bytes and is not decoded. */
  readonly secret: string | Uint8Array;
}

/** Options of ours, under the key `tenant` of BullMQ's own options. */
export interface QueueTenantOptions extends Pick<TenantOptions, 'names' | 'fence'> {
  /**
   * The first signs, all verify. To rotate, put the new key first and keep the old one until every job that it
   * has signed is finished. At least one.
   */
  readonly signingKeys: readonly SigningKey[];
}

const MIN_SECRET_BYTES = 32;

const secret = z
  .union([z.string(), z.instanceof(Uint8Array)])
  .refine((value) => Buffer.byteLength(value) >= MIN_SECRET_BYTES, `needs at least ${MIN_SECRET_BYTES} bytes`)
  // A copy: the caller may wipe or reuse the buffer that it has given.
  .transform((value) => (typeof value === 'string' ? value : Uint8Array.from(value)));

const signingKey = z.strictObject({
  kid: z.string().refine(isKid, 'must be 1 to 32 characters of A-Z a-z 0-9 _ -'),
  secret,
});

/** Schema of {@link QueueTenantOptions.signingKeys}. */
export const signingKeysSchema: z.ZodType<readonly [SigningKey, ...SigningKey[]]> = z
  .tuple([signingKey], signingKey)
  .refine((keys) => new Set(keys.map(({ kid }) => kid)).size === keys.length, 'two keys have the same kid');

const tenantOptions = z.strictObject({
  signingKeys: signingKeysSchema,
  names: optionSchemas.names,
  fence: optionSchemas.fence,
});

/** The checked options. */
export interface CheckedTenantOptions {
  readonly signingKeys: readonly [SigningKey, ...SigningKey[]];
  readonly names: string | undefined;
  readonly fence: TenantRegistry | undefined;
}

/** @throws {@link ConfigError} that names the option's path, never its value */
export function parseTenantOptions(value: unknown): CheckedTenantOptions {
  const { signingKeys, names, fence } = parseOptions('queue', tenantOptions, value);
  return { signingKeys, names, fence };
}
