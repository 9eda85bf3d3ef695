import {
  AGGREGATIONS,
  HIGHLIGHT,
  QUERIES,
  SORT,
  SORT_METADATA,
  type AggregationRow,
  type Keys,
  type QueryRow,
  type Treatment,
} from './clauses.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { shown } from './refusing.ts';
import {
  enterClause,
  malformed,
  own,
  readField,
  readFlag,
  readIds,
  readInteger,
  readList,
  readNumber,
  readObject,
  readPattern,
  readScalar,
  readScalars,
  readSingle,
  readText,
  readTexts,
  refused,
  twice,
  unknown,
  type Walk,
} from './values.ts';

type Reader = (value: unknown, walk: Walk, depth: number) => Json;

/**
 * Reads an object whose keys are all in a table, and builds it anew from what the table knows: what the table
 * does not know is refused, and nothing of the given object is passed on unread.
 *
 * @param where - names the object in errors
 * @param depth - of nesting so far
 * @throws {@link OperationRefusedError} that names the key and says what to use instead
 */
export function readKeys(value: unknown, keys: Keys, walk: Walk, where: string, depth: number): JsonObject {
  const given = readObject(value, walk, where);
  const result: Record<string, Json> = {};
  for (const key of Object.keys(given)) {
    const row = Object.hasOwn(keys, key) ? keys[key] : undefined;
    if (row === undefined) throw unknown(walk, `the key ${shown(key)} in ${where}`);
    if (typeof row === 'object') throw refused(walk, `the key ${key} in ${where}`, row);
    result[key] = READERS[row](given[key], walk, depth);
  }
  return result;
}

/** Reads one query. */
function readQuery(value: unknown, walk: Walk, depth: number): JsonObject {
  const [type, body] = readSingle(value, walk, 'a query', depth);
  const row: QueryRow | undefined = Object.hasOwn(QUERIES, type)
    ? QUERIES[type as keyof typeof QUERIES]
    : undefined;
  if (row === undefined) throw unknown(walk, `the query ${shown(type)}`);
  if ('kind' in row) throw refused(walk, `the query ${type}`, row);
  if (row.form === 'keys') return { [type]: readKeys(body, row.keys, walk, type, depth + 1) };
  if (row.form === 'values') return { [type]: readTerms(body, row.keys, walk) };
  const [field, inner] = readSingle(body, walk, `the query ${type}`, depth);
  if (field === '_id' && row.id) return { [type]: { _id: readIdTerm(inner, row.keys, walk) } };
  readField(field, walk);
  // `{ term: { f: 'x' } }` is short for `{ term: { f: { value: 'x' } } }`.
  if (row.short !== '' && !isObject(inner)) {
    return { [type]: own(field, { [row.short]: readScalar(inner, walk) }) };
  }
  return { [type]: own(field, readKeys(inner, row.keys, walk, type, depth + 1)) };
}

function readTerms(value: unknown, keys: Keys, walk: Walk): JsonObject {
  const entries = Object.entries(readObject(value, walk, 'terms'));
  const [field, another] = entries.filter(([key]) => !Object.hasOwn(keys, key));
  if (field === undefined || another !== undefined) {
    throw walk.refuse('its query terms names not exactly one field', 'Give one query per field.');
  }
  const [name, values] = field;
  if (!Array.isArray(values)) {
    throw walk.refuse(
      'terms takes its values from another document, which the filter does not reach',
      'Read the other document first and give the values as a list.',
    );
  }
  const rest = Object.fromEntries(entries.filter(([key]) => key !== name));
  return {
    ...readKeys(rest, keys, walk, 'terms', 0),
    ...(name === '_id'
      ? { _id: readIds(values, walk) }
      : own(readField(name, walk), readScalars(values, walk))),
  };
}

function readIdTerm(value: unknown, keys: Keys, walk: Walk): Json {
  if (!isObject(value)) return { value: walk.names.encode(value) };
  const { value: id, case_insensitive, ...rest } = value;
  if (case_insensitive !== undefined) {
    throw walk.refuse('an _id is matched exactly', 'Leave case_insensitive out.');
  }
  return { ...readKeys(rest, keys, walk, 'term', 0), value: walk.names.encode(id) };
}

function readAggregations(value: unknown, walk: Walk, depth: number): JsonObject {
  return Object.fromEntries(
    Object.entries(readObject(value, walk, 'aggregations')).map(([name, aggregation]) => {
      if (name === '__proto__') throw walk.refuse('an aggregation is named __proto__', 'Rename it.');
      return [name, readAggregation(aggregation, walk, depth)];
    }),
  );
}

function readAggregation(value: unknown, walk: Walk, depth: number): JsonObject {
  const { aggs, aggregations, meta, ...types } = readObject(value, walk, 'an aggregation');
  const [type, body] = readSingle(types, walk, 'an aggregation', depth);
  const row: AggregationRow | undefined = Object.hasOwn(AGGREGATIONS, type)
    ? AGGREGATIONS[type as keyof typeof AGGREGATIONS]
    : undefined;
  if (row === undefined) throw unknown(walk, `the aggregation ${shown(type)}`);
  if ('kind' in row) throw refused(walk, `the aggregation ${type}`, row);
  if (aggs !== undefined && aggregations !== undefined) throw twice(walk, 'aggs');
  const inside = aggs ?? aggregations;
  if (inside !== undefined && !row.buckets) {
    throw walk.refuse(`${type} has no buckets for other aggregations`, 'Put them beside it.');
  }
  const { keys } = row;
  return {
    [type]: keys === 'query' ? readQuery(body, walk, depth + 1) : readKeys(body, keys, walk, type, depth + 1),
    ...(inside === undefined ? {} : { aggs: readAggregations(inside, walk, depth + 1) }),
    // Free data, which the server hands back unread.
    ...(meta === undefined ? {} : { meta: readObject(meta, walk, 'meta') as JsonObject }),
  };
}

