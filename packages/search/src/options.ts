import {
  nameTemplate,
  optionSchemas,
  parseOptions,
  type NameCodec,
  type TenantRegistry,
} from '@tenantkit/core';
import { z } from 'zod';

/** Options of ours, under the key `tenant` of the raw client's own options. */
export interface SearchTenantOptions {
  /**
   * The indices that tenants work in, by their exact names. A request must name exactly one of them. Each one
   * is checked on first use: see {@link ensureTenantMapping}.
   */
  readonly indices: readonly string[];
  /** The keyword field that holds the tenant's id, default `tenant_id`. A top-level field of our own. */
  readonly field?: string | undefined;
  /** The keyword field that holds the ids of the data subjects, default `subjects`. A top-level field of our own. */
  readonly subjectsField?: string | undefined;
  /** Template of the physical `_id`, default `{tenant}~`: document `1` of `acme` is stored as `acme~1`. */
  readonly names?: string | undefined;
  /** Refuses work for frozen and erased tenants. */
  readonly fence?: TenantRegistry | undefined;
}

/** The options after validation, with their defaults: what every part of the adapter works from. */
export interface SearchSettings {
  readonly indices: ReadonlySet<string>;
  readonly field: string;
  readonly subjectsField: string;
  readonly names: NameCodec;
  readonly fence: TenantRegistry | undefined;
}

const DEFAULT_FIELD = 'tenant_id';
const DEFAULT_SUBJECTS = 'subjects';
const DEFAULT_NAMES = '{tenant}~';

// The rules of OpenSearch for index names, without what it also accepts but gives a meaning: a leading dot
// (system and hidden indices). `null` is what the client makes of an empty index.
const INDEX_NAME = /^(?!null$)[a-z0-9][a-z0-9_.-]{0,254}$/;

/** Schema of an index that a tenant may be given. */
export const indexName: z.ZodType<string> = z
  .string()
  .regex(INDEX_NAME, 'must be the exact, lower-case name of an index');

// No dot: `a.b` is reachable as an object, as a dotted key and as a mix of both. No leading underscore: those
// are metadata fields.
const FIELD_NAME = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/;

/** Schema of a field of ours. */
export const fieldName: z.ZodType<string> = z
  .string()
  .regex(FIELD_NAME, 'must be the name of a top-level field');

// The longest prefix a tenant may cost of the 512 bytes of an `_id`.
const NAMES_MAX = 128;

const schema: z.ZodType<SearchTenantOptions> = z
  .strictObject({
    indices: z.array(indexName).min(1, 'must name at least one index'),
    field: fieldName.optional(),
    subjectsField: fieldName.optional(),
    names: optionSchemas.names.refine(
      (names) => names === undefined || Buffer.byteLength(names) <= NAMES_MAX,
      `must have at most ${NAMES_MAX} bytes`,
    ),
    fence: optionSchemas.fence,
  })
  .refine(
    ({ field, subjectsField }) => (field ?? DEFAULT_FIELD) !== (subjectsField ?? DEFAULT_SUBJECTS),
    'field and subjectsField must differ',
  );

/**
 * Validates the options and fills in the defaults.
 *
 * @throws {@link ConfigError} that names the option and what is wrong with it
 */
export function readSettings(options: unknown): SearchSettings {
  const { indices, field, subjectsField, names, fence } = parseOptions('search', schema, options);
  return Object.freeze({
    indices: new Set(indices),
    field: field ?? DEFAULT_FIELD,
    subjectsField: subjectsField ?? DEFAULT_SUBJECTS,
    names: nameTemplate(names ?? DEFAULT_NAMES, { surface: 'search' }),
    fence,
  });
}
