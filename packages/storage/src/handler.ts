import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Readable, finished } from 'node:stream';
import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { currentScope, refusal, refuse, requireScope } from '@tenantkit/core';
import type { Call } from './call.ts';
import { anotherProtocol, isEmpty, wholeReply } from './reply-limit.ts';
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

/**
 * Notes on requests, which nobody else can read or make. They are kept in the requests themselves: a WeakMap, to which
 * each call adds a key that lives for a moment, costs more than the check of a header, and the garbage collector again
 * as much.
 */
class Noted extends (function (request: object) {
  return request;
} as unknown as new (request: object) => object) {
  #leaving: Leaving;

  private constructor(request: object, what: Leaving) {
    super(request);
    this.#leaving = what;
  }

  static set(request: object, what: Leaving): void {
    // A further attempt of a call across tenants has the same request.
    if (#leaving in request) request.#leaving = what;
    else void new Noted(request, what);
  }

  static get(request: object): Leaving | undefined {
    return #leaving in request ? request.#leaving : undefined;
  }
}

/** Notes that a request was checked by a client's own last step, and may leave by its handler. */
export function admit(request: object, { operation, plan }: Call, owner: object): void {
  Noted.set(request, { operation, owner, streams: 'Body' in plan.output || 'Payload' in plan.output });
}

/** Notes what a request is of that leaves while the boundary is lifted. */
export function awaited<Args extends Readonly<Record<string, unknown>>>(operation: string, args: Args): Args {
  const { request } = args;
  if (typeof request === 'object' && request !== null)
    Noted.set(request, { operation, streams: STREAMS.has(operation) });
  return args;
}

/** The commands whose replies are handed on as they come. */
const STREAMS: ReadonlySet<string> = new Set([
  'GetObjectCommand',
  'GetObjectAnnotationCommand',
  'GetObjectTorrentCommand',
  'SelectObjectContentCommand',
]);

/** What ends the call that a connection's request is made for, until it has its answer. */
const ending = new AsyncLocalStorage<{ end?: () => void }>();

/** After an answer that changes the protocol nothing is heard of a request any more, not even that it has ended. */
function endUpgrades(message: unknown): void {
  const { end } = ending.getStore() ?? {};
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
      const what = Noted.get(request);
      // What a credential provider of the service asks is no request of a tenant's.
      if (what?.owner !== this.#owner && providing.getStore() !== this.#owner) assertLifted();
      const reply = await answered(what, () => send(handle, request, options));
      // Somebody who stands in front may keep what he has seen.
      if (this.#handle === this.#own) freeCopy(bodyOf(request), bodyOf(reply.response));
      return what === undefined ? reply : bounded(reply, what, request.method);
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

type Reply = Awaited<ReturnType<Handle>>;

/** What the connection answers, or that it speaks another protocol from then on. */
function answered(what: Leaving | undefined, run: () => Promise<Reply>): Promise<Reply> {
  // What nobody has sent as a command is an operator's own.
  if (what === undefined) return run();
  return new Promise((resolve, reject) => {
    const store: { end?: () => void } = { end: () => reject(anotherProtocol(what.operation)) };
    // What a caller sends when the answer comes is in this context, and is theirs.
    const answeredBy =
      <T>(tell: (what: T) => void) =>
      (answer: T): void => {
        delete store.end;
        tell(answer);
      };
    ending.run(store, () => void run().then(answeredBy(resolve), answeredBy(reject)));
  });
}

/** A reply that is a stream only where one is handed on, and no longer than what is read otherwise. */
function bounded(reply: Reply, { operation, streams }: Leaving, method: string): Reply | Promise<Reply> {
  const { statusCode, body } = reply.response;
  // Without a name for the other protocol it comes as a reply, and would pass for a success.
  if (statusCode < 200) {
    if (body instanceof Readable) body.on('error', () => undefined).destroy();
    throw anotherProtocol(operation);
  }
  if (streams && statusCode >= 200 && statusCode < 300) return reply;
  return isEmpty(reply, method) ? reply : wholeReply(reply, operation);
}

function send(handle: Handle, ...[request, options]: Parameters<Handle>): ReturnType<Handle> {
  const given = Reflect.get(Object(options) as object, 'abortSignal') as AbortSignal | undefined;
  return given === undefined ? handle(request, options) : sendUntil(given, handle, request, options);
}

async function sendUntil(
  given: AbortSignal,
  handle: Handle,
  ...[request, options]: Parameters<Handle>
): ReturnType<Handle> {
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
