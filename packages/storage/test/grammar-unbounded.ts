// The rule of hidden dots as it was before its work was bounded: 16 rounds for each segment, twice, whatever the text grows
// to. What it refuses stays refused.

const DOTS: ReadonlySet<string> = new Set(['.', '..']);
const MAX_FOLDS = 16;
const SEPARATORS = /[\\\u00a5\u2044\u20a9\u2215\u2216]/gu;
const IGNORABLE = /\p{Default_Ignorable_Code_Point}/gu;
// oxlint-disable-next-line no-control-regex -- a decoded NUL or line break ends a name for some servers
const CUT = /[;:?#\u0000-\u001f\u007f].*$/su;
const UNSEEN = /[\p{Default_Ignorable_Code_Point}\p{Cc}]/gu;
const BLANK = /[\s+%]/gu;

/** Where the first segment begins that leads to dots, or -1. */
export function unboundedHiddenDotSegment(key: string): number {
  if (!key.includes('.') && !/[%\u0080-\u{10ffff}]/u.test(key)) return -1;
  let start = 0;
  for (const segment of key.split('/')) {
    if (foldsToDots(segment)) return start;
    start += segment.length + 1;
  }
  return -1;
}

// Printable ASCII without a percent sign folds to itself, and to dots only when it begins with one or with a blank.
const UNFOLDABLE = /^[!-$&-*,\-/-~][ -$&-~]*$/;

function foldsToDots(segment: string): boolean {
  if (UNFOLDABLE.test(segment)) return false;
  // What one cuts off at a control character another drops, and then decodes what has come together around it.
  return leadsToDots(segment, IGNORABLE) || leadsToDots(segment, UNSEEN);
}

function leadsToDots(segment: string, dropped: RegExp): boolean {
  let folded = segment;
  for (let round = 0; round < MAX_FOLDS; round += 1) {
    const seen = folded.normalize('NFKC').replace(dropped, '').replace(SEPARATORS, '/');
    const next = percentDecode(seen);
    if (next === folded)
      return folded.split('/').some((part) => DOTS.has(part.replace(CUT, '').replace(BLANK, '')));
    folded = next;
  }
  // Nested deeper than any honest name: refused like what it tries to hide.
  return true;
}

function percentDecode(text: string): string {
  if (!text.includes('%')) return text;
  return text
    .replace(/%u([0-9a-f]{4})/giu, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/(?:%[0-9a-f]{2})+/giu, (run) => lenientUtf8(Buffer.from(run.replaceAll('%', ''), 'hex')));
}

// Decodes overlong forms too (C0 AE is "." to a careless decoder); a byte that fits nowhere stands for itself.
function lenientUtf8(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 1) {
    const lead = bytes[i] ?? 0;
    const extra = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    const tail = bytes.subarray(i + 1, i + 1 + extra);
    const whole = extra > 0 && tail.length === extra && tail.every((byte) => (byte & 0xc0) === 0x80);
    if (!whole) {
      text += String.fromCharCode(lead);
      continue;
    }
    const point = tail.reduce((sum, byte) => (sum << 6) | (byte & 0x3f), lead & (0x3f >> extra));
    text += point <= 0x10ffff ? String.fromCodePoint(point) : '\uFFFD';
    i += extra;
  }
  return text;
}
