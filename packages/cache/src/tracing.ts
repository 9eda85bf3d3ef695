import { Redis as RawRedis } from 'ioredis';
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';

/** Runs a function in the context in which this was made. */
export type Within = <R>(fn: () => R) => R;

const commands = tracingChannel('ioredis:command');

// What stood in the place of `sendCommand` of ioredis when it was looked at last, and whether that is a tracer's.
let known: unknown;
let isPatched = false;

/**
 * The context of the caller, for what is sent later and with calls of others: ioredis tells tracers of a call when it
 * is sent, and the span belongs to the request that has made the call. A context that is kept keeps all that hangs on
 * it, so this is done only while somebody traces.
 */
export function callersContext(): Within | undefined {
  return isTraced() ? AsyncLocalStorage.snapshot() : undefined;
}

function isTraced(): boolean {
  if (commands.hasSubscribers) return true;
  const send: unknown = Reflect.get(RawRedis.prototype, 'sendCommand');
  if (send !== known) {
    known = send;
    // Tracers are loaded first, so that of ioredis may never have been seen. It is a method, and written as one.
    isPatched = !/^sendCommand\s*\(/.test(Function.prototype.toString.call(send));
  }
  return isPatched;
}
