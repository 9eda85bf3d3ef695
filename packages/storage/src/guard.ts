import { HttpRequest } from '@smithy/core/protocols';
import { astray } from './astray.ts';
import { assertHeaders, assertQuery, lowerCased } from './carried.ts';
import { encodePath, parseCopySource } from './copy-source.ts';
import { assertHead } from './head.ts';
import { assertLife, type PresignLimit } from './life.ts';
import type { StorageNames } from './names.ts';
import { assertErrand, assertPinned } from './pinned.ts';
import type { Call } from './call.ts';

/** The part of an HTTP request that decides where it goes and what it does. */
export interface OutgoingRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | number | undefined>>;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly fragment?: string | undefined;
  /** What is sent; replaced by a copy that keeps its announced length. */
  body?: unknown;
}

/** Where the requests of a bucket go, as the client was configured when it was made. */
export interface Endpoint {
  /** With its colon: `https:`. */
  readonly protocol: string;
  readonly hostname: string;
  /** Empty for the protocol's own. */
  readonly port: string;
  /** Host name and port, as a host header has it. */
  readonly host: string;
  /** The path that every key is appended to: empty, or the bucket in path style. */
  readonly base: string;
}

/** What a request is compared with. */
export interface Target {
  readonly names: StorageNames;
  readonly buckets: readonly string[];
  readonly endpoint: Endpoint;
  /** The keys of tags that tenants may write. */
  readonly tags: ReadonlySet<string>;
  /** Further headers that a middleware may add, in lower case. */
  readonly headers: ReadonlySet<string>;
}

/** Takes an endpoint's URL apart once: a URL is parsed again each time that it is asked. */
export function endpointOf(url: URL): Endpoint {
  const { protocol, hostname, port, host, pathname } = url;
  return { protocol, hostname, port, host, base: pathname.replace(/\/$/, '') };
}

/**
 * A request that nobody else holds, of the SDK's own class: what was checked is what leaves, also when a middleware
 * keeps the original and changes it later. Every field is read once: a getter, on the request or on its prototype,
 * must not answer the check one way and the connection another.
 *
 * @returns `undefined` when it is not a request
 */
export function snapshot(given: unknown): OutgoingRequest | undefined {
  if (typeof given !== 'object' || given === null) return undefined;
  const { method, protocol, hostname, port, path, query, headers, username, password, fragment, body } =
    given as Partial<Record<keyof OutgoingRequest, unknown>>;
  const texts = isText(method) && isText(protocol) && isText(hostname) && isText(path);
  if (!texts || !isRecord(query) || !isRecord(headers)) return undefined;
  if (port !== undefined && typeof port !== 'number') return undefined;
  if (![username, password, fragment].every((part) => part === undefined || isText(part))) return undefined;
  const copy = new HttpRequest({ method, protocol, hostname, path, body });
  return Object.assign(copy, {
    port,
    username,
    password,
    fragment,
    query: { ...query },
    headers: { ...headers },
  });
}

/**
 * The last check: what was serialised, and changed by whatever middleware, still goes to the tenant's own part of
 * the call's bucket and does nothing but what the command's row allows.
 *
 * @param limit - given for a presigned request, whose `x-amz-*` headers stand in the query
 * @throws CrossTenantError when it would go elsewhere
 * @throws OperationRefusedError when it carries a header or parameter that the row does not allow
 */
export function assertRequest(
  request: OutgoingRequest,
  call: Call,
  target: Target,
  limit?: PresignLimit,
): void {
  const { plan } = call;
  if (request.method !== plan.method) throw astray(call, 'its method was changed after it was checked');
  assertHost(request, call, target.endpoint);
  assertPath(request.path, call, target);
  const headers = lowerCased(call, request.headers);
  const { host } = target.endpoint;
  if ((headers.get('host') ?? host) !== host) {
    throw astray(call, 'its host header names another host than the configured endpoint');
  }
  const query = new Map(Object.entries(request.query));
  assertQuery(query, headers, call, target, limit !== undefined);
  assertHeaders(headers, call, target);
  assertPinned(headers, call);
  if (call.errand !== undefined) assertErrand(request, query, call);
  assertHead(request, query, headers, call);
  const source = headers.get('x-amz-copy-source');
  if (source !== undefined) assertSource(source, call, target);
  if (plan.target === 'listing') assertPrefix(query.get('prefix'), call, target.names);
  if (limit !== undefined) assertLife(query, call, limit);
}

function assertHost(request: OutgoingRequest, call: Call, endpoint: Endpoint): void {
  const { protocol, hostname, port } = request;
  const given = port === undefined || port === DEFAULT_PORTS[protocol] ? '' : String(port);
  const same = protocol === endpoint.protocol && hostname === endpoint.hostname && given === endpoint.port;
  if (!same || request.username || request.password || request.fragment) {
    throw astray(call, 'it would go to another host than the endpoint that the client was made with');
  }
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };

function assertPath(path: string, call: Call, { names, endpoint }: Target): void {
  const { base } = endpoint;
  if (call.plan.target !== 'object') {
    if (path === `${base}/` || path === base) return;
    throw astray(call, 'its path names something else than the bucket');
  }
  const start = `${base}/`;
  // As it was made, for nearly every request.
  if (call.key !== undefined && path === `${start}${encodePath(call.key)}`) return;
  // Where it is about somebody, that was noted for the very key.
  const only = call.errand !== undefined || call.pinned.size > 0;
  const key = !only && path.startsWith(start) ? decoded(path.slice(start.length)) : undefined;
  // Only the SDK's own spelling: any other could be decoded differently by whoever receives it.
  if (key === undefined || `${start}${encodePath(key)}` !== path || !names.accepts(call.tenant, key)) {
    throw astray(call, "its path lies outside the tenant's part of the bucket");
  }
}

function assertSource(value: string, call: Call, { names, buckets }: Target): void {
  const source = parseCopySource(value);
  if ('kind' in source || !buckets.includes(source.bucket) || !names.accepts(call.tenant, source.key)) {
    throw astray(call, "its copy source lies outside the tenant's part of the bucket");
  }
}

function assertPrefix(prefix: unknown, call: Call, names: StorageNames): void {
  if (typeof prefix !== 'string' || !names.accepts(call.tenant, prefix, 'partial')) {
    throw astray(call, "its prefix lies outside the tenant's part of the bucket");
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isRecord(value: unknown): value is Record<string, string> {
  return typeof value === 'object' && value !== null;
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}
