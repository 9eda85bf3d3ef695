export { ServerFailedError, ServerUnavailableError } from './errors.ts';
export { startRedisCluster, type RedisCluster, type RedisClusterOptions } from './redis-cluster.ts';
export type { GroupOptions, RedisNode, StartedGroup } from './redis-group.ts';
export { startRedisNode, type RedisNodeOptions } from './redis-node.ts';
export { startRedisSentinel, type RedisSentinel, type RedisSentinelOptions } from './redis-sentinel.ts';
export type { RedisRelease } from './release.ts';
export { startServers } from './start.ts';
export type { ServersRequest } from './request.ts';
export type { Servers, Started } from './start.ts';
export type {
  Connections,
  OpenSearchConnection,
  PostgresConnection,
  ProviderName,
  RedisConnection,
  S3Connection,
  ServerName,
} from './definition.ts';
export type { ServerProgress } from './progress.ts';
