import type { EventEmitter } from 'node:events';
import { runInScope, type Scope } from '@tenantkit/core';
import { hideError } from './listeners.ts';

/** By `listener` an EventEmitter finds what stands in the place of a listener. */
interface StandIn {
  (...args: unknown[]): unknown;
  listener?: unknown;
}

/**
 * Listens to a store for a tenant, as a library does that was given the backend of a Queue. What a connection meets
 * belongs to no tenant: the listener hears that there was an error, in the scope in which it was registered, and not
 * which one.
 */
export function listenFor(
  scope: Scope,
  store: EventEmitter,
  member: 'on' | 'once',
  event: string,
  listener: unknown,
): void {
  if (typeof listener !== 'function')
    throw new TypeError('The "listener" argument must be of type Function.');
  const inPlace: StandIn = (...args) => {
    if (member === 'once') store.removeListener(event, inPlace);
    return runInScope(scope, () => Reflect.apply(listener, undefined, args.map(hideError)) as unknown);
  };
  inPlace.listener = listener;
  store.on(event, inPlace);
}
