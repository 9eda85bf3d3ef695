import { refusal, refuse } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';
import { amount } from '../views/checks.ts';
import { change, onLane, physicalId, type Handler } from '../views/guard.ts';
import { isOfBullmq, writeCustom } from './entries.ts';
import { missingJob } from './waits.ts';

/** How many events of a lane are kept at most, whoever publishes: BullMQ's own default. */
const MOST_KEPT = 10_000;

const BAD_NAME = refuse(
  'the name of the event is not a text of its own',
  'Use a name that BullMQ emits nothing under, also not before a ":": who waits for a job believes in those.',
);
const BAD_FIELD = refuse(
  'a field of the event is no text, number or boolean',
  'Write other values as text, for example with JSON.stringify.',
);

/** How a tenant publishes events, and asks for the end of a job. */
export const eventHandlers = {
  /** In the tenant's own stream, under a name that says that it is none of BullMQ's. */
  async publishEvent(guard, tenant, operation, [given, most = 1_000]) {
    const { event, ...fields } = { ...(Object(given) as Record<string, unknown>) };
    if (typeof event !== 'string' || event === '' || !isWellFormed(event) || isOfBullmq(event))
      throw refusal('queue', operation, BAD_NAME);
    const kept = Math.min(Math.floor(amount(operation, most)), MOST_KEPT);
    const written = writeCustom(
      event,
      Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, textOf(operation, value)])),
    );
    // Where operators look for streams.
    await guard.store.registered(tenant.tenant);
    return change(guard, tenant, operation, (lane) => lane.publishEvent(written, kept));
  },

  async isFinished(guard, tenant, operation, [id, withValue = false]) {
    const physical = physicalId(guard, tenant, operation, id);
    const answer: unknown = await onLane(guard, tenant, operation, [physical, withValue === true]);
    // The text of a job that is not there names its key.
    return Array.isArray(answer) && answer[0] === -1 ? [-1, missingJob(String(id))] : answer;
  },
} satisfies Readonly<Record<string, Handler>>;

function textOf(operation: string, value: unknown): string {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
    throw refusal('queue', operation, BAD_FIELD);
  return String(value);
}
