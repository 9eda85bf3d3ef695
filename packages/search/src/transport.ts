import { errors, type ApiResponse, type Serializer, type Transport } from '@opensearch-project/opensearch';
import type {
  TransportRequestCallback,
  TransportRequestOptions,
  TransportRequestParams,
  TransportRequestPromise,
} from '@opensearch-project/opensearch/lib/Transport.js';
import { ConfigError, currentScope, refusal, requireScope, runInScope, type Scope } from '@tenantkit/core';
import { Call, INTERNAL, tellEvent } from './call.ts';
import { allowRequest } from './connection.ts';
import type { Diagnostics } from './diagnostics.ts';
import { readHeaders } from './headers.ts';
import { isMissingIndex, type Describe, type IndexCheck } from './indices.ts';
import { isObject } from './json.ts';
import type { SearchSettings } from './options.ts';
import { lock } from './lock.ts';
import { SHARED } from './pool.ts';
import { refusing } from './refusing.ts';
import { Reply, type Callback } from './reply.ts';
import { prepareRequest, type Prepared } from './request.ts';
import { findRoute } from './routes.ts';

/** What the transports of one client share. */
export interface Guard {
  readonly settings: SearchSettings;
  readonly indexCheck: IndexCheck;
  readonly diagnostics: Diagnostics;
}

type TransportOptions = ConstructorParameters<typeof Transport>[0];

/** Sends a request through the raw transport. */
type Send = (request: object, options: SentOptions, done: Callback) => TransportRequestCallback;
interface SentOptions {
  readonly id: Call;
  readonly [option: string]: unknown;
}

// One call of `request`, as it came in.
interface Asked {
  readonly id: unknown;
  readonly params: TransportRequestParams;
  readonly options: TransportRequestOptions;
}

// Over whatever the client sends with every request: a reply in another form could not be checked.
const JSON_ONLY = { accept: 'application/json' } as const;
const JSON_ONLY_OPTIONS = { headers: JSON_ONLY } as const;

// Through these passes every tenant's request, in physical names.
const FIXED = [
  'emit',
  'connectionPool',
  'serializer',
  'headers',
  'nodeFilter',
  'nodeSelector',
  'request',
  'sniff',
  'getConnection',
] as const;

// Why the raw client sniffs by itself, in the middle of whoever's request.
const TRIGGERED: ReadonlySet<string> = new Set(['sniff-interval', 'sniff-on-connection-fault']);

const NO_REASON: { readonly reason: string; readonly requestId?: string } = { reason: 'default' };

// The endpoint of the raw client's own requests. Not whatever stands in `sniffEndpoint` at the time: it can be
// assigned, and these requests are for no tenant.
const SNIFF_ENDPOINT = /^\/?_nodes\/[\w,:*-]+\/http$/;

/**
 * Makes a Transport that rewrites each request for its tenant and reads each reply. A mixin, since the AWS
 * signer brings a Transport of its own: ours stands in front of it, so that what is signed is what is sent.
 */
