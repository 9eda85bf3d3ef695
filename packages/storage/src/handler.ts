import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable, finished } from 'node:stream';
import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { currentScope, refusal, refuse, requireScope } from '@tenantkit/core';
import type { Call } from './call.ts';
import { anotherProtocol, wholeReply } from './reply-limit.ts';
import { ownSignal, providing } from './running.ts';
import { freeCopy } from './spent.ts';

type Handler = S3ClientResolvedConfig['requestHandler'];
type Handle = Handler['handle'];

/** What handlers of the SDK have besides. */
interface Configurable {
  readonly updateHttpClientConfig?: (name: never, value: never) => void;
  readonly httpHandlerConfigs?: () => object;
}

/** What is known of a request that is about to leave. */
export interface Leaving {
  readonly operation: string;
  /** Who has checked it; nobody, where the boundary is lifted. */
  readonly owner?: object;
  /** Whether what it is answered, if it succeeds, is handed on as it comes. All else is read as a whole. */
  readonly streams: boolean;
}

const leaving = new WeakMap<object, Leaving>();

/** Notes that a request was checked by a client's own last step, and may leave by its handler. */
export function admit(request: object, { operation, plan }: Call, owner: object): void {
  leaving.set(request, { operation, owner, streams: 'Body' in plan.output || 'Payload' in plan.output });
}

/** Notes what a request is of that leaves while the boundary is lifted. */
export function awaited<Args extends Readonly<Record<string, unknown>>>(operation: string, args: Args): Args {
  leaving.set(Object(args['request']) as object, { operation, streams: STREAMS.has(operation) });
  return args;
}

/** The commands whose replies are handed on as they come. */
const STREAMS: ReadonlySet<string> = new Set([
  'GetObjectCommand',
  'GetObjectAnnotationCommand',
  'GetObjectTorrentCommand',
  'SelectObjectContentCommand',
]);

/** What ends the call that a connection's request is made for. */
const ending = new AsyncLocalStorage<() => void>();

/** After an answer that changes the protocol nothing is heard of a request any more, not even that it has ended. */
function endUpgrades(message: unknown): void {
  const end = ending.getStore();
  if (end === undefined) return;
  const { request } = message as { readonly request: ClientRequest };
  request.once('upgrade', (_reply: IncomingMessage, socket: Socket) => {
    socket.destroy();
    end();
  });
}
subscribe('http.client.request.created', endUpgrades);

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
  /** What sends, where it is the SDK's own. */
  readonly #own: Handle | undefined;
  #handle: Handle;

  constructor(inner: Handler, owner: object, maker: string | undefined) {
    this.#inner = inner;
    this.#owner = owner;
    this.#maker = maker;
    this.#handle = inner.handle.bind(inner);
    this.#own = isPlain(inner) ? this.#handle : undefined;
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
      const what = leaving.get(request);
      // What a credential provider of the service asks is no request of a tenant's.
      if (what?.owner !== this.#owner && providing.getStore() !== this.#owner) assertLifted();
      return answered(what, request, async () => {
        const reply = await this.#send(handle, request, options);
        // Somebody who stands in front may keep what he has seen.
        if (this.#handle === this.#own) freeCopy(bodyOf(request), bodyOf(reply.response));
        return reply;
      });
    };
  }

  /** What measures or records requests may stand in front, for all tenants. */
  set handle(handle: Handle) {
    this.#assertShared('handle');
    this.#handle = handle;
  }

  async #send(handle: Handle, ...[request, options]: Parameters<Handle>): ReturnType<Handle> {
    const given = Reflect.get(Object(options) as object, 'abortSignal') as AbortSignal | undefined;
    if (given === undefined) return handle(request, options);
    const { signal, release } = ownSignal(given);
    let body: unknown;
    try {
      const reply = await handle(request, { ...options, abortSignal: signal });
      body = bodyOf(reply.response);
      return reply;
    } finally {
      // A download is aborted as long as it runs, or it would go on for nobody, on a connection that others wait for.
      if (body instanceof Readable) finished(body, release);
      else release();
    }
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

async function answered(
  what: Leaving | undefined,
  { method }: Parameters<Handle>[0],
  handle: () => ReturnType<Handle>,
): ReturnType<Handle> {
  // What nobody has sent as a command is an operator's own.
  if (what === undefined) return handle();
  const { operation, streams } = what;
  const reply = await new Promise<Awaited<ReturnType<Handle>>>((resolve, reject) => {
    ending.run(
      () => reject(anotherProtocol(operation)),
      () => void handle().then(resolve, reject),
    );
  });
  const { statusCode } = reply.response;
  // Without a name for the other protocol it comes as a reply, and would pass for a success.
  if (statusCode < 200) {
    if (reply.response.body instanceof Readable) reply.response.body.on('error', () => undefined).destroy();
    throw anotherProtocol(operation);
  }
  if (streams && statusCode >= 200 && statusCode < 300) return reply;
  return wholeReply(reply, { operation, method });
}

function bodyOf(message: object): unknown {
  return Reflect.get(message, 'body');
}

/** Whether a handler is the SDK's own, and nobody has put anything in the place of its methods. */
function isPlain(inner: object): boolean {
  const prototype = Object.getPrototypeOf(inner) as object;
  return (
    inner.constructor.name === 'NodeHttpHandler' &&
    !Object.hasOwn(inner, 'handle') &&
    Object.getPrototypeOf(prototype) === Object.prototype
  );
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
