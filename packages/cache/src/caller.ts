import type { Command } from 'ioredis';
import { entranceOf } from './entrance.ts';
import { Light } from './light.ts';
import type { Mark } from './mark.ts';
import { isMade } from './methods.ts';
import { TenantNames } from './names.ts';

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

/**
 * Calls `fn` in the tenant of the command. A caller's own Command has methods of the caller. ioredis calls them in the
 * midst of its own work, where what they send, or end, would pass for ioredis's.
 */
export function inCaller<A extends readonly unknown[], R>(mark: Mark, fn: (...args: A) => R, ...args: A): R {
  return mark instanceof TenantNames ? entranceOf(mark)(fn, ...args) : fn(...args);
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
