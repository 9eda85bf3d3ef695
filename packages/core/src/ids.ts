import { z } from 'zod';
import { InvalidTenantError } from './errors.ts';

/** The characters of an id, as the inside of a regular-expression class: `A-Za-z0-9_-`. */
export const ID_ALPHABET = 'A-Za-z0-9_-';

/** The longest id, in characters. */
export const ID_MAX_LENGTH = 64;

const ID = new RegExp(`^[${ID_ALPHABET}]{1,${ID_MAX_LENGTH}}$`);
// What String(request.headers['x-tenant']) makes of a header that is not there: every such caller in one tenant.
const NOTHING: ReadonlySet<string> = new Set(['undefined', 'null']);
const NOT_IN_ALPHABET = new RegExp(`[^${ID_ALPHABET}]`);

/**
 * Schema of a tenant id: 1 to 64 characters of `A-Z a-z 0-9 _ -`, case-sensitive. UUIDs, ULIDs, nanoids and
 * slugs all fit. The alphabet is this small so that no separator, glob, hash tag, path segment or date-math
 * expression can ever come from an id. The texts `undefined` and `null` are refused: they are made of a missing value.
 *
 * @example
 * ```ts
 * import { tenantId } from '@tenantkit/core';
 * const id = tenantId.parse(request.headers['x-tenant']); // throws ZodError for 'acme:2'
 * ```
 */
export const tenantId: z.ZodType<string> = z
  .string()
  .refine((id) => !NOTHING.has(id), 'must not be the text of a missing value')
  .regex(ID, `must be 1 to ${ID_MAX_LENGTH} characters of A-Z a-z 0-9 _ -`);

/** Schema of a data subject's id (a person inside a tenant): the same alphabet and length as {@link tenantId}. */
export const subjectId: z.ZodType<string> = tenantId;

/** Whether `value` is a well-formed tenant or subject id. Costs one regular expression, no allocation. */
export function isId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value) && !NOTHING.has(value);
}

/**
 * Throws unless `value` is a well-formed id. The message says what is wrong and where, and never repeats the
 * value: it may hold control or bidi characters, or a secret that a caller passed by mistake.
 *
 * @param what - what the id is, for the message: `tenant` or `subject`
 * @throws {@link InvalidTenantError}
 */
export function assertId(value: unknown, what: 'tenant' | 'subject' = 'tenant'): asserts value is string {
  if (!isId(value)) throw new InvalidTenantError({ what, problem: describe(value) });
}

function describe(value: unknown): string {
  if (typeof value !== 'string') return `it is ${value === null ? 'null' : `of type ${typeof value}`}`;
  if (value.length === 0) return 'it is empty';
  if (NOTHING.has(value)) return `it is the text "${value}", which is made of a missing value`;
  if (value.length > ID_MAX_LENGTH) return `it has ${value.length} characters`;
  return `the character at index ${value.search(NOT_IN_ALPHABET)} is not allowed`;
}
