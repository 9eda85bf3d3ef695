import { AsyncLocalStorage } from 'node:async_hooks';
import { ReadStream, fstatSync, statSync } from 'node:fs';
import { Readable, type Writable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { isAnyArrayBuffer } from 'node:util/types';
import { TenantkitError } from '@tenantkit/core';

/** After so many pieces of a stream others have their turn. */
const PIECES_PER_TURN = 256;

/** A body that was opened sends what the caller's stream holds, and never more or less bytes than were announced. */
export class BoundedBody extends Readable {
  readonly #source: Readable;
  // The stream belongs to the caller: its code runs where the call was made, not where the SDK reads.
  readonly #inCaller = AsyncLocalStorage.snapshot();
  #iterator: AsyncIterator<unknown> | undefined;
  #expected: number | undefined;
  #count = 0;
  #opened = false;
  #wanted = false;
  #pulling = false;
  #ended = false;

  constructor(source: Readable, expected?: number) {
    super();
    this.#source = source;
    this.#expected = expected;
    // The call is rejected through whatever this is piped into; without a listener the process would end.
    this.on('error', nothing);
    // A stream can fail before anybody reads it.
    source.on('error', (error) => this.#fail(error));
    const size = fileSize(source);
    // Where the SDK looks for a length when none was given.
    if (size !== undefined) Object.defineProperty(this, 'size', { value: size });
  }

  /**
   * Begins to read, once the request was checked.
   *
   * @param expected - bytes that the request announces; a number that was given before must be the same
   * @throws the error of the stream, when it has already failed
   */
  open(expected: number | undefined): void {
    if (this.errored) throw this.errored;
    if (expected !== undefined && this.#expected !== undefined && expected !== this.#expected) {
      throw new BodyLengthError(expected, this.#expected);
    }
    this.#expected ??= expected;
    this.#opened = true;
    if (this.#wanted) this.#pull();
  }

  override _read(): void {
    this.#wanted = true;
    if (this.#opened) this.#pull();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { destroyed } = this.#source;
    if (this.#opened && !destroyed) this.#inCaller(() => this.#source.destroy());
    done(error);
  }

  // A pipe alone would leave a half-written request, and its connection, waiting for ever.
  override pipe<T extends NodeJS.WritableStream>(destination: T, options?: { end?: boolean }): T {
    const target = destination as unknown as Writable;
    if (this.errored) target.destroy(this.errored);
    this.once('error', (error) => target.destroy(error));
    target.once('close', () => this.destroy());
    return super.pipe(destination, options);
  }

  #pull(): void {
    if (this.#pulling || this.#ended || this.destroyed) return;
    this.#pulling = true;
    void this.#run();
  }

  // What a caller's code throws can be anything, and throw in turn when it is looked at: nobody would catch that.
  #fail(error: unknown): void {
    try {
      this.destroy(error instanceof Error ? error : new Error('The body failed', { cause: error }));
    } catch {
      this.destroy(new Error('The body failed'));
    }
  }

  async #run(): Promise<void> {
    try {
      await this.#next();
    } catch (error) {
      this.#fail(error);
      return;
    } finally {
      this.#pulling = false;
    }
    // Asked for again in the meantime.
    if (this.#wanted) this.#pull();
  }

  // What completes the announced length is held back until the stream has ended: a longer one is never a complete
  // request, so that none of its bytes can be read as the next request of the connection.
  #held: Buffer | undefined;

  async #next(): Promise<void> {
    this.#wanted = false;
    for (let pieces = 1; ; pieces += 1) {
      // Empty ones never wait for the connection, and what waits for nothing is never interrupted.
      // oxlint-disable-next-line no-await-in-loop -- what is waited for is everybody else
      if (pieces % PIECES_PER_TURN === 0) await setImmediate();
      // oxlint-disable-next-line no-await-in-loop -- one chunk after the other is what a stream is
      const { done, value } = await this.#inCaller(() => {
        this.#iterator ??= this.#source[Symbol.asyncIterator]();
        return this.#iterator.next();
      });
      if (this.destroyed) return;
      if (done === true) {
        if (this.#expected !== undefined && this.#count !== this.#expected) {
          throw new BodyLengthError(this.#expected, this.#count);
        }
        this.#ended = true;
        if (this.#held !== undefined) this.push(this.#held);
        this.push(null);
        return;
      }
      const chunk = typeof value === 'string' ? Buffer.from(value) : ownBytes(value);
      if (chunk === undefined) throw new TypeError('The body holds something else than bytes and texts');
      if (chunk.length === 0) continue;
      this.#count += chunk.length;
      if (this.#expected !== undefined && this.#count > this.#expected) {
        throw new BodyLengthError(this.#expected, this.#count);
      }
      if (this.#count === this.#expected) this.#held = chunk;
      else if (!this.push(chunk)) return;
    }
  }
}

/**
 * A body turned out longer or shorter than its announced length. The call is rejected, and nothing is stored.
 *
 * @example
 * ```ts
 * import { BodyLengthError, PutObjectCommand } from '@tenantkit/storage';
 * try {
 *   await s3.send(new PutObjectCommand({ Key: 'report.csv', Body: stream, ContentLength: 300 }));
 * } catch (error) {
 *   if (error instanceof BodyLengthError) console.log(error.actual > error.expected ? 'too long' : 'too short');
 *   else throw error;
 * }
 * ```
 */
export class BodyLengthError extends TenantkitError<'BODY_LENGTH'> {
  static {
    Object.defineProperty(this.prototype, 'name', {
      value: 'BodyLengthError',
      writable: true,
      configurable: true,
    });
  }
  readonly code = 'BODY_LENGTH';
  /** Bytes that were announced. */
  readonly expected: number;
  /** Bytes that were read until the difference was certain. */
  readonly actual: number;

  constructor(expected: number, actual: number) {
    super(
      `The body has ${actual > expected ? 'more' : 'fewer'} bytes than its ContentLength of ${expected}.`,
      { surface: 'storage', hint: 'Give the length of the body in bytes, or leave ContentLength out.' },
    );
    this.expected = expected;
    this.actual = actual;
  }
}

/**
 * The bytes of a body in memory: a copy, which nobody can shrink, detach or change after it was measured and signed.
 *
 * @returns `undefined` when it holds no bytes
 */
export function ownBytes(body: unknown): Buffer | undefined {
  const view = viewOf(body);
  if (view === undefined) return undefined;
  // Not from the pool, whose memory the caller's own buffers share.
  const copy = Buffer.allocUnsafeSlow(view.length);
  copy.set(view);
  return copy;
}

/**
 * The bytes of a body in memory, in an object of ours: nothing of the caller's runs when it is read. Its bytes are
 * still the caller's, and may change.
 *
 * @returns `undefined` when it holds no bytes
 */
export function viewOf(body: unknown): Buffer | undefined {
  // Read by what the engine knows: a property `byteLength` of the caller's own could say anything.
  const view = ArrayBuffer.isView(body)
    ? new Uint8Array(
        buffer.call(body) as ArrayBuffer,
        offset.call(body) as number,
        length.call(body) as number,
      )
    : isAnyArrayBuffer(body)
      ? new Uint8Array(body)
      : undefined;
  // What Buffer.from makes; that would ask the memory for its length once more, and a property can say anything.
  return view === undefined ? undefined : (Object.setPrototypeOf(view, Buffer.prototype) as Buffer);
}

function fileSize(source: Readable): number | undefined {
  if (!(source instanceof ReadStream)) return undefined;
  const { fd, path, start, end } = source as ReadStream & Record<'fd' | 'start' | 'end', unknown>;
  const stats = typeof fd === 'number' ? fstatSync(fd) : statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() !== true) return undefined;
  const stop = typeof end === 'number' ? Math.min(end + 1, stats.size) : stats.size;
  return Math.max(0, stop - (typeof start === 'number' ? start : 0));
}

const nothing = (): void => undefined;
const typed = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array);
const slot = (name: 'buffer' | 'byteOffset' | 'byteLength'): ((this: unknown) => unknown) =>
  function read(this: unknown) {
    const own =
      this instanceof DataView ? Object.getOwnPropertyDescriptor(DataView.prototype, name) : typed[name];
    return own?.get?.call(this) as unknown;
  };
const buffer = slot('buffer');
const offset = slot('byteOffset');
const length = slot('byteLength');
