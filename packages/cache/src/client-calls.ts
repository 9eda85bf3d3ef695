import { Redis as RawRedis } from 'ioredis';
import type { WriteableStream } from 'ioredis/built/types.js';
import { wiringOf } from './wirings.ts';

/** @throws {@link OperationRefusedError} inside a tenant, on a connection of several */
export function endWith(client: object, end: () => void, reconnect: boolean | undefined): void {
  const wiring = wiringOf(client);
  // A client whose options are refused is ended before there is a guard.
  if (wiring === undefined) end();
  else wiring.end('disconnect', end);
  // A client that waits to connect again says nothing when it is ended.
  if (reconnect === true) return;
  wiring?.subscriptions.close();
  wiring?.silos?.cut();
}

/**
 * Takes the commands of a pipeline out of the queue of those that wait for a reply. A pipeline is written as a
 * whole at its end: when ioredis throws over one command, those before it were never sent, and would get the
 * replies of whoever comes next.
 */
export function takeBack(queue: RawRedis['commandQueue'], stream: WriteableStream, error: Error): void {
  while (queue.peekBack()?.stream === stream) queue.pop()?.command.reject(error);
}

/** Whether `multi` was asked to open a transaction on the connection itself. */
export function isUnpiped(options: unknown): boolean {
  return (
    typeof options === 'object' && options !== null && 'pipeline' in options && options.pipeline === false
  );
}

/** Gives our class the default options for its own: those of ioredis are what every client of the process begins with. */
export function ownDefaults(type: object): void {
  const value = Object.freeze({ ...(Reflect.get(RawRedis, 'defaultOptions') as object) });
  Object.defineProperty(type, 'defaultOptions', { value });
}

/** Puts our classes where ioredis hangs its exports on its class: ours would inherit the raw ones. */
export function hangExports(type: object, exports: Readonly<Record<string, () => unknown>>): void {
  for (const [name, get] of Object.entries(exports))
    Object.defineProperty(type, name, { get, enumerable: true });
}
