import type { Command } from 'ioredis';
import type { WriteableStream } from 'ioredis/built/types.js';
import { Batch, type BatchClient } from './batch.ts';
import type { Belonging } from './belonging.ts';
import { hasTextNumbers, type ClusterOptions, type RedisOptions } from './client-options.ts';
import { rejectCommand, sendOrReject } from './command.ts';
import type { Argument } from './keyspec.ts';
import { OWN, RAW } from './mark.ts';
import { onStream } from './pipeline-stream.ts';
import { deny } from './rare.ts';
import { rowOf } from './rows.ts';
import { callerOf } from './caller.ts';
import { Sent } from './sent.ts';
import type { Session } from './session.ts';
import type { Silos } from './silos.ts';
import { commandOf } from './tenant-keys.ts';
import type { Walk } from './walks.ts';
import type { Wiring } from './wiring.ts';

/** What becomes of the commands of one client. */
export class Sending {
  readonly #wiring: Wiring;
  readonly #belonging: Belonging;
  readonly #options: RedisOptions | ClusterOptions;
  #raw: BatchClient;
  #batch: Batch;
  readonly #enter = (commands: readonly Sent[]): void => {
    const { registry, placing } = this.#wiring.guard;
    // What is not sent, since its tenant has moved, must not leave the names of its keys behind.
    const sent = (command: Sent): boolean => this.#wiring.guard.stillAllowed(command) === undefined;
    if (registry !== undefined) registry.enter(placing === undefined ? commands : commands.filter(sent));
  };
  // What a batch sends has waited for the one before it.
  readonly #sendLate = (command: Command): unknown => {
    const sent = Sent.of(command);
    const error = sent === undefined ? undefined : this.#wiring.guard.stillAllowed(sent);
    return error === undefined ? this.#raw.send(command) : rejectCommand(command, error);
  };

  /** Sends what is admitted. */
  readonly now = (sent: Sent): unknown => sendOrReject(sent, this.#raw.send);

  /** Those that commands may go to. */
  readonly sockets: BatchClient['sockets'] = () => this.#raw.sockets();

  constructor(
    wiring: Wiring,
    belonging: Belonging,
    options: RedisOptions | ClusterOptions,
    raw: BatchClient,
  ) {
    this.#wiring = wiring;
    this.#belonging = belonging;
    this.#options = options;
    this.#raw = raw;
    this.#batch = new Batch({ ...raw, send: this.#sendLate }, this.#enter);
  }

  /** Sends a command for the caller's tenant, or rejects it. Never throws. */
  send(command: Command): unknown {
    const earlier = Sent.of(command);
    const { silos } = this.#wiring;
    const there = silos?.route(earlier === undefined ? operationOf(command) : earlier.row.where.operation);
    if (there instanceof Error)
      return earlier === undefined ? rejectCommand(command, there) : Promise.reject(there);
    return there === undefined ? this.here(command, earlier) : there.sendCommand(command);
  }

  /** As {@link Sending.send}, to this client and no other. */
  here(command: Command, earlier = Sent.of(command)): unknown {
    const { guard, silos } = this.#wiring;
    if (earlier !== undefined) {
      const foreign = guard.foreign(earlier);
      // It is not theirs to settle either.
      if (foreign !== undefined) return Promise.reject(foreign);
      const error = guard.again(earlier);
      if (error !== undefined) return rejectCommand(earlier, error);
      guard.registry?.enter([earlier]);
      return this.now(earlier);
    }
    const barred = this.#belonging.barred('sendCommand');
    const sent = barred ?? guard.admit(command, this.#belonging.place);
    if (sent instanceof Error) return rejectCommand(command, sent);
    if (sent.isWalk && sent.row.walk !== undefined) return this.#walk(sent.row.walk, sent);
    if (sent.row.subscribes) return this.#wiring.subscriptions.run(sent);
    const { enableAutoPipelining, autoPipeliningIgnoredCommands } = this.#options;
    // ioredis's own have an order to keep: ASKING goes right before the command that it is for.
    const mayWait = enableAutoPipelining === true && sent.mark !== OWN;
    if (mayWait && this.#batch.takes(sent, autoPipeliningIgnoredCommands)) {
      return this.#batch.add(sent);
    }
    if (sent.row.ends && silos !== undefined) return this.#quit(sent, silos);
    const { registry } = guard;
    if (registry === undefined || sent.mark === OWN) {
      // QUIT would overtake what waits for the end of the turn.
      if (sent.row.ends) registry?.flush();
      return this.now(sent);
    }
    if (this.#belonging.session === undefined) return registry.follow(sent, this.now);
    // Lent for a while only: nothing of it may wait.
    registry.enter([sent]);
    return this.now(sent);
  }

  /**
   * What is sent for a command that comes with a stream: one of a pipeline.
   *
   * @returns the error when the stream may be anybody's: nothing must be written to it
   */
  onStream(command: Command, stream: WriteableStream): Sent | Error {
    const { guard } = this.#wiring;
    const { session } = this.#belonging;
    if (session === undefined) return onStream(command, stream, guard);
    const barred = session.barred('pipeline');
    if (barred !== undefined) return barred;
    const sent = onStream(command, stream, guard);
    if (sent instanceof Error) return sent;
    const error = session.admit(sent);
    return error === undefined ? sent : deny(sent, error);
  }

  /** Asks the server on our own behalf, about all tenants: the answer says nothing to the caller as it is. */
  ask(name: string, args: Argument[]): Promise<unknown> {
    const command = commandOf(name, args);
    this.now(new Sent(RAW, rowOf(name, args), name, args, callerOf(command)));
    return command.promise;
  }

  /** Has all that is sent from now on admitted by a session. */
  hold(session: Session): void {
    const { send } = this.#raw;
    this.#raw = {
      ...this.#raw,
      send(command) {
        const error = session.admit(Sent.of(command) as Sent);
        return error === undefined ? send(command) : rejectCommand(command, error);
      },
    };
    this.#batch = new Batch({ ...this.#raw, send: this.#sendLate }, this.#enter);
  }

  /** How many commands wait for the next write. */
  get waiting(): number {
    return this.#batch.size;
  }

  #walk(walk: Walk, sent: Sent): Promise<unknown> {
    const isText = hasTextNumbers(this.#options);
    walk.run(this.#wiring.keys, sent.args).then(
      (reply) => sent.resolve(typeof reply === 'number' && isText ? `${reply}` : reply),
      (error: Error) => sent.reject(error),
    );
    return sent.promise;
  }

  // Answered when all have ended, so that a service which stops then cuts nobody off.
  async #quit(sent: Sent, silos: Silos): Promise<unknown> {
    const [reply] = await Promise.all([silos.spared(() => this.now(sent)), silos.quit()]);
    return reply;
  }
}

// For errors: what is sent is read by the guard.
function operationOf(command: Partial<Command> | null | undefined): string {
  try {
    const name: unknown = command?.name;
    if (typeof name === 'string') return rowOf(name, []).where.operation;
  } catch {
    // A getter that throws, as the guard will find again.
  }
  return 'sendCommand';
}
