import type { Call } from './call.ts';
import type { Step } from './stack.ts';

/** A request that the client sends for a call of somebody else's, such as the marker of what is about to be written. */
export interface Errand {
  readonly call: Call;
  /** That of the other call. */
  readonly way: Way | undefined;
}

/** How the requests of a call leave. */
export interface Way {
  /** With the signal and the timeouts of the call; by default the errand's own. */
  readonly last: Step | undefined;
  /** Ends the pauses between two attempts as well. */
  readonly signal: AbortSignal | undefined;
}

/** Sends a command of the client's own. */
export type Send = (command: Command, options: { readonly abortSignal?: AbortSignal }) => Promise<unknown>;

interface Command {
  readonly input: object;
}

/**
 * Requests of the client's own. They go through its whole stack like any other, and are known by the very input object
 * that they were made with, which nobody else has before they are sent: no name and no flag could be borrowed.
 */
export class Errands {
  readonly #known = new WeakMap<object, Errand>();
  readonly #send: Send;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Whose input it is. Once: a middleware that has seen it could send it again. */
  take(input: unknown): Errand | undefined {
    if (typeof input !== 'object' || input === null) return undefined;
    const errand = this.#known.get(input);
    this.#known.delete(input);
    return errand;
  }

  async run<T>(errand: Errand, command: Command): Promise<T> {
    this.#known.set(command.input, errand);
    const { signal } = errand.way ?? {};
    return (await this.#send(command, signal === undefined ? {} : { abortSignal: signal })) as T;
  }
}
