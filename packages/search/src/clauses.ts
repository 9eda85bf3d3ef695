import { refuse, type RefuseRule } from '@tenantkit/core';
import type { API } from '@opensearch-project/opensearch';
import type { AggregationContainer } from '@opensearch-project/opensearch/api/_types/_common.aggregations.js';
import type { QueryContainer } from '@opensearch-project/opensearch/api/_types/_common.query_dsl.js';
import { table } from './table.ts';

/** How the value of a key is read; `walker.ts` has one function for each. */
export type Treatment =
  | 'scalar'
  | 'scalars'
  | 'number'
  | 'integer'
  | 'flag'
  | 'text'
  | 'texts'
  | 'field'
  | 'fields'
  | 'fieldPatterns'
  | 'docvalueFields'
  | 'ids'
  | 'query'
  | 'queries'
  | 'aggregations'
  | 'minDocCount'
  | 'order'
  | 'include'
  | 'ranges'
  | 'bounds'
  | 'highlight'
  | 'highlighter'
  | 'trackTotalHits'
  | 'source'
  | 'sort'
  | 'searchAfter';

/** The keys that an object may have. A key that is not here is refused. */
export type Keys = Readonly<Record<string, Treatment | RefuseRule>>;

/**
 * A query: `keys` with its own keys; `byField` with one field that holds them (or, `short`, the value of one of
 * them); `values` with one field that holds a list beside the keys.
 */
export type QueryRow =
  | { readonly form: 'keys'; readonly keys: Keys }
  | { readonly form: 'byField'; readonly keys: Keys; readonly short: string; readonly id: boolean }
  | { readonly form: 'values'; readonly keys: Keys }
  | RefuseRule;

/** An aggregation, whose body is a query or has keys of its own; `buckets`: others may stand inside it. */
export type AggregationRow = { readonly keys: Keys | 'query'; readonly buckets: boolean } | RefuseRule;

type KeysOfUnion<T> = T extends T ? keyof T & string : never;

const REWRITE = refuse(
  'rewrite can keep the top terms only, and the terms of all tenants compete for these places',
  'Leave rewrite out: every term then counts.',
);
const EXPANSION = refuse(
  'its expansion is cut off at a number of terms, and the terms of all tenants compete for these places',
  'Use match, match_phrase or prefix; as-you-type fields can be indexed with edge n-grams.',
);
const FREQUENCY = refuse(
  'it decides by how often a term occurs in the documents of all tenants',
  'Use match with operator and minimum_should_match.',
);
const BASE = { boost: 'number', _name: 'text' } as const satisfies Keys;

const OTHER_DOCUMENTS = refuse(
  'it reads documents that the filter of the outer query does not reach',
  'Read the referenced document first and put its values into the query.',
);
const JOIN = refuse(
  'its inner query runs over related documents, which the filter does not reach today',
  'Index what is searched for into the one document.',
);
const HIDDEN = refuse('it hides a query that cannot be checked', 'Write the query out.');
const SCRIPT = refuse(
  'a script reaches any field of any document',
  'Index the value that the script would compute.',
);
const SCORING = refuse('it is not rewritten today', 'Use bool with should and boost.');
const SYNTAX = refuse(
  'its text is a query language that can name any field, and it is not rewritten today',
  'Use bool with match, term and range.',
);
const TODAY = refuse(
  'it is not on the list of checked queries today',
  'Use bool with match, term and range.',
);
const TERM_PATTERN = refuse(
  'it is not on the list of checked queries today',
  'Use prefix, or index the field with n-grams.',
);
const SPANS = refuse('it is not on the list of checked queries today', 'Use match_phrase with slop.');
const GEO = refuse(
  'it is not on the list of checked queries today',
  'Index a geohash as keyword and use prefix.',
);
const VECTORS = refuse(
  'the nearest documents are chosen over all tenants before the filter applies; it is not rewritten today',
  'Keep vectors in an index per tenant.',
);

