import { Command } from 'ioredis';
import { rowOf } from './rows.ts';
import { callerOf } from './caller.ts';
import { OWN, type Mark } from './mark.ts';
import { Sent } from './sent.ts';

/**
 * Takes the place of a refused command where something has to be sent: in a pipeline that counts its replies. It
 * is a PING whose reply is the refusal, also when a Cluster sends it again, or EXEC hands out its reply.
 *
 * @param why - what the reply is turned into
 * @param refused - settled with it, in the same order as without the refusal
 */
export function placeholder(why: Error, refused: unknown): Sent {
  const command = new Refusal(why, refused as Partial<Command> | undefined);
  return ownCommand('ping', command);
}

/** A command without arguments that is nobody's: of ioredis's or of our own making. */
export function ownCommand(name: string, command: Partial<Command>, mark: Mark = OWN): Sent {
  return new Sent(mark, rowOf(name, []), name, [], callerOf(command));
}

/** Sends a command, and rejects it when ioredis throws while it writes it. */
export function sendOrReject(command: Sent, send: (command: Command) => unknown): unknown {
  try {
    return send(asCommand(command));
  } catch (error) {
    return rejectCommand(command, error as Error);
  }
}

/** As what ioredis takes it for. */
export function asCommand(command: Sent): Command {
  return command as unknown as Command;
}

/** Rejects a command that is not sent at all. Never throws: ioredis may be in the middle of other callers' work. */
export function rejectCommand(command: unknown, error: Error): Promise<unknown> {
  const given = command as Partial<Command> | null | undefined;
  given?.reject?.(error);
  return given?.promise ?? Promise.reject(error);
}

class Refusal extends Command {
  #error: unknown;

  constructor(why: unknown, refused: Partial<Command> | undefined) {
    super('ping');
    this.#error = why;
    this.promise.catch((error: Error) => refused?.reject?.(error));
    // An argument could not be made a text: then ioredis has rejected the command before it gave it a `reject`,
    // and that error is the better one. Nobody but the slot listens to the refused command itself.
    refused?.promise?.catch((cause: unknown) => {
      if (refused.reject === undefined) this.#error = cause;
    });
  }

  override transformReply(): never {
    throw this.#error;
  }
}
