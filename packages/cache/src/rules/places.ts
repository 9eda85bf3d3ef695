import { rewrite } from '@tenantkit/core';
import type { KeySpec, OptionValue } from '../keyspec.ts';

// Where keys stand. The names say which of them a call may bring into being, or put new data under.

/** The first argument, of a command that reads, removes or expires. */
export const KEY = rewrite<KeySpec>({ at: [{ from: 0, to: 0, step: 1 }] });
/** The first argument, of a command that writes. */
export const KEY_CREATED = rewrite<KeySpec>({ at: [{ from: 0, to: 0, step: 1, creates: true }] });
export const TWO_KEYS = rewrite<KeySpec>({ at: [{ from: 0, to: 1, step: 1 }] });
/** What is stored under stands second (`RENAME`). */
export const SOURCE_AND_TARGET = rewrite<KeySpec>({
  at: [
    { from: 0, to: 0, step: 1 },
    { from: 1, to: 1, step: 1, creates: true },
  ],
});
/** What is stored under stands first (`ZRANGESTORE`). */
export const TARGET_AND_SOURCE = rewrite<KeySpec>({
  at: [
    { from: 0, to: 0, step: 1, creates: true },
    { from: 1, to: 1, step: 1 },
  ],
});
export const KEYS = rewrite<KeySpec>({ at: [{ from: 0, to: -1, step: 1 }] });
export const TARGET_AND_KEYS = rewrite<KeySpec>({
  at: [
    { from: 0, to: 0, step: 1, creates: true },
    { from: 1, to: -1, step: 1 },
  ],
});
export const KEYS_AND_VALUES = rewrite<KeySpec>({ at: [{ from: 0, to: -1, step: 2, creates: true }] });
export const KEYS_AND_TWO_VALUES = rewrite<KeySpec>({ at: [{ from: 0, to: -1, step: 3, creates: true }] });
/** All but the last, which is a path (`JSON.MGET`). */
export const KEYS_AND_PATH = rewrite<KeySpec>({ at: [{ from: 0, to: -2, step: 1 }] });
export const OPERATION_TARGET_AND_KEYS = rewrite<KeySpec>({
  at: [
    { from: 1, to: 1, step: 1, creates: true },
    { from: 2, to: -1, step: 1 },
  ],
});
export const KEY_AFTER_SUBCOMMAND = rewrite<KeySpec>({ at: [{ from: 1, to: 1, step: 1 }] });
export const KEY_CREATED_AFTER_SUBCOMMAND = rewrite<KeySpec>({
  at: [{ from: 1, to: 1, step: 1, creates: true }],
});
export const COUNTED = rewrite<KeySpec>({ at: [], counted: 0 });
export const COUNTED_PAIRS = rewrite<KeySpec>({
  at: [],
  counted: 0,
  countedCreates: true,
  countedPairs: true,
});
export const TARGET_AND_COUNTED = rewrite<KeySpec>({
  at: [{ from: 0, to: 0, step: 1, creates: true }],
  counted: 1,
});
export const POP_COUNTED = rewrite<KeySpec>({ at: [], counted: 0, reply: 'first' });
export const BLOCKING_POP = rewrite<KeySpec>({ at: [{ from: 0, to: -2, step: 1 }], reply: 'first' });
export const BLOCKING_POP_COUNTED = rewrite<KeySpec>({ at: [], counted: 1, reply: 'first' });

/** Words of options; a null prototype, since callers choose the words. */
export function words(table: Readonly<Record<string, OptionValue>>): Readonly<Record<string, OptionValue>> {
  return Object.freeze(Object.assign(Object.create(null) as Record<string, OptionValue>, table));
}
