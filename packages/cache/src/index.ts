import { ReplyError as RawReplyError } from 'ioredis';

export { cacheAuditor, type CacheAuditorOptions } from './audit.ts';
export { cacheBackstop, type CacheBackstopOptions } from './backstop.ts';
export { Cluster, Redis, Redis as default } from './client.ts';
export { cacheEraser, type CacheEraserOptions } from './erase.ts';
export type { ScriptDefinition } from './define.ts';
export type { ResubscribedListener } from './delivery.ts';
export { indexCache, type IndexCacheOptions, type Indexed } from './reindex.ts';
export type { NamesOptions } from './names.ts';
export type { CacheOptions, DedicatedOptions } from './options.ts';
export type { CachePlacement, SiloOptions, SiloPlacement } from './place.ts';
export type { RawStoreOptions } from './raw-store.ts';
export type { AllowedScript } from './scripts.ts';
export type { ClusterOptions, RedisOptions } from './client-options.ts';

/** The class of errors that the server itself replies with. */
export const ReplyError: new (message: string) => Error = RawReplyError as new (message: string) => Error;

export { AbstractConnector, Command, ScanStream, SentinelConnector, SentinelIterator, print } from 'ioredis';
export type {
  BatchOperationContext,
  Callback,
  ChainableCommander,
  ClientContext,
  ClusterNode,
  ClusterStatus,
  CommandTraceContext,
  CommonRedisOptions,
  ConnectTraceContext,
  DNSLookupFunction,
  DNSResolveSrvFunction,
  HimportFieldset,
  NatMap,
  NodeRole,
  Pipeline,
  RedisCommander,
  RedisKey,
  RedisStatus,
  RedisValue,
  Result,
  ScanStreamOptions,
  SentinelAddress,
  SentinelConnectionOptions,
  StandaloneConnectionOptions,
} from 'ioredis';
