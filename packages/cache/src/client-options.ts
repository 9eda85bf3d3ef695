import type {
  ChainableCommander,
  ClusterOptions as RawClusterOptions,
  RedisOptions as RawRedisOptions,
} from 'ioredis';
import type { ReplyMappingMode } from 'ioredis/built/types.js';
import type { ScriptDefinition } from './define.ts';
import type { CacheOptions } from './options.ts';

/** Options of ours, and those of ioredis that say more here. */
interface OwnOptions {
  readonly tenant?: CacheOptions | undefined;
  /** Scripts that become methods of the client. */
  scripts?: Record<string, ScriptDefinition> | undefined;
}

/** Options of ioredis, and ours under `tenant`. `keyPrefix`, `monitor` and `himportFieldsets` are refused. */
export type RedisOptions = RawRedisOptions & OwnOptions;

/** Options of ioredis's Cluster, and ours under `tenant`, beside `redisOptions`. */
export type ClusterOptions = RawClusterOptions & OwnOptions;

/** Whether replies that are numbers come as texts. */
export function hasTextNumbers(options: RedisOptions | ClusterOptions): boolean {
  const { stringNumbers }: RedisOptions = 'redisOptions' in options ? { ...options.redisOptions } : options;
  return stringNumbers === true;
}

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
