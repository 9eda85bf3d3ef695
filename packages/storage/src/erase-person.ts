import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import type { EraseRun } from '@tenantkit/core';
import { abort } from './delete.ts';
import { each } from './each.ts';
import type { BucketTraits, Entry } from './listing.ts';
import type { Person } from './person.ts';
import { HELD, concerned, judged, marked, matching, personKinds } from './person-pages.ts';
import { purgeEach, removeAll, untilEmpty, type Pass, type Progress } from './purge.ts';
import { Tally } from './tally.ts';
import { Untold } from './untold.ts';

/** Removes everything about the persons. Runs across tenants. */
export function purgePersons(persons: readonly Person[], run: EraseRun): Promise<Tally> {
  return purgeEach(persons, run, (person, progress) =>
    untilEmpty(person.remote, progress, personKinds, (traits) => once(person, traits, progress)),
  );
}

async function once(person: Person, traits: BucketTraits, progress: Progress): Promise<Pass> {
  const { remote } = person;
  const kept = new Tally();
  const untold = new Untold();
  let found = false;
  // Uploads first, while their markers are there; one that is completed meanwhile becomes an object.
  for await (const page of concerned(person, traits, untold)) {
    await each(page, (entry) => abort(remote, entry));
    await progress.add(page);
    found ||= page.length > 0;
  }
  for await (const { entries, keys } of marked(person, traits, untold)) {
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
  for await (const keys of matching(person, traits, untold)) {
    // What is held there was kept with its marker, where it has one.
    await each(keys, async (key) => {
      const again = await person.isMarked(key, traits);
      const of = { traits, kept: again ? new Tally() : kept, progress, listed: true };
      const done = await eraseKey(person, key, of);
      found ||= done.found;
    });
  }
  // Once everything else is gone: each further pass would find the same.
  if (!found) untold.assertNone();
  return { found, kept };
}

interface Work {
  readonly traits: BucketTraits;
  readonly kept: Tally;
  readonly progress: Progress;
  /** Whether a listing has named the key. In a bucket with versions it does anyway. */
  readonly listed?: boolean;
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
