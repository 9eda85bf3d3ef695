import type { InventoryItem, Kept } from '@tenantkit/core';
import { each } from './each.ts';
import { pagesOf, uploadsOf, type BucketTraits } from './listing.ts';
import { holdOf } from './locks.ts';
import type { Spot } from './spots.ts';
import { Tally, kindsOf } from './tally.ts';

/** What was counted. */
export interface Count {
  seen(): { readonly items: InventoryItem[]; readonly kept: Kept[] };
}

/** Counts what is in a spot, and what of it is held, page by page. Runs across tenants. */
export async function count(spot: Spot, traits: BucketTraits, tally: Tally = new Tally()): Promise<Count> {
  const { remote, prefix } = spot;
  const { versioned, locked } = traits;
  tally.expect(kindsOf(traits));
  const { untold } = tally;
  for await (const page of uploadsOf(remote, prefix)) {
    untold.unnamed += page.filter(({ unnamed }) => unnamed !== undefined).length;
    for (const entry of page) tally.add(entry);
  }
  for await (const page of pagesOf(remote, { prefix, versioned })) {
    untold.unnamed += page.filter(({ unnamed }) => unnamed !== undefined).length;
    await each(page, async (entry) => {
      // Only where locks exist: it costs requests per version.
      const hold =
        locked && entry.kind === 'versions' && entry.unnamed === undefined
          ? await holdOf(remote, entry)
          : undefined;
      if (hold === undefined) tally.add(entry);
      else tally.keep(entry.kind, hold);
    });
  }
  return { seen: () => ({ items: tally.items(), kept: tally.kept() }) };
}
