import { ConfigError } from '@tenantkit/core';

/** A signal of ours in the place of a caller's. */
interface OwnSignal {
  readonly signal: AbortSignal | undefined;
  /** Lets go of the caller's. */
  readonly release: () => void;
}

/**
 * Follows a caller's signal with one of ours. Whoever waits is told in the midst of what others do: nothing of a
 * caller's own object may be called there. Node's own AbortSignal.any() would hang ours on the caller's, where the
 * caller finds it.
 *
 * @throws {@link ConfigError} for something else than a signal
 */
export function ownSignal(given: AbortSignal | undefined): OwnSignal {
  if (given === undefined) return { signal: undefined, release: () => undefined };
  const own = new AbortController();
  const target = EventTarget.prototype;
  const told = (): void => own.abort(reasonOf(given));
  try {
    if (isAborted(given)) told();
    else target.addEventListener.call(given, 'abort', told, { once: true });
  } catch (cause) {
    throw new ConfigError({
      surface: 'cache',
      operation: 'dedicated',
      problem: 'signal is no AbortSignal',
      hint: 'Give that of an AbortController, or AbortSignal.timeout(…).',
      cause,
    });
  }
  return { signal: own.signal, release: () => target.removeEventListener.call(given, 'abort', told) };
}

/**
 * Waits for `run`, but no longer than until `signal` says so and `cut` has been done.
 *
 * @param signal - one of ours
 * @param cut - ends what `run` does; whoever is told of the end may rely on it
 */
export async function aborted<T>(
  signal: AbortSignal | undefined,
  cut: () => void | Promise<void>,
  run: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return run();
  signal.throwIfAborted();
  let abort = (): void => undefined;
  let cutting: Promise<void> | undefined;
  const stopped = new Promise<never>((_, reject) => {
    abort = () => {
      cutting = Promise.resolve(cut()).then(() => reject(signal.reason as Error));
    };
    signal.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([run(), stopped]);
  } catch (error) {
    // What `run` waits for fails since it is cut.
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    await cutting;
  }
}

// By the getters of the class: they throw for anything else than a signal, and a caller's own would run here.
function isAborted(signal: AbortSignal): boolean {
  return Reflect.get(AbortSignal.prototype, 'aborted', signal);
}

function reasonOf(signal: AbortSignal): unknown {
  return Reflect.get(AbortSignal.prototype, 'reason', signal);
}