/** Every query of the client's own types. */
export const QUERIES = table({
  term: byField({ ...BASE, value: 'scalar', case_insensitive: 'flag' }, 'value', { id: true }),
  terms: {
    form: 'values',
    keys: {
      ...BASE,
      value_type: refuse('a bitmap cannot be checked', 'Give the values as a list.'),
    },
  },
  match: byField(
    {
      ...BASE,
      query: 'scalar',
      operator: 'text',
      minimum_should_match: 'scalar',
      analyzer: 'text',
      lenient: 'flag',
      zero_terms_query: 'text',
      auto_generate_synonyms_phrase_query: 'flag',
      fuzziness: EXPANSION,
      max_expansions: EXPANSION,
      prefix_length: EXPANSION,
      fuzzy_transpositions: EXPANSION,
      fuzzy_rewrite: REWRITE,
      cutoff_frequency: FREQUENCY,
    },
    'query',
  ),
  match_phrase: byField(
    { ...BASE, query: 'scalar', slop: 'integer', analyzer: 'text', zero_terms_query: 'text' },
    'query',
  ),
  match_all: keys(BASE),
  match_none: keys(BASE),
  bool: keys({
    ...BASE,
    must: 'queries',
    should: 'queries',
    filter: 'queries',
    must_not: 'queries',
    minimum_should_match: 'scalar',
    adjust_pure_negative: 'flag',
  }),
  constant_score: keys({ ...BASE, filter: 'query' }),
  range: byField(
    {
      ...BASE,
      gt: 'scalar',
      gte: 'scalar',
      lt: 'scalar',
      lte: 'scalar',
      from: 'scalar',
      to: 'scalar',
      include_lower: 'flag',
      include_upper: 'flag',
      format: 'text',
      time_zone: 'text',
      relation: 'text',
    },
    '',
  ),
  exists: keys({ ...BASE, field: 'field' }),
  ids: keys({ ...BASE, values: 'ids' }),
  prefix: byField({ ...BASE, value: 'text', case_insensitive: 'flag', rewrite: REWRITE }, 'value'),

  agentic: HIDDEN,
  boosting: SCORING,
  combined_fields: TODAY,
  common: FREQUENCY,
  dis_max: SCORING,
  distance_feature: SCORING,
  field_masking_span: SPANS,
  function_score: SCRIPT,
  fuzzy: EXPANSION,
  geo_bounding_box: GEO,
  geo_distance: GEO,
  geo_polygon: GEO,
  geo_shape: OTHER_DOCUMENTS,
  has_child: JOIN,
  has_parent: JOIN,
  hybrid: VECTORS,
  intervals: SPANS,
  knn: VECTORS,
  match_bool_prefix: EXPANSION,
  match_phrase_prefix: EXPANSION,
  more_like_this: OTHER_DOCUMENTS,
  multi_match: TODAY,
  nested: JOIN,
  neural: VECTORS,
  neural_sparse: VECTORS,
  parent_id: JOIN,
  percolate: OTHER_DOCUMENTS,
  query_string: SYNTAX,
  rank_feature: SCORING,
  regexp: TERM_PATTERN,
  script: SCRIPT,
  script_score: SCRIPT,
  simple_query_string: SYNTAX,
  sltr: SCRIPT,
  span_containing: SPANS,
  span_first: SPANS,
  span_multi: SPANS,
  span_near: SPANS,
  span_not: SPANS,
  span_or: SPANS,
  span_term: SPANS,
  span_within: SPANS,
  template: HIDDEN,
  terms_set: SCRIPT,
  type: TODAY,
  wildcard: TERM_PATTERN,
  wrapper: HIDDEN,
  xy_shape: OTHER_DOCUMENTS,
} satisfies Readonly<Record<KeysOfUnion<QueryContainer>, QueryRow>>);

const AGGREGATION_TODAY = refuse(
  'it is not on the list of checked aggregations today',
  'Use terms, range, histogram, date_histogram, filter or missing with metrics inside.',
);
const PIPELINE_AGGREGATION = refuse(
  'it is not on the list of checked aggregations today',
  'Compute it in the service from the buckets.',
);
const BACKGROUND = refuse(
  'it compares with the terms of the whole index, which are those of all tenants',
  'Use terms, and compare two of its replies in the service.',
);
const METRIC = { field: 'field', missing: 'scalar', format: 'text', script: SCRIPT } as const satisfies Keys;
const metric: AggregationRow = { keys: METRIC, buckets: false };

