import type { Queue as RawQueue } from 'bullmq';
import {
  SignatureError,
  auditSignal,
  isId,
  optionSchemas,
  parseOptions,
  type Auditor,
  type Finding,
  type SignatureReason,
  type Severity,
  type TenantRegistry,
} from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';
import { z } from 'zod';
import { orphanedChildren, orphanedParents } from './flows/audit.ts';
import type { JobClaims } from './header.ts';
import { oddKeys, oddNaming } from './key-types.ts';
import { queueKeyRing } from './keys.ts';
import { signingKeysSchema, type SigningKey } from './options.ts';
import {
  BATCH,
  LISTS,
  REPEAT,
  SORTED_SETS,
  checkPlaces,
  isInState,
  jobIdOf,
  placeSchemas,
  scanKeys,
  stateIds,
  type CheckedPlaces,
  type QueueKeyspace,
  type QueuePlaces,
} from './places.ts';
import { RawRedis } from './raw-redis.ts';
import { hasStopped } from './schedulers/audit.ts';
import { isIteration } from './schedulers/ids.ts';
import { SiloClients, type KnownSilo } from './silo-clients.ts';
import { verifyTemplate } from './schedulers/template.ts';
import { verifyJob, type JobHash, type Verifier } from './verify.ts';

/** Options of {@link queueAuditor}. */
export interface QueueAuditorOptions extends QueuePlaces {
  /** As in the option `tenant.signingKeys` of the queues: without them no header can be verified. */
  readonly signingKeys: readonly SigningKey[];
  /** To find jobs of tenants that were erased. */
  readonly fence?: TenantRegistry;
}

const schema = z.strictObject({
  ...placeSchemas,
  signingKeys: signingKeysSchema,
  fence: optionSchemas.fence,
});

/**
 * Looks at every job of the queues as it is stored: jobs without a header or with one that does not verify, jobs
 * outside of any tenant, jobs of erased tenants, schedulers, and ids and hashes that have lost each other. Reads
 * only; names physical ids, since an auditor is an operator. Holds the ids of a queue in memory.
 *
 * @param source - a raw ioredis client, of a cluster too, or a Queue that was given one
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { queueAuditor } from '@tenantkit/queue';
 * const auditor = queueAuditor(redis, { queues: ['mail'], signingKeys });
 * for await (const finding of auditor.audit(AbortSignal.timeout(60_000))) console.log(finding.code, finding.name);
 * ```
 */
export function queueAuditor(source: Redis | Cluster | RawQueue, options: QueueAuditorOptions): Auditor {
  const { signingKeys, fence, ...given } = parseOptions('queue', schema, options);
  const places = checkPlaces(source, given as QueuePlaces);
  return {
    store: places.store,
    async *audit(given) {
      const signal = auditSignal('queue', 'queueAuditor.audit', given);
      for await (const redis of eachRedis(places)) {
        if ('severity' in redis) {
          yield redis;
          continue;
        }
        const raw = new RawRedis(redis, 'queueAuditor.audit', places.timeout);
        for (const queue of places.queues) {
          const ring = queueKeyRing(signingKeys, queue.prefix, queue.queue);
          yield* auditQueue(raw, places.store, queue, { ...queue, ring, names: places.names }, fence, signal);
        }
      }
    },
  };
}

/** The shared Redis, and each silo of a tenant that has added jobs to one, while it is looked at. */
async function* eachRedis(places: CheckedPlaces): AsyncGenerator<Redis | Finding> {
  yield places.redis;
  if (places.place === undefined) return;
  const raw = new RawRedis(places.redis, 'queueAuditor.audit', places.timeout);
  const silos = new SiloClients(places.place);
  const seen = new Set<KnownSilo>();
  for (const queue of places.queues) {
    const { keys } = queue;
    // Told when the queue is looked at.
    if ((await oddNaming(raw, queue)).includes(keys.placed)) continue;
    for (const tenant of await raw.run((redis) => redis.zrange(keys.placed, 0, '-1'))) {
      let silo: KnownSilo | undefined;
      try {
        silo = isId(tenant) ? silos.find(tenant) : undefined;
      } catch {
        // Anybody may have written the name: the silos of the others are looked at all the same.
        yield {
          store: places.store,
          code: 'unplaced_tenant',
          name: `${keys.placed} ${tenant}`,
          ...FOUND.unplaced_tenant,
        };
      }
      if (silo === undefined || seen.has(silo)) continue;
      seen.add(silo);
      const leave = silo.use();
      try {
        yield silo.redis;
      } finally {
        leave();
      }
    }
  }
}

/** Where a job is that has been added. */
const STATES: readonly string[] = [...LISTS, ...SORTED_SETS];

