import { EventEmitter } from 'node:events';
import {
  currentScope,
  isTenantkitError,
  publish,
  runInScope,
  type Scope,
  type TenantContext,
} from '@tenantkit/core';
import { leaveEngine } from './engine.ts';
import { emitterRules } from './rules.ts';

/** One event for one audience. */
export interface Delivery {
  /** The tenant that the event belongs to; `undefined` for an event that names no job. */
  readonly context: TenantContext | undefined;
  /** Heard only by listeners that were registered outside of any tenant. */
  readonly operatorsOnly?: boolean;
  readonly args: readonly unknown[];
}

/** Cuts an event of BullMQ into what each audience may hear; `undefined` for an event that has no row. */
export type Deliveries = (
  emitter: object,
  event: string | symbol,
  args: readonly unknown[],
) => readonly Delivery[] | undefined;

type Listener = (...args: unknown[]) => unknown;

/** What is registered in the place of a listener; `listener` is how EventEmitter finds it again. */
interface Registered extends Listener {
  listener?: Listener;
}

type Raw = Readonly<Record<string, (...args: never[]) => unknown>>;

/** In which scope a listener was registered. */
const scopes = new WeakMap<Listener, Scope | undefined>();

/** What an emitter is delivering right now: emitting is synchronous, so this is a stack of one. */
const delivering = new WeakMap<object, Delivery>();

/** What EventEmitter emits about itself. */
const META: ReadonlySet<string | symbol> = new Set([
  'newListener',
  'removeListener',
  EventEmitter.errorMonitor,
]);
const ERRORS: ReadonlySet<string | symbol> = new Set(['error', EventEmitter.errorMonitor]);

const HIDDEN_ERROR =
  'The queue met an error that does not belong to a tenant: listen outside of any tenant to see it.';

/**
 * Scopes the listeners of a class. A listener that was registered inside a tenant hears the jobs of that tenant
 * only. One that was registered outside of any tenant hears all of them, each inside the tenant of its job, as
 * the processor does; what belongs to no tenant it hears outside of any.
 *
 * @param target - the prototype of our class
 * @param raw - the prototype of BullMQ's
 */
export function scopeListeners(target: object, raw: object, deliveries: Deliveries): void {
  const members = raw as Raw;
  const define = (member: string, value: (this: EventEmitter, ...args: never[]) => unknown): void => {
    Object.defineProperty(target, member, { value, configurable: true, writable: true });
  };
  const rawCall = (self: object, member: string, args: readonly unknown[]): unknown =>
    Reflect.apply(members[member] as Listener, self, args);

  for (const [member, rule] of Object.entries(emitterRules)) {
    if (rule.kind === 'pass') continue;
    if (rule.custom === 'register') {
      const once = ONCE.has(member);
      define(member, function (this: EventEmitter, event: string | symbol, listener: Listener) {
        return rawCall(this, PREPENDS.has(member) ? 'prependListener' : 'addListener', [
          event,
          wrap(this, event, listener, once),
        ]);
      });
    }
    if (rule.custom === 'unregister') {
      define(member, function (this: EventEmitter, event: string | symbol, listener: Listener) {
        const found = registeredHere(this, event).findLast((wrapper) => wrapper.listener === listener);
        return found === undefined ? this : rawCall(this, 'removeListener', [event, found]);
      });
    }
    if (rule.custom === 'unregisterAll') {
      define(member, function (this: EventEmitter, event?: string | symbol) {
        for (const name of event === undefined ? this.eventNames() : [event]) {
          for (const wrapper of registeredHere(this, name)) rawCall(this, 'removeListener', [name, wrapper]);
        }
        return this;
      });
    }
    if (rule.custom === 'emit') {
      define(member, function (this: EventEmitter, event: string | symbol, ...args: unknown[]) {
        const parts = META.has(event) ? [{ context: undefined, args }] : deliveries(this, event, args);
        if (parts === undefined) return unknownEvent(event);
        return parts
          .map((part) => deliver(this, part, () => rawCall(this, 'emit', [event, ...part.args])))
          .includes(true);
      });
    }
  }
}

const ONCE = new Set(['once', 'prependOnceListener']);
const PREPENDS = new Set(['prependListener', 'prependOnceListener']);

function wrap(emitter: EventEmitter, event: string | symbol, listener: unknown, once: boolean): Registered {
  if (typeof listener !== 'function') {
    throw new TypeError('The "listener" argument must be of type Function.');
  }
  const scope = currentScope();
  const wrapper: Registered = (...args) => {
    const delivery = delivering.get(emitter);
    if (delivery === undefined || !hears(scope, delivery)) return undefined;
    if (once) EventEmitter.prototype.removeListener.call(emitter, event, wrapper);
    const shown = scope?.tenant !== undefined && ERRORS.has(event) ? args.map(hideError) : args;
    const inside = delivery.context === undefined ? scope : inTenant(delivery.context);
    return leaveEngine(() => runInScope(inside, () => Reflect.apply(listener, emitter, shown)));
  };
  wrapper.listener = listener as Listener;
  scopes.set(wrapper, scope);
  return wrapper;
}

function hears(scope: Scope | undefined, { context, operatorsOnly = false }: Delivery): boolean {
  if (scope?.tenant === undefined) return true;
  return !operatorsOnly && (context === undefined || context.tenant === scope.tenant.tenant);
}

/** The wrappers that the current scope may take away: a tenant only its own, whoever is outside all of them. */
function registeredHere(emitter: EventEmitter, event: string | symbol): readonly Registered[] {
  const tenant = currentScope()?.tenant?.tenant;
  const all = emitter.rawListeners(event) as Registered[];
  return tenant === undefined ? all : all.filter((wrapper) => scopes.get(wrapper)?.tenant?.tenant === tenant);
}

function deliver<T>(emitter: object, delivery: Delivery, emit: () => T): T {
  const outer = delivering.get(emitter);
  delivering.set(emitter, delivery);
  try {
    return emit();
  } finally {
    if (outer === undefined) delivering.delete(emitter);
    else delivering.set(emitter, outer);
  }
}

function inTenant(tenant: TenantContext): Scope {
  return { tenant, bypass: undefined };
}

// BullMQ's and ioredis' errors name jobs and commands of whichever tenant the worker was busy with.
function hideError(value: unknown): unknown {
  return isTenantkitError(value) ? value : new Error(HIDDEN_ERROR);
}

// Not thrown: it would end up in the middle of BullMQ's loop. A newer BullMQ may emit jobs under a new name.
function unknownEvent(event: string | symbol): false {
  publish('refused', {
    surface: 'queue',
    operation: 'emit',
    message: 'An event that is not in the events table was withheld.',
    extra: { event: String(event) },
  });
  return false;
}
