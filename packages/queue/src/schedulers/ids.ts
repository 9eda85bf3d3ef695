import { refusal, refuse } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';

/**
 * The id that BullMQ's scripts give to what a scheduler makes: `repeat:<scheduler>:<milliseconds>`. In a lane it stands
 * as it is, and its tenant sees it so. No other id of a caller holds a colon.
 */
const ITERATION = /^repeat:(.+):(\d{10,16})$/su;
/** How it begins: hardly any id does, and each job's is asked about several times. */
const BEGINS = 'repeat:';

/** A part of a scheduler's id that would make its key that of another one's iteration, or of something beside it. */
const LIKE_ITERATION = /:\d{10}/u;

const BAD_TEXT = refuse(
  'a scheduler id must be well-formed text that is not empty',
  'Use text, for example "nightly-report".',
);
const BAD_DIGITS = refuse(
  'the scheduler id holds ":" and ten digits behind it, as the ids have that BullMQ gives to the jobs of schedulers',
  'Put a letter before the digits, for example "report:n4242424242".',
);

/** What made a job of a scheduler, and for when. */
export interface Iteration {
  readonly scheduler: string;
  readonly millis: number;
}

/** What the id of an iteration says; `undefined` for any other id. */
export function iterationOf(id: string): Iteration | undefined {
  if (!id.startsWith(BEGINS)) return undefined;
  const [, scheduler, millis] = ITERATION.exec(id) ?? [];
  return scheduler === undefined ? undefined : { scheduler, millis: Number(millis) };
}

/** Whether an id is one that BullMQ gives to what a scheduler makes. */
export function isIteration(id: string): boolean {
  return id.startsWith(BEGINS) && ITERATION.test(id);
}

/** @throws {@link OperationRefusedError} on what is no id of a scheduler */
export function checkSchedulerId(operation: string, id: unknown): string {
  if (typeof id !== 'string' || id === '' || !isWellFormed(id)) throw refusal('queue', operation, BAD_TEXT);
  if (LIKE_ITERATION.test(id)) throw refusal('queue', operation, BAD_DIGITS);
  return id;
}
