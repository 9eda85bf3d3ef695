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
  connectionPool.createRedisFromOptions = (node, readOnly) => {
    const made = make(create(node, readOnly).options);
    hearAsking(made);
    return made;
  };
  // Before anybody else hears of it.
  connectionPool.prependListener('+node', assertNode);
}

/** @throws {@link ConfigError} for a node that was made in another way, past the guard */
export function assertNode(node: object): void {
  if (wiringOf(node) === undefined)
    throw brokenCoupling('nodes of a cluster are made in createRedisFromOptions of its pool');
}

// A cluster sends ASKING right before what it is for, and lets go of its promise: on a connection that breaks in
// between that rejection would end the process. What it is for is rejected, or sent again, by itself.
function hearAsking(node: RawRedis): void {
  const asking = node.asking.bind(node) as (...args: unknown[]) => Promise<unknown>;
  const heard = (...args: unknown[]): Promise<unknown> => {
    const asked = asking(...args);
    asked.catch(ignore);
    return asked;
  };
  Object.defineProperty(node, 'asking', { value: heard, writable: true, configurable: true });
}

function ignore(): void {
  // See above.
}

interface ConnectionPool extends EventEmitter {
  redisOptions: object | undefined;
  createRedisFromOptions(node: object, readOnly: boolean): RawRedis;
}
