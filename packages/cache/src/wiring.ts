import type { Scope } from '@tenantkit/core';
import type { ChainableCommander, Command } from 'ioredis';
import type { WriteableStream } from 'ioredis/built/types.js';
import type { EventEmitter } from 'node:events';
import type { BatchClient } from './batch.ts';
import { Belonging } from './belonging.ts';
import type { ClusterOptions, RedisOptions } from './client-options.ts';
import { assertClient, withoutAutoPipelines } from './couplings.ts';
import { Definitions, type MakeCommand } from './define.ts';
import { Guard } from './guard.ts';
import { isOwn } from './handshake.ts';
import { Housing } from './housing.ts';
import { readOptions, type CacheOptions } from './options.ts';
import { lockOptions } from './options-lock.ts';
import { guardPipeline } from './pipeline.ts';
import type { OwnPlacement } from './place.ts';
import { asPartOfCall, asPlumbing, isPlumbing } from './plumbing.ts';
import { pickBy } from './questions.ts';
import { Registry } from './registry.ts';
import { Sending } from './sending.ts';
import type { Sent } from './sent.ts';
import type { Session } from './session.ts';
import type { Placed, Placing } from './silo.ts';
import type { Silos } from './silos.ts';
import { followStatus } from './status.ts';
import { guardScanStreams } from './streams.ts';
import { Subscriptions, type LinesOf, type SubscribingClient } from './subscriptions.ts';
import { WalkedKeys, type Node, type Places, type TenantKeys } from './tenant-keys.ts';
import { wire, wiringOf } from './wirings.ts';

