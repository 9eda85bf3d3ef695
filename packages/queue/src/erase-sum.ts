import type { InventoryItem, Kept, Verification } from '@tenantkit/core';

/** What several erasers have counted, by kind. */
export function added(lists: readonly (readonly InventoryItem[])[]): readonly InventoryItem[] {
  const counts = new Map<string, number>();
  for (const { kind, count } of lists.flat()) counts.set(kind, (counts.get(kind) ?? 0) + count);
  return [...counts].map(([kind, count]) => ({ kind, count }));
}

/** What stays according to several erasers: once for each kind and reason. */
export function keptOf(lists: readonly (readonly Kept[])[]): readonly Kept[] {
  const all = new Map<string, Kept>();
  for (const one of lists.flat()) {
    const name = JSON.stringify([one.kind, one.why, one.until]);
    all.set(name, { ...one, count: one.count + (all.get(name)?.count ?? 0) });
  }
  return [...all.values()];
}

/** @param where - what each of the controls stands for: `places` */
export function controlOf(
  controls: readonly Verification['control'][],
  where: string,
): Verification['control'] {
  const methods = [...new Set(controls.map(({ method }) => method))].join('; ');
  return {
    planted: sum(controls.map(({ planted }) => planted)),
    found: sum(controls.map(({ found }) => found)),
    method: controls.length === 1 ? methods : `in each of ${controls.length} ${where}: ${methods}`,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
