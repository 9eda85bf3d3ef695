import { ConfigError, type EraseRun } from '@tenantkit/core';
import { abort, remove } from './delete.ts';
import { each } from './each.ts';
import { unnameable } from './key-text.ts';
import { pagesOf, traitsOf, uploadsOf, type BucketTraits, type Entry } from './listing.ts';
import { holdOf } from './locks.ts';
import { BUSY } from './patience.ts';
import type { Remote } from './remote.ts';
import type { Spot } from './spots.ts';
import { Tally, kindsOf, restore, saved } from './tally.ts';

/**
 * How many pages of up to 1,000 are deleted at once. A server lists a page in a fraction of the time in which it deletes
 * it, so one listing feeds them all: see docs/decisions/019-erasing-objects.md. As many pages are in memory.
 */
const DELETING = 8;

/** Writers are fenced while an erasure runs: who still finds something after so many passes is told so. */
const MAX_PASSES = 20;

/**
 * Removes everything that is in the spots. Runs across tenants.
 *
 * @throws ConfigError at the end, when there is something that no request can name
 */
export async function purge(spots: readonly Spot[], run: EraseRun): Promise<Tally> {
  let left = 0;
  const tally = await purgeEach(spots, run, async (spot, progress) => {
    let unnamed = 0;
    const kept = await untilEmpty(spot.remote, progress, kindsOf, async (traits) => {
      const pass = await once(spot, traits, progress);
      ({ unnamed } = pass);
      return pass;
    });
    left += unnamed;
    return kept;
  });
  if (left > 0) throw unnameable(left);
  return tally;
}

/** Removes one part after the other, and goes on with the counts of earlier runs. */
export async function purgeEach<T>(
  parts: readonly T[],
  run: EraseRun,
  fn: (part: T, progress: Progress) => Promise<Tally>,
): Promise<Tally> {
  const erased = new Tally();
  restore(erased, await run.checkpoint.load());
  const kept = new Tally();
  const progress = new Progress(erased, run);
  for (const part of parts) kept.take(await fn(part, progress));
  erased.take(kept);
  return erased;
}

/** What is erased is counted over all spots and runs; nothing of a key is saved, since it may be about a person. */
export class Progress {
  readonly #erased: Tally;
  readonly #run: EraseRun;
  #saving: Promise<void> = Promise.resolve();

  constructor(erased: Tally, run: EraseRun) {
    this.#erased = erased;
    this.#run = run;
  }

  expect(kinds: readonly Entry['kind'][]): void {
    this.#erased.expect(kinds);
  }

  async add(entries: readonly Entry[]): Promise<void> {
    if (entries.length === 0) return;
    for (const entry of entries) this.#erased.add(entry);
    for (const kind of new Set(entries.map((entry) => entry.kind))) {
      const { count: done, bytes } = this.#erased.of(kind);
      this.#run.progress({ kind, done, bytes });
    }
    // One after the other: an older count must not overwrite a newer one.
    this.#saving = this.#saving.then(() => this.#run.checkpoint.save(saved(this.#erased)));
    await this.#saving;
  }
}

/** Runs passes, until one finds nothing but what is held; answers that. */
export async function untilEmpty(
  remote: Remote,
  progress: Progress,
  kinds: (traits: BucketTraits) => readonly Entry['kind'][],
  pass: (traits: BucketTraits) => Promise<Pass>,
): Promise<Tally> {
  for (let passed = 0; passed < MAX_PASSES; passed += 1) {
    // Asked for in each pass: where versioning is switched on meanwhile, deleting by key leaves everything there.
    const traits = await traitsOf(remote);
    if (traits.mfaDelete) throw needsDevice();
    progress.expect(kinds(traits));
    const { found, kept } = await pass(traits);
    if (!found && (await traitsOf(remote)).versioned === traits.versioned) return kept;
  }
  throw new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `after ${MAX_PASSES} passes the bucket still lists objects that are to be erased`,
    hint: 'Look who still writes for the tenant (freeze it with a fence), or whether the server says that it has deleted what it keeps; then run the erasure again.',
  });
}

