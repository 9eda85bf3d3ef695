import { errors, type ApiError, type ApiResponse } from '@opensearch-project/opensearch';
import type {
  TransportRequestCallback,
  TransportRequestPromise,
} from '@opensearch-project/opensearch/lib/Transport.js';
import type { Outcome } from './call.ts';

/** A callback as the raw client takes it. */
export type Callback = (error: ApiError, result: ApiResponse) => void;

/**
 * What a caller gets for a request: a promise, or nothing when it gave a callback, and in both cases `abort`,
 * which also works while the request still waits for the check of its index.
 */
export class Reply {
  readonly handle: TransportRequestPromise<ApiResponse>;
  readonly #done: (outcome: Outcome) => void;
  #sent: TransportRequestCallback | undefined;
  #aborted = false;

  /**
   * @param callback - of the caller
   * @param run - runs the callback where the caller was
   */
  constructor(callback: Callback | undefined, run: (fn: () => void) => void) {
    const abort = (): TransportRequestPromise<ApiResponse> => {
      this.#aborted = true;
      this.#sent?.abort();
      return this.handle;
    };
    if (callback === undefined) {
      const { promise, resolve, reject } = withResolvers();
      this.handle = Object.assign(promise, { abort });
      this.#done = ([error, result]) => (error === null ? resolve(result) : reject(error));
    } else {
      // No promise: its rejection would be nobody's.
      this.handle = { abort } as unknown as TransportRequestPromise<ApiResponse>;
      // The raw client's types have no null for "no error".
      this.#done = ([error, result]) => run(() => callback(error as ApiError, result));
    }
  }

  /** Ends a request that has left. */
  settle(outcome: Outcome): void {
    this.#done(outcome);
  }

  /** Ends a request that has not left. On a later tick, as the raw client does: a callback is never called early. */
  fail(error: unknown, result: ApiResponse): void {
    process.nextTick(() => this.#done([error as Error, result]));
  }

  /** Sends, unless the caller has given up by now. */
  send(leave: () => TransportRequestCallback, result: ApiResponse): void {
    if (this.#aborted) this.fail(new errors.RequestAbortedError('Request aborted', result), result);
    else this.#sent = leave();
  }
}

function withResolvers(): {
  readonly promise: Promise<ApiResponse>;
  readonly resolve: (result: ApiResponse) => void;
  readonly reject: (error: Error) => void;
} {
  let resolve: (result: ApiResponse) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<ApiResponse>((onFulfilled, onRejected) => {
    resolve = onFulfilled;
    reject = onRejected;
  });
  return { promise, resolve, reject };
}
