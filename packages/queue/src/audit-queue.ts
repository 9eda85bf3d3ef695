import { SignatureError, type Finding, type SignatureReason, type TenantRegistry } from '@tenantkit/core';
import { schedulerAgain, whereabouts } from './audit-again.ts';
import { FOUND, type FindingCode } from './audit-findings.ts';
import { orphanedChildren, orphanedParents } from './flows/audit.ts';
import type { JobClaims } from './header.ts';
import { oddKeys, oddNaming } from './key-types.ts';
import {
  BATCH,
  LISTS,
  REPEAT,
  SORTED_SETS,
  jobIdOf,
  scanKeys,
  stateIds,
  type QueueKeyspace,
} from './places.ts';
import type { RawRedis } from './raw-redis.ts';
import { hasStopped } from './schedulers/audit.ts';
import { isIteration } from './schedulers/ids.ts';
import { verifyTemplate } from './schedulers/template.ts';
import { verifyJob, type JobHash, type Verifier } from './verify.ts';

/** Where a job is that has been added. */
const STATES: readonly string[] = [...LISTS, ...SORTED_SETS];

const BY_REASON: Readonly<Partial<Record<SignatureReason, FindingCode>>> = {
  missing: 'unsigned_job',
  unknownKey: 'unknown_key',
};

/** In these nothing becomes of a job any more. */
const ENDED: ReadonlySet<string> = new Set(['completed', 'failed']);

/** Looks at one queue, in one Redis. */
export async function* auditQueue(
  raw: RawRedis,
  store: string,
  queue: QueueKeyspace,
  verifier: Verifier,
  fence: TenantRegistry | undefined,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  // Two walks over the database, and not one per lane: it may hold thousands.
  for (const key of await oddNaming(raw, queue))
    yield { store, code: 'unreadable_key', name: key, ...FOUND.unreadable_key };
  const places = new Map<string, Place>([
    [queue.base, { base: queue.base, lane: undefined, jobs: new Set() }],
  ]);
  for (const prefix of [queue.base, queue.keys.lanePrefix]) {
    for await (const keys of scanKeys(raw, prefix, signal))
      for (const key of keys) sortIn(places, queue, key);
  }
  for (const place of places.values()) yield* auditPlace(raw, store, place, verifier, fence, signal);
}

/** A lane, or the queue itself, where no job of ours is. */
interface Place {
  readonly base: string;
  /** What the lane's name says of its tenant; `undefined` for the queue itself. */
  readonly lane: string | undefined;
  /** The ids of which there is a key; a set, since SCAN may give a key twice. */
  readonly jobs: Set<string>;
}

function sortIn(
  places: Map<string, Place>,
  { base, keys: { lanePrefix } }: QueueKeyspace,
  key: string,
): void {
  const isOfQueue = key.startsWith(base);
  const end = isOfQueue ? base.length : key.indexOf(':', lanePrefix.length) + 1;
  const own = key.slice(0, end);
  // Without a tenant it is one of ours, which say where there is work.
  if (end === 0 || own === `${lanePrefix}:`) return;
  const known = places.get(own);
  const place = known ?? { base: own, lane: own.slice(lanePrefix.length, -1), jobs: new Set<string>() };
  if (known === undefined) places.set(own, place);
  if (jobIdOf(own, key) === key.slice(end)) place.jobs.add(key.slice(end));
}

