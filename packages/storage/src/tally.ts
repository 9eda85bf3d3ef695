import type { InventoryItem, Kept } from '@tenantkit/core';
import { z } from 'zod';
import type { BucketTraits, Entry, Hold } from './listing.ts';

/** Counts by kind, and what is kept by reason and date. */
export class Tally {
  readonly #items = new Map<string, { count: number; bytes: number }>();
  readonly #kept = new Map<string, Kept>();

  constructor(kinds: readonly Entry['kind'][]) {
    for (const kind of kinds) this.#items.set(kind, { count: 0, bytes: 0 });
  }

  add({ kind, bytes }: Pick<Entry, 'kind' | 'bytes'>, count = 1): { count: number; bytes: number } {
    const item = this.#items.get(kind) ?? { count: 0, bytes: 0 };
    item.count += count;
    item.bytes += bytes;
    this.#items.set(kind, item);
    return item;
  }

  keep({ kind }: Entry, hold: Hold): void {
    const id = `${kind}|${hold.why}|${hold.until ?? ''}`;
    this.#kept.set(id, { kind, count: (this.#kept.get(id)?.count ?? 0) + 1, ...hold });
  }

  items(): InventoryItem[] {
    return [...this.#items].map(([kind, { count, bytes }]) =>
      kind === 'objects' || kind === 'versions' ? { kind, count, bytes } : { kind, count },
    );
  }

  kept(): Kept[] {
    return [...this.#kept.values()];
  }
}

/** The kinds that a bucket can hold, so that a count of zero is stated and not left out. */
export function kindsOf({ versioned }: Pick<BucketTraits, 'versioned'>): Entry['kind'][] {
  return versioned ? ['uploads', 'versions', 'delete markers'] : ['uploads', 'objects'];
}

/** The text of a checkpoint. */
export function saved(tally: Tally): string {
  return JSON.stringify({ v: 1, erased: tally.items() });
}

const KINDS = [
  'objects',
  'versions',
  'delete markers',
  'uploads',
] as const satisfies readonly Entry['kind'][];

const savedState = z.strictObject({
  v: z.literal(1),
  erased: z.array(z.strictObject({ kind: z.enum(KINDS), count: z.int(), bytes: z.int().optional() })),
});

/** Adds what earlier runs have erased. A checkpoint that cannot be read costs these counts, not the erasure. */
export function restore(tally: Tally, checkpoint: string | undefined): void {
  const parsed = savedState.safeParse(checkpoint === undefined ? undefined : readJson(checkpoint));
  if (!parsed.success) return;
  for (const { kind, count, bytes = 0 } of parsed.data.erased) tally.add({ kind, bytes }, count);
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
