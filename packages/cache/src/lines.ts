import { Redis as RawRedis, type RedisOptions } from 'ioredis';
import { LEAVING, type Kind } from './channels.ts';
import { keyFor } from './holdings.ts';
import { joinEach } from './join-each.ts';
import { followLogin, withLogin } from './login.ts';
import { asPlumbing } from './plumbing.ts';

/** What is told about the connections that hear messages. */
export interface Heard {
  /** A message; `pattern` is the one by which it came. */
  message(kind: Kind, pattern: string | undefined, channel: Buffer, message: Buffer): void;
  error(error: Error): void;
  /** A connection was away, and these are subscribed to again: what was published in between is lost. */
  again(names: ReadonlyMap<Kind, readonly Buffer[]>): void;
  /** A connection has ended for good, though something has to be heard. */
  ended(): void;
  /** A node of a cluster no longer has what is subscribed to there. */
  moved(): void;
  /** Everything that has to be subscribed to at this moment. */
  wanted(kind: Kind): readonly Buffer[];
  /** Whether this is. */
  wants(kind: Kind, name: Buffer): boolean;
}

/** The connections of one client that hear messages. */
export interface Lines {
  /** Resolves when the server has said so. */
  join(kind: Kind, names: readonly Buffer[]): Promise<unknown>;
  leave(kind: Kind, names: readonly Buffer[]): Promise<unknown>;
  /** Connects again what {@link Lines.close} has ended, if there is anything to hear. */
  open(): void;
  close(): void;
}

// Names per command, so that no single one holds the server up.
const CHUNK = 1000;

// Milliseconds after which a connection is tried again, at most, and after which a name is that was refused.
export const PAUSE = 2000;

/** What the server has refused, as {@link keyFor} has it. */
type Refused = ReadonlyMap<Kind, ReadonlySet<string>>;

/**
 * One connection that does nothing but hear messages. It is plain ioredis, in nobody's hands but ours: a tenant
 * that floods it, or that the server cuts off for not reading fast enough, takes no command of others along.
 *
 * What is subscribed to after a reconnect is what is wanted then. ioredis would take it from a set of texts, which
 * loses names that are no UTF-8.
 */
export class Subscriber {
  readonly #kinds: readonly Kind[];
  readonly #options: () => RedisOptions;
  readonly #heard: Heard;
  readonly #split: (names: readonly Buffer[]) => Buffer[][];
  #connection: RawRedis | undefined;
  // Tries again what the server has refused.
  #timer: NodeJS.Timeout | undefined;

  /** @param split - makes the names those of several commands */
  constructor(kinds: readonly Kind[], options: () => RedisOptions, heard: Heard, split = chunks) {
    this.#kinds = kinds;
    this.#options = options;
    this.#heard = heard;
    this.#split = split;
  }

