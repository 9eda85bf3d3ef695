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
// Without a character between, `*{subject}` of p1 would take the names of `x-p1`, whose id ends so.
const BEGINS_SUBJECT = new RegExp(`^[^*?]*$|[^*?${ID_ALPHABET}][^*?]*$`);
const ENDS_SUBJECT = new RegExp(`^(?:$|[^*?${ID_ALPHABET}])`);

/**
 * Schema of a {@link SubjectPattern}. The character after `{subject}` must be outside the id alphabet: with
 * `user:{subject}*` the erasure of person `p1` would take person `p10` with it.
 */
export const subjectPattern: z.ZodType<SubjectPattern> = z.union([
  z.string().refine((pattern) => {
    const parts = pattern.split(SUBJECT);
    const [before = '', after = ''] = parts;
    return parts.length === 2 && BEGINS_SUBJECT.test(before) && ENDS_SUBJECT.test(after);
  }, `must hold ${SUBJECT} once, followed by nothing or by a character other than A-Z a-z 0-9 _ - * ?, which must also stand between it and a * or ? before it`),
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
 * @param operation - the function whose own options they are, such as `cacheEraser`; by default they are those under
 * the key `tenant` of the raw client's
 * @throws {@link ConfigError} that names the option's path, never its value
 */
export function parseOptions<T>(
  surface: Surface,
  schema: z.ZodType<T>,
  value: unknown,
  operation?: string,
): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [...(operation === undefined ? ['tenant'] : []), ...(issue?.path ?? [])].join('.');
  const problem =
    issue?.code === 'unrecognized_keys'
      ? unknownOptions(issue.keys, namesAt(schema, issue.path))
      : (issue?.message ?? 'not accepted');
  throw new ConfigError({
    surface,
    operation: operation ?? 'options',
    problem: path === '' ? problem : `${path}: ${problem}`,
    hint: `See the options in the README of @tenantkit/${surface}.`,
  });
}

// As options are. What is longer, or holds something else, may be a secret that was given in the place of one.
const NAME = /^[A-Za-z_-]{1,32}$/;

// A slip of the finger or two; with more than that one name is as near as any other.
const NEAR = 2;

function unknownOptions(unknown: readonly string[], known: readonly string[]): string {
  const named = unknown.map((name) => {
    if (!NAME.test(name)) return 'a name that is not shown';
    const [near] = known
      .map((option) => ({ option, distance: distanceOf(name.toLowerCase(), option.toLowerCase()) }))
      .filter(({ option, distance }) => distance <= NEAR && distance < option.length)
      .toSorted((one, other) => one.distance - other.distance);
    return near === undefined
      ? JSON.stringify(name)
      : `${JSON.stringify(name)} (is ${JSON.stringify(near.option)} meant?)`;
  });
  const all = known.length === 0 ? '' : `; there are ${known.join(', ')}`;
  return `unknown option ${named.join(', ')}${all}`;
}

/** The options that are known at a path of a schema. */
function namesAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  let at: unknown = unwrapped(schema);
  for (const name of path) at = at instanceof z.ZodObject ? unwrapped(at.shape[String(name)]) : undefined;
  return at instanceof z.ZodObject ? Object.keys(at.shape) : [];
}

function unwrapped(schema: unknown): unknown {
  return schema instanceof z.ZodOptional ? unwrapped(schema.unwrap()) : schema;
}

/** How many characters have to be put in, left out or exchanged (Levenshtein 1966). */
function distanceOf(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, place) => place);
  for (const [line, character] of one.split('').entries()) {
    const next = [line + 1];
    for (let place = 1; place <= other.length; place += 1) {
      const [left = 0, above = 0, before = 0] = [next[place - 1], row[place], row[place - 1]];
      next.push(Math.min(left + 1, above + 1, before + (character === other[place - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
