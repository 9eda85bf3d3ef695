import type {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl as sign } from '@aws-sdk/s3-request-presigner';
import { refusal, requireScope, ruleFor, type Rule } from '@tenantkit/core';
import { z } from 'zod';
import { closing } from './absent.ts';
import type { PolicyServer } from './backstop-actions.ts';
import { engineOf, type S3Client } from './client.ts';
import { parseArgument } from './options.ts';
import { rules, type CommandPlan } from './rules.ts';
import { operationOf, ownCommand } from './send.ts';
import { SIGNED_PARTS, assertSigned, headersOf, type SignedPart } from './presign-headers.ts';

export {
  createPresignedPost,
  type PostCondition,
  type PresignedPost,
  type PresignedPostOptions,
} from './post.ts';

/** The commands that a URL can be made of. */
export type PresignableCommand =
  | AbortMultipartUploadCommand
  | DeleteObjectCommand
  | GetObjectCommand
  | HeadObjectCommand
  | PutObjectCommand
  | UploadPartCommand;

/** The presigner's options that this package takes; the others would weaken the signature and are refused. */
export interface PresignOptions {
  /** How long the URL works, in seconds: 1 to the client's `tenant.maxExpiresIn`. Default 900, or that limit if less. */
  readonly expiresIn?: number | undefined;
  /** From when it counts, default now; not in the future. */
  readonly signingDate?: Date | undefined;
  /** Headers, in lower case, that whoever uses the URL must send as signed. */
  readonly signableHeaders?: Set<string> | undefined;
  /** Headers, in lower case, that stay headers instead of becoming query parameters. */
  readonly unhoistableHeaders?: Set<string> | undefined;
  readonly tenant?:
    | {
        /**
         * What of an upload is signed, so that whoever uses the URL must send just that: each from the command's own
         * field. Without it `IfNoneMatch`, `ContentLength` and `ContentMD5` are signed when the command has them, type
         * and checksums are not.
         */
        readonly sign?: readonly SignedPart[] | undefined;
        /**
         * `'ceph'` for Ceph, which takes headers that nobody has signed: then a URL of a `PutObject`, `UploadPart` or
         * `DeleteObject` is refused with headers that copy, open or lock an object, label or tag it, or pass by a
         * retention. Default `'aws'`: AWS refuses what is not signed, and would refuse such a URL.
         */
        readonly server?: PolicyServer | undefined;
      }
    | undefined;
}

export type { SignedPart } from './presign-headers.ts';

/** The presigner's own default, in seconds. */
const DEFAULT_EXPIRES_IN = 900;

/**
 * Makes a presigned URL of a command on an object of the current tenant; in place of `getSignedUrl` of
 * `@aws-sdk/s3-request-presigner`.
 *
 * Whoever holds the URL can use it until it expires, as often as they like, without a tenant and also after the tenant
 * was frozen, and may add headers to it. On servers that take an unsigned `x-amz-copy-source` (Ceph does, AWS does
 * not), a URL of a PUT or of a part copies any object that the client's credentials can read: say `server: 'ceph'`
 * there, and give the client credentials of the tenant, see `storageBackstop`. The URL shows the physical key, and that of a part or of an abort
 * the server's own upload id.
 *
 * @throws MissingTenantError, TenantFencedError
 * @throws OperationRefusedError when the command cannot be presigned, the key is refused, the life is too long, or the
 *   command does not have what is to be signed
 * @throws ConfigError for an option that is not accepted
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { GetObjectCommand } from '@tenantkit/storage';
 * import { getSignedUrl } from '@tenantkit/storage/presign';
 * const url = await withTenant('acme', () =>
 *   getSignedUrl(s3, new GetObjectCommand({ Key: 'logo.svg' }), { expiresIn: 60 }),
 * );
 * ```
 *
 * @example
 * An upload of these very bytes, once:
 * ```ts
 * import { createHash } from 'node:crypto';
 * import { withTenant } from '@tenantkit/core';
 * import { PutObjectCommand } from '@tenantkit/storage';
 * import { getSignedUrl } from '@tenantkit/storage/presign';
 * const bytes = Buffer.from('<svg/>');
 * const md5 = createHash('md5').update(bytes).digest('base64');
 * const upload = new PutObjectCommand({
 *   Key: 'logo.svg',
 *   IfNoneMatch: '*',
 *   ContentLength: bytes.length,
 *   ContentType: 'image/svg+xml',
 *   ContentMD5: md5,
 * });
 * const url = await withTenant('acme', () =>
 *   getSignedUrl(s3, upload, {
 *     tenant: { sign: ['if-none-match', 'content-length', 'content-type', 'content-md5'] },
 *   }),
 * );
 * const headers = { 'if-none-match': '*', 'content-type': 'image/svg+xml', 'content-md5': md5 };
 * await fetch(url, { method: 'PUT', body: bytes, headers });
 * ```
 */
export async function getSignedUrl(
  client: S3Client,
  command: PresignableCommand,
  options: PresignOptions = {},
): Promise<string> {
  const { maxExpiresIn } = engineOf(client, 'getSignedUrl');
  const { tenant: inside } = requireScope({ surface: 'storage', operation: 'getSignedUrl' });
  const own = inside === undefined ? command : (ownCommand(command) as PresignableCommand);
  // The guard looks at what was presigned; by then a copy has been prepared.
  if (inside !== undefined) assertPresignable(own);
  const {
    expiresIn = Math.min(DEFAULT_EXPIRES_IN, maxExpiresIn),
    tenant,
    ...given
  } = parseArgument('getSignedUrl', optionsSchema, options);
  const headers = headersOf(tenant?.sign ?? [], own.input);
  const asked = {
    ...given,
    expiresIn,
    signableHeaders: new Set([...(given.signableHeaders ?? []), ...headers]),
    // A checksum would be moved into the query, and servers need not look for it there.
    unhoistableHeaders: new Set([...(given.unhoistableHeaders ?? []), ...headers]),
  };
  // The guard in the client's stack does the rest: it also reads the life of the signed URL.
  // One command of the union: the SDK's type asks for one in particular, and any would do.
  const url = await closing.run(tenant?.server === 'ceph', () =>
    sign(client, own as GetObjectCommand, asked as Parameters<typeof sign>[2]),
  );
  assertSigned(url, headers);
  return url;
}

function assertPresignable(own: PresignableCommand): void {
  const name = operationOf(own);
  const rule: Rule<CommandPlan> | undefined = ruleFor(rules, name);
  if (rule?.kind === 'rewrite' && rule.rewrite.presign !== 'allowed')
    throw refusal('storage', name, rule.rewrite.presign);
}

const optionsSchema: z.ZodType<PresignOptions> = z.strictObject({
  expiresIn: z.int().min(1).optional(),
  signingDate: z.date().optional(),
  signableHeaders: z.set(z.string()).optional(),
  unhoistableHeaders: z.set(z.string()).optional(),
  tenant: z
    .strictObject({
      sign: z.array(z.enum(SIGNED_PARTS)).optional(),
      server: z.enum(['aws', 'ceph']).optional(),
    })
    .optional(),
});