export function guardTransport(Base: typeof Transport, guard: Guard): typeof Transport {
  return class GuardedTransport extends Base {
    readonly #sniffPath: string;
    readonly #sniffsItself: boolean;
    readonly #nextId: (params: TransportRequestParams, options: TransportRequestOptions) => unknown;
    // Set from the call that makes a request of the raw client's own to that request.
    #internal = false;

    constructor(options: TransportOptions) {
      checkSniffEndpoint(options.sniffEndpoint);
      super({
        ...options,
        emit: (event, ...args) => guard.diagnostics.tell(event, tellEvent(event, args)),
      });
      Object.freeze((this as unknown as { readonly headers: object }).headers);
      lock(this, FIXED);
      this.#sniffsItself = this._sniffEnabled || this.sniffOnConnectionFault;
      this.#sniffPath = options.sniffEndpoint;
      this.#nextId = options.generateRequestId ?? counter();
    }

    override request(
      params: TransportRequestParams,
      options?: TransportRequestOptions | Callback,
      callback?: Callback,
    ): TransportRequestPromise<ApiResponse> {
      // Taken once: a serializer or listener that runs inside must not inherit it.
      const internal = this.#internal;
      this.#internal = false;
      const scope = internal ? INTERNAL : currentScope();
      const given = (typeof options === 'function' ? undefined : options) ?? {};
      const done = typeof options === 'function' ? options : callback;
      const reply = new Reply(done, (fn) => runInScope(scope === INTERNAL ? undefined : scope, fn));
      const send: Send = (request, settled, answer) => {
        allowRequest(request, settled.id);
        return super.request(request as TransportRequestParams, settled, answer);
      };
      try {
        const asked: Asked = { params, options: given, id: given.id ?? this.#nextId(params, given) };
        // Nothing of such a request comes from a caller: whatever code of one runs meanwhile asks for this and no more.
        if (scope === INTERNAL)
          pass(scope, { ...asked, params: this.#sniff(), options: JSON_ONLY_OPTIONS }, send, reply);
        else if (scope?.bypass !== undefined) pass(scope, asked, send, reply);
        else rewrite(scope, asked, { ...guard, serializer: this.serializer }, send, reply);
      } catch (error) {
        reply.fail(error, unsent(params, given));
      }
      return reply.handle;
    }

    override sniff(
      given?: Parameters<Transport['sniff']>[0],
      callback?: Parameters<Transport['sniff']>[1],
    ): void {
      // Read here, in the caller's context, and not by the raw client in ours.
      const { reason, requestId } = typeof given === 'function' ? NO_REASON : { ...NO_REASON, ...given };
      const done = typeof given === 'function' ? given : callback;
      // Whoever's request happens to trigger it: the nodes belong to no tenant. By itself no tenant does.
      const triggered = this.#sniffsItself && done === undefined && TRIGGERED.has(reason);
      if (currentScope()?.tenant !== undefined && !triggered)
        throw refusal('search', 'transport.sniff', SHARED);
      this.#internal = true;
      try {
        runInScope(undefined, () =>
          super.sniff({ reason, ...(requestId === undefined ? {} : { requestId }) }, done),
        );
      } finally {
        this.#internal = false;
      }
    }

    #sniff(): TransportRequestParams {
      return { method: 'GET', path: this.#sniffPath };
    }
  };
}

// Raw names pass. In a copy: the connection sends whatever is in the object that was let through, and the
// caller holds the original.
function pass(scope: Scope | typeof INTERNAL, asked: Asked, send: Send, reply: Reply): void {
  const { params, options } = asked;
  const call = new Call({ ...asked, scope });
  reply.send(
    () =>
      send({ ...params }, { ...options, id: call }, (error, result) =>
        reply.settle(call.settle(error, result)),
      ),
    unsent(params, options),
  );
}

function rewrite(
  scope: Scope | undefined,
  asked: Asked,
  { settings, indexCheck, serializer }: Guard & { readonly serializer: Serializer },
  send: Send,
  reply: Reply,
): void {
  const { options } = asked;
  // Read once: a getter must not show the checks one request and the connection another.
  const params = { ...asked.params };
  if (scope?.tenant === undefined) {
    requireScope({ surface: 'search', operation: nameOf(params) });
    throw new TypeError('unreachable: a scope without a tenant is a bypass');
  }
  const { tenant: context } = scope;
  const prepared = prepareRequest(params, options.querystring, { context, settings, serializer });
  const { operation, indices } = prepared;
  const fence = (): void => settings.fence?.check(context.tenant, { surface: 'search', operation });
  fence();
  const call = new Call({ ...asked, scope, prepared, fence });
  const settled = toOptions(options, call, prepared);
  const leave = (): TransportRequestCallback =>
    send(toRequest(prepared), settled, (error, result) => {
      if (isIndexGone(result)) indices.forEach((index) => indexCheck.forget(index));
      reply.settle(call.settle(error, result));
    });
  const describe = describeWith(send, settled);
  for (const index of indices) {
    // What it finds is remembered; that it could not ask is no news yet.
    if (indexCheck.state(index) === 'stale') indexCheck.check(index, describe).catch(() => undefined);
  }
  const unchecked = indices.filter((index) => indexCheck.state(index) === 'unknown');
  if (unchecked.length === 0) {
    reply.send(leave, unsent(params, options));
    return;
  }
  Promise.all(unchecked.map((index) => indexCheck.check(index, describe))).then(
    () => reply.send(leave, unsent(params, options)),
    (error: unknown) => {
      // A read creates nothing: the server's own 404 is what callers of the raw client handle.
      if (isMissingIndex(error) && READS.has(operation)) reply.send(leave, unsent(params, options));
      else reply.fail(error, unsent(params, options));
    },
  );
}

const READS: ReadonlySet<string> = new Set(['count', 'exists', 'existsSource', 'get', 'getSource', 'search']);

// Asks what an index is, for no tenant; as whoever asks, where callers bring their own credentials.
function describeWith(send: Send, { headers, requestTimeout, maxRetries }: SentOptions): Describe {
  const { authorization } = headers as { readonly authorization?: unknown };
  const how = {
    ...defined({ requestTimeout, maxRetries }),
    ignore: [404],
    headers: { ...JSON_ONLY, ...defined({ authorization }) },
  };
  return (index) =>
    new Promise((resolve, reject) => {
      const params = { method: 'GET', path: `/${index}` };
      const call = new Call({ scope: INTERNAL, id: `check ${index}`, params, options: {} });
      runInScope(undefined, () =>
        send({ ...params }, { ...how, id: call }, (error: Error | null, result) => {
          if (error instanceof errors.ResponseError) reject(notDescribed(index, error));
          else if (error !== null) reject(error);
          else resolve(result.statusCode === 404 ? undefined : result.body);
        }),
      );
    });
}

function toRequest({ method, path, querystring, body }: Prepared): object {
  return { method, path, querystring, ...(body === undefined ? {} : { body }) };
}

// From an allow-list too: an option that the raw transport does not know reaches no custom one either.
function toOptions(given: TransportRequestOptions, call: Call, prepared: Prepared): SentOptions {
  const refuse = refusing(prepared.operation);
  const { ignore, requestTimeout, maxRetries, compression, context, opaqueId, asStream, headers } = given;
  if (asStream === true) {
    throw refuse(
      'its reply is a stream, which would reach the caller before it can be checked',
      'Leave asStream out.',
    );
  }
  return {
    ...defined({ ignore, requestTimeout, maxRetries, compression, context, opaqueId }),
    id: call,
    headers: {
      ...readHeaders(headers, refuse),
      ...JSON_ONLY,
      'content-type': prepared.contentType,
    },
  };
}

function defined(options: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function isIndexGone({ statusCode, body }: ApiResponse): boolean {
  const error: unknown = isObject(body) ? body['error'] : undefined;
  return statusCode === 404 && isObject(error) && error['type'] === 'index_not_found_exception';
}

function notDescribed(index: string, cause: errors.ResponseError): ConfigError {
  return new ConfigError({
    surface: 'search',
    operation: `index ${index}`,
    problem: `${index} cannot be checked: the server answers ${cause.statusCode}`,
    hint: 'Grant the permission indices:admin/get on it: tenants share it only when its mapping keeps them apart.',
    cause,
  });
}

function checkSniffEndpoint(endpoint: string): void {
  if (SNIFF_ENDPOINT.test(endpoint)) return;
  throw new ConfigError({
    surface: 'search',
    operation: 'options',
    problem: 'sniffEndpoint is not of the form _nodes/…/http',
    hint: 'Leave it out: its reply is read outside of any tenant.',
  });
}

// For the error of a call without a tenant: what the caller has called.
function nameOf({ method, path }: TransportRequestParams): string {
  const route =
    typeof method === 'string' && typeof path === 'string'
      ? findRoute(method.toUpperCase(), path.split('?')[0] ?? '')
      : undefined;
  return route?.operation ?? 'transport.request';
}

function counter(): () => number {
  let last = 0;
  return () => (last = (last + 1) % Number.MAX_SAFE_INTEGER);
}

// The result of a request that has not left, in the form that the raw client gives to callbacks.
function unsent(params: TransportRequestParams, options: TransportRequestOptions): ApiResponse {
  const request = { params, options, id: options.id ?? null };
  return {
    body: null,
    statusCode: null,
    headers: null,
    warnings: null,
    meta: { context: null, name: '', request, connection: null, attempts: 0, aborted: false },
  } as unknown as ApiResponse;
}
