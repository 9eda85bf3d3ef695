import { isTenantkitError } from '@tenantkit/core';
import type { StoreFailure } from './errors.ts';

/** How the raw clients say that a server is not there: by code or by name. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  // tenantkit
  'STORE_UNREACHABLE',
  'ERASURE_STORE_SILENT',
  // Node's sockets
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EPIPE',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_SOCKET',
  // PostgreSQL: class 08 connection exceptions, and "cannot connect now"
  '08000',
  '08001',
  '08003',
  '08006',
  '57P03',
  // ioredis, the AWS SDK, OpenSearch
  'MaxRetriesPerRequestError',
  'ClusterAllFailedError',
  'TimeoutError',
  'ConnectionError',
  'NoLivingConnectionsError',
]);

/** What may be told about a store's error, in the ledger, in messages and on a terminal. */
export function toFailure(store: string, phase: StoreFailure['phase'], error: unknown): StoreFailure {
  const { name, code } = describe(error);
  return {
    store,
    phase,
    name,
    ...(code === undefined ? {} : { code }),
    // Messages of raw clients hold physical names, and now and then a connection string.
    message: isTenantkitError(error) ? error.message : [name, code].filter(Boolean).join(' '),
    unreachable: isUnreachable(error),
  };
}

/** Whether the error, its cause or one of several says that a server cannot be reached. */
export function isUnreachable(error: unknown, depth = 0): boolean {
  // Causes may form a ring.
  if (typeof error !== 'object' || error === null || depth > 8) return false;
  const { name, code } = describe(error);
  if (UNREACHABLE.has(name) || (code !== undefined && UNREACHABLE.has(code))) return true;
  const { cause, errors, lastNodeError, previousErrors } = error as Record<string, unknown>;
  const inner = [cause, lastNodeError, previousErrors, errors].flat();
  return inner.some((one) => isUnreachable(one, depth + 1));
}

function describe(error: unknown): { readonly name: string; readonly code?: string } {
  if (typeof error !== 'object' || error === null) return { name: 'Error' };
  const { name, code } = error as { name?: unknown; code?: unknown };
  return {
    name: typeof name === 'string' && /^\w{1,64}$/.test(name) ? name : 'Error',
    ...(typeof code === 'string' && /^\w{1,64}$/.test(code) ? { code } : {}),
  };
}
