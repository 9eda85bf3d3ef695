import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { ConfigError, type EraseRun } from '@tenantkit/core';
import { abort } from './delete.ts';
import { each } from './each.ts';
import { unnameable } from './key-text.ts';
import { pagesOf, traitsOf, uploadsOf, type BucketTraits, type Entry } from './listing.ts';
import { holdOf } from './locks.ts';
import type { Pattern } from './pattern.ts';
import { FORGED, type Person } from './person.ts';
import { purgeEach, removeAll, untilEmpty, type Pass, type Progress } from './purge.ts';
import { Tally, kindsOf } from './tally.ts';

/** How many versions are looked at at once, for each of several keys. */
const PARALLEL = 4;

/** Why a marker stays. */
const HELD = { why: 'its object is held' } as const;

/** Removes everything about the persons. Runs across tenants. */
export function purgePersons(persons: readonly Person[], run: EraseRun): Promise<Tally> {
  return purgeEach(persons, run, (person, progress) =>
    untilEmpty(person.remote, progress, personKinds, (traits) => once(person, traits, progress)),
  );
}

/** Counts what {@link purgePersons} would remove, and what of it is held. */
export async function countPerson(person: Person, tally: Tally = new Tally()): Promise<Tally> {
  const { remote } = person;
  const traits = await traitsOf(remote);
  tally.expect(personKinds(traits));
  for await (const page of concerned(person, traits)) for (const entry of page) tally.add(entry);
  let before: ReadonlyMap<string, string> = new Map();
  let held: ReadonlySet<string> = new Set();
  const unnamed = new Unnamed();
  for await (const { entries, keys } of marked(person, traits, unnamed)) {
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
  for await (const keys of matching(person, traits, unnamed)) {
    await each(keys, async (key) => {
      if (!(await person.isMarked(key, traits))) await countKey(person, key, { traits, tally, listed: true });
    });
  }
  unnamed.assertNone();
  return tally;
}

function personKinds(traits: BucketTraits): Entry['kind'][] {
  return [...kindsOf(traits), 'markers'];
}

async function once(person: Person, traits: BucketTraits, progress: Progress): Promise<Pass> {
  const { remote } = person;
  const kept = new Tally();
  let found = false;
  // Uploads first, while their markers are there; one that is completed meanwhile becomes an object.
  for await (const page of concerned(person, traits)) {
    await each(page, (entry) => abort(remote, entry));
    await progress.add(page);
    found ||= page.length > 0;
  }
  const unnamed = new Unnamed();
  for await (const { entries, keys } of marked(person, traits, unnamed)) {
    progress.signal.throwIfAborted();
    const held = new Set<string>();
    await each(keys, async ([marker, key]) => {
      const done = await eraseKey(person, key, { traits, kept, progress });
      found ||= done.found;
      if (done.held) held.add(marker);
    });
    // Behind what they are for: whoever is interrupted finds it again.
    const free = entries.filter(({ key }) => !held.has(key));
    const stuck = await removeAll(remote, free, { kept, progress, kind: 'markers' });
    found ||= stuck.size < free.length;
    for (const { key } of entries) if (held.has(key)) kept.keep('markers', HELD);
  }
  for await (const keys of matching(person, traits, unnamed)) {
    progress.signal.throwIfAborted();
    // What is held there was kept with its marker, where it has one.
    await each(keys, async (key) => {
      const again = await person.isMarked(key, traits);
      const of = { traits, kept: again ? new Tally() : kept, progress, listed: true };
      const done = await eraseKey(person, key, of);
      found ||= done.found;
    });
  }
  // Once everything else is gone: each further pass would find the same.
  if (!found) unnamed.assertNone();
  return { found, kept };
}

interface Work {
  readonly traits: BucketTraits;
  readonly kept: Tally;
  readonly progress: Progress;
  /** Whether a listing has named the key. In a bucket with versions it does anyway. */
  readonly listed?: boolean;
}

/** What was seen of names that no request can name. */
class Unnamed {
  #count = 0;
  #forged = 0;

  addForged(count: number): void {
    this.#forged += count;
  }

  add(count: number): void {
    this.#count += count;
  }

  /** @throws ConfigError */
  assertNone(): void {
    if (this.#count > 0) throw unnameable(this.#count);
    if (this.#forged > 0) throw forgedMarkers(this.#forged);
  }
}

function forgedMarkers(count: number): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `${count} markers of the person were overwritten past @tenantkit/storage: each does not hold the key that it is for, so an object may be overlooked; everything else is erased`,
    hint: 'They are under tk!subjects/<tenant>/<subject>/h/. See who may write there; look for objects with this person in the metadata tk-subject and a key of more than 800 bytes, erase them, remove the markers, then run the erasure again.',
  });
}

