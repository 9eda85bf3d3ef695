import { currentScope, refusal, refuse } from '@tenantkit/core';
import type {
  ChainableCommander,
  Command,
  Redis as RawRedis,
  ClusterOptions as RawClusterOptions,
  RedisOptions as RawRedisOptions,
} from 'ioredis';
import type { ReplyMappingMode, WriteableStream } from 'ioredis/built/types.js';
import { Batch, type BatchClient } from './batch.ts';
import { MARK, OWN, rejectCommand, sendOrReject, type MarkedCommand } from './command.ts';
import { Guard } from './guard.ts';
import { lockOptions, readOptions, refusedOption, type CacheOptions } from './options.ts';
import { addCommands, guardPipeline } from './pipeline.ts';
import { ruleOf } from './rules.ts';
import { guardScanStreams } from './streams.ts';

/** Options of ioredis, and ours under `tenant`. `keyPrefix`, `scripts`, `monitor` and `himportFieldsets` are refused. */
export type RedisOptions = RawRedisOptions & { readonly tenant?: CacheOptions | undefined };

/** Options of ioredis's Cluster, and ours under `tenant`, beside `redisOptions`. */
export type ClusterOptions = RawClusterOptions & { readonly tenant?: CacheOptions | undefined };

/** What {@link Redis.createClient} takes: the same as the constructor. */
export type RedisArguments =
  | [port: number, host: string, options?: RedisOptions]
  | [portOrPath: number | string, options?: RedisOptions]
  | [options?: RedisOptions];

/** {@link RedisOptions} that decide about the form of replies. */
export type MappedRedisOptions<M extends ReplyMappingMode> = RedisOptions & { replyMapping?: M };

/** {@link ClusterOptions} that decide about the form of replies. */
export type MappedClusterOptions<M extends ReplyMappingMode> = ClusterOptions & {
  redisOptions?: RawClusterOptions['redisOptions'] & { replyMapping?: M };
};

/** The pipeline of a client with this form of replies. */
export type Chain<M extends ReplyMappingMode> = ChainableCommander<M extends 'resp3' ? 'resp3' : 'resp2'>;

interface Client {
  readonly options: RedisOptions | ClusterOptions;
  disconnect(): void;
}

const SCRIPTS = refuse(
  'a script reaches keys that it does not declare, and its name becomes a method for every tenant',
  'Use commands or redis.multi(); scripts are refused today.',
);
const NEW_COMMAND = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => redis.call(…)).',
);

const wirings = new WeakMap<object, Wiring>();

/** What a guarded `Redis` and a guarded `Cluster` have in common. */
export class Wiring {
  /** Our options, as they were when the client was made. */
  readonly tenant: CacheOptions;
  readonly guard: Guard;
  readonly batch: Batch;
  readonly #options: RedisOptions | ClusterOptions;
  readonly #raw: BatchClient;

  /** @throws {@link ConfigError} */
  constructor(client: Client, raw: BatchClient) {
    this.#raw = raw;
    this.#options = client.options;
    try {
      const { options } = client;
      this.tenant = readOptions(options, 'redisOptions' in options ? options.redisOptions : undefined);
      this.guard = new Guard(this.tenant);
    } catch (error) {
      // ioredis has begun to connect, and nobody gets this client who could close it.
      client.disconnect();
      throw error;
    }
    this.batch = new Batch(raw);
    wirings.set(client, this);
    lockOptions(client.options);
    Object.defineProperty(client, 'options', { writable: false });
    guardScanStreams(client, this.guard);
  }

  /** Sends a command for the caller's tenant, or rejects it. Never throws. */
  send(command: MarkedCommand, send: (command: Command) => unknown = this.#raw.send): unknown {
    const isNew = command?.[MARK] === undefined;
    const error = this.guard.admit(command);
    if (error !== undefined) return rejectCommand(command, error);
    const { enableAutoPipelining, autoPipeliningIgnoredCommands } = this.#options;
    // ioredis's own have an order to keep: ASKING goes right before the command that it is for.
    const mayWait = isNew && enableAutoPipelining === true && command[MARK] !== OWN;
    if (mayWait && this.batch.takes(command, autoPipeliningIgnoredCommands)) return this.batch.add(command);
    return sendOrReject(command, send);
  }