/**
 * Reads a sort, as a list of one field each; notes where `_id` stands, since its values come back in the hits
 * and go into `search_after`.
 */
function readSort(value: unknown, walk: Walk): readonly JsonObject[] {
  const sorts = readList(value, walk).flatMap((entry): (readonly [string, unknown])[] =>
    typeof entry === 'string' ? [[entry, {}]] : Object.entries(readObject(entry, walk, 'a sort')),
  );
  walk.sortIds = sorts.flatMap(([field], at) => (field === '_id' ? [at] : []));
  return sorts.map(([field, how]) => {
    enterClause(walk, 0);
    const row = Object.hasOwn(SORT_METADATA, field)
      ? SORT_METADATA[field as keyof typeof SORT_METADATA]
      : undefined;
    if (typeof row === 'object') throw refused(walk, `the sort by ${field}`, row);
    if (row === undefined) readField(field, walk);
    return own(field, typeof how === 'string' ? { order: how } : readKeys(how, SORT, walk, 'a sort', 0));
  });
}

function readSearchAfter(value: unknown, walk: Walk): readonly Json[] {
  const { sortIds } = walk;
  if (sortIds === undefined) {
    throw walk.refuse('search_after stands without a sort', 'Give the sort that the values come from.');
  }
  if (!Array.isArray(value)) throw malformed(walk, 'search_after');
  return value.map((entry: unknown, at) =>
    sortIds.includes(at) ? walk.names.encode(entry) : readScalar(entry, walk),
  );
}

function readHighlight(value: unknown, walk: Walk, depth: number): JsonObject {
  const { fields, ...rest } = readObject(value, walk, 'highlight');
  const entries = readList(fields, walk).flatMap((entry) =>
    Object.entries(readObject(entry, walk, 'highlight.fields')),
  );
  return {
    ...readKeys(rest, HIGHLIGHT, walk, 'highlight', depth + 1),
    fields: entries.map(([field, how]) =>
      own(readPattern(field, walk), readKeys(how, HIGHLIGHT, walk, 'highlight.fields', depth + 1)),
    ),
  };
}

// `fvh` expands a prefix to the first 1,024 terms of the index: a word of another tenant that pushes one's own out
// of them would show in what is highlighted. Plugins bring highlighters that nobody has looked at.
const HIGHLIGHTERS: ReadonlySet<unknown> = new Set(['unified', 'plain']);

function readHighlighter(value: unknown, walk: Walk): string {
  if (HIGHLIGHTERS.has(value)) return value as string;
  throw walk.refuse(
    'its highlighter looks at the terms of all tenants, or is not known',
    'Use unified (the default) or plain.',
  );
}

function readSource(value: unknown, walk: Walk): Json {
  if (typeof value === 'boolean') return value;
  if (!isObject(value)) return readTexts(value, walk);
  const keys = { includes: 'texts', include: 'texts', excludes: 'texts', exclude: 'texts' } as const;
  return readKeys(value, keys, walk, '_source', 0);
}

function readFields(value: unknown, walk: Walk, read: (field: unknown, walk: Walk) => string): Json {
  return readList(value, walk).map((entry) => {
    if (!isObject(entry)) return read(entry, walk);
    const { field, ...rest } = entry;
    const keys = { format: 'text', include_unmapped: 'flag' } as const;
    return { ...readKeys(rest, keys, walk, 'a field', 0), field: read(field, walk) };
  });
}

function readOrder(value: unknown, walk: Walk): Json {
  return readList(value, walk).map((entry) => {
    const [path, direction] = readSingle(entry, walk, 'order', 0);
    return own(path, readText(direction, walk));
  });
}

function readInclude(value: unknown, walk: Walk): Json {
  if (isObject(value)) {
    return readKeys(value, { partition: 'integer', num_partitions: 'integer' }, walk, 'include', 0);
  }
  return Array.isArray(value) ? readScalars(value, walk) : readText(value, walk);
}

const READERS: Readonly<Record<Treatment, Reader>> = {
  scalar: readScalar,
  scalars: readScalars,
  number: readNumber,
  integer: readInteger,
  flag: readFlag,
  text: readText,
  texts: readTexts,
  field: readField,
  fields: (value, walk) => readList(value, walk).map((field) => readField(field, walk)),
  fieldPatterns: (value, walk) => readFields(value, walk, readPattern),
  docvalueFields: (value, walk) => readFields(value, walk, readField),
  ids: readIds,
  query: readQuery,
  queries: (value, walk, depth) => readList(value, walk).map((query) => readQuery(query, walk, depth)),
  aggregations: readAggregations,
  // With 0, terms that no found document has come back too: those of the other tenants.
  minDocCount: (value, walk) => Math.max(1, readInteger(value, walk)),
  order: readOrder,
  include: readInclude,
  ranges: (value, walk) =>
    readList(value, walk).map((range) =>
      readKeys(range, { from: 'scalar', to: 'scalar', key: 'text' }, walk, 'ranges', 0),
    ),
  bounds: (value, walk) => readKeys(value, { min: 'scalar', max: 'scalar' }, walk, 'bounds', 0),
  highlight: readHighlight,
  highlighter: readHighlighter,
  trackTotalHits: (value, walk) => (typeof value === 'boolean' ? value : readInteger(value, walk)),
  source: readSource,
  sort: readSort,
  searchAfter: readSearchAfter,
};
