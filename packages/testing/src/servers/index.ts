export { ServerFailedError, ServerUnavailableError } from './errors.ts';
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
