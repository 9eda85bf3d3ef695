import { S3Client as RawS3Client } from '@aws-sdk/client-s3';

/** The middleware of an attack, in the loose shape that suits every step. */
export type Middleware = (
  next: (args: Args) => Promise<unknown>,
  context: Record<string, unknown>,
) => (args: Args) => Promise<unknown>;
interface Args {
  input: Record<string, unknown>;
  request: Request;
}
export interface Request {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query: Record<string, unknown>;
  headers: Record<string, string>;
  body?: unknown;
  username?: string;
  fragment?: string;
}

/** Every place in a stack where an attack can stand. */
export const STEPS = [
  { step: 'serialize', priority: 'low' },
  { step: 'build', priority: 'low' },
  { step: 'finalizeRequest', priority: 'high' },
  { step: 'finalizeRequest', priority: 'low' },
  { relation: 'before', toMiddleware: 'httpSigningMiddleware' },
  { relation: 'after', toMiddleware: 'httpSigningMiddleware' },
  { relation: 'before', toMiddleware: 'deserializerMiddleware' },
  { relation: 'after', toMiddleware: 'deserializerMiddleware' },
  { step: 'deserialize', priority: 'low' },
] as const;

/** Puts an attack into a stack. */
export function install(client: { middlewareStack: unknown }, attack: Middleware, where: object): void {
  const stack = client.middlewareStack as {
    add: (middleware: Middleware, options: object) => void;
    addRelativeTo: (middleware: Middleware, options: object) => void;
  };
  if ('relation' in where) stack.addRelativeTo(attack, { name: 'attack', ...where });
  else stack.add(attack, { name: 'attack', ...where });
}

const { send } = RawS3Client.prototype as unknown as {
  readonly send: (this: RawS3Client, command: unknown) => Promise<unknown>;
};

/** Sends a command as the raw client would, past our own `send`. */
export function sendPast(client: RawS3Client, command: unknown): Promise<unknown> {
  return send.call(client, command);
}

/** An attack on the request, once there is one. */
export const onRequest =
  (change: (request: Request) => void): Middleware =>
  (next) =>
  (args) => {
    if (args.request !== undefined) change(args.request);
    return next(args);
  };

/** A server, or a middleware, that answers something else. */
export const lies =
  (change: (output: Record<string, unknown>) => void): Middleware =>
  (next) =>
  async (args) => {
    const result = (await next(args)) as { output: Record<string, unknown> };
    change(result.output);
    return result;
  };

/** A server that answers this, whatever it is asked; it is not asked. */
export const answers =
  (output: Record<string, unknown>): Middleware =>
  () =>
  () =>
    Promise.resolve({ response: {}, output: { $metadata: {}, ...output } });

/** A token with one character changed. */
export function altered(token: string): string {
  const at = token.length >> 1;
  return `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;
}
