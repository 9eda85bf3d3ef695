import type { InventoryItem, Kept } from '@tenantkit/core';
import { z } from 'zod';
import type { BucketTraits, Entry } from './listing.ts';
import type { Hold } from './locks.ts';
import { Untold } from './untold.ts';

// With a retention period by default every object has a date of its own: beyond so many dates of one kind the last one
// is stated for all. `storageHolds` names each.
const MAX_DATES = 100;

/** Counts by kind, and what is kept by reason and date. */
export class Tally {
  readonly #items = new Map<Entry['kind'], { count: number; bytes: number }>();
  #kept = new Map<string, Kept>();
  /** What no erasure removes. */
  readonly untold: Untold = new Untold();

  /** States kinds of which there may be none: a count of zero is said, not left out. */
  expect(kinds: readonly Entry['kind'][]): void {
    for (const kind of kinds) if (!this.#items.has(kind)) this.#items.set(kind, { count: 0, bytes: 0 });
  }

  add({ kind, bytes }: Pick<Entry, 'kind' | 'bytes'>, count = 1): void {
    const { count: before, bytes: held } = this.#items.get(kind) ?? { count: 0, bytes: 0 };
    this.#items.set(kind, { count: before + count, bytes: held + bytes });
  }

  of(kind: Entry['kind']): { readonly count: number; readonly bytes: number } {
    return this.#items.get(kind) ?? { count: 0, bytes: 0 };
  }

  keep(kind: string, hold: Hold, count = 1): void {
    const id = `${kind}|${hold.why}|${hold.until ?? ''}`;
    this.#kept.set(id, { kind, count: (this.#kept.get(id)?.count ?? 0) + count, ...hold });
    const alike = [...this.#kept].filter(([, { kind: of, why }]) => of === kind && why === hold.why);
    if (alike.length > MAX_DATES) this.#merge(alike);
  }

  /** Forgets what is kept: it is looked at again. */
  release(): void {
    this.#kept = new Map();
  }

  /** Adds what another one has counted. */
  take(other: Tally): void {
    for (const [kind, { count, bytes }] of other.#items) this.add({ kind, bytes }, count);
    for (const { kind, count, ...hold } of other.#kept.values()) this.keep(kind, hold, count);
  }

  items(): InventoryItem[] {
    return [...this.#items].map(([kind, { count, bytes }]) =>
      kind === 'objects' || kind === 'versions' ? { kind, count, bytes } : { kind, count },
    );
  }

  kept(): Kept[] {
    return [...this.#kept.values()];
  }

  #merge(alike: readonly (readonly [string, Kept])[]): void {
    const dates = alike.map(([, { until = '' }]) => until).sort();
    const [, { kind, why }] = alike[0] as readonly [string, Kept];
    const count = alike.reduce((sum, [, kept]) => sum + kept.count, 0);
    for (const [id] of alike) this.#kept.delete(id);
    const until = dates.at(-1) ?? '';
    this.#kept.set(`${kind}|${why}|${until}`, { kind, count, why, until });
  }
}

/** The kinds that a bucket can hold. */
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
  'markers',
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
