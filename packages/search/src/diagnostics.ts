import { errors, type ApiError, type ApiResponse } from '@opensearch-project/opensearch';
import { isTenantkitError, runInScope, type Scope } from '@tenantkit/core';
import { callOf, isResult, type Call } from './call.ts';
import { rules } from './rules.ts';

/** A listener of the client's events, as the raw client calls it. */
export type Listener = (error: never, result: never) => void;
type Hearing = (error: unknown, result: unknown) => void;

/**
 * The listeners of one client. A listener hears the tenant it was registered under, in that tenant. Registered
 * outside of any tenant, for metrics, it hears every call without names, bodies and reasons; inside
 * `acrossTenants`, everything.
 */
export class Diagnostics {
  // Not on the raw client's emitter, whose own `on` hears everybody's replies in everybody's scope.
  readonly #hearings = new Map<
    string | symbol,
    readonly { readonly key: Listener; readonly hearing: Hearing }[]
  >();

  /** Adds a listener. @param key - the listener by which it is removed, when that is another */
  add(event: string | symbol, scope: Scope | undefined, listener: Listener, key = listener): void {
    const known = this.#hearings.get(event) ?? [];
    this.#hearings.set(event, [...known, { key, hearing: toHearing(scope, listener as Hearing) }]);
  }

  /** Takes away what was added last for a listener. */
  remove(event: string | symbol, listener: Listener): void {
    const known = this.#hearings.get(event) ?? [];
    const found = known.findLast(({ key }) => key === listener);
    this.#hearings.set(
      event,
      known.filter((entry) => entry !== found),
    );
  }

  /** Tells an event to those who may hear it. @returns whether anybody listens */
  tell(event: string | symbol, [error, result]: readonly unknown[]): boolean {
    const known = this.#hearings.get(event) ?? [];
    for (const { hearing } of known) hearing(error, result);
    return known.length > 0;
  }
}

function toHearing(scope: Scope | undefined, listener: Hearing): Hearing {
  return (error, result) => {
    const call = callOf(result);
    if (scope?.tenant !== undefined) {
      if (call?.tenant === scope.tenant.tenant) runInScope(scope, () => listener(error, result));
    } else if (scope?.bypass !== undefined || (call === undefined && !isResult(result))) {
      runInScope(scope, () => listener(error, result));
    } else {
      const hidden = withoutNames(result as ApiResponse, call);
      runInScope(undefined, () => listener(errorWithoutNames(error, hidden), hidden));
    }
  };
}

// Also for a call that is not known, as it would be if the raw client stopped carrying it through.
function withoutNames(result: ApiResponse, call: Call | undefined): ApiResponse {
  const { name, connection, attempts, aborted, request, sniff } = result.meta;
  const template = call?.operation === undefined ? undefined : rules[call.operation].routes[0];
  const [, path = ''] = template?.split(' ') ?? [];
  const params = { method: request.params?.method ?? '', path };
  return {
    body: null,
    statusCode: result.statusCode,
    headers: null,
    warnings: null,
    meta: {
      context: null,
      name,
      connection,
      attempts,
      aborted,
      request: { params, options: {}, id: request.id as unknown },
      ...(sniff === undefined ? {} : { sniff }),
    },
  };
}

// An error carries the result as `meta`, and the reason of the server in its message.
function errorWithoutNames(error: unknown, hidden: ApiResponse): unknown {
  if (error === null || error === undefined || isTenantkitError(error)) return error;
  if (error instanceof errors.ResponseError) return new errors.ResponseError(hidden);
  if (error instanceof errors.TimeoutError) return new errors.TimeoutError('', hidden);
  if (error instanceof errors.ConnectionError) return new errors.ConnectionError(error.message, hidden);
  if (error instanceof errors.RequestAbortedError) return new errors.RequestAbortedError('', hidden);
  if (error instanceof errors.NoLivingConnectionsError)
    return new errors.NoLivingConnectionsError('', hidden);
  return new errors.ConnectionError('', hidden) satisfies ApiError;
}
