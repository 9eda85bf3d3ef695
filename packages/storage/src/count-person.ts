import { each } from './each.ts';
import { traitsOf, type BucketTraits } from './listing.ts';
import { holdOf } from './locks.ts';
import type { Person } from './person.ts';
import { HELD, concerned, judged, marked, matching, personKinds } from './person-pages.ts';
import { Tally } from './tally.ts';

/**
 * Counts what an erasure of the person would remove, and what of it is held; of what it could not remove there is
 * `untold`. Runs across tenants.
 */
export async function countPerson(person: Person, tally: Tally = new Tally()): Promise<Tally> {
  const { remote } = person;
  const traits = await traitsOf(remote);
  tally.expect(personKinds(traits));
  const { untold } = tally;
  for await (const page of concerned(person, traits, untold)) for (const entry of page) tally.add(entry);
  let before: ReadonlyMap<string, string> = new Map();
  let held: ReadonlySet<string> = new Set();
  for await (const { entries, keys } of marked(person, traits, untold)) {
    // The versions of a marker may go over several pages.
    const still = new Set([...held].filter((marker) => before.has(marker)));
    await each(keys, async ([marker, key]) => {
      if (!before.has(marker) && (await countKey(person, key, { traits, tally }))) still.add(marker);
    });
    [before, held] = [keys, still];
    await each(entries, async (entry) => {
      const lock = traits.locked && entry.kind === 'versions' ? await holdOf(remote, entry) : undefined;
      const hold = lock ?? (still.has(entry.key) ? HELD : undefined);
      if (hold === undefined) tally.add({ ...entry, kind: 'markers' });
      else tally.keep('markers', hold);
    });
  }
  for await (const keys of matching(person, traits, untold)) {
    await each(keys, async (key) => {
      if (!(await person.isMarked(key, traits))) await countKey(person, key, { traits, tally, listed: true });
    });
  }
  return tally;
}

/** As an erasure goes through the versions of a key; answers whether something is held. */
async function countKey(
  person: Person,
  key: string,
  {
    traits,
    tally,
    listed = traits.versioned,
  }: { readonly traits: BucketTraits; readonly tally: Tally; readonly listed?: boolean },
): Promise<boolean> {
  let held = false;
  let remains = false;
  let markers = 0;
  for await (const page of person.entries(key, traits)) {
    markers += page.filter(({ kind }) => kind === 'delete markers').length;
    const { mine, others, hidden } = await judged(person, page);
    remains ||= others;
    if (listed) for (const entry of hidden) tally.add(entry);
    await each(mine, async (entry) => {
      const hold =
        traits.locked && entry.kind === 'versions' ? await holdOf(person.remote, entry) : undefined;
      if (hold === undefined) tally.add(entry);
      else tally.keep(entry.kind, hold);
      held ||= hold !== undefined;
    });
  }
  if (markers > 0 && !remains && !held) tally.add({ kind: 'delete markers', bytes: 0 }, markers);
  return held;
}