/** Erases what is about the person under one key; answers whether something was, and whether something is held. */
async function eraseKey(
  person: Person,
  key: string,
  { traits, kept, progress, listed = traits.versioned }: Work,
): Promise<{ readonly found: boolean; readonly held: boolean }> {
  const { remote } = person;
  let found = false;
  let held = false;
  let remains = false;
  let current: Entry | undefined;
  const take = async (page: readonly Entry[]): Promise<void> => {
    const stuck = await removeAll(remote, page, { kept, progress });
    found ||= stuck.size < page.length;
    held ||= stuck.size > 0;
  };
  for await (const page of person.entries(key, traits)) {
    progress.signal.throwIfAborted();
    const { mine, others, hidden } = await judged(person, page);
    remains ||= others;
    // What is listed and cannot be looked at is not gone: the next listing has to say so.
    found ||= listed && hidden.length > 0;
    current ??= mine.find((entry) => entry.current === true);
    await take(mine.filter((entry) => entry !== current));
  }
  if (current !== undefined) {
    // An earlier version would come back in its place, to whoever reads the key. While versioning is suspended, a
    // delete marker would itself replace a version.
    if (traits.versioned && !traits.suspended && (remains || held))
      await remote.send(new DeleteObjectCommand({ Bucket: remote.bucket, Key: key }));
    await take([current]);
  }
  // Without the delete marker, what stays would be there again.
  if (!traits.versioned || remains || held) return { found, held };
  for await (const page of person.entries(key, traits))
    await take(page.filter(({ kind }) => kind === 'delete markers'));
  return { found, held };
}

/** As {@link eraseKey} goes; answers whether something is held. */
async function countKey(
  person: Person,
  key: string,
  { traits, tally, listed = traits.versioned }: Pick<Work, 'traits' | 'listed'> & { readonly tally: Tally },
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

async function judged(
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
async function* concerned(
  person: Person,
  traits: BucketTraits,
): AsyncGenerator<readonly Entry[], void, undefined> {
  for await (const page of uploadsOf(person.remote, person.prefix)) {
    const mine: Entry[] = [];
    await each(page, async (entry) => {
      if (await person.isConcerned(entry, traits)) mine.push(entry);
    });
    yield mine;
  }
}

/** Pages of markers, with the key that each of them is for; of a marker with many versions once per page. */
async function* marked(
  person: Person,
  { versioned }: BucketTraits,
  unnamed: Unnamed,
): AsyncGenerator<
  { readonly entries: readonly Entry[]; readonly keys: ReadonlyMap<string, string> },
  void,
  undefined
> {
  for await (const page of pagesOf(person.remote, { prefix: person.markers, versioned })) {
    const named = page.filter((entry) => entry.unnamed === undefined);
    unnamed.add(page.length - named.length);
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
    unnamed.addForged(forged.size);
    yield { entries: named.filter(({ key }) => !forged.has(key)), keys };
  }
}

/** Pages of keys that patterns match, each once. */
async function* matching(
  person: Person,
  { versioned }: BucketTraits,
  unnamed: Unnamed,
): AsyncGenerator<readonly string[], void, undefined> {
  const done: Pattern[] = [];
  for (const pattern of person.patterns) {
    let before: ReadonlySet<string> = new Set();
    for await (const page of pagesOf(person.remote, { prefix: pattern.prefix, versioned })) {
      const named = page.filter((entry) => entry.unnamed === undefined);
      const others = page.filter((entry) => entry.unnamed !== undefined);
      unnamed.add(others.filter(({ key }) => person.isMatch(key, [pattern])).length);
      const keys = new Set(named.map(({ key }) => key));
      yield [...keys].filter(
        (key) => !before.has(key) && person.isMatch(key, [pattern]) && !person.isMatch(key, done),
      );
      before = keys;
    }
    done.push(pattern);
  }
}
