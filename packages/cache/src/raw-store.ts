import {
  StoreUnreachableError,
  acrossTenants,
  currentScope,
  isTenantkitError,
  refusal,
  refuse,
  runInScope,
  type Scope,
} from '@tenantkit/core';
import { Cluster, type Redis } from './client.ts';
import { assertFit, assertGuarded, assertOutside } from './fit.ts';
import { FIRST, PageSize } from './page-size.ts';
import { portionsOf, portionsOfNames } from './portions.ts';
import { LateError, bytesOf, numberOf, replyError, sendRaw, type RawCall } from './raw-call.ts';
import { startOf, targetOf } from './target.ts';
import { topologyOf, type Topology } from './topology.ts';
import type { Wiring } from './wiring.ts';

/** How an eraser and an auditor reach the store. */
export interface RawStoreOptions {
  /** How long one command may take, connecting included, in milliseconds; by default 10 000. */
  readonly timeout?: number | undefined;
}

/** Some keys of one master, as they are stored. */
export interface Page {
  readonly node: Redis;
  readonly keys: readonly Buffer[];
}

const TIMEOUT = 10_000;

// Keys per SCAN at most: at this size one command holds the server up for less than a millisecond.
const PAGE = 1000;

// Commands on the way to a Cluster at once.
const IN_FLIGHT = 1_024;

// So often a walk begins anew because slots have moved.
const MAX_WALKS = 20;

const RESHARDING = refuse(
  'slots of the cluster went on moving, and with them keys may have got past the walk',
  'Run it again when resharding has ended; what it has done so far need not be done again.',
);

/**
 * The store under all tenants: one stated bypass, and an end to every wait. Replies are what the server says: functions
 * that somebody has set for replies of all clients would change what is removed, and what a certificate tells.
 */
export class RawStore {
  readonly wiring: Wiring;
  readonly #client: Redis | Cluster;
  readonly #timeout: number;
  readonly #operation: string;
  readonly #scope: Scope | undefined;

  /**
   * @param operation - what is done, for the audit trail and for errors
   * @throws {@link ConfigError} when the client is not one of this package, or its options make it unfit
   * @throws {@link OperationRefusedError} inside a tenant, who could name another one
   */
  constructor(
    client: Redis | Cluster,
    operation: string,
    reason: string,
    { timeout = TIMEOUT }: RawStoreOptions,
  ) {
    this.wiring = assertGuarded(client);
    assertOutside(operation);
    assertFit(client, operation);
    this.#client = client;
    this.#timeout = timeout;
    this.#operation = operation;
    // One audit event, not one per command.
    this.#scope = acrossTenants({ reason, actor: `tenantkit/${operation}` }, currentScope);
  }

  /** What the server says to one command. */
  ask(...call: RawCall): Promise<unknown> {
    return this.#run(() => sendRaw(this.#client, call));
  }

  /** A command that is answered with a number. */
  async number(...call: RawCall): Promise<number> {
    return numberOf(await this.ask(...call));
  }

  /** What the server says to many commands, in their order. */
  async askEach(calls: readonly RawCall[]): Promise<unknown[]> {
    return (await this.tryEach(calls)).map((reply) => {
      if (reply instanceof Error) throw reply;
      return reply;
    });
  }

  async numbers(calls: readonly RawCall[]): Promise<number[]> {
    return (await this.tryEach(calls)).map(numberOf);
  }

  /** As {@link RawStore.askEach}, with the errors of the server in the places of its replies. */
  tryEach(calls: readonly RawCall[]): Promise<unknown[]> {
    return this.#tryAt(this.#client, calls);
  }

  /** What one of the servers says. */
  askAt(node: Redis, ...call: RawCall): Promise<unknown> {
    return this.#run(() => sendRaw(node, call));
  }

