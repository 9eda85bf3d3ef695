import { z } from 'zod';
import { ConfigError, type Surface } from './errors.ts';
import { ID_ALPHABET } from './ids.ts';
import type { TenantRegistry } from './registry.ts';

/**
 * The isolation level of one tenant, in the terms of the AWS SaaS lens: `pool` shares the store under scoped
 * names, `bridge` has a schema, bucket or index of its own on a shared server, `silo` has a server of its own.
 */
export type Placement<Bridge = never, Silo = never> =
  | { readonly level: 'pool' }
  | ([Bridge] extends [never] ? never : { readonly level: 'bridge' } & Bridge)
  | ([Silo] extends [never] ? never : { readonly level: 'silo' } & Silo);

/**
 * Options of tenantkit, the same in every adapter, under the key `tenant` of the raw client's own options. An
 * adapter takes the ones that it implements and refuses the rest at construction.
 */
export interface TenantOptions<Bridge = never, Silo = never> {
  /** Template of the physical name; see {@link nameTemplate}. */
  readonly names?: string | undefined;
  /** Refuses work for frozen and erased tenants. */
  readonly fence?: TenantRegistry | undefined;
  /** Where a person's data lives when it was not tagged on writing; see {@link SubjectPattern}. */
  readonly subjects?: readonly SubjectPattern[] | undefined;
  /** The isolation level of a tenant, default `pool`. */
  readonly place?: ((tenant: string) => Placement<Bridge, Silo>) | undefined;
}

/**
 * Where a person's data lives: a pattern of logical names with `{subject}` in it (`user:{subject}:*`,
 * `users/{subject}/**`), or a field of a document or row that holds the subject's id.
 */
export type SubjectPattern = string | { readonly field: string };

const SUBJECT = '{subject}';
const ENDS_SUBJECT = new RegExp(`^(?:$|[^*?${ID_ALPHABET}])`);

/**
 * Schema of a {@link SubjectPattern}. The character after `{subject}` must be outside the id alphabet: with
 * `user:{subject}*` the erasure of person `p1` would take person `p10` with it.
 */
export const subjectPattern: z.ZodType<SubjectPattern> = z.union([
  z.string().refine((pattern) => {
    const parts = pattern.split(SUBJECT);
    return parts.length === 2 && ENDS_SUBJECT.test(parts[1] ?? '');
  }, `must hold ${SUBJECT} once, followed by nothing or by a character other than A-Z a-z 0-9 _ - * ?`),
  z.strictObject({ field: z.string().min(1) }),
]);

/** Schemas of the options that all adapters share, to be spread into an adapter's own strict object. */
export const optionSchemas: {
  readonly names: z.ZodOptional<z.ZodString>;
  readonly fence: z.ZodOptional<z.ZodType<TenantRegistry>>;
  readonly subjects: z.ZodOptional<z.ZodArray<z.ZodType<SubjectPattern>>>;
} = {
  names: z.string().optional(),
  fence: z
    .custom<TenantRegistry>(
      (value) =>
        typeof value === 'object' && value !== null && 'check' in value && typeof value.check === 'function',
      'must be a TenantRegistry',
    )
    .optional(),
  subjects: z.array(subjectPattern).optional(),
};

/**
 * Checks an adapter's own options. An option that the adapter does not know is refused: one that was silently
 * dropped would leave a tenant without the protection that its operator asked for.
 *
 * @throws {@link ConfigError} that names the option's path, never its value
 */
export function parseOptions<T>(surface: Surface, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = ['tenant', ...(issue?.path ?? [])].join('.');
  const problem =
    issue?.code === 'unrecognized_keys'
      ? `unknown option ${issue.keys.join(', ')}`
      : (issue?.message ?? 'not accepted');
  throw new ConfigError({
    surface,
    operation: 'options',
    problem: `${path}: ${problem}`,
    hint: `See the options in the README of @tenantkit/${surface}.`,
  });
}
