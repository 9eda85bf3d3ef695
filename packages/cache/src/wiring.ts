import { currentScope, refusal, refuse, type Scope } from '@tenantkit/core';
import type {
  ChainableCommander,
  Command,
  Redis as RawRedis,
  ClusterOptions as RawClusterOptions,
  RedisOptions as RawRedisOptions,
} from 'ioredis';
import type { ReplyMappingMode, WriteableStream } from 'ioredis/built/types.js';
import type { EventEmitter } from 'node:events';
import { Batch, type BatchClient } from './batch.ts';
import { rejectCommand, sendOrReject } from './command.ts';
import { OWN, RAW, Sent, callerOf } from './sent.ts';
import { assertClient, brokenCoupling, withoutAutoPipelines } from './couplings.ts';
import { Definitions, type MakeCommand, type ScriptDefinition } from './define.ts';
import { Guard, SHARED, type Place } from './guard.ts';
import type { OwnPlacement } from './place.ts';
import { isHandshake } from './handshake.ts';
import { lockOptions, readOptions, type CacheOptions } from './options.ts';
import { addCommands, guardPipeline, onStream } from './pipeline.ts';
import { asPlumbing, isPlumbing } from './plumbing.ts';
import { rowOf } from './rows.ts';
import { Registry } from './registry.ts';
import { ruleOf } from './rules.ts';
import { Session } from './session.ts';
import { Silos, type Placed, type Placing } from './silos.ts';
import { guardScanStreams } from './streams.ts';
import { WalkedKeys, commandOf, type Node, type Places, type TenantKeys } from './tenant-keys.ts';
import type { Walk } from './walks.ts';
import { followStatus } from './status.ts';
import { Subscriptions, type LinesOf, type SubscribingClient } from './subscriptions.ts';

/** Options of ours, and those of ioredis that say more here. */
interface OwnOptions {
  readonly tenant?: CacheOptions | undefined;
  /** Scripts that become methods of the client. */
  scripts?: Record<string, ScriptDefinition> | undefined;
}

/** Options of ioredis, and ours under `tenant`. `keyPrefix`, `monitor` and `himportFieldsets` are refused. */
export type RedisOptions = RawRedisOptions & OwnOptions;

/** Options of ioredis's Cluster, and ours under `tenant`, beside `redisOptions`. */
export type ClusterOptions = RawClusterOptions & OwnOptions;

/** What {@link Redis.createClient} takes: the same as the constructor. */
export type RedisArguments =
  | [port: number, host: string, options?: RedisOptions]
  | [portOrPath: number | string, options?: RedisOptions]
  | [options?: RedisOptions];

/** {@link RedisOptions} that decide about the form of replies. */
export type MappedRedisOptions<M extends ReplyMappingMode> = RedisOptions & { replyMapping?: M };

/** {@link ClusterOptions} that decide about the form of replies. */
export type MappedClusterOptions<M extends ReplyMappingMode> = ClusterOptions & {
  redisOptions?: RawClusterOptions['redisOptions'] & { replyMapping?: M };
};

/** The pipeline of a client with this form of replies. */
export type Chain<M extends ReplyMappingMode> = ChainableCommander<M extends 'resp3' ? 'resp3' : 'resp2'>;

interface Client extends SubscribingClient, EventEmitter {
  readonly options: RedisOptions | ClusterOptions;
  readonly isCluster: boolean;
  disconnect(): void;
}

const NEW_COMMAND = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => redis.call(…)).',
);

// A connection that one tenant alone has.
const DEDICATED: Place = Object.freeze({ mayBlock: true, mayEnd: true, mayHold: true });
const DEDICATED_CLUSTER: Place = Object.freeze({ mayBlock: true, mayEnd: true });

const SPREAD = refuse(
  'the keys of a tenant are on all nodes, and a connection goes to one',
  'Make the cluster with tenant: { hashTag: true }; or use multi() for keys of one slot.',
);

