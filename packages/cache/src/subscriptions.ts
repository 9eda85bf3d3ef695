import { StoreUnreachableError, currentScope, refusal, refuse, requireScope } from '@tenantkit/core';
import type { ClusterOptions, RedisOptions } from 'ioredis';
import { hasTextNumbers } from './client-options.ts';
import type { EventEmitter } from 'node:events';
import { KINDS, VERBS, targetsOf, type Kind, type Target } from './channels.ts';
import { attempt, deliver, deliverError, deliverLoss, logicalError } from './delivery.ts';
import type { Guard } from './guard.ts';
import { Holders, countOf, hasSubscribed, keyOf, type Holder } from './holders.ts';
import { Holdings, keyFor, namesOf } from './holdings.ts';
import type { Argument } from './keyspec.ts';
import type { Heard, Lines } from './lines.ts';
import { RAW } from './mark.ts';
import { asPlumbing } from './plumbing.ts';
import type { Sent } from './sent.ts';

/** What a client has for {@link Subscriptions}. */
export interface SubscribingClient {
  readonly status: string;
  readonly isCluster: boolean;
  readonly options: RedisOptions | ClusterOptions;
  connect(): Promise<void>;
}

/** Makes the connections that hear messages. */
export type LinesOf = (heard: Heard) => Lines;

