import { optsDecodeMap, optsEncodeMap, type JobsOptions } from 'bullmq';
import { defineRules, refusal, refuse, rewrite, ruleFor, type RefuseRule, type Rules } from '@tenantkit/core';
import { z } from 'zod';
import { isWellFormed } from './bytes.ts';
import { storable } from './canonical.ts';
import { deduplicationSchema } from './deduplication.ts';
import { LATEST } from './latest.ts';

/** What an option may hold. */
interface Accepted {
  readonly schema: z.ZodType;
  /** A sentence for whoever gave something else. */
  readonly accepts: string;
}

const text = z.string().refine(isWellFormed);
const count = z.number().int().nonnegative().transform(storable);
const milliseconds = z.number().nonnegative().max(LATEST).transform(storable);

/** Below 0 it is 0, as in BullMQ: what was due while the request was on its way runs at once. */
const delay = z
  .number()
  .max(LATEST)
  .transform((given) => storable(Math.max(0, given)));

/** How many finished jobs are kept; -1 keeps all. */
const keptCount = z.number().int().min(-1).transform(storable);
/** The server serves nobody else while one script removes them. */
const MOST_REMOVED = 10_000;

/**
 * BullMQ's KeepJobs. A lane holds one tenant's jobs, so that its count is that tenant's, and what is removed is its own.
 */
export const keepJobsSchema = z.union([
  z.strictObject({ count: keptCount }),
  z.strictObject({
    age: z.number().nonnegative().transform(storable),
    count: keptCount.optional(),
    limit: z.number().int().positive().max(MOST_REMOVED).optional(),
  }),
]);

const option = (schema: z.ZodType, accepts: string) => rewrite<Accepted>({ schema, accepts });

const keeps = option(
  z.union([z.boolean(), keptCount, keepJobsSchema]),
  'Use true, false, a number of jobs, or { age, count, limit } with age in seconds.',
);
const ofSchedulers = refuse(
  'it belongs to schedulers, which set it themselves',
  'Use queue.upsertJobScheduler(id, { every } or { pattern }, template).',
);

/**
 * Every option of a job. What has no row is refused: the options decide how a job runs and what it removes, and
 * BullMQ stores whatever it is given.
 */
export const jobOptionRules = defineRules({
  jobId: option(z.unknown(), 'Use a string.'),
  timestamp: option(
    z.number().int().nonnegative().max(LATEST).transform(storable),
    'Use whole milliseconds since the epoch, at most 8640000000000000: Math.trunc(seconds * 1000).',
  ),
  priority: option(count, 'Use an integer from 0 to 2097151.'),
  delay: option(delay, 'Use a number of milliseconds, at most 8640000000000000.'),
  attempts: option(count, 'Use a number of attempts.'),
  backoff: option(
    z.union([
      milliseconds,
      z.strictObject({
        type: text.refine((type) => !(type in Object.prototype)),
        delay: milliseconds.optional(),
        jitter: z.number().min(0).max(1).transform(storable).optional(),
      }),
    ]),
    'Use at most 8640000000000000 milliseconds, or { type, delay, jitter }.',
  ),
  lifo: option(z.boolean(), 'Use true or false.'),
  removeOnComplete: keeps,
  removeOnFail: keeps,
  keepLogs: option(count, 'Use a number of log rows.'),
  stackTraceLimit: option(count, 'Use a number of stack traces.'),
  sizeLimit: option(count, 'Use a number of bytes.'),
  telemetry: option(
    z.strictObject({ metadata: text.optional(), omitContext: z.boolean().optional() }),
    'Use { metadata, omitContext }.',
  ),

  deduplication: option(
    deduplicationSchema,
    'Use { id, ttl, extend, replace, reschedule, keepLastIfActive }, with text as id and ttl in whole milliseconds.',
  ),
  debounce: refuse('it is no option of BullMQ 6 any more', 'Use the option deduplication.'),
  parent: option(
    z.strictObject({ id: text, queue: text }),
    'Use { id: job.id, queue: job.queueQualifiedName } of the parent.',
  ),
  failParentOnFailure: option(z.boolean(), 'Use true or false.'),
  continueParentOnFailure: option(z.boolean(), 'Use true or false.'),
  ignoreDependencyOnFailure: option(z.boolean(), 'Use true or false.'),
  removeDependencyOnFailure: option(z.boolean(), 'Use true or false.'),
  repeat: ofSchedulers,
  repeatJobKey: ofSchedulers,
  prevMillis: ofSchedulers,
} satisfies Rules<keyof JobsOptions | 'debounce' | 'repeat', Accepted>);

