import { Readable } from 'node:stream';
import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';
import { allowed } from './allowed.ts';
import { BoundedBody, ownBytes, viewOf } from './body.ts';
import type { Call } from './call.ts';
import type { OutgoingRequest } from './guard.ts';
import { noteCopy } from './spent.ts';

/**
 * The body of a command as it is given to the SDK.
 *
 * @throws OperationRefusedError for a kind that cannot be measured, or a `ContentLength` that is not its length
 */
export function inputBody(operation: string, body: unknown, contentLength: unknown): unknown {
  const announced = contentLength === undefined ? undefined : lengthOf(operation, contentLength);
  if (body instanceof Readable) return new BoundedBody(body, announced);
  // Copied when the request is made, which is when its length counts.
  const own = typeof body === 'string' ? body : viewOf(body);
  if (own === undefined) throw refusal('storage', operation, NO_BODY);
  if (announced !== undefined && announced !== Buffer.byteLength(own)) throw mismatch(operation);
  return own;
}

/**
 * Makes the framing of a request certain: a connection is shared, and every byte behind the announced length would
 * be read as the next request on it, every missing one be taken from there (CWE-444).
 *
 * @throws OperationRefusedError when body and headers do not fit together
 */
export function prepareBody(request: OutgoingRequest, call: Call): void {
  const { operation, plan } = call;
  const announced = announcedLength(request, operation);
  const { body } = request;
  if (body === undefined || body === null || body === '') {
    if (announced !== undefined && announced !== 0) throw mismatch(operation);
    return;
  }
  const { elements, streams } = allowed(plan);
  if (!streams && elements.size === 0) {
    throw refusal('storage', operation, refuse('it takes no body', PLAIN));
  }
  if (body instanceof Readable) {
    const bounded = body instanceof BoundedBody ? body : new BoundedBody(body);
    if (call.input['Body'] instanceof BoundedBody && bounded !== call.input['Body'])
      call.input['Body'].open(undefined);
    bounded.open(announced);
    request.body = bounded;
    return;
  }
  const own = typeof body === 'string' ? body : ownBytes(body);
  if (own === undefined) throw refusal('storage', operation, NO_BODY);
  if (announced !== undefined && announced !== Buffer.byteLength(own)) throw mismatch(operation);
  if (typeof own !== 'string') noteCopy(own);
  request.body = own;
}

/** What a request says about its length, where what it says about its framing is allowed. */
function announcedLength({ headers }: OutgoingRequest, operation: string): number | undefined {
  let announced: number | undefined;
  let isChunked = false;
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    const lower = name.toLowerCase();
    if (value === undefined) continue;
    if (lower === 'content-length') announced = lengthOf(operation, value);
    if (FRAMING.get(lower)?.includes(String(value).toLowerCase()) === false) {
      const why = `its header "${lower}" has a value that is not allowed`;
      throw refusal('storage', operation, refuse(why, PLAIN));
    }
    if (lower === 'transfer-encoding') isChunked = true;
  }
  if (announced === undefined || !isChunked) return announced;
  throw refusal('storage', operation, refuse('it announces its length in two ways', PLAIN));
}

/** What these headers may say. */
const FRAMING: ReadonlyMap<string, readonly string[]> = new Map([
  ['connection', ['keep-alive', 'close']],
  ['expect', ['100-continue']],
  ['transfer-encoding', ['chunked']],
]);
const PLAIN = 'Leave framing to the SDK: no middleware may add it.';
const NO_BODY = refuse(
  'its Body is of a kind whose bytes cannot be counted',
  'Give a text, a Buffer, a typed array or a Readable; Readable.fromWeb(stream) makes one of a web stream or blob.stream().',
  'value',
);

function lengthOf(operation: string, value: unknown): number {
  const length = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof length === 'number' && Number.isSafeInteger(length) && length >= 0) return length;
  throw refusal(
    'storage',
    operation,
    refuse('ContentLength is not a number of bytes', 'Give an integer, 0 or more.', 'value'),
  );
}

function mismatch(operation: string): OperationRefusedError {
  return refusal(
    'storage',
    operation,
    refuse(
      'ContentLength is not the length of the body',
      'Count its bytes (Buffer.byteLength), or leave it out.',
      'value',
    ),
  );
}
