import type { BackendFactory, RedisQueueBackend } from 'bullmq';
import {
  ConfigError,
  currentScope,
  refusal,
  refuse,
  requireScope,
  type CustomRule,
  type PassRule,
  type RefuseRule,
} from '@tenantkit/core';
import { guardBackend, sealBackend } from './backend.ts';
import { checkCouplings } from './couplings.ts';
import { actingTenant, isEngineOf, runEngine } from './engine.ts';
import { contextsOf } from './flows/contexts.ts';
import { memberOf } from './members.ts';
import type { ClientCustom } from './rules.ts';
import { LoopStore } from './lanes/loop.ts';
import { openStore } from './lanes/store.ts';
import type { StoreContext } from './store.ts';
import type { TenantLimits } from './views/limits.ts';

/** BullMQ's default. */
export const DEFAULT_PREFIX = 'bull';

/** What stands behind one Queue or Worker. */
export interface Wiring {
  readonly context: StoreContext;
  /** Whose loops may pass the guards. */
  readonly owner: object;
  readonly factory: BackendFactory<RedisQueueBackend>;
  /** The store, once BullMQ has asked the factory for its backend. */
  readonly store: () => LoopStore;
}

/**
 * Wires a queue: checks our options, derives the keys, and makes the factory by which BullMQ gets the guarded
 * backend in the place of its own.
 *
 * @param tenant - the option `tenant`
 * @param followsPlace - whether calls of a tenant go to the tenant's place: a worker's stay where it has the job from
 * @param limits - of a worker: for tenants that have none of their own
 * @throws {@link ConfigError} when the options are not usable
 */
export function wire(
  queue: string,
  tenant: unknown,
  prefix: string = DEFAULT_PREFIX,
  { followsPlace = true, limits }: { readonly followsPlace?: boolean; readonly limits?: TenantLimits } = {},
): Wiring {
  checkCouplings();
  const context: StoreContext = { ...contextsOf(tenant, prefix)(queue), limits };
  const owner = {};
  let store: LoopStore | undefined;
  return {
    context,
    owner,
    factory(_name, options, connections = {}) {
      // BullMQ keeps the factory on its object: a second store would take the verdicts of the first.
      if (store !== undefined) throw unsupported('the backend was asked for a second time');
      store = openStore(LoopStore, context, options, connections, followsPlace);
      return guardBackend(store, context, owner);
    },
    store() {
      if (store === undefined) throw unsupported('BullMQ did not ask for its backend');
      return store;
    },
  };
}

/** What a Queue of ours was made with, for an eraser or an auditor that is given the Queue. */
const contexts = new WeakMap<object, StoreContext>();

/** Who may stop a client: the tenant that it was made in, if any. */
const makers = new WeakMap<object, { readonly tenant: string | undefined }>();

/**
 * Ends the construction of a client: from now on its backend belongs to the guards, and its options, by which
 * every tenant's jobs are kept and retried, to nobody.
 */
export function finish(
  client: { readonly backend: object; readonly opts: object; readonly jobsOpts?: object },
  { context }: Wiring,
): void {
  contexts.set(client, context);
  sealBackend(client.backend);
  settle(client);
}

/** Ends the construction of a client whose backend is sealed: who has made it, and what nobody changes any more. */
export function settle(client: { readonly opts: object; readonly jobsOpts?: object }): void {
  makers.set(client, { tenant: actingTenant() });
  Object.freeze(client.opts);
  if (client.jobsOpts !== undefined) Object.freeze(client.jobsOpts);
  for (const member of FIXED) {
    if (Object.hasOwn(client, member))
      Object.defineProperty(client, member, { writable: false, configurable: false });
  }
}

/** Own properties by which BullMQ finds the store, and decides how everybody's jobs run. */
const FIXED = [
  'processFn',
  'name',
  'qualifiedName',
  'keys',
  'toKey',
  'opts',
  'jobsOpts',
  'backend',
  'backendFactory',
] as const;

/** What one of our clients was made with; `undefined` for any other object. */
export function contextOf(client: object): StoreContext | undefined {
  return contexts.get(client);
}

/** A row of a table over the members of a class. */
export type ClientRow = CustomRule<ClientCustom> | PassRule | RefuseRule;

/** One call of a guarded member. */
export interface ClientCall {
  readonly self: object;
  readonly operation: string;
  /** As its class is called in texts: `worker`; `undefined` for a Queue, which is called as the surface is. */
  readonly caller: string | undefined;
  readonly args: readonly unknown[];
  /** Calls the raw member. */
  readonly proceed: (args?: readonly unknown[]) => unknown;
}

/** How the members of one class are guarded. */
export interface ClientGuard {
  /** See {@link ClientCall.caller}. */
  readonly caller?: string;
  readonly rules: Readonly<Record<string, ClientRow>>;
  /** Whose loops pass; `undefined` while BullMQ's constructor runs. */
  readonly owner: (self: object) => object | undefined;
  /** What differs from {@link scoped} and {@link shared}. */
  readonly custom?: Partial<Record<ClientCustom, (call: ClientCall) => unknown>>;
  /** Members that answer at once: their refusal is thrown. */
  readonly synchronous?: ReadonlySet<string>;
  /** Refused in `acrossTenants` as well, because there is no harmless raw form of it. */
  readonly always?: ReadonlySet<string>;
}

