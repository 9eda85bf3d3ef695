import type { Command } from 'ioredis';
import type { Socket } from 'node:net';
import { sendOrReject } from './command.ts';
import { asPlumbing } from './plumbing.ts';
import { asCalled, keepContext, whenSettled } from './rare.ts';
import type { Sent } from './sent.ts';

/** What a client brings along for {@link Batch}. */
export interface BatchClient {
  /** Sends one admitted command, as without autopipelining. */
  readonly send: (command: Command) => unknown;
  /** The sockets that commands may go to. */
  readonly sockets: () => readonly (Socket | null | undefined)[];
  /** Where a command goes, as far as that is known: what has one destination leaves in one write. */
  readonly destination: (command: Sent) => unknown;
  /** What has to be waited for before anything can be sent there. */
  readonly readiness: (command: Sent) => Promise<void> | undefined;
}

// Those of ioredis's own list that come here: the others are refused, or go to the connection that hears messages.
const ALONE: ReadonlySet<string> = new Set(['client', 'cluster', 'himport', 'info', 'quit', 'script']);

interface Lane {
  waiting: Sent[];
  /** How many of the last write have no reply yet. */
  running: number;
  /** Whether the next write is on its way. */
  scheduled: boolean;
}

/**
 * Autopipelining: the commands of one turn of the event loop leave in one write, and those that are called while
 * it has not been answered wait for the next, as with ioredis. Every command stays a command of its own, with its
 * own reply, redirection and resend. ioredis would queue them in a pipeline that belongs to whoever was first, and
 * match replies by counting, where one call that throws gives all later replies to the wrong callers (ioredis
 * issue 1931).
 */
export class Batch {
  readonly #client: BatchClient;
  readonly #lanes = new Map<unknown, Lane>();

  readonly #before: (commands: readonly Sent[]) => void;
  readonly #send = (command: Sent): unknown => sendOrReject(command, this.#client.send);

  /** @param before - told what is about to be written, to write something before it */
  constructor(client: BatchClient, before: (commands: readonly Sent[]) => void) {
    this.#client = client;
    this.#before = before;
  }

  /** How many commands wait for the next write. */
  get size(): number {
    let size = 0;
    for (const { waiting } of this.#lanes.values()) size += waiting.length;
    return size;
  }

  /** @param ignored - names that the options of the client keep out */
  takes(command: Sent, ignored: readonly string[] | undefined): boolean {
    return (
      !ALONE.has(command.name) && (ignored === undefined || !ignored.some((name) => name === command.name))
    );
  }

  add(command: Sent): Promise<unknown> {
    const destination = this.#client.destination(command);
    let lane = this.#lanes.get(destination);
    if (lane === undefined) {
      lane = { waiting: [], running: 0, scheduled: false };
      this.#lanes.set(destination, lane);
    }
    keepContext(command);
    lane.waiting.push(command);
    // As long as commands keep coming in callbacks of this turn, they join.
    if (lane.running === 0) this.#schedule(destination, lane);
    return command.promise;
  }

  #schedule(destination: unknown, lane: Lane): void {
    if (lane.scheduled) return;
    lane.scheduled = true;
    setImmediate(() => this.#flush(destination, lane));
  }

  #flush(destination: unknown, lane: Lane): void {
    const [first] = lane.waiting;
    const readiness = first && asPlumbing(() => this.#client.readiness(first));
    if (readiness === undefined) {
      this.#write(destination, lane);
      return;
    }
    readiness.then(
      // Where to is known now, and may have to be waited for in turn.
      () => setImmediate(() => this.#flush(destination, lane)),
      (error: Error) => {
        lane.scheduled = false;
        for (const command of lane.waiting.splice(0)) command.reject(error);
      },
    );
  }

  #write(destination: unknown, lane: Lane): void {
    const commands = lane.waiting;
    lane.waiting = [];
    lane.scheduled = false;
    lane.running = commands.length;
    const settled = (): void => {
      lane.running -= 1;
      if (lane.running > 0) return;
      if (lane.waiting.length > 0) this.#flush(destination, lane);
      else this.#lanes.delete(destination);
    };
    asPlumbing(() =>
      corked(this.#client.sockets(), () => {
        this.#before(commands);
        for (const command of commands) {
          whenSettled(command, settled);
          asCalled(command, this.#send);
        }
      }),
    );
  }
}

/** Runs `fn`, and has what it writes leave in one write: each write by itself is a call of the system. */
export function corked(sockets: readonly (Socket | null | undefined)[], fn: () => void): void {
  for (const socket of sockets) socket?.cork();
  try {
    fn();
  } finally {
    for (const socket of sockets) socket?.uncork();
  }
}
