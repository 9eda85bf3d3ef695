import type { Command } from 'ioredis';
import type { Socket } from 'node:net';
import { sendOrReject } from './command.ts';
import { asPlumbing } from './plumbing.ts';

/** What a client brings along for {@link Batch}. */
export interface BatchClient {
  /** Sends one admitted command, as without autopipelining. */
  readonly send: (command: Command) => unknown;
  /** The sockets that commands may go to. */
  readonly sockets: () => readonly (Socket | null | undefined)[];
}

// ioredis does not put these into its own autopipelines either.
const ALONE: ReadonlySet<string> = new Set([
  'auth',
  'client',
  'cluster',
  'hello',
  'himport',
  'info',
  'psubscribe',
  'punsubscribe',
  'quit',
  'readonly',
  'script',
  'select',
  'subscribe',
  'unsubscribe',
]);

/**
 * Autopipelining: the commands of one turn of the event loop leave in one write. Every command stays a command of
 * its own, with its own reply, redirection and resend. ioredis would queue them in a pipeline that belongs to
 * whoever was first, and match replies by counting, where one call that throws gives all later replies to the
 * wrong callers (ioredis issue 1931).
 */
export class Batch {
  readonly #client: BatchClient;
  #waiting: Command[] = [];

  constructor(client: BatchClient) {
    this.#client = client;
  }

  /** How many commands wait for the next write. */
  get size(): number {
    return this.#waiting.length;
  }

  /** @param ignored - names that the options of the client keep out */
  takes(command: Command, ignored: readonly string[] | undefined): boolean {
    return (
      !ALONE.has(command.name) && (ignored === undefined || !ignored.some((name) => name === command.name))
    );
  }

  add(command: Command): Promise<unknown> {
    // As long as commands keep coming in callbacks of this turn, they join.
    if (this.#waiting.push(command) === 1) setImmediate(() => this.#flush());
    return command.promise;
  }

  #flush(): void {
    const commands = this.#waiting;
    this.#waiting = [];
    asPlumbing(() => {
      const sockets = this.#client.sockets();
      for (const socket of sockets) socket?.cork();
      try {
        for (const command of commands) sendOrReject(command, this.#client.send);
      } finally {
        for (const socket of sockets) socket?.uncork();
      }
    });
  }
}