interface Client extends SubscribingClient, EventEmitter {
  readonly options: RedisOptions | ClusterOptions;
  readonly isCluster: boolean;
  disconnect(): void;
}

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
  readonly #definitions: Definitions;
  readonly belonging: Belonging;
  readonly #sending: Sending;
  readonly housing: Housing;
  readonly #added = new Set<string>();
  /**
   * Calls `tell` with every status that the client comes into, right then: before ioredis has done what it does with
   * it, and before anybody else hears of it.
   *
   * @returns what ends it
   */
  readonly onStatus: (tell: (status: string) => void) => () => void;

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
    let placeOf: CacheOptions['place'];
    try {
      assertClient(client);
      const { options } = client;
      const { place, ...tenant } = readOptions(
        options,
        'redisOptions' in options ? options.redisOptions : undefined,
      );
      this.tenant = Object.freeze(tenant);
      placeOf = place;
      this.guard = new Guard(this.tenant, (...command) => isOwn(client, ...command), client.isCluster);
      this.#definitions = new Definitions(client, this.guard.scripts, make);
      this.#definitions.defineAll(client.options.scripts);
    } catch (error) {
      // ioredis has begun to connect, and nobody gets this client who could close it.
      asPlumbing(() => client.disconnect());
      throw error;
    }
    this.belonging = new Belonging(this.guard);
    this.#sending = new Sending(this, this.belonging, client.options, raw);
    const { isCluster } = client;
    this.keys = new WalkedKeys({
      topology,
      isCluster,
      pick: async (node) => pickBy(wiringOf(node)),
    });
    if (this.tenant.index === true) this.noteKeys(isCluster);
    wire(client, this);
    withoutAutoPipelines(client);
    lockOptions(client.options, this.tenant);
    Object.defineProperty(client, 'options', { writable: false });
    guardScanStreams(client, this.guard, (command) => this.housing.there(command));
    this.subscriptions = new Subscriptions(client, this.guard, lines);
    this.onStatus = followStatus(client, (status) => {
      if (status === 'end') this.subscriptions.close();
      if (status === 'ready') {
        this.subscriptions.open();
        this.silos?.reopen();
      }
    });
    this.housing = new Housing({
      client,
      guard: this.guard,
      tenant: this.tenant,
      place: placeOf,
      subscriptions: () => this.subscriptions,
      open: (placement) => {
        const made = open(placement);
        const wiring = wiringOf(made) as Wiring;
        for (const name of this.#added) made.addBuiltinCommand(name);
        this.defineOn(wiring);
        return { client: made, wiring };
      },
    });
    const { silos } = this.housing;
    this.silos = silos;
    if (silos === undefined) return;
    this.onStatus((status) => {
      if (status === 'end') silos.close();
    });
  }

  /** Sends a command for the caller's tenant, or rejects it. Never throws. */
  send(command: Command): unknown {
    return this.#sending.send(command);
  }

  /**
   * What is sent for a command that comes with a stream: one of a pipeline.
   *
   * @returns the error when the stream may be anybody's: nothing must be written to it
   */
  onStream(command: Command, stream: WriteableStream): Sent | Error {
    return this.#sending.onStream(command, stream);
  }

  /** Sends our own question to the server about all tenants, which says nothing to the caller as it is. */
  ask(name: string, args: (string | Buffer)[]): Promise<unknown> {
    return this.#sending.ask(name, args);
  }

  /** Notes keys before they come into being. @param perSlot - whether in registries per slot */
  noteKeys(perSlot: boolean): void {
    this.guard.registry = new Registry(
      this.guard.names,
      perSlot,
      (entry) => asPartOfCall(() => this.#sending.now(entry)),
      this.#sending.sockets,
    );
  }

  /** Lends what is known of the keys to a connection that is lent, which notes them over itself. */
  noteOn(lent: Wiring): void {
    lent.guard.registry = this.guard.registry?.over((entry) => asPartOfCall(() => lent.#sending.now(entry)));
  }

  /** Makes it a node of a cluster: entries go through the cluster, which follows redirections. */
  joins(cluster: Wiring): void {
    this.guard.registry = cluster.guard.registry;
    this.guard.home = cluster.guard.home;
    this.stays(cluster);
  }

  /** What sends to this client and no other. */
  here(client: Node): Node {
    return this.housing.here(client, this, (command) => this.#sending.here(command));
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

  /** How many commands wait for the next write. */
  get waiting(): number {
    const others = this.silos?.open ?? [];
    return others.reduce((sum, { wiring }) => sum + wiring.waiting, this.#sending.waiting);
  }

  /** Makes the client one of the scope it is made in: nobody else shares its connection. */
  own(scope: Scope, status: () => string): Session {
    const session = this.belonging.own(scope, status);
    this.#sending.hold(session);
    return session;
  }

  /** Ends the connection, unless it is one of several tenants and the caller one of them. */
  end(operation: string, end: () => void): void {
    const elsewhere = isPlumbing() ? undefined : this.belonging.barred(operation);
    if (elsewhere !== undefined) throw elsewhere;
    this.guard.assertMayEnd(operation, this.belonging.place);
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
    const owner = this.belonging.enter(operation);
    const definitions = this.#definitions;
    const made = definitions.pipe(make);
    const pipeline = guardPipeline(made, definitions.pipelines, this.guard, owner, this.belonging.place);
    if (Array.isArray(commands)) pipeline.addBatch(commands);
    return pipeline as object as P;
  }

  /** Makes a script a method of the client. @throws {@link OperationRefusedError}, {@link ConfigError} */
  define(name: unknown, definition: unknown): void {
    const elsewhere = this.belonging.elsewhere('defineCommand');
    if (elsewhere !== undefined) throw elsewhere;
    this.#definitions.define(name, definition, this.belonging.definer);
    for (const { wiring } of this.silos?.open ?? []) this.defineOn(wiring);
  }

  /** Makes a command a method of the client. @throws {@link OperationRefusedError} for one without a row */
  addBuiltin(name: string, make: (name: string) => void): void {
    this.#definitions.addBuiltin(name, (lower) => {
      make(lower);
      this.#added.add(lower);
      for (const { client } of this.silos?.open ?? []) client.addBuiltinCommand(lower);
    });
  }

  /** Lends the commands that are defined here to a connection that is lent. */
  defineOn(lent: Wiring): void {
    this.#definitions.copyTo(lent.#definitions);
  }
}