/** What a pass has found. */
export interface Pass {
  /** Whether there was anything that was not held. */
  readonly found: boolean;
  readonly kept: Tally;
}

/** One pass; answers whether it found anything that was not held. */
async function once(
  { remote, prefix }: Spot,
  { versioned }: BucketTraits,
  progress: Progress,
): Promise<Pass & { readonly unnamed: number }> {
  const kept = new Tally();
  let found = false;
  let unnamed = 0;
  // Uploads first: one that is completed meanwhile becomes an object, which is listed afterwards.
  for await (const listed of uploadsOf(remote, prefix)) {
    const page = listed.filter((entry) => entry.unnamed === undefined);
    unnamed += listed.length - page.length;
    await each(page, (entry) => abort(remote, entry));
    await progress.add(page);
    found ||= page.length > 0;
  }
  await each(
    pagesOf(remote, { prefix, versioned }),
    async (listed) => {
      const page = listed.filter((entry) => entry.unnamed === undefined);
      unnamed += listed.length - page.length;
      const held = await removeAll(remote, page, { kept, progress });
      // Also where all of them are gone already: the next listing has to say so.
      found ||= held.size < page.length;
    },
    DELETING,
  );
  return { found, kept, unnamed };
}

/**
 * Removes a page; answers what of it is held.
 *
 * @param kind - what is counted, where that is not the kind of each entry
 * @throws ConfigError when the server keeps something that is not held
 */
export async function removeAll(
  remote: Remote,
  page: readonly Entry[],
  {
    kept,
    progress,
    kind,
  }: { readonly kept: Tally; readonly progress: Progress; readonly kind?: Entry['kind'] },
): Promise<ReadonlySet<Entry>> {
  if (page.length === 0) return new Set();
  const failures = await remove(remote, page);
  const gone = page.filter((entry) => !failures.has(entry));
  await progress.add(kind === undefined ? gone : gone.map((entry) => ({ ...entry, kind })));
  return explain(stillThere(failures), { remote, kept, kind });
}

/** Without those that are gone, whoever removed them. */
function stillThere(failures: ReadonlyMap<Entry, string>): readonly (readonly [Entry, string])[] {
  return [...failures].filter(([, code]) => !GONE.has(code));
}

/**
 * Sorts failures into what is held and what a further pass tries again; answers which are held.
 *
 * @throws ConfigError when neither is the case
 */
async function explain(
  failures: readonly (readonly [Entry, string])[],
  {
    remote,
    kept,
    kind,
  }: { readonly remote: Remote; readonly kept: Tally; readonly kind: Entry['kind'] | undefined },
): Promise<ReadonlySet<Entry>> {
  const denied: string[] = [];
  const held = new Set<Entry>();
  await each(failures, async ([entry, code]) => {
    const isBusy = BUSY.has(code);
    const hold = entry.kind === 'versions' && !isBusy ? await holdOf(remote, entry) : undefined;
    if (hold !== undefined) {
      kept.keep(kind ?? entry.kind, hold);
      held.add(entry);
    } else if (!isBusy) denied.push(code);
  });
  if (denied.length === 0) return held;
  throw new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: `the server did not delete ${denied.length} objects (${[...new Set(denied)].join(', ')}), and no hold explains it`,
    hint: 'Give the credentials of this client the right to delete objects and versions, then run the erasure again.',
  });
}

function needsDevice(): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'erase',
    problem: 'MFA delete is on: versions can be deleted with a one-time code of the account’s root user only',
    hint: 'Switch it off as the root user (PutBucketVersioning with MFADelete: Disabled), run the erasure again, then switch it on.',
  });
}

/** Codes after which the entry is not there, whoever removed it. */
const GONE: ReadonlySet<string> = new Set(['NoSuchKey', 'NoSuchVersion', 'NotFound']);
