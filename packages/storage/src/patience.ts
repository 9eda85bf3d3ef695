import { isThrottlingError, isTransientError } from '@smithy/core/retry';
import pRetry from 'p-retry';

// 0.1 s, 0.2 s … 5 s and half a minute together, each with a random part: many workers that were all turned away
// must not come back at the same moment.
const PAUSES = { retries: 10, minTimeout: 100, maxTimeout: 5_000, factor: 2, randomize: true } as const;

/**
 * Runs `fn` again and again, with growing pauses, while it fails with something that passes: a server that asks to
 * slow down, an error of its own, a cut connection. The SDK has tried each request three times by then, within
 * a second.
 *
 * @param fn - can be repeated: it reads, deletes or aborts
 * @throws the signal's reason when it fires, in a pause too; the last error otherwise
 */
export async function patiently<T>(
  fn: () => Promise<T>,
  { signal, onFailure }: { readonly signal: AbortSignal; readonly onFailure?: (error: unknown) => void },
): Promise<T> {
  return pRetry(fn, {
    ...PAUSES,
    signal,
    shouldRetry: ({ error }) => passes(error),
    onFailedAttempt: ({ error }) => onFailure?.(error),
  });
}

/** Codes of a single key in the answer to a DeleteObjects after which the same may succeed. */
export const BUSY: ReadonlySet<string> = new Set([
  'InternalError',
  'OperationAborted',
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
]);

/** Some keys of a batch were put off. */
export class PutOff extends Error {
  override readonly name = 'PutOff';
}

/** Whether the same request may succeed in a moment. */
export function passes(error: unknown): boolean {
  if (error instanceof PutOff) return true;
  if (!(error instanceof Error)) return false;
  // Nobody is there, or the name is wrong: whoever waits for a server to come up runs the whole again.
  if (isAbsent(error)) return false;
  const sdkError = error as Parameters<typeof isTransientError>[0];
  return isThrottlingError(sdkError) || isTransientError(sdkError);
}

/** Whether there was nobody to answer. */
export function isAbsent(error: unknown): boolean {
  return error instanceof Error && (ABSENT.has(codeOf(error)) || ABSENT.has(codeOf(error.cause)));
}

const ABSENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
