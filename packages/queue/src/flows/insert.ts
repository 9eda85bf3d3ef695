import { QueueKeys, type IRedisClient, type IRedisTransaction } from 'bullmq';
import { canonicalJson } from '../canonical.ts';
import { checkOneSlot } from '../cluster.ts';
import { HEADER, signHeader } from '../header.ts';
import type { Lane } from '../lanes/lane.ts';
import { laneName } from '../lanes/names.ts';
import { answersOf, transact } from '../lanes/transaction.ts';
import { judgeRead, type Place, type StoreContext } from '../store.ts';
import { bindingOf, parseOptions, type JobHash } from '../verify.ts';
import type { SignedEntry } from '../views/sign.ts';
import type { Link } from './link.ts';
import { flowClient, put, replies } from './scripts.ts';

/** A job that is signed, and where it goes. */
export interface Insertion extends SignedEntry {
  readonly context: StoreContext;
  readonly tenant: string;
  /** Whether it has children in the same flow, and waits for them. */
  readonly isParent: boolean;
}

/**
 * Adds jobs that have parents or children, in one transaction as BullMQ does: all of a flow, in whichever queues its
 * jobs are. A job that is there already becomes a child as it is, and its header is made anew for the parent it gets.
 *
 * @param lane - any lane of the connection
 * @returns the id of each job, or BullMQ's code of an error
 * @throws {@link SignatureError} when a job that is there already does not verify
 * @throws {@link OperationRefusedError} on a cluster whose servers would have to share the work
 */
export async function insert(
  lane: Lane,
  entries: readonly Insertion[],
): Promise<readonly (string | number)[]> {
  const client = await flowClient(lane);
  if (client.isCluster)
    checkOneSlot(entries.flatMap((entry) => [keyOf(entry), entry.link?.parentKey ?? keyOf(entry)]));
  const answers = new Map<Insertion, string | number>();
  // Those of which somebody has changed the job between the look at it and the transaction are added again.
  for (let left = entries; left.length > 0;) left = await insertOnce(client, lane, left, answers);
  return entries.map((entry) => answers.get(entry) ?? 0);
}

async function insertOnce(
  client: IRedisClient,
  lane: Lane,
  entries: readonly Insertion[],
  answers: Map<Insertion, string | number>,
): Promise<readonly Insertion[]> {
  const relinked = await relinkable(client, entries);
  const sent = await transact(client, (multi) => fill(multi, lane, entries, relinked));
  const all = answersOf(sent).slice(relinked.length);
  for (const [at, entry] of entries.entries()) answers.set(entry, all[at] as string | number);
  return relinked.flatMap(({ entry }, at) => (all[entries.length + at] === -1 ? [entry] : []));
}

function fill(
  multi: IRedisTransaction,
  lane: Lane,
  entries: readonly Insertion[],
  relinked: readonly Relinked[],
): void {
  for (const { key, read } of relinked) put(multi, 'hold', [key, read]);
  const parents = new Map<string, Link>();
  for (const entry of entries) {
    const { context, tenant, job, jobId, link, isParent } = entry;
    const keys = new QueueKeys(context.prefix).getKeys(laneName(context.queue, tenant));
    const of = link && { parentKey: link.parentKey, parentDependenciesKey: `${link.parentKey}:dependencies` };
    const options = { ...of, ...(isParent ? { addToWaitingChildren: true } : {}), deferParentRelease: true };
    // What it answers is the transaction, since nothing is sent yet.
    void lane.addJobToTransaction(multi, job, jobId, options, keys);
    if (link !== undefined) parents.set(link.parentKey, link);
  }
  for (const { key, read, options, entry } of relinked)
    put(multi, 'settle', [key, entry.link?.parentKey ?? '', read, options, key, 'link']);
  for (const { parentKey, parent } of parents.values()) {
    const args = [parentKey, `${parentKey}:dependencies`, parent.queueKey, parent.id, Date.now()];
    lane.execCommand(multi, 'releaseParentIfNoPendingDependencies', args);
  }
}

/** A job that may be there already, with what its options have to be if it is the one that was read. */
interface Relinked {
  readonly entry: Insertion;
  readonly key: string;
  readonly read: string;
  readonly options: string;
}

async function relinkable(client: IRedisClient, entries: readonly Insertion[]): Promise<readonly Relinked[]> {
  const named = entries.filter(({ link, isNamed }) => link !== undefined && isNamed);
  if (named.length === 0) return [];
  const pipeline = client.pipeline();
  for (const entry of named) pipeline.hgetall(keyOf(entry));
  const hashes = await replies(pipeline);
  return named.map((entry, at) => {
    const hash = hashes[at] as JobHash;
    const read = hash['opts'] ?? '';
    return {
      entry,
      key: keyOf(entry),
      read,
      options: Object.keys(hash).length === 0 ? '' : linked(entry, hash),
    };
  });
}

function linked({ context, tenant, jobId, link }: Insertion, hash: JobHash): string {
  return resigned({ context, lane: tenant }, hash, jobId, link);
}

/**
 * The options of a stored job with a header for another parent, signed for whom the job was signed for.
 *
 * @param link - `undefined` for none
 * @throws {@link SignatureError} when the job as it is has no valid header: nobody's forgery is signed
 */
export function resigned(
  place: Pick<Place, 'context' | 'lane'>,
  hash: JobHash,
  id: string,
  link: Link | undefined,
): string {
  const { claims } = judgeRead(place, hash, id);
  const { prefix, queue, ring } = place.context;
  const { parent: _parent, ...rest } = parseOptions(hash['opts']);
  const options = { ...rest, ...(link === undefined ? {} : { parent: link.option }) };
  const { parentKey: _key, parent: _link, ...unlinked } = hash;
  const changed =
    link === undefined
      ? unlinked
      : { ...unlinked, parentKey: link.parentKey, parent: canonicalJson(link.parent) };
  const header = signHeader(ring, claims, bindingOf(changed, options, { prefix, queue, id }));
  return JSON.stringify({ ...options, [HEADER]: header });
}

function keyOf({ context, tenant, jobId }: Insertion): string {
  return `${context.prefix}:${laneName(context.queue, tenant)}:${jobId}`;
}
