import { EventEmitter } from 'node:events';
import { currentScope } from '@tenantkit/core';
import { bindListener, entryOf, givenTo, isKept, isPlumbing, ownerOf, type Listener } from './plumbing.ts';
import type { Subscriptions } from './subscriptions.ts';

type Name = string | symbol;

// As node has them.
const node = EventEmitter.prototype;

const MESSAGES: ReadonlySet<unknown> = new Set(
  ['message', 'pmessage', 'smessage'].flatMap((event) => [event, `${event}Buffer`]).concat('resubscribed'),
);

// What node tells about listeners.
const LISTENING: ReadonlySet<unknown> = new Set(['newListener', 'removeListener']);

// What a caller may remove: inside a tenant its own, or else nobody's, though others may have given the same function.
function removable(entries: readonly unknown[]): readonly unknown[] {
  const tenant = currentScope()?.tenant?.tenant;
  if (tenant === undefined) return entries;
  const owners = [undefined, tenant];
  return owners.flatMap((owner) => entries.filter((entry) => ownerOf(entry as Listener) === owner));
}

/**
 * Makes the listeners of an emitter class run in the scope they were registered in. An event of a connection is
 * emitted in the context of whoever opened that connection, or of whoever closed it.
 *
 * Listeners of messages hear what their own scope has subscribed to. They are not in the emitter of the client at
 * all: neither `listeners()` nor `emit()` of another tenant reaches them.
 *
 * @param find - the subscriptions of a client; `undefined` while it is being made
 * @param isOwned - whether a client is that of one tenant alone
 */
export function bindListeners(
  prototype: EventEmitter,
  find: (client: EventEmitter) => Subscriptions | undefined,
  isOwned: (client: EventEmitter) => boolean,
): void {
  // Where the messages of the scope are heard that runs now; `undefined` for any other event.
  const messages = (client: EventEmitter, event: Name): EventEmitter | undefined =>
    MESSAGES.has(event) ? (find(client)?.peek() ?? new EventEmitter()) : undefined;

  const adding = (method: 'addListener' | 'prependListener') =>
    function (this: EventEmitter, event: Name, listener: Listener) {
      const own = MESSAGES.has(event) ? find(this)?.listeners(String(event)) : undefined;
      if (own === undefined)
        return node[method].call(this, event, bindListener(listener, undefined, LISTENING.has(event)));
      own.setMaxListeners(this.getMaxListeners());
      own[method](event, bindListener(listener, this));
      return this;
    };
  function remove(this: EventEmitter, event: Name, listener: Listener): EventEmitter {
    const all = currentScope() === undefined ? find(this)?.all() : undefined;
    // An iterator of `events.on` may be ended outside of the tenant it was made in.
    for (const emitter of MESSAGES.has(event) ? (all ?? [messages(this, event) ?? this]) : [this]) {
      const entry = entryOf(removable(node.rawListeners.call(emitter, event)), listener);
      node.removeListener.call(emitter, event, entry ?? listener);
    }
    if (MESSAGES.has(event)) find(this)?.prune();
    return this;
  }
  function removeAll(this: EventEmitter, ...events: [] | [Name]): EventEmitter {
    const own = find(this)?.peek();
    const [event] = events;
    if (event === undefined || MESSAGES.has(event)) own?.removeAllListeners(...events);
    find(this)?.prune();
    if (MESSAGES.has(event)) return this;
    const tenant = currentScope()?.tenant?.tenant;
    if (tenant === undefined) return node.removeAllListeners.apply(this, events);
    // Those of others, and of ioredis itself, keep the client alive for everybody.
    for (const name of event === undefined ? node.eventNames.call(this) : [event])
      for (const entry of node.rawListeners.call(this, name) as Listener[])
        if (ownerOf(entry) === tenant) node.removeListener.call(this, name, entry);
    return this;
  }
  const isTenants = (client: EventEmitter): boolean =>
    currentScope()?.tenant !== undefined && !isPlumbing() && !isOwned(client);
  // `once` and `prependOnceListener` of node go through these.
  const methods = {
    on: adding('addListener'),
    addListener: adding('addListener'),
    prependListener: adding('prependListener'),
    off: remove,
    removeListener: remove,
    removeAllListeners: removeAll,
    emit(this: EventEmitter, event: Name, ...args: unknown[]) {
      const emitter = messages(this, event) ?? this;
      if (!isTenants(this)) return node.emit.call(emitter, event, ...args);
      // ioredis would take it for its own: a cluster for having lost its nodes, or for being ready.
      const all = node.rawListeners.call(emitter, event) as Listener[];
      const callers = all.filter(isKept);
      if (callers.length === all.length) return node.emit.call(emitter, event, ...args);
      for (const listener of callers) Reflect.apply(listener, this, args);
      return callers.length > 0;
    },
    listeners(this: EventEmitter, event: Name) {
      return this.rawListeners(event).map(givenTo);
    },
    rawListeners(this: EventEmitter, event: Name) {
      const all = node.rawListeners.call(messages(this, event) ?? this, event);
      const tenant = currentScope()?.tenant?.tenant;
      return isTenants(this) ? all.filter((entry) => ownerOf(entry as Listener) === tenant) : all;
    },
    listenerCount(this: EventEmitter, event: Name, listener?: Listener) {
      if (!MESSAGES.has(event) && !isTenants(this)) return node.listenerCount.call(this, event, listener);
      const all = this.listeners(event);
      return (listener === undefined ? all : all.filter((one) => one === listener)).length;
    },
    eventNames(this: EventEmitter) {
      const names = [...node.eventNames.call(this), ...(find(this)?.peek()?.eventNames() ?? [])];
      // The name may be what another tenant waits for.
      return isTenants(this) ? names.filter((name) => this.rawListeners(name).length > 0) : names;
    },
  };
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(prototype, name, { value, configurable: true, writable: true });
  }
}
