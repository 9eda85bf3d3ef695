import type {
  QueueEventsOptions as RawQueueEventsOptions,
  QueueEventsProducerOptions as RawQueueEventsProducerOptions,
} from 'bullmq';
import { ConfigError, defineRules, pass, rewrite, type Rules } from '@tenantkit/core';
import { checkOptions, type Check, type Checked } from '../client-options.ts';
import type { QueueTenantOptions } from '../options.ts';

/** BullMQ's QueueEventsOptions, with our options under `tenant`. */
export interface QueueEventsOptions extends RawQueueEventsOptions {
  /** The same as of the Queue; keys that only verify will do. */
  readonly tenant: QueueTenantOptions;
}

/** BullMQ's QueueEventsProducerOptions, with our options under `tenant`. */
export type QueueEventsProducerOptions = RawQueueEventsProducerOptions & {
  /** The same as of the Queue; keys that only verify will do. */
  readonly tenant: QueueTenantOptions;
};

const ofConnection = pass('is about the connection');

/** Every option of BullMQ's QueueEventsProducer. */
export const producerOptionRules = defineRules({
  connection: ofConnection,
  blockingConnection: ofConnection,
  skipVersionCheck: ofConnection,
  skipWaitingForReady: ofConnection,
  prefix: pass('names the keys of the queue'),
} satisfies Rules<keyof RawQueueEventsProducerOptions, Check>);

/** Every option of BullMQ's QueueEvents. */
export const eventsOptionRules = defineRules({
  ...producerOptionRules,
  autorun: pass('is about this process'),
  lastEventId: rewrite<Check>(checkLastId),
  blockingTimeout: rewrite<Check>(checkTimeout),
} satisfies Rules<keyof RawQueueEventsOptions, Check>);

/** The options of a QueueEvents. @throws {@link ConfigError} on one that has no row, or is not usable */
export function checkEventsOptions(given: QueueEventsOptions): Checked<RawQueueEventsOptions> {
  const { raw, tenant } = checkOptions(eventsOptionRules, given);
  return { raw: raw as unknown as RawQueueEventsOptions, tenant };
}

/** The same of a QueueEventsProducer. */
export function checkProducerOptions(
  given: QueueEventsProducerOptions,
): Checked<RawQueueEventsProducerOptions> {
  const { raw, tenant } = checkOptions(producerOptionRules, given);
  return { raw: raw as unknown as RawQueueEventsProducerOptions, tenant };
}

const ID = /^(?:\$|\d{1,20}(?:-\d{1,20})?)$/;

function checkLastId(value: unknown): string {
  if (typeof value === 'string' && ID.test(value)) return value;
  throw bad(
    'lastEventId is no id of an event',
    'Give the id that a listener got, "0" for all that is kept, or "$".',
  );
}

/** The longest time of a timer of Node, in milliseconds. */
const LONGEST = 2 ** 31 - 10_000;

function checkTimeout(value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= LONGEST) return value;
  throw bad('blockingTimeout is no time', 'Give milliseconds from 0 (for ever) up.');
}

function bad(problem: string, hint: string): ConfigError {
  return new ConfigError({ surface: 'queue', operation: 'options', problem, hint });
}
