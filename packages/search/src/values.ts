import type { RefuseRule } from '@tenantkit/core';
import { isObject, isRawNumber, type Json, type JsonObject } from './json.ts';
import type { Names } from './names.ts';
import { shown, type Refuse } from './refusing.ts';

/** What a walk through one body knows. */
export interface Walk {
  readonly names: Names;
  readonly refuse: Refuse;
  /** The fields of ours: nobody names them in a request. */
  readonly reserved: ReadonlySet<string>;
  /** Clauses read so far, against {@link MAX_CLAUSES}. */
  clauses: number;
  /** Where `_id` stands in the sort, once it was read. */
  sortIds: readonly number[] | undefined;
}

/** The deepest nesting of queries and aggregations that is read. */
const MAX_CLAUSE_DEPTH = 50;

/** The most queries, aggregations and sorts in one body. */
const MAX_CLAUSES = 10_000;

/** The longest list of values. The server's own limit for terms. */
const MAX_VALUES = 65_536;

/** A value that a field is compared with. */
export function readScalar(value: unknown, walk: Walk): Json {
  if (typeof value === 'object' && value !== null && !isRawNumber(value)) throw malformed(walk, 'a value');
  return value as Json;
}

/** A list of them. */
export function readScalars(value: unknown, walk: Walk): readonly Json[] {
  if (!Array.isArray(value)) throw malformed(walk, 'a list of values');
  return readList(value, walk).map((entry) => readScalar(entry, walk));
}

/** One or several `_id`s, which become physical. */
export function readIds(value: unknown, walk: Walk): readonly string[] {
  return readList(value, walk).map((id) => walk.names.encode(id));
}

/** A text. */
export function readText(value: unknown, walk: Walk): string {
  if (typeof value !== 'string') throw malformed(walk, 'a text');
  return value;
}

/** One or several texts. */
export function readTexts(value: unknown, walk: Walk): readonly string[] {
  return readList(value, walk).map((entry) => readText(entry, walk));
}

/** A number, also as a text: the server takes both. */
export function readNumber(value: unknown, walk: Walk): Json {
  if (typeof value === 'number' || isRawNumber(value)) return value;
  if (typeof value !== 'string' || value.trim() === '' || Number.isNaN(Number(value))) {
    throw malformed(walk, 'a number');
  }
  return value;
}

/** A whole number, also as a text. */
export function readInteger(value: unknown, walk: Walk): number {
  const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw malformed(walk, 'a whole number');
  return number;
}

/** True or false, also as a text. */
export function readFlag(value: unknown, walk: Walk): boolean {
  if (value === true || value === 'true') return true;
  if (value === false || value === 'false') return false;
  throw malformed(walk, 'true or false');
}

/** The name of a field: none of ours, no metadata, no wildcard. */
export function readField(value: unknown, walk: Walk): string {
  const field = readPattern(value, walk);
  if (field.includes('*')) throw walk.refuse('a wildcard stands for a field', 'Name the field.');
  return field;
}

/**
 * A field, or a pattern of fields where it only chooses what a hit shows: a pattern that covers ours is
 * accepted, since they are taken out of every hit.
 */
export function readPattern(value: unknown, walk: Walk): string {
  const field = readText(value, walk);
  if (field === '') throw malformed(walk, 'a field name');
  if (field.startsWith('_')) {
    throw walk.refuse(
      `the field ${shown(field)} is metadata, which holds physical names or counts over all tenants`,
      'Use a field of your own; _id is accepted in ids, term, terms and sort.',
    );
  }
  const [top = ''] = field.split('.');
  if (walk.reserved.has(top)) {
    throw walk.refuse(
      `the field ${shown(top)} belongs to tenantkit`,
      'Leave it out: every request is held to its tenant anyway.',
    );
  }
  return field;
}

/** An object; `where` names it in the error. */
export function readObject(value: unknown, walk: Walk, where: string): Readonly<Record<string, unknown>> {
  if (!isObject(value)) throw malformed(walk, where);
  return value;
}

/** A list that is not too long; a single value is a list of one. */
export function readList(value: unknown, walk: Walk): readonly unknown[] {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (values.length > MAX_VALUES) {
    throw walk.refuse(`a list has more than ${MAX_VALUES} values`, 'Split the request.');
  }
  return values;
}

/** An object of one key. Counts as a clause: all nesting goes through here. */
export function readSingle(value: unknown, walk: Walk, where: string, depth: number): [string, unknown] {
  enterClause(walk, depth);
  const given = readObject(value, walk, where);
  const [key, another] = Object.keys(given);
  if (key === undefined || another !== undefined) {
    throw walk.refuse(`${where} has not exactly one key`, 'Give one object per clause.');
  }
  return [key, given[key]];
}

/** Counts a clause. @throws {@link OperationRefusedError} when there are too many, or nested too deep */
export function enterClause(walk: Walk, depth: number): void {
  walk.clauses += 1;
  if (depth > MAX_CLAUSE_DEPTH) {
    throw walk.refuse(`its clauses are nested deeper than ${MAX_CLAUSE_DEPTH}`, 'Flatten the query.');
  }
  if (walk.clauses > MAX_CLAUSES) {
    throw walk.refuse(`it has more than ${MAX_CLAUSES} clauses`, 'Use terms for many values of one field.');
  }
}

/** An object with one own property, whatever the key is called. */
export function own(key: string, value: Json): JsonObject {
  // `{ [key]: value }` makes an own property also of `__proto__`.
  return { [key]: value };
}

/** The error of a row that refuses. */
export function refused(walk: Walk, what: string, { why, instead }: RefuseRule): Error {
  return walk.refuse(`${what}: ${why}`, instead);
}

/** The error for what no table knows. */
export function unknown(walk: Walk, what: string): Error {
  return walk.refuse(
    `${what} is on no list of what stays inside a tenant`,
    'See the lists in the README of @tenantkit/search; as an operator: acrossTenants({ reason, actor }, () => …).',
  );
}

/** The error for what the query DSL does not have either. */
export function malformed(walk: Pick<Walk, 'refuse'>, what: string): Error {
  return walk.refuse(
    `${what} has not the form that the query DSL gives it`,
    'See the OpenSearch documentation.',
  );
}

/** The error for what is given in two spellings, of which the checks would see one. */
export function twice(walk: Pick<Walk, 'refuse'>, what: string): Error {
  return walk.refuse(`${what} is given twice`, 'Give it once.');
}
