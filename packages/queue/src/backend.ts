import { randomUUID } from 'node:crypto';
import { RedisQueueBackend, type JobJson, type ParentKeyOpts } from 'bullmq';
import {
  breach,
  refusal,
  refuse,
  requireScope,
  type CustomRule,
  type PassRule,
  type RefuseRule,
  type TenantContext,
} from '@tenantkit/core';
import { isWellFormed } from './bytes.ts';
import { canonicalJson } from './canonical.ts';
import { isEngineOf } from './engine.ts';
import { HEADER, signHeader } from './header.ts';
import { checkJobOptions, checkTurn, storedOptions } from './job-options.ts';
import type { Lane } from './lanes/lane.ts';
import type { LaneStore } from './lanes/store.ts';
import { toList } from './list.ts';
import { memberOf } from './members.ts';
import { checkId, checkNewId } from './names.ts';
import { backendRules, type BackendCustom } from './rules.ts';
import { isJson, logicalJob, type StoreContext } from './store.ts';

/** A job as BullMQ hands it over to be stored. */
interface Entry {
  readonly job: JobJson;
  readonly jobId: string;
  readonly parentKeyOpts?: ParentKeyOpts;
}

/** A job that is signed and may be stored. */
interface SignedEntry {
  readonly job: JobJson;
  readonly jobId: string;
}

type Row = CustomRule<BackendCustom> | PassRule | RefuseRule;

type Handler = (guard: Guard, tenant: TenantContext, operation: string, args: readonly unknown[]) => unknown;

/** What a guarded backend stands on; kept outside of the object, so that the store cannot be reached through it. */
interface Guard {
  readonly store: LaneStore;
  readonly context: StoreContext;
  /** Whose loops may pass. */
  readonly owner: object;
  /** Set when BullMQ's constructor has done what it does with its backend. */
  sealed: boolean;
}

const guards = new WeakMap<object, Guard>();

/** Members that answer at once: a refusal of theirs is thrown, not a rejected promise that nobody awaits. */
const SYNCHRONOUS: ReadonlySet<string> = new Set(['execCommand', 'finishedErrors', 'forQueue']);
const BUILDS_ARGUMENTS = /Args$/;

const SIGNS: ReadonlySet<BackendCustom> = new Set(['add', 'addBulk']);

const NO_TENANT_TO_SIGN = refuse(
  'a job belongs to a tenant, and acrossTenants names none',
  'Enter the tenant first: withTenant(id, () => queue.add(…)) works inside acrossTenants.',
);
const LINKED = refuse(
  'the job names a parent, a scheduler or a deduplication that nobody has checked',
  'Use queue.add or queue.addBulk with the options that the README lists.',
);
const LISTENS = refuse(
  'the errors of the connection show what other tenants have sent',
  'Listen to the events of the Queue or the Worker.',
);
const BAD_NAME = refuse('the name of a job must be well-formed text', 'Use a string that UTF-8 can store.');
const BAD_DATA = refuse(
  'the data of the job cannot be written as JSON',
  'Use plain data: objects, lists, texts, numbers.',
);
/** An hour, in milliseconds: a job that is locked is neither recovered from a dead worker nor erased. */
const LONGEST_LOCK = 3_600_000;
const BAD_LOCK = refuse(
  'a lock lasts for more than 0 and at most 3600000 milliseconds',
  'Extend it again before it ends; a worker renews the locks of its jobs by itself.',
);
const BAD_TIME = refuse(
  'the timestamp of the job is no integer',
  'Leave the option timestamp out, or use milliseconds.',
);

/**
 * How a call of a tenant is carried out: on the tenant's own lane and on no other. Arguments and replies are logical
 * here, physical in the lane.
 */
