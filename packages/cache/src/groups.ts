import { chunks } from './lines.ts';
import { slotOf } from './registry-names.ts';

/** The names of one command each: the server takes the sharded channels of one command from one slot. */
export function bySlot(names: readonly Buffer[]): Buffer[][] {
  return [...groupBy(names, slotOf).values()].flatMap(chunks);
}

/** The items by what `key` says of each, in their order. */
export function groupBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}