/** Every aggregation of the client's own types. */
export const AGGREGATIONS = table({
  terms: {
    buckets: true,
    keys: {
      field: 'field',
      size: 'integer',
      shard_size: 'integer',
      min_doc_count: 'minDocCount',
      shard_min_doc_count: 'integer',
      order: 'order',
      include: 'include',
      exclude: 'include',
      missing: 'scalar',
      format: 'text',
      value_type: 'text',
      collect_mode: 'text',
      execution_hint: 'text',
      show_term_doc_count_error: 'flag',
      script: SCRIPT,
    },
  },
  range: {
    buckets: true,
    keys: {
      field: 'field',
      ranges: 'ranges',
      keyed: 'flag',
      missing: 'scalar',
      format: 'text',
      script: SCRIPT,
    },
  },
  histogram: {
    buckets: true,
    keys: {
      field: 'field',
      interval: 'number',
      offset: 'number',
      min_doc_count: 'integer',
      extended_bounds: 'bounds',
      hard_bounds: 'bounds',
      order: 'order',
      keyed: 'flag',
      missing: 'scalar',
      format: 'text',
      script: SCRIPT,
    },
  },
  date_histogram: {
    buckets: true,
    keys: {
      field: 'field',
      calendar_interval: 'text',
      fixed_interval: 'text',
      interval: 'text',
      offset: 'text',
      time_zone: 'text',
      min_doc_count: 'integer',
      extended_bounds: 'bounds',
      hard_bounds: 'bounds',
      order: 'order',
      keyed: 'flag',
      missing: 'scalar',
      format: 'text',
      script: SCRIPT,
    },
  },
  filter: { buckets: true, keys: 'query' },
  missing: { buckets: true, keys: { field: 'field' } },
  min: metric,
  max: metric,
  sum: metric,
  avg: metric,
  stats: metric,
  value_count: metric,
  cardinality: {
    buckets: false,
    keys: { ...METRIC, precision_threshold: 'integer', execution_hint: 'text' },
  },

  adjacency_matrix: AGGREGATION_TODAY,
  auto_date_histogram: AGGREGATION_TODAY,
  avg_bucket: PIPELINE_AGGREGATION,
  boxplot: AGGREGATION_TODAY,
  bucket_script: SCRIPT,
  bucket_selector: SCRIPT,
  bucket_sort: PIPELINE_AGGREGATION,
  children: JOIN,
  composite: AGGREGATION_TODAY,
  cumulative_cardinality: PIPELINE_AGGREGATION,
  cumulative_sum: PIPELINE_AGGREGATION,
  date_range: AGGREGATION_TODAY,
  derivative: PIPELINE_AGGREGATION,
  diversified_sampler: AGGREGATION_TODAY,
  extended_stats: AGGREGATION_TODAY,
  extended_stats_bucket: PIPELINE_AGGREGATION,
  filters: AGGREGATION_TODAY,
  geo_bounds: AGGREGATION_TODAY,
  geo_centroid: AGGREGATION_TODAY,
  geo_distance: AGGREGATION_TODAY,
  geohash_grid: AGGREGATION_TODAY,
  geotile_grid: AGGREGATION_TODAY,
  global: refuse(
    'it ignores the query, and with it the filter on the tenant',
    'Ask a second search without the narrower query for the totals.',
  ),
  ip_range: AGGREGATION_TODAY,
  matrix_stats: AGGREGATION_TODAY,
  max_bucket: PIPELINE_AGGREGATION,
  median_absolute_deviation: AGGREGATION_TODAY,
  min_bucket: PIPELINE_AGGREGATION,
  moving_avg: PIPELINE_AGGREGATION,
  moving_fn: SCRIPT,
  moving_percentiles: PIPELINE_AGGREGATION,
  multi_terms: AGGREGATION_TODAY,
  nested: JOIN,
  normalize: PIPELINE_AGGREGATION,
  parent: JOIN,
  percentile_ranks: AGGREGATION_TODAY,
  percentiles: AGGREGATION_TODAY,
  percentiles_bucket: PIPELINE_AGGREGATION,
  rare_terms: AGGREGATION_TODAY,
  rate: AGGREGATION_TODAY,
  reverse_nested: JOIN,
  sampler: AGGREGATION_TODAY,
  scripted_metric: SCRIPT,
  serial_diff: PIPELINE_AGGREGATION,
  significant_terms: BACKGROUND,
  significant_text: BACKGROUND,
  stats_bucket: PIPELINE_AGGREGATION,
  sum_bucket: PIPELINE_AGGREGATION,
  t_test: AGGREGATION_TODAY,
  top_hits: refuse(
    'its hits are not checked today',
    'Search once more with a filter on the bucket, or use a sort and size.',
  ),
  variable_width_histogram: AGGREGATION_TODAY,
  weighted_avg: AGGREGATION_TODAY,
} satisfies Readonly<
  Record<Exclude<KeysOfUnion<AggregationContainer>, 'aggs' | 'aggregations' | 'meta'>, AggregationRow>
>);

