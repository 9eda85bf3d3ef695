import type { QueueEventsListener } from 'bullmq';
import { ruleFor, type NameCodec } from '@tenantkit/core';
import { z } from 'zod';
import { logicalId } from '../lanes/ids.ts';

/** The events that BullMQ's scripts write into the stream of a queue. */
export type StreamEvent = Exclude<keyof QueueEventsListener, 'error' | 'ioredis:close'>;

type FieldsOf<Event extends StreamEvent> = Extract<
  keyof Exclude<Parameters<QueueEventsListener[Event]>[0], string>,
  string
>;

/** What a field holds: `id` names a job of the lane, `json` and `number` are parsed as BullMQ parses them. */
type Field = 'id' | 'text' | 'json' | 'number';

const job = { jobId: 'id', prev: 'text' } as const;

/**
 * Every event of a stream, and every field of it: BullMQ's scripts are compared with this table by a test. What has no
 * row here is not shown, since nobody has looked at whether it names a job.
 */
export const eventFields = Object.freeze(
  Object.assign(Object.create(null) as object, {
    active: job,
    added: { jobId: 'id', name: 'text' },
    cleaned: { count: 'text' },
    completed: { jobId: 'id', returnvalue: 'json', prev: 'text' },
    // The names of deduplications are bare in a lane.
    deduplicated: { jobId: 'id', deduplicationId: 'text', deduplicatedJobId: 'id' },
    delayed: { jobId: 'id', delay: 'number' },
    drained: {},
    duplicated: { jobId: 'id' },
    failed: { jobId: 'id', failedReason: 'text', prev: 'text' },
    paused: {},
    progress: { jobId: 'id', data: 'json' },
    removed: job,
    resumed: {},
    'retries-exhausted': { jobId: 'id', attemptsMade: 'text' },
    stalled: { jobId: 'id' },
    waiting: job,
    'waiting-children': job,
  } as const satisfies {
    readonly [Event in StreamEvent]: Readonly<Record<FieldsOf<Event>, Field>> & { readonly prev?: Field };
  }),
);

/** Under this name stands what {@link QueueEventsProducer.publishEvent} has written. */
const CUSTOM = 'tenantkit:custom';

/** A custom event, as it stands in the stream: its name, and its fields. */
const customEvent = z.tuple([z.string(), z.record(z.string(), z.string())]);

/** An entry of a lane's stream, as its tenant may hear of it. */
export interface Heard {
  readonly event: string;
  /** What listeners get before the id of the entry; none for `drained`. */
  readonly args: Readonly<Record<string, unknown>> | undefined;
  /** The job that it is about: BullMQ emits `completed:<id>` besides. */
  readonly jobId: string | undefined;
}

/**
 * Reads an entry of the stream of a tenant's lane. Entries are text that nobody has signed: whoever can write to Redis
 * can have written anything.
 *
 * @param fields - names and values in turn
 * @returns `undefined` for what is no event of a job of this tenant
 */
export function readEntry(names: NameCodec, tenant: string, fields: readonly string[]): Heard | undefined {
  const given = new Map<string, string>();
  for (let at = 0; at + 1 < fields.length; at += 2) given.set(fields[at] ?? '', fields[at + 1] ?? '');
  const event = given.get('event') ?? '';
  if (event === CUSTOM) return readCustom(given.get('data') ?? '');
  const known = rowOf(event);
  if (known === undefined) return undefined;
  const args: Record<string, unknown> = {};
  for (const [field, kind] of Object.entries(known)) {
    const text = given.get(field);
    if (text === undefined && field === 'prev') continue;
    const value = text === undefined ? undefined : valueOf(names, tenant, kind, text);
    if (value === undefined) return undefined;
    args[field] = value;
  }
  return {
    event,
    args: event === 'drained' ? undefined : args,
    jobId: known['jobId'] === undefined ? undefined : String(args['jobId']),
  };
}

/** Whether BullMQ emits something under this name: `completed`, or `completed:<id>`. */
export function isOfBullmq(name: string): boolean {
  const [event = ''] = name.split(':', 1);
  return rowOf(event) !== undefined || OF_EMITTER.has(event);
}

/** The fields under which a custom event is written. */
export function writeCustom(name: string, fields: Readonly<Record<string, string>>): Record<string, string> {
  return { event: CUSTOM, data: JSON.stringify([name, fields]) };
}

const OF_EMITTER: ReadonlySet<string> = new Set([
  'error',
  'ioredis',
  'newListener',
  'removeListener',
  'tenantkit',
]);

function rowOf(event: string): Readonly<Record<string, Field>> | undefined {
  return ruleFor<Readonly<Record<string, Field>>>(eventFields, event);
}

/** A value that is never `undefined`, unless it is none of its kind. */
function valueOf(names: NameCodec, tenant: string, kind: Field, text: string): unknown {
  if (kind === 'id') return logicalId(names, tenant, text);
  if (kind === 'json') return parse(text);
  if (kind === 'text') return text;
  const value = text === '' ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : undefined;
}

function readCustom(text: string): Heard | undefined {
  const read = customEvent.safeParse(parse(text));
  if (!read.success) return undefined;
  const [event, args] = read.data;
  return isOfBullmq(event) ? undefined : { event, args, jobId: args['jobId'] };
}

/** `undefined` for what is no JSON: BullMQ would end its loop over it. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