const RETRIED_FIRST = refuse(
  'a lifo job that is retried at once stands before every other one for as long as it fails',
  'Give it a backoff, or leave lifo or attempts out.',
);
/** As options are called; what is no such name is not shown, since it may be data. */
const NAME = /^[A-Za-z]{1,32}$/;

const unknown = (name: string) =>
  refuse(
    `the job has ${NAME.test(name) ? `the option ${name}, which` : 'an option that'} is not in the table of job options`,
    'Remove it, or put it into the data of the job.',
  );

/**
 * The caller's job options, copied key by key from the allow-list. A copy and never a spread: an own key
 * `__proto__` (from `JSON.parse`) would become the prototype of a spread copy, and BullMQ would read a parent
 * from there.
 *
 * @throws {@link OperationRefusedError} on an option that is unknown or refused, or holds what it must not
 */
export function checkJobOptions(operation: string, given: object): Readonly<Record<string, unknown>> {
  const checked: Record<string, unknown> = {};
  for (const name of Object.keys(given)) {
    const value: unknown = Reflect.get(given, name);
    const rule: (typeof jobOptionRules)[keyof typeof jobOptionRules] | undefined = ruleFor(
      jobOptionRules,
      name,
    );
    if (rule?.kind !== 'rewrite') throw refused(operation, rule ?? unknown(name));
    if (value === undefined) continue;
    const result = rule.rewrite.schema.safeParse(value);
    if (!result.success) {
      throw refused(operation, refuse(`the option ${name} holds what it must not`, rule.rewrite.accepts));
    }
    checked[name] = result.data;
  }
  return checked;
}

/**
 * Checks that the options, taken together, leave other jobs their turn.
 *
 * @throws {@link OperationRefusedError} on a lifo job that is retried without a delay
 */
export function checkTurn(
  operation: string,
  { lifo, attempts, backoff }: Readonly<Record<string, unknown>>,
): void {
  if (lifo === true && Number(attempts ?? 1) > 1 && !hasDelay(backoff))
    throw refused(operation, RETRIED_FIRST);
}

function hasDelay(backoff: unknown): boolean {
  const delay: unknown =
    typeof backoff === 'object' ? Reflect.get(Object(backoff) as object, 'delay') : backoff;
  return typeof delay === 'number' && delay > 0;
}

/** The options under the keys that BullMQ stores them with, which is what a header binds. */
export function storedOptions(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const stored: Record<string, unknown> = {};
  for (const name of Object.keys(options)) {
    const value = options[name];
    if (name === 'telemetry') Object.assign(stored, storedTelemetry(value));
    else stored[STORED_AS[name] ?? name] = value;
  }
  return stored;
}

const STORED_AS: Readonly<Record<string, string>> = Object.assign(Object.create(null), optsEncodeMap);
const READ_AS: Readonly<Record<string, string>> = Object.assign(Object.create(null), optsDecodeMap);

/** The other way round: what BullMQ makes of stored options, which are parsed already. */
export function readOptions(stored: Readonly<Record<string, unknown>>): JobsOptions {
  const options: Record<string, unknown> = {};
  for (const name of Object.keys(stored)) {
    const value = stored[name];
    if (name === 'tm') options['telemetry'] = { ...Object(options['telemetry']), metadata: value };
    else if (name === 'omc') options['telemetry'] = { ...Object(options['telemetry']), omitContext: value };
    // It would be the prototype of all options, from which BullMQ would read a parent.
    else if (name !== '__proto__') options[READ_AS[name] ?? name] = value;
  }
  return options;
}

function storedTelemetry(value: unknown): { tm?: unknown; omc?: unknown } {
  const { metadata, omitContext } = Object(value) as { metadata?: unknown; omitContext?: unknown };
  return { tm: metadata, omc: omitContext };
}

function refused(operation: string, rule: RefuseRule): Error {
  return refusal('queue', `${operation}(options)`, rule);
}
