import type { TenantContext } from '@tenantkit/core';
import { COUNT_BODY, SEARCH_BODY } from './clauses.ts';
import { asText } from './documents.ts';
import { isObject, readJson, toJson, type Json, type JsonObject } from './json.ts';
import type { SearchSettings } from './options.ts';
import type { Params } from './params.ts';
import type { Refuse } from './refusing.ts';
import { twice, type Walk } from './values.ts';
import { readKeys } from './walker.ts';

/**
 * The filter goes around the caller's query, never into it: beside a `should` it would turn an "any of" into an
 * "all of", and a `must_not` or a second `filter` key could undo it.
 */
function injectFilter(
  query: Json | undefined,
  context: TenantContext,
  { field }: SearchSettings,
): JsonObject {
  return {
    bool: {
      filter: [{ term: { [field]: { value: context.tenant } } }],
      must: [query ?? { match_all: {} }],
    },
  };
}

/** A search body that finds, counts and shows documents of the tenant only. */
export function injectSearch(
  body: unknown,
  params: Params,
  walk: Walk,
  context: TenantContext,
  settings: SearchSettings,
): { readonly body: JsonObject; readonly params: Params } {
  const given = readBody(body, walk.refuse);
  if (given['aggs'] !== undefined && given['aggregations'] !== undefined) throw twice(walk, 'aggs');
  const { sort: sortParam, ...otherParams } = Object.fromEntries(params);
  if (sortParam !== undefined && given['sort'] !== undefined) throw twice(walk, 'sort');
  const sort = given['sort'] ?? (sortParam === undefined ? undefined : parseSort(sortParam));
  // The sort is read first: where `_id` stands in it decides how search_after is read.
  const { query, docvalue_fields, highlight, ...read } = readKeys(
    { ...(sort === undefined ? {} : { sort }), ...given },
    SEARCH_BODY,
    walk,
    'the body',
    0,
  );
  return {
    body: {
      ...read,
      ...(highlight === undefined ? {} : { highlight: ownHighlight(highlight, query) }),
      query: injectFilter(query, context, settings),
      // By this each hit is checked, whatever _source the caller wants to see.
      docvalue_fields: [...asList(docvalue_fields), { field: settings.field }],
    },
    params: new Map(Object.entries(otherParams)),
  };
}

/** A count body that counts documents of the tenant only. */
export function injectCount(
  body: unknown,
  walk: Walk,
  context: TenantContext,
  settings: SearchSettings,
): JsonObject {
  const { query } = readKeys(readBody(body, walk.refuse), COUNT_BODY, walk, 'the body', 0);
  return { query: injectFilter(query, context, settings) };
}

// Without a query of its own a highlighter takes the one of the search, and would mark the tenant's id.
function ownHighlight(highlight: Json, query: Json | undefined): Json {
  return { highlight_query: query ?? { match_all: {} }, ...(highlight as JsonObject) };
}

function readBody(body: unknown, refuse: Refuse): Readonly<Record<string, unknown>> {
  if (body === undefined || body === null || body === '') return {};
  const text = asText(body, refuse);
  const value = text === undefined ? toJson(body, refuse) : readJson(text, refuse);
  if (!isObject(value)) throw refuse('its body is not a JSON object', 'Give an object.');
  return value;
}

// `date:desc,name` as the query string has it.
function parseSort(param: string): Json {
  return param.split(',').map((entry) => {
    const colon = entry.lastIndexOf(':');
    return colon === -1 ? entry : { [entry.slice(0, colon)]: entry.slice(colon + 1) };
  });
}

function asList(value: Json | undefined): readonly Json[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly Json[]) : [value];
}