const NOTHING = refuse('it names no channel', 'Name at least one channel or pattern.');

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
  readonly #holdings = new Holdings();
  readonly #holders: Holders;
  #isClosed = false;
  /** Whose listeners hear what tenants have subscribed to here: those of the client that they know. */
  listening: Subscriptions = this;

  constructor(client: SubscribingClient, guard: Guard, lines: LinesOf) {
    this.#client = client;
    this.#guard = guard;
    this.#holders = new Holders(guard);
    this.#lines = lines(this);
    const { options } = client;
    this.#database = client.isCluster || !('db' in options) ? undefined : options.db;
    this.#isText = hasTextNumbers(options);
  }

  /** Does what an admitted SUBSCRIBE, UNSUBSCRIBE or their like ask for, and settles it. Never throws. */
  run(command: Sent): Promise<unknown> {
    const verb = VERBS.get(command.name.toLowerCase());
    const holder = this.#holders.for(command.mark);
    if (verb === undefined || holder === undefined) command.reject(this.#guard.notAdmitted(command));
    else if (verb.leaves) this.#leave(command, holder, verb.kind);
    else this.#join(command, holder, verb.kind);
    return command.promise;
  }

  /** The emitter of the scope that runs now, for its listeners of messages. @throws MissingTenantError */
  listeners(event: string): EventEmitter {
    const scope = requireScope({ surface: 'cache', operation: `on(${event})` });
    return this.#holders.of(keyOf(scope)).emitter;
  }

  /** The same, if there is one. */
  peek(): EventEmitter | undefined {
    const scope = currentScope();
    return scope === undefined ? undefined : this.#holders.peek(keyOf(scope))?.emitter;
  }

  /** Those of every scope: outside of any, where the service itself cleans up. */
  all(): readonly EventEmitter[] {
    return [...this.#holders.all()].map(({ emitter }) => emitter);
  }

  /** The tenants that have subscribed to something. */
  get subscribers(): string[] {
    return [...this.#holders.all()].flatMap((holder) =>
      holder.key === RAW || !hasSubscribed(holder) ? [] : [holder.key],
    );
  }

  /** Ends what a tenant has subscribed to, since it is in another place now. @returns what that was */
  evict(tenant: string): [Kind, Buffer[]][] {
    const holder = this.#holders.peek(tenant);
    if (holder === undefined) return [];
    const evicted = KINDS.map((kind): [Kind, Buffer[]] => {
      const holdings = [...holder.held[kind].values()];
      for (const holding of holdings) this.#holdings.drop(kind, holding);
      this.#lines.leave(kind, this.#holdings.unwanted(kind, holdings)).catch(ignore);
      return [kind, holdings.map(({ logical }) => logical)];
    });
    this.#holders.prune(holder);
    return evicted;
  }

  /** Ends what a tenant has subscribed to and listens to here, for good. */
  forget(tenant: string): void {
    for (const subscriptions of new Set([this, this.listening])) {
      subscriptions.#holders.peek(tenant)?.emitter.removeAllListeners();
      subscriptions.evict(tenant);
    }
  }

  /** Forgets scopes that neither listen nor subscribe any more. */
  prune(): void {
    const scope = currentScope();
    const holder = scope === undefined ? undefined : this.#holders.peek(keyOf(scope));
    for (const idle of holder === undefined ? this.#holders.all() : [holder]) this.#holders.prune(idle);
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
    const name = pattern === undefined ? channel : Buffer.from(pattern);
    for (const [holding, form] of this.#holdings.of(kind, name))
      this.#tell(holding.holder, (emitter) => deliver(emitter, kind, holding, form, channel, message));
  }

  error(error: Error): void {
    deliverError(this.#client, error);
  }

  again(found: ReadonlyMap<Kind, readonly Buffer[]>): void {
    for (const [holder, lost] of Map.groupBy(this.#holdings.behind(found), (holding) => holding.holder))
      this.#tell(holder, (emitter) => deliverLoss(emitter, lost));
  }

  ended(): void {
    this.error(new StoreUnreachableError({ surface: 'cache', operation: 'subscribe', target: 'the server' }));
  }

  moved(): void {
    // Of a cluster only.
  }

  wanted(kind: Kind): readonly Buffer[] {
    // After a reconnect nothing of an erased tenant is subscribed to again.
    return this.#holdings.names(kind, (holder) => !this.#holders.isErased(holder));
  }

  wants(kind: Kind, name: Buffer): boolean {
    return this.#holdings.has(kind, name);
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
      this.#holdings.claim(holder, kind, logical, found[place] as readonly Target[]),
    );
    const count = this.#count(holder, kind);
    this.#lines.join(kind, namesOf(claimed)).then(
      () => command.resolve(count),
      (error: Error) => {
        const gone = claimed.filter((holding) => {
          holding.claims -= 1;
          return holding.claims === 0 && this.#holdings.drop(kind, holding);
        });
        this.#holders.prune(holder);
        // It may have been done all the same, and only not been acknowledged in time.
        this.#lines.leave(kind, this.#holdings.unwanted(kind, gone)).catch(ignore);
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
    const left = names
      .flatMap((name) => held.get(name) ?? [])
      .filter((holding) => this.#holdings.drop(kind, holding));
    const count = this.#count(holder, kind);
    this.#holders.prune(holder);
    this.#lines.leave(kind, this.#holdings.unwanted(kind, left)).then(
      () => command.resolve(count),
      (error: Error) => command.reject(logicalError(command, error)),
    );
  }

  #sweep(): void {
    for (const tenant of this.#holders.erased()) this.forget(tenant);
  }

  #tell(holder: Holder, tell: (emitter: EventEmitter) => void): void {
    attempt(() => {
      const emitter = this.#holders.isActive(holder) ? this.#emitterOf(holder) : undefined;
      if (emitter !== undefined) tell(emitter);
    });
  }

  // Whoever works across tenants has asked this client for it, and listens here.
  #emitterOf({ key, emitter }: Holder): EventEmitter | undefined {
    return key === RAW || this.listening === this ? emitter : this.listening.#holders.peek(key)?.emitter;
  }

  // The status of a cluster that has ended may be `close` afterwards.
  get #isEnded(): boolean {
    const { status } = this.#client;
    return status === 'end' || (this.#isClosed && status === 'close');
  }

  #count(holder: Holder, kind: Kind): number | string {
    const count = countOf(holder, kind);
    return this.#isText ? `${count}` : count;
  }
}

function bytes(name: Argument): Buffer {
  return typeof name === 'string' ? Buffer.from(name) : name;
}

function ignore(): void {
  // What was wanted is told in another way.
}
