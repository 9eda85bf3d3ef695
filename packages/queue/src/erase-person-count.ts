import type { InventoryItem, Kept } from '@tenantkit/core';
import { eventsOf } from './erase-person-events.ts';
import { idOfNext, isNext, isScheduler } from './erase-person-pass.ts';
import {
  aboutJob,
  aboutScheduler,
  pieces,
  pipelined,
  READ,
  readHashes,
  type About,
  type PersonWork,
} from './erase-person-read.ts';
import type { Totals } from './erase-count.ts';
import { oddKeys } from './key-types.ts';
import { EVENTS, REPEAT, SUB_KEYS, jobIdOf, scanKeys } from './places.ts';
import type { JobHash, Verifier } from './verify.ts';

/** Nobody can tell whom something is about. */
const UNTOLD =
  'whom they are about nobody can tell, since their headers do not verify; queueAuditor names them, and they are removed with the queue’s own methods';

/** A key of another type is the person's as little as anybody's, and what stands in it nobody can tell. */
const ODD =
  'BullMQ keeps states and events of the queue under these names, and they hold another thing: whom it is about nobody can tell; queueAuditor names them (unreadable_key), and the erasure of the tenant removes them';

/** What a lane holds of a person, and of whom nobody can tell. */
export interface PersonCount extends Totals {
  readonly untold: ReadonlyMap<'jobs' | 'schedulers', number>;
  /** Keys of another type than BullMQ keeps under their names. */
  readonly odd: number;
}

/**
 * Counts what an erasure of the person would remove, and changes nothing. It walks the keys of the database and not the
 * states of the lane: a job has one key, wherever it moves meanwhile.
 *
 * @param until - see `eventsOf`
 */
export async function countPerson(
  work: PersonWork,
  verifier: Verifier,
  until: string | undefined,
): Promise<PersonCount> {
  const { raw, base, person, signal } = work;
  // SCAN may give a key twice.
  const theirs = new Set<string>();
  const untold = { jobs: new Set<string>(), schedulers: new Set<string>() };
  let keys = 0;
  for await (const batch of scanKeys(raw, base, signal)) {
    for (const piece of pieces(batch, READ)) {
      const rests = piece.map((key) => key.slice(base.length));
      const jobs = await take(rests.filter((rest) => jobIdOf(base, base + rest) === rest));
      keys += await besides(work, jobs);
      keys += (await take(rests.filter(isScheduler))).length + (await take(rests.filter(isNext))).length;
    }
  }
  const odd = await oddKeys(raw, base);
  let events = 0;
  if (!odd.has(EVENTS)) for await (const ids of eventsOf(work, until)) events += ids.length;
  return {
    jobs: [...theirs].filter((rest) => !isScheduler(rest) && !isNext(rest)).length,
    keys,
    events,
    untold: new Map([
      ['jobs', untold.jobs.size],
      ['schedulers', untold.schedulers.size],
    ]),
    odd: odd.size,
  };

  /** Those that are about the person and are met for the first time. */
  async function take(rests: readonly string[]): Promise<readonly (readonly [string, JobHash])[]> {
    const hashes = await readHashes(
      raw,
      rests.map((rest) => base + rest),
      true,
    );
    const found: (readonly [string, JobHash])[] = [];
    for (const [at, rest] of rests.entries()) {
      const hash = hashes[at] ?? {};
      // What is gone by now, and what is no hash, says nothing of anybody.
      if (Object.keys(hash).length === 0) continue;
      const about = judge(rest, hash);
      if (about === 'unknown') (isScheduler(rest) ? untold.schedulers : untold.jobs).add(rest);
      if (about !== 'theirs' || theirs.has(rest)) continue;
      theirs.add(rest);
      found.push([rest, hash]);
    }
    return found;
  }

  function judge(rest: string, hash: JobHash): About {
    if (isScheduler(rest)) return aboutScheduler(verifier, person, hash, rest.slice(REPEAT.length + 1));
    // It is a job already, under the id that it will have.
    if (isNext(rest)) return aboutJob(verifier, person, { ...hash, deid: idOfNext(rest) }, hash['jid'] ?? '');
    return aboutJob(verifier, person, hash, rest);
  }
}

/** How many keys jobs have beside their hashes. */
async function besides(
  { raw, base }: PersonWork,
  jobs: readonly (readonly [string, JobHash])[],
): Promise<number> {
  const subKeys = await pipelined(raw, jobs, (pipeline, [id]) =>
    pipeline.exists(...SUB_KEYS.map((suffix) => `${base}${id}:${suffix}`)),
  );
  const holders = await pipelined(raw, jobs, (pipeline, [, { deid = '' }]) =>
    pipeline.get(`${base}de:${deid}`),
  );
  const held = jobs.filter(([id], at) => holders[at] === id).length;
  return subKeys.reduce<number>((sum, count) => sum + Number(count ?? 0), held);
}

/** What is said of what nobody can tell, and stays. */
export function untoldItems(counted: readonly PersonCount[]): readonly Kept[] {
  const headers = (['jobs', 'schedulers'] as const).flatMap((kind) => {
    const count = counted.reduce((sum, { untold }) => sum + (untold.get(kind) ?? 0), 0);
    return count === 0 ? [] : [{ kind, count, why: UNTOLD }];
  });
  return [...headers, ...oddItems(counted.reduce((sum, { odd }) => sum + odd, 0))];
}

/** What is said of keys of another type. */
export function oddItems(count: number): readonly Kept[] {
  return count === 0 ? [] : [{ kind: 'keys', count, why: ODD }];
}

/** The sum of what several lanes hold. */
export function sumOf(counted: readonly PersonCount[]): readonly InventoryItem[] {
  return (['jobs', 'keys', 'events'] as const).map((kind) => ({
    kind,
    count: counted.reduce((sum, count) => sum + count[kind], 0),
  }));
}
