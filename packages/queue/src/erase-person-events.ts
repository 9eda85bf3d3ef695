import { pipelined, names, readHashes, type PersonWork } from './erase-person-read.ts';
import { BATCH, EVENTS } from './places.ts';

/** The fields of an event that name a job. */
const NAMING: ReadonlySet<string> = new Set(['jobId', 'deduplicatedJobId']);

/** An entry of the stream, as the server answers it: its id, and names and values in turn. */
type Entry = readonly [id: string, fields: readonly string[]];

/**
 * The events of a lane that name a job about the person, or one that is gone: an event says of its job what it answered
 * and why it failed, and of a job that is gone nobody can tell any more whom it was about.
 *
 * @param until - those behind this id are looked at for jobs that are there alone: the jobs of others go on ending
 */
export async function* eventsOf(work: PersonWork, until?: string): AsyncGenerator<readonly string[]> {
  const { raw, base, signal } = work;
  for (let after = '-'; ;) {
    signal?.throwIfAborted();
    const entries: readonly Entry[] = await raw.run((redis) =>
      redis.xrange(base + EVENTS, after, '+', 'COUNT', BATCH),
    );
    yield await named(work, entries, until);
    const last = entries.at(-1);
    if (last === undefined || entries.length < BATCH) return;
    after = `(${last[0]}`;
  }
}

/** The id of the last event of a lane; that of none before the first. */
export async function lastEvent({ raw, base }: PersonWork): Promise<string> {
  const [last] = await raw.run((redis) => redis.xrevrange(base + EVENTS, '+', '-', 'COUNT', 1));
  return last?.[0] ?? '0-0';
}

/** Removes them. @returns how many */
export async function eraseEventsOf(work: PersonWork): Promise<number> {
  const { raw, base } = work;
  let removed = 0;
  for await (const ids of eventsOf(work)) {
    if (ids.length > 0) removed += await raw.run((redis) => redis.xdel(base + EVENTS, ...ids));
  }
  return removed;
}

async function named(
  { raw, base, person }: PersonWork,
  entries: readonly Entry[],
  until: string | undefined,
): Promise<readonly string[]> {
  const jobs = new Set(entries.flatMap(([, fields]) => jobsOf(fields)));
  const ids = [...jobs];
  const keys = ids.map((id) => base + id);
  const hashes = await readHashes(raw, keys, false);
  const there = await pipelined(raw, keys, (pipeline, key) => pipeline.exists(key));
  const fate = new Map(
    ids.map((id, at) => [
      id,
      names(hashes[at]?.['opts'], person) ? 'theirs' : there[at] === 0 ? 'gone' : 'others',
    ]),
  );
  return entries
    .filter(([id, fields]) =>
      jobsOf(fields).some((job) => {
        const of = fate.get(job);
        return of === 'theirs' || (of === 'gone' && (until === undefined || !isLater(id, until)));
      }),
    )
    .map(([id]) => id);
}

function jobsOf(fields: readonly string[]): string[] {
  const found: string[] = [];
  for (let at = 0; at + 1 < fields.length; at += 2) {
    if (NAMING.has(fields[at] ?? '')) found.push(fields[at + 1] ?? '');
  }
  return found;
}

/** Ids of a stream are milliseconds and a number. */
function isLater(id: string, than: string): boolean {
  const [ms = 0, number = 0] = id.split('-').map(Number);
  const [thanMs = 0, thanNumber = 0] = than.split('-').map(Number);
  return ms > thanMs || (ms === thanMs && number > thanNumber);
}