  async numbersAt(node: Redis, calls: readonly RawCall[]): Promise<number[]> {
    return (await this.#tryAt(node, calls)).map(numberOf);
  }

  /**
   * Walks the keys of every master. A key that is there all the time comes at least once, and may come twice: when
   * slots of a cluster have moved meanwhile, a key may have got past the walk, which begins anew.
   *
   * @throws {@link OperationRefusedError} when they go on moving
   */
  async *pages({ match, signal }: { match?: string; signal?: AbortSignal }): AsyncGenerator<Page> {
    const pattern = match === undefined ? [] : ['MATCH', match];
    let before = await this.#topology();
    for (let walk = 1; walk <= MAX_WALKS; walk += 1) {
      for (const node of before.masters) {
        let cursor = '0';
        const size = new PageSize(FIRST, PAGE);
        do {
          signal?.throwIfAborted();
          const page = await this.askAt(node, 'scan', cursor, ...pattern, 'COUNT', `${size.count}`);
          const [next, keys] = page as [Buffer, Buffer[]];
          size.came(keys);
          cursor = String(next);
          if (keys.length > 0) yield { node, keys };
        } while (cursor !== '0');
      }
      const after = await this.#topology();
      if (after.settled !== undefined && after.settled === before.settled) return;
      before = after;
    }
    throw refusal('cache', this.#operation, RESHARDING);
  }

  /** Removes keys from the master that holds them. @returns how many were there */
  async unlink({ node, keys }: Page): Promise<number> {
    let removed = 0;
    if (!this.isCluster) {
      for (const some of portionsOfNames(keys))
        removed += numberOf(await this.askAt(node, 'unlink', ...some));
      return removed;
    }
    // The keys of one node are not in one slot.
    const calls = keys.map((key): RawCall => ['unlink', key]);
    for (const reply of await this.#tryAt(node, calls)) {
      // A slot that moves away is walked on its new node, in this pass or the next.
      const isMoving = reply instanceof Error && /^(?:MOVED|ASK|TRYAGAIN) /.test(reply.message);
      if (!isMoving) removed += numberOf(reply);
    }
    return removed;
  }

  /** The address, without user and password. */
  get target(): string {
    return targetOf(this.#client instanceof Cluster ? startOf(this.#client) : this.#client.options);
  }

  get isCluster(): boolean {
    return this.#client instanceof Cluster;
  }

  /**
   * Whether a server may remove keys that have no time to live, when its memory is full. One that does not say is
   * taken for one that may.
   */
  async mayEvict(): Promise<boolean> {
    for (const node of await this.masters()) {
      let info: string;
      try {
        info = String(await this.askAt(node, 'info', 'memory'));
      } catch (error) {
        if (error instanceof Error && error.message.startsWith('NOPERM')) return true;
        throw error;
      }
      const limited = !/^maxmemory:0\r?$/m.test(info);
      if (limited && !/^maxmemory_policy:(?:noeviction|volatile-\w+)\r?$/m.test(info)) return true;
    }
    return false;
  }

  /** The servers that hold keys. */
  async masters(): Promise<readonly Redis[]> {
    return (await this.#topology()).masters;
  }

  /** All servers, replicas of a cluster included. Those behind a master that the client reaches alone are unknown. */
  async servers(): Promise<readonly Redis[]> {
    const client = this.#client;
    if (!(client instanceof Cluster)) return [client];
    await this.#topology();
    return client.nodes('all');
  }

  async #tryAt(client: Redis | Cluster, calls: readonly RawCall[]): Promise<unknown[]> {
    const replies: unknown[] = [];
    for (const some of portionsOf(calls, bytesOf, IN_FLIGHT)) {
      const sent = (): Promise<unknown[]> =>
        Promise.all(some.map((call) => sendRaw(client, call).catch(replyError)));
      replies.push(...(await this.#run(sent)));
    }
    return replies;
  }

  async #topology(): Promise<Topology> {
    const client = this.#client;
    if (!(client instanceof Cluster)) return { masters: [client], lines: '', settled: '' };
    // Until the first answer a cluster knows only the nodes it was started with.
    await this.ask('ping');
    return topologyOf(
      client,
      (call) => this.#run(call),
      (node) => this.askAt(node, 'cluster', 'NODES'),
    );
  }

  /** @throws {@link StoreUnreachableError} when there is no answer in time; ioredis alone would wait for ever */
  async #run<T>(call: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new LateError(this.#timeout));
      }, this.#timeout);
    });
    try {
      return await Promise.race([runInScope(this.#scope, call), late]);
    } catch (cause) {
      // What the server itself says is not about reaching it.
      if (isTenantkitError(cause) || (cause instanceof Error && cause.name === 'ReplyError')) throw cause;
      throw new StoreUnreachableError({
        surface: 'cache',
        operation: this.#operation,
        target: this.target,
        cause,
      });
    } finally {
      clearTimeout(timer);
    }
  }
}