const wirings = new WeakMap<object, Wiring>();

/** What a guarded `Redis` and a guarded `Cluster` have in common. */
export class Wiring {
  /** Our options, as they were when the client was made, but `place`: all that is made of them stays in one place. */
  readonly tenant: CacheOptions;
  /** The other places of tenants; `undefined` where there are none. */
  readonly silos: Silos | undefined;
  readonly guard: Guard;
  /** The keys of the tenant that asks. */
  readonly keys: TenantKeys;
  readonly subscriptions: Subscriptions;
  readonly #options: RedisOptions | ClusterOptions;
  readonly #definitions: Definitions;
  #raw: BatchClient;
  #batch: Batch;
  readonly #sendNow = (command: Sent): unknown => sendOrReject(command, this.#raw.send);
  readonly #enter = (commands: readonly Sent[]): void => {
    const { registry, placing } = this.guard;
    // What is not sent, since its tenant has moved, must not leave the names of its keys behind.
    const sent = (command: Sent): boolean => this.guard.stillAllowed(command) === undefined;
    if (registry !== undefined) registry.enter(placing === undefined ? commands : commands.filter(sent));
  };
  #owner: Scope | undefined;
  #session: Session | undefined;
  readonly #told = new Set<(status: string) => void>();
  readonly #placeOf: CacheOptions['place'];
  #here: Node | undefined;
  // What a batch sends has waited for the one before it.
  readonly #sendLate = (command: Command): unknown => {
    const sent = Sent.of(command);
    const error = sent === undefined ? undefined : this.guard.stillAllowed(sent);
    return error === undefined ? this.#raw.send(command) : rejectCommand(command, error);
  };

  /**
   * @param topology - the servers that hold keys, once that is known
   * @param make - defines a command with ioredis
   * @param lines - the connections that hear messages
   * @param open - makes a client of the same kind in another place
   * @throws {@link ConfigError}
   */
  constructor(
    client: Client,
    raw: BatchClient,
    topology: () => Promise<Places>,
    make: MakeCommand,
    lines: LinesOf,
    open: (placement: OwnPlacement) => Placed,
  ) {
    this.#raw = raw;
    this.#options = client.options;
    try {
      assertClient(client);
      const { options } = client;
      const { place, ...tenant } = readOptions(
        options,
        'redisOptions' in options ? options.redisOptions : undefined,
      );
      this.tenant = Object.freeze(tenant);
      this.#placeOf = place;
      this.guard = new Guard(this.tenant, (name, args) => isHandshake(client, name, args));
      this.#definitions = new Definitions(client, this.guard.scripts, make);
      this.#definitions.defineAll(client.options.scripts);
    } catch (error) {
      // ioredis has begun to connect, and nobody gets this client who could close it.
      asPlumbing(() => client.disconnect());
      throw error;
    }
    this.#batch = new Batch({ ...raw, send: this.#sendLate }, this.#enter);
    const { isCluster } = client;
    this.keys = new WalkedKeys({
      topology,
      isCluster,
      pick: async (node) => wiringOf(node)?.pick(),
    });
    if (this.tenant.index === true) this.noteKeys(isCluster);
    wirings.set(client, this);
    withoutAutoPipelines(client);
    lockOptions(client.options, this.tenant);
    Object.defineProperty(client, 'options', { writable: false });
    guardScanStreams(client, this.guard, (command) => this.there(command));
    this.subscriptions = new Subscriptions(client, this.guard, lines);
    followStatus(client, (status) => {
      if (status === 'end') this.subscriptions.close();
      if (status === 'ready') {
        this.subscriptions.open();
        this.silos?.reopen();
      }
      for (const tell of this.#told) tell(status);
    });
    this.silos = this.#silosOf(client, open);
  }

  /** Sends a command for the caller's tenant, or rejects it. Never throws. */
  send(command: Command): unknown {
    const earlier = Sent.of(command);
    const there = this.silos?.route('sendCommand');
    if (there instanceof Error)
      return earlier === undefined ? rejectCommand(command, there) : Promise.reject(there);
    return there === undefined ? this.#sendHere(command, earlier) : there.sendCommand(command);
  }

  #sendHere(command: Command, earlier = Sent.of(command)): unknown {
    if (earlier !== undefined) {
      const foreign = this.guard.foreign(earlier);
      // It is not theirs to settle either.
      if (foreign !== undefined) return Promise.reject(foreign);
      const error = this.guard.again(earlier);
      if (error !== undefined) return rejectCommand(earlier, error);
      this.guard.registry?.enter([earlier]);
      return sendOrReject(earlier, this.#raw.send);
    }
    const barred = this.#elsewhere(command) ?? this.#session?.over('sendCommand');
    const sent = barred ?? this.guard.admit(command, this.#place);
    if (sent instanceof Error) return rejectCommand(command, sent);
    if (sent.isWalk && sent.row.walk !== undefined) return this.#walk(sent.row.walk, sent);
    if (sent.row.subscribes) return this.subscriptions.run(sent);
    const { enableAutoPipelining, autoPipeliningIgnoredCommands } = this.#options;
    // ioredis's own have an order to keep: ASKING goes right before the command that it is for.
    const mayWait = enableAutoPipelining === true && sent.mark !== OWN;
    if (mayWait && this.#batch.takes(sent, autoPipeliningIgnoredCommands)) {
      return this.#batch.add(sent);
    }
    if (sent.row.ends && this.silos !== undefined) return this.#quit(sent, this.silos);
    const { registry } = this.guard;
    if (registry === undefined || sent.mark === OWN) {
      // QUIT would overtake what waits for the end of the turn.
      if (sent.row.ends) registry?.flush();
      return sendOrReject(sent, this.#raw.send);
    }
    if (this.#session === undefined) return registry.follow(sent, this.#sendNow);
    // Lent for a while only: nothing of it may wait.
    registry.enter([sent]);
    return this.#sendNow(sent);
  }

  /**
   * What is sent for a command that comes with a stream: one of a pipeline.
   *
   * @returns the error when the stream may be anybody's: nothing must be written to it
   */
  onStream(command: Command, stream: WriteableStream): Sent | Error {
    const session = this.#session;
    if (session === undefined) return onStream(command, stream, this.guard);
    const barred = session.barred('pipeline');
    if (barred !== undefined) return barred;
    const sent = onStream(command, stream, this.guard);
    if (sent instanceof Error) return sent;
    const error = session.admit(sent);
    return error === undefined ? sent : Sent.deny(sent, error);
  }

  /** A key of the tenant, if the one that the server picks is: the names of others end here. */
  async pick(): Promise<Buffer | undefined> {
    const names = this.guard.namesOf('randomkey');
    try {
      const key = await this.#ask('randomkey', []);
      return Buffer.isBuffer(key) && names.owns(key) ? names.decode(key, 'randomkey') : undefined;
    } catch (error) {
      // A user who may not ask for it may still SCAN.
      if (error instanceof Error && error.message.startsWith('NOPERM')) return undefined;
      throw error;
    }
  }

  /** What a node of a cluster says about slots: no keys, and nothing of anybody. */
  nodes(): Promise<unknown> {
    return this.#ask('cluster', ['NODES']);
  }

  /** Notes keys before they come into being. @param perSlot - whether in registries per slot */
  noteKeys(perSlot: boolean): void {
    this.guard.registry = new Registry(this.guard.names, perSlot, (entry) =>
      asPlumbing(() => sendOrReject(entry, this.#raw.send)),
    );
  }

  /** Lends what is known of the keys to a connection that is lent, which notes them over itself. */
  noteOn(lent: Wiring): void {
    lent.guard.registry = this.guard.registry?.over((entry) =>
      asPlumbing(() => sendOrReject(entry, lent.#raw.send)),
    );
  }

  /** Makes it a node of a cluster: entries go through the cluster, which follows redirections. */
  joins(cluster: Wiring): void {
    this.guard.registry = cluster.guard.registry;
    this.guard.home = cluster.guard.home;
    this.stays(cluster);
  }

  /** The client of the tenant's own place; `undefined` where it is this one. @throws {@link OperationRefusedError} */
  there(operation: string): Placed | undefined {
    const there = this.silos?.route(operation);
    if (there instanceof Error) throw there;
    return there;
  }

  /** What sends to this client and no other, for a walk: in another place its cursor would mean something else. */
  here(client: Node): Node {
    if (this.silos === undefined) return client;
    if (this.#here === undefined) {
      this.#here = { sendCommand: (command) => this.#sendHere(command), pipeline: () => client.pipeline() };
      wirings.set(this.#here, this);
    }
    return this.#here;
  }

  /** Makes it the client of one place. @param listening - whose listeners hear what tenants subscribe to here */
  isPlaced(placing: Placing, listening: Subscriptions): void {
    this.guard.placing = placing;
    this.subscriptions.listening = listening;
  }

  /** Makes it a further connection to where another client is: a tenant that moves does not take it along. */
  stays(with_: Wiring): void {
    if (this.silos === undefined) this.guard.placing = with_.guard.placing;
  }

  /** Our options for a duplicate. Only the service's own finds the places of tenants anew. */
  tenantFor(owner: Scope | undefined): CacheOptions {
    return owner === undefined && this.#placeOf !== undefined
      ? { ...this.tenant, place: this.#placeOf }
      : this.tenant;
  }

  /** How many commands wait for the next write. */
  get waiting(): number {
    const others = this.silos?.open ?? [];
    return others.reduce((sum, { wiring }) => sum + wiring.waiting, this.#batch.size);
  }

  /** Makes the client one of the scope it is made in: nobody else shares its connection. */
  own(scope: Scope, status: () => string): Session {
    this.#owner = scope;
    const session = (this.#session = new Session(status, () => this.guard.registry !== undefined));
    const { send } = this.#raw;
    this.#raw = {
      ...this.#raw,
      send(command) {
        const error = session.admit(Sent.of(command) as Sent);
        return error === undefined ? send(command) : rejectCommand(command, error);
      },
    };
    this.#batch = new Batch({ ...this.#raw, send: this.#sendLate }, this.#enter);
    return session;
  }

  /** The same for a cluster, whose connections hold nothing: what is watched on one says nothing of others. */
  ownCluster(scope: Scope | undefined): void {
    this.#owner = scope;
  }

  /**
   * A command on a key of the tenant, by which the node is found that holds all of them.
   * @throws {@link MissingTenantError}
   * @throws {@link OperationRefusedError} where the keys of a tenant are on all nodes
   */
  home(operation: string): Sent {
    const names = this.guard.namesOf(operation);
    if (!this.guard.names.isTagged) throw refusal('cache', operation, SPREAD);
    const command = commandOf('exists', [names.prefix]);
    return new Sent(names, rowOf(command.name, []), command.name, [names.prefix], callerOf(command));
  }

  /**
   * Calls `tell` with every status that the client comes into, right then: before ioredis has done what it does with
   * it, and before anybody else hears of it.
   *
   * @returns what ends it
   */
  onStatus(tell: (status: string) => void): () => void {
    this.#told.add(tell);
    return () => void this.#told.delete(tell);
  }

  /** Whether it is the client of whoever it was made for alone. */
  get isOwned(): boolean {
    return this.#owner !== undefined;
  }

  /** A connection follows another one. */
  reconnected(): void {
    this.#session?.lose();
  }

  /**
   * The scope that something made now belongs to.
   * @throws {@link MissingTenantError}
   * @throws {@link TenantSwitchError} on a connection of somebody else
   */
  enter(operation: string): Scope {
    const owner = this.guard.owner(operation);
    const elsewhere = this.#elsewhere(operation) ?? this.#session?.over(operation);
    if (elsewhere !== undefined) throw elsewhere;
    return owner;
  }

  /** Ends the connection, unless it is one of several tenants and the caller one of them. */
  end(operation: string, end: () => void): void {
    const elsewhere = isPlumbing()
      ? undefined
      : (this.#elsewhere(operation) ?? this.#session?.over(operation));
    if (elsewhere !== undefined) throw elsewhere;
    this.guard.assertMayEnd(operation, this.#place);
    this.guard.registry?.flush();
    // What it does to the nodes of a cluster is ioredis's own work.
    asPlumbing(end);
  }

  /** Makes a pipeline of ioredis the caller's tenant's. @throws MissingTenantError */
  pipeline<P extends ChainableCommander<'resp2' | 'resp3'>>(
    operation: string,
    make: () => P,
    commands: unknown,
  ): P {
    const owner = this.enter(operation);
    const pipeline = make();
    guardPipeline(pipeline, this.guard, owner, this.#place);
    if (Array.isArray(commands)) addCommands(pipeline, commands);
    return pipeline;
  }

  #walk(walk: Walk, sent: Sent): Promise<unknown> {
    const { stringNumbers }: RedisOptions =
      'redisOptions' in this.#options ? { ...this.#options.redisOptions } : this.#options;
    walk.run(this.keys, sent.args).then(
      (reply) => sent.resolve(typeof reply === 'number' && stringNumbers === true ? `${reply}` : reply),
      (error: Error) => sent.reject(error),
    );
    return sent.promise;
  }

  /** Makes a script a method of the client. @throws {@link OperationRefusedError}, {@link ConfigError} */
  define(name: unknown, definition: unknown): void {
    const elsewhere = this.#elsewhere('defineCommand');
    if (elsewhere !== undefined) throw elsewhere;
    // ioredis defines nothing by itself: what runs in the midst of its work is somebody's toString.
    const isService = currentScope()?.tenant === undefined && !isPlumbing();
    const isOwn = this.#owner !== undefined;
    this.#definitions.define(name, definition, { mayChange: isOwn || isService, mayDeclare: isService });
    for (const { wiring } of this.silos?.open ?? []) this.defineOn(wiring);
  }

  /** Makes a command a method of the client. @throws {@link OperationRefusedError} for one without a row */
  addBuiltin(name: string, make: (name: string) => void): void {
    if (typeof name !== 'string' || ruleOf(name) === undefined)
      throw refusal('cache', 'addBuiltinCommand', NEW_COMMAND);
    this.#definitions.addBuiltin(name, make);
  }

  /** Lends the commands that are defined here to a connection that is lent. */
  defineOn(lent: Wiring): void {
    this.#definitions.copyTo(lent.#definitions);
  }

  #silosOf(client: Client, open: (placement: OwnPlacement) => Placed): Silos | undefined {
    if (this.#placeOf === undefined) return undefined;
    const silos = new Silos(
      {
        client,
        isCluster: client.isCluster,
        db: 'db' in client.options ? client.options.db : undefined,
        fence: this.guard.fence,
        subscriptions: () => this.subscriptions,
        open: (placement) => {
          const made = open(placement);
          const wiring = wirings.get(made) as Wiring;
          this.defineOn(wiring);
          return { client: made, wiring };
        },
      },
      this.#placeOf,
    );
    this.guard.placing = silos;
    this.onStatus((status) => {
      if (status === 'end') silos.close();
    });
    return silos;
  }

  // Answered when all have ended, so that a service which stops then cuts nobody off.
  async #quit(sent: Sent, silos: Silos): Promise<unknown> {
    const [reply] = await Promise.all([sendOrReject(sent, this.#raw.send), silos.quit()]);
    return reply;
  }

  // Our own question to the server about all tenants, which says nothing to the caller as it is.
  #ask(name: string, args: string[]): Promise<unknown> {
    const command = commandOf(name, args);
    sendOrReject(new Sent(RAW, rowOf(name, args), name, args, callerOf(command)), this.#raw.send);
    return command.promise;
  }

  get #place(): Place {
    if (this.#owner === undefined) return SHARED;
    return this.#session === undefined ? DEDICATED_CLUSTER : DEDICATED;
  }

  // Outside of any tenant a few commands are allowed on every client.
  #elsewhere(operation: unknown): Error | undefined {
    if (this.#owner === undefined) return undefined;
    return this.guard.elsewhereInTenant(
      this.#owner,
      typeof operation === 'string' ? operation : 'sendCommand',
    );
  }
}

/** The subscriptions of a client; `undefined` while it is being made. */
export function subscriptionsOf(client: object): Subscriptions | undefined {
  const subscriptions = wirings.get(client)?.subscriptions;
  return currentScope()?.tenant === undefined ? subscriptions : subscriptions?.listening;
}

/** Whether a client is that of one tenant alone. */
export function isOwned(client: object): boolean {
  return wirings.get(client)?.isOwned === true;
}

/** The wiring of a client of ours, for the eraser and the auditor; `undefined` for any other object. */
export function wiringOf(client: object): Wiring | undefined {
  return wirings.get(client);
}

/** @throws {@link OperationRefusedError} inside a tenant, on a connection of several */
export function endWith(client: object, end: () => void, reconnect: boolean | undefined): void {
  const wiring = wirings.get(client);
  // A client whose options are refused is ended before there is a guard.
  if (wiring === undefined) end();
  else wiring.end('disconnect', end);
  // A client that waits to connect again says nothing when it is ended.
  if (reconnect === true) return;
  wiring?.subscriptions.close();
  wiring?.silos?.cut();
}

/**
 * Takes the commands of a pipeline out of the queue of those that wait for a reply. A pipeline is written as a
 * whole at its end: when ioredis throws over one command, those before it were never sent, and would get the
 * replies of whoever comes next.
 */
export function takeBack(queue: RawRedis['commandQueue'], stream: WriteableStream, error: Error): void {
  while (queue.peekBack()?.stream === stream) queue.pop()?.command.reject(error);
}

/** Whether `multi` was asked to open a transaction on the connection itself. */
export function isUnpiped(options: unknown): boolean {
  return (
    typeof options === 'object' && options !== null && 'pipeline' in options && options.pipeline === false
  );
}

/** Puts our classes where ioredis hangs its exports on its class: ours would inherit the raw ones. */
export function hangExports(type: object, exports: Readonly<Record<string, () => unknown>>): void {
  for (const [name, get] of Object.entries(exports))
    Object.defineProperty(type, name, { get, enumerable: true });
}

/**
 * Makes the nodes of a cluster guarded. The pool makes its clients with the raw class, and `nodes()` hands them
 * out. ioredis works out their options here; the raw client never connects.
 */
export function guardNodes(cluster: object, make: (options: RedisOptions) => RawRedis): void {
  const { connectionPool } = cluster as { connectionPool: ConnectionPool };
  const create = connectionPool.createRedisFromOptions.bind(connectionPool);
  connectionPool.createRedisFromOptions = (node, readOnly) => make(create(node, readOnly).options);
  // Before anybody else hears of it.
  connectionPool.prependListener('+node', assertNode);
}

/** @throws {@link ConfigError} for a node that was made in another way, past the guard */
export function assertNode(node: object): void {
  if (!wirings.has(node))
    throw brokenCoupling('nodes of a cluster are made in createRedisFromOptions of its pool');
}

interface ConnectionPool extends EventEmitter {
  createRedisFromOptions(node: object, readOnly: boolean): RawRedis;
}
