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
import { checkJobOptions, storedOptions } from './job-options.ts';
import { memberOf } from './members.ts';
import { checkId, checkNewId } from './names.ts';
import { backendRules, type BackendCustom } from './rules.ts';
import { logicalJob, type JobStore, type StoreContext } from './store.ts';

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
  readonly store: JobStore;
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
const BAD_TIME = refuse(
  'the timestamp of the job is no integer',
  'Leave the option timestamp out, or use milliseconds.',
);

/** How a call of a tenant is carried out. Arguments and replies are logical here, physical at the store. */
const handlers: Readonly<Record<BackendCustom, Handler>> = {
  async add(guard, tenant, _operation, [job, jobId, parentKeyOpts]) {
    const entry = sign(guard, tenant, { job, jobId, parentKeyOpts } as Entry);
    return ownId(guard, tenant, await guard.store.addJob(entry.job, entry.jobId));
  },
  // All are signed before the first is stored: one bad job of a hundred must not leave fifty behind.
  async addBulk(guard, tenant, _operation, [entries]) {
    const signed = (entries as readonly Entry[]).map((entry) => sign(guard, tenant, entry));
    const ids = await guard.store.addJobs(signed);
    return ids.map((id) => ownId(guard, tenant, id));
  },
  async read(guard, tenant, operation, [id]) {
    const found = await guard.store.readVerified(physicalId(guard, tenant, operation, id));
    if (found === undefined) return undefined;
    return logicalJob(found.job, found.claims, guard.context);
  },
  byId: (guard, tenant, operation, [id, ...rest]) =>
    call(guard, operation, [physicalId(guard, tenant, operation, id), ...rest]),
  byIdInState: (guard, tenant, operation, [state, id]) =>
    call(guard, operation, [state, physicalId(guard, tenant, operation, id)]),
};

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
export function guardBackend(store: JobStore, context: StoreContext, owner: object): RedisQueueBackend {
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

function sign({ context }: Guard, tenant: TenantContext, { job, jobId, parentKeyOpts }: Entry): SignedEntry {
  const given = checkJobOptions('add', job.opts);
  if (isLinked(job, parentKeyOpts)) throw refusal('queue', 'add', LINKED);
  if (typeof job.name !== 'string' || !isWellFormed(job.name)) throw refusal('queue', 'add', BAD_NAME);
  if (typeof job.data !== 'string') throw refusal('queue', 'add', BAD_DATA);
  if (!Number.isSafeInteger(job.timestamp)) throw refusal('queue', 'add', BAD_TIME);
  const own = checkNewId('add', jobId);
  const id = context.names.encode(tenant.tenant, own ?? randomUUID());
  const options = own === undefined ? given : { ...given, jobId: id };
  const header = signHeader(
    context.ring,
    { ...tenant, issuedAt: given['timestamp'] === undefined ? job.timestamp : Date.now() },
    {
      prefix: context.prefix,
      queue: context.queue,
      name: job.name,
      id,
      scheduler: '',
      parentKey: '',
      parent: '',
      deduplication: '',
      options: canonicalJson(storedOptions(options)),
      data: job.data,
    },
  );
  const opts = { ...options, [HEADER]: header } as JobJson['opts'];
  return { job: { ...job, id, opts }, jobId: id };
}

function isLinked(
  { parent, parentKey, repeatJobKey, deduplicationId }: JobJson,
  { parentKey: parentToJoin, addToWaitingChildren }: ParentKeyOpts = {},
): boolean {
  const links = [parent, parentKey, repeatJobKey, deduplicationId, parentToJoin, addToWaitingChildren];
  return links.some((link) => link !== undefined);
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
