import { nameTemplate, refusal, refuse, type NameCodec } from '@tenantkit/core';
import { isWellFormed } from './bytes.ts';
import { isIteration } from './schedulers/ids.ts';

/** The default template of a physical job id: `acme~42`. `~` is in no tenant id. */
export const DEFAULT_NAMES = '{tenant}~';

/** BullMQ separates the parts of its keys with `:`; the rest would be a pattern in a SCAN. */
const FORBIDDEN = /[:*?[\]\\]/;

/** What BullMQ itself refuses as a custom id: integers are its own automatic ids. */
const INTEGER = /^(?:0|-?[1-9]\d*)$/;

const BAD_TYPE = refuse(
  'a job id must be a string',
  'Convert it first: an object or a list could read as one id here and as another one later.',
);
const BAD_TEXT = refuse('the job id holds a lone surrogate', 'Use text that UTF-8 can store.');
const BAD_COLON = refuse(
  'the job id holds ":", by which BullMQ separates the parts of its keys',
  'Use another separator, for example "-" or "_".',
);
const BAD_INTEGER = refuse(
  'the job id is an integer, a form that BullMQ keeps for itself',
  'Put a letter before it, for example "order-42", or leave jobId out.',
);

/**
 * The codec of job ids: `<tenant>~<id>` in Redis, `<id>` for the caller.
 *
 * @param template - the name template, default {@link DEFAULT_NAMES}
 * @throws {@link ConfigError} when the template is not injective or holds a character that BullMQ gives a meaning
 */
export function jobNames(template: string = DEFAULT_NAMES): NameCodec {
  return nameTemplate(template, { surface: 'queue', forbid: FORBIDDEN });
}

/**
 * Checks an id that names an existing job: one of a caller's, or one that BullMQ has given to what a scheduler makes.
 *
 * @throws {@link OperationRefusedError} unless it is a string that BullMQ can use as an id
 */
export function checkId(operation: string, id: unknown): string {
  if (typeof id !== 'string') throw refusal('queue', operation, BAD_TYPE);
  if (!isWellFormed(id)) throw refusal('queue', operation, BAD_TEXT);
  if (id.includes(':') && !isIteration(id)) throw refusal('queue', operation, BAD_COLON);
  return id;
}

/**
 * Checks the id that a caller wants a new job to have. Words that stall a raw queue (`repeat`, `wait`, …) are
 * ordinary ids here, because the tenant stands before them.
 *
 * @returns the id, or `undefined` where BullMQ would make one: no id, or an empty one
 * @throws {@link OperationRefusedError} on what BullMQ documents as no custom id
 */
export function checkNewId(operation: string, id: unknown): string | undefined {
  if (id === undefined || id === '') return undefined;
  const checked = checkId(operation, id);
  if (isIteration(checked)) throw refusal('queue', operation, BAD_COLON);
  if (INTEGER.test(checked)) throw refusal('queue', operation, BAD_INTEGER);
  return checked;
}