const PAGING = refuse(
  'a scroll or point in time is not sealed to a tenant',
  'Page with a sort that ends in _id, and search_after.',
);
const WHOLE_INDEX = refuse(
  'it shows how the documents of all tenants are stored and scored',
  'Try the query as an operator: acrossTenants({ reason, actor }, () => …).',
);
const SCORES = refuse(
  'scores depend on the documents of all tenants',
  'Filter by a field; for scores of your own use constant_score with boost.',
);
const BODY_TODAY = refuse('it is not on the list of checked keys today', 'Leave it out.');
const SEARCH_PIPELINE = refuse(
  'a pipeline can rewrite the query after every check',
  'Prepare the query in the service.',
);

/** Every key of a search body. */
export const SEARCH_BODY = table({
  query: 'query',
  post_filter: 'query',
  aggs: 'aggregations',
  aggregations: 'aggregations',
  sort: 'sort',
  search_after: 'searchAfter',
  from: 'integer',
  size: 'integer',
  _source: 'source',
  fields: 'fieldPatterns',
  docvalue_fields: 'docvalueFields',
  highlight: 'highlight',
  track_total_hits: 'trackTotalHits',
  track_scores: 'flag',
  timeout: 'text',
  version: 'flag',
  seq_no_primary_term: 'flag',

  collapse: refuse(
    'it can hold searches of its own, and it is not rewritten today',
    'Use a terms aggregation, or drop doubles in the service.',
  ),
  derived: SCRIPT,
  explain: WHOLE_INDEX,
  ext: BODY_TODAY,
  include_named_queries_score: SCORES,
  indices_boost: refuse('a search names exactly one index', 'Leave it out.'),
  min_score: SCORES,
  pit: PAGING,
  profile: WHOLE_INDEX,
  rescore: refuse('it is not rewritten today', 'Put the second query into bool.should with a boost.'),
  script_fields: SCRIPT,
  search_pipeline: SEARCH_PIPELINE,
  slice: PAGING,
  stats: BODY_TODAY,
  stored_fields: refuse(
    'it can hide the fields by which a hit is checked',
    'Use _source, fields or docvalue_fields.',
  ),
  suggest: refuse(
    'a suggester ignores the query, and with it the filter on the tenant',
    'Search with prefix or match, or use a terms aggregation with include.',
  ),
  terminate_after: refuse(
    'which documents are looked at first depends on those of all tenants',
    'Use size, and track_total_hits: false.',
  ),
  verbose_pipeline: SEARCH_PIPELINE,
} satisfies Readonly<Record<keyof API.Search_RequestBody, Treatment | RefuseRule>>);

/** Every key of a count body. */
export const COUNT_BODY = table({
  query: 'query',
} satisfies Readonly<Record<keyof API.Count_RequestBody, Treatment | RefuseRule>>);

const FAST_VECTOR = refuse(
  'it belongs to the fast vector highlighter, which expands a prefix to the first terms of all tenants',
  'Use the highlighter unified or plain.',
);

/** Keys of a highlighter, for all fields or for one. */
export const HIGHLIGHT = table({
  boundary_chars: 'text',
  boundary_max_scan: 'integer',
  boundary_scanner: 'text',
  boundary_scanner_locale: 'text',
  encoder: 'text',
  force_source: 'flag',
  fragment_offset: 'integer',
  fragment_size: 'integer',
  fragmenter: 'text',
  highlight_filter: 'flag',
  highlight_query: 'query',
  matched_fields: FAST_VECTOR,
  max_analyzer_offset: 'integer',
  max_fragment_length: 'integer',
  no_match_size: 'integer',
  number_of_fragments: 'integer',
  options: BODY_TODAY,
  order: 'text',
  phrase_limit: FAST_VECTOR,
  post_tags: 'texts',
  pre_tags: 'texts',
  require_field_match: 'flag',
  tags_schema: 'text',
  type: 'highlighter',
} satisfies Keys);

/** Keys of a sort by one field. */
export const SORT = table({
  order: 'text',
  mode: 'text',
  missing: 'scalar',
  unmapped_type: 'text',
  numeric_type: 'text',
  format: 'text',
  nested: JOIN,
} satisfies Keys);

/** Metadata fields that a sort may name. The others count or order the documents of all tenants. */
export const SORT_METADATA = table({
  _id: true,
  _score: true,
  _doc: refuse(
    'the order of the index is that of the documents of all tenants',
    'Sort by a field of your own, or by _id.',
  ),
  _script: SCRIPT,
  _geo_distance: GEO,
} satisfies Readonly<Record<string, true | RefuseRule>>);

function keys(allowed: Keys): QueryRow {
  return { form: 'keys', keys: allowed };
}

function byField(allowed: Keys, short: string, { id }: { id: boolean } = { id: false }): QueryRow {
  return { form: 'byField', keys: allowed, short, id };
}
