import { Readable } from 'node:stream';
import { HttpResponse } from '@smithy/core/protocols';
import type { Call } from './call.ts';
import { WholeBody } from './reply-limit.ts';

/**
 * A reply whose body leads nowhere: the connection's own stream knows the agent, and the agent all requests that
 * are under way, with their paths and signatures.
 *
 * @param call - what was asked
 */
export function detachReply(
  reply: Readonly<Record<string, unknown>>,
  { plan }: Pick<Call, 'plan'>,
): Readonly<Record<string, unknown>> {
  const { response } = reply;
  if (!HttpResponse.isInstance(response) || !(response.body instanceof Readable)) return reply;
  if (response.body instanceof WholeBody) return reply;
  const { statusCode, reason, headers } = response;
  const isEmpty = plan.method === 'HEAD' || headers['content-length'] === '0' || statusCode === 204;
  // A stream where the SDK hands it on; where it only reads that nothing comes, one is not worth its making.
  const body = isEmpty && !('Body' in plan.output) ? drained(response.body) : new ReplyBody(response.body);
  return {
    response: new HttpResponse({ statusCode, headers, body, ...(reason === undefined ? {} : { reason }) }),
  };
}

// Read to its end: until then its connection is not used again.
function drained(source: Readable): Uint8Array {
  source.on('error', () => undefined).resume();
  return new Uint8Array(0);
}

// Not a pipe: `pipe` and `unpipe` are events that hand the source to every listener.
class ReplyBody extends Readable {
  readonly #source: Readable;

  constructor(source: Readable) {
    super();
    this.#source = source;
    // An unread body must not end the process when its connection does: whoever reads it later gets the error.
    this.on('error', () => undefined);
    source.on('error', (error) => this.destroy(error));
    source.on('end', () => this.push(null));
    source.on('close', () => {
      if (!source.readableEnded) this.destroy(source.errored ?? new Error('The connection was closed early'));
    });
    source.on('data', (chunk) => {
      if (!this.push(chunk)) source.pause();
    });
    source.pause();
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#source.readableEnded) this.#source.destroy();
    done(error);
  }
}
