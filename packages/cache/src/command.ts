import { Command } from 'ioredis';
import type { TenantNames } from './names.ts';

/** Set on a command once it may be sent; the value says for whom. */
export const MARK: unique symbol = Symbol('tenantkit.cache.admitted');

/** A command of ioredis's own work, or a placeholder: names nothing, may be sent at any time. */
export const OWN: unique symbol = Symbol('tenantkit.cache.own');

/** A command with raw names, made inside acrossTenants. */
export const RAW: unique symbol = Symbol('tenantkit.cache.raw');

/** The MULTI and EXEC of one pipeline: in any other place they would open a transaction that nobody closes. */
export class TransactionMark {
  readonly pipeline: object;

  constructor(pipeline: object) {
    this.pipeline = pipeline;
  }
}

/** For whom a command was admitted. */
export type Mark = TenantNames | TransactionMark | typeof OWN | typeof RAW;

/** A command of ioredis, as the guard sees it. */
export type MarkedCommand = Command & { [MARK]?: Mark | undefined };

/**
 * Takes the place of a refused command where something has to be sent: in a pipeline that counts its replies. It
 * is a PING whose reply is the refusal, also when a Cluster sends it again, or EXEC hands out its reply.
 */
export class Refusal extends Command {
  #error: unknown;
  readonly [MARK]: typeof OWN = OWN;

  /**
   * @param why - what the reply is turned into
   * @param refused - settled with this one, in the same order as without the refusal
   */
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

/** Sends a command, and rejects it when ioredis throws while it writes it. */
export function sendOrReject(command: Command, send: (command: Command) => unknown): unknown {
  try {
    return send(command);
  } catch (error) {
    return rejectCommand(command, error as Error);
  }
}

/** Rejects a command that is not sent at all. Never throws: ioredis may be in the middle of other callers' work. */
export function rejectCommand(command: Partial<Command> | undefined, error: Error): Promise<unknown> {
  command?.reject?.(error);
  return command?.promise ?? Promise.reject(error);
}
