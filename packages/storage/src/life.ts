import { refusal, refuse } from '@tenantkit/core';
import type { Call } from './call.ts';

/** What makes a signed URL longer-lived than allowed. */
export interface PresignLimit {
  /** Seconds. */
  readonly maxExpiresIn: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * A signed URL lives no longer than its limit, counted from now.
 *
 * @throws OperationRefusedError when it would
 */
export function assertLife(
  query: ReadonlyMap<string, unknown>,
  call: Call,
  { maxExpiresIn, now }: PresignLimit,
): void {
  const expires = Number(query.get('X-Amz-Expires'));
  const signedAt = timestamp(query.get('X-Amz-Date'));
  if (!(expires >= 1 && expires <= maxExpiresIn) || !(signedAt <= now + CLOCK_SKEW)) {
    throw refusal(
      'storage',
      call.operation,
      refuse(
        'the URL would live longer than allowed',
        `Ask for at most ${maxExpiresIn} seconds from now, or raise the client option tenant.maxExpiresIn.`,
        'value',
      ),
    );
  }
}

/** What two clocks may differ by, in milliseconds. */
const CLOCK_SKEW = 60_000;

/** The time, in milliseconds since the epoch, that SigV4 writes without separators; `NaN` for anything else. */
export function timestamp(value: unknown): number {
  const parts = typeof value === 'string' ? /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(value) : null;
  if (parts === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = parts;
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}
