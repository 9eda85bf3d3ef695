import { refusal } from '@tenantkit/core';
import { Redis as RawRedis, type Callback, type Command } from 'ioredis';
import type {
  CommandItem,
  ReplyMappingFromOptions,
  ReplyMappingMode,
  WriteableStream,
} from 'ioredis/built/types.js';
import { endWith, hangExports, isUnpiped, ownDefaults, takeBack } from './client-calls.ts';
import type { Chain, MappedRedisOptions, RedisArguments, RedisOptions } from './client-options.ts';
import { Cluster } from './cluster.ts';
import { asCommand, rejectCommand } from './command.ts';
import { confineClass } from './confined.ts';
import { followConnection } from './connection.ts';
import { assertLibrary } from './couplings.ts';
import type { ScriptDefinition } from './define.ts';
import { clientIn, duplicateOf } from './further.ts';
import { REDIS_INNER } from './inner-names.ts';
import { isPlainError } from './inner.ts';
import { Lending } from './lending.ts';
import { lentOnly } from './lent.ts';
import { lighten } from './lighten.ts';
import type { Line } from './line.ts';
import { ServerLines } from './lines.ts';
import { confineOptions } from './options-lock.ts';
import { answer, asPlumbing } from './plumbing.ts';
import { rules } from './rules.ts';
import { Sent } from './sent.ts';
import { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

/**
 * ioredis's `Redis`, confined to the tenant of whoever calls it. One client, with one connection, serves all
 * tenants. Every method, option, event and type of ioredis is there; what cannot be confined is refused.
 *
 * @throws {@link ConfigError} for options that cannot hold a tenant
 *
 * @example
 * ```ts
 * import { Redis } from '@tenantkit/cache';
 * import { withTenant } from '@tenantkit/core';
 * const redis = new Redis('redis://localhost:6379');
 * await withTenant('acme', () => redis.set('user:1', 'Ada')); // stored as tk:acme:user:1
 * ```
 */
export class Redis<ReplyMapping extends ReplyMappingMode = 'legacy'> extends RawRedis<ReplyMapping> {
  declare static Cluster: typeof Cluster;
  declare options: RedisOptions;
  readonly #wiring: Wiring;
  // Set where it is lent: what it sends goes over this.
  #line: Line | undefined;
  #lender: Redis<ReplyMapping> | undefined;
  readonly #lending: Lending<Redis<ReplyMapping>>;

  static {
    confineClass(this.prototype, REDIS_INNER);
    ownDefaults(this);
    // Read when they are asked for: each of the two modules needs the other.
    hangExports(this, { Redis: () => Redis, Cluster: () => Cluster, default: () => Redis });
  }

  static override createClient(...args: RedisArguments): Redis {
    return new Redis(...(args as [path: string]));
  }

  constructor(port: number, host: string, options: MappedRedisOptions<ReplyMapping>);
  constructor(path: string, options: MappedRedisOptions<ReplyMapping>);
  constructor(port: number, options: MappedRedisOptions<ReplyMapping>);
  constructor(port: number, host: string);
  constructor(options: MappedRedisOptions<ReplyMapping>);
  constructor(port: number);
  constructor(path: string);
  constructor();
  constructor(...args: unknown[]) {
    assertLibrary();
    super(...(args.map(confineOptions) as [MappedRedisOptions<ReplyMapping>]));
    this.#wiring = new Wiring(
      this,
      {
        send: (command) => this.#write(command),
        sockets: () => [this.#line === undefined ? this.stream : this.#line.stream],
        destination: () => undefined,
        readiness: () => undefined,
      },
      async () => ({ masters: [this.#wiring.here(this)], lines: '', settled: '' }),
      (name, definition) => super.defineCommand(name, definition),
      (heard) => new ServerLines(this, heard),
      (placement) => clientIn(placement, this, this.#wiring, (...args) => new Redis(...(args as [string]))),
    );
    followConnection(this, this.#wiring);
    this.#lending = new Lending<Redis<ReplyMapping>>(this, this.#wiring, (...loan) => this.#over(...loan));
  }

  override get autoPipelineQueueSize(): number {
    return this.#wiring.waiting;
  }

  /** The choke point: every command, in whatever form it was called, comes through here. */
  override sendCommand(command: Command, stream?: WriteableStream): unknown {
    if (stream === undefined) return this.#wiring.send(command);
    const sent = this.#wiring.onStream(command, stream);
    if (sent instanceof Error) return rejectCommand(command, sent);
    try {
      return this.#write(asCommand(sent), stream);
    } catch (error) {
      takeBack((this.#line ?? this).commandQueue, stream, error as Error);
      sent.reject(error as Error);
      throw error;
    }
  }

  override connect(callback?: Callback<void>): Promise<void> {
    // ioredis calls this before there is anything of ours.
    if (this.status !== 'wait') {
      if (this.#line !== undefined) return answer(Promise.reject(lentOnly('connect')), callback);
      this.#wiring.belonging.reconnected();
    }
    return answer(
      asPlumbing(() => super.connect()),
      callback,
    );
  }

  /**
   * Lends a connection of the tenant's own for as long as `fn` takes. There keys can be watched (`WATCH`), a
   * transaction can be open (`multi({ pipeline: false })`), and a command may wait (`BLPOP`). It comes out of a
   * small pool, and goes back when the server knows nothing more of what was done with it; else it is closed.
   *
   * It does not reconnect: what was watched is lost with the connection, and `EXEC` must not go on without.
   *
   * @param fn - gets the connection, which refuses everything once `fn` has ended
   * @param options - `signal` ends the wait for a connection, and cuts one that is lent
   * @returns what `fn` returns
   * @throws {@link MissingTenantError} outside of any tenant
   * @throws {@link OperationRefusedError} when no connection becomes free in time
   * @throws {@link StoreUnreachableError} when none can be made
   *
   * @example
   * ```ts
   * import { Redis } from '@tenantkit/cache';
   * import { withTenant } from '@tenantkit/core';
   * const redis = new Redis();
   * const done = await withTenant('acme', () =>
   *   redis.dedicated(async (own) => {
   *     await own.watch('balance');
   *     const balance = Number(await own.get('balance'));
   *     return own.multi().set('balance', balance - 10).exec(); // null: somebody else has changed it
   *   }),
   * );
   * ```
   */
  async dedicated<T>(
    fn: (connection: Redis<ReplyMapping>) => T | Promise<T>,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const there = this.#wiring.housing.there('dedicated') as this | undefined;
    if (there !== undefined) return there.dedicated(fn, { signal });
    return this.#lending.lend(fn, signal);
  }

  /**
   * A further connection with the same options. Made inside a tenant it is that tenant's alone: it may wait there
   * (`BLPOP`) and be ended there, and refuses all others.
   *
   * @throws {@link OperationRefusedError} inside a tenant, for another server, database or other names
   */
  override duplicate<Override extends Partial<RedisOptions> | undefined = undefined>(
    override?: Override,
  ): Redis<ReplyMappingFromOptions<ReplyMapping, Override>> {
    const there = this.#wiring.housing.there('duplicate') as this | undefined;
    if (there !== undefined) return there.duplicate(override);
    type Mapping = ReplyMappingFromOptions<ReplyMapping, Override>;
    const make = (options: RedisOptions) => new Redis(options as MappedRedisOptions<Mapping>);
    // What is lent is never connected itself.
    return duplicateOf(this, this.#wiring, (this.#lender ?? this).options, override, make);
  }

  /** @throws {@link OperationRefusedError} inside a tenant, unless {@link Redis.duplicate} made it there */
  override disconnect(reconnect?: boolean): void {
    const end = (): void =>
      this.#line === undefined ? super.disconnect(reconnect) : this.#line.disconnect();
    endWith(this, end, reconnect);
  }

  override monitor(callback?: Callback<RawRedis>): Promise<RawRedis> {
    return answer(Promise.reject<RawRedis>(refusal('cache', 'monitor', rules.monitor)), callback);
  }

  override pipeline(commands?: unknown[][]): Chain<ReplyMapping> {
    const there = this.#wiring.housing.there('pipeline') as this | undefined;
    if (there !== undefined) return there.pipeline(commands);
    return this.#wiring.pipeline('pipeline', () => lighten(super.pipeline()), commands);
  }

  override multi(options: { pipeline: false }): Promise<'OK'>;
  override multi(): Chain<ReplyMapping>;
  override multi(options: { pipeline: true }): Chain<ReplyMapping>;
  override multi(commands?: unknown[][]): Chain<ReplyMapping>;
  override multi(commands?: unknown, options: unknown = commands): Chain<ReplyMapping> | Promise<'OK'> {
    if (isUnpiped(options)) return super.multi({ pipeline: false });
    const there = this.#wiring.housing.there('multi') as this | undefined;
    if (there !== undefined) return there.multi(commands as unknown[][]);
    return this.#wiring.pipeline('multi', () => super.multi(), commands);
  }

  /**
   * Makes a script a method of the client and of its pipelines. It has to be declared safe: by
   * `tenant: 'keys-only'`, or in the option `tenant.scripts`.
   *
   * @throws {@link OperationRefusedError} for an undeclared script, a name that is taken, and inside a tenant
   * @throws {@link ConfigError} for a definition that cannot be one
   *
   * @example
   * ```ts
   * const lua = 'return redis.call("INCRBY", KEYS[1], ARGV[1])';
   * redis.defineCommand('add', { lua, numberOfKeys: 1, tenant: 'keys-only' });
   * ```
   */
  override defineCommand(name: string, definition: ScriptDefinition): void {
    // ioredis defines those of the options before there is a guard, which then does it itself.
    wiringOf(this)?.define(name, definition);
  }

  /** @throws {@link OperationRefusedError} for a command without a row */
  override addBuiltinCommand(name: string): void {
    this.#wiring.addBuiltin(name, (lower) => super.addBuiltinCommand(lower));
  }

  /**
   * The client of a tenant's own place, with the option `place`: the client itself for the pool. It is for the service,
   * such as for raw names inside `acrossTenants`, and answers no other tenant.
   *
   * @throws {@link OperationRefusedError} inside a tenant, and when `place` fails
   * @throws InvalidTenantError for a malformed id
   *
   * @example
   * ```ts
   * import { acrossTenants } from '@tenantkit/core';
   * const own = redis.clientOf('big');
   * await acrossTenants({ reason: 'capacity report', actor: 'ops@example.com' }, () => own.dbsize());
   * ```
   */
  clientOf(tenant: string): Redis<ReplyMapping> {
    return (this.#wiring.silos?.clientOf(tenant) as this | undefined) ?? this;
  }

  // A socket tells of an error in the context of whoever wrote last: all listeners hear of it, not only theirs.
  override silentEmit(eventName: string, arg?: unknown): boolean {
    const isError = eventName === 'error' && isPlainError(arg);
    return isError ? asPlumbing(() => super.silentEmit('error', arg)) : super.silentEmit(eventName, arg);
  }

  override handleReconnection(error: Error, item: CommandItem): void {
    super.handleReconnection(Sent.of(item.command)?.read(error) ?? error, item);
  }

  #write(command: Command, stream?: WriteableStream): unknown {
    return this.#line === undefined
      ? super.sendCommand(command, stream)
      : this.#line.sendCommand(command, stream);
  }

  #over(line: Line, options: RedisOptions): Redis<ReplyMapping> {
    const lent = new Redis(options as MappedRedisOptions<ReplyMapping>);
    lent.#line = line;
    lent.#lender = this;
    this.#lending.shareWith(lent.#lending);
    return lent;
  }
}