const handlers: Readonly<Record<BackendCustom, Handler>> = {
  async add(guard, tenant, operation, [job, jobId, parentKeyOpts]) {
    const entry = sign(guard, tenant, { job, jobId, parentKeyOpts } as Entry);
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const id = await lane.addJob(entry.job, entry.jobId);
    await stillAdmitted(guard, lane, operation, since, [id]);
    return ownId(guard, tenant, id);
  },
  // All are signed before the first is stored: one bad job of a hundred must not leave fifty behind.
  async addBulk(guard, tenant, operation, [entries]) {
    const signed = toList(entries, operation).map((entry) => sign(guard, tenant, entry as Entry));
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const ids = await lane.addJobs(signed);
    await stillAdmitted(guard, lane, operation, since, ids);
    return ids.map((id) => ownId(guard, tenant, id));
  },
  async read(guard, tenant, operation, [id]) {
    const lane = guard.store.lane(tenant.tenant);
    const found = await lane.readVerified(physicalId(guard, tenant, operation, id));
    if (found === undefined) return undefined;
    return logicalJob(found.job, found.claims, guard.context);
  },
  async byId(guard, tenant, operation, [id, ...rest]) {
    const physical = physicalId(guard, tenant, operation, id);
    await admitted(guard, tenant, operation);
    return onLane(guard, tenant, operation, [physical, ...rest]);
  },
  async extendLock(guard, tenant, operation, [id, token, duration]) {
    if (typeof duration !== 'number' || !(duration > 0 && duration <= LONGEST_LOCK))
      throw refusal('queue', operation, BAD_LOCK);
    return handlers.byId(guard, tenant, operation, [id, token, duration]);
  },
  byIdInState: (guard, tenant, operation, [state, id]) =>
    onLane(guard, tenant, operation, [state, physicalId(guard, tenant, operation, id)]),
};

/** Calls a member of the tenant's own lane. What it answers is physical: whoever shows it makes it logical. */
function onLane(
  { store }: Guard,
  { tenant }: TenantContext,
  member: string,
  args: readonly unknown[],
): unknown {
  const lane = store.lane(tenant);
  return Reflect.apply(Reflect.get(lane, member) as (...args: readonly unknown[]) => unknown, lane, args);
}

/**
 * The backend that queues, workers and jobs hold: every call of BullMQ goes through it, and so does every call
 * on the public property `queue.backend`. Its members are made from {@link backendRules}.
 */
class TenantBackend {
  static {
    for (const [member, rule] of Object.entries(backendRules)) defineMember(this.prototype, member, rule);
  }
}

/**
 * @param owner - whose loops may pass with physical names
 * @returns typed as the backend that it stands in for: a Queue whose backend had another type would not be
 * accepted where a library asks for BullMQ's. Members that BullMQ makes public and that are refused do exist.
 */
export function guardBackend(store: LaneStore, context: StoreContext, owner: object): RedisQueueBackend {
  const backend = new TenantBackend();
  guards.set(backend, { store, context, owner, sealed: false });
  return backend as unknown as RedisQueueBackend;
}

/** Ends the time in which BullMQ's constructor may listen on its backend. */
export function sealBackend(backend: object): void {
  guardOf(backend).sealed = true;
}

// In its constructor BullMQ listens for errors of the connection, which show commands of all tenants.
for (const member of ['on', 'once', 'removeListener'] as const) {
  Object.defineProperty(TenantBackend.prototype, member, {
    value(this: object, ...args: unknown[]): unknown {
      const guard = guardOf(this);
      if (guard.sealed) invoke(guard, member, LISTENS, args);
      else call(guard, member, args);
      return this;
    },
  });
}

function defineMember(prototype: object, member: string, rule: Row): void {
  const isMethod = typeof memberOf(RedisQueueBackend.prototype, member)?.value === 'function';
  const throws = SYNCHRONOUS.has(member) || BUILDS_ARGUMENTS.test(member);
  if (!isMethod) {
    Object.defineProperty(prototype, member, {
      get(this: object): unknown {
        return invoke(guardOf(this), member, rule);
      },
    });
    return;
  }
  Object.defineProperty(prototype, member, {
    value(this: object, ...args: unknown[]): unknown {
      const guard = guardOf(this);
      if (throws || rule.kind === 'pass') return invoke(guard, member, rule, args);
      return invokeLater(guard, member, rule, args);
    },
  });
}

async function invokeLater(...call: Parameters<typeof invoke>): Promise<unknown> {
  try {
    return await invoke(...call);
  } catch (error) {
    throw isEngineOf(call[0].owner) ? error : withoutCommand(error);
  }
}

/** @param args - `undefined` for a property */
function invoke(guard: Guard, operation: string, rule: Row, args?: readonly unknown[]): unknown {
  if (rule.kind === 'pass' || isEngineOf(guard.owner)) return call(guard, operation, args);
  const where = { surface: 'queue', operation } as const;
  const scope = requireScope(where);
  if (scope.bypass !== undefined) {
    if (rule.kind === 'custom' && SIGNS.has(rule.custom))
      throw refusal('queue', operation, NO_TENANT_TO_SIGN);
    return call(guard, operation, args);
  }
  if (rule.kind === 'refuse') throw refusal('queue', operation, rule);
  guard.context.fence?.check(scope.tenant.tenant, where);
  return handlers[rule.custom](guard, scope.tenant, operation, args ?? []);
}

