import { EventEmitter } from 'node:events';
import {
  currentScope,
  isTenantkitError,
  requireScope,
  runInScope,
  type Scope,
  type TenantRegistry,
} from '@tenantkit/core';
import { actingTenant, runListener } from '../engine.ts';
import type { EmitterCustom } from '../rules.ts';

type Listener = (...args: unknown[]) => unknown;

/** What is registered in the place of a listener; `listener` is how EventEmitter finds it again. */
interface Registered extends Listener {
  listener?: Listener;
}

/** What is about the connection, which all share, and what an EventEmitter emits about itself: it names no job. */
const OF_EMITTER: ReadonlySet<string | symbol> = new Set([
  'error',
  'ioredis:close',
  'newListener',
  'removeListener',
  EventEmitter.errorMonitor,
]);
const ONCE = new Set(['once', 'prependOnceListener']);
const PREPENDS = new Set(['prependListener', 'prependOnceListener']);

const HIDDEN_ERROR =
  'The events of the queue met an error that does not belong to a tenant: listen outside of any tenant to see it.';

/** The listeners of one tenant, of operators, or of those outside of any. */
class Ear extends EventEmitter {
  readonly tenant: string | undefined;

  constructor(tenant?: string) {
    super();
    this.tenant = tenant;
  }
}

/** What the listeners of a QueueEvents need to know, and tell. */
export interface AudienceParts {
  readonly fence: TenantRegistry | undefined;
  /** Called before a tenant begins to listen. Throws when nobody knows where its jobs are. */
  readonly enter: (tenant: string, operation: string) => void;
  /** Called when a tenant, or (`undefined`) an operator, has begun or ceased to listen. */
  readonly changed: (tenant: string | undefined) => void;
}

/**
 * The listeners of a QueueEvents, by who has registered them: each tenant has an emitter of its own, so that an event
 * of one lane costs nothing for the listeners of others, and can reach none of them. Operators have one for all lanes,
 * and what was registered outside of any tenant hears of the connection only.
 */
export class Audience {
  readonly #parts: AudienceParts;
  readonly #tenants = new Map<string, Ear>();
  readonly #operators = new Ear();
  readonly #service = new Ear();
  #maxListeners = EventEmitter.defaultMaxListeners;
  /** The tenant whose event is being emitted: emitting is synchronous. */
  #emitting: string | undefined;

  constructor(parts: AudienceParts) {
    this.#parts = parts;
  }

