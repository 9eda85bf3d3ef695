import { isWellFormed } from './bytes.ts';

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Significant digits of a number that Lua's cjson keeps when it stores a job's options. */
const LUA_DIGITS = 14;

/**
 * One text for all the forms that BullMQ gives to the same options on their way through msgpack, Lua's tables
 * and cjson: keys sorted, `null` and empty members left out, an empty list written as an empty object, and
 * numbers rounded to the 14 digits that cjson writes. Otherwise as in RFC 8785 (JSON Canonicalization Scheme).
 *
 * Without it no signature over options would hold: cjson stores keys in the order of its hash table.
 *
 * @throws TypeError on what JSON cannot hold, and on text with a lone surrogate
 */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'string') {
    if (!isWellFormed(value)) throw new TypeError('a text holds a lone surrogate');
    return JSON.stringify(value);
  }
  if (typeof value === 'number') return canonicalNumber(value);
  if (typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? '{}' : `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) return canonicalObject(value);
  throw new TypeError(`${value === null ? 'null' : typeof value} has no place here`);
}

function canonicalObject(value: object): string {
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined && member !== null)
    .toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([key, member]) => `${canonicalJson(key)}:${canonicalJson(member)}`);
  return `{${members.join(',')}}`;
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError('a number is not finite');
  const rounded = Number(value.toPrecision(LUA_DIGITS));
  return String(rounded === 0 ? 0 : rounded);
}
