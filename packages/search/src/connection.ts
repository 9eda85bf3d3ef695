import type { Connection } from '@opensearch-project/opensearch';
import { currentScope, refusal, refuse } from '@tenantkit/core';

const allowed: WeakSet<object> = new WeakSet();

// The pool's own question whether a dead node is back.
const PING_KEYS: ReadonlySet<string> = new Set(['method', 'path', 'timeout']);

/** Marks a request as one that a guarded transport has let through. */
export function allowRequest(request: object): void {
  allowed.add(request);
}

/**
 * Makes a Connection that sends only what a guarded transport has let through: the second lock. Without it
 * `client.connectionPool.getConnection().request(…)`, a borrowed `Transport.prototype.request` or another
 * transport on the same pool would go around the first.
 */
export function guardConnection(Base: typeof Connection): typeof Connection {
  return class GuardedConnection extends Base {
    override request(
      ...[params, callback]: Parameters<Connection['request']>
    ): ReturnType<Connection['request']> {
      if (!allowed.has(params) && !isPing(params) && currentScope()?.bypass === undefined) {
        throw refusal(
          'search',
          'connection.request',
          refuse(
            'it goes around the transport, where requests are rewritten for their tenant',
            'Use the methods of the client, or client.transport.request.',
          ),
        );
      }
      return super.request(params, callback);
    }
  };
}

function isPing(params: object): boolean {
  const { method, path } = params as { readonly method?: unknown; readonly path?: unknown };
  return method === 'HEAD' && path === '/' && Object.keys(params).every((key) => PING_KEYS.has(key));
}
