import { breach } from '@tenantkit/core';
import { tellFailure, type Telling } from './failures.ts';
import { isObject } from './json.ts';

/** What a reply is read against. */
export interface Reading extends Telling {
  readonly operation: string;
  /** The index that was asked for. */
  readonly index: string;
  /** Where `_id` stands in the sort of a search. */
  readonly sortIds: readonly number[];
  /** The caller has asked for no `_source`; it was fetched for the check. */
  readonly hidesSource: boolean;
}

type Reader = (value: unknown, reading: Reading) => unknown;
type Shape = Readonly<Record<string, Reader>>;

const keep: Reader = (value) => value;
const index: Reader = (value, { names, index: asked }) => names.sameIndex(value, asked);
const id: Reader = (value, { names }) => names.decode(value);

const shards: Reader = (value, reading) => read(value, SHARDS, reading);
const SHARDS: Shape = {
  total: keep,
  successful: keep,
  // A shard is skipped for what all tenants have in it.
  skipped: () => 0,
  failed: keep,
  failures: (value, reading) =>
    Array.isArray(value) ? value.map((failure: unknown) => tellFailure(failure, reading)) : [],
};

/** The reply to `index`, `create` and `delete`, and each item of a `bulk`. */
export const WRITTEN: Shape = {
  _index: index,
  _id: id,
  _version: keep,
  result: keep,
  forced_refresh: keep,
  _shards: shards,
  _seq_no: keep,
  _primary_term: keep,
  status: keep,
  error: tellFailure,
};

/** The reply to `get`. */
const GOT: Shape = {
  _index: index,
  _id: id,
  _version: keep,
  _seq_no: keep,
  _primary_term: keep,
  found: keep,
  _source: (value, { settings }) => withoutOurs(value, settings.field, settings.subjectsField),
};

const HIT: Shape = {
  _index: index,
  _id: id,
  _score: keep,
  _version: keep,
  _seq_no: keep,
  _primary_term: keep,
  _source: (value, { settings }) => withoutOurs(value, settings.field, settings.subjectsField),
  _ignored: keep,
  fields: (value, { settings }) => withoutOurs(value, settings.field, settings.subjectsField),
  highlight: (value, { settings }) => withoutOurs(value, settings.field, settings.subjectsField),
  matched_queries: keep,
  sort: (value, { sortIds, names }) =>
    Array.isArray(value) && sortIds.length > 0
      ? value.map((entry: unknown, at) => (sortIds.includes(at) ? names.decode(entry) : entry))
      : value,
};

const HITS: Shape = {
  total: keep,
  max_score: keep,
  hits: (value, reading) => {
    if (!Array.isArray(value)) throw unreadable(reading);
    return value.map((hit: unknown) => readHit(hit, reading));
  },
};

const SEARCHED: Shape = {
  took: keep,
  timed_out: keep,
  // Not terminated_early and num_reduce_phases: they tell whether other tenants have documents.
  _shards: shards,
  hits: (value, reading) => read(value, HITS, reading),
  // Of allowed types only: numbers over, and values of, the documents that the filter has let through.
  aggregations: keep,
};

const COUNTED: Shape = { count: keep, _shards: shards };
const REFRESHED: Shape = { _shards: shards };

/** Reads a reply of known keys, and drops the rest: what the tables do not know was never asked for. */
export function read(value: unknown, shape: Shape, reading: Reading): Record<string, unknown> {
  if (!isObject(value)) throw unreadable(reading);
  const result: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value)) {
    const reader = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (reader !== undefined) result[key] = reader(inner, reading);
  }
  return result;
}

/** The reply to a write. @throws {@link IsolationBreachError} when it is about another document or index */
export function readWritten(body: unknown, reading: Reading): unknown {
  return read(body, WRITTEN, reading);
}

/** The reply to `get`; the document must hold the tenant's id, once. @throws {@link IsolationBreachError} */
export function readGot(body: unknown, reading: Reading): unknown {
  const got = read(body, GOT, reading);
  if (isObject(body) && body['found'] === true) checkSource(body['_source'], reading);
  if (reading.hidesSource) delete got['_source'];
  return got;
}

/** The reply to `getSource`, which is the document itself. @throws {@link IsolationBreachError} */
export function readSource(body: unknown, reading: Reading): unknown {
  checkSource(body, reading);
  return withoutOurs(body, reading.settings.field, reading.settings.subjectsField);
}

/** The reply to `search`; every hit must be the tenant's. @throws {@link IsolationBreachError} */
export function readSearched(body: unknown, reading: Reading): unknown {
  const searched = read(body, SEARCHED, reading);
  if (!('hits' in searched)) throw unreadable(reading);
  return searched;
}

/** The reply to `count`. */
export function readCounted(body: unknown, reading: Reading): unknown {
  return read(body, COUNTED, reading);
}

/** The reply to `indices.refresh`. */
export function readRefreshed(body: unknown, reading: Reading): unknown {
  return read(body, REFRESHED, reading);
}

/** The error for a reply that has not the form by which it could be checked. */
export function unreadable({ operation, names }: Reading): Error {
  return breach('search', operation, 'a reply that cannot be checked came back', names.tenant);
}

function readHit(hit: unknown, reading: Reading): unknown {
  const { operation, names, settings } = reading;
  if (!isObject(hit)) throw unreadable(reading);
  // Both, not one of them: the prefix is what the caller gets to see, the field is what the filter has matched.
  if (!isObject(hit['fields']) || !holdsOnly(hit['fields'][settings.field], names.tenant)) {
    throw breach('search', operation, 'a document outside the tenant came back', names.tenant);
  }
  if (!('_id' in hit) || !('_index' in hit)) throw unreadable(reading);
  const told = read(hit, HIT, reading);
  // Empty now that ours is gone: the caller has asked for no fields.
  if (isObject(told['fields']) && Object.keys(told['fields']).length === 0) delete told['fields'];
  if (isObject(told['highlight']) && Object.keys(told['highlight']).length === 0) delete told['highlight'];
  return told;
}

function checkSource(source: unknown, { operation, names, settings }: Reading): void {
  if (!isObject(source) || !holdsOnly(source[settings.field], names.tenant)) {
    throw breach('search', operation, 'a document outside the tenant came back', names.tenant);
  }
}

// A document with two tenants would be found by both.
function holdsOnly(value: unknown, tenant: string): boolean {
  return Array.isArray(value) ? value.length === 1 && value[0] === tenant : value === tenant;
}

function withoutOurs(value: unknown, field: string, subjectsField: string): unknown {
  if (!isObject(value)) return value;
  const { [field]: _tenant, [subjectsField]: _subjects, ...rest } = value;
  return rest;
}
