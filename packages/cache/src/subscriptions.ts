import {
  StoreUnreachableError,
  currentScope,
  refusal,
  refuse,
  requireScope,
  type Scope,
} from '@tenantkit/core';
import { Redis as RawRedis, type ClusterOptions, type RedisOptions } from 'ioredis';
import { hasTextNumbers } from './client-options.ts';
import { EventEmitter } from 'node:events';
import { messageFor, targetsOf, type Form, type Kind, type Target } from './channels.ts';
import type { Guard } from './guard.ts';
import type { Argument } from './keyspec.ts';
import { LEAVING, type Heard, type Lines } from './lines.ts';
import { TenantNames } from './names.ts';
import { asPlumbing } from './plumbing.ts';
import { RAW, type Sent } from './sent.ts';

/** What a client has for {@link Subscriptions}. */
export interface SubscribingClient {
  readonly status: string;
  readonly isCluster: boolean;
  readonly options: RedisOptions | ClusterOptions;
  connect(): Promise<void>;
}

/** Makes the connections that hear messages. */
export type LinesOf = (heard: Heard) => Lines;

/** One logical name that somebody has subscribed to. */
interface Holding {
  readonly holder: Holder;
  readonly logical: Buffer;
  readonly targets: readonly Target[];
  /** How many calls stand for it: one that fails takes away no other. */
  claims: number;
}

/**
 * A listener of `resubscribed`: the connection that hears messages was away, and is subscribed again.
 *
 * @param names - the channels and patterns of its tenant of which messages may have been lost meanwhile; such that
 * were first subscribed to in between are named as well
 */
export type ResubscribedListener = (names: readonly string[]) => void;

type Held = Map<string, Holding>;

/** Who subscribes and listens: one tenant, or whoever works across tenants. */
interface Holder {
  readonly key: HolderKey;
  readonly names: TenantNames | undefined;
  readonly held: Readonly<Record<Kind, Held>>;
  readonly emitter: EventEmitter;
}

type HolderKey = string | typeof RAW;

interface Verb {
  readonly kind: Kind;
  readonly leaves: boolean;
}

const VERBS: ReadonlyMap<string, Verb> = new Map(
  (Object.keys(LEAVING) as Kind[]).flatMap((kind): [string, Verb][] => [
    [kind, { kind, leaves: false }],
    [LEAVING[kind], { kind, leaves: true }],
  ]),
);

const EVENTS = { subscribe: 'message', psubscribe: 'pmessage', ssubscribe: 'smessage' } as const;

const NOTHING = refuse('it names no channel', 'Name at least one channel or pattern.');

// How often erased tenants are looked for at most, in milliseconds.
const SWEPT = 1000;

// The text of ioredis, which callers may look for.
const CLOSED = 'Connection is closed.';
const OFFLINE = ' and enableOfflineQueue options is false';

/**
 * Who has subscribed to what on one client, and who hears it. The server knows physical names only, each once,
 * however many tenants want it; counts and acknowledgements are those of the tenant.
 */
