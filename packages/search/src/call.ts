import { errors, type ApiResponse } from '@opensearch-project/opensearch';
import { runInScope, type Scope } from '@tenantkit/core';
import { isObject } from './json.ts';
import type { Prepared } from './request.ts';
import type { Operation } from './rules.ts';

/** An error, or null, and the result, as the raw client hands them to a callback. */
export type Outcome = readonly [error: Error | null, result: ApiResponse];

/** What the raw client sends for itself (sniffing, the version check), for no tenant. */
export const INTERNAL = Symbol('internal');

/**
 * One request under way: for whom it is, what the caller has asked, and how its reply is read. The raw client
 * carries it through as the request id, so that the events it emits can be told in logical names.
 */
export class Call {
  readonly scope: Scope | typeof INTERNAL;
  /** The id that the caller or the client has given to the request. */
  readonly id: unknown;
  readonly #params: object;
  readonly #options: object;
  readonly #prepared: Prepared | undefined;
  readonly #fence: (() => void) | undefined;
  #fenced: Error | undefined;
  #settled: Outcome | undefined;

  constructor({
    scope,
    id,
    params,
    options,
    prepared,
    fence,
  }: {
    readonly scope: Scope | typeof INTERNAL;
    readonly id: unknown;
    readonly params: object;
    readonly options: object;
    readonly prepared?: Prepared;
    /** Throws when the tenant may not be worked for. */
    readonly fence?: (() => void) | undefined;
  }) {
    this.scope = scope;
    this.id = id;
    this.#params = params;
    this.#options = options;
    this.#prepared = prepared;
    this.#fence = fence;
  }

  /** The tenant it is for, if it is for one. */
  get tenant(): string | undefined {
    return this.scope === INTERNAL ? undefined : this.scope.tenant?.tenant;
  }

  /** Asks the fence before an attempt is sent; what it throws is what the call ends with. */
  mayLeave(): boolean {
    try {
      this.#fence?.();
      return true;
    } catch (error) {
      this.#fenced = error as Error;
      return false;
    }
  }

  get operation(): Operation | undefined {
    return this.#prepared?.operation;
  }

  /**
   * Puts the caller's own request into the result in place of the physical one. That one must not be seen: it
   * holds physical names, and the connection sends whatever is in it.
   */
  show(result: ApiResponse): void {
    const { request } = result.meta;
    request.id = this.id;
    request.params = this.#params as typeof request.params;
    request.options = this.#options;
  }

  /** The outcome in logical names. Idempotent: the `response` event and the callback are given the same. */
  settle(error: Error | null, result: ApiResponse): Outcome {
    if (this.#settled === undefined) {
      this.show(result);
      if (this.#fenced !== undefined) result.body = null;
      this.#settled =
        this.#fenced !== undefined
          ? [this.#fenced, result]
          : this.#prepared === undefined
            ? [error, result]
            : this.#read(error, result, this.#prepared);
    }
    return this.#settled;
  }

  /** Runs a callback of the caller where the caller was when it made the call. */
  run(fn: () => void): void {
    runInScope(this.scope === INTERNAL ? undefined : this.scope, fn);
  }

  #read(error: Error | null, result: ApiResponse, prepared: Prepared): Outcome {
    // `location` names the physical document.
    if (result.headers !== null) delete result.headers['location'];
    // Its message and data hold pieces of a reply that nobody has checked.
    if (error instanceof errors.DeserializationError) {
      result.body = null;
      return [new errors.DeserializationError('The reply is not JSON and was withheld', ''), result];
    }
    if (result.statusCode === null || (error !== null && !(error instanceof errors.ResponseError))) {
      result.body = null;
      return [error, result];
    }
    try {
      result.body = prepared.read(result.body, result.statusCode);
    } catch (breach) {
      result.body = null;
      return [breach as Error, result];
    }
    // Made anew: it writes the reason of the server into its message.
    return [error === null ? null : new errors.ResponseError(result), result];
  }
}

const calls: WeakMap<object, Call> = new WeakMap();

/** The call that a result belongs to; `undefined` for what is no result of a guarded transport. */
export function callOf(result: unknown): Call | undefined {
  return typeof result === 'object' && result !== null ? calls.get(result) : undefined;
}

/**
 * Tells an event of the raw transport in logical names, before any listener sees it.
 *
 * @returns the arguments to emit
 */
export function tellEvent(event: string | symbol, args: readonly unknown[]): readonly unknown[] {
  const [error, given] = args;
  if (!isResult(given)) return args;
  const { id } = given.meta.request;
  const call = id instanceof Call ? id : calls.get(given);
  if (call === undefined) return args;
  calls.set(given, call);
  call.show(given);
  return event === 'response' ? call.settle(error instanceof Error ? error : null, given) : args;
}

/** Whether an event tells of a request. */
export function isResult(value: unknown): value is ApiResponse {
  return isObject(value) && isObject(value['meta']) && isObject(value['meta']['request']);
}
