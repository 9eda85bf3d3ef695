import { Readable } from 'node:stream';
import { HttpResponse } from '@smithy/core/protocols';
import type { Call } from './call.ts';
import { Frames } from './event-frames.ts';
import { noteEvents } from './events.ts';
import { WholeBody, streamOf } from './reply-limit.ts';

/**
 * A reply whose body leads nowhere: the connection's own stream knows the agent, and the agent all requests that
 * are under way, with their paths and signatures.
 *
 * @param call - what was asked
 */
export function detachReply(
  reply: Readonly<Record<string, unknown>>,
  call: Call,
): Readonly<Record<string, unknown>> {
  const { plan } = call;
  const { response } = reply;
  if (!HttpResponse.isInstance(response)) return reply;
  const hasEvents = 'Payload' in plan.output;
  const source = hasEvents ? streamOf(response.body) : (response.body as unknown);
  if (!(source instanceof Readable) || source instanceof WholeBody) return reply;
  const { statusCode, reason, headers } = response;
  const isEmpty = plan.method === 'HEAD' || headers['content-length'] === '0' || statusCode === 204;
  // A stream where the SDK hands it on; where it only reads that nothing comes, one is not worth its making.
  const isRead = !isEmpty || hasEvents || 'Body' in plan.output;
  const body = isRead ? new ReplyBody(source, hasEvents ? new Frames() : undefined) : drained(source);
  if (hasEvents && body instanceof ReplyBody) noteEvents(call, body);
  return quietReply({
    response: new HttpResponse({ statusCode, headers, body, ...(reason === undefined ? {} : { reason }) }),
  });
}

/**
 * A reply of which no body ends the process when its connection fails while nobody reads it. The SDK puts a stream of
 * its own in front of one that comes with a checksum, and listens to no error of it; what it makes of the reply may
 * fail, too, so that nobody ever gets that stream.
 */
export function quietReply<Reply extends Readonly<Record<string, unknown>>>(reply: Reply): Reply {
  const { response } = reply;
  if (!HttpResponse.isInstance(response) || !(response.body instanceof Readable)) return reply;
  let body: unknown = response.body;
  Object.defineProperty(response, 'body', {
    get: () => body,
    set: (given: unknown) => {
      // Whoever reads it later gets the error.
      if (given instanceof Readable) given.on('error', () => undefined);
      body = given;
    },
    enumerable: true,
    configurable: true,
  });
  return reply;
}

/** Of what the SDK adds to a body, what reads all of it. */
const READERS = ['transformToByteArray', 'transformToString'] as const;

/**
 * An output whose body can be read when it has failed before anybody did: the SDK's readers listen for an error that is
 * to come, and would wait for ever.
 */
export function answering<Output>(output: Output): Output {
  const body: unknown = Reflect.get(Object(output) as object, 'Body');
  if (!(body instanceof Readable)) return output;
  for (const name of READERS) {
    const read: unknown = Reflect.get(body, name);
    if (typeof read !== 'function') continue;
    Reflect.set(body, name, async (...args: readonly unknown[]): Promise<unknown> => {
      if (body.errored !== null) throw body.errored;
      return Reflect.apply(read, body, args);
    });
  }
  return output;
}

// Read to its end: until then its connection is not used again.
function drained(source: Readable): Uint8Array {
  source.on('error', () => undefined).resume();
  return new Uint8Array(0);
}

// Not a pipe: `pipe` and `unpipe` are events that hand the source to every listener.
class ReplyBody extends Readable {
  readonly #source: Readable;

  /** @param frames - what looks at the bytes before they are passed on */
  constructor(source: Readable, frames?: Frames) {
    super();
    this.#source = source;
    // An unread body must not end the process when its connection does: whoever reads it later gets the error.
    this.on('error', () => undefined);
    source.on('error', (error) => this.destroy(error));
    source.on('end', () => {
      if (frames !== undefined) this.push(frames.rest());
      this.push(null);
    });
    source.on('close', () => {
      if (!source.readableEnded) this.destroy(source.errored ?? new Error('The connection was closed early'));
    });
    source.on('data', (chunk: Buffer | string) => {
      const isRoom = frames === undefined ? this.push(chunk) : this.#pushFrames(frames, chunk);
      if (!isRoom) source.pause();
    });
    source.pause();
  }

  #pushFrames(frames: Frames, given: Buffer | string): boolean {
    // A handler of the service's may answer with texts.
    const chunk = typeof given === 'string' ? Buffer.from(given) : given;
    try {
      let isRoom = true;
      for (const part of frames.take(chunk)) isRoom = this.push(part);
      return isRoom;
    } catch (error) {
      this.destroy(error as Error);
      return false;
    }
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#source.readableEnded) this.#source.destroy();
    done(error);
  }
}