  /** Whether somebody in this tenant listens to its jobs. */
  hears(tenant: string): boolean {
    return isHeard(this.#tenants.get(tenant));
  }

  /** Whether an operator listens to the jobs of all. */
  get hearsAll(): boolean {
    return isHeard(this.#operators);
  }

  /** Emits an event of a lane to its tenant, and to operators inside of it. */
  deliver(tenant: string, event: string, args: readonly unknown[]): void {
    for (const emitter of [this.#tenants.get(tenant), this.#operators]) {
      if (emitter === undefined || emitter.listenerCount(event) === 0) continue;
      const outer = this.#emitting;
      this.#emitting = tenant;
      try {
        emitter.emit(event, ...args);
      } catch (error) {
        // As BullMQ does it: a listener that throws must not end the loop that emits.
        this.fail(error, emitter.tenant);
      } finally {
        this.#emitting = outer;
      }
    }
  }

  /**
   * Emits an error to those outside of any tenant, and as it is to the tenant that it belongs to.
   *
   * @param tenant - `undefined` for an error that belongs to none
   */
  fail(error: unknown, tenant?: string): void {
    const own = tenant === undefined ? undefined : this.#tenants.get(tenant);
    this.#emitError([this.#service, this.#operators, own], error);
  }

  /** What the connection has to say: heard by everybody, an error by tenants without its text. */
  broadcast(event: 'error' | 'ioredis:close', args: readonly unknown[]): boolean {
    const [error] = args;
    const hidden = isTenantkitError(error) ? error : new Error(HIDDEN_ERROR);
    const outside = [this.#service, this.#operators];
    if (event === 'error') {
      const heard = this.#emitError(outside, error, [...this.#tenants.values()].some(hasErrors));
      return (
        [...this.#tenants.values()].map((own) => this.#emitError([own], hidden, true)).includes(true) || heard
      );
    }
    return [...outside, ...this.#tenants.values()]
      .map((emitter) => this.#send(emitter, event, []))
      .includes(true);
  }

  /** Takes all listeners of a tenant away. */
  expel(tenant: string): void {
    if (this.#tenants.delete(tenant)) this.#parts.changed(tenant);
  }

  /** How each member of an EventEmitter works. */
  readonly handlers: Readonly<
    Record<EmitterCustom, (self: EventEmitter, member: string, args: readonly unknown[]) => unknown>
  > = {
    register: (self, member, [event, listener]) => {
      const name = event as string | symbol;
      const scope = this.#scopeFor(member, name);
      const emitter = this.#emitterOf(scope);
      const wrapper = this.#wrap(self, emitter, scope, name, listener, ONCE.has(member));
      emitter[PREPENDS.has(member) ? 'prependListener' : 'addListener'](name, wrapper);
      this.#note(emitter);
      return self;
    },
    unregister: (self, _member, [event, listener]) => {
      const name = event as string | symbol;
      const found = this.#within().find((emitter) => emitter.listeners(name).includes(listener as never));
      found?.removeListener(name, listener as Listener);
      if (found !== undefined) this.#note(found);
      return self;
    },
    unregisterAll: (self, _member, [event]) => {
      for (const emitter of this.#within()) {
        if (event === undefined) emitter.removeAllListeners();
        else emitter.removeAllListeners(event as string | symbol);
        this.#note(emitter);
      }
      return self;
    },
    emit: (_self, _member, [event, ...args]) => {
      const name = event as string;
      const tenant = actingTenant();
      if (name === 'error' && tenant !== undefined)
        return this.#emitError([this.#service, this.#tenants.get(tenant)], args[0]);
      if (tenant === undefined && (name === 'error' || name === 'ioredis:close'))
        return this.broadcast(name, args);
      // What a tenant emits itself is news for nobody else.
      const emitter = tenant === undefined ? this.#operators : this.#tenants.get(tenant);
      return emitter !== undefined && this.#send(emitter, name, args);
    },
    listed: (_self, member, [event]) =>
      this.#within().flatMap((emitter) =>
        member === 'listeners'
          ? emitter.listeners(event as string | symbol)
          : emitter.rawListeners(event as string | symbol),
      ),
    counted: (self, member, args) => {
      const emitters = this.#within();
      if (member === 'eventNames') return [...new Set(emitters.flatMap((emitter) => emitter.eventNames()))];
      if (member === 'getMaxListeners') return this.#maxListeners;
      if (member === 'setMaxListeners') {
        // How many there may be is the service's to say.
        if (actingTenant() !== undefined) return self;
        this.#operators.setMaxListeners(args[0] as number);
        this.#maxListeners = args[0] as number;
        for (const emitter of [this.#service, ...this.#tenants.values()])
          emitter.setMaxListeners(this.#maxListeners);
        return self;
      }
      const [event, listener] = args as [string | symbol, Listener | undefined];
      return emitters.reduce((count, emitter) => count + emitter.listenerCount(event, listener), 0);
    },
  };

  /** @throws {@link MissingTenantError} outside of any tenant, for what is about jobs */
  #scopeFor(member: string, event: string | symbol): Scope | undefined {
    const where = { surface: 'queue', operation: `QueueEvents.${member}` } as const;
    const scope = currentScope();
    if (scope?.tenant !== undefined) this.#parts.fence?.check(scope.tenant.tenant, where);
    if (OF_EMITTER.has(event)) return scope;
    const required = requireScope(where);
    if (required.tenant !== undefined) this.#parts.enter(required.tenant.tenant, where.operation);
    return required;
  }

  #emitterOf(scope: Scope | undefined): Ear {
    if (scope?.tenant === undefined) return scope?.bypass === undefined ? this.#service : this.#operators;
    const { tenant } = scope.tenant;
    const known = this.#tenants.get(tenant);
    if (known !== undefined) return known;
    const made = new Ear(tenant);
    made.setMaxListeners(this.#maxListeners);
    this.#tenants.set(tenant, made);
    return made;
  }

  /** Whose listeners whoever acts may see and take away: a tenant its own, the service all of them. */
  #within(): readonly Ear[] {
    const tenant = actingTenant();
    if (tenant === undefined) return [this.#service, this.#operators, ...this.#tenants.values()];
    const own = this.#tenants.get(tenant);
    return own === undefined ? [] : [own];
  }

  #wrap(
    self: EventEmitter,
    emitter: Ear,
    scope: Scope | undefined,
    event: string | symbol,
    listener: unknown,
    once: boolean,
  ): Registered {
    if (typeof listener !== 'function')
      throw new TypeError('The "listener" argument must be of type Function.');
    const tenant = scope?.tenant?.tenant;
    const wrapper: Registered = (...args) => {
      if (once) {
        emitter.removeListener(event, wrapper);
        this.#note(emitter);
      }
      const of = tenant ?? this.#emitting;
      // Whose data the job was about is not in the stream: the listener runs in the tenant, and in no person's name.
      const inside: Scope | undefined =
        of === undefined ? scope : { tenant: { tenant: of }, bypass: undefined };
      return runListener(tenant === undefined, () =>
        runInScope(inside, () => Reflect.apply(listener, self, args)),
      );
    };
    wrapper.listener = listener as Listener;
    return wrapper;
  }

  /** Notes that the listeners of one emitter are others than before; one without any is forgotten. */
  #note(emitter: Ear): void {
    if (emitter === this.#service) return;
    const { tenant } = emitter;
    if (tenant !== undefined && emitter.eventNames().length === 0) this.#tenants.delete(tenant);
    this.#parts.changed(tenant);
  }

  #send(emitter: Ear, event: string, args: readonly unknown[]): boolean {
    try {
      return emitter.emit(event, ...args);
    } catch (error) {
      this.fail(error, emitter.tenant);
      return true;
    }
  }

  #emitError(emitters: readonly (Ear | undefined)[], error: unknown, isHeardElsewhere = false): boolean {
    const listening = emitters.filter(
      (emitter): emitter is Ear => emitter !== undefined && hasErrors(emitter),
    );
    if (listening.length === 0 && !isHeardElsewhere) print(error);
    for (const emitter of listening) {
      try {
        emitter.emit('error', error);
      } catch (unheard) {
        print(unheard);
      }
    }
    return listening.length > 0;
  }
}

function isHeard(emitter: EventEmitter | undefined): boolean {
  return emitter?.eventNames().some((name) => !OF_EMITTER.has(name)) ?? false;
}

function hasErrors(emitter: EventEmitter): boolean {
  return emitter.listenerCount('error') > 0;
}

function print(error: unknown): void {
  // oxlint-disable-next-line no-console -- as BullMQ does, which has nobody else to tell
  console.error(error);
}
