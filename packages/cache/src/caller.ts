import type { Command } from 'ioredis';
import { Light } from './light.ts';
import { isMade } from './methods.ts';

/** What settles a caller's command, read once when it is admitted. */
export interface Caller {
  readonly command: Partial<Command>;
  readonly promise: Promise<unknown>;
  readonly resolve: (this: unknown, reply: unknown) => unknown;
  readonly reject: (this: unknown, error: Error) => unknown;
  /** Whether nothing of the caller is on it; see {@link isMade}. */
  readonly isMade: boolean;
}

/** Reads what settles a command, each once. */
export function callerOf(command: Partial<Command>): Caller {
  const light = Light.callerOf(command);
  if (light !== undefined) return light;
  const own = isMade(command);
  const { promise, resolve, reject } = command as Command;
  return { command, promise, resolve, reject, isMade: own };
}

interface ReplyContext {
  readonly protocol?: number;
  readonly replyMapping?: string;
}

/** Tells a caller's command the reply. */
export function resolved(
  command: Partial<Command>,
  reply: unknown,
  context: ReplyContext,
  resolve: Caller['resolve'],
): void {
  tell(command, context);
  resolve.call(command, reply);
}

/** What a caller's command makes of a reply that EXEC hands out. */
export function transformed(command: Partial<Command>, reply: unknown, context: ReplyContext): unknown {
  tell(command, context);
  return command.transformReply === undefined ? reply : command.transformReply(reply as Buffer);
}

/** Tells a caller's command the error. */
export function rejected(command: Partial<Command>, error: Error, reject: Caller['reject']): void {
  reject.call(command, error);
}

/** Begins a caller's command anew. */
export function begun(command: Partial<Command>): Caller {
  (command as { initPromise?: () => void }).initPromise?.();
  return callerOf(command);
}

// The form of replies on the connection, and nothing else of what was sent: it is not the caller's.
function tell(command: Partial<Command>, { protocol, replyMapping }: ReplyContext): void {
  command.setReplyContext?.({ protocol, replyMapping } as never);
}
