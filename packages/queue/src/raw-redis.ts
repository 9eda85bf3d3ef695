import {
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
import { isRedisCluster } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { holderOf, type Holder } from './cluster.ts';

/** How long one command may take, connecting included, in milliseconds. */
const TIMEOUT = 10_000;

const INSIDE = refuse(
  'it works on the jobs of all tenants, and was called inside of one',
  'Call it outside of withTenant: in a job of the service, or inside acrossTenants.',
);

const MOVING = refuse(
  'the keys of the queue are moving to another server of the cluster, and nobody could say that all were met',
  'Run it again when the cluster has been resharded.',
);

/** The server under all tenants, for an eraser and an auditor: one stated bypass, and an end to every wait. */
export class RawRedis {
  readonly #redis: Redis;
  readonly #timeout: number;
  readonly #operation: string;
  readonly #scope: Scope | undefined;

  /**
   * @param operation - what is done, for the audit trail and for errors: `queueEraser.plan`
   * @throws {@link OperationRefusedError} inside a tenant, who could name another one
   */
  constructor(redis: Redis, operation: string, timeout: number = TIMEOUT) {
    if (currentTenant() !== undefined) throw refusal('queue', operation, INSIDE);
    this.#redis = redis;
    this.#timeout = timeout;
    this.#operation = operation;
    // One audit event, not one per command.
    this.#scope = acrossTenants(
      { reason: 'walk over the jobs of all tenants', actor: `tenantkit/${operation}` },
      currentScope,
    );
  }

  /**
   * Runs one command, or a few.
   *
   * @throws {@link StoreUnreachableError} when there is no answer in time: a connection that BullMQ accepts
   * would wait for ever
   */
  async run<T>(call: (redis: Redis) => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${this.#timeout} ms`)), this.#timeout);
    });
    try {
      return await Promise.race([runInScope(this.#scope, () => call(this.#redis)), late]);
    } catch (cause) {
      // What the server itself says is not about reaching it.
      if (isTenantkitError(cause) || (cause instanceof Error && cause.name === 'ReplyError')) throw cause;
      const { host = 'localhost', port = 6379 } = this.#address;
      throw new StoreUnreachableError({
        surface: 'queue',
        operation: this.#operation,
        target: `redis://${host}:${port}`,
        cause,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** The server that has all keys which begin with this: `SCAN` on a cluster would go to any of them. */
  async holderOf(base: string): Promise<Holder> {
    if (!isRedisCluster(this.#redis)) return { node: this.#redis, state: '' };
    const cluster = this.#redis as unknown as Cluster;
    const holder = await this.run(() => holderOf(cluster, base));
    if (holder.state === undefined) throw refusal('queue', this.#operation, MOVING);
    return holder;
  }

  /** Whether it still has them, and has had them since. */
  async stillHolds({ state }: Holder, base: string): Promise<boolean> {
    return (await this.holderOf(base)).state === state;
  }

  get #address(): { readonly host?: string | undefined; readonly port?: number | undefined } {
    if (!isRedisCluster(this.#redis)) return this.#redis.options;
    return (this.#redis as unknown as Cluster).nodes()[0]?.options ?? {};
  }
}
