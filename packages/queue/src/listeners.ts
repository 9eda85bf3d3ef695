import { EventEmitter } from 'node:events';
import {
  currentScope,
  isTenantkitError,
  publish,
  refusal,
  refuse,
  ruleFor,
  runInScope,
  type Scope,
  type TenantContext,
} from '@tenantkit/core';
import { actingTenant, runListener } from './engine.ts';
import { emitterRules, type EmitterCustom } from './rules.ts';
import { stamp } from './stamp.ts';

/** One event for one audience. */
export interface Delivery {
  /** The tenant that the event belongs to; `undefined` for an event that names no job. */
  readonly context: TenantContext | undefined;
  /** Heard only by listeners that were registered outside of any tenant. */
  readonly operatorsOnly?: boolean;
  /** Heard only by listeners that were registered in the same tenant. */
  readonly tenantOnly?: boolean;
  readonly args: readonly unknown[];
}

/** How the events of a class are cut into what each audience may hear. */
export interface Events<Row> {
  /** What has no row here is heard by nobody. */
  readonly rules: Readonly<Record<string, Row>>;
  /** Called only for an event that somebody listens to. */
  readonly deliveries: (
    emitter: object,
    event: string,
    row: Row,
    args: readonly unknown[],
  ) => readonly Delivery[];
}

type Listener = (...args: unknown[]) => unknown;

/** What is registered in the place of a listener; `listener` is how EventEmitter finds it again. */
interface Registered extends Listener {
  listener?: Listener;
}

/** In which scope a listener was registered. */
const scopes = new WeakMap<Listener, Scope | undefined>();

/** What an emitter is delivering right now: emitting is synchronous, so this is a stack of one. */
const delivering = stamp<Delivery | undefined>();

const ERRORS: ReadonlySet<string | symbol> = new Set(['error', EventEmitter.errorMonitor]);

const CHANNEL = refuse(
  'it is a channel of node:diagnostics_channel, and no event of a queue or worker: nothing would ever be heard',
  'Use auditChannels of @tenantkit/core: auditChannels.refused.subscribe((event) => …).',
);

const HIDDEN_ERROR =
  'The queue met an error that does not belong to a tenant: listen outside of any tenant to see it.';

/**
 * Where the listeners of a queue or worker really are. BullMQ's own emitter holds none: what is registered there
 * past our methods (`EventEmitter.prototype.on.call(worker, …)`) would hear every tenant's jobs, inside BullMQ's
 * loop.
 */
const emitters = new WeakMap<object, EventEmitter>();

/**
 * Scopes the listeners of a class. A listener that was registered inside a tenant hears the jobs of that tenant
 * only. One that was registered outside of any tenant hears all of them, each inside the tenant of its job, as
 * the processor does; what belongs to no tenant it hears outside of any.
 *
 * @param target - the prototype of our class
 */
export function scopeListeners<Row>(target: object, events: Events<Row>): void {
  const handlers = handlersOf(events);
  for (const [member, rule] of Object.entries(emitterRules)) {
    const handler = handlers[rule.custom];
    Object.defineProperty(target, member, {
      value(this: EventEmitter, ...args: unknown[]): unknown {
        return handler(this, member, args);
      },
      configurable: true,
      writable: true,
    });
  }
}

type Handler = (self: EventEmitter, member: string, args: readonly unknown[]) => unknown;

const ONCE = new Set(['once', 'prependOnceListener']);
const PREPENDS = new Set(['prependListener', 'prependOnceListener']);

function handlersOf<Row>({ rules, deliveries }: Events<Row>): Readonly<Record<EmitterCustom, Handler>> {
  return {
    register(self, member, [event, listener]) {
      const name = event as string | symbol;
      if (typeof name === 'string' && name.startsWith('tenantkit:')) throw refusal('queue', member, CHANNEL);
      const wrapper = wrap(self, name, listener, ONCE.has(member));
      announce(self, 'newListener', name, listener);
      emitterOf(self)[PREPENDS.has(member) ? 'prependListener' : 'addListener'](name, wrapper);
      return self;
    },
    unregister(self, _member, [event, listener]) {
      const name = event as string | symbol;
      const found = registeredHere(self, name).findLast((wrapper) => wrapper.listener === listener);
      if (found !== undefined) remove(self, name, found);
      return self;
    },
    unregisterAll(self, _member, [event]) {
      for (const name of event === undefined ? emitterOf(self).eventNames() : [event as string | symbol]) {
        for (const wrapper of registeredHere(self, name)) remove(self, name, wrapper);
      }
      return self;
    },
    emit(self, _member, [event, ...args]) {
      const name = event as string;
      const row = typeof event === 'string' ? ruleFor<Row>(rules, event) : undefined;
      if (row === undefined) return unknownEvent(name);
      // A job is made for its listeners. An error that nobody hears is printed.
      if (name !== 'error' && emitterOf(self).listenerCount(name) === 0) return false;
      let isHeard = false;
      for (const all of deliveries(self, name, row, args)) {
        const part = ofWhoEmits(name, all);
        if (mayCause(part) && deliver(self, part, () => send(self, name, part.args))) isHeard = true;
      }
      return isHeard;
    },
    // What others have registered are functions of theirs, which nobody else is to call.
    listed(self, member, [event]) {
      const here = registeredHere(self, event as string | symbol);
      return here.map((wrapper) => (member === 'listeners' ? (wrapper.listener ?? wrapper) : wrapper));
    },
    counted(self, member, args) {
      const own = emitterOf(self);
      if (actingTenant() !== undefined) return countedHere(self, member, args);
      const result: unknown = Reflect.apply(Reflect.get(own, member) as Listener, own, args);
      return result === own ? self : result;
    },
  };
}

