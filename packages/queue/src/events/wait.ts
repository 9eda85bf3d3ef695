import { refusal, refuse, requireScope, runInScope } from '@tenantkit/core';
import { contextOfBackend } from '../backend.ts';
import { contextOf, type ClientCall } from '../client.ts';
import { feedOf, type Feed } from './feed.ts';
import type { End } from './waits.ts';

const FOREIGN = refuse(
  'the QueueEvents is none of @tenantkit/queue, or one of another queue',
  'Give a QueueEvents of @tenantkit/queue with the name and the prefix of the job’s queue.',
);
const CLOSED = refuse('the QueueEvents is closed', 'Wait for jobs before it is closed.');
const NO_TENANT = refuse(
  'it waits for the job of a tenant, and acrossTenants names none',
  'Enter the tenant first, and get the job there: withTenant(id, () => …) works inside acrossTenants.',
);
const BAD_TTL = refuse(
  'the time is no number from 0 up',
  'Use milliseconds, or leave it out to wait for ever.',
);

/** As much of a job as waiting for it needs. */
interface Awaited {
  readonly id?: string;
  readonly name: string;
  readonly queue: NodeJS.EventEmitter & { waitUntilReady(): Promise<void> };
  readonly backend: { isFinished(id: string, withValue: boolean): Promise<unknown> };
}

/**
 * Waits until a job has ended, as BullMQ does: the result, or an error with the reason. What is different: a job that
 * is removed meanwhile, and a QueueEvents that is closed, end the wait.
 */
export async function waitUntilFinished({
  self,
  operation,
  args: [events, ttl],
}: ClientCall): Promise<unknown> {
  const scope = requireScope({ surface: 'queue', operation });
  if (scope.tenant === undefined) throw refusal('queue', operation, NO_TENANT);
  const { id = '', name, queue, backend } = self as unknown as Awaited;
  const feed = feedFor(backend, events, operation);
  const { tenant } = scope.tenant;
  feed.context.fence?.check(tenant, { surface: 'queue', operation });
  feed.readers.at(tenant, operation);
  if (ttl !== undefined && !(typeof ttl === 'number' && ttl >= 0)) throw refusal('queue', operation, BAD_TTL);

  const ended = Promise.withResolvers<End>();
  const fail = (message: string): void => ended.resolve({ kind: 'failed', error: new Error(message) });
  const timer = ttl
    ? setTimeout(
        fail,
        ttl,
        `Job wait ${name} timed out before finishing, no finish notification arrived after ${ttl}ms (id=${id})`,
      )
    : undefined;
  const stop = feed.waits.add(tenant, id, ended.resolve);
  const stopClosing = whenClosing(queue, fail);
  try {
    // A job that has ended before the end of the stream was known is not in it any more.
    const known = (async (): Promise<End | undefined> => {
      await feed.readers.ready(tenant);
      return endOf(await backend.isFinished(id, true));
    })();
    known.then(
      (end) => end === undefined || ended.resolve(end),
      (error: unknown) => ended.reject(error),
    );
    const end = await ended.promise;
    if (end.kind === 'failed') throw end.error;
    return end.value;
  } finally {
    clearTimeout(timer);
    stop();
    stopClosing();
  }
}

type Closing = (message: string) => void;

const closings = new WeakMap<object, Set<Closing>>();

/** A Worker ends the waits for its jobs when it closes. One listener for all of them: EventEmitter warns of more than ten. */
function whenClosing(queue: Awaited['queue'], closing: Closing): () => void {
  // What a FlowProducer gives its jobs as their queue is made for each of them, and says nothing when it closes.
  if (contextOf(queue) === undefined) return () => undefined;
  const known = closings.get(queue);
  const all = known ?? new Set();
  if (known === undefined) {
    closings.set(queue, all);
    runInScope(undefined, () =>
      queue.on('closing', (message: unknown) => {
        for (const tell of all) tell(String(message));
      }),
    );
  }
  all.add(closing);
  return () => all.delete(closing);
}

// By the backend, which is guarded wherever the job is from: as its queue a job of a flow has an object of BullMQ's.
function feedFor(backend: object, events: unknown, operation: string): Feed {
  const feed = typeof events === 'object' && events !== null ? feedOf(events) : undefined;
  const own = contextOfBackend(backend);
  if (
    feed === undefined ||
    own === undefined ||
    feed.context.queue !== own.queue ||
    feed.context.prefix !== own.prefix
  )
    throw refusal('queue', operation, FOREIGN);
  if (feed.closed) throw refusal('queue', operation, CLOSED);
  return feed;
}

const [MISSING, COMPLETED, FAILED] = [-1, 1, 2];

/** What `isFinished` has answered. */
function endOf(answer: unknown): End | undefined {
  const [status, text] = answer as readonly [unknown, unknown];
  if (status === COMPLETED) return { kind: 'completed', value: parse(text) };
  if (status === MISSING || status === FAILED) return { kind: 'failed', error: new Error(String(text)) };
  return undefined;
}

// As BullMQ does: results are not signed, and whoever can write to Redis can have written anything.
function parse(text: unknown): unknown {
  try {
    return typeof text === 'string' ? (JSON.parse(text) as unknown) : undefined;
  } catch {
    return undefined;
  }
}
