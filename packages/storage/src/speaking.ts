import type { Call, Realm } from './call.ts';
import { encodePath } from './copy-source.ts';

/**
 * Makes texts logical. In them a name can stand anywhere; what is replaced are the very names that this call has sent,
 * longest first and in one pass, so that a logical key which looks like a physical one is not cut a second time.
 *
 * A server chooses the texts, and a batch has a thousand keys: nothing here compares each text with each key, which
 * takes half a minute, in which nobody is served.
 */
export function speaker(
  { names }: Realm,
  { tenant, ...call }: Call,
  buckets = otherBuckets(call),
  sent: Iterable<readonly [string, string]> = call.spellings,
): (text: string) => string {
  const prefix = names.prefix(tenant);
  const keys: Spelling[] = [[prefix, '']];
  // Tokens and ids: a few of them.
  const others: Spelling[] = [];
  for (const one of sent) if (one[0] !== '') (one[0].startsWith(prefix) ? keys : others).push(one);
  let plain: Finder[] | undefined;
  let encoded: Finder[] | undefined;
  return (text) => {
    // Encoded once for all texts, and only where one of them may hold such a name.
    if (text.includes('%')) {
      encoded ??= findersOf([...keys, ...keys.map(encode)], [...others, ...others.map(encode)], buckets);
      return replaced(text, encoded);
    }
    plain ??= findersOf(keys, others, buckets);
    return replaced(text, plain);
  };
}

type Spelling = readonly [physical: string, logical: string];

interface Found {
  readonly at: number;
  readonly length: number;
  readonly logical: string;
}

/** The next place in a text from a position on. */
type Finder = (text: string, from: number) => Found | undefined;

function encode([physical, logical]: Spelling): Spelling {
  return [encodePath(physical), encodePath(logical)];
}

function findersOf(
  keys: readonly Spelling[],
  others: readonly Spelling[],
  { names, pattern }: ReturnType<typeof otherBuckets>,
): Finder[] {
  const known = new SpellingTable(keys);
  const starts = new Set(keys.filter(([, logical]) => logical === '').map(([start]) => start));
  const finders: Finder[] = [...starts].map((start) => (text, from) => {
    const at = text.indexOf(start, from);
    return at === -1 ? undefined : known.longest(text, at);
  });
  for (const [name, logical] of new Map(others))
    finders.push((text, from) => {
      const at = text.indexOf(name, from);
      return at === -1 ? undefined : { at, length: name.length, logical };
    });
  if (pattern !== '') {
    const words = new RegExp(pattern, 'g');
    finders.push((text, from) => {
      words.lastIndex = from;
      const match = words.exec(text);
      return match === null
        ? undefined
        : { at: match.index, length: match[0].length, logical: names.get(match[0]) ?? '' };
    });
  }
  return finders;
}

/** In one pass: of what stands first the longest. */
function replaced(text: string, finders: readonly Finder[]): string {
  let logical = '';
  let at = 0;
  const next = finders.map((find) => find(text, 0));
  for (;;) {
    let first: Found | undefined;
    for (const [index, find] of finders.entries()) {
      let found = next[index];
      if (found !== undefined && found.at < at) found = next[index] = find(text, at);
      if (found === undefined) continue;
      if (
        first === undefined ||
        found.at < first.at ||
        (found.at === first.at && found.length > first.length)
      )
        first = found;
    }
    if (first === undefined) return logical + text.slice(at);
    logical += text.slice(at, first.at) + first.logical;
    at = first.at + first.length;
  }
}

/** Names in their order, each with the longest one that it begins with: found in as many steps as a dictionary takes. */
class SpellingTable {
  readonly #names: readonly string[];
  readonly #logical: ReadonlyMap<string, string>;
  /** Where in the order the longest other name stands that a name begins with. */
  readonly #inner: readonly number[];

  constructor(spellings: readonly Spelling[]) {
    this.#logical = new Map(spellings);
    const names = [...this.#logical.keys()].sort((one, other) => (one < other ? -1 : 1));
    const around: number[] = [];
    this.#inner = names.map((name, index) => {
      while (around.length > 0 && !name.startsWith(names[around.at(-1) ?? 0] ?? '')) around.pop();
      const inner = around.at(-1) ?? -1;
      around.push(index);
      return inner;
    });
    this.#names = names;
  }

  /** The longest name that stands at a place of a text. */
  longest(text: string, at: number): Found | undefined {
    let low = 0;
    let high = this.#names.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const name = this.#names[middle] ?? '';
      if (name <= text.slice(at, at + name.length)) low = middle + 1;
      else high = middle;
    }
    const last = this.#names[low - 1] ?? '';
    let common = 0;
    while (common < last.length && last.charCodeAt(common) === text.charCodeAt(at + common)) common += 1;
    let index = low - 1;
    while (index >= 0 && (this.#names[index] ?? '').length > common) index = this.#inner[index] ?? -1;
    const name = this.#names[index];
    if (name === undefined) return undefined;
    return { at, length: name.length, logical: this.#logical.get(name) ?? '' };
  }
}

/** The beginning of an address, which names no key. */
export function named(call: Call, text: string): string {
  const { names, pattern } = otherBuckets(call);
  return pattern === '' ? text : text.replace(new RegExp(pattern, 'g'), (name) => names.get(name) ?? '');
}

/** The buckets of a tenant's place that the caller knows by other names, as whole words: a name may be part of any. */
export function otherBuckets({ home }: Pick<Call, 'home'>): {
  readonly names: ReadonlyMap<string, string>;
  readonly pattern: string;
} {
  const others = [...home.buckets].filter(([accepted, bucket]) => accepted !== bucket);
  const words = others.map(([, bucket]) => bucket.replaceAll('.', String.raw`\.`));
  return {
    names: new Map(others.map(([accepted, bucket]) => [bucket, accepted])),
    pattern: others.length === 0 ? '' : String.raw`(?<![a-z0-9.-])(?:${words.join('|')})(?![a-z0-9-])`,
  };
}
