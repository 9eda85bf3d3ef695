import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { currentScope, runInScope, type Scope } from '@tenantkit/core';
import type { Callback } from 'ioredis';

type Listener = (...args: unknown[]) => unknown;
type Wrapped = Listener & { listener?: Wrapped };

// Says that what runs is ioredis's own work on a connection (handshake, reconnecting, resending, refreshing the
// cluster's slots) and not a caller who forgot the tenant: both have no scope.
const plumbing = new AsyncLocalStorage<boolean>();

/**
 * Runs ioredis's own work outside of any tenant. A connection lives longer than the call that happened to open
 * it: without this, every later event on its socket would run in that caller's tenant.
 */
export function asPlumbing<T>(fn: () => T): T {
  return runInScope(undefined, () => plumbing.run(true, fn));
}

/** Whether ioredis works on its connection. */
export function isPlumbing(): boolean {
  return plumbing.getStore() === true;
}

/** Runs a caller's code in the caller's scope, from within ioredis's own work. */
export function inScope<T>(scope: Scope | undefined, fn: () => T): T {
  return plumbing.run(false, () => runInScope(scope, fn));
}

/** Whether two scopes are the same tenant, or both the stated bypass. */
export function sameScope(a: Scope | undefined, b: Scope | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.tenant?.tenant === b.tenant?.tenant;
}

/** `callback`, bound to the scope it is given in. */
export function bound<A extends unknown[], R>(callback: (...args: A) => R): (...args: A) => R {
  if (isPlumbing()) return callback;
  const scope = currentScope();
  return (...args) => inScope(scope, () => callback(...args));
}

/**
 * `fn` of the options, which ioredis calls in the midst of its own work for all tenants: it runs outside of any
 * tenant, and what it sends is no work of ioredis, also from timers that it starts.
 */
export function outside<A extends unknown[], R>(fn: (this: unknown, ...args: A) => R): typeof fn {
  return function (this: unknown, ...args) {
    return inScope(undefined, () => fn.apply(this, args));
  };
}

/** `promise`, which a callback is told about as well, as every method of ioredis does it. */
export function answer<T>(promise: Promise<T>, callback: Callback<T> | undefined): Promise<T> {
  if (typeof callback === 'function') {
    promise.then(
      (value) => process.nextTick(callback, null, value),
      (error: unknown) => process.nextTick(callback, error),
    );
  }
  return promise;
}

/**
 * Makes the listeners of an emitter class run in the scope they were registered in. An event of a connection is
 * emitted in the context of whoever opened that connection, or of whoever closed it.
 */
export function bindListeners(prototype: EventEmitter): void {
  const adding = (method: 'addListener' | 'prependListener') =>
    function (this: EventEmitter, event: string | symbol, listener: Listener) {
      return EventEmitter.prototype[method].call(this, event, bindListener(listener));
    };
  function remove(this: EventEmitter, event: string | symbol, listener: Listener): EventEmitter {
    const entry = this.rawListeners(event).findLast((entry) => layers(entry as Wrapped).includes(listener));
    return EventEmitter.prototype.removeListener.call(
      this,
      event,
      (entry as Listener | undefined) ?? listener,
    );
  }
  function listeners(this: EventEmitter, event: string | symbol): Listener[] {
    return this.rawListeners(event).map((entry) => layers(entry as Wrapped).at(-1) as Listener);
  }
  // `once` and `prependOnceListener` of node go through these.
  const methods = {
    on: adding('addListener'),
    addListener: adding('addListener'),
    prependListener: adding('prependListener'),
    off: remove,
    removeListener: remove,
    listeners,
  };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  }
}

function bindListener(listener: Listener): Listener {
  // What is no function is left to the emitter, which says so.
  if (typeof listener !== 'function' || isPlumbing()) return listener;
  const scope = currentScope();
  const run: Wrapped = function (this: unknown, ...args) {
    return inScope(scope, () => listener.apply(this, args));
  };
  run.listener = listener;
  return run;
}

// The function itself, then what it wraps: ours around node's `once` around the caller's.
function layers(entry: Wrapped): Listener[] {
  const found: Listener[] = [];
  for (let layer: Wrapped | undefined = entry; layer !== undefined; layer = layer.listener) found.push(layer);
  return found;
}
