import { Redis as RawRedis } from 'ioredis';
import type { EventEmitter } from 'node:events';
import { messageFor, type Form, type Kind } from './channels.ts';
import type { Holding } from './holdings.ts';
import { asPlumbing } from './plumbing.ts';
import type { Sent } from './sent.ts';

const EVENTS = { subscribe: 'message', psubscribe: 'pmessage', ssubscribe: 'smessage' } as const;

/**
 * A listener of `resubscribed`: the connection that hears messages was away, and is subscribed again.
 *
 * @param names - the channels and patterns of its tenant of which messages may have been lost meanwhile; such that
 * were first subscribed to in between are named as well
 */
export type ResubscribedListener = (names: readonly string[]) => void;

/** Tells listeners of a message, in logical names. */
export function deliver(
  emitter: EventEmitter,
  kind: Kind,
  { holder, logical, targets }: Holding,
  form: Form,
  channel: Buffer,
  message: Buffer,
): void {
  const own = messageFor(form, channel, message, holder.names);
  if (own === undefined || targets.length === 0) return;
  const event = EVENTS[kind];
  const pattern = kind === 'psubscribe' ? [logical.toString()] : [];
  if (emitter.listenerCount(event) > 0)
    emitter.emit(event, ...pattern, own.channel.toString(), own.message.toString());
  // A copy for each tenant: what one writes into it, another must not read.
  if (emitter.listenerCount(`${event}Buffer`) > 0)
    emitter.emit(`${event}Buffer`, ...pattern, Buffer.from(own.channel), Buffer.from(own.message));
}

/** Tells listeners of which names messages may have been lost. */
export function deliverLoss(emitter: EventEmitter, lost: readonly Holding[]): void {
  emitter.emit(
    'resubscribed',
    lost.map(({ logical }) => logical.toString()),
  );
}

/** Tells listeners of `error` on the client. One that nobody listens for is printed, and stops nothing. */
export function deliverError(client: object, error: Error): void {
  // All that was subscribed to after a reconnect.
  if ('command' in error) delete error.command;
  asPlumbing(() => RawRedis.prototype.silentEmit.call(client as RawRedis, 'error', error));
}

/**
 * The error of a command in logical names. ioredis hangs the command on an error reply: the physical names of one tenant
 * there, of all after a reconnect.
 */
export function logicalError(command: Sent, error: Error): Error {
  command.read(error);
  if ('command' in error) Object.assign(error, { command: { name: command.name, args: command.args } });
  return error;
}

/** One listener that throws keeps no other tenant from hearing. */
export function attempt(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
