import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import { Sent } from './sent.ts';
import { callersContext, type Within } from './tracing.ts';

export type Resolve = (reply: unknown) => unknown;
export type Reject = (error: Error) => void;

/** Reads a reply in the place of the row. */
export type Reader = (reply: unknown, names: TenantNames) => unknown;

/** What few commands have: fields of its own would cost every command. */
export interface Rare {
  given?: readonly Argument[];
  place?: object;
  denied?: Error;
  lastError?: Error;
  whenSettled?: () => void;
  subject?: string;
  read?: Reader;
  isWritten?: boolean;
  resolve?: Resolve;
  reject?: Reject;
  told?: Error;
  within?: Within;
}

// What changes a command is no method of it: callers find them in the queues of ioredis.

/** Makes it a PING that answers with `error`: its place in a pipeline stays, and nothing else of it is sent. */
export function deny(sent: Sent, error: Error): Sent {
  Sent.rareOf(sent).denied = error;
  return sent;
}

/** Notes what the caller gave, where it cannot be worked out from what is written. */
export function note(sent: Sent, given: readonly Argument[]): Sent {
  Sent.rareOf(sent).given = given;
  return sent;
}

/** Binds it to where it was admitted: on another connection it would hold everybody up, or end it for them. */
export function tie(sent: Sent, place: object): void {
  Sent.rareOf(sent).place = place;
}

/** Whether it may be sent there, as far as that was bound. */
export function isAllowedIn(sent: Sent, place: object): boolean {
  const bound = Sent.notedOf(sent)?.place;
  return bound === undefined || bound === place;
}

/** Lets `read` make the names in its reply logical: what the reply holds depends on what was sent before. */
export function follow(sent: Sent, read: Reader): void {
  Sent.rareOf(sent).read = read;
}

/** Whether its reply is read so. */
export function isFollowed(sent: Sent): boolean {
  return Sent.notedOf(sent)?.read !== undefined;
}

/** Whether it was followed, and written before: it is sent again, on another connection. */
export function isRepeated(sent: Sent): boolean {
  const noted = Sent.notedOf(sent);
  return noted?.read !== undefined && noted.isWritten === true;
}

/** The error reply that ioredis may answer by sending the command again. */
export function lastErrorOf(sent: Sent): Error | undefined {
  return Sent.notedOf(sent)?.lastError;
}

/** Whether ioredis or the server has said so, and no code of the caller. */
export function isTold(sent: Sent, error: unknown): boolean {
  return Sent.notedOf(sent)?.told === error;
}

/** Calls `heard` when it is settled; one listener at most. */
export function whenSettled(sent: Sent, heard: () => void): void {
  Sent.rareOf(sent).whenSettled = heard;
}

/** Keeps the context of the caller, where somebody wants to know whose call is sent. */
export function keepContext(sent: Sent): void {
  const within = callersContext();
  if (within !== undefined) Sent.rareOf(sent).within = within;
}

/** Sends one that has waited, or something for it, as if that were when it was called, as far as that was kept. */
export function asCalled(sent: Sent, send: (sent: Sent) => unknown): void {
  const within = Sent.notedOf(sent)?.within;
  if (within === undefined) send(sent);
  else within(() => send(sent));
}

/** Notes which person the caller works for. */
export function about(sent: Sent, subject: string): void {
  Sent.rareOf(sent).subject = subject;
}

/** The person that was noted. */
export function subjectOf(sent: Sent): string | undefined {
  return Sent.notedOf(sent)?.subject;
}
