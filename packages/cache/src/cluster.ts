import { currentScope } from '@tenantkit/core';
import { Cluster as RawCluster, type Callback, type ClusterNode, type Command, type NodeRole } from 'ioredis';
import type {
  ReplyMappingFromClusterOptions,
  ReplyMappingMode,
  WriteableStream,
} from 'ioredis/built/types.js';
import { endWith, isUnpiped } from './client-calls.ts';
import type {
  Chain,
  ClusterOptions,
  MappedClusterOptions,
  MappedRedisOptions,
  RedisOptions,
} from './client-options.ts';
import { ClusterLines } from './cluster-lines.ts';
import { asCommand, rejectCommand } from './command.ts';
import { confineClass } from './confined.ts';
import { assertLibrary } from './couplings.ts';
import type { ScriptDefinition } from './define.ts';
import { laneIn, masterOf, readinessOf } from './destination.ts';
import { CLUSTER_INNER } from './inner-names.ts';
import { assertInner, isRetried } from './inner.ts';
import { lighten } from './lighten.ts';
import { followLogin, hasLoginOf } from './login.ts';
import { assertNode, guardNodes } from './nodes.ts';
import { confineOptions } from './options-lock.ts';
import { ownOverride } from './override.ts';
import { optionsIn, type OwnPlacement } from './place.ts';
import { answer, asPlumbing, atWork, bound, isAtWork } from './plumbing.ts';
import { home, nodesBy } from './questions.ts';
import { Redis } from './redis.ts';
import { ask } from './tenant-keys.ts';
import { topologyOf } from './topology.ts';
import { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

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

  static {
    confineClass(this.prototype, CLUSTER_INNER);
  }

  constructor(startupNodes: ClusterNode[], options: MappedClusterOptions<ReplyMapping> = {}) {
    assertLibrary();
    // Sharded channels are followed by us, over all masters, whether that is asked for or not.
    super(confineOptions(startupNodes), { ...confineOptions(options), shardedSubscribers: false });
    this.#wiring = new Wiring(
      this,
      {
        send: (command) => atWork(() => super.sendCommand(command)),
        sockets: () => this.nodes().map(({ stream }) => stream),
        destination: (command) => laneIn(this, command),
        readiness: (command) => readinessOf(this, command, (callback) => this.#delay(callback as Callback)),
      },
      async () => {
        // Until the first answer a cluster knows only the nodes it was started with.
        await ask(this, 'ping', []);
        return topologyOf(this, asPlumbing, (node) => nodesBy(wiringOf(node)));
      },
      (name, definition) => super.defineCommand(name, definition),
      (heard) => new ClusterLines(this, heard),
      (placement) => this.#in(placement),
    );
    guardNodes(this, (node) => {
      const own: RedisOptions = { ...node, tenant: this.#wiring.tenant };
      const client = new Redis(own as MappedRedisOptions<'legacy'>);
      wiringOf(client)?.joins(this.#wiring);
      const { redisOptions } = this.options;
      if (hasLoginOf(node, redisOptions)) followLogin(client.options, redisOptions);
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
    const isOurs = currentScope()?.tenant === undefined || isAtWork();
    if (isOurs) return asPlumbing(() => super.handleError(...args));
    // A command that was too late is told so by a timer of its tenant: that concerns nobody else.
    const [given, ...more] = args;
    // Read once: a getter could answer ioredis otherwise.
    const error = new Error(given.message);
    if (isRetried(error)) assertInner(this, 'handleError');
    return super.handleError(error, ...more);
  }

  // Runs the callback in the context that has opened the connection, which is another tenant's or none.
  override delayUntilReady(callback: Callback): void {
    this.#delay(bound(callback));
  }

  // ioredis calls back when it knows the slots or has given up: a cluster that has ended has done so before.
  #delay(callback: Callback): void {
    if (this.status === 'end') process.nextTick(callback, new Error('Connection is closed.'));
    else super.delayUntilReady(callback);
  }

  override nodes(role?: NodeRole): Redis[] {
    const there = wiringOf(this)?.housing.there('nodes') as this | undefined;
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
    const there = this.#wiring.housing.there('duplicate') as this | undefined;
    if (there !== undefined) return there.duplicate(overrideStartupNodes, override);
    const given = [...overrideStartupNodes];
    const own: ClusterOptions = ownOverride(override, given);
    const { startupNodes } = this as unknown as { startupNodes: ClusterNode[] };
    const nodes = given.length > 0 ? given : [...startupNodes];
    const nested = { ...ownOverride(own.redisOptions) };
    const redisOptions = { ...this.options.redisOptions, ...nested };
    const tenant = this.#wiring.housing.tenantFor(currentScope());
    const options: ClusterOptions = { ...this.options, tenant, ...own, redisOptions };
    const copy = new Cluster(
      nodes,
      options as MappedClusterOptions<ReplyMappingFromClusterOptions<ReplyMapping, Override>>,
    );
    copy.#wiring.stays(this.#wiring);
    if (!('username' in nested || 'password' in nested))
      followLogin(copy.options.redisOptions as object, this.options.redisOptions);
    copy.#wiring.belonging.ownCluster(currentScope());
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
    const there = this.#wiring.housing.there('dedicated') as this | undefined;
    if (there !== undefined) return there.dedicated(fn, options);
    this.#wiring.belonging.enter('dedicated');
    const key = home(this.#wiring, 'dedicated');
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
    return new Cluster(nodes, own as MappedClusterOptions<'legacy'>);
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

  /** As {@link Redis.defineCommand}. */
  override defineCommand(name: string, definition: ScriptDefinition): void {
    wiringOf(this)?.define(name, definition);
  }

  /** @throws {@link OperationRefusedError} for a command without a row */
  override addBuiltinCommand(name: string): void {
    this.#wiring.addBuiltin(name, (lower) => super.addBuiltinCommand(lower));
  }
}
