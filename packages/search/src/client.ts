import {
  Client as RawClient,
  Connection,
  ConnectionPool,
  Transport,
  type ApiError,
  type ApiResponse,
  type ClientOptions as RawClientOptions,
  type ResurrectEvent,
} from '@opensearch-project/opensearch';
import { ConfigError, currentScope, refusal, refuse, runInScope } from '@tenantkit/core';
import { guardConnection } from './connection.ts';
import { Diagnostics, type Listener } from './diagnostics.ts';
import { checkClientHeaders, readHeaders } from './headers.ts';
import { IndexCheck } from './indices.ts';
import { SHARED, guardPool } from './pool.ts';
import { refusing } from './refusing.ts';
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
const guards: WeakMap<object, Held> = new WeakMap();

interface Held {
  readonly guard: Guard;
  readonly diagnostics: Diagnostics;
  /** The tenant that the client was made in, if any. */
  readonly maker: string | undefined;
}

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
    const diagnostics = new Diagnostics();
    const guard: Guard = { settings, indexCheck: new IndexCheck(settings), diagnostics };
    let made = false;
    super({
      ...raw,
      Transport: guardTransport(raw.Transport ?? Transport, guard),
      Connection: guardConnection(raw.Connection ?? Connection),
      ConnectionPool: guardPool(raw.ConnectionPool ?? ConnectionPool, () => !made),
    });
    made = true;
    // A node that is back is news for everybody, and names no tenant.
    super.on('resurrect', (error, event) => void diagnostics.tell('resurrect', [error, event]));
    seal(this, guard, diagnostics);
  }

  /**
   * Closes the connections of all tenants.
   *
   * @throws {@link OperationRefusedError} inside a tenant, unless the client was made inside it
   */
  override close(callback: (error?: Error) => void): void;
  override close(): Promise<void>;
  override close(callback?: (error?: Error) => void): void | Promise<void> {
    const tenant = currentScope()?.tenant?.tenant;
    if (tenant !== undefined && held(this).maker !== tenant) throw refusal('search', 'close', SHARED);
    // Without a callback the raw client calls this once more, with one.
    return runInScope(undefined, () => (callback === undefined ? super.close() : super.close(callback)));
  }

  /**
   * A client on the same connections, with other headers, time-outs or credentials, and the same guard.
   *
   * @throws {@link ConfigError} for an option that would put something else in the guard's place
   */
  override child(options: RawClientOptions = {}): Client {
    // Read once: what was checked is what the raw client is given.
    const given: RawClientOptions = { ...options };
    if (given.headers !== undefined) given.headers = { ...given.headers };
    for (const key of Object.keys(given)) {
      if (key in CHILD_OPTIONS && CHILD_OPTIONS[key as keyof typeof CHILD_OPTIONS]) continue;
      throw new ConfigError({
        surface: 'search',
        operation: 'child',
        problem: `a child cannot set ${key}`,
        hint: 'Make another client with new Client(…).',
      });
    }
    checkClientHeaders(given.headers);
    if (currentScope()?.tenant !== undefined)
      given.headers = { ...readHeaders(given.headers, refusing('child')) };
    const { guard, diagnostics } = held(this);
    // The raw client makes a raw client here: on our transport, but with a `child` that could replace it.
    const child: unknown = Object.setPrototypeOf(super.child(given), Client.prototype);
    seal(child as Client, guard, diagnostics);
    return child as Client;
  }

  /** Registers a listener; it hears the tenant it is registered under. See the README for the others. */
  override on(event: ResultEvent, listener: ResultListener): this;
  override on(event: 'resurrect', listener: (error: null, event: ResurrectEvent) => void): this;
  override on(event: string | symbol, listener: Listener): this {
    held(this).diagnostics.add(event, currentScope(), listener);
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
    diagnostics.add(event, currentScope(), heard, listener);
    return this;
  }

  /** Removes a listener. */
  override off(event: string | symbol, listener: Listener): this {
    held(this).diagnostics.remove(event, listener);
    return this;
  }
}

/** The guard of a client; for the eraser, the auditor and the mapping, which need the settings. */
export function guardOf(client: Client): Guard {
  return held(client).guard;
}

function held(client: object): Held {
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
  guards.set(client, { guard, diagnostics, maker: currentScope()?.tenant?.tenant });
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
