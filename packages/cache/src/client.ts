import { currentScope, markGuarded, refusal, type Scope } from '@tenantkit/core';
import {
  Cluster as RawCluster,
  Redis as RawRedis,
  type Callback,
  type ClusterNode,
  type Command,
  type NodeRole,
} from 'ioredis';
import { types } from 'node:util';
import type {
  CommandItem,
  ReplyMappingFromClusterOptions,
  ReplyMappingFromOptions,
  ReplyMappingMode,
  WriteableStream,
} from 'ioredis/built/types.js';
import { asCommand, rejectCommand } from './command.ts';
import { Sent } from './sent.ts';
import { targetOf } from './target.ts';
import { assertLibrary } from './couplings.ts';
import type { ScriptDefinition } from './define.ts';
import { lighten } from './lighten.ts';
import { destinationIn, masterOf, readinessOf } from './destination.ts';
import { Line } from './line.ts';
import { lentOnly, showLine } from './lent.ts';
import { confineOptions } from './options.ts';
import { ownOverride } from './override.ts';
import { optionsIn, type OwnPlacement } from './place.ts';
import { answer, asPlumbing, bound } from './plumbing.ts';
import { ClusterLines } from './cluster-lines.ts';
import { ServerLines } from './lines.ts';
import { bindListeners } from './listeners.ts';
import { rules } from './rules.ts';
import { ownMethods } from './methods.ts';
import { LinePool } from './pool.ts';
import { ask } from './tenant-keys.ts';
import { topologyOf } from './topology.ts';
import { rejectUnfulfilled } from './unfulfilled.ts';
import {
  Wiring,
  endWith,
  assertNode,
  guardNodes,
  hangExports,
  isUnpiped,
  takeBack,
  isOwned,
  subscriptionsOf,
  wiringOf,
  type Chain,
  type ClusterOptions,
  type MappedClusterOptions,
  type MappedRedisOptions,
  type RedisArguments,
  type RedisOptions,
} from './wiring.ts';

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
  #lines: LinePool | undefined;
  readonly #added = new Set<string>();

  static {
    bindListeners(this.prototype, subscriptionsOf, isOwned);
    markGuarded(this.prototype, 'cache');
    ownMethods(this.prototype);
    // That of ioredis is what every client of the process begins with.
    Object.defineProperty(this, 'defaultOptions', {
      value: Object.freeze({ ...(Reflect.get(RawRedis, 'defaultOptions') as object) }),
    });
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
      (placement) => this.#in(placement),
    );
    if (this.options.autoResendUnfulfilledCommands === false)
      this.#wiring.onStatus((status) => {
        if (status === 'close') rejectUnfulfilled(this);
      });
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
      this.#wiring.reconnected();
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
    const there = this.#wiring.there('dedicated') as this | undefined;
    if (there !== undefined) return there.dedicated(fn, { signal });
    const scope = this.#wiring.enter('dedicated');
    if (this.status === 'end') throw new Error('Connection is closed.');
    return this.#poolOfLines().lend(scope.tenant?.tenant ?? '', signal, async (line) => {
      const { lent, end } = this.#lend(line, scope);
      try {
        return await fn(lent);
      } finally {
        end();
        // Nobody knows what an operator has done with it.
        if (scope.tenant === undefined) line.disconnect();
      }
    });
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
    const there = this.#wiring.there('duplicate') as this | undefined;
    if (there !== undefined) return there.duplicate(override);
    const own = ownOverride(override);
    // What is lent is never connected itself.
    const { lazyConnect } = (this.#lender ?? this).options;
    const tenant = this.#wiring.tenantFor(currentScope());
    const options: RedisOptions = { ...this.options, lazyConnect, tenant, ...own };
    const copy = new Redis(options as MappedRedisOptions<ReplyMappingFromOptions<ReplyMapping, Override>>);
    copy.#wiring.stays(this.#wiring);
    // That of a node of a cluster.
    if (this.#wiring.guard.registry?.perSlot === true) copy.#wiring.noteKeys(true);
    const scope = currentScope();
    if (scope !== undefined) copy.#wiring.own(scope, () => copy.status);
    return copy;
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
    const there = this.#wiring.there('pipeline') as this | undefined;
    if (there !== undefined) return there.pipeline(commands);
    return this.#wiring.pipeline('pipeline', () => lighten(super.pipeline()), commands);
  }

  override multi(options: { pipeline: false }): Promise<'OK'>;
  override multi(): Chain<ReplyMapping>;
  override multi(options: { pipeline: true }): Chain<ReplyMapping>;
  override multi(commands?: unknown[][]): Chain<ReplyMapping>;
  override multi(commands?: unknown, options: unknown = commands): Chain<ReplyMapping> | Promise<'OK'> {
    if (isUnpiped(options)) return super.multi({ pipeline: false });
    const there = this.#wiring.there('multi') as this | undefined;
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
    this.#wiring.addBuiltin(name, (lower) => {
      super.addBuiltinCommand(lower);
      this.#added.add(lower);
      for (const { client } of this.#wiring.silos?.open ?? []) client.addBuiltinCommand(lower);
    });
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

  #in(placement: OwnPlacement): Redis {
    const options: RedisOptions = { ...optionsIn(this.options, placement), tenant: this.#wiring.tenant };
    const own = options as MappedRedisOptions<'legacy'>;
    const client =
      'url' in placement && placement.url !== undefined ? new Redis(placement.url, own) : new Redis(own);
    for (const name of this.#added) client.addBuiltinCommand(name);
    return client;
  }

  // A socket tells of an error in the context of whoever wrote last: all listeners hear of it, not only theirs.
  override silentEmit(eventName: string, arg?: unknown): boolean {
    const isError = eventName === 'error' && types.isNativeError(arg);
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

  #poolOfLines(): LinePool {
    if (this.#lines !== undefined) return this.#lines;
    const { tenant: _, ...options } = this.options;
    const pool = new LinePool(
      () => new Line(options),
      () => targetOf(this.options),
      this.#wiring.tenant.dedicated,
    );
    this.#wiring.onStatus((status) => {
      if (status === 'end') pool.close();
    });
    return (this.#lines = pool);
  }

  // A client of its own for every loan: once it is over, whoever has kept it is told so.
  #lend(line: Line, scope: Scope) {
    const options: RedisOptions = { ...this.options, tenant: this.#wiring.tenant, lazyConnect: true };
    const lent = new Redis(options as MappedRedisOptions<ReplyMapping>);
    lent.#line = line;
    lent.#lines = this.#poolOfLines();
    lent.#lender = this;
    this.#wiring.noteOn(lent.#wiring);
    lent.#wiring.stays(this.#wiring);
    this.#wiring.defineOn(lent.#wiring);
    const session = lent.#wiring.own(scope, () => line.status);
    const hide = showLine(lent, line, () => session.isOver);
    const end = (): void => {
      session.end();
      lent.#wiring.subscriptions.close();
      hide();
    };
    return { lent, end };
  }
}

/**
 * ioredis's `Cluster`, confined to the tenant of whoever calls it.
 *
 * @throws {@link ConfigError} for options that cannot hold a tenant
 *
 * @example
 * ```ts
 * import { Cluster } from '@tenantkit/cache';
 * const cluster = new Cluster([{ port: 7000 }], { tenant: { hashTag: true } }); // tk:{acme}:key
 * ```
 */
export class Cluster<ReplyMapping extends ReplyMappingMode = 'legacy'> extends RawCluster<ReplyMapping> {
  declare options: ClusterOptions;
  readonly #wiring: Wiring;
  readonly #added = new Set<string>();

  static {
    bindListeners(this.prototype, subscriptionsOf, isOwned);
    markGuarded(this.prototype, 'cache');
    ownMethods(this.prototype);
  }

  constructor(startupNodes: ClusterNode[], options: MappedClusterOptions<ReplyMapping> = {}) {
    assertLibrary();
    // Sharded channels are followed by us, over all masters, whether that is asked for or not.
    super(confineOptions(startupNodes), { ...confineOptions(options), shardedSubscribers: false });
    this.#wiring = new Wiring(
      this,
      {
        send: (command) => super.sendCommand(command),
        sockets: () => this.nodes().map(({ stream }) => stream),
        destination: (command) => destinationIn(this, command),
        readiness: (command) =>
          readinessOf(this, command, (callback) => super.delayUntilReady(callback as Callback)),
      },
      async () => {
        // Until the first answer a cluster knows only the nodes it was started with.
        await ask(this, 'ping', []);
        return topologyOf(this, asPlumbing, async (node) => wiringOf(node)?.nodes());
      },
      (name, definition) => super.defineCommand(name, definition),
      (heard) => new ClusterLines(this, heard),
      (placement) => this.#in(placement),
    );
    guardNodes(this, (node) => {
      const own: RedisOptions = { ...node, tenant: this.#wiring.tenant };
      const client = new Redis(own as MappedRedisOptions<'legacy'>);
      wiringOf(client)?.joins(this.#wiring);
      return client;
    });
  }

  override get autoPipelineQueueSize(): number {
    return this.#wiring.waiting;
  }

  /** The choke point: every command, in whatever form it was called, comes through here. */
  override sendCommand(command: Command, stream?: WriteableStream, node?: unknown): unknown {
    if (stream !== undefined) {
      const sent = this.#wiring.onStream(command, stream);
      return sent instanceof Error
        ? rejectCommand(command, sent)
        : super.sendCommand(asCommand(sent), stream, node);
    }
    // ioredis names a node for pipelines only: a caller's own would see what is sent, and answer for it.
    if (node !== undefined) return rejectCommand(command, this.#wiring.guard.notAdmitted(command));
    return this.#wiring.send(command);
  }

  override connect(): Promise<void> {
    return asPlumbing(() => super.connect());
  }

  override refreshSlotsCache(callback?: Callback<void>): void {
    const told = callback === undefined ? undefined : bound(callback);
    // Not before ioredis has done its own: it would never ask again after a callback that throws.
    const tell = told && ((...args: Parameters<Callback<void>>) => process.nextTick(told, ...args));
    asPlumbing(() => super.refreshSlotsCache(tell));
  }

  // Retries start timers here, in the context of whichever reply has failed.
  override handleError(...args: Parameters<RawCluster['handleError']>): void {
    asPlumbing(() => super.handleError(...args));
  }

  // Runs the callback in the context that has opened the connection, which is another tenant's or none.
  override delayUntilReady(callback: Callback): void {
    super.delayUntilReady(bound(callback));
  }

  override nodes(role?: NodeRole): Redis[] {
    const there = wiringOf(this)?.there('nodes') as this | undefined;
    if (there !== undefined) return there.nodes(role);
    const nodes = super.nodes(role);
    for (const node of nodes) assertNode(node);
    return nodes as Redis[];
  }

  /** A further cluster with the same options; see {@link Redis.duplicate}. */
  override duplicate<Override extends MappedClusterOptions<ReplyMappingMode> | undefined = undefined>(
    overrideStartupNodes: ClusterNode[] = [],
    override?: Override,
  ): Cluster<ReplyMappingFromClusterOptions<ReplyMapping, Override>> {
    const there = this.#wiring.there('duplicate') as this | undefined;
    if (there !== undefined) return there.duplicate(overrideStartupNodes, override);
    const given = [...overrideStartupNodes];
    const own: ClusterOptions = ownOverride(override, given);
    const { startupNodes } = this as unknown as { startupNodes: ClusterNode[] };
    const nodes = given.length > 0 ? given : [...startupNodes];
    const redisOptions = { ...this.options.redisOptions, ...ownOverride(own.redisOptions) };
    const tenant = this.#wiring.tenantFor(currentScope());
    const options: ClusterOptions = { ...this.options, tenant, ...own, redisOptions };
    const copy = new Cluster(
      nodes,
      options as MappedClusterOptions<ReplyMappingFromClusterOptions<ReplyMapping, Override>>,
    );
    copy.#wiring.stays(this.#wiring);
    copy.#wiring.ownCluster(currentScope());
    return copy;
  }

  /**
   * Lends a connection to the master that holds the tenant's slot; see {@link Redis.dedicated}.
   *
   * @throws {@link OperationRefusedError} without `hashTag`, since the tenant's keys are then on all masters
   */
  async dedicated<T>(
    fn: (connection: Redis<ReplyMapping>) => T | Promise<T>,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<T> {
    const there = this.#wiring.there('dedicated') as this | undefined;
    if (there !== undefined) return there.dedicated(fn, options);
    this.#wiring.enter('dedicated');
    const key = this.#wiring.home('dedicated');
    await ask(this, 'ping', []);
    const node = masterOf(this, key) as Redis<ReplyMapping>;
    return node.dedicated(fn, options);
  }

  /** As {@link Redis.clientOf}. */
  clientOf(tenant: string): Cluster<ReplyMapping> {
    return (this.#wiring.silos?.clientOf(tenant) as this | undefined) ?? this;
  }

  #in(placement: OwnPlacement): Cluster {
    const nodes = 'nodes' in placement ? [...(placement.nodes ?? [])] : [];
    const redisOptions = optionsIn(this.options.redisOptions ?? {}, placement);
    const own: ClusterOptions = { ...this.options, tenant: this.#wiring.tenant, redisOptions };
    const client = new Cluster(nodes, own as MappedClusterOptions<'legacy'>);
    for (const name of this.#added) client.addBuiltinCommand(name);
    return client;
  }

  /** @throws {@link OperationRefusedError} inside a tenant, unless {@link Cluster.duplicate} made it there */
  override disconnect(reconnect?: boolean): void {
    const end = (): void => super.disconnect(reconnect);
    endWith(this, end, reconnect);
  }

  override quit(callback?: Callback<'OK'>): Promise<'OK'> {
    const ended = new Promise<'OK'>((resolve, reject) => {
      this.#wiring.end('quit', () => {
        const others = this.#wiring.silos?.quit();
        void Promise.all([super.quit(), others]).then(() => resolve('OK'), reject);
      });
    });
    return answer(ended, callback);
  }

  override pipeline(commands?: unknown[][]): Chain<ReplyMapping> {
    const there = this.#wiring.there('pipeline') as this | undefined;
    if (there !== undefined) return there.pipeline(commands);
    return this.#wiring.pipeline('pipeline', () => lighten(super.pipeline()), commands);
  }

  override multi(options: { pipeline: false }): Promise<'OK'>;
  override multi(): Chain<ReplyMapping>;
  override multi(options: { pipeline: true }): Chain<ReplyMapping>;
  override multi(commands?: unknown[][]): Chain<ReplyMapping>;
  override multi(commands?: unknown, options: unknown = commands): Chain<ReplyMapping> | Promise<'OK'> {
    if (isUnpiped(options)) return super.multi({ pipeline: false });
    const there = this.#wiring.there('multi') as this | undefined;
    if (there !== undefined) return there.multi(commands as unknown[][]);
    return this.#wiring.pipeline('multi', () => super.multi(), commands);
  }

  /** As {@link Redis.defineCommand}. */
  override defineCommand(name: string, definition: ScriptDefinition): void {
    wiringOf(this)?.define(name, definition);
  }

  /** @throws {@link OperationRefusedError} for a command without a row */
  override addBuiltinCommand(name: string): void {
    this.#wiring.addBuiltin(name, (lower) => {
      super.addBuiltinCommand(lower);
      this.#added.add(lower);
      for (const { client } of this.#wiring.silos?.open ?? []) client.addBuiltinCommand(lower);
    });
  }
}
