import { errors, type Connection } from '@opensearch-project/opensearch';
import { currentScope, refusal, refuse } from '@tenantkit/core';
import type { Call } from './call.ts';
import { lock } from './lock.ts';
import { SHARED } from './pool.ts';

const allowed: WeakMap<object, Call> = new WeakMap();

// Through these passes every tenant's request, in physical names.
const FIXED = ['headers', 'agent', 'ssl', 'makeRequest', 'request', 'buildRequestObject', 'close'] as const;

// The pool's own question whether a dead node is back.
const PING_KEYS: ReadonlySet<string> = new Set(['method', 'path', 'timeout']);

/** Marks a request as one that a guarded transport has let through, and fixes where it goes. */
export function allowRequest(
  request: { readonly method?: unknown; readonly path?: unknown },
  call: Call,
): void {
  const { method, path } = request;
  Object.defineProperties(request, {
    method: { value: method, enumerable: true, writable: false },
    path: { value: path, enumerable: true, writable: false },
  });
  allowed.set(request, call);
}

/**
 * Makes a Connection that sends only what a guarded transport has let through: the second lock. Without it
 * `client.connectionPool.getConnection().request(…)`, a borrowed `Transport.prototype.request` or another
 * transport on the same pool would go around the first.
 */
export function guardConnection(Base: typeof Connection): typeof Connection {
  return class GuardedConnection extends Base {
    constructor(options?: ConstructorParameters<typeof Connection>[0]) {
      super(options);
      const { href } = this.url;
      Object.freeze(this.headers);
      // A copy for each who asks: a URL cannot be frozen, and where it points all requests go.
      Object.defineProperty(this, 'url', {
        enumerable: true,
        get: () => new URL(href),
        set: () => {
          throw refusal('search', 'connection.url', SHARED);
        },
      });
      lock(this, FIXED);
    }

    override close(...args: Parameters<Connection['close']>): Connection {
      if (currentScope()?.tenant !== undefined) throw refusal('search', 'connection.close', SHARED);
      return super.close(...args);
    }

    override request(
      ...[params, callback]: Parameters<Connection['request']>
    ): ReturnType<Connection['request']> {
      const call = allowed.get(params);
      if (call !== undefined) {
        // Each attempt asks the fence: a retry may leave minutes after the call, when its tenant is erased.
        if (call.mayLeave()) return super.request(params, callback);
        process.nextTick(callback, new errors.RequestAbortedError('The tenant was fenced'), null);
        return NOTHING_SENT;
      }
      const ping = toPing(params);
      if (ping !== undefined) {
        const request = super.request(ping, withoutSocket(callback));
        return { abort: () => request.destroy() } as unknown as typeof request;
      }
      if (currentScope()?.bypass !== undefined) return super.request(params, callback);
      throw refusal(
        'search',
        'connection.request',
        refuse(
          'it goes around the transport, where requests are rewritten for their tenant',
          'Use the methods of the client, or client.transport.request.',
        ),
      );
    }
  };
}

// The pool asks for the status alone; a response brings its socket, which carries the requests of all.
function withoutSocket(callback: Parameters<Connection['request']>[1]): Parameters<Connection['request']>[1] {
  return (error, response) => {
    if (response === null) return callback(error, response);
    response.resume();
    const { statusCode, headers } = response;
    return callback(error, { statusCode, headers } as typeof response);
  };
}

const NOTHING_SENT = { abort: () => undefined } as unknown as ReturnType<Connection['request']>;

// Built anew: a Proxy or a getter would show the check a ping, and the connection something else.
function toPing(params: object): Parameters<Connection['request']>[0] | undefined {
  const { method, path, timeout } = params as {
    readonly method?: unknown;
    readonly path?: unknown;
    readonly timeout?: unknown;
  };
  if (method !== 'HEAD' || path !== '/' || !Object.keys(params).every((key) => PING_KEYS.has(key)))
    return undefined;
  return { method, path, ...(timeout === undefined ? {} : { timeout: Number(timeout) }) };
}
