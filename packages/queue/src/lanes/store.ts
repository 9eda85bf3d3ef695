import { QueueKeys, RedisQueueBackend, type JobJson, type RedisConnection } from 'bullmq';
import { isId, runInScope } from '@tenantkit/core';
import { checkCluster } from '../cluster.ts';
import { connect, connectBlocking, type StoreOptions } from '../connections.ts';
import { nodeOf } from '../flows/names.ts';
import { ParentTouches } from '../flows/touches.ts';
import { Silos } from '../silos.ts';
import { DISARMED, type StoreContext, type Verdict } from '../store.ts';
import { innerId, outerId } from './ids.ts';
import { Lane, type LaneHome } from './lane.ts';
import { laneKeys, type LaneKeys } from './names.ts';
import { defineLaneScripts, disarm, note, register, touch, type KeptEvents } from './scripts.ts';
import { TouchBatch } from './touch.ts';

/** How many lanes are remembered. One costs 4 KB, and is made again when it is needed. */
const REMEMBERED = 2_000;
/** Of how many lanes is remembered that they are registered, some 100 bytes each: beyond that they are again. */
const MOST_REGISTERED = 50_000;
/** After so long a lane is registered again, in milliseconds: one that nobody uses is retired after a day. */
const REGISTERED_FOR = 3_600_000;
/** How many entries of a lane's events stream are kept unless the service says otherwise. */
const EVENTS = 1_000;

/** What a store is made with. */
export interface StoreParts {
  readonly context: StoreContext;
  readonly options: StoreOptions;
  readonly blocking: RedisConnection | undefined;
  /** The connection of another, whose owner closes it. */
  readonly shared?: RedisConnection;
  /** Whether a tenant's calls go to where the tenant is, which the context knows. */
  readonly followsPlace?: boolean;
  /** Says it in the place of the context: the store of a tenant that is elsewhere. */
  readonly elsewhere?: (tenant: string, operation: string) => LaneStore | undefined;
  /** The store of the shared Redis, for that of a silo. */
  readonly pool?: LaneStore;
}

/** What BullMQ asks its factory for. */
export interface Connections {
  readonly withBlockingConnection?: boolean;
}

/** Opens the connections outside of any tenant: whoever happens to make a queue must not own them. */
export function openStore<Store>(
  make: new (parts: StoreParts) => Store,
  context: StoreContext,
  options: StoreOptions,
  { withBlockingConnection = false }: Connections,
  followsPlace = false,
): Store {
  const { prefix, queue } = context;
  // Before the first connection is opened.
  checkCluster(options.connection, prefix, queue);
  return runInScope(
    undefined,
    () =>
      new make({
        context,
        options,
        blocking: withBlockingConnection ? connectBlocking(options, prefix, queue) : undefined,
        followsPlace,
      }),
  );
}

/**
 * A logical queue over the lanes of its tenants: BullMQ's backend of the queue itself, which holds no job, with the
 * connection that all lanes share. What is about one job goes to the lane that its id says. It is never handed out.
 */
export class LaneStore extends RedisQueueBackend implements LaneHome {
  readonly context: StoreContext;
  readonly laneKeys: LaneKeys;
  readonly #options: StoreOptions;
  readonly #lanes = new Map<string, Lane>();
  /** When this process has registered lanes, by the clock that never goes back; the longest ago first. */
  readonly #registered = new Map<string, number>();
  readonly #verdicts = new Map<string, Verdict>();
  readonly #touches: TouchBatch;
  readonly #parents: ParentTouches;
  /** The stores of tenants that are elsewhere, which end with this one. */
  readonly #silos: Silos<LaneStore> | undefined;
  readonly #elsewhere: StoreParts['elsewhere'];
  /** For the store of a silo: that of the shared Redis. */
  readonly #pool: LaneStore | undefined;
  /** The client that was last written with. */
  #used: Awaited<RedisQueueBackend['client']> | undefined;