/**
 * Puts the guards of a table before the members of a class: onto the prototype of our subclass, so that a method
 * which nobody has written out is still guarded.
 *
 * @param target - the prototype of our class
 * @param raw - the prototype of BullMQ's
 */
export function guardMembers(target: object, raw: object, guard: ClientGuard): void {
  for (const [member, row] of Object.entries(guard.rules)) {
    if (row.kind === 'pass') continue;
    const descriptor = memberOf(raw, member);
    if (descriptor === undefined) continue;
    if (typeof descriptor.value === 'function') {
      Object.defineProperty(target, member, {
        value: method(member, row, descriptor.value, guard),
        configurable: true,
        writable: true,
      });
    } else if (descriptor.get !== undefined) {
      // oxlint-disable-next-line typescript/unbound-method -- called on the guarded object, with Reflect.apply
      const { get, set } = descriptor;
      Object.defineProperty(target, member, {
        // What can be set is no secret: only the setting is guarded.
        get: set === undefined ? getter(member, row, get, guard) : get,
        ...(set === undefined ? {} : { set: setter(member, row, set, guard) }),
        configurable: true,
      });
    }
  }
}

/** Needs a tenant, or the stated bypass; the backend does the rest. */
function scoped({ operation, caller, proceed }: ClientCall): unknown {
  requireScope({ surface: 'queue', operation, caller });
  return proceed();
}

function unsupported(problem: string): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'backend',
    problem,
    hint: 'Make a new Queue or Worker; if you did not ask for it, this version of BullMQ is not supported.',
  });
}

type RawFunction = (...args: unknown[]) => unknown;

function method(
  member: string,
  row: Exclude<ClientRow, PassRule>,
  raw: RawFunction,
  guard: ClientGuard,
): RawFunction {
  const allowed = allowedBy(row, guard);
  // BullMQ's loops come through here several times per job: nothing is made for them.
  const judge = (self: object, args: readonly unknown[]): unknown => {
    if (isOfLoop(self, guard)) return Reflect.apply(raw, self, args);
    const proceed = (changed = args): unknown => Reflect.apply(raw, self, changed);
    return allowed({ self, operation: member, caller: guard.caller, args, proceed });
  };
  if (guard.synchronous?.has(member) === true) {
    return function guarded(this: object, ...args) {
      return judge(this, args);
    };
  }
  return function guarded(this: object, ...args) {
    try {
      // The very promise of what is called: another one around it would cost three turns of the queue of promises.
      return Promise.resolve(judge(this, args));
    } catch (error) {
      return Promise.reject(error);
    }
  };
}

function getter(
  member: string,
  row: Exclude<ClientRow, PassRule>,
  raw: () => unknown,
  guard: ClientGuard,
): () => unknown {
  const judge = judgeOf(row, guard);
  return function guarded(this: object) {
    const proceed = (): unknown => Reflect.apply(raw, this, []);
    return judge({ self: this, operation: member, caller: guard.caller, args: [], proceed });
  };
}

function setter(
  member: string,
  row: Exclude<ClientRow, PassRule>,
  raw: (value: never) => unknown,
  guard: ClientGuard,
): (value: unknown) => void {
  const judge = judgeOf(row, guard);
  return function guarded(this: object, value) {
    judge({
      self: this,
      operation: member,
      caller: guard.caller,
      args: [value],
      proceed: () => Reflect.apply(raw, this, [value as never]),
    });
  };
}

function judgeOf(row: Exclude<ClientRow, PassRule>, guard: ClientGuard): (call: ClientCall) => unknown {
  const allowed = allowedBy(row, guard);
  return (call) => (isOfLoop(call.self, guard) ? call.proceed() : allowed(call));
}

function isOfLoop(self: object, guard: ClientGuard): boolean {
  const owner = guard.owner(self);
  return owner !== undefined && isEngineOf(owner);
}

/** What a call gets that comes from nobody's loop. */
function allowedBy(row: Exclude<ClientRow, PassRule>, guard: ClientGuard): (call: ClientCall) => unknown {
  return row.kind === 'refuse' ? (call) => refused(call, row, guard) : throughOf(row.custom, guard);
}

function throughOf(custom: ClientCustom, guard: ClientGuard): (call: ClientCall) => unknown {
  const own = guard.custom?.[custom];
  if (own !== undefined) return own;
  return custom === 'shared' ? (call) => shared(call, guard.owner(call.self)) : scoped;
}

const SHARED = refuse(
  'the queue or worker serves every tenant',
  'Stop and start it outside of any tenant; a tenant may stop what it has made itself.',
);

/** Only whoever may stop a client gets through, which serves every tenant. */
export function shared({ self, operation, caller, proceed }: ClientCall, owner: object | undefined): unknown {
  const maker = makers.get(self);
  const tenant = actingTenant();
  if (maker !== undefined && tenant !== undefined && maker.tenant !== tenant)
    throw refusal('queue', operation, SHARED, caller);
  return runEngine(owner ?? self, proceed);
}

function refused({ operation, caller, proceed }: ClientCall, row: RefuseRule, guard: ClientGuard): unknown {
  if (guard.always?.has(operation) === true) throw refusal('queue', operation, row, caller);
  const scope = currentScope() ?? requireScope({ surface: 'queue', operation, caller });
  if (scope.bypass !== undefined) return proceed();
  throw refusal('queue', operation, row, caller);
}
