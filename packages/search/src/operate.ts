import { errors } from '@opensearch-project/opensearch';
import {
  StoreUnreachableError,
  currentTenant,
  refusal,
  refuse,
  runInScope,
  type Scope,
} from '@tenantkit/core';
import type { Client } from './client.ts';
import { isObject } from './json.ts';

/** One request of an operator, in physical names. */
export interface Operation {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: object;
  /** Milliseconds, for what takes longer than a search. */
  readonly requestTimeout?: number;
}

/** Sends one request and gives its body; `undefined` for a 404. */
export type Operate = (operation: Operation) => Promise<Readonly<Record<string, unknown>> | undefined>;

// Ten minutes: what a batch of deletions or a forced merge may take.
const LONG_MS = 600_000;

/**
 * How eraser, auditor and mapping reach the server: past the rewriting, which would hide from them what they
 * look for. The caller is an operator by what it calls, so no event of a bypass is published; inside a tenant it
 * is refused.
 *
 * @param name - what the operator does, for errors: `searchEraser.erase`
 */
export function operator(client: Client, name: string): Operate {
  if (currentTenant() !== undefined) {
    throw refusal(
      'search',
      name,
      refuse('it works on the documents of all tenants', 'Call it outside of withTenant.'),
    );
  }
  const scope: Scope = { tenant: undefined, bypass: { reason: name, actor: 'tenantkit' } };
  return async ({ method, path, query = {}, body, requestTimeout = LONG_MS }) => {
    try {
      const reply = await runInScope(scope, () =>
        client.transport.request(
          { method, path, querystring: { ...query }, ...(body === undefined ? {} : { body }) },
          // No retry of what takes minutes; every caller here can be run again.
          { ignore: [404], requestTimeout, maxRetries: 0 },
        ),
      );
      if (reply.statusCode === 404) return undefined;
      return isObject(reply.body) ? reply.body : {};
    } catch (cause) {
      if (!isConnectionError(cause)) throw cause;
      const [connection] = client.connectionPool.connections;
      throw new StoreUnreachableError({
        surface: 'search',
        operation: name,
        target: connection?.url.href ?? '',
        cause,
      });
    }
  };
}

function isConnectionError(error: unknown): boolean {
  return (
    error instanceof errors.ConnectionError ||
    error instanceof errors.TimeoutError ||
    error instanceof errors.NoLivingConnectionsError
  );
}
