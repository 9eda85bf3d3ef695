import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { ConfigError, refusal, refuse, requireScope } from '@tenantkit/core';
import { z } from 'zod';
import { engineOf, type S3Client } from './client.ts';
import { parseArgument } from './options.ts';
import { assertForm } from './post-check.ts';
import { LABEL_HEADER } from './subject-names.ts';
import { readForm } from './post-fields.ts';

/** A condition of a form's policy, as `@aws-sdk/s3-presigned-post` has them. */
export type PostCondition =
  | Readonly<Record<string, string>>
  | readonly ['eq' | 'starts-with', string, string]
  | readonly ['content-length-range', number, number];

/** What a form is made of. */
export interface PresignedPostOptions {
  /** With exactly one accepted bucket, it may be left out. */
  readonly Bucket?: string | undefined;
  /** The one key that the form writes, logical; `${filename}` is refused. */
  readonly Key: string;
  /** Fields that are sent as they are here. */
  readonly Fields?: Readonly<Record<string, string>> | undefined;
  /** What other fields and the file must satisfy: a `content-length-range` at least. */
  readonly Conditions?: readonly PostCondition[] | undefined;
  /** How long the form works, in seconds: 1 to the client's `tenant.maxExpiresIn`. Default 3600, or that limit if less. */
  readonly Expires?: number | undefined;
  readonly tenant?:
    | {
        /** Lets a file of any length in; without it a condition `content-length-range` is asked for. */
        readonly anyLength?: boolean | undefined;
        /** Lets a file of any type in; without it a field `Content-Type`, or a condition on it, is asked for. */
        readonly anyType?: boolean | undefined;
      }
    | undefined;
}

/** Where a form is sent to, and what it must send in front of the field `file`. */
export interface PresignedPost {
  readonly url: string;
  readonly fields: Record<string, string>;
}

/** The library's own default, in seconds. */
const DEFAULT_EXPIRES = 3600;

/**
 * Makes a form with which a browser writes one object of the current tenant; in place of `createPresignedPost` of
 * `@aws-sdk/s3-presigned-post`, which must be installed.
 *
 * The form writes exactly `Key`, and only the fields and conditions that the README lists can be in it. Whoever holds
 * it can use it any number of times until it expires, without a tenant and also after the tenant was frozen. Its
 * fields, and what the server answers to `success_action_status: '201'`, show the bucket and the physical key.
 *
 * @param client - of this package
 * @returns the address, and the fields: send them first, then the file as `file`
 * @throws MissingTenantError, TenantFencedError
 * @throws OperationRefusedError for a key, bucket, field or condition that is refused, for a form without a length or
 *   a type, and for a life that is too long
 * @throws CrossTenantError when what was signed is not what was asked for
 * @throws ConfigError for an option that is not accepted, or when the library is not installed
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { createPresignedPost } from '@tenantkit/storage/presign';
 * const { url, fields } = await withTenant('acme', () =>
 *   createPresignedPost(s3, {
 *     Key: 'avatars/ann.png',
 *     Fields: { 'Content-Type': 'image/png' },
 *     Conditions: [['content-length-range', 1, 1_000_000]],
 *     Expires: 300,
 *   }),
 * );
 * const form = new FormData();
 * for (const [name, value] of Object.entries(fields)) form.append(name, value);
 * form.append('file', new Blob(['…']));
 * await fetch(url, { method: 'POST', body: form });
 * ```
 */
export async function createPresignedPost(
  client: S3Client,
  options: PresignedPostOptions,
): Promise<PresignedPost> {
  const engine = engineOf(client, OPERATION);
  requireScope({ surface: 'storage', operation: OPERATION });
  const { maxExpiresIn } = engine;
  // Read once: from here on nothing of the caller's is looked at again.
  const given = parseArgument(OPERATION, optionsSchema, options);
  const { Bucket, Key, Fields, Conditions, Expires = Math.min(DEFAULT_EXPIRES, maxExpiresIn) } = given;
  const begun = engine.begin(OPERATION, { Bucket, Key }, 'PutObjectCommand');
  if (begun === undefined) {
    const raw = { Bucket, Key, Fields, Conditions, Expires } as RawOptions;
    return (await library())({ config: client.config }, raw);
  }
  if (Expires > maxExpiresIn) throw refusal('storage', OPERATION, tooLong(maxExpiresIn));
  const { bucket, bucketName, key = '' } = begun;
  const form = readForm({
    operation: OPERATION,
    bucket: bucketName,
    key: Key as string,
    fields: Fields ?? {},
    conditions: Conditions ?? [],
    ...given.tenant,
  });
  const label = begun.pinned.get(LABEL_HEADER);
  if (label !== undefined) form.fields[LABEL_HEADER] = label;
  const sign = await library();
  const call = await engine.subjects.prepare(begun);
  const signed = await engine.signForm(
    call,
    (config) =>
      sign(
        { config },
        { Bucket: bucket, Key: key, Fields: form.fields, Conditions: form.conditions, Expires },
      ),
    Date.now() + Expires * 1000,
  );
  return assertForm(signed, call, {
    ...form,
    bucket,
    key,
    Expires,
    url: await engine.urlOf(bucket, call.home),
  });
}

const OPERATION = 'createPresignedPost';

const optionsSchema = z.strictObject({
  Bucket: z.unknown().optional(),
  Key: z.unknown().optional(),
  Fields: z.record(z.string(), z.unknown()).optional(),
  Conditions: z.array(z.unknown()).optional(),
  Expires: z.int().min(1).optional(),
  tenant: z.strictObject({ anyLength: z.boolean().optional(), anyType: z.boolean().optional() }).optional(),
});

interface RawOptions {
  readonly Bucket: string;
  readonly Key: string;
  readonly Fields: Record<string, string>;
  readonly Conditions: PostCondition[];
  readonly Expires: number;
}

/** The library's function, as it is used here. */
type Library = (
  client: { readonly config: S3ClientResolvedConfig },
  options: RawOptions,
) => Promise<PresignedPost>;

// Loaded when the first form is made: who makes none need not install it.
async function library(): Promise<Library> {
  try {
    const { createPresignedPost: sign } = await import('@aws-sdk/s3-presigned-post');
    return sign as unknown as Library;
  } catch (error) {
    throw new ConfigError({
      surface: 'storage',
      operation: OPERATION,
      problem: '@aws-sdk/s3-presigned-post cannot be loaded',
      hint: 'Install it: it is an optional peer dependency.',
      cause: error,
    });
  }
}

function tooLong(maxExpiresIn: number) {
  return refuse(
    'the form would live longer than allowed',
    `Ask for at most ${maxExpiresIn} seconds, or raise the client option tenant.maxExpiresIn.`,
    'value',
  );
}
