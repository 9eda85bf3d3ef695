import {
  Client as RawClient,
  Connection,
  Transport,
  type ApiError,
  type ApiResponse,
  type ClientOptions as RawClientOptions,
  type ResurrectEvent,
} from '@opensearch-project/opensearch';
import { ConfigError, currentScope, refusal, refuse } from '@tenantkit/core';
import { guardConnection } from './connection.ts';
import { Diagnostics, type Listener } from './diagnostics.ts';
import { checkClientHeaders } from './headers.ts';
import { IndexCheck } from './indices.ts';
import { readSettings, type SearchTenantOptions } from './options.ts';
import { guardTransport, type Guard } from './transport.ts';

/** The options of the raw client, and ours under `tenant`. */
export interface ClientOptions extends RawClientOptions {
  readonly tenant: SearchTenantOptions;
}

type ResultEvent = 'request' | 'response' | 'sniff' | 'serialization' | 'deserialization';
type ResultListener = (error: ApiError, result: ApiResponse) => void;

// What a child may set apart from its parent. The rest decides where requests go and by whom they are read.
const CHILD_OPTIONS = {
  auth: true,
  compression: true,
  context: true,
  enableMetaHeader: true,
  generateRequestId: true,
  headers: true,
  maxRetries: true,
  memoryCircuitBreaker: true,
  name: true,
  nodeFilter: true,
  nodeSelector: true,
  opaqueIdPrefix: true,
  requestTimeout: true,
  suggestCompression: true,
  Connection: false,
  ConnectionPool: false,
  Serializer: false,
  Transport: false,
  agent: false,
  cloud: false,
  disablePrototypePoisoningProtection: false,
  enableLongNumeralSupport: false,
  node: false,
  nodes: false,
  pingTimeout: false,
  proxy: false,
  resurrectStrategy: false,
  sniffEndpoint: false,
  sniffInterval: false,
  sniffOnConnectionFault: false,
  sniffOnStart: false,
  ssl: false,
} as const satisfies Record<keyof RawClientOptions, boolean>;

// Beside the client, not in private fields: a child is made by the raw client's own code.
const guards: WeakMap<object, { readonly guard: Guard; readonly diagnostics: Diagnostics }> = new WeakMap();

/**
 * The OpenSearch client that cannot leave its tenant. Drop-in for `Client` of `@opensearch-project/opensearch`:
 * the same methods, replies and errors; every request is held to the tenant of the caller's context.
 *
 * @throws {@link ConfigError} when `tenant` is missing or not usable
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { Client } from '@tenantkit/search';
 * const client = new Client({ node: 'http://localhost:9200', tenant: { indices: ['orders'] } });
 * await withTenant('acme', async () => {
 *   await client.index({ index: 'orders', id: '1', body: { total: 5 } }); // stored as acme~1
 *   await client.search({ index: 'orders', body: { query: { match_all: {} } } }); // finds acme's only
 * });
 * ```
 */
export class Client extends RawClient {
  constructor(options: ClientOptions) {
    const { tenant, ...raw } = options;
    const settings = readSettings(tenant);
    checkClientHeaders(raw.headers);
    const guard: Guard = { settings, indexCheck: new IndexCheck(settings) };
    super({
      ...raw,
      Transport: guardTransport(raw.Transport ?? Transport, guard),
      Connection: guardConnection(raw.Connection ?? Connection),
    });
    seal(this, guard, new Diagnostics());
  }

  /**
   * A client on the same connections, with other headers, time-outs or credentials, and the same guard.
   *
   * @throws {@link ConfigError} for an option that would put something else in the guard's place
   */
  override child(options: RawClientOptions = {}): Client {
    for (const key of Object.keys(options)) {
      if (key in CHILD_OPTIONS && CHILD_OPTIONS[key as keyof typeof CHILD_OPTIONS]) continue;
      throw new ConfigError({
        surface: 'search',
        operation: 'child',
        problem: `a child cannot set ${key}`,
        hint: 'Make another client with new Client(…).',
      });
    }
    checkClientHeaders(options.headers);
    const { guard, diagnostics } = held(this);
    // The raw client makes a raw client here: on our transport, but with a `child` that could replace it.
    const child: unknown = Object.setPrototypeOf(super.child(options), Client.prototype);
    seal(child as Client, guard, diagnostics);
    return child as Client;
  }

  /** Registers a listener; it hears the tenant it is registered under. See the README for the others. */
  override on(event: ResultEvent, listener: ResultListener): this;
  override on(event: 'resurrect', listener: (error: null, event: ResurrectEvent) => void): this;
  override on(event: string | symbol, listener: Listener): this {
    super.on(event as 'request', held(this).diagnostics.hearing(event, currentScope(), listener));
    return this;
  }

  /** Registers a listener for the next event that it hears. */
  override once(event: ResultEvent, listener: ResultListener): this;
  override once(event: 'resurrect', listener: (error: null, event: ResurrectEvent) => void): this;
  override once(event: string | symbol, listener: Listener): this {
    // Not the emitter's own `once`: it would be used up by a call of another tenant, which nobody hears.
    const { diagnostics } = held(this);
    const heard: Listener = (error, result) => {
      this.off(event, listener);
      listener(error, result);
    };
    super.on(event as 'request', diagnostics.hearing(event, currentScope(), heard, listener));
    return this;
  }

  /** Removes a listener. */
  override off(event: string | symbol, listener: Listener): this {
    const hearing = held(this).diagnostics.forget(event, listener);
    if (hearing !== undefined) super.off(event, hearing);
    return this;
  }
}

/** The guard of a client; for the eraser, the auditor and the mapping, which need the settings. */
export function guardOf(client: Client): Guard {
  return held(client).guard;
}

function held(client: object): { readonly guard: Guard; readonly diagnostics: Diagnostics } {
  const found = guards.get(client);
  if (found === undefined) {
    throw new ConfigError({
      surface: 'search',
      problem: 'this client was not made by @tenantkit/search',
      hint: "Import Client from '@tenantkit/search'.",
    });
  }
  return found;
}

function seal(client: Client, guard: Guard, diagnostics: Diagnostics): void {
  guards.set(client, { guard, diagnostics });
  const { transport } = client;
  Object.defineProperty(client, 'transport', {
    enumerable: true,
    get: () => transport,
    set: () => {
      throw refusal(
        'search',
        'transport',
        refuse(
          'another transport would send requests as they are',
          'Give it to the constructor: new Client({ Transport }); ours stands in front of it.',
        ),
      );
    },
  });
}
