import { refuse, type RefuseRule } from '@tenantkit/core';

/** S3's limit of a key, in bytes of UTF-8; the tenant's prefix counts. */
const MAX_KEY_BYTES = 1024;

/** What a text is: a whole key, or the beginning of keys (`Prefix`, `StartAfter`). */
export type KeyRole = 'key' | 'partial';

/** The segments that a path is resolved by. */
export const DOTS: ReadonlySet<string> = new Set(['.', '..']);

/**
 * Why a logical key is refused, or `undefined` when it is accepted. The grammar is in the README.
 *
 * A key that some server, gateway, file system or URL parser would resolve, fold or cut to another key is not
 * repaired: two spellings of one key are two ways past a check.
 */
export function keyProblem(
  key: unknown,
  { prefix = '', field = 'Key', role = 'key' }: { prefix?: string; field?: string; role?: KeyRole } = {},
): RefuseRule | undefined {
  if (typeof key !== 'string') {
    return refuse(`${field} is ${key === undefined ? 'missing' : 'not a text'}`, `Give ${field} as a text.`);
  }
  if (key === '') {
    return role === 'partial'
      ? undefined
      : refuse(`${field} is empty`, 'Give a key of at least one character.');
  }
  // First, since what is looked for below takes longer than its length.
  if (key.length > MAX_KEY_BYTES) return tooLong(field, Buffer.byteLength(prefix) + Buffer.byteLength(key));
  // Most keys are printable ASCII: half of the rules cannot apply to them.
  const printable = PRINTABLE.test(key);
  for (const { what, instead, find, beyondAscii } of GRAMMAR) {
    const index = printable && beyondAscii === true ? -1 : find(key);
    if (index >= 0) return refuse(`${field} has ${what} at index ${index}`, instead);
  }
  const bytes = Buffer.byteLength(prefix, 'utf8') + Buffer.byteLength(key, 'utf8');
  return bytes > MAX_KEY_BYTES ? tooLong(field, bytes) : undefined;
}

function tooLong(field: string, bytes: number): RefuseRule {
  return refuse(
    `${field} is ${bytes} bytes long with the tenant's prefix, ${MAX_KEY_BYTES} are allowed`,
    'Shorten the key; count its bytes in UTF-8.',
  );
}

/** `text` with every character escaped that could hide or reorder others on a terminal. */
export function shown(text: string): string {
  return text.replace(UNSHOWABLE, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}

const PRINTABLE = /^[ -~]*$/;
const BIDI = /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/u;
const UNSHOWABLE =
  /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}\u061C\u200B-\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/gu;
const DOT_SEGMENT = /(?<=^|\/)\.{1,2}(?=\/|$)/;

/** The grammar of a key, in the order in which it is checked. `find` answers an index, or -1. */
const GRAMMAR: readonly {
  readonly what: string;
  readonly instead: string;
  readonly find: (key: string) => number;
  /** Whether it can only be broken by a character other than printable ASCII. */
  readonly beyondAscii?: true;
}[] = [
  {
    what: 'a lone surrogate',
    instead: 'Give well-formed Unicode; text.isWellFormed() tells.',
    find: (key) => key.search(/\p{Cs}/u),
    beyondAscii: true,
  },
  {
    what: 'a control character',
    instead: 'Remove it: control characters do not survive the XML of a listing.',
    find: (key) => key.search(/\p{Cc}/u),
    beyondAscii: true,
  },
  {
    what: 'a bidirectional control character',
    instead: 'Remove it: it makes a name look like another one.',
    find: (key) => key.search(BIDI),
    beyondAscii: true,
  },
  {
    what: 'a noncharacter',
    instead: 'Remove it: such code points are not text and break the XML of a listing.',
    find: (key) => key.search(/\p{Noncharacter_Code_Point}/u),
    beyondAscii: true,
  },
  {
    what: 'a backslash',
    instead: 'Separate folders with "/": some servers read a backslash as one.',
    find: (key) => key.indexOf('\\'),
  },
  {
    what: 'a leading slash',
    instead: 'Give the key without it: keys are relative to the tenant.',
    find: (key) => (key.startsWith('/') ? 0 : -1),
  },
  {
    what: 'an empty segment',
    instead: 'Join folders with a single "/".',
    find: (key) => key.indexOf('//'),
  },
  {
    what: 'a "." or ".." segment',
    instead: 'Resolve the path before the call: keys are taken literally and never resolved.',
    find: (key) => key.search(DOT_SEGMENT),
  },
  {
    what: 'a character that is not in Unicode normal form C',
    instead:
      "Name a new object key.normalize('NFC'). One that is stored under the other form is another object: rename it under acrossTenants.",
    find: (key) => firstDifference(key, key.normalize('NFC')),
    beyondAscii: true,
  },
  {
    what: 'a segment that decodes or folds to "." or ".."',
    instead: 'Rename it: some servers and gateways would resolve it.',
    find: hiddenDotSegment,
  },
];

