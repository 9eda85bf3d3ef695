import { ClientRequest, IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** From how many bytes on memory is taken from the system for each copy, and costs more than the copying. */
const LARGE = 65_536;

const copies = new WeakSet<Buffer>();

/**
 * Notes that a body is a copy that was made to be sent.
 *
 * @param copy - with memory of its own, of which nobody has another view
 */
export function noteCopy(copy: Buffer): void {
  if (copy.length >= LARGE) copies.add(copy);
}

/**
 * Gives back the memory of a copy that was sent. Left to the garbage collector, which sees how much it is only when
 * there is very much of it, each further copy would be made in memory that no cache knows and that the system has yet
 * to find: that takes several times as long as the copying itself.
 *
 * @param body - of a request that has its answer
 * @param answer - what the connection itself has answered with; of anything else, nothing is known and nothing done
 */
export function freeCopy(body: unknown, answer: unknown): void {
  if (!(body instanceof Buffer) || !copies.has(body) || !isWritten(answer)) return;
  copies.delete(body);
  (body.buffer as ArrayBuffer).transfer(0);
}

/**
 * Whether the system has all bytes of the request that is answered. A server may answer before it has read them: memory
 * that is taken away from under a write would be sent as what it holds by then.
 */
function isWritten(answer: unknown): boolean {
  if (!(answer instanceof IncomingMessage)) return false;
  const { req } = answer as IncomingMessage & { readonly req?: unknown };
  if (!(req instanceof ClientRequest) || !req.writableFinished) return false;
  // Of another kind of stream, that it has taken the bytes does not say that it has passed them on.
  const { socket } = req;
  return socket !== null && SOCKETS.has(Object.getPrototypeOf(socket));
}

const SOCKETS: ReadonlySet<unknown> = new Set([Socket.prototype, TLSSocket.prototype]);
