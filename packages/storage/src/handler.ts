import { Readable, finished } from 'node:stream';
import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { currentScope, refusal, refuse, requireScope } from '@tenantkit/core';
import { ownSignal } from './running.ts';

type Handler = S3ClientResolvedConfig['requestHandler'];
type Handle = Handler['handle'];

/** What handlers of the SDK have besides. */
interface Configurable {
  readonly updateHttpClientConfig?: (name: never, value: never) => void;
  readonly httpHandlerConfigs?: () => object;
}

const checked = new WeakMap<object, object>();

/** Notes that a request was checked by a client's own last step, and may leave by its handler. */
export function admit(request: object, owner: object): void {
  checked.set(request, owner);
}

/**
 * A request handler through which nothing leaves that was not checked. It does not depend on the middleware stack:
 * should a new SDK build its chains past the guard, every call fails here.
 *
 * It also keeps the handler's connections to itself: they belong to all tenants, and lead to their requests.
 *
 * @param owner - who checks the requests of this client
 */
export function lockHandler(inner: Handler, owner: object): Handler {
  return new LockedHandler(inner, owner, currentScope()?.tenant?.tenant) as unknown as Handler;
}

class LockedHandler {
  readonly #inner: Handler;
  readonly #owner: object;
  readonly #maker: string | undefined;
  #handle: Handle;

  constructor(inner: Handler, owner: object, maker: string | undefined) {
    this.#inner = inner;
    this.#owner = owner;
    this.#maker = maker;
    this.#handle = inner.handle.bind(inner);
    // The SDK tells handlers apart by the name of their class.
    Object.defineProperty(this, 'constructor', { value: Object.freeze({ name: inner.constructor.name }) });
    Object.freeze(this);
  }

  get metadata(): Handler['metadata'] {
    const { metadata } = this.#inner;
    return metadata === undefined ? undefined : { ...metadata };
  }

  get handle(): Handle {
    const handle = this.#handle;
    return async (...[request, options]: Parameters<Handle>) => {
      if (checked.get(request as object) !== this.#owner) assertLifted();
      const given = Reflect.get(Object(options) as object, 'abortSignal') as AbortSignal | undefined;
      if (given === undefined) return handle(request, options);
      const { signal, release } = ownSignal(given);
      let body: unknown;
      try {
        const reply = await handle(request, { ...options, abortSignal: signal });
        ({ body } = reply.response as { readonly body?: unknown });
        return reply;
      } finally {
        // A download is aborted as long as it runs, or it would go on for nobody, on a connection that others wait for.
        if (body instanceof Readable) finished(body, release);
        else release();
      }
    };
  }

  /** What measures or records requests may stand in front, for all tenants. */
  set handle(handle: Handle) {
    this.#assertShared('handle');
    this.#handle = handle;
  }

  destroy(): void {
    this.#assertShared('destroy');
    this.#inner.destroy?.();
  }

  updateHttpClientConfig(name: never, value: never): void {
    this.#assertShared('updateHttpClientConfig');
    (this.#inner as Configurable).updateHttpClientConfig?.(name, value);
  }

  httpHandlerConfigs(): object {
    this.#assertShared('httpHandlerConfigs');
    return (this.#inner as Configurable).httpHandlerConfigs?.() ?? {};
  }

  #assertShared(operation: string): void {
    const tenant = currentScope()?.tenant?.tenant;
    if (tenant !== undefined && tenant !== this.#maker) throw refusal('storage', operation, SHARED);
  }
}

function assertLifted(): void {
  const scope = requireScope({ surface: 'storage', operation: 'requestHandler' });
  if (scope.tenant !== undefined) throw refusal('storage', 'requestHandler', UNCHECKED);
}

const SHARED = refuse(
  'the connections of this client serve every tenant',
  'Do it outside of any tenant; a tenant may close the client that it has made itself.',
);
const UNCHECKED = refuse(
  'a request came to the connection without having been checked',
  'Send a command with the client; if you did, this version of @aws-sdk/client-s3 is not supported.',
);
