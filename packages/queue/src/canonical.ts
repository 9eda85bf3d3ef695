import { isWellFormed } from './bytes.ts';

/** Significant digits of a number that Lua's cjson keeps when it stores a job's options. */
const LUA_DIGITS = 14;

/**
 * Rounds a number to what cjson can store. Before it is stored and signed, never when it is verified: cjson
 * rounds ties to even and JavaScript away from zero, so that rounding on both sides would not always agree.
 */
export function storable(value: number): number {
  // Nearly all of them: writing a number as text costs more than a hash of it.
  if (Number.isInteger(value) && Math.abs(value) < 10 ** LUA_DIGITS) return value === 0 ? 0 : value;
  return Number(value.toPrecision(LUA_DIGITS));
}

/**
 * One text for all the forms that BullMQ gives to the same options on their way through msgpack, Lua's tables
 * and cjson: keys sorted, `null` members left out, an empty list written as an empty object. Otherwise as in
 * RFC 8785 (JSON Canonicalization Scheme).
 *
 * Without it no signature over options would hold: cjson stores keys in the order of its hash table.
 *
 * @param except - a member of the outermost object that is left out
 * @throws TypeError on what cannot be stored as it is: text with a lone surrogate, a number with more than 14
 * digits, what JSON does not know
 */
export function canonicalJson(value: unknown, except?: string): string {
  if (typeof value === 'string') return canonicalText(value);
  if (typeof value === 'number') return canonicalNumber(value);
  if (typeof value === 'boolean') return String(value);
  if (Array.isArray(value))
    return value.length === 0 ? '{}' : `[${value.map((element) => canonicalJson(element)).join(',')}]`;
  if (typeof value === 'object' && value !== null) return canonicalObject(value, except);
  throw new TypeError(`${value === null ? 'null' : typeof value} has no place here`);
}

/** A text that JSON writes as it is: most names and values of options, for which JSON.stringify takes longer. */
const PLAIN = /^[\w~-]*$/;

function canonicalText(value: string): string {
  if (PLAIN.test(value)) return `"${value}"`;
  if (!isWellFormed(value)) throw new TypeError('a text holds a lone surrogate');
  return JSON.stringify(value);
}

/** `"name":` of the names that options mostly have. */
const BEGINNINGS = new Map<string, string>();
/** How many are kept, and of how many characters: in Redis anybody may write any name. */
const [MOST, LONGEST] = [256, 64];

function beginning(name: string): string {
  const known = BEGINNINGS.get(name);
  if (known !== undefined) return known;
  const made = `${canonicalText(name)}:`;
  if (BEGINNINGS.size < MOST && name.length <= LONGEST) BEGINNINGS.set(name, made);
  return made;
}

// One text grown in place: this runs twice for every job.
function canonicalObject(value: object, except: string | undefined): string {
  let text = '';
  for (const key of sorted(Object.keys(value))) {
    const member: unknown = Reflect.get(value, key);
    if (member === undefined || member === null || key === except) continue;
    if (text !== '') text += ',';
    text += beginning(key);
    text += canonicalJson(member);
  }
  return `{${text}}`;
}

/** How many names are sorted by insertion. */
const FEW = 16;

/**
 * Sorts names in place, as the engine does by default. Of a few of them the engine's own way makes lists that are larger
 * than everything else that is made of a job while its header is checked.
 */
function sorted(names: string[]): string[] {
  if (names.length > FEW) return names.sort();
  for (let end = 1; end < names.length; end += 1) {
    const name = names[end] as string;
    let at = end;
    for (; at > 0 && (names[at - 1] as string) > name; at -= 1) names[at] = names[at - 1] as string;
    names[at] = name;
  }
  return names;
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw new TypeError('a number is not finite');
  if (storable(value) !== value) throw new TypeError(`a number has more than ${LUA_DIGITS} digits`);
  return String(value);
}
