import type { RedisQueueBackend } from 'bullmq';
import { refusal, refuse } from '@tenantkit/core';
import { memberOf } from '../members.ts';
import { backendRules } from '../rules.ts';
import type { FlowStore } from './store.ts';

/** What a FlowProducer asks of its backend; all else is about one queue, and it is none. */
const KNOWN: ReadonlySet<string> = new Set([
  'waitUntilReady',
  'close',
  'disconnect',
  'closing',
  'redisVersion',
  'databaseType',
  'qualifiedName',
  'keys',
  'toKey',
  'parseNodeKey',
  'addFlow',
  'forQueue',
]);

const NO_QUEUE = refuse(
  'the backend of a FlowProducer is no queue',
  'Use the methods of the FlowProducer, or a Queue.',
);

/**
 * The backend that a FlowProducer holds, and shows as `getBackend()`. The queues that it hands out are guarded as the
 * backend of a Queue is.
 */
export function flowBackend(store: FlowStore): {
  readonly backend: RedisQueueBackend;
  readonly seal: () => void;
} {
  let isSealed = false;
  const backend: Record<string, unknown> = Object.create(null);
  for (const member of Object.keys(backendRules)) {
    const isMethod = typeof memberOf(Object.getPrototypeOf(store) as object, member)?.value === 'function';
    const get = (): unknown => {
      if (!KNOWN.has(member)) throw refusal('queue', `FlowProducer.${member}`, NO_QUEUE);
      return Reflect.get(store, member);
    };
    Object.defineProperty(
      backend,
      member,
      isMethod
        ? {
            value: (...args: unknown[]) =>
              Reflect.apply(get() as (...given: unknown[]) => unknown, store, args),
          }
        : { get },
    );
  }
  // In its constructor BullMQ listens for errors of the connection, which show commands of all tenants.
  Object.defineProperty(backend, 'on', {
    value(event: string, listener: (...args: unknown[]) => void) {
      if (isSealed) throw refusal('queue', 'FlowProducer.on', NO_QUEUE);
      store.on(event, listener);
      return backend;
    },
  });
  return {
    backend: Object.freeze(backend) as unknown as RedisQueueBackend,
    // From then on only BullMQ's own listeners are there.
    seal() {
      isSealed = true;
    },
  };
}
