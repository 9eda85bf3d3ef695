import { Readable } from 'node:stream';
import { HttpResponse } from '@smithy/core/protocols';
import { refusal, refuse } from '@tenantkit/core';

/**
 * How long a reply may be that is read as a whole, in bytes. Listings are the longest: 1,000 keys of 1,024 bytes of
 * which each is escaped (`&quot;`), and a few hundred bytes more about each, are 7 MiB.
 */
export const MAX_REPLY = 8 * 1024 * 1024;

/** How many elements it may have, in tags: no reply of S3 has half of that. */
const MAX_TAGS = 125_000;

/**
 * How long a text in it may be, in bytes: a key has 1,024, and all of it escaped no more than 8 KiB. A single text that
 * is all of a reply, and made of entities (`&amp;`), takes the SDK's parser seconds.
 */
const MAX_TEXT = 1_000_000;

/**
 * How long the document of an error may be, in bytes. The SDK hands on every element of it; those of S3 have less than
 * two kilobytes. Longer ones are pages of something in between, whose status says enough.
 */
export const MAX_ERROR = 64 * 1024;

/** How long a tag may be, with its attributes: S3 has two of them, and the SDK's parser takes long for each. */
const MAX_TAG = 1024;

const LOOK =
  'Look what answers there: a server that does not know the command may answer with the object itself. Whether the command has taken effect is not known.';
const TOO_LONG = refuse(`the server’s reply is longer than the ${MAX_REPLY} bytes that are read`, LOOK);
const TOO_COSTLY = refuse('the server’s reply is made so that reading it would take very long', LOOK);
const ANOTHER_PROTOCOL = refuse(
  'the server’s reply is to speak another protocol, which nobody has asked for',
  'Look what answers there: it is no S3.',
);

/** The error of a call whose server has answered with a change of protocol, after which nothing more would come. */
export function anotherProtocol(operation: string): Error {
  return refusal('storage', operation, ANOTHER_PROTOCOL);
}

/** Whether nothing comes after the head of a reply, as its head says: then there is nothing to hold to a limit. */
export function isEmpty({ response }: { readonly response: unknown }, method: string): boolean {
  if (method === 'HEAD') return true;
  return (
    HttpResponse.isInstance(response) &&
    (response.statusCode === 204 || response.headers['content-length'] === '0')
  );
}

/**
 * Reads a reply that is going to be read as a whole: every server, and not only one that a tenant has chosen for
 * itself, could otherwise fill the memory that all tenants share, or keep its only thread busy.
 *
 * @returns the reply with what was read as its body; as it is when it has none
 * @throws OperationRefusedError when it is too long, or would take too long to parse; its connection is closed
 * @throws the connection's error
 */
export async function wholeReply<Reply extends { readonly response: unknown }>(
  reply: Reply,
  operation: string,
): Promise<Reply> {
  const { response } = reply;
  if (!HttpResponse.isInstance(response)) return reply;
  const { statusCode, reason, headers } = response;
  const source = streamOf(response.body);
  if (!(source instanceof Readable)) return reply;
  if (Number(headers['content-length']) > MAX_REPLY) {
    source.on('error', () => undefined).destroy();
    throw refusal('storage', operation, TOO_LONG);
  }
  const bytes = await read(source, operation);
  const isTooMuch = isCostly(bytes) || isLong(bytes, statusCode);
  // What an error says besides its status is not needed, and a busy server is asked again by its status.
  if (isTooMuch && statusCode < 300) throw refusal('storage', operation, TOO_COSTLY);
  const body = new WholeBody(isTooMuch ? new Uint8Array(0) : bytes);
  const whole = new HttpResponse({ statusCode, headers, body, ...(reason === undefined ? {} : { reason }) });
  return { ...reply, response: whole };
}

/** What a handler on `fetch` answers is looked at like all others. */
export function streamOf(body: unknown): unknown {
  return body instanceof ReadableStream ? Readable.fromWeb(body as never) : body;
}

/** A body that was read; it leads to no connection. */
export class WholeBody extends Readable {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    super();
    this.#bytes = bytes;
  }

  override _read(): void {
    this.push(this.#bytes);
    this.push(null);
  }
}

function read(source: Readable, operation: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const fail = (error: Error): void => {
      source.destroy();
      reject(error);
    };
    source.on('error', fail);
    source.on('close', () => {
      if (!source.readableEnded) fail(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
    });
    source.on('end', () => resolve(Buffer.concat(chunks, length)));
    source.on('data', (given: Buffer | string) => {
      // A handler of the service's may answer with texts.
      const chunk = typeof given === 'string' ? Buffer.from(given) : given;
      length += chunk.length;
      if (length > MAX_REPLY) fail(refusal('storage', operation, TOO_LONG));
      else chunks.push(chunk);
    });
  });
}

/**
 * Whether the SDK's parser would take very long. Where a document may begin with a DOCTYPE it looks through all that
 * follows, once for each of them: a quarter of a megabyte of nothing else takes seconds. So does a single text that is
 * all of the reply and made of entities (`&amp;`); in texts of a legal length the same takes a quarter of that, which is
 * what a listing of a thousand keys takes of which every character is escaped.
 */
function isCostly(bytes: Buffer): boolean {
  let doctypes = 0;
  for (let at = bytes.indexOf('<!'); at !== -1; at = bytes.indexOf('<!', at + 2)) {
    const letter = bytes[at + 2];
    if (letter === 0x44 || letter === 0x64) doctypes += 1;
    if (doctypes > 1) return true;
  }
  return bytes.length > MAX_TAG && hasCostlyParts(bytes);
}

function hasCostlyParts(bytes: Buffer): boolean {
  let tags = 0;
  /** Where the current text begins. */
  let text = 0;
  /** Where the current tag begins, and the sign around the current value of an attribute. */
  let start = -1;
  let quote = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === LESS) tags += 1;
    if (start === -1) {
      if (byte !== LESS) continue;
      if (at - text > MAX_TEXT) return true;
      start = at;
      continue;
    }
    if (at - start > MAX_TAG) return true;
    if (quote !== 0) quote = byte === quote ? 0 : quote;
    else if (byte === QUOTE || byte === APOSTROPHE) quote = byte;
    else if (byte === GREATER) {
      start = -1;
      text = at + 1;
    }
  }
  return tags > MAX_TAGS || bytes.length - text > MAX_TEXT;
}

const LESS = 0x3c;
const GREATER = 0x3e;
const QUOTE = 0x22;
const APOSTROPHE = 0x27;

/** Whether it is an error that is longer than those of S3; the SDK takes a reply for one that ends like it, too. */
function isLong(bytes: Buffer, statusCode: number): boolean {
  return bytes.length > MAX_ERROR && (statusCode >= 300 || bytes.subarray(-16).includes('</Error>'));
}
