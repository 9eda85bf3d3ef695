import { PRIORITY_LIMIT } from 'bullmq';
import { refusal, refuse, type RefuseRule } from '@tenantkit/core';
import { z } from 'zod';
import { isWellFormed } from '../bytes.ts';
import { storable } from '../canonical.ts';
import { checkJobOptions, checkTurn } from '../job-options.ts';

/** When a scheduler makes jobs, as it is stored with the template and with each job: all of it is signed. */
export interface Schedule {
  readonly pattern?: string;
  readonly every?: number;
  readonly limit?: number;
  readonly offset?: number;
  readonly tz?: string;
  readonly startDate?: number;
  readonly endDate?: number;
}

/** Every worker parses it again for each job. */
const LONGEST_PATTERN = 1_000;
const LONGEST_ZONE = 100;

/**
 * The latest time that a job of a scheduler can be named by, some 3,000 years ahead: BullMQ's script makes its id of the
 * milliseconds, and Lua writes a number of fifteen digits as `1e+14`, which is no id that anybody can read.
 */
const LAST_NAMED = 99_999_999_999_999;

const time = z.number().int().nonnegative().max(LAST_NAMED).transform(storable);
const duration = z.number().int().positive().max(LAST_NAMED).transform(storable);
const counted = z.number().int().positive().transform(storable);

/** What BullMQ answers for a member that the caller has not given. */
const absent = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => value ?? undefined, schema.optional());

const fields = {
  pattern: absent(z.string().min(1).max(LONGEST_PATTERN).refine(isWellFormed)),
  every: absent(duration),
  limit: absent(counted),
  offset: absent(z.number().int().nonnegative().max(LAST_NAMED).transform(storable)),
  tz: absent(z.string().min(1).max(LONGEST_ZONE).refine(isWellFormed)),
  startDate: absent(time),
  endDate: absent(time),
};
const scheduleSchema = z.strictObject(fields);
const repeatSchema = z.strictObject({ ...fields, count: counted });

/** What each member takes. */
const ACCEPTS: Readonly<Record<string, string>> = {
  pattern: `a cron expression of at most ${LONGEST_PATTERN} characters`,
  every: 'a whole number of milliseconds above 0: round what was divided, Math.round(period / 3)',
  limit: 'a whole number of jobs above 0',
  offset: 'a whole number of milliseconds',
  tz: 'the name of a time zone, as Europe/Berlin',
  startDate: 'a Date, or whole milliseconds since the epoch',
  endDate: 'a Date, or whole milliseconds since the epoch',
  count: 'a whole number of jobs above 0',
};
const ANY =
  'Use { pattern, tz } or { every, offset }, with limit, startDate, endDate and immediately as BullMQ has them.';
/** As members are called; what is no such name is not shown, since it may be data. */
const NAME = /^[A-Za-z]{1,32}$/;
const BAD_TIME = refuse(
  'the next job of the schedule would be for no time, or for one after the year 5138',
  'Use an earlier startDate, and a shorter every and offset, in milliseconds.',
);
const OF_SCHEDULER = refuse(
  'the template has an option that belongs to a single job',
  'Leave jobId, deduplication and parent out: BullMQ gives each job of a scheduler an id of its own.',
);
const SINGLE = ['jobId', 'deduplication', 'parent'] as const;
const BAD_PRIORITY = refuse('the priority is too big', `Use an integer from 0 to ${PRIORITY_LIMIT}.`);

/** What BullMQ computes for each job anew; a default of the queue is allowed to be there. */
const COMPUTED = ['delay', 'timestamp'] as const;

/**
 * A schedule as BullMQ hands it over, copied member by member: cron-parser reads whatever else it is given.
 *
 * @param given - with the name of the jobs, `undefined` and `null` for what is not there
 * @throws {@link OperationRefusedError} on what is unknown or of another type
 */
export function checkSchedule(operation: string, given: object): Schedule {
  const { name: _name, ...rest } = given as { name?: unknown };
  const members = Object.entries(checked(operation, scheduleSchema, rest));
  const schedule = Object.fromEntries(members.filter(([, value]) => value !== undefined)) as Schedule;
  const { every, offset = 0, startDate = 0 } = schedule;
  // The first one may be for a whole interval later than its script is told.
  if (every !== undefined) checkNamed(operation, Math.max(Date.now(), startDate) + every + offset);
  return schedule;
}

