import { currentScope, refusal, refuse } from '@tenantkit/core';
import type { EventEmitter } from 'node:events';
import { types } from 'node:util';
import { asPlumbing, isPlumbing } from './plumbing.ts';
import { isOwned, wiringOf } from './wirings.ts';

const INNER = refuse(
  'ioredis has it for its own work on the connection of all tenants, whose calls it would reject or lose',
  'Close a client outside of any tenant with disconnect(); inside of one use redis.duplicate() or redis.dedicated().',
);

/**
 * Keeps the members that ioredis has for its own work to that work, and to callers without a tenant. A client of one
 * tenant alone is that tenant's to break.
 *
 * @param prototype - that of the class, which inherits them
 */
export function keepInner(prototype: object, names: readonly string[]): void {
  for (const name of names) {
    const inner = Reflect.get(prototype, name) as (...args: unknown[]) => unknown;
    const value = function (this: object, ...args: unknown[]): unknown {
      if (!(name === 'setSocketTimeout' && isTimed(this))) assertInner(this, name);
      return inner.apply(this, args);
    };
    Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
  }
}

/** @throws {@link OperationRefusedError} inside a tenant, unless ioredis works there */
export function assertInner(client: object, name: string): void {
  if (currentScope()?.tenant === undefined || isPlumbing()) return;
  // In its constructor a client belongs to whoever makes it.
  if (wiringOf(client) !== undefined && !isOwned(client)) throw refusal('cache', name, INNER);
}

/**
 * Makes what ioredis does at the end of a socket its own work: a socket that fails under a write closes in the
 * context of the writer, who is a tenant, while its end is that of the connection of all.
 */
export function endAsPlumbing(stream: EventEmitter): void {
  for (const listener of stream.rawListeners('close')) {
    stream.removeListener('close', listener as () => void);
    stream.on('close', (...args: unknown[]) => asPlumbing(() => Reflect.apply(listener, stream, args)));
  }
}

// What ioredis reads of an error that nobody listens for.
const READ = ['message', 'stack', 'syscall'] as const;

const STACK = Object.getOwnPropertyDescriptor(new Error(), 'stack');

/** Whether ioredis may look at it in the midst of its own work: no getter, Proxy or object of a caller runs there. */
export function isPlainError(given: unknown): given is Error {
  if (!types.isNativeError(given)) return false;
  for (let from: unknown = given; from !== null; from = Object.getPrototypeOf(from)) {
    if (types.isProxy(from)) return false;
    for (const name of READ) {
      const own = Object.getOwnPropertyDescriptor(from, name);
      if (own?.get !== undefined && own.get !== STACK?.get) return false;
      if (own?.value !== undefined && typeof own.value !== 'string') return false;
    }
  }
  // An object could say itself how it is printed.
  return typeof given.stack === 'string';
}

/** Whether a Cluster sends a command again after such an error, from a queue of the commands of all tenants. */
export function isRetried(error: Error): boolean {
  return /^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b|^Connection is closed\.$/.test(error.message);
}

// When ioredis starts the time-out of a socket itself, in the context of whoever has just sent something.
function isTimed(client: object): boolean {
  const { options, socketTimeoutTimer, commandQueue } = client as Timed;
  return options.socketTimeout !== undefined && socketTimeoutTimer === undefined && commandQueue.length > 0;
}

interface Timed {
  readonly options: { readonly socketTimeout?: number };
  readonly socketTimeoutTimer?: unknown;
  readonly commandQueue: { readonly length: number };
}
