import { z } from 'zod';

/** Credentials of a tenant, as the credential providers of the SDK answer them. */
export interface TenantIdentity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When they end; without it they do not. */
  readonly expiration?: Date;
}

// They stand in headers and in queries, the first between slashes.
const ACCESS_KEY = /^[!-+\-.0-~]{1,256}$/;
const PRINTABLE = /^[!-~]+$/;

/** Further properties of an identity are left behind. */
export const identitySchema = z.object({
  accessKeyId: z.string().regex(ACCESS_KEY, 'must be printable, without a slash or comma'),
  secretAccessKey: z.string().min(1).max(1024),
  sessionToken: z.string().max(16_384).regex(PRINTABLE, 'must be printable').optional(),
  expiration: z
    .date()
    .transform((date) => new Date(Date.prototype.getTime.call(date)))
    .optional(),
});

/** What a provider has answered is no identity. */
class InvalidIdentity extends Error {
  override readonly name = 'InvalidIdentity';
}

/**
 * Reads what a provider has answered, each part once.
 *
 * @throws InvalidIdentity that names the property, never its value
 */
export function readIdentity(answer: unknown): TenantIdentity {
  const result = identitySchema.safeParse(answer);
  if (result.success) return plainIdentity(result.data);
  const [issue] = result.error.issues;
  const at = ['credentials', ...(issue?.path ?? [])].join('.');
  throw new InvalidIdentity(`${at}: ${issue?.message ?? 'not accepted'}`);
}

/** An identity without the properties that it does not have. */
export function plainIdentity({
  accessKeyId,
  secretAccessKey,
  sessionToken,
  expiration,
}: z.infer<typeof identitySchema>): TenantIdentity {
  return {
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
    ...(expiration === undefined ? {} : { expiration }),
  };
}
