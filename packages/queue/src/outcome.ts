import { DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError, WaitingError } from 'bullmq';
import { NO_ERROR } from './sandbox/errors.ts';

/** What a processor answered, as BullMQ's loop may see it. */
export interface Outcome {
  /** Data that runs no code when it is written as JSON. */
  readonly plain: unknown;
  /** What the processor answered: for the listeners of its tenant. */
  readonly original: unknown;
}

/** What a processor threw, as BullMQ's loop may see it. */
export interface Failure {
  readonly plain: Error;
  readonly original: unknown;
}

/**
 * BullMQ steers its loop by what a processor throws. A processor is one tenant's, the loop is everybody's: a text
 * that happens to be the rate limiter's would send the job back to the front of the queue for ever, and the names
 * of the others would leave it `active` until it stalls.
 */
const STEERS = [DelayedError, WaitingError, WaitingChildrenError, RateLimitError];
/** What a processor throws that has moved its job by hand. */
const LEAVES = [DelayedError, WaitingError, WaitingChildrenError];
const RATE_LIMIT = 'bullmq:rateLimitExceeded';
const REFUSED =
  'A processor cannot delay or hold back its job by an error alone, nor rate-limit a queue that serves every tenant: await job.moveToDelayed(time, token), job.moveToWait(token) or job.moveToWaitingChildren(token) before, or throw an ordinary error, which is retried by the options attempts and backoff.';

/** What JSON.stringify looks into; a bigint it refuses, but for a `toJSON`. */
const HAS_MEMBERS: ReadonlySet<string> = new Set(['object', 'function', 'bigint']);

/**
 * The JSON of a result, made here and not by BullMQ, in whose loop a `toJSON` would run outside of any tenant.
 *
 * @throws what JSON.stringify throws; as in BullMQ, the job then fails
 */
export function outcomeOf(result: unknown): Outcome {
  if (!HAS_MEMBERS.has(typeof result)) return { plain: result, original: result };
  const text = JSON.stringify(result) as string | undefined;
  return { plain: text === undefined ? undefined : (JSON.parse(text) as unknown), original: result };
}

/**
 * An ordinary error in the place of what was thrown, whose getters BullMQ would call in its loop.
 *
 * @param isMoved - whether the processor has moved its job by hand before it threw: then, and only then, the loop is
 * told to leave the job where it is
 */
export function failureOf(thrown: unknown, isMoved = false): Failure {
  const leaves = isMoved ? LEAVES.find((type) => isA(thrown, type)) : undefined;
  if (leaves !== undefined) return { plain: new leaves(), original: thrown };
  const message = messageOf(thrown);
  const plain = isA(thrown, UnrecoverableError) ? new UnrecoverableError(message) : new Error(message);
  const stack = read(thrown, 'stack');
  if (stack !== undefined && message !== REFUSED) plain.stack = stack;
  return { plain, original: thrown };
}

function messageOf(thrown: unknown): string {
  const message = typeof thrown === 'string' ? thrown : read(thrown, 'message');
  if (message === RATE_LIMIT || STEERS.some((steer) => isA(thrown, steer))) return REFUSED;
  return message ?? NO_ERROR;
}

/** As BullMQ tells them: by class, and by name where the class comes from another copy. */
function isA(thrown: unknown, type: abstract new (...args: never[]) => Error): boolean {
  try {
    return thrown instanceof type || read(thrown, 'name') === type.name;
  } catch {
    // A Proxy decides what `instanceof` does.
    return false;
  }
}

/** A text property of anything, whatever stands behind it. */
function read(from: unknown, property: string): string | undefined {
  try {
    const value: unknown = Reflect.get(Object(from) as object, property);
    return typeof value === 'string' ? value : undefined;
  } catch {
    // A getter that throws: what it throws is not to be seen by the loop either.
    return undefined;
  }
}
