import { refuse, type RefuseRule } from '@tenantkit/core';
import type { Operation } from './rules.ts';
import { shown, type Refuse } from './refusing.ts';
import { twice } from './values.ts';
import { table } from './table.ts';

/** The parameters of a request's query string: each name once, each value a text. */
export type Params = ReadonlyMap<string, string>;

/** What a parameter's value must look like. */
type Check = RegExp;

const FLAG = /^(?:true|false|)$/;
const INTEGER = /^-?\d{1,19}$/;
const TIME = /^(?:-1|\d{1,10}(?:nanos|micros|ms|s|m|h|d))$/;
const FIELDS = /^[^\p{Cc}]{0,4096}$/u;
const REFRESH = /^(?:true|false|wait_for|)$/;
const SHARDS = /^(?:all|\d{1,5})$/;
const VERSION_TYPE = /^(?:internal|external|external_gte)$/;
const OP_TYPE = /^(?:index|create)$/;
const SORT = /^[^\p{Cc}]{1,4096}$/u;

const VERSION = { version: INTEGER, version_type: VERSION_TYPE };
const CONDITION = { if_seq_no: INTEGER, if_primary_term: INTEGER };
const WRITE = { refresh: REFRESH, timeout: TIME, wait_for_active_shards: SHARDS };
const SOURCE = { _source: FIELDS, _source_includes: FIELDS, _source_excludes: FIELDS };
const READ = { realtime: FLAG, refresh: FLAG, ...VERSION };

// One row per allowed operation: the parameters it may carry. What is not here is refused.
const PARAMS = table({
  index: { ...WRITE, ...VERSION, ...CONDITION, op_type: OP_TYPE },
  create: { ...WRITE, ...VERSION },
  delete: { ...WRITE, ...VERSION, ...CONDITION },
  get: { ...READ, ...SOURCE },
  getSource: { ...READ, ...SOURCE },
  exists: READ,
  existsSource: READ,
  bulk: WRITE,
  search: {
    ...SOURCE,
    from: INTEGER,
    size: INTEGER,
    sort: SORT,
    timeout: TIME,
    track_total_hits: /^(?:true|false|\d{1,10})$/,
    track_scores: FLAG,
    version: FLAG,
    seq_no_primary_term: FLAG,
    allow_partial_search_results: FLAG,
    rest_total_hits_as_int: FLAG,
    request_cache: FLAG,
  },
  count: {},
  'indices.refresh': {},
  'indices.exists': {},
  ping: {},
  info: {},
} satisfies Partial<Record<Operation, Readonly<Record<string, Check>>>>);

const FILTER_PATH = refuse(
  'filter_path can hide the fields by which a reply is checked',
  'Leave it out; _source and size keep a reply small.',
);
const INTO_BODY = refuse(
  'a query of the query string silently replaces the one of the body',
  'Give the query in the body.',
);
const ROUTING = refuse(
  'a document is found only under the routing it was written with, and routing is not sealed to a tenant',
  'Leave it out: documents are spread by their _id.',
);
const PIPELINE = refuse(
  'a pipeline can rewrite index, _id and fields after every check',
  'Prepare the document in the service.',
);
const SHAPE = refuse('it changes the form of the reply, which then cannot be checked', 'Leave it out.');
const ONE_INDEX = refuse('a request names exactly one index', 'Leave it out.');
const SCROLL = refuse(
  'a scroll id is not sealed to a tenant',
  'Page with a sort that ends in _id, and search_after.',
);
const BODY_TWICE = refuse(
  'it is a second body, which the checks of the first do not see',
  'Give the body as body.',
);

// Why some parameters are refused; every other unknown one is refused without a reason of its own.
const REFUSED = table({
  q: INTO_BODY,
  df: INTO_BODY,
  default_operator: INTO_BODY,
  analyzer: INTO_BODY,
  analyze_wildcard: INTO_BODY,
  lenient: INTO_BODY,
  source: BODY_TWICE,
  source_content_type: BODY_TWICE,
  filter_path: FILTER_PATH,
  format: SHAPE,
  typed_keys: SHAPE,
  error_trace: SHAPE,
  routing: ROUTING,
  pipeline: PIPELINE,
  search_pipeline: PIPELINE,
  require_alias: ONE_INDEX,
  ignore_unavailable: ONE_INDEX,
  allow_no_indices: ONE_INDEX,
  expand_wildcards: ONE_INDEX,
  scroll: SCROLL,
} satisfies Readonly<Record<string, RefuseRule>>);

/**
 * Collects the parameters from everywhere the raw client takes them: the query string of the path, the
 * parameters of the call, and `options.querystring`, which the raw client merges over them.
 *
 * @throws {@link OperationRefusedError} for a parameter that the operation may not carry, that is given twice,
 * or whose value has another form
 */
export function readParams(
  operation: Operation,
  { path, given, merged }: { readonly path: string; readonly given: unknown; readonly merged: unknown },
  refuse: Refuse,
): Params {
  const inPath = entries(path, refuse);
  const params = new Map([...entries(given, refuse), ...entries(merged, refuse)]);
  for (const [name, value] of inPath) {
    if (params.has(name)) throw twice({ refuse }, `the parameter ${shown(name)}`);
    params.set(name, value);
  }
  const allowed: Readonly<Record<string, Check>> =
    operation in PARAMS ? PARAMS[operation as keyof typeof PARAMS] : {};
  for (const [name, value] of params) {
    const check = Object.hasOwn(allowed, name) ? allowed[name] : undefined;
    if (check === undefined) throw refusedParam(name, refuse);
    if (!check.test(value)) {
      throw refuse(`the value of the parameter ${name} is not one that the server accepts`, 'Correct it.');
    }
  }
  return params;
}

/** The query string of parameters. */
export function writeParams(params: Params): string {
  return new URLSearchParams([...params]).toString();
}

function refusedParam(name: string, refuse: Refuse): Error {
  const row = name in REFUSED ? REFUSED[name as keyof typeof REFUSED] : undefined;
  return refuse(
    row === undefined
      ? `the parameter ${shown(name)} is on no list of what stays inside a tenant`
      : `the parameter ${name}: ${row.why}`,
    row?.instead ?? 'Leave it out; as an operator: acrossTenants({ reason, actor }, () => …).',
  );
}

function entries(given: unknown, refuse: Refuse): readonly (readonly [string, string])[] {
  if (given === undefined || given === null || given === '') return [];
  if (typeof given === 'string') {
    const found = [...new URLSearchParams(given)];
    const names = new Set(found.map(([name]) => name));
    if (names.size !== found.length) throw twice({ refuse }, 'a parameter of the query string');
    return found;
  }
  if (typeof given !== 'object') throw badValue(refuse);
  return Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]: [string, unknown]) => [name, text(value, refuse)]);
}

function text(value: unknown, refuse: Refuse): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value);
  if (Array.isArray(value)) return Array.from(value, (entry: unknown) => text(entry, refuse)).join(',');
  throw badValue(refuse);
}

function badValue(refuse: Refuse): Error {
  return refuse('a parameter is no text, number, boolean or list of these', 'Correct its value.');
}
