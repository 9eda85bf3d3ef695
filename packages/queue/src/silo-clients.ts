import { isRedisInstance, type ConnectionOptions } from 'bullmq';
import { ConfigError } from '@tenantkit/core';
import { Redis } from 'ioredis';
import { InvalidPlacement, isSamePlace, readPlacement, type QueuePlacement } from './placement.ts';

/** A silo that was found. It has a client for as long as somebody uses it. */
export class KnownSilo {
  readonly connection: ConnectionOptions;
  #redis: Redis | undefined;
  #users = 0;

  constructor(connection: ConnectionOptions) {
    this.connection = connection;
  }

  /** Its client; between {@link KnownSilo.use} and the end of it only. */
  get redis(): Redis {
    if (this.#redis === undefined) throw new TypeError('the silo is not in use');
    return this.#redis;
  }

  /**
   * Connects. The client of a caller is the caller's to end.
   *
   * @returns what is to be called when it is needed no longer
   */
  use(): () => void {
    this.#redis ??= isRedisInstance(this.connection)
      ? (this.connection as unknown as Redis)
      : made(this.connection);
    this.#users += 1;
    return () => {
      this.#users -= 1;
      if (this.#users > 0 || isRedisInstance(this.connection)) return;
      this.#redis?.disconnect();
      this.#redis = undefined;
    };
  }
}

/** The silos that an eraser or an auditor has found out about. */
export class SiloClients {
  readonly #place: ((tenant: string) => QueuePlacement) | undefined;
  readonly #known: KnownSilo[] = [];

  constructor(place: ((tenant: string) => QueuePlacement) | undefined) {
    this.#place = place;
  }

  /**
   * The silo that a tenant is in: always the same object for the same one.
   *
   * @returns `undefined` for the pool
   * @throws {@link ConfigError} when nobody knows where the tenant is
   */
  find(tenant: string): KnownSilo | undefined {
    const connection = this.#connectionOf(tenant);
    if (connection === undefined) return undefined;
    const known = this.#known.find((silo) => isSamePlace(silo.connection, connection));
    if (known !== undefined) return known;
    const found = new KnownSilo(connection);
    this.#known.push(found);
    return found;
  }

  #connectionOf(tenant: string): ConnectionOptions | undefined {
    try {
      return this.#place === undefined ? undefined : readPlacement(this.#place(tenant));
    } catch (cause) {
      throw new ConfigError({
        surface: 'queue',
        operation: 'place',
        problem: cause instanceof InvalidPlacement ? cause.message : 'place has failed, as the cause says',
        hint: 'Nothing is known of where the jobs of the tenant are, so nothing was done.',
        cause,
      });
    }
  }
}

function made(connection: ConnectionOptions): Redis {
  const { url, ...options } = connection as { readonly url?: string };
  const redis = url === undefined ? new Redis(options) : new Redis(url, options);
  // The command that waits for it fails, and says where to.
  return redis.on('error', () => undefined);
}
