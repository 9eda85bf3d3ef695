import type { Redis as RawRedis } from 'ioredis';
import type { EventEmitter } from 'node:events';
import type { RedisOptions } from './client-options.ts';
import { brokenCoupling } from './couplings.ts';
import { wiringOf } from './wirings.ts';

/**
 * Makes the nodes of a cluster guarded. The pool makes its clients with the raw class, and `nodes()` hands them
 * out. ioredis works out their options here; the raw client never connects.
 */
export function guardNodes(
  cluster: { readonly options: { readonly redisOptions?: object | undefined } },
  make: (options: RedisOptions) => RawRedis,
): void {
  const { connectionPool } = cluster as unknown as { connectionPool: ConnectionPool };
  // The pool has a copy, with the login as it was.
  connectionPool.redisOptions = cluster.options.redisOptions;
  const create = connectionPool.createRedisFromOptions.bind(connectionPool);
  connectionPool.createRedisFromOptions = (node, readOnly) => make(create(node, readOnly).options);
  // Before anybody else hears of it.
  connectionPool.prependListener('+node', assertNode);
}

/** @throws {@link ConfigError} for a node that was made in another way, past the guard */
export function assertNode(node: object): void {
  if (wiringOf(node) === undefined)
    throw brokenCoupling('nodes of a cluster are made in createRedisFromOptions of its pool');
}

interface ConnectionPool extends EventEmitter {
  redisOptions: object | undefined;
  createRedisFromOptions(node: object, readOnly: boolean): RawRedis;
}