/** What a tenant may know of the listeners: its own. How many there may be is the service's to say. */
function countedHere(self: EventEmitter, member: string, args: readonly unknown[]): unknown {
  if (member === 'setMaxListeners') return self;
  if (member === 'getMaxListeners') return emitterOf(self).getMaxListeners();
  if (member === 'eventNames')
    return emitterOf(self)
      .eventNames()
      .filter((name) => registeredHere(self, name).length > 0);
  const [event, listener] = args as [string | symbol, Listener | undefined];
  const here = registeredHere(self, event);
  return (listener === undefined ? here : here.filter((wrapper) => wrapper.listener === listener)).length;
}

function emitterOf(self: object): EventEmitter {
  const known = emitters.get(self);
  if (known !== undefined) return known;
  const made = new EventEmitter();
  emitters.set(self, made);
  return made;
}

// As BullMQ does it: a listener that throws must not end the loop that emits.
function send(self: object, event: string | symbol, args: readonly unknown[]): boolean {
  const own = emitterOf(self);
  try {
    return own.emit(event, ...args);
  } catch (error) {
    try {
      return own.emit('error', error);
    } catch (unheard) {
      // oxlint-disable-next-line no-console -- as BullMQ does, which has nobody else to tell
      console.error(unheard);
      return false;
    }
  }
}

function remove(self: EventEmitter, event: string | symbol, wrapper: Registered): void {
  emitterOf(self).removeListener(event, wrapper);
  announce(self, 'removeListener', event, wrapper.listener);
}

/** What an EventEmitter emits about itself: for the tenant that registers, and for those outside of any. */
function announce(self: object, meta: string, event: string | symbol, listener: unknown): void {
  const context = currentScope()?.tenant;
  const part = { context, operatorsOnly: context === undefined, args: [event, listener] };
  deliver(self, part, () => send(self, meta, part.args));
}

function wrap(emitter: EventEmitter, event: string | symbol, listener: unknown, once: boolean): Registered {
  if (typeof listener !== 'function') {
    throw new TypeError('The "listener" argument must be of type Function.');
  }
  const scope = currentScope();
  const wrapper: Registered = (...args) => {
    const delivery = delivering.get(emitter);
    if (delivery === undefined || !hears(scope, delivery)) return undefined;
    if (once) remove(emitter, event, wrapper);
    const shown = scope?.tenant !== undefined && ERRORS.has(event) ? args.map(hideError) : args;
    const inside = delivery.context === undefined ? scope : inTenant(delivery.context);
    return runListener(scope?.tenant === undefined, () =>
      runInScope(inside, () => Reflect.apply(listener, emitter, shown)),
    );
  };
  wrapper.listener = listener as Listener;
  scopes.set(wrapper, scope);
  return wrapper;
}

/**
 * What names no job is said of what all share, by the service or by BullMQ's loops. A tenant that says so speaks for
 * itself; of an error the service hears as well, which may be one that a call of the tenant has met.
 */
function ofWhoEmits(event: string, part: Delivery): Delivery {
  const acting = actingTenant();
  if (acting === undefined || part.context !== undefined) return part;
  return { ...part, context: { tenant: acting }, tenantOnly: !ERRORS.has(event) };
}

function hears(
  scope: Scope | undefined,
  { context, operatorsOnly = false, tenantOnly = false }: Delivery,
): boolean {
  if (scope?.tenant === undefined) return !tenantOnly;
  return !operatorsOnly && (context === undefined || context.tenant === scope.tenant.tenant);
}

/**
 * The wrappers that whoever acts may take away: a tenant only its own, the service all of them, also in a listener of
 * its own, which runs inside the tenant of a job: `once` of node:events takes its other listener away there.
 */
function registeredHere(emitter: EventEmitter, event: string | symbol): readonly Registered[] {
  const tenant = actingTenant();
  const all = emitterOf(emitter).rawListeners(event) as Registered[];
  return tenant === undefined ? all : all.filter((wrapper) => scopes.get(wrapper)?.tenant?.tenant === tenant);
}

/** BullMQ's loops emit outside of any tenant. What a tenant emits itself is no news for another one. */
function mayCause({ context, operatorsOnly = false }: Delivery): boolean {
  const tenant = currentScope()?.tenant?.tenant;
  return tenant === undefined || (!operatorsOnly && (context === undefined || context.tenant === tenant));
}

function deliver<T>(emitter: object, delivery: Delivery, emit: () => T): T {
  const outer = delivering.get(emitter);
  delivering.set(emitter, delivery);
  try {
    return emit();
  } finally {
    delivering.set(emitter, outer);
  }
}

function inTenant(tenant: TenantContext): Scope {
  return { tenant, bypass: undefined };
}

/** BullMQ's and ioredis' errors name jobs and commands of whichever tenant the worker was busy with. */
export function hideError(value: unknown): unknown {
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
