import { errors } from '@opensearch-project/opensearch';
import type { Refuse } from './refusing.ts';

/** What JSON can hold. Numbers that JavaScript would round are kept as their text ({@link JSON.rawJSON}). */
export type Json = string | number | boolean | null | RawNumber | readonly Json[] | JsonObject;
/** An object as JSON holds it. */
export interface JsonObject {
  readonly [key: string]: Json;
}
/** A number whose digits are kept: 9007199254740993 must not become …992 on its way through. */
export type RawNumber = object & { readonly rawJSON: string };

/** The deepest nesting that is read. The server's own limit for a document is 1,000. */
export const MAX_DEPTH = 200;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const SPACE = /[ \t\n\r]*/y;
const WORDS: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null };

// In Node 22 and later, not in the types of its year.
const { rawJSON, isRawJSON } = JSON as unknown as {
  readonly rawJSON: (text: string) => RawNumber;
  readonly isRawJSON: (value: unknown) => boolean;
};

/**
 * Reads one JSON text (RFC 8259) and nothing after it. Refused, beside what is no JSON: a name that occurs twice
 * in one object (the checks would see one of the two values, the server may use the other), and nesting so deep
 * that walking it would end the process.
 *
 * Objects come without a prototype: `__proto__` is an ordinary key in them.
 *
 * @param refuse - makes the error
 * @throws {@link OperationRefusedError}
 */
export function readJson(text: string, refuse: Refuse): Json {
  return readCanonical(text) ?? readStrictly(text, refuse);
}

/** Like {@link readJson}, and the text again, as JSON.stringify writes it: without spaces and line breaks. */
export function normalizeJson(text: string, refuse: Refuse): readonly [value: Json, text: string] {
  const canonical = readCanonical(text);
  if (canonical !== undefined) return [canonical, text];
  const value = readStrictly(text, refuse);
  return [value, JSON.stringify(value)];
}

// What JSON.stringify would have written holds no double key, no odd number and no space: it is read natively,
// which is many times faster. Everything else, and everything doubtful, is read strictly.
function readCanonical(text: string): Json | undefined {
  try {
    const value = JSON.parse(text) as Json;
    return value !== null && JSON.stringify(value) === text && depthOf(text) <= MAX_DEPTH ? value : undefined;
  } catch {
    return undefined;
  }
}

// At most: brackets inside texts count as well.
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, (depth += 1));
    else if (code === 0x7d || code === 0x5d) depth -= 1;
  }
  return deepest;
}

function readStrictly(text: string, refuse: Refuse): Json {
  let at = 0;
  const malformed = (): Error =>
    refuse('its body is not JSON', 'Give an object, or one well-formed JSON text.');
  const skip = (): void => {
    SPACE.lastIndex = at;
    SPACE.test(text);
    at = SPACE.lastIndex;
  };
  const token = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) throw malformed();
    at += found.length;
    return found;
  };
  // The end is looked for by hand and the inside left to JSON.parse: a pattern for both runs out of stack on a
  // text of some megabytes.
  const string = (): string => {
    if (text[at] !== '"') throw malformed();
    let end = at;
    do end = text.indexOf('"', end + 1);
    while (end !== -1 && isEscaped(text, end));
    if (end === -1) throw malformed();
    const quoted = text.slice(at, end + 1);
    at = end + 1;
    try {
      return JSON.parse(quoted) as string;
    } catch {
      throw malformed();
    }
  };
  const number = (): number | RawNumber => {
    const digits = token(NUMBER);
    const value = Number(digits);
    return String(value) === digits ? value : rawJSON(digits);
  };
  // Goes on to the next member; false at the closing bracket.
  const next = (close: string, first: boolean): boolean => {
    skip();
    const found = text[at];
    if (found === close) {
      at += 1;
      return false;
    }
    if (first) return true;
    if (found !== ',') throw malformed();
    at += 1;
    skip();
    return true;
  };
  const object = (depth: number): JsonObject => {
    const result = Object.create(null) as Record<string, Json>;
    for (let first = true; next('}', first); first = false) {
      const key = string();
      if (key in result) {
        throw refuse('a key occurs twice in one object of its body', 'Give each key once.');
      }
      skip();
      if (text[at] !== ':') throw malformed();
      at += 1;
      result[key] = value(depth + 1);
    }
    return result;
  };
  const array = (depth: number): readonly Json[] => {
    const result: Json[] = [];
    for (let first = true; next(']', first); first = false) result.push(value(depth + 1));
    return result;
  };
  const value = (depth: number): Json => {
    if (depth > MAX_DEPTH) throw tooDeep(refuse);
    skip();
    switch (text.charAt(at)) {
      case '{':
        at += 1;
        return object(depth);
      case '[':
        at += 1;
        return array(depth);
      case '"':
        return string();
      case 't':
      case 'f':
      case 'n':
        return WORDS[token(WORD)] ?? null;
      default:
        return number();
    }
  };
  const result = value(0);
  skip();
  if (at !== text.length) throw malformed();
  return result;
}

/**
 * What the server would see of a value: `toJSON` called, getters read, exotic objects flattened, once. Walking
 * the caller's own object would check one answer of a getter and send another.
 *
 * @throws SerializationError of the raw client, for a cycle
 */
export function toJson(value: unknown, refuse: Refuse): Json {
  try {
    return JSON.parse(JSON.stringify(value)) as Json;
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep(refuse);
    const text = withBigInts(value);
    if (text !== undefined) return readJson(text, refuse);
    throw new errors.SerializationError(error instanceof Error ? error.message : 'not serializable', value);
  }
}

function withBigInts(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'bigint' ? rawJSON(String(inner)) : inner,
    );
  } catch {
    return undefined;
  }
}

function isEscaped(text: string, quote: number): boolean {
  let before = quote;
  while (text[before - 1] === '\\') before -= 1;
  return (quote - before) % 2 === 1;
}

/** The error for nesting deeper than {@link MAX_DEPTH}. */
export function tooDeep(refuse: Refuse): Error {
  return refuse(`its body is nested deeper than ${MAX_DEPTH}`, 'Send a flatter body.');
}

/** Whether a value is an object with keys: no array, no null, no number that was kept as its text. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isRawNumber(value);
}

/** Whether a value is a number that {@link readJson} has kept as its text. */
export function isRawNumber(value: unknown): value is RawNumber {
  return isRawJSON(value);
}
