import { deepStrictEqual, ok } from 'node:assert/strict';
import { inspect } from 'node:util';

/** A raw view of a store: physical name → content. */
export type Dump = Readonly<Record<string, string>>;

/** Fails with the names that differ; the contents would drown them. */
export function sameDump(after: Dump, before: Dump, message: string): void {
  deepStrictEqual(difference(before, after), { added: [], removed: [], changed: [] }, message);
}

/** Fails unless everything of `before` is in `after`, unchanged. */
export function keeps(after: Dump, before: Dump, message: string): void {
  const { removed, changed } = difference(before, after);
  deepStrictEqual({ removed, changed }, { removed: [], changed: [] }, message);
}

/** The names that are in `after` and not in `before`. */
export function added(before: Dump, after: Dump): string[] {
  return difference(before, after).added;
}

/** Fails when a reply shows a physical name. */
export function showsNone(
  reply: unknown,
  physical: readonly string[],
  logical: readonly string[],
  message: string,
): void {
  const shown = inspect(reply, { depth: 12, maxStringLength: null, maxArrayLength: null });
  // A store whose physical name is the logical one (a field, a row) has nothing to hide there.
  const leaked = physical.filter((name) => !logical.includes(name) && shown.includes(name));
  ok(leaked.length === 0, `${message}: the reply shows the physical name ${leaked[0]}`);
}

function difference(before: Dump, after: Dump): { added: string[]; removed: string[]; changed: string[] } {
  const has = (dump: Dump, name: string): boolean => Object.hasOwn(dump, name);
  return {
    added: Object.keys(after).filter((name) => !has(before, name)),
    removed: Object.keys(before).filter((name) => !has(after, name)),
    changed: Object.keys(before).filter((name) => has(after, name) && before[name] !== after[name]),
  };
}
