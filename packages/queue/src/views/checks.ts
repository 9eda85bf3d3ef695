import { PRIORITY_LIMIT, type JobType } from 'bullmq';
import { refusal, refuse } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';
import { LATEST } from '../latest.ts';
import { toList } from '../list.ts';

/** What BullMQ lists and counts by; it makes a key of any other text as well. */
const LISTED: readonly string[] = [
  'active',
  'completed',
  'delayed',
  'failed',
  'paused',
  'prioritized',
  'repeat',
  'wait',
  'waiting',
  'waiting-children',
] satisfies readonly (JobType | 'paused')[];

/** What can be cleaned; BullMQ's Queue says `wait` for `waiting`. */
const CLEANED: readonly string[] = [
  'active',
  'completed',
  'delayed',
  'failed',
  'paused',
  'prioritized',
  'wait',
];

/** Where a job can come back from. */
const FINISHED: readonly string[] = ['completed', 'failed'];

/** How many jobs one script may work on: the server serves nobody else meanwhile. BullMQ calls it until none is left. */
const MOST_AT_ONCE = 500;
/** The same where BullMQ cleans, by its own number. */
const MOST_CLEANED = 10_000;

const NO_TOKEN = refuse(
  'a job is moved by hand only with the token of the worker that has it',
  'Give the token that the processor gets as its second argument.',
);

/** States to list or count. */
export function states(operation: string, given: unknown): JobType[] {
  return toList(given, operation).map((state) => oneOf(operation, 'state', state, LISTED) as JobType);
}

/** A state to clean. */
export function cleaned(operation: string, given: unknown): string {
  return oneOf(operation, 'state', given, CLEANED);
}

/** A state of jobs that can run again; also what BullMQ counts metrics of. */
export function finishedState(operation: string, given: unknown): 'completed' | 'failed' {
  return oneOf(operation, 'state', given, FINISHED) as 'completed' | 'failed';
}

/** A position in a list; a negative one counts from its end. */
export function position(operation: string, given: unknown): number {
  if (!Number.isSafeInteger(given)) throw bad(operation, 'a position is no integer', 'Use an integer.');
  return Number(given);
}

/** A number that is not negative: of milliseconds, of entries. */
export function amount(operation: string, given: unknown): number {
  if (typeof given !== 'number' || !(given >= 0 && given <= LATEST))
    throw bad(operation, 'a number is not one from 0 to 8640000000000000', 'Use a number in this range.');
  return given;
}

/** A time in milliseconds. */
export function time(operation: string, given: unknown): number {
  if (typeof given !== 'number' || !(given >= 0 && given <= LATEST))
    throw bad(
      operation,
      'a time is no number from 0 to 8640000000000000',
      'Use milliseconds since the epoch, of which a Date holds no more.',
    );
  return given;
}

/** How many jobs a script works on at once. With 0 BullMQ would call it for ever. */
export function batch(operation: string, given: unknown): number {
  if (!Number.isSafeInteger(given) || Number(given) < 1)
    throw bad(operation, 'count is no integer from 1 up', 'Leave count out, or use an integer from 1 up.');
  return Math.min(Number(given), MOST_AT_ONCE);
}

/** How many jobs are cleaned at once. */
export function cleanedAtOnce(operation: string, given: unknown): number {
  const limit = amount(operation, given);
  return limit === 0 ? MOST_CLEANED : Math.min(Math.ceil(limit), MOST_CLEANED);
}

const NO_PRIORITIES = refuse('the priorities are no array', 'Give an array of integers from 0 up.');

/** Priorities to count. */
export function priorities(operation: string, given: unknown): number[] {
  return toList(given, operation, undefined, NO_PRIORITIES).map((one) => amount(operation, one));
}

/** A priority of a job. */
export function priority(operation: string, given: unknown): number {
  if (!Number.isSafeInteger(given) || Number(given) < 0 || Number(given) > PRIORITY_LIMIT)
    throw bad(operation, 'the priority holds what it must not', 'Use an integer from 0 to 2097151.');
  return Number(given);
}

/** The token of a worker. `0` would pass every lock. */
export function token(operation: string, given: unknown): string {
  if (typeof given !== 'string' || given === '' || given === '0' || !isWellFormed(given))
    throw refusal('queue', operation, NO_TOKEN);
  return given;
}

function oneOf(operation: string, what: string, given: unknown, known: readonly string[]): string {
  const found = known.find((one) => one === given);
  if (found === undefined)
    throw bad(operation, `the ${what} is not one that it knows`, `Use one of: ${known.join(', ')}.`);
  return found;
}

function bad(operation: string, why: string, instead: string): Error {
  return refusal('queue', operation, refuse(why, instead));
}