/** What may be found. */
const FOUND = {
  job_outside_tenant: {
    severity: 'high',
    message: 'A job whose id belongs to no tenant: it never runs, and no erasure finds it.',
    hint: 'If the service has just changed from raw BullMQ, adopt it with adoptJobs. Else find out who adds jobs past tenantkit; remove it with a raw client.',
  },
  unsigned_job: {
    severity: 'high',
    message: 'A job without a header: it was written past tenantkit and never runs.',
    hint: 'Find out who writes to this Redis; remove the job with a raw client.',
  },
  invalid_signature: {
    severity: 'critical',
    message:
      'A job whose header does not verify: it was altered, copied, perhaps into another lane, or signed with another key. It never runs.',
    hint: 'Treat it as an incident unless a signing key was taken away too early.',
  },
  unknown_key: {
    severity: 'high',
    message: 'A job that was signed with a key which is not in the key ring: it never runs.',
    hint: 'Put the key back, behind the current one, until the jobs it has signed are finished. A scheduler gets the current key when a worker that can sign makes its next job, or when it is upserted anew.',
  },
  erased_tenant_job: {
    severity: 'high',
    message: 'A job of a tenant that was erased.',
    hint: 'Run the erasure of the tenant again.',
  },
  unsigned_scheduler: {
    severity: 'high',
    message: 'A job scheduler without a header: it was written past tenantkit, and what it makes never runs.',
    hint: 'If the service has just changed from raw BullMQ, make it anew with upsertJobScheduler in its tenant. Else find out who writes to this Redis; remove it with a raw client.',
  },
  unreadable_key: {
    severity: 'critical',
    message:
      'A key that holds another thing than BullMQ or tenantkit keeps there: what it should hold is found by nobody.',
    hint: 'Find out who writes to this Redis past tenantkit; remove the key with a raw client.',
  },
  unplaced_tenant: {
    severity: 'high',
    message:
      'A name stands among those of tenants in silos, and place fails for it: its silo was not looked at.',
    hint: 'Let place answer for every tenant, or remove the name if it is none; then audit again.',
  },
  stopped_scheduler: {
    severity: 'high',
    message: 'A job scheduler without a job to come: it is listed, and makes none any more.',
    hint: 'Call upsertJobScheduler again in its tenant. Its last job was refused, or removed past tenantkit.',
  },
  missing_job: {
    severity: 'low',
    message: 'A state of the queue names a job that is not stored.',
    hint: 'It fails when a worker meets it; remove it with a raw client.',
  },
  orphaned_job: {
    severity: 'low',
    message: 'A stored job that no state of the queue names: it never runs.',
    hint: 'Remove it with queue.removeOrphanedJobs inside acrossTenants.',
  },
  orphaned_parent: {
    severity: 'low',
    message: 'A job that waits for a child which will never tell it: it never runs.',
    hint: 'Look at its children; job.removeUnprocessedChildren in its tenant sets it free.',
  },
  orphaned_child: {
    severity: 'low',
    message: 'A job whose parent is not stored: it runs, and tells nobody.',
    hint: 'Nothing to do if the parent was removed alone; else find out who removes jobs past tenantkit.',
  },
} as const satisfies Record<string, { severity: Severity; message: string; hint: string }>;

type Code = keyof typeof FOUND;

const BY_REASON: Readonly<Partial<Record<SignatureReason, Code>>> = {
  missing: 'unsigned_job',
  unknownKey: 'unknown_key',
};

async function* auditQueue(
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
  const finding = (code: Code, name: string): Finding => ({ store, code, name, ...FOUND[code] });
  const seen = new Set<string>();
  const odd = await oddKeys(raw, base);
  for (const key of odd) yield finding('unreadable_key', base + key);
  for (const state of STATES.filter((one) => !odd.has(one))) {
    for await (const ids of stateIds(raw, base, state, signal)) {
      for (const id of ids) seen.add(id);
    }
  }
  for await (const ids of odd.has(REPEAT) ? [] : stateIds(raw, base, REPEAT, signal)) {
    const keys = ids.map((id) => `${base}${REPEAT}:${id}`);
    const hashes = new Map(await readHashes(raw, keys));
    for (const [at, key] of keys.entries()) {
      const hash = hashes.get(key) ?? {};
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
      const isOutside =
        code === 'unsigned_job' && !isIteration(id) && verifier.names.tenantOf(id) === undefined;
      if (code !== undefined) yield finding(isOutside ? 'job_outside_tenant' : code, key);
      // Jobs move while the audit runs: only what is in no state now is a finding.
      if (!seen.has(id) && !(await isInState(raw, base, id, STATES))) yield finding('orphaned_job', key);
    }
  }
  for (const id of seen) {
    // Jobs finish while the audit runs: only what is still missing is a finding.
    if (!stored.has(id) && (await raw.run((redis) => redis.exists(base + id))) === 0)
      yield finding('missing_job', base + id);
  }
}

function judge(verify: () => JobClaims, fence: TenantRegistry | undefined): Code | undefined {
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
