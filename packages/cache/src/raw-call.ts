import { ConfigError, StoreUnreachableError } from '@tenantkit/core';
import type { Cluster, Redis } from './client.ts';
import { assertGuarded } from './fit.ts';
import type { Argument } from './keyspec.ts';
import { portionsOfNames } from './portions.ts';
import type { RawStore } from './raw-store.ts';

/** A command with raw names. */
export type RawCall = readonly [name: string, ...args: Argument[]];

/**
 * Sends one to this client and no other. What it is answered with is what the server says, untransformed; a name may
 * be longer than those that callers may give.
 */
export function sendRaw(client: Redis | Cluster, [name, ...args]: RawCall): Promise<unknown> {
  return assertGuarded(client).ask(name, args);
}

/** What the server has answered with instead of a reply. @throws all other errors */
export function replyError(error: unknown): Error {
  if (error instanceof Error && error.name === 'ReplyError') return error;
  throw error;
}

/** Why a store cannot be reached that has not answered in time. */
export class LateError extends Error {
  constructor(timeout: number) {
    super(`no answer within ${timeout} ms`);
  }
}

/** Whether there was no answer in time: there may be one to a smaller question. */
export function isLate(error: unknown): boolean {
  return error instanceof StoreUnreachableError && error.cause instanceof LateError;
}

/** @throws what the server has said instead, or {@link ConfigError} for something else than a number */
export function numberOf(reply: unknown): number {
  if (typeof reply === 'number') return reply;
  if (reply instanceof Error) throw reply;
  // Taken for none, it would say that there is nothing.
  throw new ConfigError({
    surface: 'cache',
    operation: 'client',
    problem: 'what is connected has not answered with a number where Redis does',
    hint: 'Connect the client to the server itself.',
  });
}

/** How long one is, roughly: what it is framed by is left out. */
export function bytesOf(call: RawCall): number {
  return call.reduce((sum, part) => sum + part.length, 0);
}

/** Removes keys of one slot, or of a server that knows no slots. @returns how many were there */
export async function unlinkKeys(raw: Pick<RawStore, 'number'>, keys: readonly Argument[]): Promise<number> {
  let removed = 0;
  for (const some of portionsOfNames(keys)) removed += await raw.number('unlink', ...some);
  return removed;
}
