import { explain } from './explain.ts';
import type { Argument } from './keyspec.ts';
import type { Mark } from './mark.ts';
import { TenantNames } from './names.ts';

const translated = new WeakSet<Error>();

/** An error reply in logical names: Redis repeats arguments in its texts. Changes the error, and gives it back. */
export function readError<E extends Error>(
  error: E,
  mark: Mark,
  command: { getKeys(): readonly Argument[] },
): E {
  // A redirection names no key, and ioredis reads the address out of it: `{tenant}:` and tenant 1 would change it.
  if (!(mark instanceof TenantNames) || /^(?:MOVED|ASK) /.test(error.message)) return explain(error);
  // Once: what is logical now may look physical.
  if (translated.has(error)) return error;
  translated.add(error);
  const keys = command.getKeys();
  error.message = logicalText(error.message, keys, mark);
  if (error.stack !== undefined) error.stack = logicalText(error.stack, keys, mark);
  return explain(error);
}

/**
 * An error text of the server in logical names. Redis repeats arguments in its texts, and so do scripts.
 *
 * The keys of the call are replaced as wholes: a key may itself begin with what looks like a prefix. One that has none
 * is none that was sent, such as the channel of a subscription, and may be a letter of any word. What is left of the
 * prefix comes from texts that the server has cut, and is taken away where a name can begin: the prefix `a:` of another
 * template would be found at the end of many a word.
 */
export function logicalText(text: string, keys: readonly Argument[], names: TenantNames): string {
  const { prefix } = names;
  // By hand: a pattern of long keys is more than V8 takes, and would throw in the midst of reading replies.
  const finders = [...new Set(keys.map(String))]
    .filter((key) => key.startsWith(prefix) && key.length <= text.length)
    .sort((a, b) => b.length - a.length)
    .map((key) => new Finder(text, key, false))
    .concat(new Finder(text, prefix, true))
    .filter((finder) => finder.from(0) !== undefined);
  let logical = '';
  let at = 0;
  for (;;) {
    let first: Finder | undefined;
    for (const finder of finders) {
      const place = finder.from(at);
      if (place !== undefined && place < (first?.from(at) ?? Infinity)) first = finder;
    }
    const place = first?.from(at);
    if (first === undefined || place === undefined) break;
    logical += text.slice(at, place) + first.name.slice(prefix.length);
    at = place + first.name.length;
  }
  logical += text.slice(at);
  return logical;
}

/** Where a name stands next in a text. */
class Finder {
  readonly name: string;
  readonly #text: string;
  readonly #begins: boolean;
  #next: number;

  /** @param begins - whether it counts only where a name can begin */
  constructor(text: string, name: string, begins: boolean) {
    this.name = name;
    this.#text = text;
    this.#begins = begins;
    this.#next = this.#find(0);
  }

  from(at: number): number | undefined {
    if (this.#next !== -1 && this.#next < at) this.#next = this.#find(at);
    return this.#next === -1 ? undefined : this.#next;
  }

  #find(at: number): number {
    let place = this.#text.indexOf(this.name, at);
    while (this.#begins && place > 0 && /[\w-]/.test(this.#text.charAt(place - 1)))
      place = this.#text.indexOf(this.name, place + 1);
    return place;
  }
}