async function* auditPlace(
  raw: RawRedis,
  store: string,
  { base, lane, jobs }: Place,
  verifier: Verifier,
  fence: TenantRegistry | undefined,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  const finding = (code: FindingCode, name: string): Finding => ({ store, code, name, ...FOUND[code] });
  const seen = new Set<string>();
  const live = new Set<string>();
  const odd = await oddKeys(raw, base);
  for (const key of odd) yield finding('unreadable_key', base + key);
  for (const state of STATES.filter((one) => !odd.has(one))) {
    for await (const ids of stateIds(raw, base, state, signal)) {
      for (const id of ids) seen.add(id);
      if (!ENDED.has(state)) for (const id of ids) live.add(id);
    }
  }
  for await (const ids of odd.has(REPEAT) ? [] : stateIds(raw, base, REPEAT, signal)) {
    const keys = ids.map((id) => `${base}${REPEAT}:${id}`);
    const hashes = new Map(await readHashes(raw, keys));
    for (const [at, key] of keys.entries()) {
      const hash = hashes.get(key) ?? (await schedulerAgain(raw, base, ids[at] ?? ''));
      if (hash === undefined) continue;
      const code = judge(() => verifyTemplate(verifier, hash, ids[at] ?? '', lane).claims, fence);
      if (code !== undefined) yield finding(code === 'unsigned_job' ? 'unsigned_scheduler' : code, key);
      else if (await hasStopped(raw, base, ids[at] ?? '', hash)) yield finding('stopped_scheduler', key);
    }
  }
  for await (const key of odd.has('waiting-children') ? [] : orphanedParents(raw, base, signal))
    yield finding('orphaned_parent', key);
  const stored = new Set<string>();
  const all = [...jobs];
  for (let at = 0; at < all.length; at += BATCH) {
    signal.throwIfAborted();
    const keys = all.slice(at, at + BATCH).map((id) => base + id);
    const hashes = await readHashes(raw, keys);
    for (const key of await orphanedChildren(raw, hashes)) yield finding('orphaned_child', key);
    for (const [key, hash] of hashes) {
      const id = key.slice(base.length);
      stored.add(id);
      const code = judge(() => verifyJob(verifier, hash, id, lane), fence);
      // The erasure may have ended since the job was read.
      if (code === 'erased_tenant_job' && !(await whereabouts(raw, base, id, STATES)).isStored) continue;
      // What a scheduler makes has an id without a tenant: whose it is says the lane, if it is in one.
      const isNobodys = isIteration(id) ? lane === undefined : verifier.names.tenantOf(id) === undefined;
      const isOutside = code === 'unsigned_job' && isNobodys;
      // One that has ended holds up nobody who wants to take the key away.
      const hasEnded = code === 'unknown_key' && seen.has(id) && !live.has(id);
      if (hasEnded) yield finding('ended_unknown_key', key);
      else if (code !== undefined) yield finding(isOutside ? 'job_outside_tenant' : code, key);
      if (seen.has(id)) continue;
      // Jobs move and end while the audit runs: only what is stored and in no state now is a finding.
      const { isStored, isNamed } = await whereabouts(raw, base, id, STATES);
      if (isStored && !isNamed) yield finding('orphaned_job', key);
    }
  }
  for (const id of seen) {
    if (stored.has(id)) continue;
    // One that no state names any more is gone as it should be.
    const { isStored, isNamed } = await whereabouts(raw, base, id, STATES);
    if (!isStored && isNamed) yield finding('missing_job', base + id);
  }
}

function judge(verify: () => JobClaims, fence: TenantRegistry | undefined): FindingCode | undefined {
  try {
    const { tenant } = verify();
    return fence?.state(tenant) === 'erased' ? 'erased_tenant_job' : undefined;
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error;
    return BY_REASON[error.reason] ?? 'invalid_signature';
  }
}

async function readHashes(
  raw: RawRedis,
  keys: readonly string[],
): Promise<readonly (readonly [string, JobHash])[]> {
  const replies = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    for (const key of keys) pipeline.hgetall(key);
    return pipeline.exec();
  });
  return keys.flatMap((key, at) => {
    const [error, hash] = replies?.[at] ?? [null, {}];
    // A key that is no hash is no job, whatever it is called.
    if (error !== null || typeof hash !== 'object' || hash === null) return [];
    return Object.keys(hash).length === 0 ? [] : [[key, hash as JobHash] as const];
  });
}
