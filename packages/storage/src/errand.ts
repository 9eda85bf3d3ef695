import type { Call } from './call.ts';
import type { Step } from './stack.ts';

/** A request that the client sends for a call of somebody else's, such as the marker of what is about to be written. */
export interface Errand {
  readonly call: Call;
  /** How the other call's requests leave: with its signal and its timeouts. */
  readonly last: Step | undefined;
}

interface Command {
  readonly input: object;
}

/**
 * Requests of the client's own. They go through its whole stack like any other, and are known by the very input object
 * that they were made with, which nobody else has before they are sent: no name and no flag could be borrowed.
 */
export class Errands {
  readonly #known = new WeakMap<object, Errand>();
  readonly #send: (command: Command) => Promise<unknown>;

  constructor(send: (command: Command) => Promise<unknown>) {
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
    return (await this.#send(command)) as T;
  }
}
