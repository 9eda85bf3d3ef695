import { errors, type ApiResponse, type Serializer, type Transport } from '@opensearch-project/opensearch';
import type {
  TransportRequestCallback,
  TransportRequestOptions,
  TransportRequestParams,
  TransportRequestPromise,
} from '@opensearch-project/opensearch/lib/Transport.js';
import { ConfigError, currentScope, requireScope, runInScope, type Scope } from '@tenantkit/core';
import { Call, INTERNAL, tellEvent } from './call.ts';
import { allowRequest } from './connection.ts';
import { readHeaders } from './headers.ts';
import type { Describe, IndexCheck } from './indices.ts';
import { isObject } from './json.ts';
import type { SearchSettings } from './options.ts';
import { refusing } from './refusing.ts';
import { Reply, type Callback } from './reply.ts';
import { prepareRequest, type Prepared } from './request.ts';
import { findRoute } from './routes.ts';

/** What the transports of one client share. */
export interface Guard {
  readonly settings: SearchSettings;
  readonly indexCheck: IndexCheck;
}

type TransportOptions = ConstructorParameters<typeof Transport>[0];

/** Sends a request through the raw transport. */
type Send = (request: object, options: object, done: Callback) => TransportRequestCallback;

// One call of `request`, as it came in.
interface Asked {
  readonly id: unknown;
  readonly params: TransportRequestParams;
  readonly options: TransportRequestOptions;
}

// Over whatever the client sends with every request: a reply in another form could not be checked.
const JSON_ONLY = { accept: 'application/json' } as const;

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
    readonly #nextId: (params: TransportRequestParams, options: TransportRequestOptions) => unknown;
    // Set from the call that makes a request of the raw client's own to that request.
    #internal = false;

    constructor(options: TransportOptions) {
      checkSniffEndpoint(options.sniffEndpoint);
      super({ ...options, emit: (event, ...args) => options.emit(event, ...tellEvent(event, args)) });
      this.#sniffPath = options.sniffEndpoint;
      this.#nextId = options.generateRequestId ?? counter();
    }

    override request(
      params: TransportRequestParams,
      options?: TransportRequestOptions | Callback,
      callback?: Callback,
    ): TransportRequestPromise<ApiResponse> {
      // Taken once: a serializer or listener that runs inside must not inherit it.
      const internal = this.#internal && params.path === this.#sniffPath;
      this.#internal = false;
      const scope = internal ? INTERNAL : currentScope();
      const given = (typeof options === 'function' ? undefined : options) ?? {};
      const done = typeof options === 'function' ? options : callback;
      const reply = new Reply(done, (fn) => runInScope(scope === INTERNAL ? undefined : scope, fn));
      const send: Send = (request, settled, answer) => {
        allowRequest(request);
        return super.request(request as TransportRequestParams, settled, answer);
      };
      try {
        const asked: Asked = { params, options: given, id: given.id ?? this.#nextId(params, given) };
        if (scope === INTERNAL || scope?.bypass !== undefined) pass(scope, asked, send, reply);
        else rewrite(scope, asked, { ...guard, serializer: this.serializer }, send, reply);
      } catch (error) {
        reply.fail(error, unsent(params, given));
      }
      return reply.handle;
    }

    override sniff(...args: Parameters<Transport['sniff']>): void {
      // Whoever's request happens to trigger it: the nodes belong to no tenant.
      this.#internal = true;
      try {
        runInScope(undefined, () => super.sniff(...args));
      } finally {
        this.#internal = false;
      }
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
  const { params, options } = asked;
  if (scope?.tenant === undefined) {
    requireScope({ surface: 'search', operation: nameOf(params) });
    throw new TypeError('unreachable: a scope without a tenant is a bypass');
  }
  const { tenant: context } = scope;
  const prepared = prepareRequest(params, options.querystring, { context, settings, serializer });
  const { operation, indices } = prepared;
  settings.fence?.check(context.tenant, { surface: 'search', operation });
  const call = new Call({ ...asked, scope, prepared });
  const settled = toOptions(options, call, prepared);
  const leave = (): TransportRequestCallback =>
    send(toRequest(prepared), settled, (error, result) => {
      if (isIndexGone(result)) indices.forEach((index) => indexCheck.forget(index));
      reply.settle(call.settle(error, result));
    });
  const unchecked = indices.filter((index) => !indexCheck.holds(index));
  if (unchecked.length === 0) {
    reply.send(leave, unsent(params, options));
    return;
  }
  Promise.all(unchecked.map((index) => indexCheck.check(index, describeWith(send)))).then(
    () => reply.send(leave, unsent(params, options)),
    (error: unknown) => reply.fail(error, unsent(params, options)),
  );
}

// Asks what an index is, for no tenant.
function describeWith(send: Send): Describe {
  return (index) =>
    new Promise((resolve, reject) => {
      const params = { method: 'GET', path: `/${index}` };
      const call = new Call({ scope: INTERNAL, id: `check ${index}`, params, options: {} });
      runInScope(undefined, () =>
        send(
          { ...params },
          { id: call, ignore: [404], headers: JSON_ONLY },
          (error: Error | null, result) => {
            if (error instanceof errors.ResponseError) reject(notDescribed(index, error));
            else if (error !== null) reject(error);
            else resolve(result.statusCode === 404 ? undefined : result.body);
          },
        ),
      );
    });
}

function toRequest({ method, path, querystring, body }: Prepared): object {
  return { method, path, querystring, ...(body === undefined ? {} : { body }) };
}

// From an allow-list too: an option that the raw transport does not know reaches no custom one either.
function toOptions(given: TransportRequestOptions, call: Call, prepared: Prepared): object {
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