  /** Makes a pipeline of ioredis the caller's tenant's. @throws MissingTenantError */
  pipeline<P extends ChainableCommander<'resp2' | 'resp3'>>(
    operation: string,
    make: () => P,
    commands: unknown,
  ): P {
    const owner = this.guard.owner(operation);
    const pipeline = make();
    guardPipeline(pipeline, this.guard, owner);
    if (Array.isArray(commands)) addCommands(pipeline, commands);
    return pipeline;
  }
}

/** The wiring of a client of ours, for the eraser and the auditor; `undefined` for any other object. */
export function wiringOf(client: object): Wiring | undefined {
  return wirings.get(client);
}

/**
 * @throws {@link OperationRefusedError}
 * @throws {@link ConfigError} when the options ask for it, while the client is being made
 */
export function refuseScript(client: object): never {
  throw wirings.has(client) ? refusal('cache', 'defineCommand', SCRIPTS) : refusedOption('scripts');
}

/** @throws {@link OperationRefusedError} for a command without a row */
export function assertKnown(name: string): void {
  if (typeof name !== 'string' || ruleOf(name) === undefined)
    throw refusal('cache', 'addBuiltinCommand', NEW_COMMAND);
}

/**
 * Takes the commands of a pipeline out of the queue of those that wait for a reply. A pipeline is written as a
 * whole at its end: when ioredis throws over one command, those before it were never sent, and would get the
 * replies of whoever comes next.
 */
export function takeBack(queue: RawRedis['commandQueue'], stream: WriteableStream, error: Error): void {
  while (queue.peekBack()?.stream === stream) queue.pop()?.command.reject(error);
}

// Where a client works, and under which names.
const PLACE = [
  'tenant',
  'db',
  'host',
  'port',
  'path',
  'Connector',
  'sentinels',
  'name',
  'username',
  'password',
];

const OTHER_PLACE = refuse(
  'its options move the client to another place or to other names, where the eraser does not look',
  'Make such a client outside of any tenant, when the service starts.',
);

/**
 * Inside a tenant a client is duplicated as it is: with other names one tenant would write under another's.
 *
 * @throws {@link OperationRefusedError}
 */
export function assertSamePlace(override: object | undefined, nodes: readonly unknown[] = []): void {
  if (currentScope()?.tenant === undefined) return;
  if (nodes.length > 0 || PLACE.some((option) => override !== undefined && option in override))
    throw refusal('cache', 'duplicate', OTHER_PLACE);
}

/** Whether `multi` was asked to open a transaction on the connection itself. */
export function isUnpiped(options: unknown): boolean {
  return (
    typeof options === 'object' && options !== null && 'pipeline' in options && options.pipeline === false
  );
}

/** Puts our classes where ioredis hangs its exports on its class: ours would inherit the raw ones. */
export function hangExports(type: object, exports: Readonly<Record<string, () => unknown>>): void {
  for (const [name, get] of Object.entries(exports))
    Object.defineProperty(type, name, { get, enumerable: true });
}

/**
 * Makes the nodes of a cluster guarded. The pool makes its clients with the raw class, and `nodes()` hands them
 * out. ioredis works out their options here; the raw client never connects.
 */
export function guardNodes(cluster: object, make: (options: RedisOptions) => RawRedis): void {
  const { connectionPool } = cluster as { connectionPool: ConnectionPool };
  const create = connectionPool.createRedisFromOptions.bind(connectionPool);
  connectionPool.createRedisFromOptions = (node, readOnly) => make(create(node, readOnly).options);
}

interface ConnectionPool {
  createRedisFromOptions(node: object, readOnly: boolean): RawRedis;
}