function call({ store }: Guard, member: string, args: readonly unknown[] | undefined): unknown {
  const value: unknown = Reflect.get(store, member);
  return args === undefined || typeof value !== 'function' ? value : Reflect.apply(value, store, args);
}

/**
 * Signs a job. Every field is read once, and what is stored is built from what was read: a getter that answers
 * differently the second time would otherwise be checked with one parent and stored with another.
 */
function sign({ context }: Guard, tenant: TenantContext, { job, jobId, parentKeyOpts }: Entry): SignedEntry {
  const { name, data, timestamp, opts, parent, parentKey, repeatJobKey, deduplicationId } = job;
  const { jobId: _jobId, ...given } = checkJobOptions('add', opts);
  checkTurn('add', given);
  if (isLinked({ parent, parentKey, repeatJobKey, deduplicationId }, parentKeyOpts))
    throw refusal('queue', 'add', LINKED);
  if (typeof name !== 'string' || !isWellFormed(name)) throw refusal('queue', 'add', BAD_NAME);
  if (typeof data !== 'string' || !isJson(data)) throw refusal('queue', 'add', BAD_DATA);
  if (!Number.isSafeInteger(timestamp)) throw refusal('queue', 'add', BAD_TIME);
  const own = checkNewId('add', jobId);
  const id = context.names.encode(tenant.tenant, own ?? randomUUID());
  const options = own === undefined ? given : { ...given, jobId: id };
  const header = signHeader(
    context.ring,
    { ...tenant, issuedAt: given['timestamp'] === undefined ? timestamp : Date.now() },
    {
      prefix: context.prefix,
      queue: context.queue,
      name,
      id,
      scheduler: '',
      parentKey: '',
      parent: '',
      deduplication: '',
      options: canonicalJson(storedOptions(options)),
      data,
    },
  );
  // The fields that BullMQ stores; the others of a JobJson are counters that the server keeps.
  const stored = { id, name, data, timestamp, opts: { ...options, [HEADER]: header } } as StoredJob;
  return { job: stored as JobJson, jobId: id };
}

type StoredJob = Pick<JobJson, 'id' | 'name' | 'data' | 'timestamp' | 'opts'>;
type Links = { readonly [Link in 'parent' | 'parentKey' | 'repeatJobKey' | 'deduplicationId']: unknown };

function isLinked(
  { parent, parentKey, repeatJobKey, deduplicationId }: Links,
  { parentKey: parentToJoin, addToWaitingChildren }: ParentKeyOpts = {},
): boolean {
  const links = [parent, parentKey, repeatJobKey, deduplicationId, parentToJoin, addToWaitingChildren];
  return links.some((link) => link !== undefined);
}

/**
 * Waits for the connection, and asks the fence once more, right before the command is written. A command that
 * waited in the offline queue of a lost connection would be written whenever it comes back: after an erasure that
 * began meanwhile has frozen the tenant, waited, counted zero and signed.
 */
async function admitted(
  { store, context }: Guard,
  { tenant }: TenantContext,
  operation: string,
): Promise<number> {
  if (context.fence !== undefined) await store.connected();
  context.fence?.check(tenant, { surface: 'queue', operation });
  return performance.now();
}

/**
 * What ioredis had written when the connection broke it writes again when it is back, however late. A job that may
 * have come after an erasure is removed again.
 */
async function stillAdmitted(
  { context: { fence } }: Guard,
  lane: Lane,
  operation: string,
  since: number,
  ids: readonly unknown[],
): Promise<void> {
  if (fence === undefined || performance.now() - since <= fence.maxStaleness) return;
  await fence.refresh();
  if (fence.state(lane.tenant) !== 'erased') return;
  for (const id of ids) await lane.remove(String(id), false);
  fence.check(lane.tenant, { surface: 'queue', operation });
}

function physicalId({ context }: Guard, { tenant }: TenantContext, operation: string, id: unknown): string {
  return context.names.encode(tenant, checkId(operation, id));
}

function ownId({ context }: Guard, { tenant }: TenantContext, id: unknown): string {
  if (typeof id !== 'string') throw breach('queue', 'add', 'a reply that is no job id came back', tenant);
  return context.names.decode(tenant, id);
}

function guardOf(backend: object): Guard {
  const guard = guards.get(backend);
  if (guard === undefined) throw new TypeError('not a backend of @tenantkit/queue');
  return guard;
}

// An error of ioredis carries the command with all its arguments: physical keys, and the data of the job.
function withoutCommand(error: unknown): unknown {
  if (error instanceof Error) Reflect.deleteProperty(error, 'command');
  return error;
}
