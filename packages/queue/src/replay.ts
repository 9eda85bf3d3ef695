import { createHash } from 'node:crypto';
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

/** How many jobs a worker remembers at least; at most twice as many. */
const REMEMBERED = 50_000;
/** So many characters of a header's claims, at their end, hold the time at which it was signed. */
const TIME = 24;

/** A longer id is remembered by its digest: how long ids are is up to tenants. */
const LONGEST_ID = 128;

/** One job has nearly always one time; a few are added again and again under one id. */
type Times = number | Set<number>;

/**
 * The jobs that a worker has completed, or failed for good: none of them runs there again unless it is signed again. A
 * record in Redis would not hold against who writes to Redis.
 *
 * A job is known by its id and the time at which it was signed, not by its whole header: its data may be replaced, and
 * signed with the same claims, while it runs. Two maps take turns, since the first element of a Map from which many were
 * removed is found slowly.
 */
export class EndedJobs {
  #young = new Map<string, Times>();
  #old = new Map<string, Times>();
  #size = 0;
  /** When the last one of all of them was signed. */
  #newest = -Infinity;

  /** @param id - that no job of another lane has */
  add(id: string, issuedAt: number): void {
    if (issuedAt > this.#newest) this.#newest = issuedAt;
    const name = nameOf(id);
    const known = this.#young.get(name);
    if (known === undefined) this.#young.set(name, issuedAt);
    else if (typeof known !== 'number') known.add(issuedAt);
    else if (known !== issuedAt) this.#young.set(name, new Set([known, issuedAt]));
    this.#size += 1;
    if (this.#size < REMEMBERED) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#size = 0;
  }

  has(id: string, issuedAt: number): boolean {
    // Most jobs: they are signed after those that have ended, and to look for each of them costs what a promise costs.
    if (issuedAt > this.#newest) return false;
    const name = nameOf(id);
    return isAmong(this.#young.get(name), issuedAt) || isAmong(this.#old.get(name), issuedAt);
  }
}

function nameOf(id: string): string {
  return id.length <= LONGEST_ID ? id : createHash('sha256').update(id).digest('base64url');
}

function isAmong(times: Times | undefined, issuedAt: number): boolean {
  return typeof times === 'object' ? times.has(issuedAt) : times === issuedAt;
}

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
