import { ReplyError, type Redis as RawRedis } from 'ioredis';
import { Sent } from './sent.ts';
import { asPlumbing } from './plumbing.ts';

// That of ioredis is not exported, but what it is derived from.
const RedisError = Object.getPrototypeOf(ReplyError) as new (message: string) => Error;

/** The error of ioredis for what is given up. */
class AbortError extends RedisError {}

/** What ioredis keeps of a connection that has closed, until there is the next. */
type Closed = RawRedis['commandQueue'] | null | undefined;

/**
 * Rejects what was sent and not answered when a connection closes, where the options say that it is not sent again.
 * ioredis drops it when there is a new connection: its callers would wait for ever, and with them everybody whose
 * call is to leave when those of the last turn have been answered.
 */
export function rejectUnfulfilled(redis: object): void {
  // ioredis puts it away after it has said that the connection is closed.
  process.nextTick(asPlumbing, () => {
    const queue = Reflect.get(redis, 'prevCommandQueue') as Closed;
    for (let item = queue?.shift(); item !== undefined; item = queue?.shift()) {
      const { command } = item;
      command.reject(
        Object.assign(new AbortError('Command aborted due to connection close'), about(command)),
      );
    }
  });
}

// As in the errors that ioredis makes itself.
function about(command: object): object {
  const sent = Sent.of(command);
  return sent === undefined ? {} : { command: { name: sent.name, args: sent.args } };
}
