import { isRedisInstance, Queue as RawQueue } from 'bullmq';
import { ConfigError } from '@tenantkit/core';
import type { Cluster, Redis } from 'ioredis';
import { contextOf } from './client.ts';

/** Whether several Queues were given: `Array.isArray` says nothing of a list that is readonly. */
export function isList(
  source: Redis | Cluster | RawQueue | readonly RawQueue[],
): source is readonly RawQueue[] {
  return Array.isArray(source);
}

/**
 * Checks a list of Queues, before anything is done with one of them.
 *
 * @param operation - `queueEraser` or `queueAuditor`
 * @throws {@link ConfigError} for an empty list, for what is no Queue of this package with an ioredis client, and for two
 * of one name, which no plan and no finding could tell apart
 */
export function checkQueues(queues: readonly RawQueue[], operation: string): void {
  if (queues.length === 0)
    throw invalid(operation, 'the list of Queues is empty', 'Give each Queue of the service.');
  const names = new Set<string>();
  for (const [at, queue] of queues.entries()) {
    if (!(queue instanceof RawQueue) || contextOf(queue) === undefined) {
      throw invalid(
        operation,
        `entry ${at} of the list is no Queue of @tenantkit/queue`,
        'A list takes the Queues of the service, each with its own keys; a client is given alone, with { queues: [names] }.',
      );
    }
    if (!isRedisInstance(queue.opts.connection)) {
      throw invalid(
        operation,
        `the Queue ${queue.name} was not made with an ioredis client`,
        'Make the Queue with { connection: new Redis(…) }, or give a client and { queues: [names] }.',
      );
    }
    if (names.has(queue.name)) {
      throw invalid(
        operation,
        `two Queues of the list are called ${queue.name}`,
        `Give each queue once. Two queues of one name, in two Redis or under two prefixes, need a ${operation} each, with the option store.`,
      );
    }
    names.add(queue.name);
  }
}

function invalid(operation: string, problem: string, hint: string): ConfigError {
  return new ConfigError({ surface: 'queue', operation, problem, hint });
}
