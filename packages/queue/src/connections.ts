import {
  RedisConnection,
  createIORedisClient,
  isRedisInstance,
  type ConnectionOptions,
  type QueueBaseOptions,
} from 'bullmq';
import { ConfigError, guardedBy } from '@tenantkit/core';

/** BullMQ's options, as far as they decide how its connections are made. */
export type StoreOptions = QueueBaseOptions & { readonly prefix?: string; readonly name?: string };

/**
 * The connection of a queue, as BullMQ's own factory makes it.
 *
 * @throws {@link ConfigError} when it is not one of ioredis, or has a keyPrefix
 */
export function connect({
  connection,
  skipVersionCheck = false,
  skipWaitingForReady = false,
}: StoreOptions): RedisConnection {
  checkConnection(connection);
  return new RedisConnection(connection, {
    shared: isRedisInstance(connection),
    blocking: false,
    skipVersionCheck,
    skipWaitingForReady,
  });
}

/** The second connection of a worker, on which it blocks, under a name that `getWorkers` finds. */
export function connectBlocking(
  { connection, name, skipVersionCheck = false }: StoreOptions,
  prefix: string,
  queue: string,
): RedisConnection {
  checkConnection(connection);
  const connectionName = `${prefix}:${Buffer.from(queue).toString('base64')}${name === undefined ? '' : `:w:${name}`}`;
  return new RedisConnection(
    isRedisInstance(connection)
      ? createIORedisClient(connection).duplicate({ connectionName })
      : { ...connection, connectionName },
    { shared: false, blocking: true, skipVersionCheck },
  );
}

/** @throws {@link ConfigError} when it is not one of ioredis, or has a keyPrefix */
export function checkConnection(connection: ConnectionOptions): void {
  const problem = !isObject(connection)
    ? 'the option connection is missing, or neither a client nor options of one'
    : isRedisInstance(connection)
      ? guardedBy(connection) !== undefined
        ? 'the connection is a client of @tenantkit/cache, which prefixes the keys of BullMQ’s scripts'
        : typeof (connection as { defineCommand?: unknown }).defineCommand !== 'function' &&
          'the connection is not an ioredis client'
      : (connection as { keyPrefix?: unknown }).keyPrefix !== undefined &&
        'the connection has a keyPrefix, which BullMQ’s scripts do not know';
  refuseStringNumbers(connection);
  if (problem === false) return;
  throw new ConfigError({
    surface: 'queue',
    operation: 'connection',
    problem,
    hint: 'Give a raw ioredis client or its options, { url } for one with an address; separate queues with the option prefix.',
  });
}

// A text would be taken for options that say nothing: BullMQ would go to localhost.
function isObject(given: unknown): boolean {
  return (typeof given === 'object' || typeof given === 'function') && given !== null;
}

/** Replies of scripts would come as texts: BullMQ itself runs a job hundreds of times then. */
function refuseStringNumbers(connection: ConnectionOptions): void {
  const options: unknown = isRedisInstance(connection) ? Reflect.get(connection, 'options') : connection;
  // Of a cluster it is an option of the connections to its nodes.
  const ofNodes: unknown = Reflect.get(Object(options) as object, 'redisOptions');
  if (![options, ofNodes].some((one) => Reflect.get(Object(one) as object, 'stringNumbers') === true)) return;
  throw new ConfigError({
    surface: 'queue',
    operation: 'connection',
    problem: 'the connection has the option stringNumbers, with which BullMQ cannot read its own scripts',
    hint: 'Give the queue a connection without it.',
  });
}
