import type { JobsOptions } from 'bullmq';
import type { JobClaims } from './header.ts';
import { iterationOf } from './schedulers/ids.ts';
import { stamp } from './stamp.ts';

/** For how long a job may wait beyond what its options say, unless the service says otherwise: 30 days, in ms. */
export const MAX_AGE = 2_592_000_000;

/** As much of a job's options as says how long it may take. All of it is signed. */
export type Waits = Pick<JobsOptions, 'timestamp' | 'delay' | 'attempts' | 'backoff'>;

/**
 * Until when a job may begin, in milliseconds since the epoch: what somebody has kept of it and puts back later does not
 * run. A job that a scheduler has made carries the header of its template, however old, and counts from the time that
 * it was made for.
 *
 * @param id - in its lane
 * @param maxAge - the option, in milliseconds
 */
export function lastStart({ issuedAt }: JobClaims, id: string, opts: Waits, maxAge: number): number {
  const made = iterationOf(id);
  const retries = retriesOf(opts);
  // What BullMQ computes as the delay of a scheduler's job is not signed.
  if (made !== undefined) return Math.max(issuedAt, made.millis) + maxAge + retries;
  const { timestamp = issuedAt, delay = 0 } = opts;
  // A delay counts from the time that the job says it was added at, which may lie ahead.
  return Math.max(issuedAt, timestamp) + delay + maxAge + retries;
}

/** How long the retries of a job may be put off, in milliseconds. What a strategy of the worker decides is not known. */
function retriesOf({ attempts = 1, backoff }: Waits): number {
  // The canonical form leaves out what is null, so that anybody may have written it.
  if (backoff === undefined || backoff === null || attempts <= 1) return 0;
  const { type, delay = 0 } = typeof backoff === 'number' ? { type: 'fixed', delay: backoff } : backoff;
  if (type === 'fixed') return delay * (attempts - 1);
  // Without a delay it would be no number from 1,025 attempts on, which no time is later than.
  return type === 'exponential' && delay > 0 ? delay * (2 ** (attempts - 1) - 1) : 0;
}

/** So many characters of a header's claims, at their end, hold the time at which it was signed. */
const TIME = 24;

/** When a job was signed, where its loop's own object is at hand: its header says it as well, and costs more. */
export const signedTime = stamp<number>();

/** When a job was signed that was verified before; `undefined` for one without a header, which was refused. */
export function signedAt(header: unknown): number | undefined {
  if (typeof header !== 'string') return undefined;
  const end = header.lastIndexOf('.');
  const start = header.lastIndexOf('.', end - 1) + 1;
  // Whole groups of four characters, of which each is three bytes; the last may be shorter.
  const from = start + Math.max(0, Math.ceil((end - start) / 4) * 4 - TIME);
  const text = Buffer.from(header.slice(from, end), 'base64url').toString('latin1');
  return Number(text.slice(text.lastIndexOf(',') + 1, -1));
}