  constructor(parts: StoreParts) {
    const { context, options, blocking, shared, pool } = parts;
    const { prefix, queue } = context;
    const keys = new QueueKeys(prefix);
    const ours = laneKeys(prefix, queue);
    // Of a silo, and of the queues of a FlowProducer, too.
    checkCluster(options.connection, prefix, queue);
    super(
      shared ?? connect(options),
      queue,
      // Public as `queue.keys`: who could write to it would decide where everybody's jobs go. An idle worker waits at
      // the marker, and is woken for all lanes.
      Object.freeze({ ...keys.getKeys(queue), marker: ours.wake }),
      (type) => keys.toKey(queue, type),
      options,
      blocking,
      shared === undefined,
    );
    this.context = context;
    this.laneKeys = ours;
    this.#options = options;
    this.#touches = new TouchBatch({
      write: async (tenants) => touch(await this.scripts(), ours, tenants),
      failed: (error) => this.emit('error', error),
    });
    this.#parents = new ParentTouches({
      prefix,
      client: () => this.scripts(),
      failed: (error) => this.emit('error', error),
    });
    this.#pool = pool;
    // What tells of one Redis tells of all of them; of a shared connection its owner does.
    if (pool !== undefined && shared === undefined) this.on('error', (error) => pool.emit('error', error));
    this.#silos = parts.followsPlace === true ? this.#silosOf(parts, new.target) : undefined;
    this.#elsewhere = parts.elsewhere ?? this.#silos?.at.bind(this.#silos);
  }

  /**
   * The store that the lane of a tenant is in: this one, or that of a silo.
   *
   * @throws {@link OperationRefusedError} when nobody knows where the tenant is
   */
  at(tenant: string, operation: string): LaneStore {
    return this.#elsewhere?.(tenant, operation) ?? this;
  }

  /** The tenants that have added jobs to a silo. */
  async placed(): Promise<readonly string[]> {
    const client = await this.client;
    return (await client.zrange(this.laneKeys.placed, 0, -1)).filter(isId);
  }

  /** Notes where workers look that a tenant is in a silo. */
  async notePlaced(tenant: string): Promise<void> {
    await note(await this.scripts(), this.laneKeys, tenant, Date.now());
  }

  /** Where the lanes are. */
  get keysOfLanes(): LaneKeys {
    return this.laneKeys;
  }

  /** The lane of a tenant. */
  lane(tenant: string): Lane {
    const known = this.#lanes.get(tenant);
    if (known !== undefined) return known;
    const [oldest] = this.#lanes.keys();
    // Who still holds the one that is forgotten may go on with it: a lane keeps nothing but its names.
    if (oldest !== undefined && this.#lanes.size >= REMEMBERED) this.#lanes.delete(oldest);
    const lane = new Lane(this, tenant, this.laneOptions(this.#options));
    this.#lanes.set(tenant, lane);
    return lane;
  }

  /** The lane of a tenant, where whoever looks for forgotten work will look: for who is about to add a job. */
  async registered(tenant: string): Promise<Lane> {
    const lane = this.lane(tenant);
    if (performance.now() - (this.#registered.get(tenant) ?? -Infinity) < REGISTERED_FOR) return lane;
    // Before there is a job: workers look in the pool for who is elsewhere.
    await this.#pool?.notePlaced(tenant);
    await register(await this.scripts(), this.laneKeys, tenant, Date.now(), this.#keptEvents());
    this.unregistered(tenant);
    const [oldest] = this.#registered.keys();
    if (oldest !== undefined && this.#registered.size >= MOST_REGISTERED) this.#registered.delete(oldest);
    this.#registered.set(tenant, performance.now());
    return lane;
  }

  /** Notes that a lane is registered no longer. */
  protected unregistered(tenant: string): void {
    this.#registered.delete(tenant);
  }

  /** The tenants that have a lane, in the order of their ids. */
  async tenants(): Promise<readonly string[]> {
    const client = await this.client;
    // Whoever writes to Redis may have written anything; of what is no tenant no key is made.
    return (await client.zrange(this.laneKeys.lanes, 0, -1)).filter(isId).toSorted();
  }

  touch(tenant: string): void {
    this.#touches.touch(tenant);
  }

  /**
   * To be called when a script is written that may have freed the parent of a job.
   *
   * @param key - the parent's, as a job says that verifies; anything else is no parent
   */
  touchParent(key: unknown): void {
    const parent = typeof key === 'string' ? nodeOf(this.context, key) : undefined;
    if (parent !== undefined) this.#parents.touch(parent.queue, parent.tenant);
  }

  /**
   * Resolves when what was touched up to now is noted, before the connection goes: else it would wait for the next
   * sweep. Over a connection that is lost nothing is: to wait for it would be to wait for ever.
   */
  async flush(): Promise<void> {
    if (this.#used?.status !== 'ready') return;
    await Promise.all([this.#touches.settled(), this.#parents.settled()]);
  }

  /** Wakes a worker: what was held back for all tenants may go on. */
  async wake(): Promise<void> {
    await touch(await this.scripts(), this.laneKeys, []);
  }

  /** Known to who runs jobs. */
  hasEnded(_tenant: string, _id: string, _issuedAt: number): boolean {
    return false;
  }

  judged(tenant: string, id: string, verdict: Verdict): void {
    this.#verdicts.set(outerId(this.context.names, tenant, id), verdict);
  }

  /** The job of a verdict that is to be taken yet, when it was verified. */
  protected verifiedJob(outer: string): JobJson | undefined {
    const verdict = this.#verdicts.get(outer);
    return verdict?.kind === 'verified' ? verdict.job : undefined;
  }

  /** The verdict on a job that the last script handed over; taken once. */
  takeVerdict(outer: string): Verdict {
    const verdict = this.#verdicts.get(outer) ?? { kind: 'unseen' };
    this.#verdicts.delete(outer);
    return verdict;
  }

  /** The lane that a job is in, and its id there; `undefined` for an id that says no tenant. */
  find(outer: string): { readonly lane: Lane; readonly id: string } | undefined {
    const { names } = this.context;
    const tenant = names.tenantOf(outer);
    return tenant === undefined ? undefined : { lane: this.lane(tenant), id: innerId(names, tenant, outer) };
  }

  /** Takes from a refused job what failing it would act on, or fail at. */
  async disarm(outer: string): Promise<void> {
    const found = this.find(outer);
    if (found === undefined) return;
    await disarm(await this.scripts(), found.lane.toKey(''), found.id, DISARMED);
  }

  /**
   * Resolves when a command would be written at once, and rejects as any command would that does not get through.
   */
  async connected(): Promise<void> {
    const client = await this.client;
    while (client.status !== 'ready') await client.hget(this.laneKeys.meta, 'version');
  }

  override async close(force = false): Promise<void> {
    if (!force) await this.flush();
    await Promise.all((this.#silos?.stores ?? []).map((silo) => silo.close(force)));
    return super.close(force);
  }

  override async disconnect(): Promise<void> {
    await Promise.all((this.#silos?.stores ?? []).map((silo) => silo.disconnect()));
    return super.disconnect();
  }

  /** BullMQ's options, as a lane gets them. */
  protected laneOptions(options: StoreOptions): StoreOptions {
    return options;
  }

  /** The client of the shared connection, with our scripts. */
  protected async scripts(): Promise<Awaited<RedisQueueBackend['client']>> {
    const client = await this.client;
    const settling = defineLaneScripts(client);
    if (settling !== undefined) await settling;
    this.#used = client;
    return client;
  }

  #silosOf(
    { context, options }: StoreParts,
    Store: new (parts: StoreParts) => LaneStore,
  ): Silos<LaneStore> | undefined {
    const { place, fence } = context;
    if (place === undefined) return undefined;
    return new Silos({
      place,
      fence,
      open: (connection) =>
        new Store({ context, options: { ...options, connection }, blocking: undefined, pool: this }),
      failed: (error) => this.emit('error', error),
    });
  }

  #keptEvents(): KeptEvents {
    const { streams, skipMetasUpdate } = this.#options as {
      readonly streams?: { readonly events?: { readonly maxLen?: number } };
      readonly skipMetasUpdate?: boolean;
    };
    const said = streams?.events?.maxLen;
    return { count: said ?? EVENTS, isSaid: said !== undefined && skipMetasUpdate !== true };
  }
}
