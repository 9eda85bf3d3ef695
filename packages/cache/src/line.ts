import { Redis as RawRedis, type RedisOptions } from 'ioredis';
import type { CommandItem } from 'ioredis/built/types.js';
import { asCommand } from './command.ts';
import { hideLogin } from './login.ts';
import { OWN } from './mark.ts';
import { asPlumbing } from './plumbing.ts';
import { rowOf } from './rows.ts';
import { callerOf } from './caller.ts';
import { Sent } from './sent.ts';
import { commandOf } from './tenant-keys.ts';

/** What a server says about a connection that was used by nobody, as far as it must be so again. */
const STATE = [
  'name',
  'db',
  'sub',
  'psub',
  'ssub',
  'multi',
  'watch',
  'flags',
  'user',
  'redir',
  'resp',
] as const;

// One that has not answered by then is closed.
const RESET = 1000;

// What a server says that is no master any more.
const READONLY = 'READONLY';

/**
 * A connection that is lent to one tenant after the other. It ends when it is lost: whoever has it would take what
 * ioredis then connects for what it had, with what is watched and queued there.
 */
export class Line extends RawRedis {
  #fresh: string | undefined;
  #error: Error | undefined;

  /**
   * @param options - those of the client that lends it, without ours
   * @param stale - called when the server is no master any more, or says what the client would connect anew for
   */
  constructor(options: RedisOptions, stale: () => void) {
    const own: RedisOptions = {
      ...options,
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      autoResubscribe: false,
      reconnectOnError(error) {
        if (error.message.startsWith(READONLY) || Boolean(options.reconnectOnError?.(error))) stale();
        return false;
      },
      retryStrategy: () => null,
      readOnly: false,
    };
    // The form of its replies is that of the client, whatever its type says.
    super(own as RedisOptions & { replyMapping?: 'legacy' });
    this.on('error', (error: Error) => {
      this.#error = hideLogin(error);
    });
  }

  /** Makes a connection. @throws Error why there is none */
  async open(): Promise<void> {
    await asPlumbing(async () => {
      try {
        await this.connect();
      } catch (error) {
        // The first only says that it was closed.
        throw this.#error ?? error;
      }
      this.#fresh = await this.#state();
    });
  }

  /**
   * Closes it, and waits until it is closed, as the server says or after `disconnectTimeout`: until then what waits
   * there takes what comes.
   */
  cut(): Promise<void> {
    if (this.status === 'end') return Promise.resolve();
    return new Promise((resolve) => {
      this.once('end', resolve);
      this.disconnect();
    });
  }

  /** Whether the server knows nothing of whoever had it. Waits for the replies that are due. */
  async isClean(): Promise<boolean> {
    if (this.status !== 'ready' || this.#fresh === undefined || this.#mayWait()) return false;
    return asPlumbing(async () => {
      const [unwatched, state] = await within(RESET, Promise.all([this.#ask('unwatch', []), this.#state()]));
      return String(unwatched) === 'OK' && state === this.#fresh && this.commandQueue.length === 0;
    }).catch(() => false);
  }

  // ioredis may not say it of its own accord: what was asked for in logical names is answered in them.
  override handleReconnection(error: Error, item: CommandItem): void {
    super.handleReconnection(Sent.of(item.command)?.read(error) ?? error, item);
  }

  /** Whether something of what is due may not come for long. */
  #mayWait(): boolean {
    return this.commandQueue.toArray().some(({ command }) => Sent.of(command)?.waits !== false);
  }

  // `undefined` where the server does not tell: then nothing can be known of it afterwards either.
  async #state(): Promise<string | undefined> {
    try {
      const info = String(await this.#ask('client', ['INFO']));
      const fields = new Map(
        info
          .trim()
          .split(' ')
          .map((field) => splitOnce(field)),
      );
      // Valkey says 0 in the place of -1 once a key was watched; an open transaction is one of the flags, too.
      if (fields.get('multi') === '-1') fields.set('multi', '0');
      return JSON.stringify(STATE.map((name) => fields.get(name)));
    } catch (error) {
      if (this.status === 'ready') return undefined;
      throw error;
    }
  }

  #ask(name: string, args: string[]): Promise<unknown> {
    const command = commandOf(name, args);
    this.sendCommand(asCommand(new Sent(OWN, rowOf(name, args), name, args, callerOf(command))));
    return command.promise;
  }
}

function splitOnce(field: string): [name: string, value: string] {
  const at = field.indexOf('=');
  return [field.slice(0, at), field.slice(at + 1)];
}

async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
