import { AsyncLocalStorage } from 'node:async_hooks';
import type { Call } from './call.ts';
import type { Home } from './place.ts';

/** What runs inside of one guarded call. */
export interface Running {
  /** Whose call it is: another client's keeper answers nothing. */
  readonly owner: object;
  /** `undefined` when the boundary is lifted. */
  readonly call: Call | undefined;
  /** The place that is worked in while the boundary is lifted; by default the pool. */
  readonly home?: Home | undefined;
  /** Set while the SDK's own signer works on a request that was checked, and no code of a caller's runs. */
  readonly signing?: true;
  /** When what is being signed ends, in milliseconds since the epoch. */
  readonly until?: number;
}

/** The call that the current code runs in. */
export const running: AsyncLocalStorage<Running | undefined> = new AsyncLocalStorage();

/** Set while the SDK makes a signer, for the keeper that asks for it. */
export const making: AsyncLocalStorage<object | undefined> = new AsyncLocalStorage();

/** Set while a credential provider of the service runs, for the keeper whose it is. */
export const providing: AsyncLocalStorage<object | undefined> = new AsyncLocalStorage();

/** Runs code of the caller's, or what may call it: it is given no credentials. */
export function outside<T>(run: () => T): T {
  // Each further context is a copy of all that there are, those of the service's tracing among them.
  return running.getStore() === undefined ? run() : running.run(undefined, run);
}

/** A signal whose methods run outside: whoever made it may have replaced them. */
export function outsideSignal(signal: AbortSignal): Partial<AbortSignal> {
  return {
    get aborted() {
      return outside(() => signal.aborted);
    },
    addEventListener: (...args: Parameters<AbortSignal['addEventListener']>) =>
      outside(() => listen(signal, ...args)),
    removeEventListener: (...args: Parameters<AbortSignal['removeEventListener']>) =>
      outside(() => signal.removeEventListener?.(...args)),
  };
}

/**
 * A signal of ours that follows a caller's. What of the caller's throws does so before anything is sent: thrown in the
 * midst of the handler's work, it would leave a connection taken for ever.
 */
export function ownSignal(given: AbortSignal): {
  readonly signal: AbortSignal;
  readonly release: () => void;
} {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const signal = outsideSignal(given);
  signal.addEventListener?.('abort', abort);
  if (signal.aborted === true) abort();
  const release = (): void => {
    try {
      signal.removeEventListener?.('abort', abort);
    } catch {
      // The request has its answer, and what the signal says from now on reaches nothing.
    }
  };
  return { signal: controller.signal, release };
}

function listen(signal: AbortSignal, ...args: Parameters<AbortSignal['addEventListener']>): void {
  if (typeof signal.addEventListener === 'function') signal.addEventListener(...args);
  // Signals older than the platform's.
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- they have none
  else signal.onabort = args[1] as AbortSignal['onabort'];
}
