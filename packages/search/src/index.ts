export {
  Connection,
  ConnectionPool,
  Serializer,
  Transport,
  errors,
  events,
} from '@opensearch-project/opensearch';
export type {
  API,
  ApiError,
  ApiResponse,
  BaseConnectionPool,
  ClientExtendsCallbackOptions,
  CloudConnectionPool,
  NodeOptions,
  ResurrectEvent,
  Types,
} from '@opensearch-project/opensearch';
export { searchAuditor, type SearchAuditorOptions } from './audit.ts';
export {
  searchBackstop,
  type AliasAction,
  type SearchBackstop,
  type SearchBackstopOptions,
} from './backstop.ts';
export { Client, type ClientOptions } from './client.ts';
export { ensureTenantMapping } from './ensure.ts';
export { searchEraser, type SearchEraserOptions } from './erase.ts';
export type { SearchTenantOptions } from './options.ts';