/**
 * Checks when the next job of a scheduler is for.
 *
 * @throws {@link OperationRefusedError} on a time that makes no id of a job
 */
export function checkNamed(operation: string, millis: unknown): number {
  const isNamed = Number.isSafeInteger(millis) && Number(millis) >= 0 && Number(millis) <= LAST_NAMED;
  if (!isNamed) throw refusal('queue', `${operation}(schedule)`, BAD_TIME);
  return Number(millis);
}

/**
 * Checks the dates of a schedule as a caller gives them.
 *
 * @throws {@link OperationRefusedError} on one that is none
 */
export function checkDates(operation: string, given: unknown): void {
  const { startDate, endDate } = Object(given) as { startDate?: unknown; endDate?: unknown };
  for (const date of [startDate, endDate])
    if (date !== undefined && date !== null && !isDate(date))
      throw refusal('queue', `${operation}(schedule)`, BAD_TIME);
}

function isDate(given: unknown): boolean {
  const isKnown = given instanceof Date || typeof given === 'number' || typeof given === 'string';
  return isKnown && new Date(given).getTime() <= LAST_NAMED;
}

/**
 * How many jobs there were, this one included.
 *
 * @throws {@link OperationRefusedError} when the schedule of the job is no schedule
 */
export function checkCount(operation: string, given: unknown): number {
  return checked(operation, repeatSchema, Object(given)).count;
}

/** @throws {@link OperationRefusedError} on an option that is unknown or refused, or belongs to a single job */
export function checkTemplateOptions(operation: string, given: object): Readonly<Record<string, unknown>> {
  const options = { ...checkJobOptions(operation, given) };
  for (const option of COMPUTED) delete options[option];
  if (SINGLE.some((option) => options[option] !== undefined)) throw refusal('queue', operation, OF_SCHEDULER);
  if (Number(options['priority'] ?? 0) > PRIORITY_LIMIT) throw refusal('queue', operation, BAD_PRIORITY);
  checkTurn(operation, options);
  return options;
}

/** Fields of a scheduler's hash that BullMQ's scripts go by. `offset` is computed where it was not given. */
const STORED = ['pattern', 'every', 'limit', 'tz', 'startDate', 'endDate'] as const;

/** Whether a scheduler's hash goes by the schedule that was signed with it. */
export function isScheduled(hash: Readonly<Record<string, string>>, signed: unknown): boolean {
  const result = scheduleSchema.safeParse(signed);
  if (!result.success) return false;
  const schedule = result.data;
  if (!STORED.every((field) => hash[field] === textOf(schedule[field]))) return false;
  return (schedule.offset ?? 0) === 0 || hash['offset'] === textOf(schedule.offset);
}

function textOf(value: string | number | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

function checked<T>(operation: string, schema: z.ZodType<T>, given: unknown): T {
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  throw refusal('queue', `${operation}(schedule)`, badSchedule(result.error.issues[0]));
}

/** Says which member it is: a refusal that names none is a search. */
function badSchedule(issue: z.core.$ZodIssue | undefined): RefuseRule {
  if (issue?.code === 'unrecognized_keys') {
    const [name = ''] = issue.keys;
    return refuse(`the schedule has ${NAME.test(name) ? name : 'a member'}, which is no option of one`, ANY);
  }
  const [member] = issue?.path ?? [];
  const accepts = typeof member === 'string' ? ACCEPTS[member] : undefined;
  return accepts === undefined
    ? refuse('the schedule holds what it must not', ANY)
    : refuse(`${String(member)} of the schedule holds what it must not`, `It takes ${accepts}.`);
}

/** The options of one job, from those of the template: what the header does not bind is added. */
export function jobOptions(
  template: Readonly<Record<string, unknown>>,
  scheduler: string,
  {
    count,
    now,
    millis,
  }: { readonly count: number; readonly now: number; readonly millis: number | undefined },
): Readonly<Record<string, unknown>> {
  return {
    ...template,
    repeat: { ...(Object(template['repeat']) as object), count },
    repeatJobKey: scheduler,
    timestamp: now,
    ...(millis === undefined ? {} : { prevMillis: millis }),
  };
}
