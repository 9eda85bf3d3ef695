import { AsyncLocalStorage } from 'node:async_hooks';
import { currentScope, runInScope, type Scope } from '@tenantkit/core';
import type { Callback } from 'ioredis';

/** What listens to an event. */
export type Listener = (...args: unknown[]) => unknown;

/** What a listener that is kept was made of. */
interface Kept {
  readonly listener: Listener;
  readonly scope: Scope | undefined;
}

// Not on the functions themselves: callers find those in the emitter, and would change them there.
const kept = new WeakMap<object, Kept>();

// Says that what runs is ioredis's own work on a connection (handshake, reconnecting, resending, refreshing the
// cluster's slots) and not a caller who forgot the tenant: both have no scope.
const plumbing = new AsyncLocalStorage<boolean>();

// The contexts of nobody: as it was when this was loaded, no request was under way.
const bare = AsyncLocalStorage.snapshot();

/** Runs `fn` in no context of a caller: outside of any tenant, and of all that a service keeps for its requests. */
export function inNoContext<T>(fn: () => T): T {
  return bare(() => runInScope(undefined, fn));
}

/**
 * Runs ioredis's own work outside of any tenant and of any request. A connection lives longer than the call that
 * happened to open it: without this, every later event on its socket would run in that caller's tenant, and as the
 * user whom the service has noted for that request.
 */
export function asPlumbing<T>(fn: () => T): T {
  return bare(() => runInScope(undefined, () => plumbing.run(true, fn)));
}

/**
 * The same for what is sent for a call, as the entry of its key: outside of any tenant, but in the caller's request,
 * where tracers look for it. Nothing that lives longer may begin in it.
 */
export function asPartOfCall<T>(fn: () => T): T {
  return runInScope(undefined, () => plumbing.run(true, fn));
}

/** Whether ioredis works on its connection. */
export function isPlumbing(): boolean {
  return plumbing.getStore() === true;
}

/** Runs a caller's code in the caller's scope, from within ioredis's own work. */
export function inScope<T>(scope: Scope | undefined, fn: () => T): T {
  return plumbing.run(false, () => runInScope(scope, () => atRest(fn)));
}

// As `plumbing`, where ioredis works in the context of whoever has called it. It costs no change of context, and
// ends with the call: nothing that is started there inherits it.
let isWorking = false;

/** Runs what ioredis does with one call of a tenant, in the tenant's context. */
export function atWork<T>(fn: () => T): T {
  return working(true, fn);
}

/** Runs a caller's code from within {@link atWork}. */
export function atRest<T>(fn: () => T): T {
  return isWorking ? working(false, fn) : fn();
}

/** Whether ioredis works right now: on its connection, or on the call of a tenant. */
export function isAtWork(): boolean {
  return isWorking || isPlumbing();
}

function working<T>(is: boolean, fn: () => T): T {
  const outer = isWorking;
  isWorking = is;
  try {
    return fn();
  } finally {
    isWorking = outer;
  }
}

/** Whether two scopes are the same tenant, or both the stated bypass. */
export function sameScope(a: Scope | undefined, b: Scope | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.tenant?.tenant === b.tenant?.tenant;
}

/** `callback`, bound to the contexts it is given in: to the tenant, and to those of the service. */
export function bound<A extends unknown[], R>(callback: (...args: A) => R): (...args: A) => R {
  if (isPlumbing()) return callback;
  const enter = AsyncLocalStorage.snapshot();
  return (...args) => atRest(() => enter(callback, ...args));
}

/**
 * `fn` of the options, which ioredis calls in the midst of its own work for all tenants: it runs outside of any
 * tenant and of any request, and what it sends is no work of ioredis, also from timers that it starts.
 */
export function outside<A extends unknown[], R>(fn: (this: unknown, ...args: A) => R): typeof fn {
  return function (this: unknown, ...args) {
    return inNoContext(() => inScope(undefined, () => fn.apply(this, args)));
  };
}

/** `promise`, which a callback is told about as well, as every method of ioredis does it. */
export function answer<T>(promise: Promise<T>, callback: Callback<T> | undefined): Promise<T> {
  if (typeof callback === 'function') {
    promise.then(
      (value) => process.nextTick(callback, null, ...(value === undefined ? [] : [value])),
      (error: unknown) => process.nextTick(callback, error),
    );
  }
  return promise;
}

/**
 * A listener as it is kept.
 *
 * @param host - what the listener gets as `this`, where that is not the emitter which calls it
 * @param isOfOwn - whether it hears only what its own tenant does, when it was registered in one
 */
export function bindListener(listener: Listener, host?: unknown, isOfOwn = false): Listener {
  // What is no function is left to the emitter, which says so.
  if (typeof listener !== 'function' || isPlumbing()) return listener;
  const scope = currentScope();
  const enter = AsyncLocalStorage.snapshot();
  const run: Listener = function (this: unknown, ...args: unknown[]) {
    if (isOfOwn && scope?.tenant !== undefined && !sameScope(scope, currentScope())) return undefined;
    return atRest(() => enter(() => listener.apply(host ?? this, args)));
  };
  kept.set(run, { listener, scope });
  // As node's own wrappers have it.
  return Object.defineProperty(run, 'listener', { value: listener });
}

/** Whether a listener is a caller's, and none of ioredis. */
export function isKept(entry: Listener): boolean {
  return kept.has(entry);
}

/** The tenant that has registered a listener; `undefined` for nobody's, and for those of ioredis. */
export function ownerOf(entry: Listener): string | undefined {
  return kept.get(entry)?.scope?.tenant?.tenant;
}

/** The entry of an emitter that was made of a listener. */
export function entryOf(entries: readonly unknown[], listener: unknown): Listener | undefined {
  const entry = entries.findLast((entry) => layers(entry as Listener).includes(listener as Listener));
  return entry as Listener | undefined;
}

/** The listener that an entry of an emitter was made of. */
export function givenTo(entry: unknown): Listener {
  return layers(entry as Listener).at(-1) as Listener;
}

// The function itself, then what it wraps: ours around node's `once` around the caller's. A property of a caller's
// function is not read but where node would have put one: a getter would run in the midst of others' work.
function layers(entry: Listener): Listener[] {
  const given = kept.get(entry)?.listener;
  const outer = given ?? entry;
  const inner: unknown = Object.getOwnPropertyDescriptor(outer, 'listener')?.value;
  const found = given === undefined ? [entry] : [entry, given];
  return typeof inner === 'function' ? [...found, inner as Listener] : found;
}
