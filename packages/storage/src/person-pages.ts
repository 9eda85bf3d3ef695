import { each } from './each.ts';
import { pagesOf, uploadsOf, type BucketTraits, type Entry } from './listing.ts';
import type { Pattern } from './pattern.ts';
import { FORGED, type Person } from './person.ts';
import { kindsOf } from './tally.ts';
import type { Untold } from './untold.ts';

// What is about a person, page by page, for who counts it and who erases it. Both run across tenants.

/** How many versions are looked at at once, for each of several keys. */
const PARALLEL = 4;

/** Why a marker stays. */
export const HELD = { why: 'its object is held' } as const;

/** The kinds that there can be. */
export function personKinds(traits: BucketTraits): Entry['kind'][] {
  return [...kindsOf(traits), 'markers'];
}

/** What of the versions under one key is about the person; whether there are others'; and what cannot be looked at. */
export async function judged(
  person: Person,
  page: readonly Entry[],
): Promise<{ readonly mine: readonly Entry[]; readonly others: boolean; readonly hidden: readonly Entry[] }> {
  const mine: Entry[] = [];
  const hidden: Entry[] = [];
  let others = false;
  const objects = page.filter(({ kind }) => kind !== 'delete markers');
  await each(
    objects,
    async (entry) => {
      const judgement = await person.judge(entry);
      if (judgement === 'others') others = true;
      else if (judgement === undefined) hidden.push(entry);
      else mine.push(judgement);
    },
    PARALLEL,
  );
  return { mine, others, hidden };
}

/** Pages of unfinished uploads of keys that may be about the person. */
export async function* concerned(
  person: Person,
  traits: BucketTraits,
  untold: Untold,
): AsyncGenerator<readonly Entry[], void, undefined> {
  for await (const page of uploadsOf(person.remote, person.prefix)) {
    const mine: Entry[] = [];
    await each(page, async (entry) => {
      if (!(await person.isConcerned(entry, traits))) return;
      if (entry.unnamed === undefined) mine.push(entry);
      else untold.unnamed += 1;
    });
    yield mine;
  }
}

/** Pages of markers, with the key that each of them is for; of a marker with many versions once per page. */
export async function* marked(
  person: Person,
  { versioned }: BucketTraits,
  untold: Untold,
): AsyncGenerator<
  { readonly entries: readonly Entry[]; readonly keys: ReadonlyMap<string, string> },
  void,
  undefined
> {
  for await (const page of pagesOf(person.remote, { prefix: person.markers, versioned })) {
    const named = page.filter((entry) => entry.unnamed === undefined);
    untold.unnamed += page.length - named.length;
    const keys = new Map<string, string>();
    const forged = new Set<string>();
    await each(
      Map.groupBy(named, ({ key }) => key),
      async ([marker, versions]) => {
        // One that was overwritten may have an earlier version that tells.
        for (const version of versions) {
          const key = await person.keyOf(version);
          if (key === FORGED) forged.add(marker);
          else if (key !== undefined) {
            keys.set(marker, key);
            forged.delete(marker);
            break;
          }
        }
      },
    );
    untold.forged += forged.size;
    yield { entries: named.filter(({ key }) => !forged.has(key)), keys };
  }
}

/** Pages of keys that patterns match, each once. */
export async function* matching(
  person: Person,
  { versioned }: BucketTraits,
  untold: Untold,
): AsyncGenerator<readonly string[], void, undefined> {
  const done: Pattern[] = [];
  for (const pattern of person.patterns) {
    let before: ReadonlySet<string> = new Set();
    for await (const page of pagesOf(person.remote, { prefix: pattern.prefix, versioned })) {
      const named = page.filter((entry) => entry.unnamed === undefined);
      const others = page.filter((entry) => entry.unnamed !== undefined);
      untold.unnamed += others.filter(({ key }) => person.isMatch(key, [pattern])).length;
      const keys = new Set(named.map(({ key }) => key));
      yield [...keys].filter(
        (key) => !before.has(key) && person.isMatch(key, [pattern]) && !person.isMatch(key, done),
      );
      before = keys;
    }
    done.push(pattern);
  }
}
