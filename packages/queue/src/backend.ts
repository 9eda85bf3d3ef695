import { RedisQueueBackend } from 'bullmq';
import {
  refusal,
  refuse,
  requireScope,
  type CustomRule,
  type PassRule,
  type RefuseRule,
} from '@tenantkit/core';
import { listenFor } from './backend-listeners.ts';
import { isEngineOf } from './engine.ts';
import type { LaneStore } from './lanes/store.ts';
import { memberOf } from './members.ts';
import { backendRules, type BackendCustom } from './rules.ts';
import type { StoreContext } from './store.ts';
import type { Guard } from './views/guard.ts';
import { handlers } from './views/handlers.ts';
import { operatorChecks } from './views/operators.ts';

type Row = CustomRule<BackendCustom> | PassRule | RefuseRule;

const guards = new WeakMap<object, Guard>();

/** Members that answer at once: a refusal of theirs is thrown, not a rejected promise that nobody awaits. */
const SYNCHRONOUS: ReadonlySet<string> = new Set(['execCommand', 'finishedErrors', 'forQueue']);
const BUILDS_ARGUMENTS = /Args$/;

const SIGNS: ReadonlySet<BackendCustom> = new Set(['add', 'addBulk', 'upsertScheduler']);

const NO_TENANT_TO_SIGN = refuse(
  'a job belongs to a tenant, and acrossTenants names none',
  'Enter the tenant first: withTenant(id, () => queue.add(…)) works inside acrossTenants.',
);
const NO_TENANT_TO_TELL = refuse(
  'an event of your own is for the listeners of a tenant, and acrossTenants names none',
  'Enter the tenant first: withTenant(id, () => producer.publishEvent(…)) works inside acrossTenants.',
);
/** What the Queue calls them, for texts and events: nobody finds BullMQ's inner names in the code of a service. */
const CALLED: Readonly<Record<string, string>> = {
  addJob: 'add',
  addJobs: 'addBulk',
  getCounts: 'getJobCounts',
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
export function guardBackend(store: LaneStore, context: StoreContext, owner: object): RedisQueueBackend {
  const backend = new TenantBackend();
  guards.set(backend, { store, context, owner, sealed: false });
  return backend as unknown as RedisQueueBackend;
}

/** The store behind a backend: for what an operator does, who was asked for his reasons. */
export function storeOf(backend: object): LaneStore {
  return guardOf(backend).store;
}

/** What a guarded backend was made with: the queue that it is of. `undefined` for any other object. */
export function contextOfBackend(backend: object): StoreContext | undefined {
  return guards.get(backend)?.context;
}

/** Ends the time in which BullMQ's constructor may listen on its backend. */
export function sealBackend(backend: object): void {
  guardOf(backend).sealed = true;
}

// In its constructor BullMQ listens for errors of the connection, which show commands of all tenants.
for (const member of ['on', 'once', 'removeListener'] as const) {
  Object.defineProperty(TenantBackend.prototype, member, {
    value(this: object, event: string, listener: (...args: unknown[]) => void): unknown {
      const { sealed, store, owner } = guardOf(this);
      const isOurs = !sealed || isEngineOf(owner);
      const scope = isOurs ? undefined : requireScope({ surface: 'queue', operation: member });
      if (scope?.tenant === undefined || member === 'removeListener') store[member](event, listener);
      else listenFor(scope, store, member, event, listener);
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
      // BullMQ's loops come through here several times per job: nothing is hidden from them, nor put between.
      if (isEngineOf(guard.owner)) return call(guard, member, args);
      return invokeLater(guard, member, rule, args);
    },
  });
}

async function invokeLater(...call: Parameters<typeof invoke>): Promise<unknown> {
  try {
    return await invoke(...call);
  } catch (error) {
    throw withoutCommand(error);
  }
}

/** @param args - `undefined` for a property */
function invoke(guard: Guard, operation: string, rule: Row, args?: readonly unknown[]): unknown {
  if (rule.kind === 'pass' || isEngineOf(guard.owner)) return call(guard, operation, args);
  const where = { surface: 'queue', operation: CALLED[operation] ?? operation } as const;
  const scope = requireScope(where);
  if (scope.bypass !== undefined) {
    if (rule.kind === 'custom' && SIGNS.has(rule.custom))
      throw refusal('queue', where.operation, NO_TENANT_TO_SIGN);
    if (operation === 'publishEvent') throw refusal('queue', operation, NO_TENANT_TO_TELL);
    if (args !== undefined) operatorChecks[operation]?.(args, operation);
    return call(guard, operation, args);
  }
  if (rule.kind === 'refuse') throw refusal('queue', operation, rule);
  const { tenant } = scope.tenant;
  guard.context.fence?.check(tenant, where);
  return handlers[rule.custom](
    inPlaceOf(guard, tenant, where.operation),
    scope.tenant,
    operation,
    args ?? [],
  );
}

/** The guard of the store that a tenant's lane is in. */
function inPlaceOf(guard: Guard, tenant: string, operation: string): Guard {
  const store = guard.store.at(tenant, operation);
  return store === guard.store ? guard : { ...guard, store };
}

function call({ store }: Guard, member: string, args: readonly unknown[] | undefined): unknown {
  const value: unknown = Reflect.get(store, member);
  return args === undefined || typeof value !== 'function' ? value : Reflect.apply(value, store, args);
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