export class Subscriptions implements Heard {
  readonly #client: SubscribingClient;
  readonly #guard: Guard;
  readonly #lines: Lines;
  // `undefined` for a cluster, where no connection hears all notifications.
  readonly #database: number | undefined;
  // Whether the client wants numbers as texts.
  readonly #isText: boolean;
  #isClosed = false;
  #sweptAt = -Infinity;
  readonly #holders = new Map<HolderKey, Holder>();
  /** Whose listeners hear what tenants have subscribed to here: those of the client that they know. */
  listening: Subscriptions = this;
  // By the physical name, as text of one character per byte.
  readonly #physical: Readonly<Record<Kind, Map<string, Map<Holding, Form>>>> = {
    subscribe: new Map(),
    psubscribe: new Map(),
    ssubscribe: new Map(),
  };

  constructor(client: SubscribingClient, guard: Guard, lines: LinesOf) {
    this.#client = client;
    this.#guard = guard;
    this.#lines = lines(this);
    const { options } = client;
    this.#database = client.isCluster || !('db' in options) ? undefined : options.db;
    this.#isText = hasTextNumbers(options);
  }

  /** Does what an admitted SUBSCRIBE, UNSUBSCRIBE or their like ask for, and settles it. Never throws. */
  run(command: Sent): Promise<unknown> {
    const verb = VERBS.get(command.name.toLowerCase());
    const holder = this.#holderOf(command.mark);
    if (verb === undefined || holder === undefined) command.reject(this.#guard.notAdmitted(command));
    else if (verb.leaves) this.#leave(command, holder, verb.kind);
    else this.#join(command, holder, verb.kind);
    return command.promise;
  }

  /** The emitter of the scope that runs now, for its listeners of messages. @throws MissingTenantError */
  listeners(event: string): EventEmitter {
    const scope = requireScope({ surface: 'cache', operation: `on(${event})` });
    return this.#holder(keyOf(scope)).emitter;
  }

  /** The same, if there is one. */
  peek(): EventEmitter | undefined {
    const scope = currentScope();
    return scope === undefined ? undefined : this.#holders.get(keyOf(scope))?.emitter;
  }

  /** Those of every scope: outside of any, where the service itself cleans up. */
  all(): readonly EventEmitter[] {
    return [...this.#holders.values()].map(({ emitter }) => emitter);
  }

  /** The tenants that have subscribed to something. */
  get subscribers(): string[] {
    return [...this.#holders.values()].flatMap(({ key, held }) =>
      key === RAW || Object.values(held).every(({ size }) => size === 0) ? [] : [key],
    );
  }

  /** Ends what a tenant has subscribed to, since it is in another place now. @returns what that was */
  evict(tenant: string): [Kind, Buffer[]][] {
    const holder = this.#holders.get(tenant);
    if (holder === undefined) return [];
    const kinds = Object.keys(LEAVING) as Kind[];
    const evicted = kinds.map((kind): [Kind, Buffer[]] => {
      const holdings = [...holder.held[kind].values()];
      for (const holding of holdings) this.#drop(kind, holding);
      this.#lines.leave(kind, this.#unwanted(kind, holdings)).catch(ignore);
      return [kind, holdings.map(({ logical }) => logical)];
    });
    this.#prune(holder);
    return evicted;
  }

  /** Ends what a tenant has subscribed to and listens to here, for good. */
  forget(tenant: string): void {
    for (const subscriptions of new Set([this, this.listening])) {
      subscriptions.#holders.get(tenant)?.emitter.removeAllListeners();
      subscriptions.evict(tenant);
    }
  }

  /** Forgets scopes that neither listen nor subscribe any more. */
  prune(): void {
    const scope = currentScope();
    const holder = scope === undefined ? undefined : this.#holders.get(keyOf(scope));
    for (const idle of holder === undefined ? this.#holders.values() : [holder]) this.#prune(idle);
  }

  open(): void {
    this.#isClosed = false;
    this.#lines.open();
  }

  close(): void {
    this.#isClosed = true;
    this.#lines.close();
  }

  message(kind: Kind, pattern: string | undefined, channel: Buffer, message: Buffer): void {
    this.#sweep();
    const name = (pattern === undefined ? channel : Buffer.from(pattern)).toString('latin1');
    for (const [holding, form] of Array.from(this.#physical[kind].get(name) ?? [])) {
      attempt(() => this.#deliver(kind, holding, form, channel, message));
    }
  }

  error(error: Error): void {
    // An error that nobody listens for is printed, and stops nothing.
    const client = this.#client as unknown as RawRedis;
    asPlumbing(() => RawRedis.prototype.silentEmit.call(client, 'error', withoutNames(error)));
  }

  again(found: ReadonlyMap<Kind, readonly Buffer[]>): void {
    const holdings = [...found].flatMap(([kind, names]) =>
      names.flatMap((name) => [...(this.#physical[kind].get(keyFor(name))?.keys() ?? [])]),
    );
    // A pattern of keys may have two physical names.
    const lost = [...new Set(holdings)].filter(({ holder }) => this.#isActive(holder));
    for (const [holder, own] of Map.groupBy(lost, (holding) => holding.holder))
      attempt(() =>
        this.#emitterOf(holder)?.emit(
          'resubscribed',
          own.map(({ logical }) => logical.toString()),
        ),
      );
  }

  ended(): void {
    this.error(new StoreUnreachableError({ surface: 'cache', operation: 'subscribe', target: 'the server' }));
  }

  moved(): void {
    // Of a cluster only.
  }

  wanted(kind: Kind): readonly Buffer[] {
    // After a reconnect nothing of an erased tenant is subscribed to again.
    return [...this.#physical[kind]].flatMap(([name, holdings]) =>
      [...holdings.keys()].every(({ holder }) => this.#isErased(holder)) ? [] : Buffer.from(name, 'latin1'),
    );
  }

  wants(kind: Kind, name: Buffer): boolean {
    return this.#physical[kind].has(keyFor(name));
  }

  #join(command: Sent, holder: Holder, kind: Kind): void {
    this.#sweep();
    const names = command.args.map(bytes);
    if (names.length === 0) return command.reject(refusal('cache', command.row.where.operation, NOTHING));
    if (this.#isEnded) return command.reject(new Error(CLOSED));
    const { status, options, isCluster } = this.#client;
    // As ioredis: the first command connects.
    if (status === 'wait') asPlumbing(() => this.#client.connect()).catch(ignore);
    if (status !== 'ready' && options.enableOfflineQueue === false)
      return command.reject(
        new Error(`${isCluster ? "Cluster isn't ready" : "Stream isn't writeable"}${OFFLINE}`),
      );
    const found = names.map((logical) => targetsOf(kind, logical, holder.names, this.#database));
    for (const targets of found)
      if ('kind' in targets) return command.reject(refusal('cache', command.row.where.operation, targets));
    const claimed = names.map((logical, place) =>
      this.#claim(holder, kind, logical, found[place] as readonly Target[]),
    );
    const count = this.#count(holder, kind);
    this.#lines.join(kind, namesOf(claimed)).then(
      () => command.resolve(count),
      (error: Error) => {
        const gone = claimed.filter((holding) => {
          holding.claims -= 1;
          return holding.claims === 0 && this.#drop(kind, holding);
        });
        this.#prune(holder);
        // It may have been done all the same, and only not been acknowledged in time.
        this.#lines.leave(kind, this.#unwanted(kind, gone)).catch(ignore);
        command.reject(logicalError(command, error));
      },
    );
    return undefined;
  }

  #leave(command: Sent, holder: Holder, kind: Kind): void {
    const { args } = command;
    const held = holder.held[kind];
    // Without names everything, which is everything of this tenant.
    const names = args.length === 0 ? [...held.keys()] : args.map((name) => keyFor(bytes(name)));
    const left = names.flatMap((name) => held.get(name) ?? []).filter((holding) => this.#drop(kind, holding));
    const count = this.#count(holder, kind);
    this.#prune(holder);
    this.#lines.leave(kind, this.#unwanted(kind, left)).then(
      () => command.resolve(count),
      (error: Error) => command.reject(logicalError(command, error)),
    );
  }

  #claim(holder: Holder, kind: Kind, logical: Buffer, targets: readonly Target[]): Holding {
    const held = holder.held[kind];
    let holding = held.get(keyFor(logical));
    if (holding === undefined) {
      holding = { holder, logical, targets, claims: 0 };
      held.set(keyFor(logical), holding);
      for (const { name, form } of targets) {
        const key = keyFor(name);
        const holdings = this.#physical[kind].get(key) ?? new Map<Holding, Form>();
        this.#physical[kind].set(key, holdings.set(holding, form));
      }
    }
    holding.claims += 1;
    return holding;
  }

  /** @returns whether it was there */
  #drop(kind: Kind, holding: Holding): boolean {
    const held = holding.holder.held[kind];
    if (held.get(keyFor(holding.logical)) !== holding) return false;
    held.delete(keyFor(holding.logical));
    for (const { name } of holding.targets) {
      const holdings = this.#physical[kind].get(keyFor(name));
      holdings?.delete(holding);
      if (holdings?.size === 0) this.#physical[kind].delete(keyFor(name));
    }
    return true;
  }

  // The physical names of what was dropped, but those that somebody else still wants.
  #unwanted(kind: Kind, dropped: readonly Holding[]): Buffer[] {
    return namesOf(dropped).filter((name) => !this.wants(kind, name));
  }

  #deliver(
    kind: Kind,
    { holder, logical, targets }: Holding,
    form: Form,
    channel: Buffer,
    message: Buffer,
  ): void {
    if (!this.#isActive(holder)) return;
    const own = messageFor(form, channel, message, holder.names);
    if (own === undefined || targets.length === 0) return;
    const event = EVENTS[kind];
    const emitter = this.#emitterOf(holder);
    if (emitter === undefined) return;
    const pattern = kind === 'psubscribe' ? [logical.toString()] : [];
    if (emitter.listenerCount(event) > 0)
      emitter.emit(event, ...pattern, own.channel.toString(), own.message.toString());
    // A copy for each tenant: what one writes into it, another must not read.
    if (emitter.listenerCount(`${event}Buffer`) > 0)
      emitter.emit(`${event}Buffer`, ...pattern, Buffer.from(own.channel), Buffer.from(own.message));
  }

  // Whoever works across tenants has asked this client for it, and listens here.
  #emitterOf({ key, emitter }: Holder): EventEmitter | undefined {
    return key === RAW || this.listening === this ? emitter : this.listening.#holders.get(key)?.emitter;
  }

  // A tombstone is permanent, so that what an erased tenant has here would stay for ever.
  #sweep(): void {
    const now = performance.now();
    if (this.#guard.fence === undefined || now - this.#sweptAt < SWEPT) return;
    this.#sweptAt = now;
    for (const holder of this.#holders.values())
      if (holder.key !== RAW && this.#isErased(holder)) this.forget(holder.key);
  }

  #isErased({ key }: Holder): boolean {
    return key !== RAW && this.#guard.fence?.state(key) === 'erased';
  }

  #isActive({ key }: Holder): boolean {
    const { fence } = this.#guard;
    return fence === undefined || key === RAW || fence.state(key) === 'active';
  }

  // The status of a cluster that has ended may be `close` afterwards.
  get #isEnded(): boolean {
    const { status } = this.#client;
    return status === 'end' || (this.#isClosed && status === 'close');
  }

  #count(holder: Holder, kind: Kind): number | string {
    const { subscribe, psubscribe, ssubscribe } = holder.held;
    const count = kind === 'ssubscribe' ? ssubscribe.size : subscribe.size + psubscribe.size;
    return this.#isText ? `${count}` : count;
  }

  #holderOf(mark: Sent['mark']): Holder | undefined {
    if (mark === RAW) return this.#holder(RAW);
    return mark instanceof TenantNames ? this.#holder(mark.tenant) : undefined;
  }

  #holder(key: HolderKey): Holder {
    let holder = this.#holders.get(key);
    if (holder === undefined) {
      const names = key === RAW ? undefined : this.#guard.names.of(key);
      const held = { subscribe: new Map(), psubscribe: new Map(), ssubscribe: new Map() };
      holder = { key, names, held, emitter: new EventEmitter() };
      this.#holders.set(key, holder);
    }
    return holder;
  }

  // A service with many tenants must not keep something of each for ever.
  #prune(holder: Holder): void {
    const { key, held, emitter } = holder;
    const isIdle = Object.values(held).every(({ size }) => size === 0) && emitter.eventNames().length === 0;
    if (isIdle && this.#holders.get(key) === holder) this.#holders.delete(key);
  }
}

// One listener that throws keeps no other tenant from hearing.
function attempt(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}

function keyOf({ tenant }: Scope): HolderKey {
  return tenant === undefined ? RAW : tenant.tenant;
}

function keyFor(name: Buffer): string {
  return name.toString('latin1');
}

function bytes(name: Argument): Buffer {
  return typeof name === 'string' ? Buffer.from(name) : name;
}

function namesOf(holdings: readonly Holding[]): Buffer[] {
  const names = holdings.flatMap(({ targets }) => targets.map(({ name }) => [keyFor(name), name] as const));
  return [...new Map(names).values()];
}

// ioredis hangs the command on an error reply: the physical names of one tenant there, of all after a reconnect.
function logicalError(command: Sent, error: Error): Error {
  command.read(error);
  if ('command' in error) Object.assign(error, { command: { name: command.name, args: command.args } });
  return error;
}

function withoutNames(error: Error): Error {
  if ('command' in error) delete error.command;
  return error;
}

function ignore(): void {
  // What was wanted is told in another way.
}
