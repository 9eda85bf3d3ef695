import { Readable } from 'node:stream';
import { HttpResponse } from '@smithy/core/protocols';

/**
 * A reply whose body leads nowhere: the connection's own stream knows the agent, and the agent all requests that
 * are under way, with their paths and signatures.
 */
export function detachReply(reply: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { response } = reply;
  if (!HttpResponse.isInstance(response) || !(response.body instanceof Readable)) return reply;
  const { statusCode, reason, headers } = response;
  const body = new ReplyBody(response.body);
  return {
    response: new HttpResponse({ statusCode, headers, body, ...(reason === undefined ? {} : { reason }) }),
  };
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