  join(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    // Others may have been left without a connection before.
    const connection = (this.#connection ??= this.#connect(this.#wanted() > names.length));
    return asPlumbing(() => Promise.all(this.#split(names).map((chunk) => connection.call(kind, ...chunk))));
  }

  leave(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    const connection = this.#connection;
    if (connection === undefined) return Promise.resolve();
    return asPlumbing(() =>
      Promise.all(this.#split(names).map((chunk) => connection.call(LEAVING[kind], ...chunk))),
    );
  }

  open(): void {
    if (this.#connection === undefined && this.#wanted() > 0) this.#connection = this.#connect(true);
  }

  close(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    clearTimeout(this.#timer);
    asPlumbing(() => connection?.disconnect());
  }

  #wanted(): number {
    return this.#kinds.reduce((sum, kind) => sum + this.#heard.wanted(kind).length, 0);
  }

  // What is joined right now waits in the queue of the connection.
  #connect(resubscribes: boolean): RawRedis {
    return asPlumbing(() => {
      const options = this.#options();
      const connection = new RawRedis(options as RedisOptions & { replyMapping: 'legacy' });
      followLogin(connection.options, options);
      let behind = resubscribes;
      connection.on('ready', () => {
        clearTimeout(this.#timer);
        if (behind) void this.#resubscribe(connection);
        behind = true;
      });
      connection.on('end', () => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        if (this.#wanted() > 0) this.#heard.ended();
      });
      connection.on('error', (error) => this.#heard.error(error));
      connection.on('moved', () => this.#heard.moved());
      connection.on('messageBuffer', (channel, message) =>
        this.#heard.message('subscribe', undefined, channel, message),
      );
      connection.on('pmessageBuffer', (pattern, channel, message) =>
        this.#heard.message('psubscribe', pattern, channel, message),
      );
      connection.on('smessageBuffer', (channel: Buffer, message: Buffer) =>
        this.#heard.message('ssubscribe', undefined, channel, message),
      );
      return connection;
    });
  }

  // Told when all is acknowledged: what is read from then on misses no message.
  async #resubscribe(connection: RawRedis, refused?: Refused): Promise<void> {
    const outcomes = await Promise.all(
      this.#kinds.flatMap((kind) => {
        const wanted = this.#heard.wanted(kind);
        const names =
          refused === undefined ? wanted : wanted.filter((name) => refused.get(kind)?.has(keyFor(name)));
        return this.#split(names).map((chunk) =>
          joinEach(connection, kind, chunk, (name) => this.#heard.wants(kind, name)),
        );
      }),
    );
    const again = new Map<Kind, Buffer[]>();
    const still = new Map<Kind, Set<string>>();
    for (const { kind, joined, refused: lost } of outcomes) {
      if (joined.length > 0) again.set(kind, (again.get(kind) ?? []).concat(joined));
      if (lost.length > 0) still.set(kind, new Set([...(still.get(kind) ?? []), ...lost.map(keyFor)]));
    }
    if (again.size > 0) this.#heard.again(again);
    if (still.size === 0 || this.#connection !== connection) return;
    // Told once, and not with every try.
    const error = outcomes.find((outcome) => outcome.error !== undefined)?.error;
    if (refused === undefined && error !== undefined) this.#heard.error(error);
    clearTimeout(this.#timer);
    this.#timer = asPlumbing(() =>
      setTimeout(() => {
        if (connection.status === 'ready') void this.#resubscribe(connection, still);
      }, PAUSE).unref(),
    );
  }
}

/**
 * The lines of a client with one server. Sharded channels have a line of their own: ioredis takes the count of the
 * one kind for that of both, and with the last sharded channel of anybody it would stop to hear all others.
 */
export class ServerLines implements Lines {
  readonly #plain: Subscriber;
  readonly #sharded: Subscriber;

  constructor(client: Followed, heard: Heard) {
    const options = (): RedisOptions => persistent(client);
    this.#plain = new Subscriber(['subscribe', 'psubscribe'], options, heard);
    this.#sharded = new Subscriber(['ssubscribe'], options, heard);
  }

  join(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    return this.#of(kind).join(kind, names);
  }

  leave(kind: Kind, names: readonly Buffer[]): Promise<unknown> {
    return this.#of(kind).leave(kind, names);
  }

  open(): void {
    this.#plain.open();
    this.#sharded.open();
  }

  close(): void {
    this.#plain.close();
    this.#sharded.close();
  }

  #of(kind: Kind): Subscriber {
    return kind === 'ssubscribe' ? this.#sharded : this.#plain;
  }
}

/** What a client has for {@link ServerLines}. */
interface Followed {
  readonly status: string;
  readonly options: RedisOptions;
}

// A strategy that gives up ends the client, and everybody knows. If only this connection was cut, the client would
// stay as it is, and nobody would hear anything any more.
function persistent(client: Followed): RedisOptions {
  const { retryStrategy } = client.options;
  return lineOptions(client.options, {
    retryStrategy(times) {
      const delay: unknown = typeof retryStrategy === 'function' ? retryStrategy(times) : undefined;
      if (typeof delay === 'number') return delay;
      return client.status === 'ready' ? Math.min(times * 50, PAUSE) : null;
    },
  });
}

/**
 * The options of a client, for a connection that hears messages.
 *
 * @param change - what differs besides
 */
export function lineOptions(options: RedisOptions, change: Partial<RedisOptions> = {}): RedisOptions {
  const { connectionName } = options;
  const own: RedisOptions = {
    ...withLogin(options),
    // Without one ioredis says `null`, whatever its types say.
    ...(typeof connectionName === 'string' ? { connectionName: `${connectionName}:subscriber` } : {}),
    autoResubscribe: false,
    enableAutoPipelining: false,
    // It is made when it is needed, so the first command always comes too early.
    enableOfflineQueue: true,
    lazyConnect: false,
    replyMapping: 'legacy',
    stringNumbers: false,
    ...change,
  };
  followLogin(own, options);
  return own;
}

/** Not too many names at once. */
export function chunks(names: readonly Buffer[]): Buffer[][] {
  const count = Math.ceil(names.length / CHUNK);
  return Array.from({ length: count }, (_, place) => names.slice(place * CHUNK, (place + 1) * CHUNK));
}
