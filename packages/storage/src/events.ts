import type { Readable } from 'node:stream';
import { refusal } from '@tenantkit/core';
import type { Call, Realm } from './call.ts';
import { FrameError } from './event-frames.ts';
import { rewriteError } from './reply-error.ts';

/** The stream that the events of a call come from. */
const bodies = new WeakMap<Call, Readable>();

/** Notes where the events of a call come from; what an earlier attempt has opened is closed. */
export function noteEvents(call: Call, body: Readable): void {
  bodies.get(call)?.destroy();
  bodies.set(call, body);
}

/**
 * The error of a call, for its caller. Events are read on behind the call's end, and the first one before it; with an
 * error nobody reads the others, and the SDK leaves the connection open on which they would come.
 */
export function failed(realm: Realm, call: Call, error: unknown): unknown {
  const body = bodies.get(call);
  if (body === undefined) return rewriteError(realm, call, error);
  body.destroy();
  const { errored } = body;
  // Made here, and not where the bytes came: the SDK writes into the message of what it is thrown.
  if (errored instanceof FrameError) return refusal('storage', call.operation, errored.rule);
  return rewriteError(realm, call, error);
}

/** A reply whose events end with logical errors, and with the connection, also where the caller stops half-way. */
export function withEvents(realm: Realm, call: Call, output: unknown): unknown {
  if (!bodies.has(call) || typeof output !== 'object' || output === null) return output;
  const Payload: unknown = Reflect.get(output, 'Payload');
  if (!isEvents(Payload)) return output;
  return { ...output, Payload: { [Symbol.asyncIterator]: () => read(realm, call, Payload) } };
}

async function* read(
  realm: Realm,
  call: Call,
  events: AsyncIterable<unknown>,
): AsyncGenerator<unknown, void, undefined> {
  try {
    yield* events;
  } catch (error) {
    throw failed(realm, call, error);
  } finally {
    bodies.get(call)?.destroy();
  }
}

function isEvents(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
