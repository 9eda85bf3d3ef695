import {
  ConfigError,
  StoreUnreachableError,
  acrossTenants,
  currentScope,
  currentTenant,
  isTenantkitError,
  refusal,
  refuse,
  runInScope,
  type Scope,
} from '@tenantkit/core';
import { Cluster, type Redis } from './client.ts';
import { hasTextNumbers } from './client-options.ts';
import { targetOf, type Endpoint } from './target.ts';
import { topologyOf, type Topology } from './topology.ts';
import type { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

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

// Keys per SCAN: at this size one command holds the server up for less than a millisecond.
const PAGE = 1000;

// So often a walk begins anew because slots have moved.
const MAX_WALKS = 20;

const RESHARDING = refuse(
  'slots of the cluster went on moving, and with them keys may have got past the walk',
  'Run it again when resharding has ended; what it has done so far need not be done again.',
);

const INSIDE = refuse(
  'it works on the keys of all tenants, and was called inside of one',
  'Call it outside of withTenant: in a job of the service, or inside acrossTenants.',
);

type Pattern = readonly [] | readonly ['MATCH', string];

/** The store under all tenants: one stated bypass, and an end to every wait. */
export class RawStore {
  readonly wiring: Wiring;
  /** The client; what is called of it belongs inside of {@link RawStore.run}. */
  readonly client: Redis | Cluster;
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
    if (currentTenant() !== undefined) throw refusal('cache', operation, INSIDE);
    assertFit(client, operation);
    this.client = client;
    this.#timeout = timeout;
    this.#operation = operation;
    // One audit event, not one per command.
    this.#scope = acrossTenants({ reason, actor: `tenantkit/${operation}` }, currentScope);
  }

  /**
   * Runs one command with raw names.
   * @throws {@link StoreUnreachableError} when there is no answer in time; ioredis alone would wait for ever
   */
  async run<T>(call: (client: Redis | Cluster) => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`no answer within ${this.#timeout} ms`));
      }, this.#timeout);
    });
    try {
      return await Promise.race([runInScope(this.#scope, () => call(this.client)), late]);
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

  /**
   * Walks the keys of every master. A key that is there all the time comes at least once, and may come twice: when
   * slots of a cluster have moved meanwhile, a key may have got past the walk, which begins anew.
   *
   * @throws {@link OperationRefusedError} when they go on moving
   */
  async *pages({ match, signal }: { match?: string; signal?: AbortSignal }): AsyncGenerator<Page> {
    const pattern: Pattern = match === undefined ? [] : ['MATCH', match];
    let before = await this.#topology();
    for (let walk = 1; walk <= MAX_WALKS; walk += 1) {
      for (const node of before.masters) {
        let cursor = '0';
        do {
          signal?.throwIfAborted();
          const [next, keys] = await this.run(() => scan(node, cursor, pattern));
          cursor = next.toString();
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
    if (!(this.client instanceof Cluster)) return this.run(() => node.unlink(...keys));
    // The keys of one node are not in one slot.
    const results = await this.run(() => {
      const pipeline = node.pipeline();
      for (const key of keys) pipeline.unlink(key);
      return pipeline.exec();
    });
    let removed = 0;
    for (const [error, count] of results ?? []) {
      // A slot that moves away is walked on its new node, in this pass or the next.
      if (error !== null && !/^(?:MOVED|ASK|TRYAGAIN) /.test(error.message)) throw error;
      removed += Number(count ?? 0);
    }
    return removed;
  }

  /** The address, without user and password. */
  get target(): string {
    return targetOf(this.client instanceof Cluster ? startOf(this.client) : this.client.options);
  }

  get isCluster(): boolean {
    return this.client instanceof Cluster;
  }

  /**
   * Whether a server may remove keys that have no time to live, when its memory is full. One that does not say is
   * taken for one that may.
   */
  async mayEvict(): Promise<boolean> {
    for (const node of await this.masters()) {
      let info: string;
      try {
        info = await this.run(() => node.info('memory'));
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
    const { client } = this;
    if (!(client instanceof Cluster)) return [client];
    await this.#topology();
    return client.nodes('all');
  }

  async #topology(): Promise<Topology> {
    const { client } = this;
    if (!(client instanceof Cluster)) return { masters: [client], lines: '', settled: '' };
    // Until the first answer a cluster knows only the nodes it was started with.
    await this.run(() => client.ping());
    return topologyOf(client, (call) => this.run(call));
  }
}

/** @throws {@link ConfigError} */
export function assertGuarded(client: object): Wiring {
  const wiring = wiringOf(client);
  if (wiring !== undefined) return wiring;
  throw new ConfigError({
    surface: 'cache',
    operation: 'client',
    problem: 'the client is not a Redis or Cluster of @tenantkit/cache',
    hint: 'Make it with import { Redis } from "@tenantkit/cache"; its options say how keys are named.',
  });
}

// A replica that is behind shows no key that was written a moment ago: nothing would be removed, and the recount would
// say that nothing is left. Counts that are texts would be put together instead of added.
function assertFit(client: Redis | Cluster, operation: string): void {
  const option =
    client instanceof Cluster && client.options.scaleReads !== 'master'
      ? 'scaleReads'
      : hasTextNumbers(client.options)
        ? 'stringNumbers'
        : undefined;
  if (option === undefined) return;
  throw new ConfigError({
    surface: 'cache',
    operation,
    problem: `the client has the option ${option}, with which what is stored could not be told for certain`,
    hint: "Give it a client of its own without it: client.duplicate(…) with scaleReads: 'master', or without stringNumbers.",
  });
}

function scan(node: Redis, cursor: string, pattern: Pattern) {
  return pattern.length === 0
    ? node.scanBuffer(cursor, 'COUNT', PAGE)
    : node.scanBuffer(cursor, ...pattern, 'COUNT', PAGE);
}

function startOf(client: Cluster): Endpoint {
  const [node] = (client as unknown as { startupNodes: readonly (Endpoint | string | number)[] })
    .startupNodes;
  if (typeof node === 'number') return { port: node };
  if (typeof node !== 'string') return node ?? {};
  const { hostname, port } = new URL(/^rediss?:/.test(node) ? node : `redis://${node}`);
  return { host: hostname, port: Number(port || 6379) };
}
