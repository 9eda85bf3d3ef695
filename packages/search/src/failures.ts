import { isObject } from './json.ts';
import type { Names } from './names.ts';
import type { SearchSettings } from './options.ts';

/** What is needed to tell an error of the server in the tenant's own names. */
export interface Telling {
  readonly names: Names;
  readonly settings: SearchSettings;
}

// Errors whose text holds names of fields, the request's own values and the tenant's own `_id`s, and nothing
// of a document that the request did not bring or name.
const TOLD: ReadonlySet<string> = new Set([
  'action_request_validation_exception',
  'circuit_breaking_exception',
  'cluster_block_exception',
  'date_time_parse_exception',
  'document_missing_exception',
  'illegal_argument_exception',
  'index_closed_exception',
  'index_not_found_exception',
  'json_parse_exception',
  'mapper_parsing_exception',
  'named_object_not_found_exception',
  'number_format_exception',
  'open_search_rejected_execution_exception',
  'parse_exception',
  'parsing_exception',
  'query_shard_exception',
  'rejected_execution_exception',
  'resource_not_found_exception',
  'search_phase_execution_exception',
  'strict_dynamic_mapping_exception',
  'too_many_buckets_exception',
  'too_many_clauses',
  'version_conflict_engine_exception',
  'x_content_parse_exception',
]);

const WITHHELD =
  'The reason is withheld, since it may hold data of other tenants; the log of the server has it.';

// Keys that are passed on as they are. Stack traces, node ids and headers are not among them.
const PLAIN: ReadonlySet<string> = new Set([
  'type',
  'phase',
  'grouped',
  'line',
  'col',
  'shard',
  'index',
  'status',
]);

/**
 * An error object of the server in the tenant's own names: physical `_id`s become logical, and a reason is told
 * only for the types of error whose text cannot hold another tenant's data.
 */
export function tellFailure(error: unknown, telling: Telling): unknown {
  if (!isObject(error)) return { type: 'unknown', reason: WITHHELD };
  const { type } = error;
  const told: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(error)) {
    if (PLAIN.has(key) && !isObject(value)) told[key] = value;
    else if (key === 'reason') {
      // The reason of a shard failure is an error of its own.
      told[key] = isObject(value) ? tellFailure(value, telling) : tellReason(type, value, telling);
    } else if (key === 'caused_by') told[key] = tellFailure(value, telling);
    else if ((key === 'root_cause' || key === 'failed_shards') && Array.isArray(value)) {
      told[key] = value.map((cause: unknown) => tellFailure(cause, telling));
    }
  }
  return told;
}

function tellReason(type: unknown, reason: unknown, { names, settings }: Telling): string {
  if (typeof type !== 'string' || typeof reason !== 'string' || !TOLD.has(type)) return WITHHELD;
  const prefix = settings.names.prefix(names.tenant);
  // Anchored on the left: in `[a-b~1]` the prefix of tenant `b` is no prefix.
  return reason.replace(new RegExp(`(^|[^A-Za-z0-9_-])${escape(prefix)}`, 'g'), '$1');
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
