import { refuse as row } from '@tenantkit/core';
import type { Keys } from './clauses.ts';
import { asText, stampDocument, type Stamping } from './documents.ts';
import { isObject, readJson, toJson, type JsonObject } from './json.ts';
import type { Names } from './names.ts';
import { shown } from './refusing.ts';
import { read, unreadable, WRITTEN, type Reading } from './replies.ts';
import { table } from './table.ts';
import type { Walk } from './values.ts';
import { readKeys } from './walker.ts';

/** One action of a bulk request, as it is sent. */
export interface BulkAction {
  readonly type: 'index' | 'create' | 'delete';
  readonly index: string;
  /** The physical `_id`. */
  readonly id: string;
}

const ROUTING = row('routing is not sealed to a tenant', 'Leave it out.');
const PIPELINE = row('a pipeline can rewrite index, _id and fields after every check', 'Leave it out.');

// `_index` and `_id` are read apart. The rest of what the server knows in an action is decided here.
const ACTION = table({
  version: 'integer',
  version_type: 'text',
  if_seq_no: 'integer',
  if_primary_term: 'integer',
  routing: ROUTING,
  _routing: ROUTING,
  pipeline: PIPELINE,
  require_alias: row('an action names exactly one index', 'Leave it out.'),
} satisfies Keys);

const TYPES = table({ index: true, create: true, delete: false } satisfies Record<
  BulkAction['type'],
  boolean
>);

/**
 * Reads a bulk body in every form the raw client takes (a list of objects and texts, or NDJSON as text or
 * Buffer) and writes it anew: each action from an allow-list, each document stamped.
 *
 * @param index - of the path, for actions that name none
 * @throws {@link OperationRefusedError} that says at which line
 */
export function readBulk(
  body: unknown,
  index: string | undefined,
  walk: Walk,
  stamping: Stamping,
): { readonly actions: readonly BulkAction[]; readonly text: string } {
  const lines = readLines(body, stamping);
  const actions: BulkAction[] = [];
  const written: string[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const action = readAction(lines[at], index, walk, at);
    const { type, index: _index, id: _id, rest } = action;
    actions.push({ type, index: _index, id: _id });
    written.push(JSON.stringify({ [type]: { ...rest, _index, _id } }));
    if (!TYPES[type]) continue;
    at += 1;
    if (at >= lines.length) throw walk.refuse('its last action has no document', 'Give a document after it.');
    written.push(stampDocument(lines[at], stamping));
  }
  if (actions.length === 0) throw walk.refuse('its body holds no action', 'Give at least one.');
  return { actions, text: `${written.join('\n')}\n` };
}

/** The reply to a bulk request: one item per action, in its order. @throws {@link IsolationBreachError} */
export function readBulkReply(body: unknown, actions: readonly BulkAction[], reading: Reading): unknown {
  if (!isObject(body)) throw unreadable(reading);
  const { took, errors, items, ingest_took } = body;
  if (!Array.isArray(items) || items.length !== actions.length) throw unreadable(reading);
  return {
    took,
    ...(ingest_took === undefined ? {} : { ingest_took }),
    errors,
    items: items.map((item: unknown, at) => readItem(item, actions[at], reading)),
  };
}

function readItem(item: unknown, action: BulkAction | undefined, reading: Reading): unknown {
  if (action === undefined || !isObject(item)) throw unreadable(reading);
  const { [action.type]: result } = item;
  if (!isObject(result) || result['_id'] !== action.id) throw unreadable(reading);
  return { [action.type]: read(result, WRITTEN, { ...reading, index: action.index }) };
}

function readAction(
  line: unknown,
  index: string | undefined,
  walk: Walk,
  at: number,
): BulkAction & { readonly rest: JsonObject } {
  const text = asText(line, walk.refuse);
  const action = text === undefined ? toJson(line ?? null, walk.refuse) : readJson(text, walk.refuse);
  const entries: readonly (readonly [string, unknown])[] = isObject(action) ? Object.entries(action) : [];
  const [entry] = entries;
  if (entry === undefined || entries.length !== 1) {
    throw walk.refuse(
      `line ${at + 1} of its body is no action`,
      'Give { index | create | delete: { _index, _id } }, each followed by its document where it has one.',
    );
  }
  const [type, metadata] = entry;
  if (type === 'update') {
    throw walk.refuse(
      'a partial document, an upsert or a script can change the fields that hold tenant and subjects, and update is not rewritten today',
      'get the document and index it whole, with if_seq_no and if_primary_term.',
    );
  }
  if (!isType(type))
    throw walk.refuse(`its action ${shown(type)} is none of index, create and delete`, 'Use one of these.');
  if (!isObject(metadata)) throw walk.refuse(`line ${at + 1} of its body is no action`, 'Give an object.');
  const { _index, _id, ...rest } = metadata;
  return {
    type,
    index: walk.names.index(_index ?? index),
    id: idOf(_id, type, walk.names, walk),
    rest: readKeys(rest, ACTION, walk, 'an action', 0),
  };
}

function idOf(id: unknown, type: BulkAction['type'], names: Names, walk: Walk): string {
  if (id !== undefined) return names.encode(id);
  if (type === 'delete') throw walk.refuse('a delete names no _id', 'Name the document.');
  return names.generate();
}

function readLines(body: unknown, { refuse }: Stamping): readonly unknown[] {
  if (Array.isArray(body)) return body;
  const text = asText(body, refuse);
  if (text === undefined) throw refuse('its body is no list of actions', 'Give a list, or NDJSON.');
  const lines = text.split('\n');
  // The line break that ends the last line.
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function isType(type: string): type is BulkAction['type'] {
  return type in TYPES;
}