// Servers, gateways and file systems disagree about what they decode, fold, ignore or cut off before they look
// for `..`: percent-encoding (also twice, overlong, or as %uXXXX), full-width and other compatibility forms,
// look-alike slashes (¥ and ₩ stand where a backslash does in Japanese and Korean code pages), zero-width characters
// (HFS+ drops them), path parameters after `;`, queries, fragments, NTFS streams after `:`, control characters (NUL
// ends a name for some, parsers of URLs drop tabs and line breaks), blanks (Windows drops them at the end, `+` is one
// in forms) and percent signs that stand alone. All of it at once is the worst case.
//
// What unfolds further than that is refused unseen: a single key of others' making must not take time that all wait for.
const MAX_FOLDS = 5;
const MAX_FOLDED = 2 * MAX_KEY_BYTES;
const SEPARATORS = /[\\\u00a5\u2044\u20a9\u2215\u2216]/gu;
const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;
// oxlint-disable-next-line no-control-regex -- a decoded NUL or line break ends a name for some servers
const CUT = /[;:?#\u0000-\u001f\u007f].*$/su;
const UNSEEN = /[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;
const CONTROL = /\p{Cc}/u;
const BLANK = /[\s+%]/gu;

function hiddenDotSegment(key: string): number {
  if (!key.includes('.') && !/[%\u0080-\u{10ffff}]/u.test(key)) return -1;
  // As a whole, since each step for each of five hundred segments costs more than the same for all of them: nothing
  // composes with a slash or decodes across one.
  const segments = key.split('/');
  if (segments.every((segment) => UNFOLDABLE.test(segment)) || !leadsToDots(key, IGNORABLE)) return -1;
  let start = 0;
  for (const segment of segments) {
    if (leadsToDots(segment, IGNORABLE)) return start;
    start += segment.length + 1;
  }
  // None by itself, but all together are too much.
  return 0;
}

// Printable ASCII without a percent sign folds to itself, and to dots only when it begins with one or with a blank.
const UNFOLDABLE = /^(?:[!-$&-*,\-/-~][ -$&-~]*)?$/;

function leadsToDots(text: string, dropped: RegExp, rounds = MAX_FOLDS): boolean {
  let folded = text;
  let forked = dropped === UNSEEN;
  for (let round = rounds; round > 0; round -= 1) {
    const plain = folded.normalize('NFKC');
    if (plain.length > MAX_FOLDED) return true;
    const next = percentDecode(plain.replace(dropped, '').replace(SEPARATORS, '/'));
    if (next === folded)
      return folded.split('/').some((part) => DOTS.has(part.replace(CUT, '').replace(BLANK, '')));
    folded = next;
    // What one cuts off at a control character another drops, and then decodes what has come together around it.
    if (!forked && CONTROL.test(folded)) {
      forked = true;
      if (leadsToDots(folded, UNSEEN, round - 1)) return true;
    }
  }
  // Nested deeper than any honest name: refused like what it tries to hide.
  return true;
}

function percentDecode(text: string): string {
  if (!text.includes('%')) return text;
  return text
    .replace(/%u([0-9a-f]{4})/giu, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/(?:%[0-9a-f]{2})+/giu, lenientUtf8);
}

// Decodes overlong forms too (C0 AE is "." to a careless decoder); a byte that fits nowhere stands for itself.
function lenientUtf8(run: string): string {
  const byteAt = (at: number): number => Number.parseInt(run.slice(at + 1, at + 3), 16);
  let text = '';
  for (let at = 0; at < run.length; at += 3) {
    const lead = byteAt(at);
    const extra = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    let point = lead & (0x3f >> extra);
    let read = 0;
    while (read < extra) {
      const byte = byteAt(at + 3 * (read + 1));
      // Also where the run ends: that is no number.
      if ((byte & 0xc0) !== 0x80) break;
      point = (point << 6) | (byte & 0x3f);
      read += 1;
    }
    if (extra === 0 || read < extra) {
      text += String.fromCharCode(lead);
      continue;
    }
    text += point <= 0x10ffff ? String.fromCodePoint(point) : '\uFFFD';
    at += 3 * extra;
  }
  return text;
}

function firstDifference(a: string, b: string): number {
  if (a === b) return -1;
  let index = 0;
  while (a[index] === b[index]) index += 1;
  return index;
}
